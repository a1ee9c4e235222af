"""What bills made of the list prices of nodes lately: the factor of a calibrated price. Pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import NamedTuple, TypeVar

from collectors.records import HOUR, Node
from exporter.intervals import Intervals, Span
from exporter.ledger.snapshot import BillLine, FactKey
from exporter.prices.nodes import ListPrices
from exporter.reconcile.bill_state import state_of
from exporter.reconcile.cluster import NodeUse
from exporter.reconcile.nodes import billed_uptime, known_share, line_hours, list_rents, prices_node, uptime

K = TypeVar("K")

LEARN_DAYS = 7
LEARN_HOURS = 24
LEAST, MOST = Decimal("0.02"), Decimal("1.5")


@dataclass(frozen=True, slots=True)
class Calibration:
    """Learned factors billed / list, by group of nodes from narrow to wide, and over all nodes by bill collector."""

    factors: Mapping[tuple[str, ...], Decimal] = field(default_factory=dict)
    by_collector: Mapping[str, Decimal] = field(default_factory=dict)

    def factor(self, node: Node) -> Decimal | None:
        """The factor of the narrowest group of `node` that has one; None: not calibrated."""
        return next((self.factors[group] for group in groups(node) if group in self.factors), None)


def groups(node: Node) -> tuple[tuple[str, ...], ...]:
    """The groups that a node learns in, narrow first: its family, region and tier; its family and tier; its tier."""
    family = node.instance_type.split(".")[0].split("-")[0] if node.provider != "azure" else node.instance_type
    return (
        (node.provider, node.tier, family, node.region),
        (node.provider, node.tier, family),
        (node.provider, node.tier),
    )


def learn(
    uses: Iterable[NodeUse],
    lines_of: Mapping[FactKey, Sequence[BillLine]],
    prices: ListPrices,
    fx: Mapping[str, Decimal],
    now: int,
) -> Calibration:
    """The factors billed / list of the last 7 settled days before `now`, from groups with at least 24 node-hours of
    both. Factors outside 0.02 to 1.5 are cut off there. `lines_of` are the lines of each node."""
    by_group: dict[tuple[str, ...], Lesson] = {}
    by_collector: dict[str, Lesson] = {}
    for use in uses:
        for collector, lesson in _lessons(use, lines_of.get(use.key, ()), prices, fx, now):
            by_collector[collector] = by_collector.get(collector, Lesson()).plus(lesson)
            for group in groups(use.node):
                by_group[group] = by_group.get(group, Lesson()).plus(lesson)
    return Calibration(_factors(by_group), _factors(by_collector))


class Lesson(NamedTuple):
    """What settled lines say of some nodes: the node-hours they bill, what they bill, and their list price, in USD."""

    hours: Decimal = Decimal(0)
    billed: Decimal = Decimal(0)
    listed: Decimal = Decimal(0)

    def plus(self, other: "Lesson") -> "Lesson":
        return Lesson(self.hours + other.hours, self.billed + other.billed, self.listed + other.listed)


def _factors(lessons: Mapping[K, Lesson]) -> dict[K, Decimal]:
    return {
        group: min(MOST, max(LEAST, one.billed / one.listed))
        for group, one in lessons.items()
        if one.hours >= LEARN_HOURS and one.listed > 0
    }


def _lessons(
    use: NodeUse, lines: Sequence[BillLine], prices: ListPrices, fx: Mapping[str, Decimal], now: int
) -> Iterator[tuple[str, Lesson]]:
    """What each collector's settled lines for a node teach together: an hour of it may be billed in several lines, such
    as its GPUs, cores and memory, or less a discount. Nothing where a part of that time has no list price."""
    up = uptime(use.node)
    spans: dict[str, list[Span]] = {}
    billed: dict[str, Decimal] = {}
    for line, hours in zip(lines, line_hours(lines), strict=True):
        charge, name = line.charge, line.collector
        recent = charge.window.start >= now - LEARN_DAYS * 24 * HOUR - 72 * HOUR
        if recent and prices_node(charge) and charge.currency in fx and state_of(line, now) != "provisional":
            usd = charge.effective_cost * fx[charge.currency] * known_share(charge, up, hours)
            billed[name] = billed.get(name, Decimal(0)) + usd
            spans.setdefault(name, []).extend(billed_uptime(charge, up, hours))
    for name, usd in billed.items():
        seconds = Intervals(spans[name])
        rents = list_rents(use, prices, fx, seconds, None)
        if seconds and sum(rent.seconds.seconds for rent in rents) == seconds.seconds:
            listed = sum((rent.usd(seconds) for rent in rents), Decimal(0))
            yield name, Lesson(Decimal(seconds.seconds) / HOUR, usd, listed)
