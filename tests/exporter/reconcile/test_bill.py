"""The bill's identities hold to the smallest unit, on every recorded bill, for every split; and whose a line is."""

import itertools
from collections.abc import Iterable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.billing.focus import FocusSettings
from collectors.billing.focus_rows import read_rows
from collectors.records import DAY, Batch, Card, Charge, Window
from exporter.config import Config, Workload
from exporter.ledger.snapshot import BillLine
from exporter.ledger.store import Ledger
from exporter.reconcile.bill import (
    BASES,
    BILLED_PARTS,
    EFFECTIVE_PARTS,
    EXACT,
    BillParts,
    bill_parts,
    bill_reports,
    by_day,
    gathered,
    share,
    states_of,
    window_parts,
)
from exporter.reconcile.bill_match import BillMatcher, scope_of
from exporter.reconcile.billing import matched
from exporter.reconcile.report import BillReport
from tests.collectors.billing.bills import NOW, RECORDED, collector, deliver
from tests.collectors.billing.bills import line as row_of

MAY = 1777593600
WORKLOADS = (
    Workload("chat", match={"team": "chat"}),
    Workload("platform", match={}, match_bill={"Owner": "team-platform", "provider": "AWS"}),
    Workload("lab", match={"environment": "dev"}),
)
NAMES = {"billed": set(BILLED_PARTS), "effective": set(EFFECTIVE_PARTS)}


def bill(charges: Iterable[Charge], collector: str = "bill") -> list[BillLine]:
    return [BillLine(collector, "part", charge) for charge in charges]


def charge(billed: str = "1", effective: str | None = None, window: Window | None = None, **more: Any) -> Charge:
    plain = Charge(window or Window(MAY, MAY + 3600), "Usage", "USD", Decimal(billed), Decimal(effective or billed))
    return replace(plain, **more)


def total(amounts: Iterable[Decimal]) -> Decimal:
    found = Decimal(0)
    for amount in amounts:
        found = EXACT.add(found, amount)
    return found


def one(found: dict[tuple[str, str], BillParts]) -> BillParts:
    (parts,) = found.values()
    return parts


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.name)
def test_both_identities_hold_on_every_recorded_bill(path: Path) -> None:
    lines = bill(row.charge for row in read_rows(path))
    config = Config(
        workloads=WORKLOADS,
        collectors=(FocusSettings("bill", "focus", "x", scope={"service": "[!V]*"}),),
    )
    days = bill_parts(lines, BillMatcher(WORKLOADS, {}), scope_of(config))
    for currency in {line.charge.currency for line in lines}:
        mine = [line.charge for line in lines if line.charge.currency == currency]
        stated = {
            "billed": total(c.billed_cost for c in mine),
            "effective": total(c.effective_cost for c in mine),
        }
        for basis in BASES:
            parts = [day.parts[basis] for (_, _, code), day in days.items() if code == currency]
            assert total(amount for day in parts for amount in day.values()) == stated[basis]
            assert {part for day in parts for part in day} <= NAMES[basis]
    for day in days.values():
        for basis in BASES:
            assert total(day.parts[basis].values()) == day.totals[basis]
            assert total(day.unallocated[basis].values()) == day.parts[basis].get("unallocated", 0)


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.name)
def test_windows_that_adjoin_add_up_to_the_bill(path: Path) -> None:
    lines = bill(row.charge for row in read_rows(path))
    match = BillMatcher(WORKLOADS, {})
    first = min(line.charge.window.start for line in lines)
    last = max(line.charge.window.end for line in lines) + 1
    edges = [first, first + 1, first + 12345, first + 40 * DAY + 7, max(last, first + 41 * DAY)]
    windows = [window_parts(gathered(lines, match), Window(a, b)) for a, b in itertools.pairwise(edges)]
    whole = window_parts(gathered(lines, match), Window(first, edges[-1]))
    for key, sums in whole.items():
        for basis in BASES:
            for part, amount in sums.parts[basis].items():
                pieces = [w[key].parts[basis].get(part, Decimal(0)) for w in windows if key in w]
                assert total(pieces) == amount


