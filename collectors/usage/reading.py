"""Reading one log file from its position to its end, into batches with the cursor that goes with each."""

import logging
from collections import deque
from collections.abc import Callable, Iterator
from itertools import islice

import msgspec
from msgspec import Struct

from collectors.records import Batch, Path, Usage
from collectors.usage.detect import detect
from collectors.usage.duplicates import Met, Saved, Seen
from collectors.usage.files import Block, LogFile
from collectors.usage.jobs import Job, Key, Result
from collectors.usage.pool import Pool, Reading, merge
from collectors.usage.positions import Cursor, Position, digest
from collectors.usage.records import Format

COMMIT_BYTES = 32 * 1024 * 1024
COMMIT_SUMS = 20_000  # rows of usage, also then
STRETCH_BYTES = 8 * 1024 * 1024  # so that no child meets more than MAX_IDS: a line with an id is longer than 32 bytes
MIN_STRETCH_BYTES = 512 * 1024
COLD_BYTES = 16 * 1024 * 1024
COLD_COMPRESSED_BYTES = 1024 * 1024
_DETECT_LINES = 100

log = logging.getLogger("collectors.usage.log")


class _Stretches:
    """What of a plain file the children are given, in order: smaller towards the end, so that they end together."""

    def __init__(self, file: LogFile, pool: Pool, start: int) -> None:
        self._file = file
        self._pool = pool
        self._start = start
        self._more = True
        self._waiting: deque[tuple[int, int]] = deque()

    def read(self) -> Iterator[tuple[int, int]]:
        """Start and end of each stretch, when its result is there."""
        while self._more or self._waiting:
            self._ask()
            if not self._waiting:
                continue
            if self._pool.has_result():
                yield self._waiting.popleft()
            else:
                self._pool.wait()

    def _ask(self) -> None:
        """Ask for more while the children have room, up to the end of the file or a very long line."""
        while self._more and self._pool.has_room():
            share = (self._file.size - self._start) // (2 * self._pool.size)
            end = self._file.line_end(self._start + min(STRETCH_BYTES, max(MIN_STRETCH_BYTES, share)))
            if end is None or end <= self._start:
                self._more = False
                return
            self._pool.read_stretch(self._file, self._start, end)
            self._waiting.append((self._start, end))
            self._start = end


def _usage(path: Path, key: Key, requests: int, tokens: dict[str, int]) -> Usage:
    slot, provider, model, tier, region, band, band_known, labels = key
    return Usage(slot, path, provider, model, tokens, requests, tier, region, band, band_known, labels)


class _Chunk(Struct):
    """Blocks of one commit: where they end, and the lines that were too long."""

    end: Position
    bytes: int = 0
    too_long: int = 0

    def add(self, block: Block) -> None:
        self.end = block.end
        self.bytes += len(block.data)
        self.too_long += block.too_long


