"""What moves the counters: usage when it is committed, rent as it passes, at the price known then. Pure.

Counters are never recomputed. What turns out different later shows in the windowed gauges and in
`llmcost_restatement_usd_total`.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal

from collectors.records import DAY, HOUR, SLOT, Batch, Card, Charge, Component, Path, Reservation, Usage
from exporter.breakeven.formulas import HOURS_PER_MONTH
from exporter.config import Workload
from exporter.intervals import Intervals
from exporter.ledger.snapshot import BillLine, Increment, SeriesKey
from exporter.prices.book import PriceBook, PriceKey
from exporter.prices.pricing import cost
from exporter.reconcile.alternatives import alternatives_of
from exporter.reconcile.bill import by_day
from exporter.reconcile.bill_match import InScope, allocatable
from exporter.reconcile.evidence import card_rents
from exporter.reconcile.matching import workload_of
from exporter.reconcile.rents import Rent


def usage_increments(
    collector: str,
    batch: Batch,
    late_after: int | None,
    now: int,
    workloads: Sequence[Workload],
    automatic: Mapping[tuple[str, Path], str],
    book: PriceBook,
) -> Iterator[Increment]:
    """The steps of the counters for one batch. Usage first seen more than `late_after` seconds after its slot enters
    the ledger but not the counters: a cold backlog must not look like a burst. Its tokens are only counted as late."""
    late = 0
    for usage in batch.usage:
        if late_after is not None and now - (usage.slot + SLOT) > late_after:
            late += sum(usage.tokens.values())
            continue
        workload = workload_of(_key(collector, batch, usage), workloads)
        yield from _counted(workload, usage)
        yield from _own_cost(workload, usage, book)
        for alternative in alternatives_of(workload, usage.path, workloads, automatic):
            yield from _equivalent(workload, usage, alternative.label, alternative.price, alternative.discount, book)
    if late_after is not None:
        yield Increment("llmcost_late_tokens_total", (collector,), late)


def rejected_increments(collector: str, batch: Batch, no_exchange_rate: Collection[str]) -> Iterator[Increment]:
    """The records of a batch that could not be used, by reason; among them bill lines in the currencies given."""
    rejected = dict(batch.rejected)
    if no_exchange_rate:
        rejected["no_exchange_rate"] = sum(charge.currency in no_exchange_rate for charge in batch.charges)
    for reason, count in rejected.items():
        yield Increment("llmcost_exporter_rejected_records_total", (collector, reason), count)


def price_keys(
    collector: str,
    batch: Batch,
    workloads: Sequence[Workload],
    automatic: Mapping[tuple[str, Path], str],
) -> set[PriceKey]:
    """The prices that `usage_increments` will ask for."""
    keys: set[PriceKey] = set()
    for usage in batch.usage:
        if usage.path == "api":
            keys.add(PriceKey(usage.provider, usage.model, usage.service_tier, usage.region))
        workload = workload_of(_key(collector, batch, usage), workloads)
        keys.update(a.price for a in alternatives_of(workload, usage.path, workloads, automatic))
    return keys


def rent_increments(
    workload: str,
    reservations: Iterable[Reservation],
    card: Card,
    up: Intervals,
    since: int,
    until: int,
    fx: Decimal,
    better: Sequence[Rent] = (),
) -> Increment:
    """The rent of one card over `[since, until)` (epoch seconds): count x USD per hour x the hours that are paid, less
    what `better` replaces."""
    usd = Decimal(0)
    for reservation in reservations:
        held = Intervals.span(max(reservation.window.start, since), min(reservation.window.end, until))
        paid = held & up if card.while_running else held
        kept, _ = card_rents(card, reservation.count * card.price_per_hour * fx, paid, better)
        usd += sum((rent.usd(paid) for rent in kept), Decimal(0))
    return Increment("llmcost_cost_usd_total", (workload, "self_hosted", card.component), usd)


def node_increments(workload: str, rents: Iterable[Rent], since: int, until: int) -> Iterator[Increment]:
    """A workload's part of its nodes over `[since, until)` (epoch seconds), by component."""
    span = Intervals.span(since, until)
    sums: dict[Component, Decimal] = {}
    for rent in rents:
        usd = rent.usd(span)
        sums[rent.component] = sums.get(rent.component, Decimal(0)) + usd
    for component, usd in sums.items():
        if usd >= 0:  # a line that takes money back moves the gauges only
            yield Increment("llmcost_cost_usd_total", (workload, "self_hosted", component), usd)


