"""What the collectors of a ledger are, kept beside what they said: their usage outlives their place in the config."""

import json
import sqlite3
from collections.abc import Mapping
from typing import NamedTuple

_KEY = "sources"


class Source(NamedTuple):
    """A collector of usage as it was configured last: its kind, whether it is a `meter` or a `check`, and a digest of
    what it reads: equal for the same source under another name."""

    kind: str
    role: str
    reads: str = ""


Sources = Mapping[str, Source]
"""By collector."""


def read(db: sqlite3.Connection) -> dict[str, Source]:
    """Those that were ever noted, whether they are configured still or not."""
    row = db.execute("SELECT value FROM meta WHERE key = ?", (_KEY,)).fetchone()
    return {name: Source(*kept) for name, kept in json.loads(row[0]).items()} if row else {}


def write(db: sqlite3.Connection, sources: Sources) -> None:
    db.execute(
        "INSERT INTO meta VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        (_KEY, json.dumps(sources)),
    )


def renamed(kept: Sources, configured: Sources) -> dict[str, str]:
    """By its former name, the name of each source that is configured under a new one: where that is beyond doubt."""
    gone: dict[str, list[str]] = {}
    new: dict[str, list[str]] = {}
    for name in kept.keys() - configured.keys():
        gone.setdefault(kept[name].reads, []).append(name)
    for name in configured.keys() - kept.keys():
        new.setdefault(configured[name].reads, []).append(name)
    return {
        names[0]: new[reads][0] for reads, names in gone.items() if reads and len(names) == len(new.get(reads, ())) == 1
    }


def replaced(kept: Sources, configured: Sources) -> list[tuple[str, str]]:
    """The (former, new) names of sources that may be one: of one kind, one no longer configured and one new, but not
    known to be the same."""
    known = renamed(kept, configured)
    gone, new = sorted(kept.keys() - configured.keys() - known.keys()), sorted(configured.keys() - kept.keys())
    pairs = [(old, name) for old in gone for name in new if kept[old].kind == configured[name].kind]
    return [pair for pair in pairs if pair[1] not in known.values()]


def has_said(db: sqlite3.Connection, collector: str) -> bool:
    """Whether the ledger holds anything that a collector of that name said."""
    return any(
        db.execute(f"SELECT 1 FROM {table} WHERE collector = ? LIMIT 1", (collector,)).fetchone()
        for table in _tables(db)
    )


def rename(db: sqlite3.Connection, old: str, new: str) -> None:
    """Give all that the collector `old` said to `new`, which has said nothing so far: positions, usage and what of it
    was counted, bills, and the time it vouches for."""
    for table in _tables(db):
        db.execute(f"UPDATE {table} SET collector = ? WHERE collector = ?", (new, old))


def _tables(db: sqlite3.Connection) -> list[str]:
    tables = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    columns = {table: {row[1] for row in db.execute(f"PRAGMA table_info({table})")} for table in tables}
    return [table for table in tables if "collector" in columns[table]]