amounts = st.decimals(-(10**9), 10**9, allow_nan=False, places=14) | st.decimals(-5, 5, allow_nan=False, places=2)
spans = st.builds(lambda start, seconds: Window(start, start + seconds), st.integers(0, 10**9), st.integers(0, 10**7))


@given(amounts, spans)
def test_the_days_of_a_charge_add_up_to_it(amount: Decimal, charged: Window) -> None:
    days = list(by_day(amount, charged))
    assert total(piece for _, piece in days) == amount
    assert [day for day, _ in days] == list(range(days[0][0], days[-1][0] + 1, DAY))
    assert days[0][0] <= charged.start < days[0][0] + DAY
    smallest = Decimal(1).scaleb(min(-9, int(amount.as_tuple().exponent)))
    for day, piece in days:
        seconds = min(charged.end, day + DAY) - max(charged.start, day)
        if charged.seconds:
            assert abs(piece - amount * seconds / charged.seconds) <= smallest
        assert EXACT.remainder(piece, smallest) == 0


@given(amounts, spans, st.lists(st.integers(-100, 10**9 + 10**7), min_size=1, max_size=8))
def test_the_windows_of_a_charge_add_up_to_it(amount: Decimal, charged: Window, cuts: list[int]) -> None:
    edges = sorted({*cuts, charged.start - 1, charged.end + 1})
    pieces = [share(amount, charged, Window(a, b)) for a, b in itertools.pairwise(edges)]
    assert total(pieces) == amount


lines_strategy = st.lists(
    st.builds(
        lambda billed, effective, window, category, status, currency, team: charge(
            str(billed),
            str(effective),
            window,
            category=category,
            commitment_status=status,
            currency=currency,
            tags=(("team", team),) if team else (),
        ),
        amounts,
        amounts,
        st.builds(lambda start, seconds: Window(start, start + seconds), st.integers(0, 10**6), st.integers(0, 10**6)),
        st.sampled_from(["Usage", "Purchase", "Tax", "Credit", "Adjustment"]),
        st.sampled_from(["", "Used", "Unused"]),
        st.sampled_from(["USD", "EUR", ""]),
        st.sampled_from(["", "chat", "other"]),
    ),
    max_size=8,
)


@given(lines_strategy)
def test_any_bill_is_laid_out_without_rest_and_currencies_are_never_added(charges: list[Charge]) -> None:
    days = bill_parts(bill(charges), BillMatcher(WORKLOADS, {}))
    for currency in {"USD", "EUR", ""}:
        mine = [c for c in charges if c.currency == currency]
        for basis, stated in (
            ("billed", [c.billed_cost for c in mine]),
            ("effective", [c.effective_cost for c in mine]),
        ):
            parts = [day.parts[basis] for (_, _, code), day in days.items() if code == currency]
            assert total(amount for day in parts for amount in day.values()) == total(stated)


Category = Literal["Usage", "Purchase", "Tax", "Credit", "Adjustment"]


@pytest.mark.parametrize(
    ("category", "status", "tag", "billed", "effective"),
    [
        ("Usage", "", "chat", "usage", "allocated"),
        ("Usage", "Used", "chat", "usage", "allocated"),
        ("Usage", "Unused", "chat", "usage", "commitment_unused"),
        ("Usage", "", "other", "unallocated", "unallocated"),
        ("Purchase", "", "chat", "purchase", "unallocated"),
        ("Tax", "", "chat", "tax", "adjustment"),
        ("Credit", "", "chat", "credits", "adjustment"),
        ("Adjustment", "", "chat", "adjustment", "adjustment"),
    ],
)
def test_a_line_is_in_one_part_per_basis(
    category: Category, status: str, tag: str, billed: str, effective: str
) -> None:
    line = charge("-3", "2", category=category, commitment_status=status, tags=(("team", tag),))
    (parts,) = bill_parts(bill([line]), BillMatcher(WORKLOADS, {})).values()
    assert parts.parts == {"billed": {billed: Decimal(-3)}, "effective": {effective: Decimal(2)}}


