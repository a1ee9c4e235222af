"""One pod of the cluster: what it holds of its node's GPUs from when to when, whose it is, and where its engine's page
is. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from sys import intern

import msgspec

from collectors.cluster.discovery import Discover, has_sidecar, page_url
from collectors.cluster.gpus import PREFIXES, is_gpu
from collectors.cluster.objects import Container, PodStatus, WirePod, instant, quantities, version
from collectors.cluster.owners import own_labels, owner
from collectors.records import OPEN, Labels

_DECODER = msgspec.json.Decoder(WirePod)
_ENDED = ("Succeeded", "Failed")


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod with GPUs, or with an engine to scrape, as of `version`.

    `start` is when it was put on `node` (epoch seconds), `end` when it was over, `OPEN` while it is not. `stopped`:
    when the last container of a pod that is being deleted ended, else `OPEN`. `requests`: units of GPU resources it
    holds. `labels` are those of matching, namespace labels aside. `url`: its metrics page; "" if it is no engine.
    `sidecar`: an exporter of its own reads its engine.
    """

    key: str
    version: int
    namespace: str
    name: str
    node: str
    start: int
    end: int
    stopped: int
    requests: tuple[tuple[str, Decimal], ...]
    labels: Labels
    url: str
    sidecar: bool


def parse(data: bytes | msgspec.Raw, discover: Discover) -> Pod | None:
    """The pod in an API object; None if it is on no node yet, or has neither GPUs nor an engine.

    Raises ValueError (msgspec.DecodeError among them) for what is no pod.
    """
    wire = _DECODER.decode(data)
    meta, spec = wire.metadata, wire.spec
    requests = effective_requests(spec.containers, spec.init_containers or ())
    url = page_url(wire, discover)
    if not spec.node_name or not (requests or url):
        return None
    labels = meta.labels or {}
    kind, name = owner(labels, meta.owner_references or (), meta.name)
    start = scheduled_at(wire)
    ours = {"namespace": meta.namespace, "owner": name, "owner_kind": kind, "pod": meta.name, "node": spec.node_name}
    return Pod(
        key=meta.uid,
        version=version(meta.resource_version),
        namespace=intern(meta.namespace),
        name=meta.name,
        node=intern(spec.node_name),
        start=start,
        end=max(start, ended_at(wire.status, start)),
        stopped=max(start, stopped_at(wire)),
        requests=tuple(sorted(requests.items())),
        labels=tuple((key, intern(value)) for key, value in ours.items()) + own_labels(labels),
        url=url or "",
        sidecar=has_sidecar(wire),
    )


def effective_requests(containers: Iterable[Container], init_containers: Iterable[Container]) -> dict[str, Decimal]:
    """Units of each GPU resource that the scheduler sets aside for a pod.

    Containers and sidecars (init containers that keep running) hold theirs together; an ordinary init container needs
    its own beside the sidecars started before it. The pod holds the larger of the two all its life.
    https://kubernetes.io/docs/concepts/workloads/pods/sidecar-containers/#resource-sharing-within-containers
    """
    running: dict[str, Decimal] = {}
    peak: dict[str, Decimal] = {}
    for container in init_containers:
        wanted = _wanted(container)
        if container.restart_policy == "Always":
            running = _sum(running, wanted)
        else:
            for name, units in _sum(running, wanted).items():
                peak[name] = max(peak.get(name, Decimal(0)), units)
    for container in containers:
        running = _sum(running, _wanted(container))
    held = {name: max(running.get(name, Decimal(0)), peak.get(name, Decimal(0))) for name in {**peak, **running}}
    return {intern(name): units for name, units in held.items() if units > 0}


def _wanted(container: Container) -> dict[str, Decimal]:
    """GPU resources cannot be overcommitted: request and limit are the same, and either may stand alone."""
    resources = container.resources
    if resources is None:
        return {}
    given = {**(resources.limits or {}), **(resources.requests or {})}
    return {name: units for name, units in quantities(given, PREFIXES).items() if is_gpu(name)}


def _sum(one: Mapping[str, Decimal], other: Mapping[str, Decimal]) -> dict[str, Decimal]:
    return {name: one.get(name, Decimal(0)) + other.get(name, Decimal(0)) for name in {**one, **other}}


def scheduled_at(pod: WirePod) -> int:
    """When the pod was put on its node (epoch seconds): from then on nobody else can have its GPUs."""
    for condition in pod.status.conditions or ():
        if condition.type == "PodScheduled" and condition.status == "True" and condition.last_transition_time:
            return instant(condition.last_transition_time)
    return instant(pod.status.start_time or pod.metadata.creation_timestamp or "")


def ended_at(status: PodStatus, start: int) -> int:
    """When a pod that is over (phase `Succeeded` or `Failed`) let go of its GPUs; `OPEN` for any other.

    The end of its last container; of a pod that was evicted or never admitted the last change of its conditions.
    """
    if status.phase not in _ENDED:
        return OPEN
    finished = _finished_at(status)
    if finished is not None:
        return finished
    changes = [one.last_transition_time for one in status.conditions or () if one.type != "PodScheduled"]
    return max((instant(text) for text in changes if text), default=start)


def stopped_at(pod: WirePod) -> int:
    """When the last container of a pod that is being deleted ended; `OPEN` if one runs, or nobody deletes the pod.

    A container may have crashed before: the pod holds its GPUs at least until its deletion is asked for.
    """
    finished = _finished_at(pod.status)
    if finished is None or not pod.metadata.deletion_timestamp:
        return OPEN
    asked = instant(pod.metadata.deletion_timestamp) - (pod.metadata.deletion_grace_period_seconds or 0)
    return max(finished, asked)


def _finished_at(status: PodStatus) -> int | None:
    """The end of the last container if none runs."""
    ends: list[int] = []
    for container in status.container_statuses or ():
        terminated = container.state.terminated if container.state else None
        if terminated is None or not terminated.finished_at:
            return None
        ends.append(instant(terminated.finished_at))
    return max(ends, default=None)
