"""Restatements: what a new delivery of a bill says of days that the earlier one had closed, and nothing else."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.billing.focus import FocusSettings
from collectors.records import DAY, HOUR, Charge, Window
from exporter.config import Config
from exporter.reconcile.accrual import restatement
from exporter.reconcile.bill_match import scope_of

MAY = 1777593600
USD = {"USD": Decimal(1), "EUR": Decimal("1.10")}


def charge(cost: str, first: int, days: int = 1, **more: Any) -> Charge:
    """A line of May 2026 from the day `first` (0: the 1st) on."""
    window = Window(MAY + first * DAY, MAY + (first + days) * DAY)
    category, currency = more.pop("category", "Usage"), more.pop("currency", "USD")
    return Charge(window, category, currency, Decimal(cost), Decimal(cost), **more)


def moved(old: Sequence[Charge], new: Sequence[Charge], **more: Any) -> tuple[Decimal, Decimal]:
    """USD (up, down)."""
    found = {step.labels: step.amount for step in restatement("bill", old, new, USD, **more)}
    return Decimal(found["bill", "up"]), Decimal(found["bill", "down"])


DAYS = [charge("5", 0), charge("5", 1), charge("5", 2)]


def test_closed_days_that_change_are_restated_up_and_down() -> None:
    assert moved(DAYS, [charge("7", 0), charge("4", 1), charge("9", 2)]) == (2, 1)
    assert moved(DAYS, [*DAYS, charge("3", 0, resource="late")]) == (3, 0)
    assert moved(DAYS, []) == (0, 10)


def test_the_newest_day_was_still_filling() -> None:
    assert moved(DAYS, [*DAYS[:2], charge("500", 2), charge("5", 3)]) == (0, 0)
    assert moved([], DAYS) == (0, 0)


@pytest.mark.parametrize("beside", [[], DAYS], ids=["alone", "beside days"])
@pytest.mark.parametrize("then", [charge("110", 0, 31), charge("110", 0, 4)], ids=["whole month", "month to date"])
def test_a_line_for_the_month_that_grows_every_day_is_no_restatement(beside: list[Charge], then: Charge) -> None:
    before = charge("100", 0, 31 if then.window.seconds == 31 * DAY else 3)
    assert moved([before, *beside], [then, *beside]) == (0, 0)


def test_a_line_of_several_closed_days_is_spread_over_them() -> None:
    whole, last = charge("30", 0, 3), charge("1", 5)
    assert moved([whole, last], [charge("36", 0, 3), last]) == (6, 0)
    assert moved([whole, last], [charge("10", 0), charge("10", 1), charge("12", 2), last]) == (2, 0)


@pytest.mark.parametrize(
    "more", [{"category": "Tax"}, {"category": "Credit"}, {"category": "Purchase"}, {"commitment_status": "Unused"}]
)
def test_only_the_cost_of_use_is_restated(more: dict[str, Any]) -> None:
    assert moved([*DAYS, charge("1", 0, **more)], [*DAYS, charge("9", 0, **more)]) == (0, 0)
    assert moved([*DAYS, charge("1", 9, **more)], [*DAYS[:2], charge("9", 2)]) == (0, 0)  # nor does it close a day


def test_lines_out_of_scope_are_not_restated() -> None:
    bill = FocusSettings("bill", "focus", "x", scope={"account": "ml"})
    ours, other = charge("1", 0, account="ml"), charge("1", 0, account="web")
    grown = [charge("3", 0, account="ml"), charge("9", 0, account="web")]
    last = charge("1", 1, account="ml")
    scope = scope_of(Config(collectors=(bill,)))
    assert moved([ours, other, last], [*grown, last], in_scope=scope) == (2, 0)


def test_other_currencies_are_taken_at_their_rate_or_left_out() -> None:
    def bill(cost: str, currency: str) -> list[Charge]:
        return [charge(cost, 0, currency=currency), charge("1", 1, currency=currency)]

    assert moved(bill("10", "EUR"), bill("20", "EUR")) == (11, 0)
    assert moved(bill("10", "CHF"), bill("20", "CHF")) == (0, 0)


@given(st.lists(st.tuples(st.integers(0, 30 * 24), st.integers(1, 10 * 24), st.integers(-100, 100)), max_size=12))
def test_the_same_bill_again_restates_nothing(lines: list[tuple[int, int, int]]) -> None:
    bill = [
        Charge(Window(MAY + at * HOUR, MAY + (at + hours) * HOUR), "Usage", "USD", Decimal(cost), Decimal(cost))
        for at, hours, cost in lines
    ]
    assert moved(bill, bill[::-1]) == (0, 0)


def test_a_bill_that_comes_day_by_day_knows_its_newest_day_from_elsewhere() -> None:
    day, newest = [DAYS[0]], DAYS[2].window.start
    assert moved(day, [charge("7", 0)], newest=newest) == (2, 0)
    assert moved(day, [charge("7", 0)], newest=day[0].window.start) == (0, 0)
    assert moved([], [charge("7", 0)], newest=newest) == (0, 0)
