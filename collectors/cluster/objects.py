"""The fields of nodes, pods and namespaces that the collector reads, as the API server spells them; the rest of an
object is skipped while it is decoded. Names and meaning: https://kubernetes.io/docs/reference/kubernetes-api/. Pure.
"""

import re
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal

import msgspec

Quantities = dict[str, str | int | float]

_QUANTITY = re.compile(
    r"([+-]?(?:\d{1,30}\.?\d{0,30}|\.\d{1,30}))(?:([eE][+-]?\d{1,2})|([numk]|[KMGTPE]i|[MGTPE]))?", re.ASCII
)
_SUFFIXES = {
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    "": Decimal(1),
    **{suffix: Decimal(10) ** (3 * (i + 1)) for i, suffix in enumerate("kMGTPE")},
    **{f"{suffix}i": Decimal(1024) ** (i + 1) for i, suffix in enumerate("KMGTPE")},
}


class Wire(msgspec.Struct, rename="camel", gc=False):
    """An object on the wire; a field that is not there is None."""


class OwnerReference(Wire):
    kind: str = ""
    name: str = ""
    controller: bool | None = None


class Metadata(Wire):
    uid: str
    name: str
    namespace: str = ""
    resource_version: str = ""
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    deletion_grace_period_seconds: int | None = None
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    owner_references: list[OwnerReference] | None = None


class NodeSpec(Wire):
    provider_id: str = msgspec.field(name="providerID", default="")


class NodeStatus(Wire):
    capacity: Quantities | None = None


class WireNode(Wire):
    metadata: Metadata
    spec: NodeSpec = msgspec.field(default_factory=NodeSpec)
    status: NodeStatus = msgspec.field(default_factory=NodeStatus)


class Resources(Wire):
    requests: Quantities | None = None
    limits: Quantities | None = None


class Port(Wire):
    container_port: int
    name: str = ""


class Container(Wire):
    name: str = ""
    image: str = ""
    command: list[str] | None = None
    args: list[str] | None = None
    ports: list[Port] | None = None
    resources: Resources | None = None
    restart_policy: str | None = None


class PodSpec(Wire):
    node_name: str = ""
    containers: list[Container] = []
    init_containers: list[Container] | None = None


class Condition(Wire):
    type: str
    status: str = ""
    last_transition_time: str | None = None


class Terminated(Wire):
    finished_at: str | None = None


class ContainerState(Wire):
    terminated: Terminated | None = None


class ContainerStatus(Wire):
    state: ContainerState | None = None


class PodStatus(Wire):
    phase: str = ""
    pod_ip: str = msgspec.field(name="podIP", default="")
    start_time: str | None = None
    conditions: list[Condition] | None = None
    container_statuses: list[ContainerStatus] | None = None


class WirePod(Wire):
    metadata: Metadata
    spec: PodSpec
    status: PodStatus = msgspec.field(default_factory=PodStatus)


class WireObject(Wire):
    """Any object, for what all have."""

    metadata: Metadata


class ListMetadata(Wire):
    resource_version: str = ""
    continue_: str | None = msgspec.field(name="continue", default=None)


class Page(Wire):
    """One page of a list. Its items are decoded one by one: one that is garbage does not spoil the others."""

    metadata: ListMetadata
    items: list[msgspec.Raw] | None = None


class Event(Wire):
    """One line of a watch."""

    type: str
    object: msgspec.Raw


class Status(Wire):
    """What the API server says instead of an answer."""

    code: int | None = None
    reason: str | None = None
    message: str | None = None


def quantity(value: str | int | float) -> Decimal:
    """The number behind a quantity such as `8`, `63770m` or `32Gi`. ValueError if it is none."""
    text = str(value)
    match = _QUANTITY.fullmatch(text)
    if match is None:
        raise ValueError(f"expected a quantity like '8' or '32Gi', got {text[:40]!r}")
    return Decimal(match[1] + (match[2] or "")) * _SUFFIXES[match[3] or ""]


def quantities(values: Mapping[str, str | int | float] | None, wanted: tuple[str, ...]) -> dict[str, Decimal]:
    """The quantities whose names begin with one of `wanted`."""
    return {name: quantity(value) for name, value in (values or {}).items() if name.startswith(wanted)}


def instant(text: str) -> int:
    """Epoch seconds of an RFC 3339 time. ValueError if it is none, or has no zone."""
    time = datetime.fromisoformat(text)
    if time.tzinfo is None:
        raise ValueError(f"expected a time with a zone, got {text[:40]!r}")
    return int(time.timestamp())


def version(text: str) -> int:
    """A resource version as a number, to compare versions of one object by; 0 if it is none (then all are alike)."""
    return int(text) if text.isascii() and text.isdecimal() else 0
