"""The month's account of Cost Explorer: money that was spent is never allowed again, whatever the clock did."""

import json
from collections import Counter
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.billing.cost_explorer_budget import PRICE, REMEMBERED, Requests
from collectors.records import DAY, HOUR


def at(year: int, month: int, day: int = 15, hour: int = 0) -> int:
    return int(datetime(year, month, day, hour, tzinfo=UTC).timestamp())


def spend(cursor: str | None, now: int, requests: int) -> str:
    return Requests.parse(cursor, now).paid(requests).cursor()


def test_a_clock_from_the_far_future_is_put_right_and_its_requests_count_in_the_true_month() -> None:
    cursor = spend(None, at(2026, 11), 7)
    cursor = spend(cursor, at(2099, 1), 2)
    cursor = spend(cursor, at(2099, 2), 1)
    account = Requests.parse(cursor, at(2026, 11, 16))
    assert (account.month, account.spent) == ("2026-11", 10 * PRICE)
    again = Requests.parse(account.cursor(), at(2026, 11, 17))
    assert again == account
    assert Requests.parse(account.cursor(), at(2026, 12)).spent == 0
    assert account.due(at(2026, 11, 16), 6 * HOUR)


@pytest.mark.parametrize("back", [at(2026, 11, 30, 23), at(2026, 11, 1), at(2026, 9)])
def test_a_clock_that_steps_back_over_a_month_end_and_forward_again_pays_one_budget(back: int) -> None:
    """Nobody knows which of the two was right: in both months all of it counts."""
    cursor = spend(spend(None, at(2026, 11, 30), 3), at(2026, 12, 5), 200)
    assert Requests.parse(cursor, at(2026, 11, 30, 23)).spent == 203 * PRICE
    for _ in range(3):
        cursor = spend(spend(cursor, back, 40), at(2026, 12, 6), 60)
    assert Requests.parse(cursor, at(2026, 12, 7)).spent == 500 * PRICE
    assert Requests.parse(cursor, back).spent >= 500 * PRICE


def test_a_month_that_the_clock_comes_on_to_begins_at_nothing_and_keeps_what_later_ones_had() -> None:
    cursor = spend(spend(None, at(2026, 11), 7), at(2027, 12), 90)
    cursor = spend(cursor, at(2026, 11), 0)
    for year, month in ((2026, 12), (2027, 1), (2027, 11)):
        assert Requests.parse(cursor, at(year, month)).spent == 0
        cursor = spend(cursor, at(year, month), 300)
    account = Requests.parse(cursor, at(2027, 12))
    assert account.spent == 90 * PRICE
    assert "0.90 USD of requests count for 2027-12" in account.exhausted(Decimal("0.90"))


def test_an_account_of_an_older_release_is_read_and_the_months_kept_are_bounded() -> None:
    older = json.dumps({"month": "2026-11", "spent": "0.07", "last": 5, "read": 5, "failed": ""})
    assert Requests.parse(older, at(2026, 11)) == Requests("2026-11", Decimal("0.07"), 5, 5)
    cursor = older
    for month in range(60):
        cursor = spend(cursor, at(2027 + month // 12, month % 12 + 1), 1)
    assert len(json.loads(cursor)["others"]) == REMEMBERED


@pytest.mark.parametrize("month", ["2026-13", "x", "", None, 5])
def test_a_month_that_is_none_is_an_empty_account(month: object) -> None:
    cursor = json.dumps({"month": month, "spent": "0.07", "last": 5, "read": 5, "failed": ""})
    assert Requests.parse(cursor, at(2026, 11)) == Requests("2026-11")


@given(st.lists(st.tuples(st.integers(0, 20 * 31), st.integers(0, 3)), max_size=12))
def test_back_in_the_true_month_all_that_was_spent_since_it_began_counts(jumps: list[tuple[int, int]]) -> None:
    """The clock jumps ahead by days, at most over as many months as are remembered, and comes back."""
    cursor, true, total = None, at(2026, 11, 1), 0
    for days, requests in jumps:
        cursor, total = spend(cursor, true + days * DAY, requests), total + requests
    assert Requests.parse(cursor, true).spent == total * PRICE


@given(st.lists(st.tuples(st.integers(-20 * 31, 20 * 31), st.integers(0, 3)), max_size=12))
def test_each_time_the_clock_is_put_right_all_that_was_spent_counts(jumps: list[tuple[int, int]]) -> None:
    """The clock jumps either way and comes back each time."""
    true = at(2026, 11, 15)
    cursor, total = spend(None, true, 1), 1
    for days, requests in jumps:
        cursor = spend(cursor, true + days * DAY, requests)
        cursor = spend(cursor, true, 1)
        total += requests + 1
        assert Requests.parse(cursor, true).spent == total * PRICE


@given(st.lists(st.tuples(st.integers(0, 20 * 31), st.integers(0, 3)), max_size=30))
def test_no_month_forgets_what_was_spent_while_the_clock_said_it(jumps: list[tuple[int, int]]) -> None:
    cursor, said = None, Counter[str]()
    for days, requests in jumps:
        now = at(2026, 11, 1) + days * DAY
        cursor = spend(cursor, now, requests)
        account = Requests.parse(cursor, now)
        said[account.month] += requests
        assert account.spent >= said[account.month] * PRICE