class FileReading:
    """One file in one read. `start` makes the reader for a job and says whether the file is a backlog."""

    def __init__(
        self,
        file: LogFile,
        part: str,
        position: Position,
        before: Cursor | None,
        seen: Seen | None,
        start: Callable[[Job, bool], Reading],
    ) -> None:
        self._file = file
        self._part = part
        self._position = position
        self._seen = seen
        self._start = start
        self._saved = Saved(before.met if before else None)
        self._path: Path = "api"
        self._format: Format = before.format if before else "auto"
        self.problems: list[tuple[int, str]] = []

    def batches(self, job: Job) -> Iterator[tuple[Cursor, Batch]]:
        """Read to the end. Each batch ends where its cursor says; the last one remembers the file's stat."""
        first = next(self._file.blocks(self._position), None)
        if first is None:
            if self._file.compressed:
                yield self._unchanged()
            return
        self._detect(job.declared, first)
        job = msgspec.structs.replace(job, detected=self._format)
        self._path = job.path
        reading = self._start(job, self._is_backlog())
        if isinstance(reading, Pool):
            if not self._file.compressed and not self._position.skipping:
                yield from self._stretches(reading, job)
                if self._position.offset == self._file.size:
                    return
            reading.start(job, self._known())
        yield from self._streamed(reading, job.now)

    def _known(self) -> Met | None:
        return None if self._seen is None else self._seen.met()

    def _stretches(self, pool: Pool, job: Job) -> Iterator[tuple[Cursor, Batch]]:
        """The children read a plain file themselves, a stretch at a time each; several are committed together."""
        pool.start(job, None)
        stretches = _Stretches(self._file, pool, self._position.offset)
        read: list[Result] = []
        for start, end in stretches.read():
            read.append(self._in_order(pool, start, end, job.now))
            if end - self._position.offset >= COMMIT_BYTES or sum(len(one.sums) for one in read) > COMMIT_SUMS:
                yield self._commit_stretches(end, read, job.now)
                read = []
        if read:
            yield self._commit_stretches(end, read, job.now)

    def _in_order(self, pool: Pool, start: int, end: int, now: int) -> Result:
        """The result of the oldest stretch. A child judges request ids by its own stretch. Where that is not enough the
        stretch is read again, knowing the ids before it."""
        result = pool.result()
        if self._seen is None or result.met is None:
            return result
        lost = self._seen.accept(result.met, now)
        if lost is None:
            result = pool.read_knowing(self._seen.met(), self._file, start, end)
            self._learn(result, now)
        elif lost:
            reason = "beyond_duplicate_horizon"
            result.rejected[reason] = result.rejected.get(reason, 0) + lost
        return result

    def _learn(self, result: Result, now: int) -> None:
        """Know the ids that a child process met in order."""
        if self._seen is not None and result.met is not None:
            self._seen.learn(result.met, now)

    def _commit_stretches(self, end: int, results: list[Result], now: int) -> tuple[Cursor, Batch]:
        for result in results:
            self._remember(result)
        result = merge(results)
        lines = self._position.lines
        result.problems = [(lines + line, reason) for line, reason in result.problems]
        reached = Position(end, lines + result.lines, self._file.edge_before(end) or b"")
        return self._commit(_Chunk(reached), result, last=end == self._file.size)

    def _streamed(self, reading: Reading, now: int) -> Iterator[tuple[Cursor, Batch]]:
        """Lines are read here and dealt out; one chunk is read while the next is dealt out."""
        waiting: deque[_Chunk] = deque()
        for chunk in self._chunks(reading):
            if waiting:
                yield self._commit(waiting.popleft(), self._result(reading, now), last=False)
            waiting.append(chunk)
        if waiting:
            yield self._commit(waiting.popleft(), self._result(reading, now), last=True)

    def _result(self, reading: Reading, now: int) -> Result:
        result = reading.result()
        if isinstance(reading, Pool):  # ids that this process met are known already
            self._learn(result, now)
        self._remember(result)
        return result

    def _chunks(self, reading: Reading) -> Iterator[_Chunk]:
        start = self._position
        chunk = _Chunk(start)
        for block in self._file.blocks(start):
            if block.data:
                reading.read(block.data, block.first_line, block.newlines)
            chunk.add(block)
            if chunk.bytes >= COMMIT_BYTES:
                reading.flush()
                yield chunk
                chunk = _Chunk(chunk.end)
        if chunk.bytes or chunk.too_long or chunk.end.skipping != start.skipping:
            reading.flush()
            yield chunk

    def skip(self) -> tuple[Cursor, Batch]:
        """Take the end of the file as its position, without counting what is before (`start_at: end`)."""
        end = self._position
        for block in self._file.blocks(self._position):
            end = block.end
        cursor = self._cursor(end, last=True)
        return cursor, Batch(part=self._part, cursor=cursor.text())

    def _commit(self, chunk: _Chunk, result: Result, last: bool) -> tuple[Cursor, Batch]:
        if self._file.shrunk(chunk.end.offset):
            raise OSError("the file was truncated while it was being read; what is left is read next time")
        if chunk.too_long:
            result.rejected["line_too_long"] = result.rejected.get("line_too_long", 0) + chunk.too_long
        self.problems += result.problems
        self._position = chunk.end
        cursor = self._cursor(chunk.end, last)
        usage = [_usage(self._path, *sums) for sums in result.sums]
        return cursor, Batch(part=self._part, usage=usage, cursor=cursor.text(), rejected=result.rejected)

    def _remember(self, result: Result) -> None:
        """Keep the request ids that this file added, for its cursor."""
        if self._seen is not None and result.met is not None:
            self._saved.add(result.met, self._seen.floor)

    def _cursor(self, end: Position, last: bool) -> Cursor:
        head = self._file.head
        return Cursor(
            offset=end.offset,
            lines=end.lines,
            head=digest(head),
            head_length=len(head),
            tail=digest(end.edge),
            skipping=end.skipping,
            format=self._format,
            stat=self._file.stat if last else None,
            met=self._saved.met(),
        )

    def _unchanged(self) -> tuple[Cursor, Batch]:
        """Nothing new in a compressed file: remember its stat, so that it is not decompressed again."""
        cursor = self._cursor(self._position, last=True)
        return cursor, Batch(part=self._part, cursor=cursor.text())

    def _detect(self, declared: Format, first: Block) -> None:
        """Settle the format: the declared one, else what was found before, else what the first lines look like."""
        if declared != "auto":
            self._format = declared
        elif self._format == "auto":
            self._format = detect(islice(first.data.split(b"\n"), _DETECT_LINES)) or "auto"
            if self._format != "auto":
                log.info("%s: the lines look like format %s", self._file.path, self._format)

    def _is_backlog(self) -> bool:
        if self._file.compressed:
            return self._file.size > COLD_COMPRESSED_BYTES
        return self._file.size - self._position.offset > COLD_BYTES
