"""Facts with a key of their own (nodes, allocations, list prices) and how often each day of a bill was said alike."""

import sqlite3
from collections.abc import Iterable
from decimal import Decimal
from hashlib import blake2b

import msgspec

from collectors.records import DAY, Allocation, Batch, ListPrice, Node, Window
from exporter.ledger.snapshot import FactKey

_UPSERT = "ON CONFLICT (collector, key) DO UPDATE SET {0} = excluded.{0}, stop = excluded.stop"


def write(db: sqlite3.Connection, collector: str, batch: Batch) -> None:
    """Keep what `batch` says of nodes, allocations and list prices: the newest word on each key counts."""
    db.executemany(
        f"INSERT INTO nodes VALUES (?, ?, ?, ?) {_UPSERT.format('node')}",
        [(collector, node.key, _json(node), node.window.end) for node in batch.nodes],
    )
    db.executemany(
        f"INSERT INTO allocations VALUES (?, ?, ?, ?) {_UPSERT.format('allocation')}",
        [(collector, one.key, _json(one), one.window.end) for one in batch.allocations],
    )
    db.executemany(
        "INSERT INTO list_prices VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (collector, provider, region, tier, "
        "unit, name, currency, start) DO UPDATE SET price = excluded.price, sku = excluded.sku",
        [
            (collector, p.provider, p.region, p.tier, p.unit, p.name, p.currency, p.start, str(p.price_per_hour), p.sku)
            for p in batch.list_prices
        ],
    )


def read_nodes(db: sqlite3.Connection) -> dict[FactKey, Node]:
    rows = db.execute("SELECT collector, key, node FROM nodes ORDER BY rowid")
    return {(collector, key): msgspec.json.decode(text, type=Node) for collector, key, text in rows}


def read_allocations(db: sqlite3.Connection) -> dict[FactKey, Allocation]:
    rows = db.execute("SELECT collector, key, allocation FROM allocations ORDER BY rowid")
    return {(collector, key): msgspec.json.decode(text, type=Allocation) for collector, key, text in rows}


def read_list_prices(db: sqlite3.Connection) -> tuple[ListPrice, ...]:
    """All list prices, those of one kind in order of their start."""
    rows = db.execute(
        "SELECT provider, region, tier, unit, name, price, currency, start, sku FROM list_prices ORDER BY start"
    )
    return tuple(
        ListPrice(provider, region, tier, unit, name, Decimal(price), currency, start, sku)
        for provider, region, tier, unit, name, price, currency, start, sku in rows
    )


def note_days(
    db: sqlite3.Connection, collector: str, part: str, window: Window, charges: Iterable[tuple[int, str]]
) -> None:
    """Note of each UTC day in `window` whether this delivery says the same as the last one did. `charges` are
    (start, encoded charge)."""
    said: dict[int, list[str]] = {}
    for start, text in charges:
        said.setdefault(start - start % DAY, []).append(text)
    digests = {
        day: blake2b("\n".join(sorted(texts)).encode(), digest_size=16).hexdigest() for day, texts in said.items()
    }
    key, span = (collector, part), (window.start - window.start % DAY, window.end)
    before = dict(
        db.execute(
            "SELECT day, digest FROM bill_days WHERE collector = ? AND part = ? AND day >= ? AND day < ?", (*key, *span)
        )
    )
    gone = [(*key, day) for day in before if day not in digests]
    db.executemany("DELETE FROM bill_days WHERE collector = ? AND part = ? AND day = ?", gone)
    db.executemany(
        "INSERT INTO bill_days VALUES (?, ?, ?, ?, 1) ON CONFLICT (collector, part, day) DO UPDATE SET "
        "alike = CASE WHEN digest = excluded.digest THEN alike + 1 ELSE 1 END, digest = excluded.digest",
        [(*key, day, digest) for day, digest in digests.items()],
    )


def read_days(db: sqlite3.Connection) -> dict[tuple[str, str, int], int]:
    """By (collector, part, UTC day): how many deliveries in a row said the same of it."""
    rows = db.execute("SELECT collector, part, day, alike FROM bill_days")
    return {(collector, part, day): alike for collector, part, day, alike in rows}


def newest_day(db: sqlite3.Connection, collector: str, by: int) -> int:
    """The newest UTC day that the bill of `collector` speaks of and that began by the instant `by`; 0 if none."""
    found = db.execute("SELECT max(day) FROM bill_days WHERE collector = ? AND day <= ?", (collector, by)).fetchone()
    return int(found[0] or 0)


def forget_ended(db: sqlite3.Connection, before: int) -> None:
    """Drop nodes and allocations that ended before the instant `before` (epoch seconds)."""
    for table in ("nodes", "allocations"):
        db.execute(f"DELETE FROM {table} WHERE stop < ?", (before,))


def _json(fact: Node | Allocation) -> str:
    return msgspec.json.encode(fact).decode()
