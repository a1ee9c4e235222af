"""Usage logs: JSON lines of gateways and responses, tailed or as a backlog, plain or gzip.

A file is known by its content (`collectors.usage.positions`), so rotation by rename, by copy and truncate, and by
compression neither lose nor repeat a line. Slots are by the record's own time, else that of the wrapper around it. A
line without a time gets the time of the read if the file was already followed (the last complete read is at most
`late_after` ago), and is rejected as `no_timestamp` in a backlog.

docs/usage-log.md has the formats, and the reasons in `Batch.rejected`. Of these `beyond_duplicate_horizon` is
informative: such records are counted as usage, but were too old to be compared.
"""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from collectors import Context
from collectors.records import Batch, Failure, Observed, Window
from collectors.settings import STRICT, Duration
from collectors.usage.duplicates import Seen
from collectors.usage.jobs import MAX_PROBLEMS
from collectors.usage.positions import Cursor, parse
from collectors.usage.records import Format
from collectors.usage.sweep import Sweep

COLLECTOR_PART = ""
"""The part whose cursor says when the last complete read was."""

log = logging.getLogger("collectors.usage.log")


@dataclass(frozen=True, slots=True)
class UsageLogSettings:
    """`path`: one or more globs (`**` for any depth). `provider` and `labels` are for lines that do not name their own.
    `serves` is the path of the traffic: bought per token (`api`) or served by own engines. With `duplicates: possible`
    request ids are compared over `duplicate_horizon` of record time, across files and restarts."""

    __pydantic_config__ = STRICT

    name: str
    kind: Literal["usage_log"]
    path: str | tuple[str, ...]
    format: Format = "auto"
    interval: Duration = Duration(15)
    serves: Literal["api", "self_hosted"] = "api"
    role: Literal["meter", "check"] = "meter"
    provider: str = ""
    duplicates: Literal["none", "possible"] = "none"
    duplicate_horizon: Duration = Duration(7200)
    late_after: Duration = Duration(3600)
    labels: Mapping[str, str] = field(default_factory=dict)
    start_at: Literal["beginning", "end"] = "beginning"


class LastRead(msgspec.Struct, frozen=True):
    """The cursor of the collector as a whole: `at` is the start of the last complete read."""

    at: int


class UsageLog:
    Settings = UsageLogSettings
    streams: frozenset[str] | None = None

    def __init__(self, settings: UsageLogSettings, context: Context) -> None:
        self.late_after: int | None = int(settings.late_after)
        self._settings = settings
        self._context = context
        self._parsed: dict[str, tuple[str, Cursor]] = {}
        self._seen: Seen | None = None
        self._reported: dict[str, int] = {}

    def collect(self, now: int, cursors: Mapping[str, str]) -> Iterator[Batch | Failure]:
        """What was written since the committed positions; see `collectors.Collector`."""
        read = Sweep(self._settings, self._context, now, self._positions(cursors), _last_read(cursors))
        read.seen = self._request_ids(read.cursors, now)
        self._seen = None  # valid again only once this read is through
        try:
            for path, outcome, problems in read.run():
                self._report(path, outcome.part, problems)
                yield outcome
        finally:
            read.close()
        self._seen = None if read.failed else read.seen
        self._parsed = {part: (cursor.text(), cursor) for part, cursor in read.cursors.items()}
        if not read.failed:
            mark = msgspec.json.encode(LastRead(now)).decode()
            yield Batch(part=COLLECTOR_PART, observed=[Observed(Window(0, now))], cursor=mark)

    def close(self) -> None:
        self._parsed.clear()
        self._seen = None

    def _positions(self, cursors: Mapping[str, str]) -> dict[str, Cursor]:
        """The committed positions; those that did not change since the last read are not parsed again."""
        known = {}
        unchanged = True
        for part, text in cursors.items():
            if part == COLLECTOR_PART:
                continue
            before = self._parsed.get(part)
            same = before is not None and before[0] == text
            known[part] = before[1] if before is not None and same else parse(text)
            unchanged &= same
        if not unchanged or len(known) != len(self._parsed):
            self._seen = None  # something was not committed: the ids in memory may be of lines that will be read again
        return known

    def _request_ids(self, cursors: Mapping[str, Cursor], now: int) -> Seen | None:
        if self._settings.duplicates == "none":
            return None
        if self._seen is not None:
            return self._seen
        seen = Seen(int(self._settings.duplicate_horizon))
        for cursor in cursors.values():
            if cursor.met is not None:
                seen.learn(cursor.met, now)
        return seen

    def _report(self, path: str, part: str, problems: list[tuple[int, str]]) -> None:
        """Name the first rejected lines of each file, never what is in them: they may hold prompts."""
        for line, reason in problems:
            reported = self._reported.get(part, 0)
            if reported < MAX_PROBLEMS:
                self._reported[part] = reported + 1
                last = " (the last one named of this file)" if reported + 1 == MAX_PROBLEMS else ""
                log.warning("%s: line %d is not counted: %s%s", path, line, reason, last)


def _last_read(cursors: Mapping[str, str]) -> int | None:
    text = cursors.get(COLLECTOR_PART)
    return msgspec.json.decode(text, type=LastRead).at if text else None
