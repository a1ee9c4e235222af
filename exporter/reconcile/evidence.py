"""A self-hosted workload's cost over time: for every component and second the best evidence prices it.

Ranks replace, never add: where a bill line is allocated to the workload, it prices what it covers and a rate card or a
list price the rest. Both amounts are kept, so that what was superseded can be shown. Where two bills claim the same
charge, see `exporter.reconcile.overlap`.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal

from collectors.records import HOUR, Card, Component, Reservation
from exporter.breakeven.formulas import HOURS_PER_MONTH
from exporter.intervals import Intervals, Span
from exporter.ledger.snapshot import BillLine
from exporter.reconcile.bill_state import evidence_of
from exporter.reconcile.overlap import rents_once
from exporter.reconcile.rent_sums import RentSums
from exporter.reconcile.rents import (
    Rent,
    billed_hours,
    billed_seconds,
    componented,
    prices_seconds,
    resource_name,
    whole_period,
)
from exporter.reconcile.report import Evidence

__all__ = ["Costs", "NodeRents", "Rent", "billed_seconds", "componented", "self_hosted_costs"]

# What a workload's cost is mainly made of: the first of these that it has ever had a price for.
MAIN_FIRST: tuple[Component, ...] = ("gpu", "node", "other", "storage", "egress")
BILLED: frozenset[Evidence] = frozenset({"billed", "invoiced"})


@dataclass(frozen=True, slots=True)
class NodeRents:
    """A workload's part of the rents of the nodes it holds GPUs of (see `exporter.reconcile.nodes`). It holds some over
    `holding`, open-ended where it still does; over `unpriced` the cost of some of them is not known. `collectors` are
    those that saw it."""

    billed: tuple[Rent, ...] = ()
    estimated: tuple[Rent, ...] = ()
    replaced: tuple[Rent, ...] = ()
    holding: Intervals = field(default_factory=Intervals)
    unpriced: Intervals = field(default_factory=Intervals)
    collectors: frozenset[str] = frozenset()

    def known(self, known: Intervals, watched: Mapping[str, Intervals]) -> Intervals:
        """When the workload's cost is known: `known` (from its bills, cards and holdings), as far as every collector
        in `watched` has seen (by name; those that are configured still); and when it was seen to hold nothing, which
        costs nothing."""
        if not self.holding or not watched:
            return known
        seen = list(watched.values())
        first, end = self.holding.spans[0][0], min(one.end or 0 for one in seen)
        watching = Intervals(span for one in seen for span in one)
        return (known | (watching.clip(first, end) - self.holding)).clip(0, end)

    def released(self, end: int) -> Intervals:
        """When, after its first holding and before `end`, the workload holds nothing, as far as that is known."""
        return Intervals([(self.holding.spans[0][0], end)]) - self.holding if self.holding else Intervals()


@dataclass(frozen=True, slots=True)
class Costs:
    """All rents of one workload: those that count, those that better evidence superseded, and when cost is known.

    `no_exchange_rate` are currencies without a rate: their amounts are absent; they neither price nor supersede.
    """

    counted: tuple[Rent, ...] = ()
    superseded: tuple[Rent, ...] = ()
    known: Intervals = field(default_factory=Intervals)
    no_exchange_rate: frozenset[str] = frozenset()
    sums: RentSums = field(default_factory=RentSums, repr=False, compare=False)  # of `counted`
    lost: RentSums = field(default_factory=RentSums, repr=False, compare=False)  # of `superseded`

    def by(self, covered: Intervals) -> dict[tuple[Component, Evidence], Decimal]:
        """USD by component and evidence over `covered`."""
        sums: dict[tuple[Component, Evidence], Decimal] = {}
        for (_, component, evidence), group in self.sums.of(self.counted).items():
            sums[component, evidence] = sums.get((component, evidence), Decimal(0)) + group.usd(covered)
        return sums

    def on_nodes(self) -> tuple[Rent, ...]:
        """What counts of the rents of machines in a cluster."""
        return self.sums.on_nodes(self.counted)

    def superseded_usd(self, covered: Intervals) -> Decimal:
        return sum(self.superseded_by(covered).values(), Decimal(0))

    def superseded_by(self, covered: Intervals) -> dict[str, Decimal]:
        """USD that better evidence replaced over `covered`, by the collector that said it; only where there is some."""
        sums: dict[str, Decimal] = {}
        for (collector, _, _), group in self.lost.of(self.superseded).items():
            usd = group.usd(covered)
            if usd:
                sums[collector] = sums.get(collector, Decimal(0)) + usd
        return sums


def self_hosted_costs(
    reservations: Sequence[Reservation],
    cards: Mapping[str, Card],
    lines: Sequence[BillLine],
    up: Intervals,
    fx: Mapping[str, Decimal],
    fixed_usd_per_month: Decimal,
    end: int,
    nodes: NodeRents = NodeRents(),
    order: Sequence[str] = (),
    judged_at: int | None = None,
) -> Costs:
    """The rents of one workload from its reservations, their cards, the bill lines allocated to it, and its nodes.

    `up` is when its engine was seen up (for cards that are paid only while running); `fx` USD per unit of currency;
    `end` the end of closed time; `order` the collectors as configured; `judged_at` the instant at which it is judged
    how sure bill lines are (None: `end`). Fixed costs are prorated by second of a 730 h month and run whenever cost is
    known: whenever the workload's main component is priced, or it was seen to hold nothing. A bill for its disk alone
    does not make its GPUs free, nor does one for some of its nodes make the others so.
    """
    no_exchange_rate = {line.charge.currency for line in lines if line.charge.currency not in fx}
    billed = [*_billed(lines, cards, fx, end if judged_at is None else judged_at), *nodes.billed]
    counted, superseded = rents_once(billed, order)
    pricing = _pricing(counted)
    known = _known(pricing, nodes)
    better = [*pricing, *(rent for rent in nodes.estimated if rent.evidence == "calibrated")]
    carded: list[Rent] = []
    for reservation in reservations:
        card = cards.get(reservation.card)
        rate = fx.get(card.currency) if card else None
        if card is None or rate is None:
            no_exchange_rate |= {card.currency} if card else set()
            continue
        held = _valid(reservation, card)
        known[card.component] = known.get(card.component, Intervals()) | held
        paid = held & up if card.while_running else held
        kept, lost = card_rents(card, card.price_per_hour * reservation.count * rate, paid, better)
        carded += kept
        superseded += lost
    kept, lost = _estimated(nodes.estimated, [*carded, *(rent for rent in pricing if not rent.resource)])
    counted += [*carded, *kept]
    superseded += [*lost, *_shown(nodes.replaced, [rent for rent in superseded if rent.evidence == "configured"])]
    mains = MAIN_FIRST[:2] if nodes.holding else MAIN_FIRST
    main = next((known[component] for component in mains if known.get(component)), Intervals())
    if fixed_usd_per_month:
        seconds = (main | nodes.released(end)).clip(0, end)
        counted.append(Rent("fixed", "configured", fixed_usd_per_month, HOURS_PER_MONTH * HOUR, seconds))
    return Costs(tuple(counted), tuple(superseded), main, frozenset(no_exchange_rate))


def _billed(lines: Sequence[BillLine], cards: Mapping[str, Card], fx: Mapping[str, Decimal], now: int) -> list[Rent]:
    rents = []
    priced = [(line, componented(line.charge, cards)) for line in lines if line.charge.currency in fx]
    hours: dict[str, dict[tuple[object, ...], Decimal]] = {}
    for name in {line.collector for line, _ in priced}:
        hours[name] = billed_hours(charge for line, charge in priced if line.collector == name)
    for line, charge in priced:
        if not charge.effective_cost:
            continue  # paid for elsewhere, such as a capacity block by its fee
        seconds = billed_seconds(charge, hours[line.collector]) or whole_period(charge)
        usd = charge.effective_cost * fx[charge.currency]
        rents.append(
            Rent(
                component=charge.component,
                evidence=evidence_of(line, now),
                amount_usd=usd,
                per_seconds=seconds.seconds,
                seconds=seconds,
                collector=line.collector,
                line=line,
                resource=charge.resource,
            )
        )
    return rents


def _known(rents: Iterable[Rent], nodes: NodeRents) -> dict[Component, Intervals]:
    """When each component has a price: from `rents`, and for the nodes held. What is paid for one resource says nothing
    of a node that has no price."""
    spans: dict[tuple[Component, bool], list[Span]] = {("gpu", True): [*(nodes.holding - nodes.unpriced)]}
    for rent in rents:
        spans.setdefault((rent.component, bool(rent.resource)), []).extend(rent.seconds)
    known: dict[Component, Intervals] = {}
    for (component, named), found in spans.items():
        seconds = Intervals(found) - nodes.unpriced if named else Intervals(found)
        known[component] = known.get(component, Intervals()) | seconds
    return known


def _pricing(billed: Iterable[Rent]) -> list[Rent]:
    """The bill rents that price the seconds they run over: a correction only moves money."""
    return [rent for rent in billed if rent.line is None or prices_seconds(rent.line.charge)]


def card_rents(
    card: Card, usd_per_hour: Decimal, paid: Intervals, better: Sequence[Rent]
) -> tuple[list[Rent], list[Rent]]:
    """What of a card's rent still counts, and what a bill (or a calibrated list price) replaced.

    A card that names resources or nodes is replaced one by one, in equal shares, or as a whole by a bill that names
    none, such as one by tag; a card that names none is replaced wherever its component is billed.
    """
    same = [rent for rent in better if rent.component == card.component]
    kept: list[Rent] = []
    lost: list[Rent] = []
    named = _named(card)
    for name in named:
        speaking = (rent for rent in same if is_for(name, rent) or not (rent.resource or rent.node))
        billed = Intervals(span for rent in speaking for span in rent.seconds)
        share = usd_per_hour / len(named)
        for seconds, into in ((paid - billed, kept), (paid & billed, lost)):
            into.append(Rent(card.component, "configured", share, HOUR, seconds, card.collector, resource=name))
    return [rent for rent in kept if rent.seconds], [rent for rent in lost if rent.seconds]


def _named(card: Card) -> tuple[str, ...]:
    """What a card speaks of, by the names of bills and clusters; "" is all that its workload has."""
    return card.resources or card.nodes or ("",)


def is_for(name: str, rent: Rent) -> bool:
    """Whether a rent is for what has that name on a bill or in a cluster; "" is for all that a workload has."""
    return name in ("", rent.resource, rent.node) or resource_name(name) == resource_name(rent.resource)


def _estimated(estimated: Iterable[Rent], better: Sequence[Rent]) -> tuple[list[Rent], list[Rent]]:
    """The estimated cost of nodes that counts, and what is replaced: a list price by a rate card, and either by a bill
    that names no resource, such as one by tag."""
    kept: list[Rent] = []
    lost: list[Rent] = []
    for rent in estimated:
        replaced = _over(rent, (one for one in better if rent.evidence == "list" or one.evidence in BILLED))
        for seconds, into in ((rent.seconds - replaced, kept), (rent.seconds & replaced, lost)):
            if seconds:
                into.append(replace(rent, seconds=seconds))
    return kept, lost


def _shown(replaced: Iterable[Rent], cards: Sequence[Rent]) -> Iterator[Rent]:
    """The estimates that a bill replaced, but for those in whose place a card's rent had been shown."""
    for rent in replaced:
        seconds = rent.seconds - _over(rent, cards)
        if seconds:
            yield replace(rent, seconds=seconds)


def _over(rent: Rent, others: Iterable[Rent]) -> Intervals:
    """When any of `others` speaks of what `rent` is for."""
    same = (one for one in others if one.component == rent.component and is_for(one.resource, rent))
    return Intervals(span for one in same for span in one.seconds)


def _valid(reservation: Reservation, card: Card) -> Intervals:
    """The seconds of a reservation in which its card's price holds."""
    start = max(reservation.window.start, card.start or reservation.window.start)
    end = reservation.window.end if card.end is None else min(reservation.window.end, card.end)
    return Intervals.span(start, end)
