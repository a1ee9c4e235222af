"""Where a self-hosted workload's cost comes from, line by line: the sums of its rents, not yet added up. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from collectors.records import HOUR, Card, Component, Reservation
from exporter.breakeven.formulas import HOURS_PER_MONTH
from exporter.intervals import Intervals, Span
from exporter.ledger.snapshot import BillLine
from exporter.prices.nodes import NodePrice
from exporter.reconcile.evidence import BILLED, NodeRents, Rent, is_for, self_hosted_costs
from exporter.reconcile.report import EVIDENCE, Evidence

Said = tuple[Evidence, str]
"""An evidence and the collector that gave it."""


@dataclass(frozen=True, slots=True)
class CardLine:
    """What one rate card adds to C: `usd` = count x price x hours, of the hours that count.

    `superseded_hours` were paid for by something else, said `by` whom. `through` is how far the ledger has noted the
    reservation (epoch seconds); the rent runs on from there. `usd_per_unit` is the rate of `currency`, None where
    there is none.
    """

    key: str
    card: Card
    count: Decimal
    usd_per_unit: Decimal | None
    hours: Decimal
    usd: Decimal
    superseded_hours: Decimal
    superseded_usd: Decimal
    by: tuple[Said, ...]
    through: int


@dataclass(frozen=True, slots=True)
class BilledLine:
    """What the lines of one bill add to C: `usd` = `share` x what they bill. Where they are for machines that are
    shared out, `share` is that of `gpus` of each. `through` is the end of the newest charge period (epoch seconds)."""

    collector: str
    component: Component
    evidence: Evidence
    lines: int
    resources: tuple[str, ...]
    gpus: Decimal | None
    share: Decimal
    usd: Decimal
    through: int


@dataclass(frozen=True, slots=True)
class NodeLine:
    """What some nodes of one price add to C: `usd` = price x factor x `share` x hours, the latter of all of them
    together. `share` is that of `gpus` of each. `factor` is what bills made of the list price (None: not learned).
    `collector` is the one that saw the nodes."""

    collector: str
    evidence: Evidence
    nodes: tuple[str, ...]
    price: NodePrice
    factor: Decimal | None
    gpus: Decimal | None
    share: Decimal
    hours: Decimal
    usd: Decimal


@dataclass(frozen=True, slots=True)
class SupersededLine:
    """What a bill, or the list prices of nodes that a collector saw, would have cost, had not others said better (`by`,
    empty where that is nothing of this workload's). `names` are the nodes, or the bill's resources."""

    collector: str
    evidence: Evidence
    names: tuple[str, ...]
    hours: Decimal
    usd: Decimal
    by: tuple[Said, ...]


def card_lines(
    held: Iterable[tuple[Reservation, int]],
    cards: Mapping[str, Card],
    billed: Sequence[BillLine],
    up: Intervals,
    fx: Mapping[str, Decimal],
    covered: Intervals,
    nodes: NodeRents = NodeRents(),
) -> list[CardLine]:
    """The rate cards behind C over `covered`. `held` are the workload's reservations, run on to the end of closed time,
    each with the instant through which the ledger has noted it; `billed` the bill lines allocated to the workload,
    `nodes` its part of the nodes it holds."""
    found = []
    for reservation, through in held:
        card = cards.get(reservation.card)
        if card is None:
            continue
        costs = self_hosted_costs([reservation], cards, billed, up, fx, Decimal(0), 0, nodes)
        shares = len(card.resources or card.nodes) or 1
        kept = [rent for rent in costs.counted if rent.evidence == "configured"]
        lost = [rent for rent in costs.superseded if rent.evidence == "configured"]
        found.append(
            CardLine(
                key=reservation.card,
                card=card,
                count=reservation.count,
                usd_per_unit=fx.get(card.currency),
                hours=_hours(kept, covered) / shares,
                usd=sum((rent.usd(covered) for rent in kept), Decimal(0)),
                superseded_hours=_hours(lost, covered) / shares,
                superseded_usd=sum((rent.usd(covered) for rent in lost), Decimal(0)),
                by=_replaced_by(_things(lost, covered), _things(costs.counted, covered)),
                through=through,
            )
        )
    return found


def _hours(rents: Iterable[Rent], covered: Intervals) -> Decimal:
    return Decimal(sum((rent.seconds & covered).seconds for rent in rents)) / HOUR


def billed_lines(rents: Iterable[Rent], covered: Intervals) -> list[BilledLine]:
    """The bills behind C over `covered`: the bill lines among `rents`, by collector, component, evidence and share."""
    groups: dict[tuple[str, Component, Evidence, Decimal | None, Decimal], list[tuple[BillLine, Decimal]]] = {}
    for rent in rents:
        if rent.line is not None and rent.seconds & covered:
            key = (rent.collector, rent.component, rent.evidence, rent.gpus, rent.share)
            groups.setdefault(key, []).append((rent.line, rent.usd(covered)))
    return [
        BilledLine(
            collector=collector,
            component=component,
            evidence=evidence,
            lines=len({id(line) for line, _ in lines}),
            resources=tuple(sorted({line.charge.resource for line, _ in lines if line.charge.resource})),
            gpus=gpus,
            share=share,
            usd=sum((usd for _, usd in lines), Decimal(0)),
            through=max(line.charge.window.end for line, _ in lines),
        )
        for (collector, component, evidence, gpus, share), lines in groups.items()
    ]


def node_lines(rents: Iterable[Rent], covered: Intervals) -> list[NodeLine]:
    """The list prices of nodes behind C over `covered`: the estimates among `rents`, by all that makes the amount."""
    groups: dict[tuple[str, Evidence, NodePrice, Decimal | None, Decimal | None, Decimal], list[Rent]] = {}
    for rent in rents:
        if rent.price is not None and rent.seconds & covered:
            key = (rent.collector, rent.evidence, rent.price, rent.factor, rent.gpus, rent.share)
            groups.setdefault(key, []).append(rent)
    return [
        NodeLine(
            collector=collector,
            evidence=evidence,
            nodes=tuple(sorted({rent.node for rent in found})),
            price=price,
            factor=factor,
            gpus=gpus,
            share=share,
            hours=_hours(found, covered),
            usd=sum((rent.usd(covered) for rent in found), Decimal(0)),
        )
        for (collector, evidence, price, factor, gpus, share), found in groups.items()
    ]


def fixed_lines(monthly: Mapping[str, Decimal], known: Intervals, covered: Intervals) -> dict[str, Decimal]:
    """The fixed costs behind C over `covered` in USD by name, prorated by second of a 730 h month (see `evidence`)."""
    seconds = (known & covered).seconds
    return {name: usd * seconds / (HOURS_PER_MONTH * HOUR) for name, usd in monthly.items()}


def superseded_lines(superseded: Iterable[Rent], counted: Iterable[Rent], covered: Intervals) -> list[SupersededLine]:
    """What of bills and list prices does not count over `covered`, by collector and evidence. Rate cards are lines of
    their own (see `card_lines`)."""
    groups: dict[Said, list[Rent]] = {}
    for rent in superseded:
        if rent.evidence != "configured" and rent.seconds & covered:
            groups.setdefault((rent.evidence, rent.collector), []).append(rent)
    said = _things(counted, covered) if groups else {}
    return [
        SupersededLine(
            collector=collector,
            evidence=evidence,
            names=tuple(sorted({rent.resource if rent.line else rent.node for rent in found} - {""})),
            hours=_hours(found, covered),
            usd=sum((rent.usd(covered) for rent in found), Decimal(0)),
            by=_replaced_by(_things(found, covered), said),
        )
        for (evidence, collector), found in groups.items()
    ]


_Thing = tuple[Evidence, str, Component, str, str]
"""What a rent is for: its evidence, collector, component, resource and node."""


def _things(rents: Iterable[Rent], covered: Intervals) -> dict[_Thing, tuple[Rent, Intervals]]:
    """One rent of each thing, and when any of them runs."""
    spans: dict[_Thing, list[Span]] = {}
    one: dict[_Thing, Rent] = {}
    for rent in rents:
        thing = (rent.evidence, rent.collector, rent.component, rent.resource, rent.node)
        one.setdefault(thing, rent)
        spans.setdefault(thing, []).extend(rent.seconds & covered)
    return {thing: (one[thing], Intervals(found)) for thing, found in spans.items()}


def _replaced_by(
    lost: Mapping[_Thing, tuple[Rent, Intervals]], counted: Mapping[_Thing, tuple[Rent, Intervals]]
) -> tuple[Said, ...]:
    """Who spoke of the same things at the same time, with evidence that goes before."""
    found = {
        (one.evidence, one.collector)
        for rent, seconds in lost.values()
        for one, said in counted.values()
        if one.component == rent.component and _before(one, rent) and _same(one, rent) and said & seconds
    }
    return tuple(sorted(found))


def _before(one: Rent, rent: Rent) -> bool:
    if rent.evidence in BILLED:
        return one.evidence in BILLED and one.collector != rent.collector
    return EVIDENCE.index(one.evidence) < EVIDENCE.index(rent.evidence)


def _same(one: Rent, rent: Rent) -> bool:
    return is_for(one.resource, rent) or is_for(rent.resource, one)
