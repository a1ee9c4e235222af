"""What a cluster's nodes cost: each second by its bill line, else by the list price times what bills made of it. Pure.

The cost of a node is that of the whole machine; it is shared out by its GPUs (`exporter.reconcile.cluster`). A bill
line counts for the uptime it bills and no more: the rest of the node's time keeps its estimate, so that a bill that is
not complete never lowers a cost.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from itertools import pairwise
from typing import NamedTuple, TypeVar

from collectors.records import HOUR, Charge, Node, Window
from exporter.intervals import Intervals, Span
from exporter.ledger.snapshot import BillLine, FactKey
from exporter.prices.nodes import ListPrices, node_price, price_changes
from exporter.reconcile.bill_state import evidence_of, state_of
from exporter.reconcile.cluster import NodeUse, Share
from exporter.reconcile.evidence import NodeRents
from exporter.reconcile.rents import Rent, hours_of, prices_seconds, whole_period
from exporter.reconcile.report import Evidence

COMPLETE = Decimal("0.99")
"""Billed hours from which on a line stands for all of the uptime in its period: clocks differ by a little."""

WALL_TIME = frozenset({"aws", "amazon web services", "microsoft", "azure", "microsoft azure"})
"""Providers that bill whole machines by the hour."""

K = TypeVar("K")

LEARN_DAYS = 7
LEARN_HOURS = 24
LEAST, MOST = Decimal("0.02"), Decimal("1.5")


@dataclass(frozen=True, slots=True)
class NodeCost:
    """The rents of one whole node. `billed` are bill lines for it; `estimated` is its list price over the time that no
    line bills, and `replaced` over the time that one does. `priced` is when its cost is known."""

    billed: tuple[Rent, ...] = ()
    estimated: tuple[Rent, ...] = ()
    replaced: tuple[Rent, ...] = ()
    priced: Intervals = field(default_factory=Intervals)


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


def billed_uptime(charge: Charge, up: Intervals, hours: Decimal | None) -> Intervals:
    """The seconds of a node's uptime `up` that a line for it bills: those in its charge period, or, where its lines for
    that period bill `hours` and fall short of them by more than 1 %, as many from the first on. A correction bills
    none, nor does what costs nothing: that was paid for elsewhere, such as a capacity block by its fee."""
    inside = up.clip(charge.window.start, charge.window.end)
    if not prices_seconds(charge) or not charge.effective_cost:
        return Intervals()
    if hours is None or hours * HOUR >= COMPLETE * inside.seconds:
        return inside
    return first_seconds(inside, round(hours * HOUR))


def first_seconds(spans: Intervals, seconds: int) -> Intervals:
    """The first `seconds` seconds of `spans`."""
    kept = []
    for start, end in spans:
        kept.append((start, min(end, start + max(0, seconds))))
        seconds -= end - start
    return Intervals(kept)


def uptime(node: Node) -> Intervals:
    return Intervals([(node.window.start, node.window.end)])


def prices_node(charge: Charge) -> bool:
    """Whether a line for a node's resource is for the machine itself, not for its traffic or its disks."""
    return charge.component in ("gpu", "node") and charge.category == "Usage"


def node_cost(
    use: NodeUse,
    lines: Sequence[BillLine],
    elsewhere: Sequence[BillLine],
    prices: ListPrices,
    factor: Decimal | None,
    fx: Mapping[str, Decimal],
    now: int,
) -> NodeCost:
    """The rents of one node, open-ended while it is up. `lines` are the bill lines shared out by its GPUs; `elsewhere`
    those for it that a card or a workload claims as a whole: they only leave nothing to estimate. `now` (epoch seconds)
    says how sure a line is."""
    up = uptime(use.node)
    billed, taken = [], Intervals()
    hours = line_hours(lines)
    for line, billed_for in zip(lines, hours, strict=True):
        charge = line.charge
        if charge.currency in fx and charge.effective_cost:
            seconds = billed_uptime(charge, up, billed_for)
            taken |= seconds if prices_node(charge) else Intervals()
            run = seconds or whole_period(charge) & up or whole_period(charge)
            usd = charge.effective_cost * fx[charge.currency] * known_share(charge, up, billed_for)
            billed.append(
                Rent(
                    component="gpu" if prices_node(charge) else charge.component,
                    evidence=evidence_of(line, now),
                    amount_usd=usd,
                    per_seconds=run.seconds,
                    seconds=run,
                    collector=line.collector,
                    line=line,
                    resource=charge.resource,
                    node=use.node.name,
                    gpus=use.node.gpus,
                )
            )
    for line, billed_for in zip(elsewhere, line_hours(elsewhere), strict=True):
        taken |= billed_uptime(line.charge, up, billed_for) if prices_node(line.charge) else Intervals()
    listed = list_rents(use, prices, fx, up, factor)
    return NodeCost(
        billed=tuple(billed),
        estimated=tuple(_limited(listed, up - taken)),
        replaced=tuple(_limited(listed, taken)),
        priced=taken | Intervals(span for rent in listed for span in rent.seconds),
    )


