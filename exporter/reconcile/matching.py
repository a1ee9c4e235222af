"""Which workload a usage series belongs to: the first configured name that matches, else the owner, else the model."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import translate
from functools import lru_cache

from collectors.kinds import kind_of
from collectors.records import Path
from exporter.config import Config, DecisionSettings, Workload
from exporter.ledger.snapshot import SeriesKey, Snapshot, UsageSeries
from exporter.reconcile.memo import once_for_each

_MAGIC = re.compile(r"[*?[]")
_REMEMBERED = 100_000
"""Series whose workload is remembered: usage with a session id among its labels must not fill the memory."""


class Names:
    """The configured workloads, indexed: asked for every series and record, with a thousand workloads."""

    def __init__(self, workloads: Sequence[Workload]) -> None:
        self.by_name: dict[str, Workload] = {}
        self._exact: dict[tuple[str, str], list[tuple[int, Workload]]] = {}  # by one of its globs that is no pattern
        self._patterns: list[tuple[int, Workload]] = []
        self._known: dict[SeriesKey, str] = {}
        for at, workload in enumerate(workloads):
            self.by_name.setdefault(workload.name, workload)
            exact = next((pair for pair in workload.match.items() if not _MAGIC.search(pair[1])), None)
            (self._patterns if exact is None else self._exact.setdefault(exact, [])).append((at, workload))

    def of(self, key: SeriesKey) -> str:
        """See `workload_of`."""
        name = self._known.get(key)
        if name is None:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            name = self._known[key] = self._find(key)
        return name

    def _find(self, key: SeriesKey) -> str:
        fields = {"provider": key.provider, "model": key.model, "collector": key.collector, **dict(key.labels)}
        candidates = [*self._patterns, *(one for pair in fields.items() for one in self._exact.get(pair, ()))]
        matching = [(at, workload.name) for at, workload in candidates if matches(workload.match, fields)]
        if matching:
            return min(matching)[1]
        if fields.get("namespace") and fields.get("owner"):
            return f"{fields['namespace']}/{fields['owner']}"
        return key.model


@once_for_each
def names_of(workloads: Sequence[Workload]) -> Names:
    """The index of `workloads`."""
    return Names(workloads)


def decision_of(config: Config, name: str) -> DecisionSettings:
    """The decision settings of a workload, configured or not."""
    workload = names_of(config.workloads).by_name.get(name)
    return (workload.decision if workload else None) or config.decision


def workload_of(key: SeriesKey, workloads: Sequence[Workload]) -> str:
    """The workload of a series: first configured `match`, else `<namespace>/<owner>` of its labels, else its model."""
    return names_of(workloads).of(key)


def matches(globs: Mapping[str, str], fields: Mapping[str, str]) -> bool:
    """Whether every glob matches the field of its name (case-sensitive); a field that is missing never matches."""
    return all(name in fields and _glob(glob)(fields[name]) for name, glob in globs.items())


def by_workload(
    series: Iterable[UsageSeries], workloads: Sequence[Workload]
) -> dict[tuple[str, Path], list[UsageSeries]]:
    """The series of each workload and path, workloads in order of their first appearance."""
    names = names_of(workloads)
    found: dict[tuple[str, Path], list[UsageSeries]] = {}
    for one in series:
        found.setdefault((names.of(one.key), one.key.path), []).append(one)
    return found


@lru_cache(maxsize=16384)
def _glob(glob: str) -> Callable[[str], object]:
    """As fnmatch.fnmatchcase, which remembers 256 patterns only."""
    return re.compile(translate(glob)).match if _MAGIC.search(glob) else glob.__eq__


def accounts_of(config: Config, provider: str | None = None) -> set[str]:
    """The collectors that read a provider's own account of the usage it bills: this one's, or anyone's."""
    accounts = (one for one in config.collectors if kind_of(one.kind).history == "account")
    return {one.name for one in accounts if provider in (None, one.kind)}


def check_collectors(config: Config, snapshot: Snapshot | None = None) -> frozenset[str]:
    """The names of the collectors with `role: check`, and those in `snapshot` that had it and are not configured now:
    what only checked a meter does not become traffic of its own because it was taken out, or named anew."""
    checks = {one.name for one in config.collectors if getattr(one, "role", "meter") == "check"}
    gone = snapshot.checks - {one.name for one in config.collectors} if snapshot is not None else frozenset()
    return frozenset(checks | gone)
