"""Ageing touches what became old since the last time, and only that."""

import sqlite3
from pathlib import Path

from collectors.records import Batch, Usage
from exporter.ledger.store import Ledger

HOUR = 3600
DAYS = 24 * 5


def changes(ledger: Ledger, now: int) -> int:
    """How many rows one compaction writes."""
    db: sqlite3.Connection = ledger._db
    before = db.total_changes
    ledger.compact(now)
    return db.total_changes - before


def test_hours_that_are_rolled_up_are_left_alone(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.db", 0, retain_fine=0)
    slots = range(0, DAYS * HOUR, 300)
    ledger.commit("c", Batch("t", usage=[Usage(s, "api", "p", "m", {"audio_input": 1}, 1) for s in slots]), 0)
    written = [changes(ledger, hour * HOUR) for hour in range(1, DAYS + 1)]
    assert len(set(written)) == 1  # the same for every hour, however many there are before it
    ledger.commit("c", Batch("t", usage=[Usage(900, "api", "p", "m", {"audio_input": 5}, 1)]), 0)  # joins its hour
    ledger.compact((DAYS + 1) * HOUR)
    (series,) = ledger.snapshot().series
    assert list(series.starts) == list(range(0, DAYS * HOUR, HOUR))
    assert series.tokens(0, HOUR)["audio_input"] == 12 + 5
    assert series.tokens(0, DAYS * HOUR)["audio_input"] == len(slots) + 5
    ledger.close()
