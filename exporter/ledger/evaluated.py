"""The statements behind stored evaluations and the states they lead to."""

import sqlite3
from collections.abc import Iterable, Sequence
from decimal import Decimal

from collectors.records import Path
from exporter.ledger.snapshot import Evaluation, Fold

_SELECT = "SELECT workload, path, alternative, at, api_usd, self_hosted_usd, reason, covered_seconds FROM evaluations"


def write(
    db: sqlite3.Connection,
    evaluations: Sequence[Evaluation],
    folds: Iterable[Fold],
    void: Iterable[tuple[str, str, str, int]],
) -> None:
    """Add evaluations (one that is there stays as it is) and put the folds in the place of older ones. Before that,
    forget of each workload, path and alternative in `void` what is after the instant that is named with it."""
    db.executemany("DELETE FROM evaluations WHERE workload = ? AND path = ? AND alternative = ? AND at > ?", void)
    rows = [
        (
            e.workload,
            e.path,
            e.alternative,
            e.at,
            _text(e.api_usd),
            _text(e.self_hosted_usd),
            e.covered_seconds,
            e.reason,
        )
        for e in evaluations
    ]
    db.executemany("INSERT INTO evaluations VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING", rows)
    begun = {row[:3] for row in rows}  # so that `folds` names everything that was ever evaluated
    db.executemany("INSERT INTO folds VALUES (?, ?, ?, 0, '', '') ON CONFLICT DO NOTHING", begun)
    db.executemany(
        "INSERT INTO folds VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (workload, path, alternative) DO UPDATE SET "
        "at = excluded.at, rule = excluded.rule, state = excluded.state",
        [(f.workload, f.path, f.alternative, f.at, f.rule, f.state) for f in folds],
    )


def read_folds(db: sqlite3.Connection) -> list[Fold]:
    rows = db.execute("SELECT workload, path, alternative, at, rule, state FROM folds").fetchall()
    return [Fold(*row) for row in rows]


def read(db: sqlite3.Connection, after: int) -> list[Evaluation]:
    """All with `at` > `after`, in order of time."""
    return [_evaluation(*row) for row in db.execute(f"{_SELECT} WHERE at > ? ORDER BY at", (after,)).fetchall()]


def read_of(db: sqlite3.Connection, fold: Fold, after: int) -> list[Evaluation]:
    """Those of the fold's workload, path and alternative with `at` > `after`, in order of time."""
    where = "WHERE workload = ? AND path = ? AND alternative = ? AND at > ? ORDER BY at"
    key = (fold.workload, fold.path, fold.alternative, after)
    return [_evaluation(*row) for row in db.execute(f"{_SELECT} {where}", key).fetchall()]


def _evaluation(
    workload: str, path: Path, alternative: str, at: int, api: str | None, own: str | None, reason: str, covered: int
) -> Evaluation:
    return Evaluation(workload, path, alternative, at, _decimal(api), _decimal(own), reason, covered)


def _text(value: Decimal | None) -> str | None:
    return None if value is None else str(value)


def _decimal(value: str | None) -> Decimal | None:
    return None if value is None else Decimal(value)
