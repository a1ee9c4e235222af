"""Records -> sums per slot, series and band, and the reader that turns blocks of lines into it. No I/O.

The same code reads a tail inside the exporter and a backlog inside child processes (`collectors.usage.cold`), so both
give the same result by construction.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

import msgspec

from collectors.terms import CORE_TOKEN_TYPES, SLOT, Labels
from collectors.usage.duplicates import Seen
from collectors.usage.jobs import MAX_PROBLEMS, Job, Key, Result
from collectors.usage.records import COUNT_LIMIT, LATEST, Record, Reject, labels_of
from collectors.usage.vocabulary import KnownLabels, Vocabulary

MAX_LABEL_SETS = 2000  # in one commit; records of further sets are counted without labels
MAX_GROUPS = 32_768  # label sets and models as they were written, in memory before they are brought together
CLOCK_SKEW = 3600  # seconds a record's clock may be ahead of this one; beyond, no window would ever show it

_NEVER = datetime.min.replace(tzinfo=UTC)
_SLOT = timedelta(seconds=SLOT)


FastKey = tuple[str | None, str, str | None, str | None, KnownLabels | bytes | None, int, int]


class LineReader:
    """Reads blocks of whole lines of one file. `seen` are the request ids where they are compared."""

    def __init__(self, job: Job, seen: Seen | None = None) -> None:
        self._job = job
        self._seen = seen
        self._fast = Vocabulary(with_id=seen is not None)
        self._clear()

    def _clear(self) -> None:
        self._slot = -1
        self._start = self._end = _NEVER  # of this slot, as times of records; it was found to be acceptable
        self._slots: dict[int, dict[FastKey, list[int]]] = {}
        self._groups = 0  # in all slots
        self._series: dict[Key, list[Any]] = {}  # requests, tokens by type
        self._kept: set[Labels] = set()
        self._read_labels: dict[KnownLabels, Labels] = {}
        self._rejected: Counter[str] = Counter()
        self._problems: list[tuple[int, str]] = []

    def read(self, block: bytes | memoryview, first_line: int, newlines: int) -> None:
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
        for number, line in enumerate(bytes(block).split(b"\n"), first_line):
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
        seen = self._seen
        for slot, run in self._runs(rows, first_line):
            if seen is not None:
                seen.advance(slot, self._job.now)
                run = seen.unmet(run, slot)
            self._sum_rows(slot, run)
        if self._groups > MAX_GROUPS:
            self._bring_together()

    def _runs(self, rows: list[Any], first_line: int) -> Iterator[tuple[int, Sequence[Any]]]:
        """The acceptable rows, cut where the slot changes. Mostly a block is all of the slot of the one before."""
        times = [row.ts for row in rows]
        try:
            if self._start <= min(times) and max(times) < self._end:
                yield self._slot, rows
                return
        except (TypeError, ValueError):
            pass  # times of several kinds, or no row at all
        run: list[Any] = []
        for number, (at, row) in enumerate(zip(times, rows, strict=True), first_line):
            if type(at) is not datetime or not self._start <= at < self._end:
                try:
                    slot = self._slot_of(at)
                except Reject as error:
                    self._reject(error.reason, number)
                    continue
                if slot != self._slot:
                    if run:
                        yield self._slot, run
                        run = []
                    self._move_to(slot)
            run.append(row)
        if run:
            yield self._slot, run

    def _move_to(self, slot: int) -> None:
        self._slot = slot
        self._start = datetime.fromtimestamp(slot, UTC)
        self._end = self._start + _SLOT

    def _sum_rows(self, slot: int, rows: Sequence[Any]) -> None:
        """The hot loop: as few operations per row as possible. Labels are told apart, not read, until the commit; a
        token type that no row names stays `False`."""
        edges = self._job.band_edges
        lowest = edges[0] if edges else COUNT_LIMIT * len(CORE_TOKEN_TYPES)
        groups = self._slots.get(slot)
        if groups is None:
            groups = self._slots[slot] = {}
        before = len(groups)
        for row in rows:
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
        self._groups += len(groups) - before

    def _slot_of(self, at: datetime | float | None) -> int:
        """The slot of a record's time, or of the read if the record has none and may get it. Rejects others."""
        value = at.timestamp() if isinstance(at, datetime) else at
        if value is None:
            value = self._job.fallback_at
        if value is None:
            raise Reject("no_timestamp")
        if not 0 <= value < LATEST:
            raise Reject("bad_timestamp")
        if value > self._job.now + CLOCK_SKEW:
            raise Reject("future_timestamp")
        return int(value) // SLOT * SLOT

    def _add(self, records: list[Record]) -> None:
        first = records[0]
        slot = self._slot_of(first.at)
        if self._seen is not None:
            self._seen.advance(slot, self._job.now)
            if self._seen.repeats(first.id, slot):
                return
        for record in records:
            self._add_record(record, slot)

    def _add_record(self, record: Record, slot: int) -> None:
        known = record.requests <= 1
        edges = self._job.band_edges
        index = bisect_left(edges, record.prompt) if known else 0
        band = edges[index - 1] if index else 0
        provider = record.provider or self._job.provider or (record.family if self._job.path == "api" else "")
        labels = self._kept_labels(record.labels)
        key = (slot, provider, record.model, record.service_tier, record.region, band, known, labels)
        self._sum(key, record.requests, record.tokens)

    def _kept_labels(self, labels: Labels) -> Labels:
        """`labels`, or none if there are too many different ones already."""
        if len(self._kept) < MAX_LABEL_SETS:
            self._kept.add(labels)
        return labels if labels in self._kept else ()

    def _sum(self, key: Key, requests: int, tokens: Mapping[str, int]) -> None:
        fresh = [requests, dict(tokens)]
        total = self._series.setdefault(key, fresh)
        if total is fresh:
            return
        total[0] += requests
        sums = total[1]
        for token_type, n in tokens.items():
            sums[token_type] = sums.get(token_type, 0) + n

    def result(self) -> Result:
        """What was read since the last result."""
        self._bring_together()
        met = None
        if self._seen is not None:
            met, counted = self._seen.take()
            self._rejected.update(counted)
        result = Result(list(self._all_sums()), dict(self._rejected), self._problems, met)
        self._clear()
        return result

    def _bring_together(self) -> None:
        for slot, groups in self._slots.items():
            for key, sums in groups.items():
                self._canonical(slot, key, sums)
        self._slots.clear()
        self._groups = 0

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
        source = provider or self._job.provider
        own = self._kept_labels(self._own_labels(labels))
        full = slot, source, model, tier or "default", region or "", band, requests <= 1, own
        self._sum(full, requests * lines, tokens)

    def _own_labels(self, labels: KnownLabels | bytes | None) -> Labels:
        if labels is None:
            return ()
        if isinstance(labels, bytes):
            return raw_labels(labels)
        own = self._read_labels.get(labels)
        if own is None:
            own = self._read_labels[labels] = labels.labels()
        return own

    def _all_sums(self) -> Iterator[tuple[Key, int, dict[str, int]]]:
        common = self._job.labels
        merged = {own: tuple(sorted((common | dict(own)).items())) for own in self._kept | {()}} if common else {}
        for key, (requests, tokens) in self._series.items():
            yield ((*key[:-1], merged[key[-1]]) if common else key), requests, tokens


@lru_cache(4096)
def raw_labels(raw: bytes) -> Labels:
    """Labels from the text of a JSON value; what is not an object of plain values has none."""
    try:
        return labels_of(msgspec.json.decode(raw))
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ()
