"""What is read in bulk, or brought up to date in memory, equals what a fresh read of the file shows."""

import random
import sqlite3
from pathlib import Path

import pytest

from collectors.records import CORE_TOKEN_TYPES, HOUR, SLOT, Batch, EngineLoad, Observed, Usage, Window
from exporter.ledger.bulk import of_columns
from exporter.ledger.schema import MIGRATIONS
from exporter.ledger.snapshot import Evaluation, Fold, SeriesKey, UsageSeries
from exporter.ledger.store import Ledger, LedgerUnwritableError

DAY = 24 * HOUR
TYPES = (*CORE_TOKEN_TYPES, "audio_input", "image_input")


def shown(series: UsageSeries) -> tuple[object, ...]:
    """A series as its rows: whatever its totals count from, and without types whose last tokens were dropped."""
    rows = range(len(series.starts))
    totals = {"": series.requests, **series.totals}
    return (
        list(series.starts),
        list(series.seconds),
        {name: [column[i + 1] - column[i] for i in rows] for name, column in totals.items() if column[0] < column[-1]},
    )


def everything(ledger: Ledger) -> tuple[object, ...]:
    snapshot = ledger.snapshot()
    return {one.key: shown(one) for one in snapshot.series}, dict(snapshot.streams), dict(snapshot.loads)


def fresh(ledger: Ledger) -> tuple[object, ...]:
    other = Ledger.read_only(ledger.path, 0)
    try:
        return everything(other)
    finally:
        other.close()


def batch(random: random.Random, now: int) -> Batch:
    stream, slot = f"t{random.randrange(3)}", now - now % SLOT - SLOT * random.choice([0, 0, 0, 1, 5, 40])
    tokens = {name: random.randrange(9) for name in random.sample(TYPES, random.randrange(1, 5))}
    usage = [Usage(slot, "api", "p", f"m{random.randrange(2)}", tokens, random.randrange(3))]
    loads = [EngineLoad(slot, "m0", 300, random.choice([0, 90]), 5, 0.1, 0.2)]
    observed = [Observed(Window(now - random.choice([300, 900]), now), stream, random.random() < 0.8)]
    return Batch(stream, usage=usage, loads=loads, observed=observed, stream=stream)


@pytest.mark.parametrize("seed", range(6))
def test_a_snapshot_after_any_course_of_events_equals_a_fresh_read(tmp_path: Path, seed: int) -> None:
    choose, now = random.Random(seed), 40 * DAY
    ledger = Ledger(tmp_path / "ledger.db", now, retain_fine=4 * HOUR, retain=9 * HOUR)
    for step in range(200):
        now += choose.choice([60, 300, 1500])
        ledger.commit("c", batch(choose, now), now)
        if choose.random() < 0.1:
            ledger.retire("c", [f"t{choose.randrange(3)}"], now)
        if choose.random() < 0.1:
            ledger.compact(now)
        if choose.random() < 0.1:
            with pytest.raises(LedgerUnwritableError):
                ledger._transaction("test", lambda: ledger._db.execute("INSERT INTO nowhere VALUES (1)"))
        if choose.random() < 0.3:
            assert everything(ledger) == fresh(ledger), step
    ledger.close()


def test_a_fingerprint_changes_with_the_rows_before_it_and_with_nothing_else() -> None:
    series = UsageSeries(SeriesKey("c", "s", "api", "p", "m"), [(300 * i, 300, {"input": i}, 1) for i in range(5)])
    before = series.fingerprint(1200)
    series.truncate(1200)
    series.append(1200, 300, {"input": 9}, 1)
    series.append(1500, 300, {"input": 9}, 1)
    assert series.fingerprint(1200) == before
    series.truncate(600)  # tokens that only moved from one row to the next
    for start, tokens in ((600, 3), (900, 2), (1200, 9), (1500, 9)):
        series.append(start, 300, {"input": tokens}, 1)
    assert series.tokens(0, 1200) == {"input": 6}
    assert series.fingerprint(1200) != before


