"""The ledger on SQLite: every change is one transaction, and the counters move with what moved them."""

import sqlite3
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from collectors.records import Batch, Charge
from exporter.ledger import bill, counted, evaluated, files, sources
from exporter.ledger.counted import Growth
from exporter.ledger.counters import Counter, CounterKey, Counters
from exporter.ledger.files import LedgerBusyError, LedgerUnreadableError
from exporter.ledger.reader import Reader
from exporter.ledger.rollup import roll_up
from exporter.ledger.snapshot import Evaluation, Fold, Increment, SeriesKey, Snapshot
from exporter.ledger.sources import Sources
from exporter.ledger.writer import Writer

__all__ = ["Counter", "CounterKey", "Ledger", "LedgerBusyError", "LedgerUnreadableError", "LedgerUnwritableError"]

T = TypeVar("T")
FINE_RETENTION = 8 * 86400
RETENTION = 400 * 86400


class LedgerUnwritableError(Exception):
    """The ledger could not be written (disk full, read-only). Nothing of the transaction was kept; try again later."""


class Ledger:
    """One open ledger. Thread-safe; a second process that would write the same file is refused with LedgerBusyError."""

    def __init__(
        self,
        path: str | Path,
        now: int,
        retain_fine: int = FINE_RETENTION,
        retain: int = RETENTION,
        reading: bool = False,
        every_load: bool = True,
    ) -> None:
        """Open or create the ledger at `path`. `now` and the retentions are in seconds (since the epoch; of age).

        `reading`: see `read_only`. `every_load`: whether snapshots show what engines did in all slots, or only in those
        in which requests queued: a thousand engines have 2 million slots in a week.
        """
        self.path = Path(path)
        self._retain_fine, self._retain, self._reading = retain_fine, retain, reading
        self._lock_file = None if reading else files.lock(self.path)
        try:
            self._db = files.open_read_only(self.path) if reading else files.open_checked(self.path, now)
        except BaseException:
            self._unlock()
            raise
        self._lock = threading.RLock()
        self._write = Writer(self._db)
        self._reader = Reader(self._db, every_load)
        self._counters = Counters(self._db)
        self.first_start = int(self._meta("first_start", str(now)))
        self.fine_from = int(self._meta("fine_from", "0"))
        self.sources: Sources = sources.read(self._db)  # configured still or not
        self._refused: set[str] = set()  # what could not be written when it was last tried

    @classmethod
    def read_only(cls, path: str | Path, now: int) -> "Ledger":
        """The ledger at `path` as it is now, while an exporter may go on writing it; what would change it is refused.

        It must be there and of this release's schema (else LedgerUnreadableError). Close it soon: the write-ahead log
        cannot shrink while it is read.
        """
        return cls(path, now, reading=True)

    def close(self) -> None:
        with self._lock:
            self._db.close()
            self._unlock()

    @property
    def writable(self) -> bool:
        """False while something could not be written when it was last tried: small things may still fit a full disk."""
        return not self._reading and not self._refused

    @property
    def quarantines(self) -> int:
        """Damaged ledgers that were set aside at this path."""
        return files.quarantined(self.path)

    @property
    def size_bytes(self) -> int:
        """Bytes on disk, the write-ahead log included."""
        parts = (self.path, self.path.with_name(self.path.name + "-wal"))
        return sum(part.stat().st_size for part in parts if part.exists())

    def cursors(self, collector: str) -> dict[str, str]:
        """The committed position of each part of `collector`."""
        with self._lock:
            return dict(self._db.execute("SELECT part, cursor FROM parts WHERE collector = ?", (collector,)))

    def commit(
        self,
        collector: str,
        batch: Batch,
        now: int,
        increments: Iterable[Increment] = (),
        restated: Callable[[Sequence[Charge], Sequence[Charge]], Iterable[Increment]] | None = None,
        growth: Growth | None = None,
    ) -> None:
        """Append or replace one batch, move its cursor and its counters: all of it, or (LedgerUnwritableError) nothing.

        `restated` is asked for further increments with the charges before and after a replacement; `growth` is what of
        replaced usage `increments` count.
        """

        def work() -> dict[int, int]:
            touched = self._commit(collector, batch, now, increments, restated)
            if growth is not None:
                ids = {key: series for series, key in self._part_series(collector, batch.part).items()}
                counted.write(self._db, collector, growth, ids)
            return touched

        with self._lock:
            self._reader.touch(self._transaction(collector, work))

    def growth(self, collector: str, batch: Batch, now: int, late_after: int) -> Growth:
        """What the usage of a replacing `batch` adds to the counters (see `exporter.ledger.counted`). Only this
        collector's next commit may use it."""
        assert batch.window is not None
        wanted = {counted.key_of(collector, batch.stream, usage) for usage in batch.usage}
        with self._lock:
            ids = self._part_series(collector, batch.part)
            known = counted.read_known(self._db, collector, batch.window, ids, wanted)
        return counted.growth(collector, batch, known, now, late_after)

    def newest_bill_day(self, collector: str, by: int) -> int:
        """The newest UTC day that the bill of `collector` speaks of and that began by the instant `by`; 0 if none."""
        with self._lock:
            return bill.newest_day(self._db, collector, by)

    def note_sources(self, configured: Sources) -> dict[str, str]:
        """Keep what the collectors of usage are: those that are not `configured` any more stay what they were. What was
        said of a source that has another name now goes on under that, and what was said under a name that another
        source has now is kept under a new one; returned are these, the new names by the former ones."""
        with self._lock:
            moved = sources.moves(self._db, self.sources, configured)
            found = sources.noted(self.sources, configured, moved)

            def work() -> None:
                sources.rename(self._db, moved)
                sources.write(self._db, found)

            if found != self.sources:
                self._transaction("note_sources", work)
                self._write.forget()
                self._reader.touch_all()
                self.sources = found
            return moved

    def asked(self, collector: str) -> dict[str, int]:
        """The streams of `collector` that have vouched for some time and are not retired, with the end of that time."""
        with self._lock:
            rows = self._db.execute(
                "SELECT stream, max(stop) FROM observed WHERE collector = ? AND stream NOT IN "
                "(SELECT stream FROM retired WHERE collector = ? AND back IS NULL) GROUP BY stream",
                (collector, collector),
            )
            return dict(rows)

    def accrue(self, key: str, through: int, now: int, increments: Iterable[Increment]) -> None:
        """Move counters for time that has passed, and the instant `key` is accrued through, in one transaction."""
        self.accrue_all([(key, through, increments)], now)

    def accrue_all(self, accruals: Sequence[tuple[str, int, Iterable[Increment]]], now: int) -> None:
        """`accrue` many keys, as (key, through, increments), in one transaction: all of them or none."""
        if not accruals:
            return

        def work() -> None:
            self._db.executemany(
                "INSERT INTO accruals VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET through = excluded.through",
                [(key, through) for key, through, _ in accruals],
            )
            self._counters.move((step for _, _, increments in accruals for step in increments), now)

        with self._lock:
            self._transaction("accrue", work)

    def accruals(self) -> dict[str, int]:
        """By key, the instant through which it was accrued."""
        with self._lock:
            return dict(self._db.execute("SELECT key, through FROM accruals"))

    def counters(self) -> dict[CounterKey, Counter]:
        with self._lock:
            return dict(self._counters.kept)

    def retire(self, collector: str, streams: Iterable[str], at: int) -> None:
        """Say that `streams` are no longer asked for coverage from `at` on (target gone from the configuration)."""
        rows = [(collector, stream, at) for stream in streams]
        with self._lock:
            self._transaction(
                "retire",
                lambda: self._db.executemany("INSERT INTO retired VALUES (?, ?, ?, NULL) ON CONFLICT DO NOTHING", rows),
            )
            self._reader.touch_streams((collector, stream) for _, stream, _ in rows)

    def store_evaluations(
        self,
        evaluations: Sequence[Evaluation],
        folds: Iterable[Fold] = (),
        void: Iterable[tuple[str, str, str, int]] = (),
    ) -> None:
        """Keep evaluations for good; one that is already stored stays as it was. `folds` are what they lead to.

        `void`: of a workload, path and alternative, those stored for after an instant are forgotten first: they were
        made by a clock that was ahead.
        """
        with self._lock:
            self._transaction("store_evaluations", lambda: evaluated.write(self._db, evaluations, folds, void))

    def folds(self) -> list[Fold]:
        """One for every workload, path and alternative that was ever evaluated, with the newest state that was kept."""
        with self._lock:
            return evaluated.read_folds(self._db)

    def evaluations(self, after: int = 0) -> list[Evaluation]:
        """The stored evaluations with `at` > `after`, in order of time."""
        with self._lock:
            return evaluated.read(self._db, after)

    def evaluations_of(self, fold: Fold, after: int | None = None) -> list[Evaluation]:
        """The stored evaluations of the fold's workload, path and alternative with `at` > `after` (None: those that it
        is not made of), in order of time."""
        with self._lock:
            return evaluated.read_of(self._db, fold, fold.at if after is None else after)

    def primary(self, workload: str, path: str, choice: str | None) -> str | None:
        """The automatically chosen primary alternative: the one chosen first, else `choice`, which is then kept."""
        with self._lock:
            row = self._db.execute(
                "SELECT alternative FROM primaries WHERE workload = ? AND path = ?", (workload, path)
            ).fetchone()
            if row or choice is None:
                return row[0] if row else None
            self._transaction(
                "primary", lambda: self._db.execute("INSERT INTO primaries VALUES (?, ?, ?)", (workload, path, choice))
            )
            return choice

    def snapshot(self) -> Snapshot:
        """The ledger as values. Valid until the next snapshot: its usage series are brought up to date in place."""
        with self._lock:
            checks = frozenset(name for name, source in self.sources.items() if source.role == "check")
            return replace(self._reader.snapshot(self.fine_from), checks=checks)

    def compact(self, now: int) -> None:
        """Roll 5-minute rows older than the fine retention up to hours, and drop what is older than the retention.

        Counters, evaluations and bills stay.
        """
        fine_from = (now - self._retain_fine) // 3600 * 3600
        with self._lock:
            if fine_from <= self.fine_from:
                return

            def work() -> None:
                roll_up(self._db, self.fine_from, fine_from, now - self._retain)
                self._write.bills.forget_unused()
                self._db.execute("UPDATE meta SET value = ? WHERE key = 'fine_from'", (str(fine_from),))

            self._transaction("compact", work)
            self._reader.roll_up(self.fine_from, fine_from, now - self._retain)
            self.fine_from = fine_from

    def _commit(
        self,
        collector: str,
        batch: Batch,
        now: int,
        increments: Iterable[Increment],
        restated: Callable[[Sequence[Charge], Sequence[Charge]], Iterable[Increment]] | None,
    ) -> dict[int, int]:
        more: list[Increment] = []
        touched: dict[int, int] = {}
        if batch.window is not None:
            touched.update(self._write.clear(collector, batch))
            if restated is not None:
                more.extend(restated(self._write.bills.said(collector, batch.part, batch.window), batch.charges))
        billed = self._write.bills.write(collector, batch)
        for usage in batch.usage:
            series, start = self._write.usage(collector, batch, usage, now, self.fine_from)
            touched[series] = min(start, touched.get(series, start))
        self._write.rest(collector, batch)
        if batch.cursor is not None:
            self._write.cursor(collector, batch.part, batch.cursor, now)
        self._counters.move((*increments, *more), now)
        self._reader.saw(collector, batch, billed)
        return touched

    def _part_series(self, collector: str, part: str) -> dict[int, SeriesKey]:
        rows = self._db.execute("SELECT id FROM series WHERE collector = ? AND part = ?", (collector, part)).fetchall()
        return {series: self._reader.read_key(series) for (series,) in rows}

    def _unlock(self) -> None:
        if self._lock_file is not None:
            self._lock_file.close()

    def _transaction(self, what: str, work: Callable[[], T]) -> T:
        if self._reading:
            raise LedgerUnwritableError(f"{self.path}: opened for reading only")
        self._counters.begin()
        try:
            self._db.execute("BEGIN IMMEDIATE")
            result = work()
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            self._roll_back()
            self._refused.add(what)
            raise LedgerUnwritableError(f"{self.path}: {error}") from error
        except BaseException:
            self._roll_back()
            raise
        self._counters.keep()
        self._refused.discard(what)
        return result

    def _roll_back(self) -> None:
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")
        self._write.forget()
        self._reader.forget()

    def _meta(self, key: str, default: str) -> str:
        if not self._reading:
            self._db.execute("INSERT INTO meta VALUES (?, ?) ON CONFLICT (key) DO NOTHING", (key, default))
        row = self._db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return row[0] if row else default
