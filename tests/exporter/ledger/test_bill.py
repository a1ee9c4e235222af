"""Bills in the ledger: what is read is what was said, and an older ledger keeps its bills."""

import sqlite3
import tracemalloc
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from decimal import Decimal
from functools import partial
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from collectors.bill_days import BillDay, packed
from collectors.records import DAY, HOUR, Batch, Charge, Window
from exporter.ledger.schema import MIGRATIONS
from exporter.ledger.snapshot import Increment
from exporter.ledger.store import Ledger

NOW = 1_800_000_000

amounts = st.one_of(
    st.decimals(-5, 5, places=10), st.sampled_from([Decimal("1E+3"), Decimal("0.000000000000000001"), Decimal(7)])
)


@st.composite
def lines(draw: st.DrawFn) -> Charge:
    start = draw(st.integers(0, 3 * DAY - 1))
    return Charge(
        Window(start, start + draw(st.sampled_from([0, HOUR, DAY, 40 * DAY]))),
        category=draw(st.sampled_from(["Usage", "Tax"])),
        currency="USD",
        billed_cost=draw(amounts),
        effective_cost=draw(amounts),
        list_cost=draw(st.none() | amounts),
        contracted_cost=draw(st.none() | amounts),
        quantity=draw(st.none() | amounts),
        resource=draw(st.sampled_from(["i-1", 'i-"2"', "\u00fc"])),
        tags=draw(st.sampled_from([(), (("team", "chat"),)])),
        estimated=draw(st.booleans()),
    )


def text(found: Sequence[Charge]) -> list[str]:
    return sorted(map(repr, found))


def said(ledger: Ledger, part: str = "p") -> list[Charge]:
    return [line.charge for line in ledger.snapshot().bill if line.part == part]


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    one = Ledger(tmp_path / "ledger.db", NOW)
    yield one
    one.close()


