"""Ageing: 5-minute rows become hourly rows, and very old rows go. Runs inside the caller's transaction."""

import sqlite3

from collectors.records import CORE_TOKEN_TYPES
from exporter.ledger.facts import forget_ended

_SUMS = ", ".join(f"sum({c})" for c in CORE_TOKEN_TYPES)


def roll_up(db: sqlite3.Connection, hourly_before: int, fine_from: int, keep_from: int) -> None:
    """Sum 300 s rows that start before `fine_from` (a whole hour, epoch seconds) into hours that keep their highest
    5-minute token sum as `peak`; drop usage before `keep_from`, and loads and coverage nobody asks for any more.

    `hourly_before` is the last `fine_from` (0 at first): rows that start before it are in hours already."""
    for (series,) in db.execute("SELECT id FROM series").fetchall():  # by key: there is no index on the time alone
        _usage(db, series, hourly_before, fine_from)
        db.execute("DELETE FROM usage WHERE series = ? AND start < ?", (series, keep_from))
    _usage_more(db, hourly_before, fine_from)
    db.execute("DELETE FROM usage_more WHERE start < ?", (keep_from,))
    db.execute("DELETE FROM loads WHERE slot < ?", (fine_from,))
    db.execute("DELETE FROM observed WHERE stop < ?", (keep_from,))
    db.execute("DELETE FROM reservations WHERE stop < ?", (keep_from,))
    db.execute("DELETE FROM counted WHERE start < ?", (keep_from,))
    forget_ended(db, keep_from)


def _usage(db: sqlite3.Connection, series: int, hourly_before: int, fine_from: int) -> None:
    span = "WHERE series = ? AND start >= ? AND start < ? AND seconds = 300"
    hourly = db.execute(
        f"SELECT series, start - start % 3600, 3600, sum(requests), {_SUMS}, max(peak) FROM usage {span} GROUP BY 1, 2",
        (series, hourly_before, fine_from),
    ).fetchall()
    db.execute(f"DELETE FROM usage {span}", (series, hourly_before, fine_from))
    columns = ", ".join(CORE_TOKEN_TYPES)
    added = ", ".join(f"{c} = coalesce(usage.{c} + excluded.{c}, usage.{c}, excluded.{c})" for c in CORE_TOKEN_TYPES)
    db.executemany(
        f"INSERT INTO usage (series, start, seconds, requests, {columns}, peak) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) "
        f"ON CONFLICT (series, start) DO UPDATE SET requests = usage.requests + excluded.requests, {added}, "
        "peak = max(usage.peak, excluded.peak)",
        hourly,
    )


def _usage_more(db: sqlite3.Connection, hourly_before: int, fine_from: int) -> None:
    fine = (hourly_before, fine_from)
    hourly = db.execute(
        "SELECT series, start - start % 3600, token_type, sum(tokens) FROM usage_more "
        "WHERE start >= ? AND start < ? GROUP BY 1, 2, 3",
        fine,
    ).fetchall()
    db.execute("DELETE FROM usage_more WHERE start >= ? AND start < ?", fine)
    db.executemany("INSERT INTO usage_more VALUES (?, ?, ?, ?)", hourly)
