"""Tokens of a workload over its covered time, and their cost at dated prices: the API's own, or an alternative's."""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import NamedTuple, TypeVar

from exporter.intervals import Intervals
from exporter.ledger.snapshot import SeriesKey, UsageSeries
from exporter.prices.book import PriceBook, PriceKey, Rate
from exporter.prices.pricing import Tariff, tariff
from exporter.reconcile.report import Evidence

Factor = tuple[int, int, Decimal, Evidence]
"""[start, end) in epoch seconds, a factor on the list price, and what it rests on."""
Billed = Callable[[SeriesKey], Sequence[Factor]]

_ONE = Decimal(1)

K = TypeVar("K")
N = TypeVar("N", int, Decimal)


class Priced(NamedTuple):
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


class Counted(NamedTuple):
    """Sums over some covered time: tokens by type (0 where a type is told but none came), and requests."""

    by_type: Mapping[str, int]
    requests: int

    @property
    def total(self) -> int:
        return sum(self.by_type.values())


def count(series: UsageSeries, windows: Iterable[Intervals]) -> list[Counted]:
    """Tokens and requests of all rows inside each covered window; no types where nothing is covered."""
    rows: dict[int, int] = {}  # windows share their ends, and what is not covered between them
    starts, columns = series.starts, series.totals.items()
    found = []
    for covered in windows:
        tokens: dict[str, int] = {}
        requests = 0
        for start, end in covered.spans:
            i = rows[start] if start in rows else rows.setdefault(start, bisect_left(starts, start))
            j = rows[end] if end in rows else rows.setdefault(end, bisect_left(starts, end))
            requests += series.requests[j] - series.requests[i]
            some = {token_type: totals[j] - totals[i] for token_type, totals in columns}
            if tokens:
                _add(tokens, some)
            else:
                tokens = some
        found.append(Counted(tokens, requests))
    return found


def total(counted: Sequence[Counted]) -> Counted:
    """The sums over all series."""
    if len(counted) == 1:
        return counted[0]
    by_type: dict[str, int] = {}
    for one in counted:
        _add(by_type, one.by_type)
    return Counted(by_type, sum(one.requests for one in counted))


def sum_tokens(series: Iterable[UsageSeries], covered: Intervals) -> Counted:
    """Tokens and requests of all rows of all series inside `covered`."""
    return total([count(one, (covered,))[0] for one in series])


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
    """Price the tokens of `series` inside `covered`, see `Pricing`."""
    counted = [count(one, (covered,))[0] for one in series]
    return Pricing(series, book, alternative, discount, billed).of(counted, covered)


class _At(NamedTuple):
    """Prices, a factor on them, and what they rest on."""

    tariff: Tariff
    times: Decimal
    evidence: Evidence

    def priced(self, tokens: Mapping[str, int], requests: int) -> Priced:
        usd, unpriced, by_type = self.tariff.cost({t: n for t, n in tokens.items() if n}, requests)
        if self.times != 1:
            usd, by_type = usd * self.times, {t: part * self.times for t, part in by_type.items()}
        return Priced(usd, by_type, {self.evidence: usd}, unpriced)


class Pricing:
    """What some series cost: at their own API price, or at `alternative`'s x (1 - discount). Looked up once for any
    number of windows.

    Every row is priced at the rate of its own time and prompt-length band. At an alternative that has no price for
    cached tokens at all, cached tokens are prompt tokens like any other (see `exporter.prices.pricing.tariff`).
    `billed` says over which spans the provider's bill made a factor of the list price, and what that rests on.
    """

    def __init__(
        self,
        series: Sequence[UsageSeries],
        book: PriceBook,
        alternative: PriceKey | None = None,
        discount: Decimal = Decimal(0),
        billed: Billed | None = None,
    ) -> None:
        self._book, self._paid, self._counterfactual = book, 1 - discount, alternative is not None
        self._series = [
            (one, alternative or key_of(one.key), billed(one.key) if billed and not alternative else ())
            for one in series
        ]
        self._lasting = [self._always(*of) for of in self._series]

    def of(self, counted: Iterable[Counted], covered: Intervals) -> Priced:
        """The cost of what each series counted in `covered`."""
        parts: list[Priced] = []
        for (tokens, requests), of, lasting in zip(counted, self._series, self._lasting, strict=True):
            if not lasting:
                parts += self._by_time(*of, covered)
            elif covered.spans:
                parts.append(_priced(lasting[0], tokens, requests))
        return parts[0] if len(parts) == 1 else _sum(parts)

    def _always(self, series: UsageSeries, key: PriceKey, factors: Sequence[Factor]) -> tuple[_At | None] | None:
        """The price of a series (None where it is not known), or None if it changes with time."""
        rates = None if factors else self._book.lasting(key)
        return None if rates is None else (self._at(series, rates[0] if rates else None),)

    def _at(
        self, series: UsageSeries, rate: Rate | None, factor: Decimal = _ONE, evidence: Evidence | None = None
    ) -> _At | None:
        if rate is None:
            return None
        known: Evidence = "configured" if rate.origin.startswith("override") else "list"
        return _At(tariff(rate, series.key.band, self._counterfactual), factor * self._paid, evidence or known)

    def _by_time(
        self, series: UsageSeries, key: PriceKey, factors: Sequence[Factor], covered: Intervals
    ) -> Iterator[Priced]:
        for start, end, factor, evidence in factored(cut(covered, self._book, key), factors):
            at = self._at(series, self._book.rate(key, start), factor, evidence)
            yield _priced(at, series.tokens(start, end), series.request_count(start, end))


def _priced(at: _At | None, tokens: Mapping[str, int], requests: int) -> Priced:
    if at is None:
        return Priced(None, {}, {}, {t: n for t, n in tokens.items() if n})
    return at.priced(tokens, requests)


def _sum(parts: Iterable[Priced]) -> Priced:
    by_type: dict[str, Decimal] = {}
    by_evidence: dict[Evidence, Decimal] = {}
    unpriced: dict[str, int] = {}
    for part in parts:
        _add(by_type, part.by_type)
        _add(by_evidence, part.by_evidence)
        _add(unpriced, part.unpriced)
    usd = sum(by_evidence.values(), Decimal(0)) if by_evidence else None
    return Priced(usd, by_type, by_evidence, unpriced)


def cut(covered: Intervals, book: PriceBook, key: PriceKey) -> Iterator[tuple[int, int]]:
    """The covered spans, cut where the price of `key` may change."""
    if book.lasting(key) is not None:
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
    if not factors:
        yield from ((start, end, _ONE, None) for start, end in spans)
        return
    for start, end in spans:
        at = start
        for since, until, factor, evidence in factors:
            if until <= at or since >= end:
                continue
            if since > at:
                yield at, since, _ONE, None
            yield max(at, since), min(until, end), factor, evidence
            at = min(until, end)
        if at < end:
            yield at, end, _ONE, None


def _add(sums: dict[K, N], parts: Mapping[K, N]) -> None:
    for key, value in parts.items():
        sums[key] = sums[key] + value if key in sums else value