def test_a_match_may_name_a_part_of_its_own() -> None:
    lines = bill([charge("3")])
    for part in ("idle", "overhead", "starting"):
        (parts,) = bill_parts(lines, lambda line, part=part: (None, part)).values()
        assert parts.parts == {"billed": {"usage": Decimal(3)}, "effective": {part: Decimal(3)}}


def test_what_is_not_allocated_says_why() -> None:
    charges = [
        charge("1", tags=(("team", "?"),), resource="i-1"),
        charge("2", tags=(("team", "?"),)),
        charge("4", resource="i-1"),
        charge("8", category="Purchase"),
    ]
    (parts,) = bill_parts(bill(charges), BillMatcher(WORKLOADS, {})).values()
    reasons = {"unknown_resource": 1, "no_resource": 2, "missing_tag": 4}
    assert parts.unallocated == {"billed": reasons, "effective": {**reasons, "purchase": 8}}


def test_lines_out_of_scope_are_a_part_and_no_workloads() -> None:
    config = Config(
        workloads=WORKLOADS,
        collectors=(FocusSettings("bill", "focus", "x", scope={"service": "Amazon*", "team": "chat"}),),
    )
    mine = charge("1", service="AmazonEC2", tags=(("team", "chat"),))
    other = charge("2", service="Databricks", tags=(("team", "chat"),), category="Tax")
    lines = bill([mine, other])
    (parts,) = bill_parts(lines, BillMatcher(WORKLOADS, {}), scope_of(config)).values()
    assert parts.parts["billed"] == {"usage": 1, "out_of_scope": 2}
    assert matched(lines, config, {}).claimed == {"chat": lines[:1]}
    elsewhere = bill([charge("2", service="Databricks")], collector="another")
    assert scope_of(config)(elsewhere[0])


def card(workload: str, resource: str, start: int | None = None, end: int | None = None) -> Card:
    return Card("gpus", workload, "gpu", Decimal(2), "USD", Decimal(1), start=start, end=end, resources=(resource,))


def test_a_card_that_lists_the_resource_comes_first_while_it_holds() -> None:
    cards = {
        "a": card("ended", "i-1", end=MAY),
        "b": card("now", "i-1", start=MAY),
        "c": card("later", "i-1", MAY + 3600),
    }
    line = bill([charge(resource="i-1", tags=(("team", "chat"),))])[0]
    assert BillMatcher(WORKLOADS, cards)(line) == ("now", "")
    assert BillMatcher(WORKLOADS, {"a": cards["a"], "c": cards["c"]})(line) == ("chat", "")
    instant = bill([charge(resource="i-1", window=Window(MAY, MAY))])[0]
    assert BillMatcher((), cards)(instant) == ("now", "")


def test_globs_on_columns_and_tags_then_tags_alone() -> None:
    by_bill = Workload(
        "by-bill", match={"model": "m"}, match_bill={"resource": "i-*", "team": "ch?t", "collector": "b*"}
    )
    by_model = Workload("by-model", match={"model": "*"})
    lines = bill([charge(resource="i-1", tags=(("team", "chat"),)), charge(tags=(("model", "m"), ("team", "chat")))])
    assert BillMatcher((by_model, WORKLOADS[0], by_bill), {})(lines[0]) == ("by-bill", "")
    assert BillMatcher((by_bill, by_model, WORKLOADS[0]), {})(lines[1]) == ("by-model", "")
    assert BillMatcher((by_model,), {})(bill([charge(sku="model")])[0]) == (None, "missing_tag")


def test_only_usage_is_a_workloads() -> None:
    for line in (charge(category="Tax"), charge(category="Purchase"), charge(commitment_status="Unused")):
        tagged = bill([replace(line, tags=(("team", "chat"),), resource="i-1")])[0]
        assert BillMatcher(WORKLOADS, {"a": card("now", "i-1")})(tagged) == (None, "not_usage")


