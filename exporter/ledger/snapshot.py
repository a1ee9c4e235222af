"""What the ledger shows to the pure maths: quantities, charges and coverage as values. No I/O.

Token rows are kept per series as running totals, so that the sum over any span is two look-ups, whatever its length.
"""

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import accumulate

from collectors.records import Allocation, Charge, EngineLoad, Labels, ListPrice, Node, Path, Reservation
from exporter.intervals import Intervals

StreamKey = tuple[str, str]
"""(collector, stream): what coverage is tracked for."""

FactKey = tuple[str, str]
"""(collector, key) of a node or an allocation."""


@dataclass(frozen=True, slots=True)
class SeriesKey:
    """What distinguishes one usage series from another. `stream` names the source for coverage."""

    collector: str
    stream: str
    path: Path
    provider: str
    model: str
    service_tier: str = "default"
    region: str = ""
    band: int = 0
    band_known: bool = True
    labels: Labels = ()

    @property
    def source(self) -> StreamKey:
        return self.collector, self.stream


class UsageSeries:
    """The rows of one series in time order: 300 s rows, older ones hourly.

    `starts[i]` is the start of row i; `seconds[i]` its length (300 or 3600). `totals[t][i]` is the sum of token type t
    over the rows before row i, `requests[i]` likewise; both may count from another number than 0.
    """

    __slots__ = ("_revised", "key", "requests", "seconds", "starts", "totals")

    def __init__(self, key: SeriesKey, rows: Iterable[tuple[int, int, Mapping[str, int], int]] = ()) -> None:
        self.key = key
        self._revised = 0  # how often another row than the last one was dropped
        self.starts = array("q")
        self.seconds = array("q")
        self.requests = array("q", [0])
        self.totals: dict[str, array[int]] = {}
        for start, seconds, tokens, requests in rows:
            self.append(start, seconds, tokens, requests)

    @classmethod
    def of_columns(
        cls, key: SeriesKey, starts: list[int], seconds: list[int], requests: list[int], tokens: Mapping[str, list[int]]
    ) -> "UsageSeries":
        """A series of whole columns, one value for each row; rows must be in ascending order of `starts`."""
        series = cls(key)
        series.starts, series.seconds = array("q", starts), array("q", seconds)
        series.requests = array("q", accumulate(requests, initial=0))
        series.totals = {token_type: array("q", accumulate(column, initial=0)) for token_type, column in tokens.items()}
        return series

    def append(self, start: int, seconds: int, tokens: Mapping[str, int], requests: int) -> None:
        """Add the next row; rows must come in ascending order of `start`."""
        if self.starts and start <= self.starts[-1]:
            raise ValueError(f"row {start} does not follow {self.starts[-1]} in {self.key}")
        for token_type in tokens:
            if token_type not in self.totals:
                self.totals[token_type] = array("q", bytes(8 * len(self.requests)))
        for token_type, totals in self.totals.items():
            totals.append(totals[-1] + tokens.get(token_type, 0))
        self.requests.append(self.requests[-1] + requests)
        self.starts.append(start)
        self.seconds.append(seconds)

    def truncate(self, start: int) -> None:
        """Drop all rows at or after `start`, so that newer rows can be appended again."""
        keep = bisect_left(self.starts, start)
        self._revised += keep < len(self.starts) - 1
        del self.starts[keep:], self.seconds[keep:], self.requests[keep + 1 :]
        for totals in self.totals.values():
            del totals[keep + 1 :]

    def roll_up(self, hourly_before: int, fine_from: int, keep_from: int) -> None:
        """As `exporter.ledger.rollup`: `[hourly_before, fine_from)` becomes hours, what is before `keep_from` goes."""
        first, end = bisect_left(self.starts, hourly_before), bisect_left(self.starts, fine_from)
        hours = {self.starts[row] - self.starts[row] % 3600: row for row in range(end - 1, first - 1, -1)}
        kept = sorted(hours.values())
        self.starts[first:end] = array("q", sorted(hours))
        self.seconds[first:end] = array("q", [3600] * len(hours))
        for totals in (self.requests, *self.totals.values()):
            totals[first:end] = array("q", [totals[row] for row in kept])
        dropped = bisect_left(self.starts, keep_from)
        for column in (self.starts, self.seconds, self.requests, *self.totals.values()):
            del column[:dropped]
        self._revised += bool(hours or dropped)

    def fingerprint(self, end: int) -> tuple[int, ...]:
        """While it stays equal, so do the rows of this series before `end` (epoch seconds)."""
        i = bisect_left(self.starts, end)
        return (self._revised, i, self.requests[i], *(totals[i] for totals in self.totals.values()))

    def tokens(self, start: int, end: int) -> dict[str, int]:
        """Tokens by type of the rows that start in `[start, end)`; types at 0 included."""
        i, j = bisect_left(self.starts, start), bisect_left(self.starts, end)
        return {token_type: totals[j] - totals[i] for token_type, totals in self.totals.items()}

    def request_count(self, start: int, end: int) -> int:
        """Requests of the rows that start in `[start, end)`."""
        return self.requests[bisect_left(self.starts, end)] - self.requests[bisect_left(self.starts, start)]


