"""The counters: kept in the ledger, moved only upwards, in the transaction of what moved them."""

import json
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Context, Decimal

from exporter.ledger.snapshot import Increment

CounterKey = tuple[str, tuple[str, ...]]
"""(family, label values in the family's order)."""

EXACT = Context(prec=60)


@dataclass(frozen=True, slots=True)
class Counter:
    """A counter's committed value and when the ledger first saw it (epoch seconds)."""

    value: Decimal
    created: float


class Counters:
    """The committed counters, `kept`, and those that the open transaction moves."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        rows = db.execute("SELECT family, labels, value, created FROM counters")
        self.kept: dict[CounterKey, Counter] = {
            (family, tuple(json.loads(labels))): Counter(Decimal(value), created)
            for family, labels, value, created in rows
        }
        self._moved: dict[CounterKey, Counter] = {}

    def begin(self) -> None:
        """A transaction begins: what a failed one before it moved is void."""
        self._moved.clear()

    def move(self, increments: Iterable[Increment], now: int) -> None:
        """Move counters inside the open transaction; one that is new begins at `now` (epoch seconds)."""
        moved = self._moved
        for step in increments:
            if step.amount < 0:
                raise ValueError(f"a counter must not fall: {step}")
            key = (step.family, step.labels)
            old = moved.get(key) or self.kept.get(key) or Counter(Decimal(0), float(now))
            moved[key] = Counter(EXACT.add(old.value, step.amount), old.created)
        self._db.executemany(
            "INSERT INTO counters VALUES (?, ?, ?, ?) "
            "ON CONFLICT (family, labels) DO UPDATE SET value = excluded.value",
            [(family, json.dumps(labels), str(c.value), c.created) for (family, labels), c in moved.items()],
        )

    def keep(self) -> None:
        """The transaction was committed."""
        self.kept.update(self._moved)
