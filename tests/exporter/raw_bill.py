"""What a bill says, summed from the lines in the ledger's file by other means than the exporter's own: nothing of it is
imported here."""

import json
import sqlite3
from contextlib import closing
from fractions import Fraction
from pathlib import Path

SPANS = {"1h": 3600, "24h": 86400, "7d": 7 * 86400, "30d": 30 * 86400}
"""Seconds of the windows that are as long as their names say."""

NANO = Fraction(1, 10**9)


def raw_lines(ledger: Path, collector: str) -> list[dict]:
    """The collector's bill lines as they are stored: a row for each day, whose lines name what they have in common."""
    with closing(sqlite3.connect(f"file:{ledger}?mode=ro", uri=True)) as database:
        kinds = dict(database.execute("SELECT id, kind FROM bill_kinds"))
        rows = database.execute("SELECT day, kinds, lines FROM bill WHERE collector = ?", (collector,)).fetchall()
    found = []
    for day, ids, text in rows:
        of_day = [json.loads(kinds[one]) for one in json.loads(ids)]
        for number, (at, seconds, billed, effective, *_) in zip(*json.loads(text), strict=True):
            window = {"start": day + at, "end": day + at + seconds}
            amounts = {"billed_cost": billed, "effective_cost": billed if effective is None else effective}
            found.append({**of_day[number], "window": window, **amounts})
    return found


def raw_sum(
    lines: list[dict], key: str, start: int, end: int, usd: dict[str, str] | None = None
) -> tuple[Fraction, Fraction]:
    """The sum of `key` (`billed_cost`, `effective_cost`) in `[start, end)` (epoch seconds), in USD at `usd` per unit; a
    line that reaches beyond counts in proportion. With how far rounding to nanos may be off: 0 if no line is cut."""
    total, off = Fraction(0), Fraction(0)
    for line in lines:
        period = line["window"]
        last = max(period["end"], period["start"] + 1)  # what is charged at an instant is all or nothing
        seconds = last - period["start"]
        inside = max(0, min(end, last) - max(start, period["start"]))
        rate = Fraction((usd or {"USD": "1"})[line["currency"]])
        total += Fraction(line[key]) * rate * Fraction(inside, seconds)
        off += 2 * NANO * rate if 0 < inside < seconds else 0
    return total, off
