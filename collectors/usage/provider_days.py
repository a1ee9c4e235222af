"""Which days of a provider's usage to read now, and how finely. Pure.

Providers restate: what was used is there after minutes, and may change for days. So today and yesterday are read at
every interval, the days of the trailing re-read once a day, and older days once, when they were never read whole.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time

import msgspec

from collectors.records import DAY, HOUR, Window

MINUTE = 60
FINE_DAYS = 8
"""Days back that are read by the minute, as the ledger keeps slots that long; older ones are read by the hour."""
HOURS_AT_ONCE = 7
"""Days of hourly buckets that fit one page of either provider (168 buckets)."""


@dataclass(frozen=True, slots=True)
class Span:
    """Whole UTC days (today up to now) to read in buckets of `width` seconds."""

    window: Window
    width: int

    @property
    def days(self) -> Iterator[int]:
        return iter(range(self.window.start, self.window.end, DAY))

    @property
    def name(self) -> str:
        first, last = day_name(self.window.start), day_name(self.window.end - 1)
        return first if first == last else f"{first}..{last}"


class Read(msgspec.Struct, frozen=True):
    """The cursor: when each UTC day (`2026-01-31`) was last read, in epoch seconds."""

    days: dict[str, int] = {}

    @classmethod
    def parse(cls, cursor: str | None) -> "Read":
        return msgspec.json.decode(cursor, type=cls) if cursor else cls()

    def text(self) -> str:
        return msgspec.json.encode(self).decode()

    def after(self, span: Span, now: int, keep_from: int) -> "Read":
        """With `span` read at `now`; days before `keep_from` are no longer of interest."""
        kept = {day: at for day, at in self.days.items() if day >= day_name(keep_from)}
        return Read(kept | {day_name(day): now for day in span.days})


def day_name(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).date().isoformat()


def day_start(at: int) -> int:
    return at - at % DAY


def named_day(name: str) -> int:
    """The start of the day with that name."""
    return int(datetime.combine(date.fromisoformat(name), time(), UTC).timestamp())


def due(read: Read, now: int, since: int, re_read: int, lag: int) -> list[Span]:
    """What to read at `now`: yesterday and today first, then the trailing days, then what was never read whole.

    `since` and `re_read` are seconds back from now; a day is whole when it was read `lag` seconds after its end.
    """
    today = day_start(now)
    at = {named_day(name): when for name, when in read.days.items()}
    fine = max(FINE_DAYS * DAY, re_read)
    live = [_span(day, day + DAY, now, MINUTE) for day in (today - DAY, today) if day + DAY > now - since]
    first = min([day_start(now - since), *at])  # what was read once is read again, though `since` be shorter
    earlier = range(today - 2 * DAY, first - 1, -DAY)
    behind = [day for day in earlier if _is_due(day, at, now, re_read, lag)]
    near = [_span(day, day + DAY, now, MINUTE) for day in behind if now - day < fine + DAY]
    far = [_span(start, end, now, HOUR) for start, end in _runs(day for day in behind if now - day >= fine + DAY)]
    return [span for span in (*live, *near, *far) if span.window.seconds]


def _is_due(day: int, at: Mapping[int, int], now: int, re_read: int, lag: int) -> bool:
    last = at.get(day)
    if last is None or last < day + DAY + lag:
        return True
    return now - (day + DAY) < re_read and now - last >= DAY


def _span(start: int, end: int, now: int, width: int) -> Span:
    """Up to the last minute that is over."""
    return Span(Window(start, min(end, now - now % MINUTE)), width)


def _runs(days: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Days, latest first, as spans of at most a page."""
    run: list[int] = []
    for day in days:
        if run and (run[-1] - day != DAY or len(run) == HOURS_AT_ONCE):
            yield run[-1], run[0] + DAY
            run = []
        run.append(day)
    if run:
        yield run[-1], run[0] + DAY
