"""Sums of many rents over any time, in a few look-ups: a workload with 90 daily bill lines is asked for six windows at
every slot. Pure.

A few rents are summed one by one. Of many, those that run over one span each are laid out in layers of rents that do
not overlap; of each layer the running total is kept, so that a span is the difference of two, exact to 60 digits.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Context, Decimal

from collectors.records import Component
from exporter.intervals import Intervals
from exporter.reconcile.rents import Rent
from exporter.reconcile.report import Evidence

FEW = 8
_EXACT = Context(prec=60)

GroupKey = tuple[str, Component, Evidence]
"""(collector, component, evidence)."""


class Layer:
    """Rents of one span each that do not overlap, by time."""

    __slots__ = ("_asked", "_ends", "_rents", "_starts", "_totals")

    def __init__(self) -> None:
        self._asked = 0, Decimal(0)  # the newest end asked for and what runs until then: windows share their end
        self._starts: list[int] = []
        self._ends: list[int] = []
        self._rents: list[Rent] = []
        self._totals: list[Decimal] = [Decimal(0)]

    def add(self, rent: Rent) -> bool:
        """Append a rent that starts where, or after, the last one ends; False if it does not. All are added before any
        sum is asked for."""
        ((start, end),) = rent.seconds
        if self._ends and start < self._ends[-1]:
            return False
        self._starts.append(start)
        self._ends.append(end)
        self._rents.append(rent)
        self._totals.append(_EXACT.add(self._totals[-1], _usd(rent, end - start)))
        return True

    def usd(self, start: int, end: int) -> Decimal:
        if self._asked[0] != end:
            self._asked = end, self._until(end)
        return _EXACT.subtract(self._asked[1], self._until(start))

    def _until(self, at: int) -> Decimal:
        i = bisect_right(self._starts, at) - 1
        if i < 0 or at >= self._ends[i]:
            return self._totals[i + 1]
        return _EXACT.add(self._totals[i], _usd(self._rents[i], at - self._starts[i]))


class Group:
    """The rents of one collector, component and evidence."""

    def __init__(self, rents: Sequence[Rent]) -> None:
        self.seconds = Intervals(span for rent in rents for span in rent.seconds)
        many = len(rents) > FEW
        self._single = [rent for rent in rents if not many or len(rent.seconds.spans) != 1]
        self._layers: list[Layer] = []
        for rent in sorted((rent for rent in rents if rent.seconds), key=_start) if many else ():
            if len(rent.seconds.spans) == 1 and not any(layer.add(rent) for layer in self._layers):
                self._layers.append(Layer())
                self._layers[-1].add(rent)

    def usd(self, covered: Intervals) -> Decimal:
        """USD over the part of `covered` in which each rent runs."""
        total = Decimal(0)
        for layer in self._layers:
            for start, end in covered:
                total = _EXACT.add(total, layer.usd(start, end))
        total = +total
        for rent in self._single:
            total += rent.usd(covered)
        return total


@dataclass(slots=True)
class RentSums:
    """`of(rents)` are their groups, `on_nodes(rents)` those of machines of a cluster; made once for the same rents."""

    _rents: Sequence[Rent] = ()
    _nodes: tuple[Rent, ...] = ()
    _groups: dict[GroupKey, Group] = field(default_factory=dict)

    def of(self, rents: Sequence[Rent]) -> dict[GroupKey, Group]:
        if self._rents is not rents:
            self._rents, self._groups = rents, _grouped(rents)
            self._nodes = tuple(rent for rent in rents if rent.node)
        return self._groups

    def on_nodes(self, rents: Sequence[Rent]) -> tuple[Rent, ...]:
        self.of(rents)
        return self._nodes


def _grouped(rents: Iterable[Rent]) -> dict[GroupKey, Group]:
    found: dict[GroupKey, list[Rent]] = {}
    for rent in rents:
        found.setdefault((rent.collector, rent.component, rent.evidence), []).append(rent)
    return {key: Group(some) for key, some in found.items()}


def _start(rent: Rent) -> int:
    return rent.seconds.spans[0][0]


def _usd(rent: Rent, seconds: int) -> Decimal:
    return _EXACT.divide(_EXACT.multiply(rent.amount_usd, Decimal(seconds)), Decimal(rent.per_seconds))
