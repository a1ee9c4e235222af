"""What the collectors of a ledger are, kept beside what they said: their usage outlives their place in the config."""

import json
import sqlite3
from collections import Counter
from collections.abc import Collection, Mapping
from itertools import count
from typing import NamedTuple

_KEY = "sources"
_ASIDE = ""
"""A name that no collector has."""


class Source(NamedTuple):
    """A collector of usage as it was configured last: its kind, whether it is a `meter` or a `check`, and digests of
    what it reads, one for each source. Those that it read before stay among them, until another collector reads them:
    what it said of them is still here. None: a ledger of before they were noted."""

    kind: str
    role: str
    reads: frozenset[str] = frozenset()


Sources = Mapping[str, Source]
"""By collector."""


def read(db: sqlite3.Connection) -> dict[str, Source]:
    """Those that were ever noted, whether they are configured still or not."""
    row = db.execute("SELECT value FROM meta WHERE key = ?", (_KEY,)).fetchone()
    return {name: _source(*kept) for name, kept in json.loads(row[0]).items()} if row else {}


def _source(kind: str, role: str, reads: object = None) -> Source:
    """`reads` was one digest of all settings before it was a list: that tells nothing."""
    return Source(kind, role, frozenset(reads if isinstance(reads, list) else ()))


def write(db: sqlite3.Connection, sources: Sources) -> None:
    kept = {name: (one.kind, one.role, sorted(one.reads)) for name, one in sources.items()}
    db.execute(
        "INSERT INTO meta VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        (_KEY, json.dumps(kept)),
    )


def goes_on(kept: Sources, configured: Sources) -> dict[str, str]:
    """By configured name, the kept name whose past it takes along: its own where it reads any of the same still; else
    that of which it reads something, if neither has another choice, meters among themselves first, as a check may read
    the same; else its own, as its source may have moved."""
    found = {name: name for name in kept.keys() & configured.keys() if kept[name].reads & configured[name].reads}
    for roles_too in (True, False):
        pairs = [
            (old, new)
            for old in kept.keys() - found.values()
            for new in configured.keys() - found.keys()
            if kept[old].reads & configured[new].reads and (kept[old].role == configured[new].role or not roles_too)
        ]
        olds, news = Counter(old for old, _ in pairs), Counter(new for _, new in pairs)
        found.update((new, old) for old, new in pairs if olds[old] == news[new] == 1)
    free = kept.keys() & configured.keys() - {*found, *found.values()}
    return found | {name: name for name in free if kept[name].kind == configured[name].kind}


def moves(db: sqlite3.Connection, kept: Sources, configured: Sources) -> dict[str, str]:
    """By its former name, the new name of all that was said under it: that under which the source is configured now; or
    one that nobody has, where the name belongs to another source now."""
    past = goes_on(kept, configured)
    found = {old: new for new, old in past.items() if old != new}
    for name in sorted(configured.keys() & (kept.keys() | past.keys()) - found.keys()):
        if past.get(name) != name and _has_said(db, name):
            found[name] = _free_name(db, name, {*kept, *configured})
    return found


def noted(kept: Sources, configured: Sources, moved: Mapping[str, str]) -> dict[str, Source]:
    """What is to be kept after `moved`: of meters of one source, as of checks, the one that read it last is known."""
    read_now = {role: [one.reads for one in configured.values() if one.role == role] for role in ("meter", "check")}
    past = goes_on(kept, configured)
    stay = {moved.get(name, name): one for name, one in kept.items() if name in moved or name not in configured}
    found = {name: one._replace(reads=one.reads.difference(*read_now[one.role])) for name, one in stay.items()}
    for name, one in configured.items():
        before = kept[past[name]].reads if name in past else frozenset()
        found[name] = one._replace(reads=one.reads | before.difference(*read_now[one.role]))
    return found


def rename(db: sqlite3.Connection, moved: Mapping[str, str]) -> None:
    """Give all that was said under the names in `moved` to the new ones: positions, usage and what of it was counted,
    bills, and the time vouched for. Each is taken when it is free; a circle is opened by setting one aside."""
    left, tables = dict(moved), _tables(db)
    while left:
        old = next((old for old, new in left.items() if new not in left), None)
        if old is None:
            old, new = next(iter(left)), _ASIDE
            left[_ASIDE] = left.pop(old)
        else:
            new = left.pop(old)
        for table in tables:
            db.execute(f"UPDATE {table} SET collector = ? WHERE collector = ?", (new, old))


def _has_said(db: sqlite3.Connection, collector: str) -> bool:
    """Whether the ledger holds anything that a collector of that name said."""
    return any(
        db.execute(f"SELECT 1 FROM {table} WHERE collector = ? LIMIT 1", (collector,)).fetchone()
        for table in _tables(db)
    )


def _free_name(db: sqlite3.Connection, name: str, taken: Collection[str]) -> str:
    names = (f"{name}~{number}" for number in count(1))
    return next(one for one in names if one not in taken and not _has_said(db, one))


def _tables(db: sqlite3.Connection) -> list[str]:
    tables = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    columns = {table: {row[1] for row in db.execute(f"PRAGMA table_info({table})")} for table in tables}
    return [table for table in tables if "collector" in columns[table]]
