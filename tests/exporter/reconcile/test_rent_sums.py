"""Sums over many rents against adding them up one by one."""

from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.intervals import Intervals
from exporter.reconcile.rent_sums import Group, RentSums
from exporter.reconcile.rents import Rent

spans = st.tuples(st.integers(0, 300), st.integers(1, 40)).map(lambda span: (span[0], span[0] + span[1]))
intervals = st.lists(spans, max_size=5).map(Intervals)
amounts = st.decimals(-500, 500, places=4)


@st.composite
def rents(draw: st.DrawFn) -> Rent:
    """Mostly of one span, as bill lines are."""
    seconds = draw(st.one_of(spans.map(lambda span: Intervals([span])), intervals))
    return Rent("gpu", "billed", draw(amounts), draw(st.integers(1, 50)), seconds, "bill")


@given(st.lists(rents(), max_size=30), intervals)
@settings(max_examples=200)
def test_a_group_is_worth_what_its_rents_are(given: list[Rent], covered: Intervals) -> None:
    expected = sum((rent.usd(covered) for rent in given), Decimal(0))
    assert abs(Group(given).usd(covered) - expected) <= Decimal("1e-20")


def test_whole_days_are_exact_to_the_last_digit() -> None:
    days = [
        Rent("gpu", "billed", Decimal("112.0071"), 86400, Intervals([(86400 * d, 86400 * (d + 1))])) for d in range(90)
    ]
    assert Group(days).usd(Intervals([(0, 86400 * 90)])) == 90 * Decimal("112.0071")
    assert Group(days).usd(Intervals([(43200, 86400 * 2)])) == Decimal("112.0071") * Decimal("1.5")


def test_other_rents_have_other_sums() -> None:
    sums, one = RentSums(), (Rent("gpu", "list", Decimal(1), 1, Intervals([(0, 9)])),)
    assert sums.of(one) is sums.of(one)
    assert sums.of(()) == {}
    assert [group.usd(Intervals([(0, 5)])) for group in sums.of(one).values()] == [5]
