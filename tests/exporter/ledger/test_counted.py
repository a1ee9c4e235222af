"""Restated usage: whatever a provider revises, a counter is the highest total there ever was, and nothing is lost."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.records import DAY, HOUR, SLOT, Batch, Usage, Window
from exporter.ledger.store import Ledger

MIDNIGHT = 1_800_000_000 - 1_800_000_000 % DAY
NOW = MIDNIGHT + DAY
LATE = 2 * DAY


def day(rows: Mapping[int, int], start: int = MIDNIGHT, model: str = "m") -> Batch:
    """A delivery of one day: input tokens by number of the slot, as many requests as there are slots."""
    usage = [
        Usage(start + SLOT * slot, "api", "acme", model, {"input": tokens, "output": 2 * tokens}, 1)
        for slot, tokens in rows.items()
    ]
    return Batch("usage", usage=usage, window=Window(start, start + DAY), cursor="x")


def deliver(ledger: Ledger, batch: Batch, now: int = NOW) -> tuple[Counter[str], int]:
    """What the counters gain by token type (`""`: requests), and the tokens that came too late."""
    growth = ledger.growth("api", batch, now, LATE)
    ledger.commit("api", batch, now, growth=growth)
    gained: Counter[str] = Counter()
    for usage in growth.usage:
        assert all(tokens >= 0 for tokens in usage.tokens.values()) and usage.requests >= 0
        gained.update(usage.tokens)
        gained[""] += usage.requests
    return gained, growth.late_tokens


deliveries = st.lists(st.dictionaries(st.integers(0, 5), st.integers(0, 1000), max_size=4), min_size=1, max_size=8)


@settings(max_examples=40, deadline=None)
@given(deliveries)
def test_the_counter_is_the_highest_total_so_far(
    tmp_path_factory: pytest.TempPathFactory, said: list[dict[int, int]]
) -> None:
    ledger = Ledger(tmp_path_factory.mktemp("ledger") / "ledger.db", NOW)
    try:
        counter: Counter[str] = Counter()
        highest: Counter[str] = Counter()
        for rows in said:
            counter.update(deliver(ledger, day(rows))[0])
            total = Counter({"input": sum(rows.values()), "output": 2 * sum(rows.values()), "": len(rows)})
            highest |= total
            assert +counter == +highest
            held = {
                t: sum(one.totals[t][-1] for one in ledger.snapshot().series if t in one.totals) for t in ("input",)
            }
            assert held["input"] == total["input"]  # the ledger itself says what the newest delivery says
    finally:
        ledger.close()


def test_what_was_taken_back_yesterday_is_made_up_for_today(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.db", NOW)
    try:
        assert deliver(ledger, day({0: 100}))[0]["input"] == 100
        assert deliver(ledger, day({0: 70}))[0]["input"] == 0
        assert deliver(ledger, day({0: 50}, NOW), NOW + HOUR)[0]["input"] == 20
        assert deliver(ledger, day({0: 50, 1: 5}, NOW), NOW + HOUR)[0]["input"] == 5
    finally:
        ledger.close()


def test_tokens_that_move_between_slots_are_not_counted_again(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.db", NOW)
    try:
        deliver(ledger, day({0: 100, 1: 10}))
        gained, _ = deliver(ledger, day({0: 10, 1: 100}))
        assert not +gained
    finally:
        ledger.close()


def test_a_slot_first_seen_too_late_is_kept_but_never_counted(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.db", NOW)
    later = MIDNIGHT + SLOT + LATE + 1
    try:
        assert deliver(ledger, day({1: 7}))[1] == 0
        gained, late = deliver(ledger, day({0: 100, 1: 9}), later)
        assert (gained["input"], late) == (2, 300)  # slot 1 was counted in time, so its revision is, too
        assert deliver(ledger, day({0: 130, 1: 9}), later)[1] == 90
        assert deliver(ledger, day({0: 130, 1: 9}), later) == (Counter({"input": 0, "output": 0, "": 0}), 0)
    finally:
        ledger.close()


def test_a_series_is_there_at_zero_before_its_first_token(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.db", NOW)
    try:
        growth = ledger.growth("api", day({3: 0}), NOW, LATE)
        assert [dict(usage.tokens) for usage in growth.usage] == [{"input": 0, "output": 0}, {}][: len(growth.usage)]
    finally:
        ledger.close()


def labelled(rows: Mapping[str, Mapping[int, int]]) -> Batch:
    """A delivery of one day: input tokens by team and number of the slot."""
    usage = [
        Usage(MIDNIGHT + SLOT * slot, "api", "acme", "m", {"input": tokens}, 1, labels=(("team", team),))
        for team, slots in rows.items()
        for slot, tokens in slots.items()
    ]
    return Batch("usage", usage=usage, window=Window(MIDNIGHT, MIDNIGHT + DAY), cursor="x")


def test_what_moves_to_another_series_of_its_model_is_not_counted_again(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.db", NOW)
    try:
        assert deliver(ledger, labelled({"a": {0: 100, 1: 50}, "b": {2: 10}}))[0]["input"] == 160
        gained, late = deliver(ledger, labelled({"c": {0: 100, 1: 50}, "b": {2: 12}}), NOW + 3 * DAY)
        assert (gained["input"], gained[""], late) == (2, 0, 0)  # however long ago, what moved was counted in time
        assert not +deliver(ledger, labelled({"c": {0: 100}, "b": {2: 12}}), NOW + 3 * DAY)[0]
        again = labelled({"c": {0: 100, 1: 55}, "b": {2: 12}})
        gained, late = deliver(ledger, again, NOW + 3 * DAY)
        assert (gained["input"], late) == (0, 5)  # 50 were counted once, under another name
        back = labelled({"a": {0: 100, 1: 50}, "b": {2: 12}})
        assert not +deliver(ledger, back, NOW + 3 * DAY)[0]
    finally:
        ledger.close()


@pytest.mark.parametrize("late_first", [True, False])
def test_a_late_backlog_beside_a_revision_stays_late(tmp_path: Path, late_first: bool) -> None:
    ledger = Ledger(tmp_path / "ledger.db", NOW)
    later = NOW + 5 * DAY
    try:
        deliver(ledger, labelled({"a": {0: 100}}))
        if late_first:
            assert deliver(ledger, labelled({"a": {0: 100}, "b": {0: 5000}}), later)[1] == 5000
        gained, late = deliver(ledger, labelled({"a": {0: 99}, "b": {0: 5000}}), later)
        assert (gained["input"], late) == (0, 0 if late_first else 4999)
        gained, late = deliver(ledger, labelled({"a": {0: 90}, "b": {0: 5020}}), later)
        assert (gained["input"], late) == (0, 11)  # 9 of the 20 were counted as those of a
        gained, late = deliver(ledger, labelled({"d": {0: 5110}}), later)
        assert (gained["input"], late) == (0, 0)  # what is late moves as well as what was counted
    finally:
        ledger.close()


def test_what_is_missing_from_one_late_delivery_was_seen_in_time(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.db", NOW)
    nothing = Counter({"input": 0, "": 0})
    try:
        deliver(ledger, labelled({"a": {0: 100}, "b": {1: 50}}))
        assert deliver(ledger, labelled({"b": {1: 50}}), NOW + 3 * DAY) == (nothing, 0)
        assert deliver(ledger, labelled({"a": {0: 100}, "b": {1: 50}}), NOW + 3 * DAY) == (nothing, 0)
        assert owed(ledger) == 0
    finally:
        ledger.close()


def test_what_was_late_is_not_late_again_in_rows_of_an_hour(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.db", NOW, retain_fine=DAY)
    later = NOW + 5 * DAY
    try:
        assert deliver(ledger, day({0: 100, 1: 100}), later)[1] == 600
        ledger.compact(later)
        assert deliver(ledger, day({0: 100, 1: 101}), later) == (Counter({"input": 0, "output": 0, "": 0}), 3)
    finally:
        ledger.close()


def test_rows_kept_before_the_ledger_knew_what_is_late_are_not_late_again(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.db", NOW)
    later = NOW + 3 * DAY
    try:
        assert deliver(ledger, labelled({"a": {0: 100}}), later)[1] == 100
        ledger._db.execute("DELETE FROM counted")
        for _ in range(2):
            gained, late = deliver(ledger, labelled({"a": {0: 100}}), later)
            assert (gained["input"], late) == (0, 0)
    finally:
        ledger.close()


def owed(ledger: Ledger) -> int:
    """The input tokens that were counted and taken back."""
    return sum(n for (n,) in ledger._db.execute("SELECT tokens FROM debts WHERE token_type = 'input'"))


moves = st.dictionaries(st.sampled_from("abc"), st.dictionaries(st.integers(0, 2), st.integers(0, 50)))


@settings(max_examples=40, deadline=None)
@given(st.lists(moves, min_size=1, max_size=6))
def test_whatever_moves_the_counters_hold_what_there_is_and_what_is_owed(
    tmp_path_factory: pytest.TempPathFactory, said: list[dict[str, dict[int, int]]]
) -> None:
    ledger = Ledger(tmp_path_factory.mktemp("ledger") / "ledger.db", NOW)
    try:
        counter = before = 0
        for rows in said:
            gained = deliver(ledger, labelled(rows))[0]["input"]
            total = sum(tokens for slots in rows.values() for tokens in slots.values())
            assert gained <= max(0, total - before)
            counter, before = counter + gained, total
            assert counter == total + owed(ledger)
    finally:
        ledger.close()


Cells = dict[tuple[str, int], int]
rows_of_day = st.dictionaries(st.tuples(st.sampled_from("abc"), st.integers(0, 2)), st.integers(0, 50))


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(rows_of_day, st.integers(0, 2)), min_size=1, max_size=7))
def test_every_token_is_counted_or_late_and_never_both(
    tmp_path_factory: pytest.TempPathFactory, said: list[tuple[Cells, int]]
) -> None:
    """With every delivery the clock moves on by some slots: more and more of them are too late to be seen first."""
    ledger = Ledger(tmp_path_factory.mktemp("ledger") / "ledger.db", NOW)
    counter = late = shift = 0
    before: Cells = {}
    in_time: dict[tuple[str, int], bool] = {}
    try:
        for rows, passed in said:
            shift += passed
            teams = {team: {s: n for (t, s), n in rows.items() if t == team} for team, _ in rows}
            gained, came_late = deliver(ledger, labelled(teams), MIDNIGHT + LATE + shift * SLOT)
            up = {cell: max(0, n - before.get(cell, 0)) for cell, n in rows.items()}
            for cell in rows:
                in_time.setdefault(cell, cell[1] + 1 >= shift)
            assert gained["input"] <= sum(n for cell, n in up.items() if in_time[cell])
            assert came_late <= sum(n for cell, n in up.items() if not in_time[cell])
            counter, late, before = counter + gained["input"], late + came_late, rows
            assert counter + late >= sum(rows.values()) + owed(ledger)
    finally:
        ledger.close()
