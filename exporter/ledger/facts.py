"""Facts with a key of their own: nodes, allocations, list prices."""

import sqlite3
from decimal import Decimal

import msgspec

from collectors.records import Allocation, Batch, ListPrice, Node
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


def forget_ended(db: sqlite3.Connection, before: int) -> None:
    """Drop nodes and allocations that ended before the instant `before` (epoch seconds)."""
    for table in ("nodes", "allocations"):
        db.execute(f"DELETE FROM {table} WHERE stop < ?", (before,))


def _json(fact: Node | Allocation) -> str:
    return msgspec.json.encode(fact).decode()