def line_hours(lines: Sequence[BillLine]) -> list[Decimal | None]:
    """For each line of one node the hours of wall time that its collector bills for the same SKU and period together
    (an hour that a commitment covers in part is two lines); None where a line does not tell: its quantity is no time,
    or, with providers that bill the parts of a machine, core or GPU hours."""
    sums: dict[tuple[str, str, Window], Decimal] = {}
    for line in lines:
        hours = _wall_hours(line.charge)
        if hours is not None:
            key = (line.collector, line.charge.sku, line.charge.window)
            sums[key] = sums.get(key, Decimal(0)) + hours
    return [
        sums[line.collector, line.charge.sku, line.charge.window] if _wall_hours(line.charge) is not None else None
        for line in lines
    ]


def _wall_hours(charge: Charge) -> Decimal | None:
    wall_time = charge.provider.casefold() in WALL_TIME and prices_seconds(charge)
    return hours_of(charge) if wall_time else None


def known_share(charge: Charge, up: Intervals, hours: Decimal | None) -> Decimal:
    """The share of a line's money that the node's known uptime answers for: below 1 where more `hours` are billed than
    the node was seen up. The rest is `unallocated` (`no_k8s_data`)."""
    inside = up.clip(charge.window.start, charge.window.end).seconds
    if not inside:
        return Decimal(0)
    if hours is None or inside >= COMPLETE * hours * HOUR:
        return Decimal(1)
    return Decimal(inside) / (hours * HOUR)


def list_rents(
    use: NodeUse, prices: ListPrices, fx: Mapping[str, Decimal], up: Intervals, factor: Decimal | None
) -> list[Rent]:
    """The list price of a node over its uptime, times `factor` where one was learned."""
    rents = []
    node = use.node
    evidence: Evidence = "list" if factor is None else "calibrated"
    for start, end in up:
        edges = [start, *price_changes(node, prices, start, end), end]
        for a, b in pairwise(edges):
            price = node_price(node, prices, a)
            if price is not None and price.currency in fx and a < b:
                usd = price.price_per_hour * fx[price.currency] * (factor if factor is not None else 1)
                rents.append(
                    Rent(
                        component="gpu",
                        evidence=evidence,
                        amount_usd=usd,
                        per_seconds=HOUR,
                        seconds=Intervals([(a, b)]),
                        collector=use.key[0],
                        resource=node.resource,
                        node=node.name,
                        gpus=node.gpus,
                        price=price,
                        factor=factor,
                    )
                )
    return rents


def workload_rents(uses: Iterable[NodeUse], costs: Mapping[FactKey, NodeCost]) -> dict[str, NodeRents]:
    """Each workload's part of the nodes it holds GPUs of; open-ended where it still holds them."""
    held: dict[str, list[tuple[NodeUse, Share]]] = {}
    for use in uses:
        for share in use.shares:
            if share.holder is not None:
                held.setdefault(share.holder.workload, []).append((use, share))
    return {name: _rents_of(found, costs) for name, found in held.items()}


def _rents_of(found: Sequence[tuple[NodeUse, Share]], costs: Mapping[FactKey, NodeCost]) -> NodeRents:
    billed: list[Rent] = []
    estimated: list[Rent] = []
    replaced: list[Rent] = []
    holding, unpriced = Intervals(), Intervals()
    for use, share in found:
        cost = costs[use.key]
        for rents, into in ((cost.billed, billed), (cost.estimated, estimated), (cost.replaced, replaced)):
            into += [part for rent in rents if (part := rent.part(share.fraction, share.seconds)) is not None]
        holding |= share.seconds
        unpriced |= share.seconds - cost.priced
    collectors = frozenset(use.key[0] for use, _ in found)
    return NodeRents(tuple(billed), tuple(estimated), tuple(replaced), holding, unpriced, collectors)


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


def _limited(rents: Iterable[Rent], seconds: Intervals) -> Iterable[Rent]:
    kept = (replace(rent, seconds=rent.seconds & seconds) for rent in rents)
    return (rent for rent in kept if rent.seconds)
