"""Cost Explorer: whatever the grouping, every day sums to the account's total, and no request is made unpaid for."""

import re
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from collectors.records import DAY, HOUR
from exporter.ledger.snapshot import BillLine
from exporter.reconcile.bill import bill_parts
from tests.collectors.billing.ce_stand_in import EC2, CostExplorer, Item, serving
from tests.collectors.billing.cost_explorer_ledger import (
    CHAT,
    G5,
    P5,
    D,
    Store,
    at,
    month_of_bill,
    of,
    one_day,
    only_test_credentials,
)

NOW = at("2026-11-20T13:37:11")
INTERVAL = 6 * HOUR
MODES: list[dict[str, Any]] = [
    {},
    {"tag": "workload"},
    {"tag": "workload", "granularity": "hourly"},
    {"resources": True},
    {"tag": "workload", "resources": True, "granularity": "hourly"},
]


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    only_test_credentials(monkeypatch)


@pytest.fixture
def account() -> Iterator[CostExplorer]:
    with serving(CostExplorer(NOW, month_of_bill("2026-10-28", "2026-11-20"))) as account:
        yield account


def closed_days(account: CostExplorer) -> list[int]:
    return sorted(
        {item.hour - item.hour % DAY for item in account.items if item.hour < account.now - account.now % DAY}
    )


def assert_true(store: Store, account: CostExplorer) -> None:
    """Every closed day the store knows sums to the truth, net as the account is."""
    for day in closed_days(account):
        truth = account.total(day, "NetUnblendedCost"), account.total(day, "NetAmortizedCost")
        assert store.sums(day) == truth, (day, store.day(day))


@pytest.mark.parametrize("mode", MODES, ids=str)
@pytest.mark.parametrize("page_size", [1000, 45])
def test_every_day_sums_to_the_accounts_total(account: CostExplorer, mode: dict[str, Any], page_size: int) -> None:
    account.page_size = page_size
    store = Store()
    assert store.collect(account, NOW, monthly_budget_usd=D("100"), **mode) == []
    assert_true(store, account)
    assert {charge.currency for charge in store.lines} == {"USD"}
    assert store.paid == D("0.01") * account.requests


def test_many_days_are_one_question(account: CostExplorer) -> None:
    store = Store()
    store.collect(account, NOW, tag="workload")
    assert account.requests == 2
    assert [asked["TimePeriod"] for _, asked in account.calls] == [{"Start": "2026-10-01", "End": "2026-11-20"}] * 2
    assert sum(batch.window is not None for batch in store.batches) == 50  # a batch for each day of both months


def test_both_conservation_identities_hold(account: CostExplorer) -> None:
    store = Store()
    store.collect(account, NOW, tag="workload")
    lines = [BillLine("bill", "", charge) for charge in store.lines]
    for (_, day, currency), parts in bill_parts(lines, lambda line: (None, "unknown")).items():
        assert currency == "USD"
        assert sum(parts.parts["billed"].values()) == parts.totals["billed"] == store.sums(day)[0]
        assert sum(parts.parts["effective"].values()) == parts.totals["effective"] == store.sums(day)[1]


def test_what_a_line_says(account: CostExplorer) -> None:
    store = Store()
    store.collect(account, NOW, tag="workload")
    day = store.day(at("2026-11-19"))
    [chat] = of(day, category="Usage", sku=P5)
    assert (chat.tags, chat.component, chat.region, chat.service) == ((("workload", "chat"),), "gpu", "us-west-2", EC2)
    assert (chat.quantity, chat.unit, chat.provider, chat.estimated) == (D("48"), "Hours", "AWS", True)
    assert chat.billed_cost == 24 * (D("98.32") * D("0.9") + D("98.32"))
    assert chat.effective_cost == 24 * (D("98.32") * D("0.9") + D("53.95"))
    [search] = of(day, sku=G5)
    assert (search.component, search.region, search.tags) == ("gpu", "us-east-1", (("workload", "search"),))
    assert of(day, sku="EBS:VolumeUsage.gp3")[0].component == "storage"
    assert of(day, sku="USW2-DataTransfer-Out-Bytes")[0].component == "egress"
    assert of(day, sku="USE1-Claude-input-tokens")[0].component == "tokens"
    assert of(day, sku="USW2-UnusedBox:p5.48xlarge")[0].commitment_status == "Unused"
    assert not of(store.day(at("2026-10-30")), estimated=True)  # a closed month