def fixed_increment(workload: str, usd_per_month: Decimal, since: int, until: int) -> Increment:
    """Fixed costs over `[since, until)`, prorated by second of a 730 h month."""
    usd = usd_per_month * (until - since) / (HOURS_PER_MONTH * HOUR)
    return Increment("llmcost_cost_usd_total", (workload, "self_hosted", "fixed"), usd)


def restatement(
    collector: str,
    old: Sequence[Charge],
    new: Sequence[Charge],
    fx: Mapping[str, Decimal],
    in_scope: InScope = lambda line: True,
    newest: int = 0,
) -> Iterator[Increment]:
    """How far a new delivery moved days that an earlier one had already closed, up and down, in USD.

    What counts is the effective cost of usage in scope, spread over the UTC days of its charge period. The newest day
    on which a line of the earlier delivery starts was still filling, and so was every line that reaches into it, such
    as one for the whole month: their growth is not a restatement. Of a bill that is delivered day by day, `newest` is
    the newest day that is known.
    """
    newest = newest if old else 0  # a day that was never told is not told anew
    old, new = ([c for c in lines if _restatable(collector, c, fx, in_scope)] for lines in (old, new))
    newest = max(newest, *(charge.window.start for charge in old), 0)
    closed = newest - newest % DAY
    before, after = _by_day(old, closed, fx), _by_day(new, closed, fx)
    moved = {"up": Decimal(0), "down": Decimal(0)}
    for day in sorted(before.keys() | after.keys()):
        change = after.get(day, Decimal(0)) - before.get(day, Decimal(0))
        moved["up" if change > 0 else "down"] += abs(change)
    for direction, usd in moved.items():
        yield Increment("llmcost_restatement_usd_total", (collector, direction), usd)


def _key(collector: str, batch: Batch, u: Usage) -> SeriesKey:
    return SeriesKey(
        collector, batch.stream, u.path, u.provider, u.model, u.service_tier, u.region, u.band, u.band_known, u.labels
    )


def _counted(workload: str, usage: Usage) -> Iterator[Increment]:
    labels = (workload, usage.path, usage.provider, usage.model)
    for token_type, tokens in usage.tokens.items():
        yield Increment("llmcost_tokens_total", (*labels, token_type), tokens)
    yield Increment("llmcost_requests_total", labels, usage.requests)


def _own_cost(workload: str, usage: Usage, book: PriceBook) -> Iterator[Increment]:
    if usage.path != "api":
        return
    key = PriceKey(usage.provider, usage.model, usage.service_tier, usage.region)
    usd, unpriced = _price(key, usage, book, cached_as_input=False)
    if usd is not None:
        yield Increment("llmcost_cost_usd_total", (workload, "api", "tokens"), usd)
    labels = (workload, usage.path, usage.provider, usage.model)
    yield Increment("llmcost_unpriced_tokens_total", labels, unpriced)


def _equivalent(
    workload: str, usage: Usage, label: str, key: PriceKey, discount: Decimal, book: PriceBook
) -> Iterator[Increment]:
    usd, unpriced = _price(key, usage, book, cached_as_input=True)
    if usd is not None:
        yield Increment("llmcost_api_equivalent_usd_total", (workload, label), usd * (1 - discount))
    yield Increment("llmcost_unpriced_alternative_tokens_total", (workload, label), unpriced)


def _price(key: PriceKey, usage: Usage, book: PriceBook, cached_as_input: bool) -> tuple[Decimal | None, int]:
    rate = book.rate(key, usage.slot)
    if rate is None:
        return None, sum(usage.tokens.values())
    priced = cost(rate, usage.tokens, usage.band, usage.requests, cached_as_input=cached_as_input)
    return priced.usd, sum(priced.unpriced.values())


def _restatable(collector: str, charge: Charge, fx: Mapping[str, Decimal], in_scope: InScope) -> bool:
    return charge.currency in fx and allocatable(charge) and in_scope(BillLine(collector, "", charge))


def _by_day(charges: Iterable[Charge], closed: int, fx: Mapping[str, Decimal]) -> dict[int, Decimal]:
    """USD by UTC day of the charges that end by the instant `closed`."""
    days: dict[int, Decimal] = {}
    for charge in charges:
        if max(charge.window.end, charge.window.start + 1) <= closed:
            for day, amount in by_day(charge.effective_cost, charge.window):
                days[day] = days.get(day, Decimal(0)) + amount * fx[charge.currency]
    return days
