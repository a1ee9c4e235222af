"""Records -> Usage per slot, series and band, and the reader that turns blocks of lines into it. No I/O.

The same code reads a tail inside the exporter and a backlog inside child processes (`collectors.usage.cold`), so both
give the same result by construction.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

import msgspec
from msgspec import Struct

from collectors.records import CORE_TOKEN_TYPES, SLOT, Labels, Path, Usage
from collectors.slots import slot_of
from collectors.usage.detect import Format
from collectors.usage.duplicates import Met, Seen, keys_of
from collectors.usage.records import COUNT_LIMIT, LATEST, Record, Reject, labels_of
from collectors.usage.vocabulary import KnownLabels, Vocabulary

MAX_LABEL_SETS = 2000  # in one commit; records of further sets are counted without labels
MAX_PROBLEMS = 5
AHEAD = 3600  # seconds a record's clock may be ahead of this one; beyond, no window would ever show it

_NEVER = datetime.min.replace(tzinfo=UTC)
_SLOT = timedelta(seconds=SLOT)


class Job(Struct, frozen=True):
    """How to read one file. `fallback_at` is the time of lines without one (None: they are rejected).

    `horizon` is that of request ids in seconds, None where ids are not compared.
    """

    declared: Format
    detected: Format
    now: int
    fallback_at: int | None = None
    path: Path = "api"
    provider: str = ""
    labels: dict[str, str] = {}
    band_edges: tuple[int, ...] = ()
    horizon: int | None = None


class Result(Struct):
    """What the lines since the last result gave. `problems` are (line number, reason) of the first rejected lines.

    `met` are the request ids added, one piece for each process that read, in order.

    Of a stretch that a child process read itself: `lines` is how many there were, from which the problems are numbered;
    `moved`: the file was not the expected one, or shorter."""

    usage: list[Usage]
    rejected: dict[str, int]
    problems: list[tuple[int, str]]
    met: list[Met] = []
    lines: int = 0
    moved: bool = False


FastKey = tuple[str | None, str, str | None, str | None, KnownLabels | bytes | None, int, int]
Series = tuple[str, str, str, int, bool, Labels]
"""Model, service tier, region, band, whether the band is known, labels."""


class LineReader:
    """Reads blocks of whole lines of one file. `seen` are the request ids where they are compared."""

    def __init__(self, job: Job, seen: Seen | None = None) -> None:
        self._job = job
        self._seen = seen
        self._fast = Vocabulary(with_id=seen is not None)
        self._clear()

    def _clear(self) -> None:
        self._slots: dict[int, dict[FastKey, list[int]]] = {}
        self._series: dict[tuple[int, str, Series], list[Any]] = {}  # requests, tokens by type
        self._read_labels: dict[KnownLabels, Labels] = {}
        self._rejected: Counter[str] = Counter()
        self._problems: list[tuple[int, str]] = []

    def read(self, block: bytes, first_line: int, newlines: int) -> None:
        """Count the lines of `block`; `first_line` is the number of its first one."""
        if "llmcost" in (self._job.declared, self._job.detected):
            try:
                rows = self._fast.rows(block)
            except msgspec.DecodeError:
                rows = None
            # Fewer objects than lines: one may be torn over two lines, which only the reader by line can tell.
            if rows is not None and len(rows) >= newlines:
                self._add_fast(rows, first_line)
                return
        for number, line in enumerate(block.split(b"\n"), first_line):
            if line and not line.isspace():
                self._read_line(line, number)

    def _read_line(self, line: bytes, number: int) -> None:
        if "llmcost" in (self._job.declared, self._job.detected):
            try:
                # A line may hold several objects: two writers, one newline missing.
                self._add_fast(self._fast.rows(line), number)
                return
            except msgspec.DecodeError:
                pass
        try:
            from collectors.usage import formats  # where all lines are the project's own, nobody needs it

            self._add(formats.read(line, self._job.declared))
        except Reject as error:
            self._reject(error.reason, number)

    def _reject(self, reason: str, number: int) -> None:
        self._rejected[reason] += 1
        if len(self._problems) < MAX_PROBLEMS:
            self._problems.append((number, reason))

    def _add_fast(self, rows: list[Any], first_line: int) -> None:
        """The hot loop: as few operations per row as possible. Rows are mostly in time order, so the slot of the row
        before is tried first; labels are told apart, not read, until the commit; a token type that no row names stays
        `False`."""
        edges = self._job.band_edges
        lowest = edges[0] if edges else COUNT_LIMIT * len(CORE_TOKEN_TYPES)
        start = end = _NEVER
        slot = 0
        groups: dict[FastKey, list[int]] = {}
        seen = self._seen
        keys = iter(() if seen is None else keys_of([row.id for row in rows]))  # one is taken for each row
        for row in rows:
            at = row.ts
            if type(at) is not datetime or not start <= at < end:
                found = self._slot(at, first_line, rows, row)
                if found is None:
                    next(keys, None)
                    continue
                slot = found
                start = datetime.fromtimestamp(slot, UTC)
                end = start + _SLOT
                groups = self._slots.setdefault(slot, {})
            if seen is not None and seen.repeats_key(next(keys), slot):
                continue
            tokens = row.tokens
            requests = row.requests
            prompt = uncached = tokens.input
            if (read := tokens.cache_read) is not False:
                prompt += read
            if (written := tokens.cache_write) is not False:
                prompt += written
            if (written_1h := tokens.cache_write_1h) is not False:
                prompt += written_1h
            band = edges[bisect_left(edges, prompt) - 1] if prompt > lowest and requests <= 1 else 0
            key = row.provider, row.model, row.service_tier, row.region, row.labels, band, requests
            try:
                sums = groups[key]
            except KeyError:
                sums = groups[key] = [0, 0, False, False, False, 0]
            sums[0] += uncached
            sums[1] += tokens.output
            if read is not False:
                sums[2] += read
            if written is not False:
                sums[3] += written
            if written_1h is not False:
                sums[4] += written_1h
            sums[5] += 1

    def _slot(self, at: datetime | float | None, first_line: int, rows: list[Any], row: Any) -> int | None:
        """The slot of a row, which ids are compared from then on; None if the row is rejected."""
        try:
            slot = self._slot_of(at)
        except Reject as error:
            index = next(index for index, other in enumerate(rows) if other is row)
            self._reject(error.reason, first_line + index)
            return None
        return slot

    def _slot_of(self, at: datetime | float | None) -> int:
        """The slot of a record's time, or of the read if the record has none and may get it. Rejects others."""
        value = at.timestamp() if isinstance(at, datetime) else at
        if value is None:
            value = self._job.fallback_at
        if value is None:
            raise Reject("no_timestamp")
        if not 0 <= value < LATEST:
            raise Reject("bad_timestamp")
        if value > self._job.now + AHEAD:
            raise Reject("future_timestamp")
        slot = slot_of(int(value))
        if self._seen is not None:
            self._seen.advance(slot, self._job.now)
        return slot

    def _add(self, records: list[Record]) -> None:
        first = records[0]
        slot = self._slot_of(first.at)
        if self._seen is not None and self._seen.repeats(first.id, slot):
            return
        for record in records:
            self._add_record(record, slot)

    def _add_record(self, record: Record, slot: int) -> None:
        known = record.requests <= 1
        edges = self._job.band_edges
        index = bisect_left(edges, record.prompt) if known else 0
        band = edges[index - 1] if index else 0
        provider = record.provider or self._job.provider or (record.family if self._job.path == "api" else "")
        series = (record.model, record.service_tier, record.region, band, known, record.labels)
        self._sum(slot, provider, series, record.requests, record.tokens)

    def _sum(self, slot: int, provider: str, series: Series, requests: int, tokens: Mapping[str, int]) -> None:
        fresh = [requests, dict(tokens)]
        total = self._series.setdefault((slot, provider, series), fresh)
        if total is fresh:
            return
        total[0] += requests
        sums = total[1]
        for token_type, n in tokens.items():
            sums[token_type] = sums.get(token_type, 0) + n

    def result(self) -> Result:
        """What was read since the last result."""
        for slot, groups in self._slots.items():
            for key, sums in groups.items():
                self._canonical(slot, key, sums)
        met = []
        if self._seen is not None:
            fresh, counted = self._seen.take()
            met.append(fresh)
            self._rejected.update(counted)
        result = Result(list(self._usage()), dict(self._rejected), self._problems, met)
        self._clear()
        return result

    def _canonical(self, slot: int, key: FastKey, sums: list[int]) -> None:
        provider, model, tier, region, labels, band, requests = key
        uncached, output, read, written, written_1h, lines = sums
        tokens = {"input": uncached, "output": output}
        if read is not False:
            tokens["cache_read"] = read
        if written is not False:
            tokens["cache_write"] = written
        if written_1h is not False:
            tokens["cache_write_1h"] = written_1h
        series = (model, tier or "default", region or "", band, requests <= 1, self._own_labels(labels))
        self._sum(slot, provider or self._job.provider, series, requests * lines, tokens)

    def _own_labels(self, labels: KnownLabels | bytes | None) -> Labels:
        if labels is None:
            return ()
        if isinstance(labels, bytes):
            return raw_labels(labels)
        own = self._read_labels.get(labels)
        if own is None:
            own = self._read_labels[labels] = labels.labels()
        return own

    def _usage(self) -> Iterator[Usage]:
        common = self._job.labels
        kept: set[Labels] = set()
        for (slot, provider, series), (requests, tokens) in self._series.items():
            model, tier, region, band, known, labels = series
            if len(kept) < MAX_LABEL_SETS:
                kept.add(labels)
            own = labels if labels in kept else ()
            merged = tuple(sorted((common | dict(own)).items())) if common else own
            yield Usage(slot, self._job.path, provider, model, tokens, requests, tier, region, band, known, merged)


@lru_cache(4096)
def raw_labels(raw: bytes) -> Labels:
    """Labels from the text of a JSON value; what is not an object of plain values has none."""
    try:
        return labels_of(msgspec.json.decode(raw))
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ()
