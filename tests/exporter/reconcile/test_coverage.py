"""Covered time: every source that was asked vouches for it."""

from hypothesis import given
from hypothesis import strategies as st

from collectors.records import HOUR, SLOT
from exporter.intervals import Intervals
from exporter.ledger.snapshot import SeriesKey, Stream, UsageSeries
from exporter.reconcile.coverage import (
    complete_through,
    covered_slots,
    first_slot,
    observed_by_all,
    up,
)

A, B = ("c", "a"), ("c", "b")


def stream(observed: list[tuple[int, int]], retired: int | None = None, down: list[tuple[int, int]] = ()) -> Stream:
    seen = Intervals([*observed, *down])
    return Stream(seen.spans[0][0], retired, seen, Intervals(observed))


def test_two_replicas_are_covered_where_both_are() -> None:
    streams = {A: stream([(0, 900)]), B: stream([(0, 300), (600, 900)])}
    assert observed_by_all({A, B}, streams).clip(0, 900) == Intervals([(0, 300), (600, 900)])


def test_a_replica_is_not_asked_before_it_came_or_after_it_went() -> None:
    streams = {A: stream([(0, 900)]), B: stream([(300, 600)], retired=600)}
    assert observed_by_all({A, B}, streams).clip(0, 900) == Intervals([(0, 900)])


def test_time_before_the_first_source_is_nobodys() -> None:
    streams = {A: stream([(290, 900)]), B: stream([(300, 900)])}
    assert observed_by_all({A, B}, streams).clip(0, 900) == Intervals([(290, 900)])
    assert covered_slots(observed_by_all({A, B}, streams).clip(0, 900), 0) == Intervals([(300, 900)])


def test_a_source_that_never_spoke_covers_nothing() -> None:
    assert not observed_by_all({A, B}, {A: stream([(0, 900)])})


def test_where_who_finds_the_sources_found_none_nothing_was_served() -> None:
    finder, finds = ("f", ""), {"c": "f"}
    streams = {
        A: stream([(300, 600)], retired=600),
        B: stream([(1200, 1500)]),
        finder: stream([(0, 900), (1100, 1500)]),
    }
    assert observed_by_all({A, B}, streams).clip(0, 1500) == Intervals([(300, 600), (1200, 1500)])
    assert observed_by_all({A, B}, streams, finds).clip(0, 1500) == Intervals([(300, 900), (1100, 1500)])
    assert observed_by_all({A, B}, {A: streams[A], B: streams[B]}, finds).clip(0, 1500) == Intervals(
        [(300, 600), (1200, 1500)]
    )
    failing = streams | {B: stream([(1200, 1300), (1400, 1500)])}
    assert observed_by_all({A, B}, failing, finds).clip(1000, 1500) == Intervals([(1100, 1300), (1400, 1500)])


def test_seen_down_is_covered_but_not_up() -> None:
    streams = {A: stream([(0, 300)], down=[(300, 600)])}
    assert observed_by_all({A}, streams).clip(0, 900) == Intervals([(0, 600)])
    assert up({A}, streams) == Intervals([(0, 300)])


def test_complete_through_waits_for_the_slowest_that_is_still_asked() -> None:
    streams = {A: stream([(0, 900)]), B: stream([(0, 600)])}
    assert complete_through({A, B}, streams) == 600
    assert complete_through({A, B}, {A: streams[A], B: stream([(0, 600)], retired=600)}) == 900
    assert complete_through({A, ("c", "new")}, streams) is None


def test_windows_start_at_the_first_row_of_any_series() -> None:
    key = SeriesKey("c", "a", "api", "p", "m")
    assert first_slot([]) is None
    assert first_slot([UsageSeries(key), UsageSeries(key, [(600, 300, {"input": 0}, 0)])]) == 600


@given(st.lists(st.tuples(st.integers(0, 20000), st.integers(0, 20000)), max_size=6), st.integers(0, 5))
def test_covered_slots_are_whole_and_inside(spans: list[tuple[int, int]], fine_hour: int) -> None:
    seconds, fine_from = Intervals(spans), fine_hour * HOUR
    slots = covered_slots(seconds, fine_from)
    assert not slots - seconds
    for start, end in slots.clip(0, fine_from):
        assert start % HOUR == end % HOUR == 0
    for start, end in slots.clip(fine_from, 1 << 40):
        assert start % SLOT == end % SLOT == 0
