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
from tests.exporter.publish.states import EXPORTER, LLAMA, NOW, figures, installation, many

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
    assert [w.tone for w in view.workloads] == ["bad", "bad", "unknown", "even", "good", "good"]
    assert [(tile.label, tile.value) for tile in view.tiles] == [
        ("On the dearer side", "2"), ("On the cheaper side", "2"), ("Break-even", "1"), ("Unknown", "1"),
        ("Not compared", "1"), ("Collectors", "4 / 5"),
    ]  # fmt: skip
    assert view.tiles[0].note == "up to $13,530 a month to save"


def undecided(name: str, reason: str, usd: int, alternative: str = "") -> WorkloadReport:
    """A workload that costs something and of which the status is unknown for `reason`."""
    decision = Decision(alternative, True, Status("unknown", None, reason))
    week = figures({}, {("gpu", "list"): str(usd)}, {})
    return WorkloadReport(name, "self_hosted", None, {"7d": week}, week, (decision,))


def with_workloads(*workloads: WorkloadReport) -> PublishState:
    state = installation()
    assert state.report
    return replace(state, report=replace(state.report, workloads=workloads))


def test_what_nothing_can_be_decided_about_does_not_alarm_and_comes_last() -> None:
    state = with_workloads(
        undecided("train", "no_usage", 7),
        undecided("bot", "no_plan", 9, "self_hosted:1xl4"),
        undecided("lost", "no_usage", 1, f"api:{LLAMA}"),  # somebody wants it compared, and its usage is missing
        undecided("odd", "no_alternative", 8),
        undecided("young", "too_young", 1, f"api:{LLAMA}"),
    )
    view = status_view(state)
    assert {
        tile.label: (tile.value, tile.tone) for tile in view.tiles if tile.label in ("Unknown", "Not compared")
    } == {
        "Unknown": ("2", "unknown"),
        "Not compared": ("3", ""),
    }
    assert [w.name for w in view.workloads] == ["lost", "young"]
    assert view.apart and [(w.name, w.apart, w.cost) for w in view.apart.workloads] == [
        ("bot", "no plan yet", "$9.00"), ("odd", "no alternative", "$8.00"), ("train", "no usage", "$7.00"),
    ]  # fmt: skip
    said = "3 workloads are not compared (1 no plan yet, 1 no alternative, 1 no usage); $24.00 together"
    page = render(state)
    assert words(page).index("young") < words(page).index(said) < words(page).index("Collector kind")
    assert "<details open>" in page


def test_many_workloads_that_are_not_compared_are_folded() -> None:
    state = with_workloads(*(undecided(f"ml/train-{i}", "no_usage", i) for i in range(150)))
    page = render(state)
    assert "150 workloads are not compared (150 no usage); $11,175 together" in words(page)
    assert "<details open>" not in page and len(page) < len(render(installation())) + 150 * 700


def test_nothing_is_said_of_workloads_apart_where_there_are_none() -> None:
    state = installation()
    assert state.report
    compared = with_workloads(*(w for w in state.report.workloads if w.workload != "qwen3-coder"))
    assert "ot compared" not in words(render(compared))


def test_every_colour_has_a_style() -> None:
    page = render(installation())
    for tone in typing.get_args(Tone):
        assert not tone or f".badge.{tone}" in page


def test_collectors_show_age_and_last_error() -> None:
    page = words(render(installation()))
    assert "cloud-bill focus Failing 14 h ago 2026-11-19 09:00 UTC 1 d 14 h ago 6 h 12.7 s 30 ok, 1 failed" in page
    assert "31 min ago: /exports/focus/2026-11.csv.gz: truncated gzip stream" in page
    assert "reranker-engine vllm Starting never" in page


def test_an_old_error_of_a_collector_that_works_is_told_for_a_day_and_softly() -> None:
    good = CollectorHealth("log", "usage_log", True, 60, last_success=NOW, last_error="disk gone")
    for age, shown in ((3 * 3600, "before: disk gone, 3 h ago"), (25 * 3600, "none")):
        page = render(replace(installation(), collectors=(replace(good, last_error_at=NOW + 12 - age),)))
        assert words(page).count("disk gone") == (shown != "none")
        assert f'<span class="soft">{shown}</span>' in page
    failing = replace(good, success=False, last_error_at=float(NOW))
    page = render(replace(installation(), collectors=(failing,)))
    assert '<span class="error">12 s ago: disk gone</span>' in page


def test_bills_add_up_on_the_page() -> None:
    page = words(render(installation()))
    assert (
        "cloud-bill 7d, billed basis usage $3,301.92 unallocated $100.00 credits \N{MINUS SIGN}$66.59 total $3,335.33"
        in page
    )


def test_one_window_of_the_bills_is_open_and_the_others_are_folded() -> None:
    state = installation()
    assert state.report
    (week,) = state.report.bills
    month = replace(week, window="mtd", waterfall={"metered_at_list": Decimal(3), "duplicates": Decimal("0.001")})
    bills = (replace(week, window="24h"), week, month)
    view = status_view(replace(state, report=replace(state.report, bills=bills)))
    assert [(one.window, one.totals) for one in view.bills] == [
        (window, "cloud-bill $3,335.33") for window in ("mtd", "7d", "24h")
    ]
    assert view.bills[0].bills[-1].parts == (("metered at list", "$3.00"),)  # a step of $0.00 says nothing
    page = render(replace(state, report=replace(state.report, bills=bills)))
    assert page.count('<details class="folded">') == 2
    assert status_view(state).bills[0].window == "7d"


def test_nothing_from_outside_becomes_markup() -> None:
    state = installation()
    assert state.report
    workloads = tuple(replace(workload, workload=EVIL) for workload in state.report.workloads)
    bills = tuple(replace(bill, collector=EVIL, parts={EVIL: {EVIL: Decimal(1)}}) for bill in state.report.bills)
    collectors = (
        CollectorHealth(EVIL, EVIL, False, 60, rejected={EVIL: 1}, last_error=EVIL, last_error_at=float(NOW)),
    )
    workloads += tuple(undecided(EVIL, "no_usage", i) for i in range(12))
    bills += tuple(replace(bill, window="24h") for bill in bills)
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


@pytest.mark.parametrize(("coverage", "real"), [("0", False), ("1", True)])
def test_figures_are_called_real_where_there_are_any(coverage: str, real: bool) -> None:
    window = figures({"input": 5}, {("gpu", "list"): "1"}, {}, coverage)
    for status in (Status("unknown", NOW, "too_young"), None):
        said = advice(WorkloadReport("w", "self_hosted", 0, {}, window), Decision("api:x", True, status))
        assert ("the figures shown are real" in said.to_do) == real
        assert said.why.startswith("There is not enough history yet" if real else "There are no figures yet")


def test_a_workload_without_anything_known_is_shown_with_dashes() -> None:
    state = PublishState(None, (), (), EXPORTER)
    assert "No workload has been seen yet" in render(state) and "No collector is configured" in render(state)
    apart = status_view(installation()).apart
    assert apart
    (unknown,) = apart.workloads
    assert unknown.name == "qwen3-coder"
    assert (unknown.effective, unknown.saving, unknown.coverage, unknown.facts) == ("–", "–", "–", ())
    assert "A rate card, a bill or pods with GPUs name this workload" in unknown.advice.why


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
