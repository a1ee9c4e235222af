"""From state to samples: nothing twice, nothing made up, sums the same with and without the series budget."""

from collections import defaultdict
from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.publish.families import BY_NAME, FAMILIES
from exporter.publish.rows import FamilySamples, Rows, SampleError
from exporter.publish.samples import beyond_budget, samples
from exporter.publish.state import CounterValue, PublishState
from exporter.reconcile.report import STATUSES, CollectorHealth, Decision, Status
from tests.exporter.publish.states import EXPORTER, NOW, installation, many


def values(families: list[FamilySamples]) -> dict[tuple[str, tuple[str, ...]], float]:
    return {(f.family.name, sample.labels): sample.value for f in families for sample in f.samples}


def test_every_sample_fits_its_family_and_is_there_once() -> None:
    found = samples(installation(), 200)
    pairs = [(f.family.name, s.labels) for f in found for s in f.samples]
    assert len(pairs) == len(set(pairs))
    assert all(len(sample.labels) == len(f.family.labels) for f in found for sample in f.samples)
    assert all(isinstance(sample.value, float) for f in found for sample in f.samples)
    assert [f.family for f in found] == [family for family in FAMILIES if family in {f.family for f in found}]


def test_an_installation_uses_every_family() -> None:
    assert {f.family.name for f in samples(installation(), 200)} == set(BY_NAME)


def test_decimals_become_the_nearest_float() -> None:
    shown = values(samples(installation(), 200))
    cost = shown["llmcost_cost_usd_total", ("chat", "self_hosted", "gpu")]
    assert cost == float(Decimal("2031.8400000000000001"))


def test_the_status_is_one_for_the_current_one_and_zero_for_the_others() -> None:
    shown = values(samples(installation(), 200))
    chat = {
        labels[3]: value
        for (name, labels), value in shown.items()
        if name == "llmcost_break_even_status" and labels[0] == "chat"
    }
    assert chat == {status: float(status == "api_cheaper") for status in STATUSES}


def test_what_is_unknown_is_absent() -> None:
    shown = values(samples(installation(), 200))
    assert not [labels for _, labels in shown if labels[:1] == ("qwen3-coder",)]
    assert ("llmcost_saving_usd_per_month", ("llm-prod/reranker", "self_hosted", "api:aws/nova")) not in shown
    bare = values(samples(PublishState(None, (), (), replace(EXPORTER, ledger_size_bytes=None, price_book_at=None)), 9))
    assert not [name for name, _ in bare if not name.startswith("llmcost_exporter_")]
    assert ("llmcost_exporter_ledger_size_bytes", ()) not in bare


def test_a_collector_that_never_ran_is_there_at_zero() -> None:
    shown = values(samples(PublishState(None, (), (CollectorHealth("bill", "focus", False, 60),), EXPORTER), 9))
    for what in ("success", "duration_seconds", "last_success_timestamp_seconds", "complete_through_timestamp_seconds"):
        assert shown[f"llmcost_exporter_collector_{what}", ("bill",)] == 0


def test_a_fixed_cost_on_both_paths_is_published_once() -> None:
    state = installation()
    assert state.report
    chat = state.report.workloads[0]
    twice = replace(state.report, workloads=(chat, replace(chat, path="api", decisions=())))
    shown = values(samples(replace(state, report=twice, counters=()), 9))
    assert shown["llmcost_fixed_usd_per_month", ("chat",)] == 4287


@pytest.mark.parametrize(
    ("name", "labels", "message"),
    [
        ("llmcost_nonsense", (), "llmcost_nonsense: not in the table"),
        ("llmcost_late_tokens_total", (), "llmcost_late_tokens_total: expected the labels"),
        ("llmcost_late_tokens_total", ("a", "b"), "llmcost_late_tokens_total: expected the labels"),
        (
            "llmcost_late_tokens_total",
            ("gateway",),
            r"llmcost_late_tokens_total: given twice for \{'collector': 'gateway'\}",
        ),
    ],
)
def test_a_malformed_or_repeated_sample_is_an_error(name: str, labels: tuple[str, ...], message: str) -> None:
    state = installation()
    wrong = replace(state, counters=(*state.counters, CounterValue(name, labels, 1, 0.0)))
    with pytest.raises(SampleError, match=message):
        samples(wrong, 200)


