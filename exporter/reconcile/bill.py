"""The bill, laid out: every line in exactly one part per basis, by day or window, exact to the smallest unit. Pure.

Two identities hold for every collector, currency, and UTC day or window, by construction:

    billed basis     usage + purchase + credits + tax + adjustment + out_of_scope + unallocated = sum of BilledCost
    effective basis  allocated + starting + idle + overhead + commitment_unused + adjustment + out_of_scope
                     + unallocated = sum of EffectiveCost

Amounts may be negative and are never clamped. A charge that spans several days is spread evenly by second: up to each
edge its cumulative share is rounded down to the smallest unit (a nano-unit, or finer if the amount is), so that days,
and any windows that adjoin, add up to the charge.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Context, Decimal, Inexact, InvalidOperation, Overflow
from typing import Literal, NamedTuple, TypeVar

from collectors.records import DAY, Window
from exporter.ledger.snapshot import BillLine
from exporter.reconcile.bill_match import InScope, Match
from exporter.reconcile.bill_state import state_of
from exporter.reconcile.report import BillReport

__all__ = ["BillParts", "bill_parts", "bill_reports", "classify", "gathered", "window_parts"]

Basis = Literal["billed", "effective"]
BASES: tuple[Basis, ...] = ("billed", "effective")
BILLED_PARTS = ("usage", "purchase", "credits", "tax", "adjustment", "out_of_scope", "unallocated")
EFFECTIVE_PARTS = (
    *("allocated", "starting", "idle", "overhead"),
    *("commitment_unused", "adjustment", "out_of_scope", "unallocated"),
)
# A match that gives one of these as its reason knows what the unclaimed line is: a part of its own.
_NAMED_REASONS = frozenset({"starting", "idle", "overhead"})
_BILLED_PART = {"Purchase": "purchase", "Credit": "credits", "Tax": "tax", "Adjustment": "adjustment"}

# Sums are exact: one that does not fit raises instead of being rounded.
EXACT = Context(prec=120, traps=[Inexact, InvalidOperation, Overflow])
NANO = -9

UNCLAIMED = frozenset({"missing_tag", "unknown_resource", "no_resource"})

K = TypeVar("K")


Split = Callable[[BillLine], "Sequence[tuple[Place, Decimal]] | None"]
"""The pieces of the effective cost of a line that no workload claims as a whole, summing to it; None: it has none."""


class Place(NamedTuple):
    """The part of a line on one basis; `reason` where that is `unallocated`."""

    part: str
    reason: str = ""


@dataclass(slots=True)
class BillParts:
    """Sums over some lines of one collector in one currency. A part that no line fell into is missing.

    `totals` are over all lines; `unallocated` splits that part by reason.
    """

    totals: dict[Basis, Decimal] = field(default_factory=dict)
    parts: dict[Basis, dict[str, Decimal]] = field(default_factory=lambda: {basis: {} for basis in BASES})
    unallocated: dict[Basis, dict[str, Decimal]] = field(default_factory=lambda: {basis: {} for basis in BASES})

    def add(self, basis: Basis, place: Place, amount: Decimal) -> None:
        _add(self.totals, basis, amount)
        _add(self.parts[basis], place.part, amount)
        if place.part == "unallocated":
            _add(self.unallocated[basis], place.reason, amount)


Gathered = dict[tuple[str, str, Window, Basis, Place], Decimal]


def classify(line: BillLine, match: Match, in_scope: InScope) -> tuple[Place, Place]:
    """Where a line goes on the billed and on the effective basis, as a whole.

    The effective basis knows no purchases: what a provider did not amortize is `unallocated` (`purchase`). Tax and
    credits are `adjustment` there, as the cost of use is before both.
    """
    charge = line.charge
    if not in_scope(line):
        return Place("out_of_scope"), Place("out_of_scope")
    if charge.category == "Purchase":
        return Place("purchase"), Place("unallocated", "purchase")
    if charge.category != "Usage":
        return Place(_BILLED_PART[charge.category]), Place("adjustment")
    if charge.commitment_status == "Unused":
        return Place("usage"), Place("commitment_unused")
    workload, reason = match(line)
    if workload is not None:
        return Place("usage"), Place("allocated")
    if reason in _NAMED_REASONS:
        return Place("usage"), Place(reason)
    return Place("unallocated", reason), Place("unallocated", reason)


def bill_parts(
    lines: Iterable[BillLine], match: Match, in_scope: InScope = lambda line: True
) -> dict[tuple[str, int, str], BillParts]:
    """The bill by collector, UTC day (its start) and currency."""
    found: dict[tuple[str, int, str], BillParts] = {}
    for (collector, currency, charged, basis, place), amount in gathered(lines, match, in_scope).items():
        for day, piece in by_day(amount, charged):
            found.setdefault((collector, day, currency), BillParts()).add(basis, place, piece)
    return found


def window_parts(lines: Gathered, window: Window) -> dict[tuple[str, str], BillParts]:
    """The bill by collector and currency over `window`; a charge that reaches beyond it counts in proportion."""
    found: dict[tuple[str, str], BillParts] = {}
    for (collector, currency, charged, basis, place), amount in lines.items():
        if touches(charged, window):
            sums = found.setdefault((collector, currency), BillParts())
            sums.add(basis, place, share(amount, charged, window))
    return found


def bill_reports(
    lines: Gathered,
    states: Mapping[tuple[str, str, Window, str], Decimal],
    fx: Mapping[str, Decimal],
    starts: Mapping[str, int],
    end: int,
) -> tuple[BillReport, ...]:
    """Every collector's bill over the windows `[starts[name], end)`, in USD at `fx` (USD per unit of currency).

    `states` are effective costs by collector, currency, charge period and state. What is billed in a currency without a
    rate is in no figure, and the currency in `no_exchange_rate`: `billed_usd` is None then.
    """
    reports = []
    for name, start in starts.items():
        window = Window(start, end)
        by_collector: dict[str, dict[str, BillParts]] = {}
        for (collector, currency), sums in window_parts(lines, window).items():
            by_collector.setdefault(collector, {})[currency] = sums
        by_state = _states_within(states, window, fx)
        reports += [
            _report(collector, name, sums, fx, by_state.get(collector, {}))
            for collector, sums in sorted(by_collector.items())
        ]
    return tuple(reports)


def states_of(lines: Iterable[BillLine], now: int) -> dict[tuple[str, str, Window, str], Decimal]:
    """Effective cost by collector, currency, charge period and how sure it is at `now` (epoch seconds)."""
    found: dict[tuple[str, str, Window, str], Decimal] = {}
    for line in lines:
        charge = line.charge
        _add(found, (line.collector, charge.currency, charge.window, state_of(line, now)), charge.effective_cost)
    return found


def _states_within(
    states: Mapping[tuple[str, str, Window, str], Decimal], window: Window, fx: Mapping[str, Decimal]
) -> dict[str, dict[str, Decimal]]:
    found: dict[str, dict[str, Decimal]] = {}
    for (collector, currency, charged, state), amount in states.items():
        if currency in fx and touches(charged, window):
            _add(found.setdefault(collector, {}), state, EXACT.multiply(share(amount, charged, window), fx[currency]))
    return found


def _report(
    collector: str,
    window: str,
    sums: Mapping[str, BillParts],
    fx: Mapping[str, Decimal],
    states: Mapping[str, Decimal],
) -> BillReport:
    no_exchange_rate = tuple(sorted(sums.keys() - fx.keys()))
    if len(no_exchange_rate) == len(sums):
        return BillReport(collector, window, None, {}, no_exchange_rate=no_exchange_rate)
    usd: dict[str, dict[str, Decimal]] = {basis: {} for basis in BASES}
    for currency in sorted(sums.keys() & fx.keys()):
        for basis in BASES:
            for part, amount in sums[currency].parts[basis].items():
                _add(usd[basis], part, EXACT.multiply(amount, fx[currency]))
    billed = Decimal(0)
    for amount in usd["billed"].values():
        billed = EXACT.add(billed, amount)
    # A total without one currency would be too low: the parts that are known stand alone.
    total = None if no_exchange_rate else billed
    return BillReport(collector, window, total, usd, states, no_exchange_rate=no_exchange_rate)


def gathered(
    lines: Iterable[BillLine], match: Match, in_scope: InScope = lambda line: True, split: Split = lambda line: None
) -> Gathered:
    """Lines of one collector, currency, charge period and place together: a month of hours, not a million lines."""
    found: Gathered = {}
    for line in lines:
        charge, key = line.charge, (line.collector, line.charge.currency, line.charge.window)
        billed, effective = classify(line, match, in_scope)
        pieces = split(line) if effective.part == "unallocated" and effective.reason in UNCLAIMED else None
        if pieces is not None:
            billed = Place("usage")
        _add(found, (*key, "billed", billed), charge.billed_cost)
        for place, amount in pieces or ((effective, charge.effective_cost),):
            _add(found, (*key, "effective", place), amount)
    return found


def by_day(amount: Decimal, charged: Window) -> Iterator[tuple[int, Decimal]]:
    """The UTC days (their start) of a charge period, with the part of `amount` that falls into each."""
    first = charged.start - charged.start % DAY
    for day in range(first, max(charged.end, first + 1), DAY):
        yield day, share(amount, charged, Window(day, day + DAY))


def share(amount: Decimal, charged: Window, window: Window) -> Decimal:
    """What of `amount`, charged evenly over `charged`, falls into `window`; at an instant: all or nothing."""
    if window.start <= charged.start and charged.end <= window.end and touches(charged, window):
        return amount
    exponent = min(NANO, int(amount.as_tuple().exponent))
    units = int(amount.scaleb(-exponent, EXACT))
    inside = _until(units, charged, window.end) - _until(units, charged, window.start)
    return Decimal(inside).scaleb(exponent, EXACT)


def touches(charged: Window, window: Window) -> bool:
    """Whether a charge period, or an instant, has anything in `window`."""
    return charged.start < window.end and (charged.end > window.start or charged.start == window.start)


def _until(units: int, charged: Window, at: int) -> int:
    """The units charged before the instant `at`, rounded down."""
    if at <= charged.start:
        return 0
    return units if at >= charged.end else units * (at - charged.start) // charged.seconds


def _add(sums: dict[K, Decimal], key: K, amount: Decimal) -> None:
    sums[key] = EXACT.add(sums.get(key, Decimal(0)), amount)
