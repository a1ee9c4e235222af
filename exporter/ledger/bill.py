"""Bills in the ledger: a row for each part and UTC day; what lines have in common has rows of its own.

A day's row is replaced whole. `alike` counts how many deliveries in a row said the same of it: a bill settles.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b
from typing import NamedTuple

import msgspec

from collectors.bill_days import BillDay, Kind, charges, kind_of, packed
from collectors.records import DAY, OPEN, Batch, Charge, Window
from exporter.ledger.snapshot import BillLine

MAX_KINDS = 20_000  # whose ids are remembered: one takes about 1 KB

_COLUMNS = "day, digest, alike, kinds, lines"
_ONE = f"SELECT {_COLUMNS} FROM bill WHERE collector = ? AND part = ? AND day = ?"
_SPAN = f"SELECT {_COLUMNS} FROM bill WHERE collector = ? AND part = ? AND day >= ? AND day < ? ORDER BY day"
_PUT = (
    "INSERT INTO bill (collector, part, day, digest, alike, kinds, lines) VALUES (?, ?, ?, ?, ?, ?, ?) "
    "ON CONFLICT (collector, part, day) DO UPDATE SET digest = excluded.digest, alike = excluded.alike, "
    "kinds = excluded.kinds, lines = excluded.lines"
)
_OLD_LINES = "SELECT charge FROM charges WHERE collector = ? AND part = ? AND start >= ? AND start < ?"
_OLD_NEXT = "SELECT min(start) FROM charges WHERE collector = ? AND part = ? AND start >= ?"
_KIND = "INSERT INTO bill_kinds (digest, kind) VALUES (?, ?) ON CONFLICT (digest) DO NOTHING"
_ids = msgspec.json.Decoder(list[int]).decode

Key = tuple[str, str]
"""(collector, part)."""


class _Row(NamedTuple):
    """A day of a part as it is kept; `kinds` are ids, encoded."""

    day: int
    digest: str
    alike: int
    kinds: str
    lines: str


class Bills:
    """The statements about bills, inside the caller's transaction."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._known: dict[str, int] = {}  # ids by kind
        self._dropped = False  # lines, since unused kinds were looked for

    def forget(self) -> None:
        """After a roll-back ids handed out inside the transaction are void."""
        self._known.clear()

    def said(self, collector: str, part: str, window: Window) -> list[Charge]:
        """The charges of a part that start in `window`."""
        rows = self._rows((collector, part), window)
        return [charge for row in rows for charge in self._charges(row) if _starts_in(charge, window)]

    def write(self, collector: str, batch: Batch) -> bool:
        """Put the charges of `batch` in the place of what its part said of its window, or, without one, beside what it
        said before. Returns whether there were or are any."""
        key, window = (collector, batch.part), batch.window
        new = {day.start: day for day in _by_day(batch.charges)}
        old = {row.day: row for row in self._rows(key, window)} if window is not None else {}
        for start in sorted({*new, *old}):
            row = old.get(start) or self._row(key, start)
            self._put(key, row, _with_rest(new.get(start), start, self._kept(row, window)))
        return bool(new or old)

    def forget_unused(self) -> None:
        """Drop what no line has in common any more, if lines were dropped since."""
        if not self._dropped:
            return
        used = {one for (kinds,) in self._db.execute("SELECT kinds FROM bill") for one in _ids(kinds)}
        unused = [row for row in self._db.execute("SELECT id FROM bill_kinds") if row[0] not in used]
        self._db.executemany("DELETE FROM bill_kinds WHERE id = ?", unused)
        self._known.clear()
        self._dropped = False

    def _rows(self, key: Key, window: Window) -> list[_Row]:
        """The days of a part that a window reaches into."""
        first = window.start - window.start % DAY
        return [_Row(*row) for row in self._db.execute(_SPAN, (*key, first, window.end))]

    def _row(self, key: Key, start: int) -> _Row | None:
        found = self._db.execute(_ONE, (*key, start)).fetchone()
        return _Row(*found) if found else None

    def _kept(self, row: _Row | None, window: Window | None) -> list[Charge]:
        """The charges of a day that a delivery for `window` leaves."""
        if row is None or (window is not None and window.start <= row.day and row.day + DAY <= window.end):
            return []
        return [charge for charge in self._charges(row) if window is None or not _starts_in(charge, window)]

    def _put(self, key: Key, old: _Row | None, day: BillDay | None) -> None:
        self._dropped = self._dropped or old is not None
        if day is None:
            assert old is not None
            self._db.execute("DELETE FROM bill WHERE collector = ? AND part = ? AND day = ?", (*key, old.day))
            return
        kinds = msgspec.json.encode(self._numbered(day.kinds)).decode()
        digest = blake2b(f"{kinds}{day.lines}".encode(), digest_size=16).hexdigest()
        alike = old.alike + 1 if old is not None and old.digest == digest else 1
        self._db.execute(_PUT, (*key, day.start, digest, alike, kinds, day.lines))

    def _numbered(self, kinds: Iterable[str]) -> list[int]:
        """The ids of kinds, those that are new put to the ledger."""
        known = self._known
        if len(known) > MAX_KINDS:
            known.clear()
        return [known.get(kind) or self._learn(kind) for kind in kinds]

    def _learn(self, kind: str) -> int:
        digest = blake2b(kind.encode(), digest_size=16).hexdigest()
        self._db.execute(_KIND, (digest, kind))
        found: int = self._db.execute("SELECT id FROM bill_kinds WHERE digest = ?", (digest,)).fetchone()[0]
        self._known[kind] = found
        return found

    def _charges(self, row: _Row) -> list[Charge]:
        texts = (self._db.execute("SELECT kind FROM bill_kinds WHERE id = ?", (one,)) for one in _ids(row.kinds))
        return charges(row.day, [kind_of(found.fetchone()[0]) for found in texts], row.lines)


