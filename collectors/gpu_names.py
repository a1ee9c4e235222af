"""One name for a GPU product, whoever names it: bills, catalogues, node labels and drivers all spell it differently.

The name is the one GKE gives in its node label `cloud.google.com/gke-accelerator` (`nvidia-l4`, `nvidia-tesla-t4`,
`nvidia-h100-80gb`; https://cloud.google.com/kubernetes-engine/docs/concepts/gpus), for others one of the same form.
Pure.
"""

import re

_SLICED = re.compile(r"(?:-shared|-mig-[0-9a-z.+]+)+$")  # suffixes of the label nvidia.com/gpu.product
_MODEL = re.compile(r"(?:gb|gh|mi|[abhklptv])\d{1,3}[a-z]?")
_TESLA = {"k80", "p4", "p100", "t4", "v100"}  # GKE names them with their old brand, and the A100 of 40 GB


def gpu_product(text: str) -> str:
    """The product that `text` names: `NVIDIA-A100-SXM4-80GB-MIG-1g.10gb`, `Nvidia Tesla A100 80GB` and
    `nvidia-a100-80gb` are all `nvidia-a100-80gb`. An unknown name comes back in lower case with dashes; "" stays "".

    The same name comes out when it is put in again. What a label does not tell cannot be told apart: an H100 of an
    `a3-megagpu-8g` has the driver's name of any other, so ask the machine type first where it is known.
    """
    slug = re.sub(r"[^a-z0-9.+]+", "-", text.lower()).strip("-")
    words = _SLICED.sub("", slug).split("-")
    model = next((word for word in words if _MODEL.fullmatch(word)), "")
    if model.startswith("mi"):
        return f"amd-{model}"
    if model:
        return _nvidia(model, set(words))
    if "rtx" in words:
        return _workstation(words)
    return "-".join(words)


def _nvidia(model: str, words: set[str]) -> str:
    if model in _TESLA:
        return f"nvidia-tesla-{model}"
    if model == "a100":
        return "nvidia-a100-80gb" if words & {"80gb", "81920mb"} else "nvidia-tesla-a100"
    if model == "h100":
        return _h100(words)
    if model == "h200":
        return "nvidia-h200-nvl" if "nvl" in words else "nvidia-h200-141gb"
    return f"nvidia-{model}"


def _h100(words: set[str]) -> str:
    if words & {"mega", "plus"}:  # Google's catalogue says Plus for what GKE calls mega
        return "nvidia-h100-mega-80gb"
    return next((f"nvidia-h100-{kind}" for kind in ("nvl", "pcie") if kind in words), "nvidia-h100-80gb")


def _workstation(words: list[str]) -> str:
    """RTX cards: the number is the model, and the 6000 with 96 GB is the RTX PRO 6000."""
    number = next((word for word in words if re.fullmatch(r"\d{4}", word)), "")
    pro = "pro" in words or "96gb" in words
    if not number:
        return "-".join(words)
    return f"nvidia-rtx-{'pro-' if pro else ''}{number}{'-ada' if 'ada' in words else ''}"
