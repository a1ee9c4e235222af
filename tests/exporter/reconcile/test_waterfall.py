"""What a provider billed, explained from what was metered: both identities hold exactly, whatever the numbers."""

import re
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.records import DAY, Charge, Component, Window
from exporter.reconcile.bill_reporting import within
from exporter.reconcile.waterfall import (
    ProviderBill,
    on_bill,
    provider_bill,
    waterfall,
)

D = Decimal
DOCUMENT = Path(__file__).parents[3] / "docs" / "reconciliation.md"


def line(usd: str, model: str | None, component: Component = "tokens") -> Charge:
    tags = () if model is None else (("model", model),)
    return Charge(Window(0, DAY), "Usage", "USD", D(usd), D(usd), component=component, tags=tags)


def test_a_day_with_everything_in_it() -> None:
    lines = [
        *(line("8", "gpt-5"), line("1", "gpt-5"), line("3", "new-model"), line("0.50", None)),
        *(line("0.25", None, "other"), line("2", "mini")),
    ]
    metered = {"gpt-5": D(6), "mini": D(3), "elsewhere": D(1)}
    usage = {"gpt-5": D(10), "mini": D("2.5"), "late": D("0.75")}
    parts = waterfall(provider_bill(lines), metered, usage)
    assert parts == {
        "metered_at_list": D(10),
        "missing_usage": D("4.75"),  # gpt-5: 10 - 6; late: all of it
        "duplicates": D("-1.5"),  # mini: 2.5 - 3; elsewhere: the provider knows nothing of it
        "price_difference": D("-1.5"),  # gpt-5: 9 - 10; mini: 2 - 2.5
        "non_token_lines": D("0.25"),
        "unexplained": D("2.75"),  # new-model 3, no model 0.5, less late 0.75, which has no line
    }
    assert sum(parts.values()) == D("14.75")


def test_the_document_names_every_step() -> None:
    parts = waterfall(provider_bill([line("8", "gpt-5")]), {"gpt-5": D(6)}, {"gpt-5": D(10)})
    steps = within({0: parts}, Window(0, 2 * DAY), D(9))
    assert sum(steps.values()) == D(9)
    table = DOCUMENT.read_text().partition("| step | is |")[2].partition("\n\n")[0]
    assert set(re.findall(r"^\| `(\w+)` ", table, re.M)) == steps.keys()


def test_without_the_providers_count_nothing_is_guessed() -> None:
    parts = waterfall(provider_bill([line("9", "m"), line("1", None, "other")]), {"m": D(7)}, None)
    assert parts == {"metered_at_list": D(7), "non_token_lines": D(1), "unexplained": D(2)}
    assert waterfall(ProviderBill(), {}, None) == {"metered_at_list": 0, "non_token_lines": 0, "unexplained": 0}


def test_names_of_one_model_are_brought_together() -> None:
    bill = provider_bill([line("1", "gpt-5-2025-08-07"), line("2", "gpt-5")], lambda name: name[:5])
    assert bill.by_model == {"gpt-5": D(3)}


def test_what_the_cost_report_leaves_out() -> None:
    assert not on_bill("anthropic", "priority")
    assert on_bill("anthropic", "batch") and on_bill("openai", "priority")


MODELS = st.sampled_from(["gpt-5", "mini", "claude", "embed"])
VALUES = st.decimals(0, 10**7, places=10)
AMOUNTS = st.decimals(-(10**6), 10**7, places=12)
BILLS = st.builds(ProviderBill, st.dictionaries(MODELS, AMOUNTS), AMOUNTS, AMOUNTS)
METERED = st.dictionaries(MODELS, VALUES)
USAGE = st.none() | st.dictionaries(MODELS, VALUES)


@given(BILLS, METERED, USAGE)
def test_the_parts_add_up_to_the_bill(
    bill: ProviderBill, metered: dict[str, Decimal], usage: dict[str, Decimal] | None
) -> None:
    parts = waterfall(bill, metered, usage)
    assert sum(map(Fraction, parts.values())) == Fraction(bill.billed)
    assert ("missing_usage" in parts) == (usage is not None)
    assert parts.get("missing_usage", 0) >= 0 >= parts.get("duplicates", 0)
    known = usage is not None and bill.by_model.keys() == usage.keys()
    if known and metered.keys() <= bill.by_model.keys():
        assert parts["unexplained"] == bill.other_tokens


@given(st.dictionaries(MODELS, VALUES.filter(bool), min_size=1))
def test_a_bill_at_list_of_what_was_metered_is_explained(values: dict[str, Decimal]) -> None:
    parts = waterfall(ProviderBill(values), values, values)
    assert {name for name, amount in parts.items() if amount} == {"metered_at_list"}


@pytest.mark.parametrize("revision", ["0.5", "1", "1.25"])
def test_what_was_priced_differently_is_a_price_difference(revision: str) -> None:
    usage = {"m": D(8)}
    parts = waterfall(ProviderBill({"m": D(8) * D(revision)}), usage, usage)
    assert parts["price_difference"] == D(8) * (D(revision) - 1)
    assert parts["unexplained"] == 0
