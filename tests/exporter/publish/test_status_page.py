"""The status page: what it says, and that nothing from outside can become markup."""

import html
import re
import typing
from dataclasses import replace
from decimal import Decimal

import pytest

from exporter.publish import text
from exporter.publish.advice import advice
from exporter.publish.state import PublishState
from exporter.publish.status_page import render
from exporter.publish.view import status_view
from exporter.publish.views import Tone
from exporter.reconcile.report import CollectorHealth, Decision, Status, WorkloadReport
from tests.exporter.publish.states import EXPORTER, NOW, installation, many

EVIL = """<script>alert(1)</script>"><img src=x onerror='y'>{{ 7331*1337 }}"""


def words(page: str) -> str:
    """The page as read: without tags, styles and runs of space."""
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<style>.*?</style>|<[^>]*>", " ", page, flags=re.DOTALL)))


def test_a_workload_on_the_dearer_side_says_all_that_matters() -> None:
    page = words(render(installation()))
    for said in (
        "chat self-hosted API cheaper for 2 d 4 h $0.948 $0.180 api:together/meta-llama/Llama-3.1-8B-Instruct-Turbo",
        "$6,318 by moving 98.2 % billed 34.5 % configured 65.5 %",
        "$451.90 lost since the crossing. What to do: Check coverage and evidence first",
        "status since 2026-11-18 19:00 UTC",
        "Break-even utilization 274.7 %",
    ):
        assert said in page


def test_dearer_workloads_come_first_then_unknown_ones() -> None:
    view = status_view(installation())
    assert [w.tone for w in view.workloads] == ["bad", "bad", "unknown", "unknown", "even", "good", "good"]
    assert [(tile.label, tile.value) for tile in view.tiles] == [
        ("On the dearer side", "2"), ("On the cheaper side", "2"), ("Break-even", "1"), ("Unknown", "2"),
        ("Collectors", "4 / 5"),
    ]  # fmt: skip
    assert view.tiles[0].note == "up to $13,530 a month to save"


def test_every_colour_has_a_style() -> None:
    page = render(installation())
    for tone in typing.get_args(Tone):
        assert not tone or f".badge.{tone}" in page


def test_collectors_show_age_and_last_error() -> None:
    page = words(render(installation()))
    assert "cloud-bill focus Failing 14 h ago 2026-11-19 09:00 UTC 1 d 14 h ago 6 h 12.7 s 30 ok, 1 failed" in page
    assert "31 min ago: /exports/focus/2026-11.csv.gz: truncated gzip stream" in page
    assert "reranker-engine vllm Starting never" in page


def test_bills_add_up_on_the_page() -> None:
    page = words(render(installation()))
    assert (
        "cloud-bill 7d, billed basis usage $3,301.92 unallocated $100.00 credits \N{MINUS SIGN}$66.59 total $3,335.33"
        in page
    )


def test_nothing_from_outside_becomes_markup() -> None:
    state = installation()
    assert state.report
    workloads = tuple(replace(workload, workload=EVIL) for workload in state.report.workloads)
    bills = tuple(replace(bill, collector=EVIL, parts={EVIL: {EVIL: Decimal(1)}}) for bill in state.report.bills)
    collectors = (
        CollectorHealth(EVIL, EVIL, False, 60, rejected={EVIL: 1}, last_error=EVIL, last_error_at=float(NOW)),
    )
    report = replace(state.report, workloads=workloads, bills=bills)
    page = render(PublishState(report, (), collectors, replace(EXPORTER, version=EVIL, role=EVIL)))
    assert "<script" not in page and "<img" not in page and str(7331 * 1337) not in page
    assert words(page).count(EVIL) >= len(workloads) + 8


REASONS = (
    "coverage",
    "unpriced",
    "no_price",
    "too_young",
    "idle",
    "no_cost",
    "no_alternative",
    "no_plan",
    "no_usage",
    "x",
)


@pytest.mark.parametrize("reason", REASONS)
def test_every_unknown_status_says_what_to_do(reason: str) -> None:
    workload = WorkloadReport("w", "api", 0, {}, None)
    said = advice(workload, Decision("api:x", True, Status("unknown", NOW, reason)))
    assert said.why.endswith(".") and said.to_do.endswith(".")


def test_a_workload_without_anything_known_is_shown_with_dashes() -> None:
    state = PublishState(None, (), (), EXPORTER)
    assert "No workload has been seen yet" in render(state) and "No collector is configured" in render(state)
    unknown = next(w for w in status_view(installation()).workloads if w.name == "qwen3-coder")
    assert (unknown.effective, unknown.saving, unknown.coverage, unknown.facts) == ("–", "–", "–", ())
    assert "A rate card or a bill names this workload" in unknown.advice.why


@pytest.mark.parametrize(
    ("health", "warning"),
    [
        (replace(EXPORTER, ledger_writable=False), "The ledger cannot be written"),
        (replace(EXPORTER, config_reload_successful=False), "The last configuration was refused"),
        (replace(EXPORTER, ledger_quarantines=1), "A damaged ledger was set aside"),
        (replace(EXPORTER, leader=False), "This instance follows another one"),
    ],
)
def test_trouble_of_the_exporter_itself_is_on_top(health: object, warning: str) -> None:
    assert warning in words(render(replace(installation(), exporter=health)))  # type: ignore[type-var]  # of EXPORTER
    assert warning not in words(render(installation()))


def test_a_page_of_a_thousand_workloads_stays_small() -> None:
    assert len(render(many(1000))) < 4_000_000


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (text.usd(Decimal("1234567.8")), "$1,234,568"),
        (text.usd(Decimal("-12.345")), "\N{MINUS SIGN}$12.34"),
        (text.usd(Decimal("0.012345")), "$0.0123"),
        (text.usd(Decimal(0)), "$0.00"),
        (text.usd(None), "–"),
        (text.usd_per_million(Decimal("0.00000018")), "$0.180"),
        (text.usd_per_million(Decimal("0.0000025")), "$2.50"),
        (text.usd_per_million(Decimal("0.0000125")), "$12.50"),
        (text.usd_per_million(Decimal(0)), "$0.00"),
        (text.percent(Decimal("0.99999")), "> 99.9 %"),
        (text.percent(Decimal("0.0001")), "< 0.1 %"),
        (text.percent(Decimal(1)), "100 %"),
        (text.percent(Decimal("2.7471")), "274.7 %"),
        (text.count(999), "999"),
        (text.count(1_893_567_251), "1.9 billion"),
        (text.span(59), "59 s"),
        (text.span(3 * 3600 + 60), "3 h 1 min"),
        (text.span(-5), "0 s"),
        (text.duration(0.0183), "18 ms"),
        (text.ago(None, 1.0), "never"),
        (text.ratio(Decimal("0.1898")), "0.19"),
    ],
)
def test_figures_as_people_read_them(shown: str, expected: str) -> None:
    assert shown == expected