def _starts_in(charge: Charge, window: Window) -> bool:
    return window.start <= charge.window.start < window.end


def _by_day(lines: Sequence[Charge]) -> list[BillDay]:
    return [lines] if isinstance(lines, BillDay) else packed(lines)


def _with_rest(day: BillDay | None, start: int, rest: Sequence[Charge]) -> BillDay | None:
    """A day with lines that stay beside it."""
    if not rest:
        return day
    (whole,) = packed([*rest, *(day or ())])
    assert whole.start == start
    return whole


def read(db: sqlite3.Connection) -> Iterator[BillLine]:
    """Every line of every bill, by collector, part and day."""
    kinds: dict[int, Kind] = {number: kind_of(text) for number, text in db.execute("SELECT id, kind FROM bill_kinds")}
    rows = db.execute("SELECT collector, part, day, alike, kinds, lines FROM bill ORDER BY collector, part, day")
    for collector, part, day, alike, ids, lines in rows:
        for charge in charges(day, [kinds[one] for one in _ids(ids)], lines):
            yield BillLine(collector, part, charge, alike)


def newest_day(db: sqlite3.Connection, collector: str, by: int) -> int:
    """The newest UTC day that the bill of `collector` speaks of and that began by the instant `by`; 0 if none."""
    found = db.execute("SELECT max(day) FROM bill WHERE collector = ? AND day <= ?", (collector, by)).fetchone()
    return int(found[0] or 0)


def migrate(db: sqlite3.Connection) -> None:
    """From schema version 3, in which every line was a row of its own: a day of a part at a time, as it is kept now,
    so that no more than that is held in memory."""
    bills = Bills(db)
    for key, day in _days_of_lines(db):
        said = db.execute("SELECT alike FROM bill_days WHERE collector = ? AND part = ? AND day = ?", (*key, day.start))
        (alike,) = said.fetchone() or (1,)
        bills._put(key, None, day)
        known = (alike, *key, day.start)
        db.execute("UPDATE bill SET alike = ? WHERE collector = ? AND part = ? AND day = ?", known)


def _days_of_lines(db: sqlite3.Connection) -> Iterator[tuple[Key, BillDay]]:
    """The lines of a ledger of schema version 3, packed, from one day of a part that has any to the next."""
    decode = msgspec.json.Decoder(Charge).decode
    for key in db.execute("SELECT DISTINCT collector, part FROM charges ORDER BY collector, part").fetchall():
        start = -OPEN
        while (first := db.execute(_OLD_NEXT, (*key, start)).fetchone()[0]) is not None:
            start = first // DAY * DAY
            (day,) = packed(decode(text) for (text,) in db.execute(_OLD_LINES, (*key, start, start + DAY)))
            yield key, day
            start += DAY
