"""Tails one log into a SQLite file, one transaction for each batch, until it is killed. Run by test_kill."""

import sqlite3
import sys

from collectors import Context
from collectors.records import Batch
from collectors.usage.log import UsageLog


def main(path: str, ledger: str, now: int, once: bool) -> None:
    settings = UsageLog.Settings(name="log", kind="usage_log", path=path, duplicates="possible")
    collector = UsageLog(settings, Context(first_start=0))
    database = sqlite3.connect(ledger, isolation_level=None)
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("CREATE TABLE IF NOT EXISTS usage (slot, model, input, requests)")
    database.execute("CREATE TABLE IF NOT EXISTS cursors (part PRIMARY KEY, cursor)")
    while True:
        cursors = dict(database.execute("SELECT part, cursor FROM cursors"))
        for batch in collector.collect(now, cursors):
            assert isinstance(batch, Batch), batch
            commit(database, batch)
        print("read", flush=True)  # noqa: T201  # the test waits for it
        if once:
            break
    database.close()


def commit(database: sqlite3.Connection, batch: Batch) -> None:
    database.execute("BEGIN IMMEDIATE")
    rows = [(usage.slot, usage.model, usage.tokens["input"], usage.requests) for usage in batch.usage]
    database.executemany("INSERT INTO usage VALUES (?, ?, ?, ?)", rows)
    if batch.cursor is not None:
        database.execute("INSERT OR REPLACE INTO cursors VALUES (?, ?)", (batch.part, batch.cursor))
    database.execute("COMMIT")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4] == "once")
