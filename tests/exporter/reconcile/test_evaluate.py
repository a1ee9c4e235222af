"""When evaluations are made: in order, each once, and never because of when somebody looked."""

from hypothesis import given
from hypothesis import strategies as st

from exporter.reconcile.evaluate import PATIENCE, due

HOUR = 3600


def test_hours_of_a_backlog_are_evaluated_on_arrival_in_order() -> None:
    assert list(due(10, None, 5 * HOUR + 9, 5 * HOUR + 60, True, HOUR)) == [HOUR * h for h in (1, 2, 3, 4, 5)]
    assert list(due(10, 3 * HOUR, 5 * HOUR, 5 * HOUR + 60, True, HOUR)) == [4 * HOUR, 5 * HOUR]


def test_nothing_is_due_until_the_sources_had_their_chance() -> None:
    assert list(due(0, None, None, 9 * HOUR, False, HOUR)) == []
    assert list(due(0, 6 * HOUR, 7 * HOUR, 9 * HOUR, False, HOUR)) == [7 * HOUR]


def test_a_dead_source_delays_an_hour_but_does_not_stop_it() -> None:
    assert list(due(0, HOUR, HOUR, 2 * HOUR + PATIENCE - 1, True, HOUR)) == []
    assert list(due(0, HOUR, HOUR, 2 * HOUR + PATIENCE, True, HOUR)) == [2 * HOUR]


def test_after_a_change_of_the_interval_the_instants_are_on_the_new_grid() -> None:
    last = 5 * HOUR + 900
    assert list(due(10, last, 8 * HOUR, 8 * HOUR, True, HOUR)) == [6 * HOUR, 7 * HOUR, 8 * HOUR]
    assert list(due(10, 6 * HOUR, 6 * HOUR + 900, 6 * HOUR + 900, True, 900)) == [6 * HOUR + 900]


@given(st.lists(st.integers(1, 5000), max_size=60))
def test_the_same_instants_whatever_the_times_of_the_looks(steps: list[int]) -> None:
    made: list[int] = []
    now = 0
    for step in steps:
        now += step
        made += due(0, made[-1] if made else None, now, now, True, HOUR)
    assert made == list(range(HOUR, now + 1, HOUR))