def test_a_repetition_among_folded_workloads_is_an_error() -> None:
    rows = Rows(folded=("a",))
    for name in ("llmcost_window_tokens", "llmcost_break_even_status"):
        rows.add(name, ("a", "api", "x", "y"), 1)
        with pytest.raises(SampleError, match="given twice"):
            rows.add(name, ("a", "api", "x", "y"), 1)


def test_two_primary_alternatives_of_one_name_are_an_error() -> None:
    state = installation()
    assert state.report
    decision = Decision("api:x", True, Status("break_even", NOW))
    chat = replace(state.report.workloads[0], decisions=(decision, decision))
    with pytest.raises(SampleError, match="llmcost_break_even_status: given twice"):
        samples(replace(state, report=replace(state.report, workloads=(chat,))), 200)


def sums(families: list[FamilySamples]) -> dict[tuple[str, tuple[str, ...]], Decimal]:
    """Sums over workloads of every family that may be summed."""
    total: dict[tuple[str, tuple[str, ...]], Decimal] = defaultdict(Decimal)
    for f in families:
        if f.family.labels[:1] == ("workload",) and f.family.fold == "sum":
            for sample in f.samples:
                total[f.family.name, sample.labels[1:]] += Decimal(sample.value)
    return total


@given(budget=st.integers(0, 13))
def test_folding_keeps_sums_and_drops_what_does_not_add(budget: int) -> None:
    state = many(12)
    all_of_them, folded = samples(state, 12), samples(state, budget)
    whole = sums(all_of_them)
    assert sums(folded).keys() == whole.keys()
    for key, total in sums(folded).items():
        assert float(total) == pytest.approx(float(whole[key]), rel=1e-12)
    others = {f.family.name for f in folded for s in f.samples if s.labels[:1] == ("other",)}
    assert all(BY_NAME[name].fold == "sum" for name in others)
    assert bool(others) == (budget < 12)


def test_folded_series_are_counted_by_family() -> None:
    state = many(12)
    before = {f.family.name: len(f.samples) for f in samples(state, 12)}
    shown = values(samples(state, 9))
    for name, count in before.items():
        if BY_NAME[name].labels[:1] == ("workload",):
            assert shown["llmcost_exporter_folded_series", (name,)] == count / 4  # 3 of 12 workloads
    assert values(samples(state, 12))["llmcost_exporter_folded_series", ("llmcost_tokens_total",)] == 0


def test_names_are_kept_in_order_of_first_sight() -> None:
    state = many(12)  # the higher the number, the earlier it was first seen
    assert beyond_budget(state, 10) == {"team-0/workload-0", "team-1/workload-1", "other"}
    assert beyond_budget(state, 12) == set()


def test_a_name_once_kept_stays_whatever_is_found_later() -> None:
    state = many(12)
    assert state.report
    newcomer = replace(state.report.workloads[0], workload="old-backlog", first_seen=1)
    report = replace(state.report, workloads=(newcomer, *state.report.workloads))
    later = CounterValue("llmcost_cost_usd_total", ("newer", "api", "tokens"), 1, float(NOW))
    assert beyond_budget(replace(state, report=report), 12) == {"old-backlog", "other"}
    assert beyond_budget(replace(state, counters=(*state.counters, later)), 12) == {"newer", "other"}


def test_a_folded_counter_keeps_the_earliest_creation() -> None:
    folded = next(f for f in samples(many(5), 0) if f.family.name == "llmcost_tokens_total")
    assert {sample.labels[0] for sample in folded.samples} == {"other"}
    assert {sample.created for sample in folded.samples} == {NOW - 86400 - 4}
