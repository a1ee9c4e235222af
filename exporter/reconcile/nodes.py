"""What a cluster's nodes cost: each second by its bill line, else by the list price times what bills made of it. Pure.

The cost of a node is that of the whole machine; it is shared out by its GPUs (`exporter.reconcile.cluster`). A bill
line counts for the uptime it bills and no more: the rest of the node's time keeps its estimate, so that a bill that is
not complete never lowers a cost.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from itertools import pairwise

from collectors.records import HOUR, Charge, Node, Window
from exporter.intervals import Intervals
from exporter.ledger.snapshot import BillLine, FactKey
from exporter.prices.nodes import ListPrices, node_price, price_changes
from exporter.reconcile.bill_state import evidence_of
from exporter.reconcile.cluster import ELSEWHERE, NodeUse, Share
from exporter.reconcile.evidence import NodeRents
from exporter.reconcile.rents import Rent, hours_of, prices_seconds, whole_period
from exporter.reconcile.report import Evidence

COMPLETE = Decimal("0.99")
"""Billed hours from which on a line stands for all of the uptime in its period: clocks differ by a little."""

WALL_TIME = frozenset({"aws", "amazon web services", "microsoft", "azure", "microsoft azure"})
"""Providers that bill whole machines by the hour."""


@dataclass(frozen=True, slots=True)
class NodeCost:
    """The rents of one whole node. `billed` are bill lines for it; `estimated` is its list price over the time that no
    line bills, and `replaced` over the time that one does. `priced` is when its cost is known. Over `claimed` the whole
    machine is on a bill of that workload: what others pay for what they hold of it is not known then."""

    billed: tuple[Rent, ...] = ()
    estimated: tuple[Rent, ...] = ()
    replaced: tuple[Rent, ...] = ()
    priced: Intervals = field(default_factory=Intervals)
    claimed: Mapping[str, Intervals] = field(default_factory=dict)


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
    elsewhere: Sequence[tuple[str, BillLine]],
    prices: ListPrices,
    factor: Decimal | None,
    fx: Mapping[str, Decimal],
    now: int,
) -> NodeCost:
    """The rents of one node, open-ended while it is up. `lines` are the bill lines shared out by its GPUs; `elsewhere`
    those for it that a workload (by a card or a tag) claims as a whole: they only leave nothing to estimate. `now`
    (epoch seconds) says how sure a line is."""
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
    claimed: dict[str, Intervals] = {}
    for (workload, line), billed_for in zip(elsewhere, line_hours([line for _, line in elsewhere]), strict=True):
        if line.charge.currency in fx and prices_node(line.charge):
            seconds = billed_uptime(line.charge, up, billed_for) - taken
            claimed[workload] = claimed.get(workload, Intervals()) | seconds
    taken |= Intervals(span for seconds in claimed.values() for span in seconds)
    listed = list_rents(use, prices, fx, up, factor)
    return NodeCost(
        billed=tuple(billed),
        estimated=tuple(_limited(listed, up - taken)),
        replaced=tuple(_limited(listed, taken)),
        priced=taken | Intervals(span for rent in listed for span in rent.seconds),
        claimed=claimed,
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
            if share.holder is not None and share.holder.workload != ELSEWHERE:
                held.setdefault(share.holder.workload, []).append((use, share))
    return {name: _rents_of(name, found, costs) for name, found in held.items()}


def _rents_of(name: str, found: Sequence[tuple[NodeUse, Share]], costs: Mapping[FactKey, NodeCost]) -> NodeRents:
    billed: list[Rent] = []
    estimated: list[Rent] = []
    replaced: list[Rent] = []
    holding, unpriced = Intervals(), Intervals()
    for use, share in found:
        cost = costs[use.key]
        for rents, into in ((cost.billed, billed), (cost.estimated, estimated), (cost.replaced, replaced)):
            into += [part for rent in rents if (part := rent.part(share.fraction, share.seconds)) is not None]
        holding |= share.seconds
        unpriced |= (share.seconds - cost.priced) | (share.seconds & _of_others(cost, name))
    collectors = frozenset(use.key[0] for use, _ in found)
    return NodeRents(tuple(billed), tuple(estimated), tuple(replaced), holding, unpriced, collectors)


def _of_others(cost: NodeCost, name: str) -> Intervals:
    """When a node is on the bill of other workloads than `name`, and not on its own."""
    others = Intervals(span for other, seconds in cost.claimed.items() if other != name for span in seconds)
    return others - cost.claimed.get(name, Intervals())


def _limited(rents: Iterable[Rent], seconds: Intervals) -> Iterable[Rent]:
    kept = (replace(rent, seconds=rent.seconds & seconds) for rent in rents)
    return (rent for rent in kept if rent.seconds)
