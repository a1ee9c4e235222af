"""Which workload the GPUs of a pod belong to: the one that its tokens belong to, where its engine says so. Pure."""

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from collectors.records import Labels, Window
from exporter.config import Workload
from exporter.ledger.snapshot import UsageSeries
from exporter.reconcile.matching import matches, workload_of

Name = tuple[str, str]
"""(namespace, name) of a pod, or of its owner."""
Served = Mapping[str, Sequence[UsageSeries]]
"""By workload what an engine counted for it; the series grow in place."""

GROUPED = "LeaderWorkerSet"
SURE = (2,)


@dataclass(frozen=True, slots=True)
class Owners:
    """Which workload a pod belongs to: the first configured one that its labels match or its engine serves, else what
    its engine serves, else `namespace/owner`. What its engine serves is looked up in the time of the pod: its name may
    have been another one's before."""

    workloads: Sequence[Workload] = ()
    by_pod: Mapping[Name, Served] = field(default_factory=dict)
    by_owner: Mapping[Name, Served] = field(default_factory=dict)

    @classmethod
    def of(cls, series: Iterable[UsageSeries], workloads: Sequence[Workload]) -> "Owners":
        """From the self-hosted usage that carries the labels of a pod."""
        pods: dict[Name, dict[str, list[UsageSeries]]] = {}
        owners: dict[Name, dict[str, list[UsageSeries]]] = {}
        for one in series:
            labels = dict(one.key.labels)
            if one.key.path == "self_hosted" and "namespace" in labels:
                workload, namespace = workload_of(one.key, workloads), labels["namespace"]
                for name, found in (("pod", pods), ("owner", owners)):
                    if name in labels:
                        found.setdefault((namespace, labels[name]), {}).setdefault(workload, []).append(one)
        return cls(workloads, pods, owners)

    def workload(self, labels: Labels, held: Window) -> str:
        """The workload of a pod with these labels that held GPUs over `held` (open-ended if it still does)."""
        fields = dict(labels)
        served = self._served(fields, held)
        for one in self.workloads:
            if one.name == served or (one.match and matches(one.match, fields)):
                return one.name
        return served or f"{fields.get('namespace', '')}/{fields.get('owner') or fields.get('pod', '')}"

    def _served(self, fields: Mapping[str, str], held: Window) -> str | None:
        """By its own engine, its leader's (whose name its own begins with), or those of its owner's other pods."""
        namespace, pod = fields.get("namespace", ""), fields.get("pod", "")
        leader = pod.rpartition("-")[0] if fields.get("owner_kind") == GROUPED else ""
        for names, name in ((self.by_pod, pod), (self.by_pod, leader), (self.by_owner, fields.get("owner", ""))):
            found = names.get((namespace, name))
            if found and (workload := served_in(found, held)):
                return workload
        return None


def served_in(served: Served, held: Window) -> str | None:
    """The workload that was served over `held`; None if several were: GPUs do not tell them apart. If none was, the one
    before it, else the one after it."""
    if len(served) < 2:
        return next(iter(served), None)
    fits = {name: _best_fit(some, held) for name, some in served.items()}
    best = max(fits.values())
    names = [name for name, fit in fits.items() if fit == best]
    return names[0] if len(names) == 1 else None


def _best_fit(some: Iterable[UsageSeries], held: Window) -> tuple[int, ...]:
    best: tuple[int, ...] = ()
    for one in some:
        if one.starts and (fit := _fit(one, held)) > best:
            best = fit
            if best == SURE:
                break
    return best


def _fit(one: UsageSeries, held: Window) -> tuple[int, ...]:
    """How near the rows of a series are to the time `held`, the greatest being the nearest. Only a row that lies in it
    as a whole was surely counted then: the last row of one pod is the first one of the next, which began later."""
    at = bisect_left(one.starts, held.start)
    if at < len(one.starts) and one.starts[at] + one.seconds[at] <= held.end:
        return SURE
    return (1, one.starts[at - 1], one.starts[0]) if at else (0, -one.starts[0])
