"""The ledger on SQLite: every change is one transaction, and the counters move with what moved them."""

import json
import sqlite3
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from decimal import Context, Decimal
from pathlib import Path
from typing import TypeVar

from collectors.records import Batch, Charge
from exporter.ledger import files
from exporter.ledger.files import LedgerBusyError, LedgerUnreadableError
from exporter.ledger.reader import Reader
from exporter.ledger.rollup import roll_up
from exporter.ledger.snapshot import Evaluation, Increment, Snapshot
from exporter.ledger.writer import Writer

__all__ = ["CounterKey", "Ledger", "LedgerBusyError", "LedgerUnreadableError", "LedgerUnwritableError"]

CounterKey = tuple[str, tuple[str, ...]]
"""(family, label values in the family's order)."""

T = TypeVar("T")
EXACT = Context(prec=60)
FINE_RETENTION = 8 * 86400
RETENTION = 400 * 86400


class LedgerUnwritableError(Exception):
    """The ledger could not be written (disk full, read-only). Nothing of the transaction was kept; try again later."""


@dataclass(frozen=True, slots=True)
class Counter:
    """A counter's committed value and when the ledger first saw it (epoch seconds)."""

    value: Decimal
    created: float


class Ledger:
    """One open ledger. Thread-safe; a second process that would write the same file is refused with LedgerBusyError."""

    def __init__(
        self,
        path: str | Path,
        now: int,
        retain_fine: int = FINE_RETENTION,
        retain: int = RETENTION,
        reading: bool = False,
    ) -> None:
        """Open or create the ledger at `path`. `now` and the retentions are in seconds (since the epoch; of age).

        `reading`: see `read_only`.
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
        self._reader = Reader(self._db)
        self._counters: dict[CounterKey, Counter] = self._load_counters()
        self._pending: dict[CounterKey, Counter] = {}  # moved inside the open transaction
        self.first_start = int(self._meta("first_start", str(now)))
        self.fine_from = int(self._meta("fine_from", "0"))
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
    ) -> None:
        """Append or replace one batch, move its cursor and its counters: all of it, or (LedgerUnwritableError) nothing.

        `restated` is asked for further increments with the charges before and after a replacement.
        """
        with self._lock:
            touched = self._transaction(collector, lambda: self._commit(collector, batch, now, increments, restated))
            self._reader.touch(touched)

    def accrue(self, key: str, through: int, now: int, increments: Iterable[Increment]) -> None:
        """Move counters for time that has passed, and the instant `key` is accrued through, in one transaction."""

        def work() -> None:
            self._db.execute(
                "INSERT INTO accruals VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET through = excluded.through",
                (key, through),
            )
            self._count(increments, now)

        with self._lock:
            self._transaction("accrue", work)

    def accrued_through(self, key: str) -> int | None:
        """The instant through which `key` was accrued, or None before its first accrual."""
        with self._lock:
            row = self._db.execute("SELECT through FROM accruals WHERE key = ?", (key,)).fetchone()
            return row[0] if row else None

    def counters(self) -> dict[CounterKey, Counter]:
        with self._lock:
            return dict(self._counters)

    def retire(self, collector: str, streams: Iterable[str], at: int) -> None:
        """Say that `streams` are no longer asked for coverage from `at` on (target gone from the configuration)."""
        rows = [(collector, stream, at) for stream in streams]
        with self._lock:
            self._transaction(
                "retire",
                lambda: self._db.executemany("INSERT INTO retired VALUES (?, ?, ?, NULL) ON CONFLICT DO NOTHING", rows),
            )
            self._reader.touch_streams()

    def store_evaluations(self, evaluations: Sequence[Evaluation]) -> None:
        """Keep evaluations for good; one that is already stored stays as it was."""
        rows = [
            (
                e.workload,
                e.path,
                e.alternative,
                e.at,
                _text(e.api_usd),
                _text(e.self_hosted_usd),
                e.covered_seconds,
                e.reason,
            )
            for e in evaluations
        ]
        with self._lock:
            self._transaction(
                "store_evaluations",
                lambda: self._db.executemany(
                    "INSERT INTO evaluations VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING", rows
                ),
            )

    def evaluations(self, after: int = 0) -> list[Evaluation]:
        """The stored evaluations with `at` > `after`, in order of time."""
        with self._lock:
            rows = self._db.execute(
                "SELECT workload, path, alternative, at, api_usd, self_hosted_usd, reason, covered_seconds "
                "FROM evaluations WHERE at > ? ORDER BY at",
                (after,),
            ).fetchall()
        return [
            Evaluation(w, path, a, at, _decimal(api), _decimal(own), reason, covered)
            for w, path, a, at, api, own, reason, covered in rows
        ]

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
            return self._reader.snapshot(self.fine_from)

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
                self._db.execute("UPDATE meta SET value = ? WHERE key = 'fine_from'", (str(fine_from),))

            self._transaction("compact", work)
            self.fine_from = fine_from
            self._reader.touch_all()

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
            old, dropped = self._write.clear(collector, batch)
            touched.update(dropped)
            if restated is not None:
                more.extend(restated(old, batch.charges))
        for usage in batch.usage:
            series, start = self._write.usage(collector, batch, usage, now, self.fine_from)
            touched[series] = min(start, touched.get(series, start))
        self._write.rest(collector, batch)
        if batch.cursor is not None:
            self._write.cursor(collector, batch.part, batch.cursor, now)
        self._count((*increments, *more), now)
        self._reader.saw(collector, batch)
        return touched

    def _count(self, increments: Iterable[Increment], now: int) -> None:
        moved = self._pending
        for step in increments:
            if step.amount < 0:
                raise ValueError(f"a counter must not fall: {step}")
            key = (step.family, step.labels)
            old = moved.get(key) or self._counters.get(key) or Counter(Decimal(0), float(now))
            moved[key] = Counter(EXACT.add(old.value, step.amount), old.created)
        self._db.executemany(
            "INSERT INTO counters VALUES (?, ?, ?, ?) "
            "ON CONFLICT (family, labels) DO UPDATE SET value = excluded.value",
            [(family, json.dumps(labels), str(c.value), c.created) for (family, labels), c in moved.items()],
        )

    def _unlock(self) -> None:
        if self._lock_file is not None:
            self._lock_file.close()

    def _transaction(self, what: str, work: Callable[[], T]) -> T:
        if self._reading:
            raise LedgerUnwritableError(f"{self.path}: opened for reading only")
        self._pending.clear()
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
        self._counters.update(self._pending)
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

    def _load_counters(self) -> dict[CounterKey, Counter]:
        rows = self._db.execute("SELECT family, labels, value, created FROM counters")
        return {(f, tuple(json.loads(labels))): Counter(Decimal(value), created) for f, labels, value, created in rows}


def _text(value: Decimal | None) -> str | None:
    return None if value is None else str(value)


def _decimal(value: str | None) -> Decimal | None:
    return None if value is None else Decimal(value)
