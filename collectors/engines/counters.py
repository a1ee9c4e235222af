"""A process's cumulative counters from one scrape to the next: what is new, over which time, what is vouched for. Pure.

Rules (each series has its own baseline):
- First sight counts from zero only if the process started while this exporter was watching; else it is the baseline.
- With a start time on the page only a newer one is a restart; a fall without one is an anomaly (nothing is counted, new
  baseline). Without a start time a fall of any series by more than 1 % is a restart of the process.
- A restart counts every series from zero.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import ceil
from typing import Any, Literal, NamedTuple

from collectors.records import SLOT, Window

Baseline = Literal["auto", "observed", "zero"]

CURSOR_VERSION = 1
RESTART_FALL = 0.99  # a counter below this share of its last value was reset, if no start time says otherwise


class Series(NamedTuple):
    """A counter of one model: `quantity` is the collector's name for it, `rest` tells series of a quantity apart."""

    model: str
    quantity: str
    rest: str


class Rejected(ValueError):
    """A page that does not fit to what this process showed before; the text is a one-line reason."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One page: read at `at` (epoch seconds), of a process started at `start` (epoch seconds; None: not said).

    A page that lacks a series which the same process showed before is not believed, except series of the quantities
    `optional`.
    """

    at: int
    start: float | None
    series: Mapping[Series, float]
    optional: frozenset[str] = frozenset()

    def lacks(self, known: Mapping[Series, float]) -> list[Series]:
        """Those of `known` that should be here and are not. A Ray node's page loses the series of ended workers."""
        gone = known.keys() - self.series.keys()
        return sorted(key for key in gone if key.quantity not in self.optional and "WorkerId=" not in key.rest)


@dataclass(frozen=True, slots=True)
class State:
    """What is remembered of a target: the cursor. All instants in epoch seconds, None: never.

    `at`: last page; `start`: that process's start time; `down`: last time it refused; `failed`: last time nothing could
    be learned. `owed`: per model, tokens counted in part of a prompt counter that has not moved yet (see
    `collectors.engines.vllm`). `queued`: models with waiting requests at `at`.
    """

    at: int | None = None
    start: float | None = None
    down: int | None = None
    failed: int | None = None
    series: Mapping[Series, float] = field(default_factory=dict)
    owed: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    queued: frozenset[str] = frozenset()

    @property
    def last(self) -> int | None:
        """The last instant at which the target's condition was known."""
        return max((t for t in (self.at, self.down) if t is not None), default=None)

    def vouched(self, now: int) -> Window:
        """`[last, now)` if nothing can have gone unseen in it: no failure since, and no gap of more than a slot."""
        last = self.last
        seen = last is not None and now - last <= SLOT and (self.failed is None or self.failed <= last)
        return Window(min(last, now) if seen and last is not None else now, now)

    def dumps(self) -> str:
        """Compact JSON, readable back by `loads`."""
        nested: dict[str, dict[str, dict[str, float]]] = {}
        for key, value in self.series.items():
            nested.setdefault(key.model, {}).setdefault(key.quantity, {})[key.rest] = value
        row: dict[str, Any] = {
            "v": CURSOR_VERSION,
            "at": self.at,
            "start": self.start,
            "down": self.down,
            "failed": self.failed,
        }
        row |= {"series": nested, "owed": dict(self.owed), "queued": sorted(self.queued)}
        return json.dumps(
            {key: value for key, value in row.items() if value not in (None, {}, [])}, separators=(",", ":")
        )

    @classmethod
    def loads(cls, cursor: str | None) -> "State":
        """The state behind a cursor; a fresh one for None. ValueError if this version cannot read it."""
        if not cursor:
            return cls()
        row = json.loads(cursor)
        version = row.get("v") if isinstance(row, dict) else None
        if version != CURSOR_VERSION:
            raise ValueError(f"version {version}, expected {CURSOR_VERSION}")
        series = {
            Series(model, quantity, rest): value
            for model, quantities in row.get("series", {}).items()
            for quantity, values in quantities.items()
            for rest, value in values.items()
        }
        owed = {model: (dropped, cached) for model, (dropped, cached) in row.get("owed", {}).items()}
        instants = {key: row.get(key) for key in ("at", "start", "down", "failed")}
        return cls(**instants, series=series, owed=owed, queued=frozenset(row.get("queued", ())))


