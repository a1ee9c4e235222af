"""Which days are due: every day is read whole once it is over, and no day more often than it should."""

from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.usage.provider_days import DAY, FINE_DAYS, HOUR, MINUTE, Read, due, named_day
from tests.collectors.usage.provider_books import MIDNIGHT

LAG = 600


def test_the_first_start_reads_today_first_and_far_days_by_the_hour() -> None:
    now = MIDNIGHT + 5 * HOUR + 30
    spans = due(Read(), now, 31 * DAY, 5 * DAY, LAG)
    assert [span.window.start for span in spans[:2]] == [MIDNIGHT - DAY, MIDNIGHT]
    assert spans[1].window.end == now - 30
    covered = sorted(day for span in spans for day in span.days)
    assert covered == list(range(MIDNIGHT - 31 * DAY, MIDNIGHT + DAY, DAY))
    for span in spans:
        fine = span.window.start >= MIDNIGHT - FINE_DAYS * DAY
        assert span.width == (MINUTE if fine else HOUR)
        assert span.window.seconds // span.width <= (1440 if fine else 168)
    assert all(span.window.seconds <= DAY for span in spans if span.width == MINUTE)


def test_just_after_midnight_there_is_no_today_yet() -> None:
    assert [span.window.start for span in due(Read(), MIDNIGHT + 20, DAY, 0, LAG)] == [MIDNIGHT - DAY]


def test_a_short_past_is_read_again_as_long_as_it_may_change() -> None:
    read, now = Read(), MIDNIGHT
    for _ in range(20):
        now += DAY // 2
        for span in due(read, now, HOUR, 5 * DAY, LAG):
            read = read.after(span, now, now - 5 * DAY)
    days = {(day - MIDNIGHT) // DAY for span in due(read, now + DAY, HOUR, 5 * DAY, LAG) for day in span.days}
    assert days == {6, 7, 8, 9, 10}


def test_a_cursor_is_what_was_written() -> None:
    span = due(Read(), MIDNIGHT + HOUR, DAY, 0, LAG)[0]
    read = Read({"2020-01-01": 5}).after(span, MIDNIGHT + HOUR, MIDNIGHT - 31 * DAY)
    assert Read.parse(read.text()) == read
    assert {named_day(day): at for day, at in read.days.items()} == {MIDNIGHT - DAY: MIDNIGHT + HOUR}
    assert Read.parse(None) == Read.parse("") == Read()


@settings(max_examples=60, deadline=None)
@given(
    gaps=st.lists(st.integers(300, 4 * DAY), min_size=1, max_size=60),
    re_read=st.integers(0, 12).map(lambda days: days * DAY),
    lost=st.sets(st.integers(0, 200)),
)
def test_every_day_is_read_whole_whatever_the_outages(gaps: list[int], re_read: int, lost: set[int]) -> None:
    """`lost` are the spans whose request failed, by number."""
    read, now, number = Read(), MIDNIGHT, 0
    since, whole = 31 * DAY, set()
    for gap in [*gaps, 300]:
        now += gap
        spans = due(read, now, since, re_read, LAG)
        asked = [day for span in spans for day in span.days]
        assert len(asked) == len(set(asked))
        for span in spans:
            number += 1
            if number in lost:
                continue
            whole |= {day for day in span.days if now >= day + DAY + LAG}
            read = read.after(span, now, now - max(since, re_read))
    left = {day for span in due(read, now, since, re_read, LAG) for day in span.days}
    over = {day for day in range(now // DAY * DAY - 31 * DAY, now - DAY - LAG + 1, DAY) if day >= now - since}
    assert over - whole <= left  # what is not yet whole is asked for again
    for day in left:
        last = {named_day(name): at for name, at in read.days.items()}.get(day)
        live = day >= now // DAY * DAY - DAY
        assert live or last is None or last < day + DAY + LAG or (now - last >= DAY and now - day - DAY < re_read)
