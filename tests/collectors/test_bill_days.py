"""What the days of a bill tell without their lines being decoded."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.bill_days import BillDay, currencies, packed
from collectors.records import DAY, Batch, Charge, Window
from exporter.reconcile.accrual import rejected_increments


def billed(day: int, currency: str, resource: str = "i-1") -> Charge:
    window = Window(day * DAY, day * DAY + DAY)
    return Charge(window, "Usage", currency, Decimal("1.5"), Decimal("1.25"), resource=resource)


charges = st.builds(
    billed, st.integers(0, 2), st.sampled_from(["USD", "EUR", "CNY"]), st.sampled_from(["i-1", "i-2", "i-3"])
)


@given(st.lists(charges, max_size=12))
def test_currencies_are_those_of_the_lines(found: list[Charge]) -> None:
    assert currencies(found) == {charge.currency for charge in found}
    for day in packed(found):
        assert currencies(day) == {charge.currency for charge in day}


def test_no_line_is_decoded_to_learn_that_all_currencies_have_a_rate() -> None:
    (day,) = packed([billed(0, "USD"), billed(0, "EUR")])
    unreadable = BillDay(day.start, day.kinds, "no lines", len(day))
    with pytest.raises(ValueError, match="malformed"):
        list(unreadable)
    assert currencies(unreadable) == {"USD", "EUR"}
    assert list(rejected_increments("bill", Batch("p", charges=unreadable), set())) == []
