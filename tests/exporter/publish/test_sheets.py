"""Page after page from what is kept of the last one, against each page made from nothing."""

import gzip
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.publish.page import Renderer, render
from exporter.publish.rows import SampleError
from exporter.publish.samples import Gatherer, samples
from exporter.publish.state import PublishState
from exporter.reconcile.report import WorkloadReport
from tests.exporter.publish.states import installation, many

STATES = {"many": many(6), "installation": installation(), "short windows": many(4, ("1h", "mtd"))}


def changed(report: WorkloadReport, by: int) -> WorkloadReport:
    """Another cost in every window; at 0 the same report."""
    if by == 0:
        return report
    windows = {
        name: figures._replace(cost_usd=(figures.cost_usd or Decimal(0)) + by, usd_per_token=Decimal(by) / 7)
        for name, figures in report.windows.items()
    }
    return replace(report, windows=windows, capacity_samples=None if by == 1 else by)


@st.composite
def courses(draw: st.DrawFn) -> Iterator[tuple[PublishState, int]]:
    """Some states in a row and their series budgets: workloads come, go, change, stay, and lose their names."""
    states = []
    for _ in range(draw(st.integers(2, 5))):
        state = STATES[draw(st.sampled_from(sorted(STATES)))]
        assert state.report
        reports = [one for one in state.report.workloads if draw(st.integers(0, 4))]
        reports = [changed(one, draw(st.integers(0, 2))) for one in reports]
        counters = [one for one in state.counters if draw(st.integers(0, 9))]
        shown = replace(state.report, workloads=tuple(draw(st.permutations(reports))))
        states.append((replace(state, report=shown, counters=counters), draw(st.sampled_from((2, 100)))))
    return iter(states)


@given(courses())
@settings(max_examples=60, deadline=None)
def test_a_page_does_not_depend_on_the_pages_before_it(states: Iterator[tuple[PublishState, int]]) -> None:
    gather, show = Gatherer(), Renderer()
    for state, budget in states:
        kept, fresh = gather(state, budget), samples(state, budget)
        assert [(one.family, one.samples) for one in kept] == [(one.family, one.samples) for one in fresh]
        assert all(one.samples == sorted(one.samples) for one in kept)
        page, expected = show(kept, 1.0), render(fresh, 1.0)
        assert (page.text, page.openmetrics) == (expected.text, expected.openmetrics)
        assert gzip.decompress(page.text_gzip) == page.text
        assert gzip.decompress(page.openmetrics_gzip) == page.openmetrics


def test_what_did_not_change_is_the_same_object() -> None:
    gather, state = Gatherer(), many(3)
    assert state.report
    one, *others = state.report.workloads
    moved = replace(changed(one, 2), capacity_samples=one.capacity_samples)
    first = {family.family.name: family.blocks for family in gather(state, 9)}
    later = replace(state, report=replace(state.report, workloads=(moved, *others)))
    again = {family.family.name: family.blocks for family in gather(later, 9)}
    same = {name: [a is b for a, b in zip(first[name], blocks, strict=True)] for name, blocks in again.items()}
    assert sorted(same["llmcost_effective_usd_per_token"]) == [False, True, True]
    assert same["llmcost_window_tokens"] == [True, True, True]


def test_a_workload_that_is_there_twice_is_an_error_and_the_next_page_is_well() -> None:
    gather, state = Gatherer(), many(3)
    assert state.report
    expected = [one.samples for one in gather(state, 9)]
    twice = replace(state.report, workloads=(*state.report.workloads, state.report.workloads[0]))
    with pytest.raises(SampleError, match="workload-0 on the path self_hosted: given twice"):
        gather(replace(state, report=twice), 9)
    assert [one.samples for one in gather(state, 9)] == expected