@dataclass(frozen=True, slots=True)
class Step:
    """From the last page to this one.

    `deltas` are never negative and happened in `window`; `observed` is the time the target vouches for; `anomalies`
    counts series that fell without a restart. `same_process`: both pages are of one process. `state` is the next
    cursor; `owed` and `queued` are left for the caller to fill in.
    """

    deltas: Mapping[Series, float]
    window: Window
    observed: Window
    anomalies: int
    same_process: bool
    state: State

    def sums(self, model: str) -> dict[str, float]:
        """The increases of a model by quantity, its engines together; a quantity that is not on the page is absent."""
        sums: dict[str, float] = {}
        for key, delta in self.deltas.items():
            if key.model == model:
                sums[key.quantity] = sums.get(key.quantity, 0) + delta
        return sums


def advance(state: State, page: Reading, baseline: Baseline, first_start: int) -> Step:
    """The step from `state` to `page`. `first_start`: when this exporter began to watch (epoch seconds).

    Raises `Rejected` for a page of an older process, and for one that lacks a series of this process.
    """
    if state.at is None:
        return _born(state, page) if _from_zero(state, page, baseline, first_start) else _baseline(state, page)
    return _born(state, page) if _restarted(state, page) else _onward(state, state.at, page)


def _from_zero(state: State, page: Reading, baseline: Baseline, first_start: int) -> bool:
    if baseline != "auto":
        return baseline == "zero"
    absent = max((t for t in (state.failed, state.down) if t is not None), default=first_start)
    return page.start is not None and page.start > min(first_start, absent)


def _restarted(state: State, page: Reading) -> bool:
    if page.start is not None:
        known = state.start if state.start is not None else state.at
        if known is None or page.start > known:
            return True
        if page.start == state.start or state.start is None:
            return False
        if state.at is not None and state.start > state.at:
            return True  # the old start time lay in the future: that clock was wrong, this one may be right
        raise Rejected("page of an older process than before (is the target a load balancer? list each replica)")
    fell = any(page.series.get(key, value) < RESTART_FALL * value for key, value in state.series.items())
    was_down = state.down is not None and state.down == state.last
    lacks = page.lacks(state.series)
    return fell or (bool(lacks) and (was_down or state.series.keys().isdisjoint(page.series)))


def _baseline(state: State, page: Reading) -> Step:
    at = Window(page.at, page.at)
    return Step(dict.fromkeys(page.series, 0), at, at, 0, False, _next(state, page, page.start, page.series))


def _born(state: State, page: Reading) -> Step:
    """Everything on the page is new: a process that started since the last page, or while this exporter watched."""
    started = None if page.start is None else ceil(page.start)
    begin = min(page.at, max((t for t in (state.last, started) if t is not None), default=page.at))
    window = Window(begin, page.at)
    observed = Window(_watched_from(state, page, begin), page.at)
    return Step(dict(page.series), window, observed, 0, False, _next(state, page, page.start, page.series))


def _watched_from(state: State, page: Reading, begin: int) -> int:
    """From when on nothing can be missing. What the process before served after its last page is not known."""
    if state.down is not None and state.down == state.last:
        # Nobody served then. Has only this process served since?
        alone = page.start is not None and page.start <= state.down
        if alone or state.vouched(page.at).seconds:
            return min(state.down, page.at)
    if state.at is not None or page.start is None:
        return page.at
    return begin


def _onward(state: State, since: int, page: Reading) -> Step:
    lacks = page.lacks(state.series)
    if lacks:
        raise Rejected(
            f"truncated page: {lacks[0].quantity} of {lacks[0].model!r} is missing, this process showed it before"
        )
    deltas = {key: value - state.series.get(key, 0) for key, value in page.series.items()}
    anomalies = sum(delta < 0 for delta in deltas.values())
    window = Window(min(since, page.at), page.at)
    start = state.start if page.start is None else page.start
    after = _next(state, page, start, {**state.series, **page.series})
    return Step({key: max(delta, 0) for key, delta in deltas.items()}, window, window, anomalies, True, after)


def _next(state: State, page: Reading, start: float | None, series: Mapping[Series, float]) -> State:
    return replace(state, at=page.at, start=start, series=series, owed={}, queued=frozenset())
