"""What OpenAI's and Anthropic's admin APIs have in common: usage by day and slot, daily cost, and names of ids.

Both are restatable. The part `usage` is replaced one span of days at a time, the part `cost` over its trailing days;
what a failed request was about is named by the failure's part (`usage/2026-01-31`), and what was read of it before
stays in force. `Batch.rejected`: `no_model`, `bad_tokens`, `inconsistent_usage`, and for cost lines `no_amount`;
`hourly_bucket` is informative: days read by the hour are spread evenly over their slots.
"""

import logging
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Context, Decimal
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, TypeGuard, TypeVar

import msgspec

from collectors.records import DAY, HOUR, SLOT, Batch, Charge, Failure, Labels, Observed, Usage, Window
from collectors.settings import STRICT, Duration
from collectors.slots import slot_of, spread
from collectors.usage.provider_days import MINUTE, Read, Span, day_start, due
from collectors.usage.provider_http import (
    PROBE_SECONDS,
    AdminApi,
    ApiError,
    ForbiddenError,
    TooLargeError,
    check_base_url,
)
from collectors.usage.records import Reject

USAGE, COST, NAMES = "usage", "cost", "names"
LATE_AFTER = 48 * HOUR
NAMES_EVERY = HOUR
MOST_BUCKETS = {MINUTE: 1440, HOUR: 168}
"""Buckets of one page by width: the same limits at both providers."""
SMALLER = (1, 6, 24)
"""A page that is too large is asked for again in so many pieces."""

EXACT = Context(prec=60)
T = TypeVar("T")
log = logging.getLogger("collectors.usage.provider")


@dataclass(frozen=True, slots=True)
class ProviderSettings:
    """What a provider's collector is told. `since` is how far back the first start reads, `re_read` how far back what
    was read may still change, `lag` how long after its end a bucket may still be filling."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    name: str
    kind: str
    admin_key_file: str
    interval: Duration = Duration(300)
    cost_interval: Duration = Duration(6 * HOUR)
    role: Literal["meter", "check"] = "meter"
    since: Duration = Duration(31 * DAY)
    re_read: Duration = Duration(5 * DAY)
    lag: Duration = Duration(600)
    base_url: str = ""

    def __post_init__(self) -> None:
        if not Path(self.admin_key_file).name:
            raise ValueError("admin_key_file: expected the path of a file with the admin key, got none")
        if self.cost_interval < HOUR:
            raise ValueError(
                f"expected a cost_interval of at least 1h (a bill is daily), got {self.cost_interval.text}"
            )
        check_base_url(self.base_url)


@dataclass(frozen=True, slots=True)
class Series:
    """What a bucket's tokens are of; see `collectors.records.Usage`."""

    model: str
    service_tier: str
    labels: Labels
    region: str = ""
    band: int = 0
    band_known: bool = True


@dataclass(frozen=True, slots=True)
class Reading:
    """The tokens and requests of one series in one bucket."""

    bucket: Window
    series: Series
    tokens: Mapping[str, int]
    requests: int = 0


class Source(Protocol):
    """What differs by provider. All may raise ApiError."""

    provider: str

    def probe(self, now: int) -> None:
        """One small request, as those of `usage` are: it fails where they would."""
        ...

    def names(self) -> dict[str, str]:
        """Names by id of projects, workspaces, keys."""
        ...

    def usage(self, span: Span, limit: int, names: Mapping[str, str]) -> Iterator[Reading | Reject]:
        """Every reading of `span`, asked for in pages of at most `limit` buckets."""
        ...

    def charges(self, window: Window, now: int, names: Mapping[str, str]) -> Iterator[Charge | Reject]:
        """The bill lines of every whole UTC day in `window`."""
        ...


class CostRead(msgspec.Struct, frozen=True):
    """The cursor of the cost: read at `at`, ever since the day that starts at `first`."""

    at: int
    first: int


class NamesRead(msgspec.Struct, frozen=True):
    """The cursor of the names: they outlive a request that fails, so that labels do not come and go."""

    at: int = 0
    names: dict[str, str] = {}


