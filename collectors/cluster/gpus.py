"""How a node's schedulable GPU resources divide its physical GPUs: whole, time-sliced, in MIG slices. Pure.

Facts: the labels of NVIDIA's GPU feature discovery (`nvidia.com/gpu.count` is the number of physical GPUs, except under
`mig.strategy: single`, where it counts slices; `.replicas` is how often each is offered under time-slicing or MPS), of
GKE (`cloud.google.com/gke-*`), Karpenter and EKS. A MIG profile `2g.20gb` is 2 of the 7 compute slices of a GPU (of 4
on an A30); slices that no further profile fits into belong to nobody, so shares are always of all compute slices.
"""

import re
from collections.abc import Mapping
from decimal import ROUND_CEILING, ROUND_DOWN, Decimal
from typing import NamedTuple

from collectors.gpu_names import gpu_product

PREFIXES = ("nvidia.com/gpu", "nvidia.com/mig-", "amd.com/gpu")
_RESOURCE = re.compile(r"(?:nvidia\.com/(?:gpu|mig-[0-9a-z.+]+?)(?:\.shared)?|amd\.com/gpu)")
_PROFILE = re.compile(r"(\d)g\.(\d+)gb")
_MEMORY = re.compile(r"(\d+)GB", re.IGNORECASE)
_EXACT = Decimal("1e-12")

_PRODUCT_LABELS = (
    *("nvidia.com/gpu.product", "cloud.google.com/gke-accelerator", "amd.com/gpu.product-name"),
    *("karpenter.k8s.aws/instance-gpu-name", "eks.amazonaws.com/instance-gpu-name"),
)
_COUNT_LABELS = (
    *("cloud.google.com/gke-accelerator-count", "karpenter.k8s.aws/instance-gpu-count"),
    "eks.amazonaws.com/instance-gpu-count",
)
_CLIENTS_LABEL = "cloud.google.com/gke-max-shared-clients-per-gpu"
_PARTITION_LABEL = "cloud.google.com/gke-gpu-partition-size"


class Profile(NamedTuple):
    """A MIG profile: compute slices and memory in GB of one instance."""

    slices: int
    memory_gb: int


class Division(NamedTuple):
    """`gpus` physical GPUs, and how many of them one unit of each resource is."""

    product: str
    gpus: Decimal
    shares: Mapping[str, Decimal]


def is_gpu(resource: str) -> bool:
    """Whether a pod that is granted `resource` holds GPUs, or parts of them."""
    return _RESOURCE.fullmatch(resource) is not None


def divide(capacity: Mapping[str, Decimal], labels: Mapping[str, str]) -> Division:
    """What a node with these resources (those of `is_gpu`, in units) and labels has."""
    offered = {resource: units for resource, units in capacity.items() if is_gpu(resource) and units > 0}
    shares = {resource: _share(resource, labels) for resource in offered}
    told = next((labels[label] for label in _PRODUCT_LABELS if labels.get(label)), "")
    gpus = _physical(offered, shares, labels) if offered else Decimal(0)
    return Division(gpu_product(told), gpus, shares)


def _physical(offered: Mapping[str, Decimal], shares: Mapping[str, Decimal], labels: Mapping[str, str]) -> Decimal:
    counts = _COUNT_LABELS if _single(labels) else ("nvidia.com/gpu.count", *_COUNT_LABELS)
    for label in counts:
        if count := _number(labels.get(label)):
            return Decimal(count)
    single = _single(labels)
    if single is not None:
        units = sum((units / _replicas(resource, labels) for resource, units in offered.items()), Decimal(0))
        return (units / _instances(single, labels)).to_integral_value(ROUND_CEILING)
    return sum((units * shares[resource] for resource, units in offered.items()), Decimal(0)).to_integral_value(
        ROUND_CEILING
    )


def _share(resource: str, labels: Mapping[str, str]) -> Decimal:
    """Physical GPUs behind one unit; rounded down, so that the units of a GPU never are more than it."""
    profile = _profile(resource) or _single(labels)
    whole = Decimal(profile.slices) / _slices(labels) if profile else Decimal(1)
    return (whole / _replicas(resource, labels)).quantize(_EXACT, ROUND_DOWN)


def _replicas(resource: str, labels: Mapping[str, str]) -> int:
    name = resource.removesuffix(".shared")
    return _number(labels.get(f"{name}.replicas")) or _number(labels.get(_CLIENTS_LABEL)) or 1


def _single(labels: Mapping[str, str]) -> Profile | None:
    """The profile of every `nvidia.com/gpu` of a node whose GPUs are all divided alike."""
    return _profile(labels.get(_PARTITION_LABEL, "")) or _profile(
        labels.get("nvidia.com/gpu.product", "").partition("-MIG-")[2]
    )


def _profile(text: str) -> Profile | None:
    match = _PROFILE.search(text)
    return Profile(int(match[1]), int(match[2])) if match and int(match[1]) else None


def _instances(profile: Profile, labels: Mapping[str, str]) -> int:
    """How many instances of one profile fit on a GPU: limited by compute slices, and by memory where it is told."""
    fits = _slices(labels) // profile.slices
    memory = _MEMORY.search(labels.get("nvidia.com/gpu.product", "").partition("-MIG-")[0])
    if memory and profile.memory_gb:
        fits = min(fits, int(memory[1]) // profile.memory_gb)
    return max(fits, 1)


def _slices(labels: Mapping[str, str]) -> int:
    product = next((labels[label] for label in _PRODUCT_LABELS if labels.get(label)), "")
    return 4 if gpu_product(product) == "nvidia-a30" else 7


def _number(text: str | None) -> int:
    return int(text) if text and text.isascii() and text.isdecimal() else 0
