"""A self-hosted workload's cost over time: for every component and second the best evidence prices it.

Ranks replace, never add: where a bill line is allocated to the workload, it prices what it covers and the rate card the
rest. Both amounts are kept, so that what was superseded can be shown.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from collectors.records import HOUR, Card, Charge, Component, Reservation
from exporter.breakeven.formulas import HOURS_PER_MONTH
from exporter.intervals import Intervals
from exporter.ledger.snapshot import BillLine
from exporter.reconcile.report import Evidence

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
    """All rents of one workload: those that count, those that better evidence superseded, and when cost is known."""

    counted: tuple[Rent, ...] = ()
    superseded: tuple[Rent, ...] = ()
    known: Intervals = field(default_factory=Intervals)
    no_fx: frozenset[str] = frozenset()  # currencies without a rate: their cost is absent

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
    `end` the end of closed time. Fixed costs are prorated by second of a 730 h month and run whenever cost is known.
    """
    billed, no_fx = _billed(lines, fx)
    counted, superseded, known = list(billed), [], Intervals(s for rent in billed for s in rent.seconds)
    for reservation in reservations:
        card = cards.get(reservation.card)
        rate = fx.get(card.currency) if card else None
        if card is None or rate is None:
            no_fx |= {card.currency} if card else set()
            continue
        usd_per_hour = card.price_per_hour * reservation.count * rate
        held = _valid(reservation, card)
        known |= held
        paid = held & up if card.while_running else held
        kept, lost = _superseded(card, usd_per_hour, paid, lines)
        counted += kept
        superseded += lost
    if fixed_usd_per_month:
        counted.append(Rent("fixed", "configured", fixed_usd_per_month, HOURS_PER_MONTH * HOUR, known.clip(0, end)))
    return Costs(tuple(counted), tuple(superseded), known, frozenset(no_fx))


def _valid(reservation: Reservation, card: Card) -> Intervals:
    """The seconds of a reservation in which its card's price holds."""
    start = max(reservation.window.start, card.start or reservation.window.start)
    end = reservation.window.end if card.end is None else min(reservation.window.end, card.end)
    return Intervals([(start, end)])


def billed_seconds(charge: Charge) -> Intervals:
    """The seconds a bill line pays for: its charge period, or, where its quantity is in hours and falls short of the
    period, that many hours from the period's start. So a bill delivered half covers half, and never lowers a cost."""
    start, end = charge.window.start, charge.window.end
    if charge.quantity is not None and charge.unit.lower() in HOUR_UNITS:
        end = min(end, start + max(0, round(charge.quantity * HOUR)))
    return Intervals([(start, end)])


def _billed(lines: Iterable[BillLine], fx: Mapping[str, Decimal]) -> tuple[list[Rent], set[str]]:
    rents, no_fx = [], set()
    for charge in (line.charge for line in lines):
        rate, seconds = fx.get(charge.currency), billed_seconds(charge)
        if rate is None:
            no_fx.add(charge.currency)
        elif seconds:
            evidence: Evidence = "invoiced" if charge.invoice else "billed"
            rents.append(Rent(charge.component, evidence, charge.effective_cost * rate, seconds.seconds, seconds))
    return rents, no_fx


def _superseded(
    card: Card, usd_per_hour: Decimal, paid: Intervals, lines: Sequence[BillLine]
) -> tuple[list[Rent], list[Rent]]:
    """What of a card's rent still counts, and what a bill replaced.

    A card that names resources is replaced resource by resource, in equal shares; one that names none is replaced
    wherever its component is billed.
    """
    same = [line.charge for line in lines if line.charge.component == card.component]
    kept: list[Rent] = []
    lost: list[Rent] = []
    for resource in card.resources or ("",):
        billed = Intervals(s for charge in same if resource in ("", charge.resource) for s in billed_seconds(charge))
        share = usd_per_hour / max(1, len(card.resources))
        kept.append(Rent(card.component, "configured", share, HOUR, paid - billed, card.collector))
        lost.append(Rent(card.component, "configured", share, HOUR, paid & billed, card.collector))
    return [rent for rent in kept if rent.seconds], [rent for rent in lost if rent.seconds]