def test_charge_types_are_told_apart(account: CostExplorer) -> None:
    store = Store()
    store.collect(account, NOW, tag="workload")
    day = store.day(at("2026-11-19"))
    fee, unused = of(day, category="Purchase", sku="ComputeSP:1yrNoUpfront"), of(day, sku="ComputeSP:1yrNoUpfront")
    assert [(c.billed_cost, c.effective_cost) for c in fee] == [(D("1440"), D("0"))]
    assert [c.effective_cost for c in of(unused, commitment_status="Unused")] == [D("145.2")]
    assert sum(c.billed_cost for c in of(unused, commitment_status="Unused")) == 0
    assert {c.description for c in of(day, category="Tax")} == {"Tax"}
    assert [c.billed_cost for c in of(day, category="Credit")] == [D("-9999.99")]
    block = of(day, sku="USE1-CapacityBlockFee:p5.48xlarge")
    assert {(c.description, c.category, c.component) for c in block} == {
        ("Upfront", "Purchase", "gpu"),
        ("Refund", "Purchase", "gpu"),
    }
    assert sum(c.billed_cost for c in block) == sum(c.effective_cost for c in block) == 0
    negated = of(day, description="SavingsPlanNegation")
    assert [(c.category, c.billed_cost, c.effective_cost) for c in negated] == [("Adjustment", -24 * D("98.32"), D(0))]


def test_resources_are_named_for_14_days_and_hours_are_hours(account: CostExplorer) -> None:
    store = Store()
    assert store.collect(account, NOW, tag="workload", resources=True, granularity="hourly") == []
    [hour] = of(store.charges["2026-11-19/detail"], resource="i-0b")[5:6]
    assert (hour.window.start, hour.window.seconds) == (at("2026-11-19T05:00:00"), HOUR)
    assert (hour.billed_cost, hour.effective_cost) == (D("98.32"), D("53.95"))
    assert not of(store.lines, resource="NoResourceId")
    assert "2026-11-06/detail" not in store.charges and "2026-11-07/detail" in store.charges
    assert of(store.day(at("2026-11-06")), sku=P5, category="Usage")[0].tags == (("workload", "chat"),)


@pytest.mark.parametrize(("net", "billed"), [("real", "2223.016"), ("missing", "2231.848"), ("zero", "2231.848")])
def test_net_costs_where_the_account_has_them(net: str, billed: str) -> None:
    day = at("2026-11-19")
    item = Item(day, D("2231.848"), D("2231.848"), discount=D("8.832") / D("2231.848"), tags=CHAT)
    with serving(CostExplorer(NOW, [item])) as account:
        account.net = net
        store = Store()
        store.collect(account, NOW, tag="workload")
        assert store.sums(day) == (D(billed), D(billed))


def test_a_partial_day_is_no_day(account: CostExplorer) -> None:
    """Days are delivered when they have passed, hours as far as they have."""
    store = Store()
    store.collect(account, NOW, tag="workload")
    assert not store.day(at("2026-11-20"))
    hourly = Store()
    hourly.collect(account, NOW, tag="workload", granularity="hourly")
    assert max(c.window.end for c in hourly.day(at("2026-11-20"))) == at("2026-11-20T13:00:00")


@pytest.mark.parametrize("mode", MODES, ids=str)
@pytest.mark.parametrize("factor", ["1.5", "0.25", "0"])
def test_a_restatement_replaces(account: CostExplorer, mode: dict[str, Any], factor: str) -> None:
    """Up, down and away, of days whose detail can still be read and of older ones."""
    store = Store()
    later = NOW + 9 * DAY
    store.collect(account, NOW, **mode)
    changed = {at("2026-11-09"), at("2026-11-18")}
    account.items = [
        replace(
            i, unblended=i.unblended * D(factor), amortized=i.amortized * D(factor), quantity=i.quantity * D(factor)
        )
        if i.hour - i.hour % DAY in changed
        else i
        for i in account.items
    ]
    if factor == "0":
        account.items = [i for i in account.items if i.unblended or i.amortized]
    assert store.collect(account, later, **mode) == []
    for day in closed_days(account):
        if day >= at("2026-11-01"):
            truth = account.total(day, "NetUnblendedCost"), account.total(day, "NetAmortizedCost")
            assert store.sums(day) == truth
    for day in changed:
        assert factor != "0" or store.sums(day) == (0, 0)
    if "detail" in " ".join(store.cursors):
        assert of(store.day(at("2026-11-09")), charge_class="Correction")
        assert not of(store.day(at("2026-11-18")), charge_class="Correction")


