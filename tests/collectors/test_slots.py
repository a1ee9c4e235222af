"""Laying a quantity onto slots loses and makes nothing."""

from hypothesis import given
from hypothesis import strategies as st

from collectors.records import SLOT, Window
from collectors.slots import slot_of, slots_in, spread


@given(st.integers(0, 10**12), st.integers(0, 10**6), st.integers(0, 5000))
def test_spread_keeps_every_unit_and_is_even(amount: int, start: int, seconds: int) -> None:
    window = Window(start, start + seconds)
    parts = list(spread(amount, window))
    assert sum(part for _, part in parts) == amount
    assert all(part >= 0 and slot % SLOT == 0 for slot, part in parts)
    for (slot, part), piece in zip(parts, slots_in(window), strict=True):
        assert slot == slot_of(piece.start)
        if seconds:
            assert abs(part - amount * piece.seconds / seconds) <= 1 + 1e-9 * amount


def test_an_instant_lies_in_one_slot() -> None:
    assert list(spread(7, Window(299, 299))) == [(0, 7)]
    assert list(spread(7, Window(300, 300))) == [(300, 7)]
