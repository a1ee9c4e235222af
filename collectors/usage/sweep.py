"""One read of all files of a usage log: which are new, which are known under another name, and in what order."""

import glob
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from collectors import Context
from collectors.records import DAY, Batch, Failure
from collectors.usage.duplicates import Seen
from collectors.usage.files import CUT_OFF, LogFile
from collectors.usage.jobs import Job
from collectors.usage.pool import ChildDied, InProcess, Pool, Reading
from collectors.usage.positions import Cursor, Incomplete, Match, digest, match, new_part
from collectors.usage.reading import FileReading

if TYPE_CHECKING:
    from collectors.usage.log import UsageLogSettings

FORGET_AFTER = 7 * DAY
"""Seconds after which the position of a file that is gone is dropped. Should it come back, it is a new file."""

Outcome = tuple[str, Batch | Failure, list[tuple[int, str]]]
"""Path, what it gave, and the first rejected lines (line number, reason)."""


class _Candidate(Struct, frozen=True):
    """A file that may hold something new. Files that begin the same are copies of each other, or may be: the plain and
    longer one is read first."""

    path: str
    head: str
    mtime: int
    compressed: bool
    size: int


class Sweep:
    """`cursors` are the positions, moved as files are read. `failed`: some file could not be read to its end."""

    def __init__(
        self,
        settings: "UsageLogSettings",
        context: Context,
        now: int,
        cursors: dict[str, Cursor],
        last_read: int | None,
    ) -> None:
        self._settings = settings
        self._context = context
        self._now = now
        self._last_read = last_read
        self._pool: Pool | None = None
        self._claimed: set[str] = set()  # parts found under some path
        self._done: set[str] = set()  # paths
        self._inodes: dict[tuple[int, int], str] = {}
        self._vanished: set[str] = set()
        self._by_stat = {cursor.stat: part for part, cursor in cursors.items() if cursor.stat is not None}
        self.cursors = cursors
        self.seen: Seen | None = None
        self.failed = False

    def run(self) -> Iterator[Outcome]:
        """Read every file once. One that was renamed between listing and opening is looked for again, once."""
        yield from self._unmatched()
        yield from self._round()
        if self._vanished:
            self._vanished.clear()
            yield from self._round()
        for path in self._vanished:
            yield self._failure(path, "listed, but gone when it was opened; it is read under its new name next time")
        if self._claimed and not self.failed:  # with no file at all, a volume may be missing
            yield from self._gone()

    def _gone(self) -> Iterator[Outcome]:
        """Note which files are gone, under any name, and drop the positions of those that have been for long."""
        for part, cursor in list(self.cursors.items()):
            since = None if part in self._claimed else cursor.gone_since or self._now
            if since is not None and self._now - since > FORGET_AFTER:
                del self.cursors[part]
                yield part, Batch(part=part, cursor=""), []
            elif since != cursor.gone_since:
                self.cursors[part] = msgspec.structs.replace(cursor, gone_since=since)
                yield part, Batch(part=part, cursor=self.cursors[part].text()), []

    def close(self) -> None:
        """End the child processes."""
        if self._pool is not None:
            self._pool.close()
            self._pool = None

    def _patterns(self) -> tuple[str, ...]:
        path = self._settings.path
        return (path,) if isinstance(path, str) else path

    def _unmatched(self) -> Iterator[Outcome]:
        for pattern in self._patterns():
            if not self.cursors and not _expand(pattern):
                yield self._failure(pattern, "no file matches; check the path, and that it is mounted here")

    def _round(self) -> Iterator[Outcome]:
        candidates: list[_Candidate] = []
        for path in sorted({path for pattern in self._patterns() for path in _expand(pattern)}):
            if path not in self._done:
                yield from self._guarded(path, self._inspect(path, candidates))
        copies: list[str] = []
        for candidate in _in_order(candidates):
            yield from self._guarded(candidate.path, self._read(candidate.path, copies))
        # What looks like a shorter copy of a known file can be judged only when all other files are known.
        for path in copies:
            yield from self._guarded(path, self._read(path, None))

    def _guarded(self, path: str, work: Iterator[Outcome]) -> Iterator[Outcome]:
        """`work` on one file; what it fails with fails this file only."""
        try:
            yield from work
        except FileNotFoundError:
            self._vanished.add(path)
            self._inodes = {inode: name for inode, name in self._inodes.items() if name != path}
            return
        except OSError as error:
            if isinstance(error, ChildDied):
                self.close()
            yield self._failure(path, error.strerror or str(error))
        self._done.add(path)

    def _failure(self, path: str, reason: str) -> Outcome:
        self.failed = True
        return path, Failure(path, reason), []

    def _inspect(self, path: str, candidates: list[_Candidate]) -> Iterator[Outcome]:
        """Leave out what is not a file, stands under two names, or did not change since it was read to its end."""
        status = Path(path).stat()
        inode = status.st_dev, status.st_ino
        if not stat.S_ISREG(status.st_mode) or status.st_size == 0 or inode in self._inodes:
            return
        self._inodes[inode] = path
        part = self._by_stat.get((*inode, status.st_size, status.st_mtime_ns))
        if part is not None:
            self._claimed.add(part)
            return
        with LogFile(path) as file:
            candidates.append(_Candidate(path, digest(file.head), file.mtime, file.compressed, file.size))
        yield from ()

    def _read(self, path: str, copies: list[str] | None) -> Iterator[Outcome]:
        """Read one file on from its position. A possible copy is put into `copies` (None: decide now)."""
        with LogFile(path) as file:
            found = match(file, self.cursors)
            if found.part is None and found.shorter:
                if copies is not None:
                    copies.append(path)
                    return
                if not self._claimed.isdisjoint(found.shorter):
                    return  # a copy of a known file, or its beginning: nothing in it is new
                if found.incomplete:
                    raise Incomplete(CUT_OFF)
            yield from self._read_on(file, found)

    def _read_on(self, file: LogFile, found: Match) -> Iterator[Outcome]:
        part = found.part or new_part(file.head, self.cursors)
        self._claimed.add(part)
        before = self.cursors.get(part)
        reading = FileReading(file, part, found.position, before, self.seen, self._reader)
        if found.part is None and self._last_read is None and self._settings.start_at == "end":
            steps = iter([reading.skip()])
        else:
            steps = reading.batches(self._job(file, found.part is None))
        for cursor, batch in steps:
            self.cursors[part] = cursor
            problems, reading.problems = reading.problems, []
            yield file.path, batch, problems

    def _job(self, file: LogFile, is_new: bool) -> Job:
        settings = self._settings
        followed = self._last_read is not None and self._now - self._last_read <= settings.late_after
        return Job(
            declared=settings.format,
            detected=settings.format,
            now=self._now,
            # A compressed file that was not followed before its compression is old, whenever it appeared.
            fallback_at=self._now if followed and not (is_new and file.compressed) else None,
            path=settings.serves,
            provider=settings.provider,
            labels=dict(settings.labels),
            band_edges=tuple(self._context.band_edges),
            horizon=None if self.seen is None else self.seen.horizon,
        )

    def _reader(self, job: Job, backlog: bool) -> Reading:
        if not backlog:
            return InProcess(job, self.seen)
        if self._pool is None:
            self._pool = Pool(self._context.memory_bytes)
        return self._pool


def _expand(pattern: str) -> list[str]:
    return glob.glob(pattern, recursive=True)  # noqa: PTH207  # Path.glob refuses absolute patterns


def _in_order(candidates: list[_Candidate]) -> list[_Candidate]:
    """Oldest first, so that request ids meet in order of time; of files that begin the same the longest plain one."""
    oldest: dict[str, int] = {}
    for candidate in candidates:
        oldest[candidate.head] = min(candidate.mtime, oldest.get(candidate.head, candidate.mtime))
    return sorted(candidates, key=lambda c: (oldest[c.head], c.head, c.compressed, -c.size, c.path))