@pytest.mark.parametrize("before", MODES, ids=str)
@pytest.mark.parametrize("after", MODES, ids=str)
def test_a_changed_configuration_counts_nothing_twice(
    account: CostExplorer, before: dict[str, Any], after: dict[str, Any]
) -> None:
    store = Store()
    store.collect(account, NOW, **before)
    later = NOW + 10 * DAY
    assert store.collect(account, later, **after) == []
    for day in closed_days(account):
        assert store.sums(day) == (account.total(day, "NetUnblendedCost"), account.total(day, "NetAmortizedCost"))


def test_another_accounts_bill_is_left_out(account: CostExplorer) -> None:
    day = at("2026-11-19")
    account.items += [replace(item, account="999988887777") for item in one_day(day)]
    store = Store()
    store.collect(account, NOW, tag="workload", accounts=("111122223333",))
    assert store.sums(day)[0] == account.total(day, "NetUnblendedCost", account="111122223333")
    assert {c.account for c in store.lines} == {"111122223333"}


def test_the_currency_is_the_accounts(account: CostExplorer) -> None:
    account.currency = "EUR"
    store = Store()
    store.collect(account, NOW)
    assert {charge.currency for charge in store.lines} == {"EUR"}


RECORDS = ("Usage", "DiscountedUsage", "SavingsPlanCoveredUsage", "SavingsPlanNegation", "Recurring", "Fee", "Tax")
MORE = ("Credit", "Refund", "Upfront", "SavingsPlanUpfrontFee", "SavingsPlanRecurringFee", "Bundled Discount", "New")
cents = st.decimals(min_value=-(10**6), max_value=10**6, places=10, allow_nan=False, allow_infinity=False)
items = st.builds(
    Item,
    hour=st.integers(at("2026-11-01") // HOUR, at("2026-11-20") // HOUR - 1).map(lambda hour: hour * HOUR),
    unblended=cents,
    amortized=cents,
    record=st.sampled_from(RECORDS + MORE),
    usage_type=st.sampled_from((P5, G5, "", "APS3-CapacityBlockFee:p5.48xlarge", "EUC1-EBS:VolumeUsage.gp3", "$")),
    service=st.sampled_from((EC2, "EC2 - Other", "AWS Tax")),
    resource=st.sampled_from(("", "i-1", "i-2")),
    tags=st.sampled_from(({}, CHAT, {"workload": "a$b"})),
    unit=st.sampled_from(("Hrs", "GB", "")),
)


@given(bill=st.lists(items, max_size=40), mode=st.sampled_from(MODES), page_size=st.integers(1, 30))
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_is_billed_every_day_sums_to_the_truth(bill: list[Item], mode: dict[str, Any], page_size: int) -> None:
    with serving(CostExplorer(NOW, bill)) as account:
        account.page_size = page_size
        store = Store()
        assert store.collect(account, NOW, monthly_budget_usd=D("100"), **mode) == []
        for day in range(at("2026-11-01"), at("2026-11-20"), DAY):
            assert store.sums(day) == (account.total(day, "UnblendedCost"), account.total(day, "AmortizedCost"))


def test_money_is_decimal_and_windows_stay_in_their_day(account: CostExplorer) -> None:
    store = Store()
    store.collect(account, NOW, granularity="hourly")
    for part, charges in store.charges.items():
        day = at(part.partition("/")[0])
        assert re.fullmatch(r"\d{4}-\d\d-\d\d(/detail)?", part)
        for charge in charges:
            assert isinstance(charge.billed_cost, Decimal) and isinstance(charge.effective_cost, Decimal)
            assert day <= charge.window.start < charge.window.end <= day + DAY