def test_the_same_resource_may_change_hands() -> None:
    cards = {"a": card("first", "i-1", end=MAY + 3600), "b": card("second", "i-1", start=MAY + 3600)}
    match = BillMatcher((), cards)
    hours = bill(charge(resource="i-1", window=Window(MAY + n * 3600, MAY + (n + 1) * 3600)) for n in range(2))
    assert [match(line) for line in hours] == [("first", ""), ("second", "")]


def test_a_report_is_in_usd_and_absent_without_a_rate() -> None:
    lines = [
        *bill([charge("1", currency="EUR"), charge("2"), charge("-0.5", category="Credit")], "mixed"),
        *bill([charge("1", currency="JPY")], "unknown"),
        *bill([charge("3", currency="JPY"), charge("4"), charge("5", currency="EUR")], "partly"),
        *bill([charge("1", window=Window(MAY - DAY, MAY - DAY + 3600))], "old"),
    ]
    fx = {"USD": Decimal(1), "EUR": Decimal("1.08")}
    parts, states = gathered(lines, BillMatcher((), {})), states_of(lines, MAY + DAY)
    found = bill_reports(parts, states, fx, {"24h": MAY, "7d": MAY - 7 * DAY}, MAY + DAY)
    assert [(report.collector, report.window, report.billed_usd) for report in found] == [
        ("mixed", "24h", Decimal("2.58")),
        ("partly", "24h", None),
        ("unknown", "24h", None),
        ("mixed", "7d", Decimal("2.58")),
        ("old", "7d", Decimal(1)),
        ("partly", "7d", None),
        ("unknown", "7d", None),
    ]
    assert found[0].parts["billed"] == {"unallocated": Decimal("3.08"), "credits": Decimal("-0.5")}
    assert found[0].parts["effective"] == {"unallocated": Decimal("3.08"), "adjustment": Decimal("-0.5")}
    assert found[0].states == {"provisional": Decimal("2.58")}
    assert found[1].parts == {"billed": {"unallocated": Decimal("9.4")}, "effective": {"unallocated": Decimal("9.4")}}
    assert found[1].states == {"provisional": Decimal("9.4")}
    assert [report.no_exchange_rate for report in found] == [(), ("JPY",), ("JPY",), (), (), ("JPY",), ("JPY",)]
    assert found[2] == BillReport("unknown", "24h", None, {}, no_exchange_rate=("JPY",))


def test_a_window_takes_its_share_of_a_long_charge() -> None:
    year = bill([charge("365", window=Window(MAY, MAY + 365 * DAY), tags=(("team", "chat"),))])
    match = BillMatcher(WORKLOADS, {})
    assert one(window_parts(gathered(year, match), Window(MAY + DAY, MAY + 8 * DAY))).totals["billed"] == 7
    assert window_parts(gathered(year, match), Window(MAY - DAY, MAY)) == {}
    assert len(bill_parts(year, match)) == 365


def test_the_ledger_holds_the_newest_delivery_and_forgets_one_that_is_gone(tmp_path: Path) -> None:
    month = [row_of("1.50", "i-1"), row_of("2.25", "i-2"), row_of("-0.10", "i-3", day=2)]
    ledger = Ledger(tmp_path / "ledger.db", NOW)
    try:
        for at, (name, rows) in enumerate([("a.csv", month), ("b.csv", month), ("c.csv", month[1:]), ("c.csv", [])]):
            for old in tmp_path.glob("*.csv"):
                old.unlink()
            deliver(tmp_path / name, rows, at=1000 + at)
            for batch in collector(tmp_path / "*.csv").collect(NOW, ledger.cursors("bill")):
                assert isinstance(batch, Batch)
                ledger.commit("bill", batch, NOW)
            held = sorted(str(kept.charge.billed_cost) for kept in ledger.snapshot().bill)
            assert held == sorted(row["BilledCost"] for row in rows)
        assert ledger.cursors("bill") == {}
    finally:
        ledger.close()
