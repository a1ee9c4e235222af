"""One GPU, many names."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.gpu_names import gpu_product


@pytest.mark.parametrize(
    ("product", "names"),
    {
        "nvidia-tesla-t4": ["Tesla-T4", "nvidia-tesla-t4", "T4", "NVIDIA-T4-SHARED"],
        "nvidia-tesla-v100": ["Tesla-V100-SXM2-16GB", "Nvidia Tesla V100 GPU"],
        "nvidia-tesla-a100": ["NVIDIA-A100-SXM4-40GB", "nvidia-tesla-a100", "Nvidia Tesla A100 GPU", "A100"],
        "nvidia-a100-80gb": ["NVIDIA-A100-SXM4-80GB", "NVIDIA-A100-80GB-PCIe-MIG-1g.10gb-SHARED", "a100-80gb"],
        "nvidia-l4": ["NVIDIA-L4", "Nvidia L4 GPU", "l4"],
        "nvidia-l40s": ["NVIDIA-L40S"],
        "nvidia-a10g": ["NVIDIA-A10G", "A10G"],
        "nvidia-h100-80gb": ["NVIDIA-H100-80GB-HBM3", "h100-80gb", "NVIDIA H100 80GB HBM3", "H100"],
        "nvidia-h100-pcie": ["NVIDIA-H100-PCIe"],
        "nvidia-h100-nvl": ["NVIDIA-H100-NVL"],
        "nvidia-h100-mega-80gb": ["nvidia-h100-mega-80gb", "Nvidia H100 80GB Plus GPU", "Nvidia H100 Mega 80GB GPU"],
        "nvidia-h200-141gb": ["NVIDIA-H200", "H200 141GB GPU", "nvidia-h200-141gb"],
        "nvidia-b200": ["NVIDIA-B200", "Nvidia B200"],
        "nvidia-gb200": ["NVIDIA-GB200"],
        "nvidia-rtx-pro-6000": ["RTX 6000 96GB", "NVIDIA-RTX-PRO-6000-Blackwell-Server-Edition", "nvidia-rtx-pro-6000"],
        "nvidia-rtx-6000-ada": ["NVIDIA-RTX-6000-Ada-Generation"],
        "nvidia-rtx-4090": ["NVIDIA-GeForce-RTX-4090"],
        "amd-mi300x": ["AMD-Instinct-MI300X-OAM", "MI300X"],
        "": ["", "  "],
    }.items(),
)
def test_names(product: str, names: list[str]) -> None:
    assert {gpu_product(name) for name in names} == {product}


@given(st.one_of(st.text(), st.from_regex(r"(nvidia|tesla|rtx|pro|[abhl]\d{1,3}|\d{4}|80gb|mig-1g|ada| |-)+")))
def test_a_product_is_its_own_name(text: str) -> None:
    assert gpu_product(gpu_product(text)) == gpu_product(text)
