"""A self-hosted workload's cost over time: for every component and second the best evidence prices it.

Ranks replace, never add: where a bill line is allocated to the workload, it prices what it covers and the rate card the
rest. Both amounts are kept, so that what was superseded can be shown.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal

from collectors.records import HOUR, SLOT, Card, Charge, Component, Reservation
from exporter.breakeven.formulas import HOURS_PER_MONTH
from exporter.intervals import Intervals
from exporter.ledger.snapshot import BillLine
from exporter.reconcile.report import Evidence

# What a workload's cost is mainly made of: the first of these that it has ever had a price for.
MAIN_FIRST: tuple[Component, ...] = ("gpu", "node", "other", "storage", "egress")
HOUR_UNITS = frozenset({"h", "hr", "hrs", "hour", "hours"})


@dataclass(frozen=True, slots=True)
class Rent:
    """`amount_usd` for every `per_seconds`, running over some seconds, on one evidence."""

    component: Component
    evidence: Evidence
    amount_usd: Decimal
    per_seconds: int
    seconds: Intervals
    collector: str = ""

    def usd(self, covered: Intervals) -> Decimal:
        """USD over the part of `covered` in which this rent runs; exact over all of a bill line's seconds."""
        return self.amount_usd * (self.seconds & covered).seconds / self.per_seconds


@dataclass(frozen=True, slots=True)
class Costs:
    """All rents of one workload: those that count, those that better evidence superseded, and when cost is known.

    `no_fx` are currencies without a rate: their amounts are absent, and neither price nor supersede anything.
    """

    counted: tuple[Rent, ...] = ()
    superseded: tuple[Rent, ...] = ()
    known: Intervals = field(default_factory=Intervals)
    no_fx: frozenset[str] = frozenset()

    def by(self, covered: Intervals) -> dict[tuple[Component, Evidence], Decimal]:
        """USD by component and evidence over `covered`."""
        sums: dict[tuple[Component, Evidence], Decimal] = {}
        for rent in self.counted:
            key = (rent.component, rent.evidence)
            sums[key] = sums.get(key, Decimal(0)) + rent.usd(covered)
        return sums

    def superseded_usd(self, covered: Intervals) -> Decimal:
        return sum(self.superseded_by(covered).values(), Decimal(0))

    def superseded_by(self, covered: Intervals) -> dict[str, Decimal]:
        """USD that bills replaced over `covered`, by the rate card's collector; only collectors that lost some."""
        sums: dict[str, Decimal] = {}
        for rent in self.superseded:
            usd = rent.usd(covered)
            if usd:
                sums[rent.collector] = sums.get(rent.collector, Decimal(0)) + usd
        return sums


def self_hosted_costs(
    reservations: Sequence[Reservation],
    cards: Mapping[str, Card],
    lines: Sequence[BillLine],
    up: Intervals,
    fx: Mapping[str, Decimal],
    fixed_usd_per_month: Decimal,
    end: int,
) -> Costs:
    """The rents of one workload from its reservations, their cards and the bill lines allocated to it.

    `up` is when its engine was seen up (for cards that are paid only while running); `fx` USD per unit of currency;
    `end` the end of closed time. Fixed costs are prorated by second of a 730 h month and run whenever cost is known:
    whenever the workload's main component is priced. A bill for its disk alone does not make its GPUs free.
    """
    priced = [componented(line.charge, cards) for line in lines if line.charge.currency in fx]
    no_fx = {line.charge.currency for line in lines if line.charge.currency not in fx}
    counted, superseded = _billed(priced, fx), []
    known: dict[Component, Intervals] = {}
    for charge in priced:
        known[charge.component] = known.get(charge.component, Intervals()) | billed_seconds(charge)
    for reservation in reservations:
        card = cards.get(reservation.card)
        rate = fx.get(card.currency) if card else None
        if card is None or rate is None:
            no_fx |= {card.currency} if card else set()
            continue
        held = _valid(reservation, card)
        known[card.component] = known.get(card.component, Intervals()) | held
        kept, lost = _superseded(
            card, card.price_per_hour * reservation.count * rate, held & up if card.while_running else held, priced
        )
        counted += kept
        superseded += lost
    main = next((known[component] for component in MAIN_FIRST if component in known), Intervals())
    if fixed_usd_per_month:
        counted.append(Rent("fixed", "configured", fixed_usd_per_month, HOURS_PER_MONTH * HOUR, main.clip(0, end)))
    return Costs(tuple(counted), tuple(superseded), main, frozenset(no_fx))


def billed_seconds(charge: Charge) -> Intervals:
    """The seconds a bill line prices: its charge period, or, where its quantity is in hours and falls short of the
    period, that many hours from the period's start. So a bill delivered half covers half, and never lowers a cost.
    A correction, or a line for no time or no quantity, moves money but prices no second."""
    start, end = charge.window.start, charge.window.end
    if charge.charge_class == "Correction" or (charge.quantity is not None and charge.quantity <= 0):
        return Intervals()
    if charge.quantity is not None and charge.unit.lower() in HOUR_UNITS:
        end = min(end, start + round(charge.quantity * HOUR))
    return Intervals([(start, end)])


def componented(charge: Charge, cards: Mapping[str, Card]) -> Charge:
    """A line for a resource that a card names pays for what the card pays for, whatever its SKU looks like."""
    for card in cards.values():
        if charge.resource and charge.resource in card.resources:
            return charge if charge.component == card.component else replace(charge, component=card.component)
    return charge


def _billed(charges: Sequence[Charge], fx: Mapping[str, Decimal]) -> list[Rent]:
    rents = []
    for charge in charges:
        seconds = billed_seconds(charge) or _whole_period(charge)
        evidence: Evidence = "invoiced" if charge.invoice else "billed"
        usd = charge.effective_cost * fx[charge.currency]
        rents.append(Rent(charge.component, evidence, usd, seconds.seconds, seconds))
    return rents


def _whole_period(charge: Charge) -> Intervals:
    """Where the money of a line that prices no second goes: its charge period, an instant's to its slot."""
    start, end = charge.window.start, charge.window.end
    return Intervals([(start, end) if start < end else (start - start % SLOT, start - start % SLOT + SLOT)])


def _superseded(
    card: Card, usd_per_hour: Decimal, paid: Intervals, charges: Sequence[Charge]
) -> tuple[list[Rent], list[Rent]]:
    """What of a card's rent still counts, and what a bill replaced.

    A card that names resources is replaced resource by resource, in equal shares; one that names none is replaced
    wherever its component is billed.
    """
    same = [charge for charge in charges if charge.component == card.component]
    kept: list[Rent] = []
    lost: list[Rent] = []
    for resource in card.resources or ("",):
        billed = Intervals(s for charge in same if resource in ("", charge.resource) for s in billed_seconds(charge))
        share = usd_per_hour / max(1, len(card.resources))
        kept.append(Rent(card.component, "configured", share, HOUR, paid - billed, card.collector))
        lost.append(Rent(card.component, "configured", share, HOUR, paid & billed, card.collector))
    return [rent for rent in kept if rent.seconds], [rent for rent in lost if rent.seconds]


def _valid(reservation: Reservation, card: Card) -> Intervals:
    """The seconds of a reservation in which its card's price holds."""
    start = max(reservation.window.start, card.start or reservation.window.start)
    end = reservation.window.end if card.end is None else min(reservation.window.end, card.end)
    return Intervals([(start, end)])