def test_a_last_row_that_grows_changes_the_fingerprint_behind_it() -> None:
    series = UsageSeries(SeriesKey("c", "s", "api", "p", "m"), [(0, 300, {"input": 1}, 1)])
    before = series.fingerprint(300)
    series.truncate(0)
    series.append(0, 300, {"input": 2}, 1)
    assert series.fingerprint(300) != before


def test_columns_in_any_order_become_rows_in_order() -> None:
    """SQLite joins them by key, but does not promise it."""
    columns = [[600, 0, 300], [300, 300, 300], [3, 1, 2], [30, 10, 20], [], [], [], [7, 5, 6]]
    series = of_columns(SeriesKey("c", "s", "api", "p", "m"), columns, {"audio_input": {300: 8}})
    assert [series.tokens(at, at + 300) for at in (0, 300, 600)] == [
        {"input": 10, "output": 5, "audio_input": 0},
        {"input": 20, "output": 6, "audio_input": 8},
        {"input": 30, "output": 7, "audio_input": 0},
    ]
    assert list(series.requests) == [0, 1, 3, 6]


def test_engines_that_never_queued_are_known_without_their_slots(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.db", 0, every_load=False)
    idle, busy = EngineLoad(300, "m", 300, 0, 0, 0.5, 2.0), EngineLoad(600, "m", 300, 90, 700, 0.5, 2.0)
    ledger.commit("e", Batch("a", loads=[idle], stream="a"), 0)
    ledger.snapshot()
    ledger.commit("e", Batch("b", loads=[idle, busy], stream="b"), 0)
    assert {key: [one.slot for one in found] for key, found in ledger.snapshot().loads.items()} == {
        ("e", "a"): [],
        ("e", "b"): [600],
    }
    ledger.close()


def test_what_was_evaluated_is_named_with_the_state_that_was_kept(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.db", 0)
    made = [Evaluation("chat", "self_hosted", "api:x", at * HOUR, None, None, "coverage") for at in (1, 2, 3)]
    ledger.store_evaluations(made[:1])
    assert ledger.folds() == [Fold("chat", "self_hosted", "api:x")]
    kept = Fold("chat", "self_hosted", "api:x", 2 * HOUR, "rule", "state")
    ledger.store_evaluations(made[1:2], [kept])
    ledger.store_evaluations(made[2:])
    assert ledger.folds() == [kept]
    assert ledger.evaluations_of(kept) == made[2:]
    ledger.close()


def test_a_ledger_of_the_second_schema_keeps_all_its_rows(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    db = sqlite3.connect(path)
    for statement in (*MIGRATIONS[0], *MIGRATIONS[1]):
        db.execute(statement)
    db.execute("INSERT INTO series VALUES (1, 'c', '', 's', 'api', 'p', 'm', 'default', '', 0, 1, '[]')")
    for start in (600, 0, 300):
        db.execute("INSERT INTO usage VALUES (1, ?, 300, 1, ?, NULL, NULL, NULL, 2, 3)", (start, start))
    db.execute("INSERT INTO evaluations VALUES ('w', 'self_hosted', 'api:x', 3600, '1.5', NULL, 60, 'no_cost')")
    db.execute("INSERT INTO loads VALUES ('c', 's', 'm', 0, 300, 0, 0, 0.1, 0.2, 1, 0, 0.5)")
    db.execute("PRAGMA user_version = 2")
    db.commit()
    db.close()
    ledger = Ledger(path, 0)
    (series,) = ledger.snapshot().series
    assert [(at, series.tokens(at, at + 1)) for at in series.starts] == [
        (at, {"input": at, "output": 2}) for at in (0, 300, 600)
    ]
    assert ledger.folds() == [Fold("w", "self_hosted", "api:x")]
    assert [one.reason for one in ledger.evaluations()] == ["no_cost"]
    assert ledger.snapshot().loads["c", "s"][0].decode_seconds == 0.2
    ledger.close()
