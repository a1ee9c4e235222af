"""Which workload a usage series belongs to: the first configured name that matches, else the owner, else the model."""

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase

from collectors.records import Path
from exporter.config import Workload
from exporter.ledger.snapshot import SeriesKey, UsageSeries


def workload_of(key: SeriesKey, workloads: Sequence[Workload]) -> str:
    """The workload of a series: first configured `match`, else `<namespace>/<owner>` of its labels, else its model."""
    fields = {"provider": key.provider, "model": key.model, "collector": key.collector, **dict(key.labels)}
    for workload in workloads:
        if matches(workload.match, fields):
            return workload.name
    if fields.get("namespace") and fields.get("owner"):
        return f"{fields['namespace']}/{fields['owner']}"
    return key.model


def matches(globs: Mapping[str, str], fields: Mapping[str, str]) -> bool:
    """Whether every glob matches the field of its name (case-sensitive); a field that is missing never matches."""
    return all(name in fields and fnmatchcase(fields[name], glob) for name, glob in globs.items())


def by_workload(
    series: Iterable[UsageSeries], workloads: Sequence[Workload]
) -> dict[tuple[str, Path], list[UsageSeries]]:
    """The series of each workload and path, workloads in order of their first appearance."""
    found: dict[tuple[str, Path], list[UsageSeries]] = {}
    for one in series:
        found.setdefault((workload_of(one.key, workloads), one.key.path), []).append(one)
    return found
