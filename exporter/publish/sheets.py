"""The samples of a thousand workloads, page after page: only what changed is made anew.

The report of a workload has the series of the one before it, but for the rare moment in which one comes or goes: so
their order is kept, and a new report only brings new values.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import groupby, pairwise
from typing import NamedTuple, Protocol

from exporter.publish.families import Family
from exporter.publish.rows import (
    PLACE,
    Block,
    FamilySamples,
    Labels,
    Number,
    SampleError,
    given_twice,
    in_order,
    known_family,
)
from exporter.reconcile.report import WorkloadReport


class Adding(Protocol):
    """What samples are added to."""

    def add(self, name: str, labels: Labels, value: Number | None) -> None:
        """Add one sample; a `value` of None is not known, and absent."""


Fill = Callable[[Adding, WorkloadReport], None]
"""Adds the samples of one report: all of its families that begin with the label `workload`, and no other report's."""


class Sheets:
    """The samples of all workloads that keep their names."""

    def __init__(self, fill: Fill) -> None:
        self._fill = fill
        self._sheets: dict[tuple[str, str], _Sheet] = {}

    def __call__(self, reports: Iterable[WorkloadReport]) -> list[FamilySamples]:
        """The samples of `reports` by family, in the table's order. Raises SampleError for a sample that is malformed
        or there twice."""
        last, self._sheets = self._sheets, {}
        blocks: dict[str, list[Block]] = {}
        families: dict[str, Family] = {}
        for report in sorted(reports, key=lambda one: (one.workload, one.path)):
            key = report.workload, report.path
            if key in self._sheets:
                raise SampleError(f"the workload {report.workload} on the path {report.path}: given twice")
            self._sheets[key] = sheet = _sheet(report, self._fill, last.get(key))
            for part, block in zip(sheet.layout.parts, sheet.blocks, strict=True):
                families[part.family.name] = part.family
                blocks.setdefault(part.family.name, []).append(block)
        return in_order(FamilySamples(family, tuple(blocks[name])) for name, family in families.items())


class _Added:
    """Samples in the order they were added in."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.labels: list[Labels] = []
        self.values: list[Number] = []

    def add(self, name: str, labels: Labels, value: Number | None) -> None:
        if value is not None:
            self.names.append(name)
            self.labels.append(labels)
            self.values.append(value)


class _Part(NamedTuple):
    """The series of one family: `[start, end)` of the sheet's order."""

    family: Family
    labels: tuple[Labels, ...]
    start: int
    end: int


class _Layout(NamedTuple):
    """Which series a sheet has, as they were added; `order` sorts them by family and labels."""

    names: list[str]
    labels: list[Labels]
    order: list[int]
    parts: list[_Part]


class _Sheet(NamedTuple):
    """The samples of one workload on one path: a block for each part of the layout."""

    report: WorkloadReport
    layout: _Layout
    blocks: list[Block]


def _sheet(report: WorkloadReport, fill: Fill, last: _Sheet | None) -> _Sheet:
    """The sheet of `report`; `last` is the one before it, whose blocks are used again where no value changed."""
    if last is not None and last.report is report:
        return last
    added = _Added()
    fill(added, report)
    if last is None or last.layout.names != added.names or last.layout.labels != added.labels:
        layout = _laid_out(added.names, added.labels)
        before: list[Block] = [Block((), ())] * len(layout.parts)
    else:
        layout, before = last.layout, last.blocks
    values = [float(added.values[at]) for at in layout.order]
    parts = zip(layout.parts, before, strict=True)
    return _Sheet(report, layout, [_block(labels, tuple(values[a:b]), block) for (_, labels, a, b), block in parts])


def _block(labels: tuple[Labels, ...], values: tuple[float, ...], before: Block) -> Block:
    return before if before.values == values else Block(labels, values)


def _laid_out(names: Sequence[str], labels: Sequence[Labels]) -> _Layout:
    order = sorted(range(len(names)), key=lambda at: (PLACE.get(names[at], -1), labels[at]))
    parts, start = [], 0
    for name, group in groupby(order, key=lambda at: names[at]):
        there = tuple(labels[at] for at in group)
        families = [known_family(name, one) for one in there]
        for one, following in pairwise(there):
            if one == following:
                raise given_twice(families[0], one)
        parts.append(_Part(families[0], there, start, start + len(there)))
        start += len(there)
    return _Layout([*names], [*labels], order, parts)
