"""Reading one log file from its position to its end, into batches with the cursor that goes with each."""

import logging
from collections import deque
from collections.abc import Callable, Iterator
from itertools import islice

import msgspec
from msgspec import Struct

from collectors.records import Batch
from collectors.usage.aggregate import Job, Result
from collectors.usage.detect import Format, detect
from collectors.usage.duplicates import MAX_SAVED, Apart, Ids, Seen, newest, restore, save
from collectors.usage.files import Block, LogFile
from collectors.usage.pool import Pool, Reading
from collectors.usage.positions import Cursor, Position, digest

COMMIT_BYTES = 32 * 1024 * 1024
COLD_BYTES = 16 * 1024 * 1024
COLD_COMPRESSED_BYTES = 1024 * 1024
_DETECT_LINES = 100

log = logging.getLogger("collectors.usage.log")


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
        self._ids = restore(before.ids) if before else Ids.of()
        self._apart = Apart(seen) if seen is not None else None
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
        reading = self._start(job, self._is_backlog())
        if isinstance(reading, Pool):
            if not self._file.compressed and not self._position.skipping:
                yield from self._stretches(reading, job)
                if self._position.offset == self._file.size:  # nothing is left for which the children need the ids
                    self._settle_apart(job.now)
                    return
            reading.start(job, self._known(job.now))
        yield from self._streamed(reading, job.now)

    def _known(self, now: int) -> Ids | None:
        self._settle_apart(now)
        return None if self._seen is None else self._seen.ids()

    def _settle_apart(self, now: int) -> None:
        if self._apart is not None:
            self._apart.settle(now)

    def _stretches(self, pool: Pool, job: Job) -> Iterator[tuple[Cursor, Batch]]:
        """The children read a plain file themselves, a part each; a stretch is read while the one before is committed.
        Each child judges request ids by its own part. Where that is not enough the lines are read again, in order."""
        pool.start(job, None)
        start = self._position.offset
        waiting: deque[int] = deque()
        while (end := self._file.line_end(start + COMMIT_BYTES)) is not None and end > start:
            pool.read_stretch(self._file, start, end)
            waiting.append(end)
            if len(waiting) > 1:
                yield from self._settle(waiting, pool, job)
            start = end
        while waiting:
            yield from self._settle(waiting, pool, job)

    def _settle(self, waiting: deque[int], pool: Pool, job: Job) -> Iterator[tuple[Cursor, Batch]]:
        """Commit the oldest stretch; if it has to be read in order, all that wait."""
        result = pool.result()
        if self._apart is None or self._apart.accept(result.met, job.now):
            yield self._commit_stretch(waiting.popleft(), result, job.now)
            return
        pool.start(job, self._known(job.now))
        while waiting:
            pool.read_stretch(self._file, self._position.offset, waiting[0])
            yield self._commit_stretch(waiting.popleft(), self._result(pool, job.now), job.now)
        pool.start(job, None)

    def _learn(self, result: Result, now: int) -> None:
        """Know the ids that a child process met in order."""
        if self._seen is not None:
            for piece in result.met:
                self._seen.advance(piece.newest, now)
                self._seen.learn(piece.ids, now)

    def _commit_stretch(self, end: int, result: Result, now: int) -> tuple[Cursor, Batch]:
        lines = self._position.lines
        result.problems = [(lines + line, reason) for line, reason in result.problems]
        reached = Position(end, lines + result.lines, self._file.edge_before(end) or b"")
        return self._commit(_Chunk(reached), result, now, last=end == self._file.size)

    def _streamed(self, reading: Reading, now: int) -> Iterator[tuple[Cursor, Batch]]:
        """Lines are read here and dealt out; one chunk is read while the next is dealt out."""
        waiting: deque[_Chunk] = deque()
        for chunk in self._chunks(reading):
            if waiting:
                yield self._commit(waiting.popleft(), self._result(reading, now), now, last=False)
            waiting.append(chunk)
        if waiting:
            yield self._commit(waiting.popleft(), self._result(reading, now), now, last=True)

    def _result(self, reading: Reading, now: int) -> Result:
        result = reading.result()
        if isinstance(reading, Pool):  # ids that this process met are known already
            self._learn(result, now)
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

    def _commit(self, chunk: _Chunk, result: Result, now: int, last: bool) -> tuple[Cursor, Batch]:
        if self._file.shrunk(chunk.end.offset):
            raise OSError("the file was truncated while it was being read; what is left is read next time")
        if chunk.too_long:
            result.rejected["line_too_long"] = result.rejected.get("line_too_long", 0) + chunk.too_long
        self.problems += result.problems
        self._remember(result)
        self._position = chunk.end
        cursor = self._cursor(chunk.end, last)
        return cursor, Batch(part=self._part, usage=result.usage, cursor=cursor.text(), rejected=result.rejected)

    def _remember(self, result: Result) -> None:
        """Keep the request ids that this file added, for the cursor and for the files read next."""
        if self._seen is None:
            return
        for piece in result.met:
            self._ids = newest(self._ids.joined(piece.ids), self._seen.floor, MAX_SAVED)

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
            ids=save(self._ids),
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