@dataclass(frozen=True, slots=True)
class Stream:
    """One source of usage and the time it vouches for. `observed` includes the time it was seen to be down.

    A stream is asked for coverage over `[first_seen, retired_at)` less `absent`, the spans in which the configuration
    did not name it; `retired_at` is None while it does.
    """

    first_seen: int
    retired_at: int | None
    observed: Intervals
    up: Intervals
    absent: Intervals = field(default_factory=Intervals)


@dataclass(frozen=True, slots=True)
class BillLine:
    """A charge as the ledger keeps it, with the collector and part that said it.

    `alike`: how many deliveries in a row, the newest one included, said the same of the UTC day the charge starts on.
    """

    collector: str
    part: str
    charge: Charge
    alike: int = 1


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One stored break-even evaluation of a workload and path against one alternative at a closed hour `at`.

    `api_usd` is A, `self_hosted_usd` is C over the ratio window's covered hours; None where unknown. `reason` is empty,
    or why the status is unknown (`too_young`, `no_cost`, `coverage`, `idle`, `unpriced`, `no_price`).
    """

    workload: str
    path: Path
    alternative: str
    at: int
    api_usd: Decimal | None
    self_hosted_usd: Decimal | None
    reason: str = ""
    covered_seconds: int = 0


@dataclass(frozen=True, slots=True)
class Fold:
    """What the stored evaluations through `at` lead to: `state`, encoded, under the settings that `rule` tells. The
    ledger does not look into either; `state` is empty where nothing is kept."""

    workload: str
    path: Path
    alternative: str
    at: int = 0
    rule: str = ""
    state: str = ""


@dataclass(frozen=True, slots=True)
class Increment:
    """A step of one counter: `amount` is never negative; 0 makes the series exist."""

    family: str
    labels: tuple[str, ...]
    amount: Decimal | int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All that the pure maths may know of the past. `fine_from`: rows before it are hourly (epoch seconds).

    `revision` grows with every commit. The usage series are the ledger's own running totals, brought up to date in
    place: a snapshot is valid until the next one is taken. All else is the same object until it changes.

    `nodes` and `allocations` are by (collector, key); where one still runs it ends at `records.OPEN`, and what is known
    of it ends where its collector's stream does (`seen_through`). `checks` are the collectors that were checks of a
    meter when they were configured last.
    """

    revision: int
    fine_from: int
    series: tuple[UsageSeries, ...] = ()
    streams: Mapping[StreamKey, Stream] = field(default_factory=dict)
    reservations: tuple[Reservation, ...] = ()
    bill: tuple[BillLine, ...] = ()
    loads: Mapping[StreamKey, tuple[EngineLoad, ...]] = field(default_factory=dict)
    nodes: Mapping[FactKey, Node] = field(default_factory=dict)
    allocations: Mapping[FactKey, Allocation] = field(default_factory=dict)
    list_prices: tuple[ListPrice, ...] = ()
    checks: frozenset[str] = frozenset()

    def seen_through(self, collector: str) -> int:
        """The instant through which `collector` as a whole vouches for what it sees (epoch seconds); 0 before any."""
        stream = self.streams.get((collector, ""))
        return (stream.observed.end or 0) if stream else 0
