"""One node of the cluster: what bills and catalogues call the machine, and what it has. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from sys import intern

import msgspec

from collectors.cluster.gpus import PREFIXES, divide
from collectors.cluster.objects import WireNode, instant, quantities, version
from collectors.records import OPEN, Node, Window

_DECODER = msgspec.json.Decoder(WireNode)
_GIB = Decimal(1 << 30)
_PROVIDERS = {"aws": "aws", "gce": "gcp", "azure": "azure"}

# Whoever runs the nodes says with a label whether they are spot machines; Google and Azure label only those that are.
_TIERS: tuple[tuple[str, dict[str, str]], ...] = (
    ("karpenter.sh/capacity-type", {"spot": "spot", "on-demand": "on_demand"}),
    ("eks.amazonaws.com/capacityType", {"SPOT": "spot", "ON_DEMAND": "on_demand"}),
    ("cloud.google.com/gke-spot", {"true": "spot"}),
    ("cloud.google.com/gke-preemptible", {"true": "spot"}),
    ("cloud.google.com/gke-provisioning", {"spot": "spot", "preemptible": "spot", "standard": "on_demand"}),
    ("kubernetes.azure.com/scalesetpriority", {"spot": "spot"}),
    ("cloud.google.com/gke-nodepool", {}),
    ("kubernetes.azure.com/agentpool", {}),
)
_UNMARKED = {"cloud.google.com/gke-nodepool", "kubernetes.azure.com/agentpool"}
_POOLS = (
    *("karpenter.sh/nodepool", "eks.amazonaws.com/nodegroup", "cloud.google.com/gke-nodepool"),
    "kubernetes.azure.com/agentpool",
)


@dataclass(frozen=True, slots=True)
class Bare:
    """A node without GPUs: only that it is there."""

    key: str
    version: int


@dataclass(frozen=True, slots=True)
class Machine:
    """A node with GPUs, as of `version`. `shares`: physical GPUs that one unit of each of its GPU resources is."""

    key: str
    version: int
    node: Node
    shares: Mapping[str, Decimal]


def parse(data: bytes | msgspec.Raw, spot_labels: Mapping[str, str]) -> Machine | Bare:
    """The node in an API object. `spot_labels`: further labels, with the value that spot machines have.

    Raises ValueError (msgspec.DecodeError among them) for what is no node.
    """
    wire = _DECODER.decode(data)
    meta, labels = wire.metadata, wire.metadata.labels or {}
    capacity = quantities(wire.status.capacity, (*PREFIXES, "cpu", "memory"))
    division = divide(capacity, labels)
    if not division.gpus:
        return Bare(meta.uid, version(meta.resource_version))
    provider, resource = identity(wire.spec.provider_id)
    memory = capacity.get("memory")
    node = Node(
        key=meta.uid,
        name=meta.name,
        window=Window(instant(meta.creation_timestamp or ""), OPEN),
        gpu=intern(division.product),
        gpus=division.gpus,
        resource=resource,
        provider=provider,
        instance_type=_topology(labels, "node.kubernetes.io/instance-type", "beta.kubernetes.io/instance-type"),
        region=_topology(labels, "topology.kubernetes.io/region", "failure-domain.beta.kubernetes.io/region"),
        zone=_topology(labels, "topology.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/zone"),
        tier=tier(labels, spot_labels),
        vcpus=capacity.get("cpu"),
        memory_gib=None if memory is None else (memory / _GIB).quantize(Decimal("0.001")),
        labels=tuple((intern(name), intern(labels[name])) for name in _POOLS if name in labels),
    )
    return Machine(meta.uid, version(meta.resource_version), node, division.shares)


def identity(provider_id: str) -> tuple[str, str]:
    """The provider, and the machine as its bills name it, of a `spec.providerID`; "" for what it does not tell.

    `aws:///<zone>/<instance id>`, `gce://<project>/<zone>/<name>`, `azure:///subscriptions/...`; of others what follows
    the scheme.
    """
    scheme, separator, rest = provider_id.partition("://")
    if not separator:
        return "", provider_id
    provider = _PROVIDERS.get(scheme, "")
    if provider == "aws":
        return provider, rest.rpartition("/")[2]
    if provider == "azure":
        return provider, f"/{rest.strip('/').lower()}" if rest.strip("/") else ""
    return provider, rest.strip("/")


def tier(labels: Mapping[str, str], spot_labels: Mapping[str, str] | None = None) -> str:
    """`spot`, `on_demand`, or "" where the labels do not tell."""
    if any(labels.get(label) == value for label, value in (spot_labels or {}).items()):
        return "spot"
    for label, tiers in _TIERS:
        if label in labels:
            known = tiers.get(labels[label], "on_demand" if label in _UNMARKED else "")
            if known or label not in ("cloud.google.com/gke-spot", "cloud.google.com/gke-preemptible"):
                return known
    return ""


def _topology(labels: Mapping[str, str], name: str, older: str) -> str:
    return intern(labels.get(name) or labels.get(older) or "")
