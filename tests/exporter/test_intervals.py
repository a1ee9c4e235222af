"""Interval sets against sets of seconds."""

from hypothesis import given
from hypothesis import strategies as st

from exporter.intervals import Intervals

spans = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=8)


def seconds(found: Intervals) -> set[int]:
    return {at for start, end in found for at in range(start, end)}


@given(spans, spans)
def test_set_algebra(left: list[tuple[int, int]], right: list[tuple[int, int]]) -> None:
    a, b = Intervals(left), Intervals(right)
    assert seconds(a | b) == seconds(a) | seconds(b)
    assert seconds(a & b) == seconds(a) & seconds(b)
    assert seconds(a - b) == seconds(a) - seconds(b)
    assert a.seconds == len(seconds(a))
    assert a.overlap(b) == len(seconds(a) & seconds(b))
    assert (a - b) | (a & b) == a
    assert all(x[1] < y[0] for x, y in zip(a.spans, a.spans[1:], strict=False))


@given(spans, st.integers(0, 60), st.integers(0, 60), st.integers(1, 9))
def test_clip_whole_and_membership(raw: list[tuple[int, int]], start: int, end: int, step: int) -> None:
    found = Intervals(raw)
    assert seconds(found.clip(start, end)) == {at for at in seconds(found) if start <= at < end}
    whole = {at for at in seconds(found) if all(at - at % step + i in seconds(found) for i in range(step))}
    assert seconds(found.whole(step)) == whole
    assert {at for at in range(61) if at in found} == seconds(found)


@given(st.integers(0, 60), st.integers(0, 60), spans)
def test_a_span_is_like_any_other_set(start: int, end: int, raw: list[tuple[int, int]]) -> None:
    assert Intervals.span(start, end) == Intervals([(start, end)])
    assert Intervals.span(start, end).overlap(Intervals(raw)) == Intervals(raw).clip(start, end).seconds


def test_the_end_of_nothing_is_not_zero() -> None:
    assert Intervals().end is None
    assert not Intervals([(5, 5)])
    assert Intervals([(0, 1), (1, 9)]).end == 9