class ProviderCollector:
    """`collect` reads what is due, one part after the other: a part that fails leaves the others alone."""

    streams: frozenset[str] | None = None

    def __init__(self, settings: ProviderSettings, source: Source, api: AdminApi) -> None:
        self.late_after: int | None = LATE_AFTER
        self._settings = settings
        self._source = source
        self._api = api
        self._rejected: dict[str, Counter[str]] = {}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._settings.name!r})"

    def collect(self, now: int, cursors: Mapping[str, str]) -> Iterator[Batch | Failure]:
        """What is due at `now`; see `collectors.Collector`."""
        self._api.begin()
        known = _parse(cursors.get(NAMES), NamesRead())
        if now - known.at >= NAMES_EVERY:
            outcome, known = self._names(now, known)
            yield outcome
        yield from self._usage(now, Read.parse(cursors.get(USAGE)), known.names)
        yield from self._cost(now, cursors.get(COST), known.names)

    def probe(self, now: int) -> Iterator[Batch | Failure]:
        """Whether the API answers and the key may read usage: one request, one attempt; nothing of it is kept."""
        self._api.hurry(PROBE_SECONDS)
        try:
            self._source.probe(now)
        except ApiError as error:
            yield Failure(USAGE, str(error))
        else:
            yield Batch(USAGE)

    def close(self) -> None:
        self._api.close()

    def _names(self, now: int, known: NamesRead) -> tuple[Batch | Failure, NamesRead]:
        """The names anew, or those known before. A key that may read usage but no names is no failure."""
        try:
            found = NamesRead(now, self._source.names())
        except ForbiddenError as error:
            log.info("%s: ids are not named: %s", self._settings.name, error)
            found = NamesRead(now, known.names)
        except ApiError as error:
            return Failure(NAMES, str(error)), known
        return Batch(NAMES, cursor=msgspec.json.encode(found).decode()), found

    def _usage(self, now: int, read: Read, names: Mapping[str, str]) -> Iterator[Batch | Failure]:
        settings = self._settings
        keep_from = day_start(now - max(settings.since, settings.re_read))
        for span in due(read, now, settings.since, settings.re_read, settings.lag):
            try:
                usage, rejected = self._read(span, names)
            except ApiError as error:
                yield Failure(f"{USAGE}/{span.name}", str(error))
                continue
            read = read.after(span, now, keep_from)
            through = min(span.window.end, slot_of(now - settings.lag))
            yield Batch(
                USAGE,
                usage=usage,
                observed=[Observed(Window(span.window.start, through))] if through > span.window.start else (),
                cursor=read.text(),
                window=Window(span.window.start, day_start(span.window.end - 1) + DAY),
                rejected=self._new(f"{USAGE}/{span.name}", rejected),
            )

    def _new(self, what: str, rejected: Counter[str]) -> Mapping[str, int]:
        """What was not rejected the last time already: the same day is read many times."""
        before, self._rejected[what] = self._rejected.get(what, Counter()), rejected
        return rejected - before

    def _read(self, span: Span, names: Mapping[str, str]) -> tuple[list[Usage], Counter[str]]:
        limit = MOST_BUCKETS[span.width]
        for pieces in SMALLER[:-1]:
            try:
                return summed(self._source.provider, self._source.usage(span, limit // pieces, names))
            except TooLargeError:
                continue
        return summed(self._source.provider, self._source.usage(span, limit // SMALLER[-1], names))

    def _cost(self, now: int, cursor: str | None, names: Mapping[str, str]) -> Iterator[Batch | Failure]:
        first = day_start(now - self._settings.since)
        last = _parse(cursor, CostRead(0, first + 1))
        if now - last.at < self._settings.cost_interval and last.first <= first:
            return
        start = first if last.first > first else max(last.first, day_start(last.at - self._settings.re_read))
        window = Window(start, day_start(now) + DAY)
        try:
            lines = list(self._source.charges(window, now, names))
        except ApiError as error:
            yield Failure(COST, str(error))
            return
        yield Batch(
            COST,
            charges=[line for line in lines if isinstance(line, Charge)],
            cursor=msgspec.json.encode(CostRead(now, min(first, last.first))).decode(),
            window=window,
            rejected=self._new(COST, Counter(line.reason for line in lines if isinstance(line, Reject))),
        )


def summed(provider: str, readings: Iterator[Reading | Reject]) -> tuple[list[Usage], Counter[str]]:
    """Usage by slot, and how many readings were not usable, by reason. A bucket that is longer than a slot is spread
    evenly over the slots in it."""
    sums: dict[tuple[int, Series], tuple[dict[str, int], list[int]]] = {}
    rejected: Counter[str] = Counter()
    for reading in readings:
        if isinstance(reading, Reject):
            rejected[reading.reason] += 1
            continue
        rejected["hourly_bucket"] += reading.bucket.seconds > SLOT
        for slot, tokens, requests in _by_slot(reading):
            total, count = sums.setdefault((slot, reading.series), ({}, [0]))
            count[0] += requests
            for token_type, n in tokens.items():
                total[token_type] = total.get(token_type, 0) + n
    return [
        _as_usage(provider, slot, series, tokens, count[0]) for (slot, series), (tokens, count) in sums.items()
    ], +rejected


def _by_slot(reading: Reading) -> Iterator[tuple[int, Mapping[str, int], int]]:
    if not (reading.requests or any(reading.tokens.values())):
        return
    if reading.bucket.seconds <= SLOT:
        yield slot_of(reading.bucket.start), reading.tokens, reading.requests
        return
    parts = {token_type: spread(n, reading.bucket) for token_type, n in reading.tokens.items()}
    for slot, requests in spread(reading.requests, reading.bucket):
        tokens = {token_type: next(slots)[1] for token_type, slots in parts.items()}
        if requests or any(tokens.values()):
            yield slot, tokens, requests


def _as_usage(provider: str, slot: int, series: Series, tokens: Mapping[str, int], requests: int) -> Usage:
    return Usage(
        slot=slot,
        path="api",
        provider=provider,
        model=series.model,
        tokens=tokens,
        requests=requests,
        service_tier=series.service_tier,
        region=series.region,
        band=series.band,
        band_known=series.band_known,
        labels=series.labels,
    )


def labels_of(names: Mapping[str, str], ids: Mapping[str, str | None]) -> Labels:
    """Labels by dimension: the id, and as `<dimension>_name` its name where it is known."""
    found = {dimension: one for dimension, one in ids.items() if one}
    found |= {f"{dimension}_name": names[one] for dimension, one in found.items() if one in names}
    return tuple(sorted(found.items()))


def is_money(amount: Decimal | None) -> TypeGuard[Decimal]:
    """Whether an amount is one that sums of money stay exact with."""
    if amount is None or not amount.is_finite():
        return False
    return amount.adjusted() < 20 and int(amount.as_tuple().exponent) > -40


def _parse(cursor: str | None, default: T) -> T:
    return msgspec.json.decode(cursor, type=type(default)) if cursor else default