@given(st.lists(lines(), max_size=8))
def test_packed_lines_are_the_same_lines(found: list[Charge]) -> None:
    days = packed(found)
    assert text([charge for day in days for charge in day]) == text(found)
    assert [day.start for day in days] == sorted({charge.window.start // DAY * DAY for charge in found})
    assert sum(map(len, days)) == len(found)
    again = packed(reversed(found))
    assert [(day.kinds, day.lines) for day in again] == [(day.kinds, day.lines) for day in days]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    deliveries=st.lists(
        st.tuples(st.lists(lines(), max_size=5), st.none() | st.tuples(st.integers(0, 40), st.integers(0, 40)))
    )
)
def test_a_part_is_what_its_deliveries_left(
    tmp_path_factory: pytest.TempPathFactory, deliveries: list[tuple[list[Charge], tuple[int, int] | None]]
) -> None:
    """A delivery replaces the lines that start in its window; one without a window adds."""
    expected: list[Charge] = []
    with closing(Ledger(tmp_path_factory.mktemp("bill") / "ledger.db", NOW)) as ledger:
        for found, hours in deliveries:
            window = None if hours is None else Window(min(hours) * 2 * HOUR, max(hours) * 2 * HOUR)
            old = [] if window is None else [one for one in expected if window.start <= one.window.start < window.end]
            seen: list[list[str]] = []
            batch = Batch("p", charges=found, window=window)
            ledger.commit("b", batch, NOW, (), partial(noted, seen))
            expected = [one for one in expected if all(one is not other for other in old)] + found
            assert seen == ([] if window is None else [text(old)])
            assert text(said(ledger)) == text(expected)


def noted(seen: list[list[str]], old: Sequence[Charge], new: Sequence[Charge]) -> Sequence[Increment]:
    seen.append(text(old))
    return ()


def charge(start: int, cost: str, resource: str = "i-1") -> Charge:
    return Charge(Window(start, start + HOUR), "Usage", "USD", Decimal(cost), Decimal(cost), resource=resource)


def alike(ledger: Ledger) -> dict[int, int]:
    return {line.charge.window.start // DAY: line.alike for line in ledger.snapshot().bill}


def test_a_day_that_is_said_again_is_alike_and_one_that_changes_begins_anew(ledger: Ledger) -> None:
    month = Window(0, 30 * DAY)
    days = [charge(0, "1"), charge(HOUR, "2"), charge(DAY, "3")]
    ledger.commit("b", Batch("p", charges=days, window=month), NOW)
    ledger.commit("b", Batch("p", charges=days[::-1], window=month), NOW)
    assert alike(ledger) == {0: 2, 1: 2}
    ledger.commit("b", Batch("p", charges=[*days[:2], charge(DAY, "4")], window=month), NOW)
    assert alike(ledger) == {0: 3, 1: 1}


def test_what_no_line_has_in_common_any_more_goes_with_the_next_compaction(ledger: Ledger) -> None:
    day = Window(0, DAY)
    ledger.commit("b", Batch("p", charges=[charge(0, "1", "i-1"), charge(0, "1", "i-2")], window=day), NOW)
    ledger.commit("b", Batch("p", charges=[charge(0, "1", "i-2")], window=day), NOW)
    ledger.compact(NOW)
    with closing(sqlite3.connect(ledger.path)) as db:
        assert [msgspec.json.decode(kind)["resource"] for (kind,) in db.execute("SELECT kind FROM bill_kinds")] == [
            "i-2"
        ]
    ledger.commit("b", Batch("p", charges=[charge(0, "1", "i-1")], window=day), NOW)
    assert [one.resource for one in said(ledger)] == ["i-1"]


def test_a_transaction_that_is_rolled_back_leaves_no_kinds_behind(ledger: Ledger) -> None:
    first = Batch("p", charges=[charge(0, "1")])
    with pytest.raises(ValueError, match="must not fall"):
        ledger.commit("b", first, NOW, [Increment("f", (), -1)])
    assert said(ledger) == []
    ledger.commit("b", first, NOW)
    assert said(ledger) == [charge(0, "1")]


def test_a_day_as_columns_is_kept_as_it_came(ledger: Ledger) -> None:
    (day,) = packed([charge(0, "1"), charge(HOUR, "2", "i-2")])
    assert isinstance(day, BillDay)
    ledger.commit("b", Batch("p", charges=day, window=Window(0, DAY)), NOW)
    ledger.commit("b", Batch("p", charges=list(day), window=Window(0, DAY)), NOW)
    assert alike(ledger) == {0: 2}
    assert text(said(ledger)) == text(list(day))


def of_version_3(path: Path, lines: Iterable[tuple[str, Charge]], days: Iterable[tuple[int, int]] = ()) -> None:
    """A ledger of schema version 3: bill lines by part, and how often days of part p were said in a row."""
    with closing(sqlite3.connect(path)) as db:
        for step in MIGRATIONS[:3]:
            for statement in step:
                assert isinstance(statement, str)
                db.execute(statement)
        db.executemany(
            "INSERT INTO charges (collector, part, start, stop, charge) VALUES ('b', ?, ?, ?, ?)",
            ((part, one.window.start, one.window.end, msgspec.json.encode(one).decode()) for part, one in lines),
        )
        db.executemany("INSERT INTO bill_days VALUES ('b', 'p', ?, 'digest', ?)", days)
        db.execute("PRAGMA user_version = 3")
        db.commit()


def test_a_ledger_of_schema_version_3_keeps_its_bills_and_how_often_they_were_said(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    found = [charge(0, "1.50"), charge(HOUR, "2"), charge(DAY, "3"), charge(5 * DAY, "0.1", "i-2")]
    found += [charge(7 * DAY + 15 * HOUR, "4"), charge(8 * DAY + 6 * HOUR, "5")]
    of_version_3(path, [(part, one) for part in ("p", "q") for one in found], [(0, 4)])
    with closing(Ledger(path, NOW)) as ledger:
        assert text(said(ledger)) == text(said(ledger, "q")) == text(found)
        assert {
            line.alike for line in ledger.snapshot().bill if line.part == "p" and line.charge.window.start < DAY
        } == {4}
        ledger.commit("b", Batch("p", charges=found, window=Window(0, 9 * DAY)), NOW)
        of_p = {line.charge.window.start // DAY: line.alike for line in ledger.snapshot().bill if line.part == "p"}
        assert of_p == {0: 5, 1: 2, 5: 2, 7: 2, 8: 2}
        assert ledger.newest_bill_day("b", NOW) == 8 * DAY


def test_a_migration_that_fails_half_way_leaves_all_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    found = [charge(day * DAY, "1.50") for day in range(3)]
    of_version_3(path, [("p", one) for one in found])
    with closing(sqlite3.connect(path)) as db:
        (last,) = db.execute("SELECT charge FROM charges WHERE start = ?", (2 * DAY,)).fetchone()
        db.execute("UPDATE charges SET charge = 'spoilt' WHERE start = ?", (2 * DAY,))
        db.commit()
    with pytest.raises(msgspec.DecodeError):
        Ledger(path, NOW)
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (3,)
        assert db.execute("SELECT count(*) FROM charges").fetchone() == (3,)
        db.execute("UPDATE charges SET charge = ? WHERE start = ?", (last, 2 * DAY))
        db.commit()
    with closing(Ledger(path, NOW)) as ledger:
        assert text(said(ledger)) == text(found)


def test_a_migration_holds_a_day_of_a_part_in_memory_and_no_more(tmp_path: Path) -> None:
    peaks = []
    for days in (1, 20):
        path = tmp_path / f"{days}.db"
        of_version_3(path, (("p", charge(day * DAY + at, "1")) for day in range(days) for at in range(500)))
        tracemalloc.start()
        Ledger(path, NOW).close()
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0]
