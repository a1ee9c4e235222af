"""Tokens of a workload over its covered time, and their cost at dated prices: the API's own, or an alternative's."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TypeVar

from exporter.intervals import Intervals
from exporter.ledger.snapshot import SeriesKey, UsageSeries
from exporter.prices.book import PriceBook, PriceKey
from exporter.prices.pricing import cost
from exporter.reconcile.report import Evidence

Factor = tuple[int, int, Decimal, Evidence]
"""[start, end) in epoch seconds, a factor on the list price, and what it rests on."""
Billed = Callable[[SeriesKey], Sequence[Factor]]

K = TypeVar("K")
N = TypeVar("N", int, Decimal)


@dataclass(frozen=True, slots=True)
class Tokens:
    """Sums over some covered time: tokens by type (0 where a type is told but none came), and requests."""

    by_type: Mapping[str, int] = field(default_factory=dict)
    requests: int = 0

    @property
    def total(self) -> int:
        return sum(self.by_type.values())


@dataclass(frozen=True, slots=True)
class Priced:
    """What tokens cost in USD, by type and evidence, and the tokens no price is known for, by type.

    `usd` is None where no token at all could be priced: an unknown price is not a price of 0.
    """

    usd: Decimal | None
    by_type: Mapping[str, Decimal]
    by_evidence: Mapping[Evidence, Decimal]
    unpriced: Mapping[str, int]

    @property
    def unpriced_tokens(self) -> int:
        return sum(self.unpriced.values())


def sum_tokens(series: Iterable[UsageSeries], covered: Intervals) -> Tokens:
    """Tokens and requests of all rows inside `covered`."""
    by_type: dict[str, int] = {}
    requests = 0
    for one in series:
        for start, end in covered:
            for token_type, tokens in one.tokens(start, end).items():
                by_type[token_type] = by_type.get(token_type, 0) + tokens
            requests += one.request_count(start, end)
    return Tokens(by_type, requests)


def key_of(series: SeriesKey) -> PriceKey:
    """The key of the price that the API this series was served by charges."""
    return PriceKey(series.provider, series.model, series.service_tier, series.region)


def price_tokens(
    series: Sequence[UsageSeries],
    covered: Intervals,
    book: PriceBook,
    alternative: PriceKey | None = None,
    discount: Decimal = Decimal(0),
    billed: Billed | None = None,
) -> Priced:
    """Price the tokens of `series` inside `covered`: at their own API price, or at `alternative`'s x (1 - discount).

    Every row is priced at the rate of its own time and prompt-length band. At an alternative that has no price for
    cached tokens at all, cached tokens are prompt tokens like any other (see `exporter.prices.pricing.cost`). `billed`
    says over which spans the provider's bill made a factor of the list price, and what that rests on.
    """
    by_type: dict[str, Decimal] = {}
    by_evidence: dict[Evidence, Decimal] = {}
    unpriced: dict[str, int] = {}
    priced = False
    for one in series:
        key = alternative or key_of(one.key)
        factors = billed(one.key) if billed is not None and alternative is None else ()
        for start, end, factor, evidence in factored(cut(covered, book, key), factors):
            tokens = {t: n for t, n in one.tokens(start, end).items() if n}
            rate = book.rate(key, start)
            if rate is None:
                _add(unpriced, tokens)
                continue
            requests = one.request_count(start, end)
            parts = cost(rate, tokens, one.key.band, requests, cached_as_input=alternative is not None)
            _add(unpriced, parts.unpriced)
            times = factor * (1 - discount)
            _add(by_type, parts.by_type if times == 1 else {t: usd * times for t, usd in parts.by_type.items()})
            known: Evidence = "configured" if rate.origin.startswith("override") else "list"
            _add(by_evidence, {evidence or known: parts.usd * times})
            priced = True
    usd = sum(by_evidence.values(), Decimal(0)) if priced else None
    return Priced(usd, by_type, by_evidence, unpriced)


def cut(covered: Intervals, book: PriceBook, key: PriceKey) -> Iterator[tuple[int, int]]:
    """The covered spans, cut where the price of `key` may change."""
    if book.constant(key):
        yield from covered
        return
    for start, end in covered:
        at = start
        for change in (*book.changes(key, start, end), end):
            yield at, change
            at = change


def factored(
    spans: Iterable[tuple[int, int]], factors: Sequence[Factor]
) -> Iterator[tuple[int, int, Decimal, Evidence | None]]:
    """`spans` cut at the edges of `factors` (ascending, disjoint): 1 and no evidence of its own where there is none."""
    one = Decimal(1)
    if not factors:
        yield from ((start, end, one, None) for start, end in spans)
        return
    for start, end in spans:
        at = start
        for since, until, factor, evidence in factors:
            if until <= at or since >= end:
                continue
            if since > at:
                yield at, since, one, None
            yield max(at, since), min(until, end), factor, evidence
            at = min(until, end)
        if at < end:
            yield at, end, one, None


def _add(sums: dict[K, N], parts: Mapping[K, N]) -> None:
    for key, value in parts.items():
        sums[key] = sums[key] + value if key in sums else value
