"""Physical GPUs behind whole, time-sliced and MIG resources."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.cluster.gpus import divide, is_gpu
from collectors.cluster.objects import instant, quantity, version

A100 = "NVIDIA-A100-SXM4-40GB"
SEVENTH = Decimal("0.142857142857")


def gfd(product: str, count: int, replicas: int = 1, **more: str) -> dict[str, str]:
    """Labels of NVIDIA's GPU feature discovery."""
    named = {f"nvidia.com/{key.replace('__', '.')}": value for key, value in more.items()}
    return {
        "nvidia.com/gpu.product": product,
        "nvidia.com/gpu.count": str(count),
        "nvidia.com/gpu.replicas": str(replicas),
        **named,
    }


@pytest.mark.parametrize(
    ("capacity", "labels", "product", "gpus", "shares"),
    [
        pytest.param({"nvidia.com/gpu": 8}, {}, "", 8, {"nvidia.com/gpu": 1}, id="whole, no labels"),
        pytest.param(
            {"nvidia.com/gpu": 8}, gfd("NVIDIA-H100-80GB-HBM3", 8), "nvidia-h100-80gb", 8, {"nvidia.com/gpu": 1},
            id="whole",
        ),
        pytest.param(
            {"nvidia.com/gpu": 4}, gfd("Tesla-T4-SHARED", 1, 4), "nvidia-tesla-t4", 1, {"nvidia.com/gpu": "0.25"},
            id="time-slicing",
        ),
        pytest.param(
            {"nvidia.com/gpu": 0, "nvidia.com/gpu.shared": 10}, gfd("Tesla-T4", 1, 10), "nvidia-tesla-t4", 1,
            {"nvidia.com/gpu.shared": "0.1"}, id="time-slicing, renamed by default",
        ),
        pytest.param(
            {"nvidia.com/gpu": 56}, gfd(f"{A100}-MIG-1g.5gb", 56), None, 8, {"nvidia.com/gpu": SEVENTH},
            id="MIG single, 7 slices of each",
        ),
        pytest.param(
            {"nvidia.com/gpu": 24}, gfd(f"{A100}-MIG-2g.10gb", 24), None, 8,
            {"nvidia.com/gpu": "0.285714285714"}, id="MIG single, the seventh slice of each GPU is nobody's",
        ),
        pytest.param(
            {"nvidia.com/gpu": 32}, gfd(f"{A100}-MIG-1g.10gb", 32), None, 8, {"nvidia.com/gpu": SEVENTH},
            id="MIG single, limited by memory",
        ),
        pytest.param(
            {"nvidia.com/gpu": 8}, gfd("NVIDIA-A30-MIG-1g.6gb", 8), "nvidia-a30", 2, {"nvidia.com/gpu": "0.25"},
            id="MIG single on an A30, which has four slices",
        ),
        pytest.param(
            {"nvidia.com/mig-1g.5gb": 2, "nvidia.com/mig-3g.20gb": 1, "nvidia.com/gpu": 1}, gfd(A100, 2), None, 2,
            {"nvidia.com/mig-1g.5gb": SEVENTH, "nvidia.com/mig-3g.20gb": "0.428571428571", "nvidia.com/gpu": 1},
            id="MIG mixed: the label counts all GPUs",
        ),
        pytest.param(
            {"nvidia.com/mig-1g.5gb": 5}, {}, "", 1, {"nvidia.com/mig-1g.5gb": SEVENTH}, id="MIG mixed, no labels"
        ),
        pytest.param(
            {"nvidia.com/mig-1g.5gb.shared": 14}, gfd(A100, 1, **{"mig-1g__5gb__replicas": "2"}), None, 1,
            {"nvidia.com/mig-1g.5gb.shared": "0.071428571428"}, id="MIG slices, time-sliced",
        ),
        pytest.param(
            {"nvidia.com/gpu": 7},
            {
                "cloud.google.com/gke-accelerator": "nvidia-tesla-a100",
                "cloud.google.com/gke-gpu-partition-size": "1g.5gb",
            },
            "nvidia-tesla-a100", 1, {"nvidia.com/gpu": SEVENTH}, id="GKE, divided",
        ),
        pytest.param(
            {"nvidia.com/gpu": 6},
            {
                "cloud.google.com/gke-accelerator": "nvidia-l4",
                "cloud.google.com/gke-max-shared-clients-per-gpu": "3",
            },
            "nvidia-l4", 2, {"nvidia.com/gpu": "0.333333333333"}, id="GKE, shared",
        ),
        pytest.param(
            {"nvidia.com/gpu": 0}, {"karpenter.k8s.aws/instance-gpu-count": "8"}, "", 0, {},
            id="GPUs that no device plugin offers",
        ),
        pytest.param({"amd.com/gpu": 8}, {"amd.com/gpu.product-name": "AMD_Instinct_MI300X"}, "amd-mi300x", 8,
                     {"amd.com/gpu": 1}, id="AMD"),
        pytest.param({"nvidia.com/gpu": 8}, gfd(f"{A100}-MIG-INVALID", 0, 0), None, 8, {"nvidia.com/gpu": 1},
                     id="GFD says that the configuration is invalid"),
        pytest.param({"cpu": 4, "nvidia.com/gpumem": 100}, {}, "", 0, {}, id="none"),
    ],
)  # fmt: skip
def test_what_a_node_has(
    capacity: dict[str, int], labels: dict[str, str], product: str | None, gpus: int, shares: dict[str, str]
) -> None:
    division = divide({name: Decimal(units) for name, units in capacity.items()}, labels)
    assert division.gpus == gpus
    assert division.shares == {name: Decimal(share) for name, share in shares.items()}
    if product is not None:
        assert division.product == product


