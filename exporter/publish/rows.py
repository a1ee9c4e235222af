"""Samples being gathered: checked label by label, folded into `other` beyond the series budget, float at the end."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import zip_longest
from operator import itemgetter
from typing import NamedTuple

from exporter.publish.families import BY_NAME, FAMILIES, Family

OTHER = "other"

Number = Decimal | int | float
Labels = tuple[str, ...]


class SampleError(ValueError):
    """A sample that must not reach the page: unknown family, wrong number of labels, or given twice."""


class Sample(NamedTuple):
    """One sample. `created` is when a counter began (epoch seconds), None where that is not known."""

    labels: Labels
    value: float
    created: float | None = None


class Block(NamedTuple):
    """Some samples of one family, sorted by labels: one value for each series, and of counters when it began (see
    `Sample`). What has not changed since the last page is the very same object."""

    labels: tuple[Labels, ...]
    values: tuple[float, ...]
    created: tuple[float | None, ...] = ()


@dataclass(frozen=True, slots=True)
class FamilySamples:
    """The samples of one family, sorted by labels: block after block."""

    family: Family
    blocks: tuple[Block, ...]

    @classmethod
    def of(cls, family: Family, samples: Sequence[Sample]) -> "FamilySamples":
        """These samples (sorted by labels) as one block."""
        if not samples:
            return cls(family, ())
        labels, values, created = zip(*samples, strict=True)
        return cls(family, (Block(labels, values, created if family.kind == "counter" else ()),))

    @property
    def samples(self) -> list[Sample]:
        return [Sample(*row) for block in self.blocks for row in zip_longest(*block)]


class Rows:
    """Gathers samples by family. The workloads in `folded` share the name `other` where values may be added."""

    def __init__(self, folded: Collection[str] = ()) -> None:
        self._folded = frozenset(folded)
        self._rows: dict[str, dict[Labels, tuple[Number, float | None]]] = {}
        self._beyond: dict[str, set[Labels]] = {}

    def add(self, name: str, labels: Labels, value: Number | None, created: float | None = None) -> None:
        """Add one sample; a `value` of None is not known, and absent. Raises SampleError, see there."""
        if value is None:
            return
        family = BY_NAME.get(name)
        if family is None or len(labels) != len(family.labels):
            raise _malformed(name, labels)
        if self._folded and family.labels[:1] == ("workload",) and labels[0] in self._folded:
            self._fold(family, labels, value, created)
            return
        rows = self._rows.setdefault(name, {})
        if labels in rows:
            raise given_twice(family, labels)
        rows[labels] = value, created

    def _fold(self, family: Family, labels: Labels, value: Number, created: float | None) -> None:
        beyond = self._beyond.setdefault(family.name, set())
        if labels in beyond:
            raise given_twice(family, labels)
        beyond.add(labels)
        if family.fold == "drop":
            return
        rows = self._rows.setdefault(family.name, {})
        merged = (OTHER, *labels[1:])
        if merged in rows:
            before, began = rows[merged]
            value = _exact(before) + _exact(value)
            created = min((at for at in (began, created) if at is not None), default=None)
        rows[merged] = value, created

    def beyond_budget(self) -> dict[str, int]:
        """Series per family with workloads that were folded or dropped; 0 where all kept their names."""
        by_workload = [family.name for family in FAMILIES if family.labels[:1] == ("workload",)]
        there = [name for name in by_workload if name in self._rows or name in self._beyond]
        return {name: len(self._beyond.get(name, ())) for name in there}

    def families(self) -> list[FamilySamples]:
        """All families with samples in the table's order."""
        there = [family for family in FAMILIES if family.name in self._rows]
        return [FamilySamples.of(family, _floats(self._rows[family.name])) for family in there]


PLACE = {family.name: place for place, family in enumerate(FAMILIES)}
"""Where each family stands in the table."""


def known_family(name: str, labels: Labels) -> Family:
    """The family of that name; SampleError if there is none, or none with so many labels."""
    family = BY_NAME.get(name)
    if family is None or len(labels) != len(family.labels):
        raise _malformed(name, labels)
    return family


def _malformed(name: str, labels: Labels) -> SampleError:
    if name not in BY_NAME:
        return SampleError(f"{name}: not in the table of metric families")
    return SampleError(f"{name}: expected the labels {BY_NAME[name].labels}, got the values {labels}")


def given_twice(family: Family, labels: Labels) -> SampleError:
    return SampleError(f"{family.name}: given twice for {dict(zip(family.labels, labels, strict=True))}")


def in_order(families: Iterable[FamilySamples]) -> list[FamilySamples]:
    """Families in the table's order."""
    return sorted(families, key=lambda one: PLACE[one.family.name])


def merged(families: Iterable[FamilySamples]) -> list[FamilySamples]:
    """Families in the table's order, those of one name as one. No block may lie inside another."""
    found: dict[str, FamilySamples] = {}
    for one in families:
        before = found.get(one.family.name)
        blocks = sorted((*before.blocks, *one.blocks), key=lambda block: block.labels[0]) if before else one.blocks
        found[one.family.name] = FamilySamples(one.family, tuple(blocks))
    return in_order(found.values())


def _exact(value: Number) -> Decimal:
    return value if isinstance(value, Decimal) else Decimal(value)


def _floats(rows: dict[Labels, tuple[Number, float | None]]) -> list[Sample]:
    ordered = sorted(rows.items(), key=itemgetter(0))
    return [Sample(labels, float(value), created) for labels, (value, created) in ordered]