@given(st.integers(1, 7), st.integers(1, 48), st.booleans())
def test_the_units_of_a_gpu_never_are_more_than_it(slices: int, replicas: int, shared: bool) -> None:
    resource = f"nvidia.com/mig-{slices}g.5gb{'.shared' if shared else ''}"
    labels = {f"nvidia.com/mig-{slices}g.5gb.replicas": str(replicas)}
    (share,) = divide({resource: Decimal(1)}, labels).shares.values()
    units = 7 // slices * replicas
    assert Decimal("-1e-9") < units * share - Decimal(7 // slices * slices) / 7 <= 0


def test_which_resources_are_gpus() -> None:
    for name in ("nvidia.com/gpu", "nvidia.com/gpu.shared", "nvidia.com/mig-1g.10gb", "nvidia.com/mig-1g.10gb.shared",
                 "nvidia.com/mig-1g.5gb.me", "amd.com/gpu"):  # fmt: skip
        assert is_gpu(name)
    for name in ("cpu", "nvidia.com/gpumem", "nvidia.com/gpucores", "nvidia.com/gpu.count", "requests.nvidia.com/gpu"):
        assert not is_gpu(name)


def test_quantities_as_kubernetes_writes_them() -> None:
    for text, expected in [
        *[("8", "8"), ("0", "0"), ("63770m", "63.77"), ("2Ki", "2048"), ("1.5Gi", "1610612736"), ("3k", "3000")],
        *[("1e3", "1000"), ("5E", "5e18"), ("12e-1", "1.2"), ("100u", "0.0001"), ("2Ti", "2199023255552")],
    ]:
        assert quantity(text) == Decimal(expected)
    assert quantity(4) == 4
    for text in ("", "eight", "8GB", "Ki", "NaN", "Infinity", "1 Gi", "8im"):
        with pytest.raises(ValueError, match="expected a quantity"):
            quantity(text)


def test_instants_and_versions() -> None:
    assert instant("2026-11-20T23:46:40Z") == instant("2026-11-21T00:46:40.999999+01:00") == 1_795_218_400
    for text in ("", "soon", "2026-11-20T23:46:40"):
        with pytest.raises(ValueError, match=r"\w"):
            instant(text)
    assert [version("12"), version(""), version("x12"), version("٣")] == [12, 0, 0, 0]
