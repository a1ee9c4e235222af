"""Two bills that overlap: what both say counts once, and what only one of them says counts too."""

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.records import HOUR, Charge, Window
from exporter.config import Workload
from exporter.intervals import Intervals
from exporter.ledger.snapshot import BillLine
from exporter.reconcile.evidence import Costs, self_hosted_costs
from exporter.reconcile.overlap import rents_once
from exporter.reconcile.rents import Rent
from tests.exporter.cluster import bill, node, pod
from tests.exporter.cluster import line as node_line
from tests.exporter.test_pipeline_cluster import cluster, gpu_usd, parts

ALL = Intervals([(0, 100 * HOUR)])
ORDER = ("bill", "second")
TAGS = (("team", "chat"),)


def line(start: int, end: int, usd: object, resource: str = "", collector: str = "bill", **more: object) -> BillLine:
    cost = Decimal(str(usd))
    window = Window(start * HOUR, end * HOUR)
    fields: dict[str, object] = {"resource": resource, "component": "gpu", "provider": "aws", "account": "1", **more}
    return BillLine(collector, "p", Charge(window, "Usage", "USD", cost, cost, **fields))  # type: ignore[arg-type]


def costs(*lines: BillLine) -> Costs:
    return self_hosted_costs((), {}, lines, ALL, {"USD": Decimal(1)}, Decimal(0), 0, order=ORDER)


def total(*lines: BillLine, during: Intervals = ALL) -> float:
    return float(sum(costs(*lines).by(during).values()))


def test_a_line_by_tag_adds_what_an_earlier_bill_does_not_list() -> None:
    found = costs(line(0, 10, 50, "a"), line(0, 10, 100, collector="second"))
    assert sum(found.by(ALL).values()) == 100
    assert found.superseded_by(ALL) == {"second": 50}


def test_a_listed_resource_adds_nothing_to_an_earlier_line_by_tag() -> None:
    by_tag, listed = line(0, 10, 100), (line(0, 10, 50, "a", "second"), line(0, 10, 50, "b", "second"))
    assert total(by_tag, *listed) == 100
    assert total(by_tag, *listed, line(0, 10, 20, "c", "second")) == 120
    assert total(line(0, 10, 30), *listed) == 100


def test_what_one_bills_by_the_day_and_the_other_by_the_hour_is_the_same_money() -> None:
    hours = [line(hour, hour + 1, "12.5", "a", "second") for hour in range(8)]
    assert total(line(0, 24, 100), *hours) == pytest.approx(100)
    first = [replace(each, collector="bill") for each in hours]
    assert total(*first, line(0, 24, 100, collector="second")) == pytest.approx(100)
    assert total(*first, line(0, 24, 160, collector="second")) == pytest.approx(160)


def test_half_a_days_bill_takes_from_its_own_half() -> None:
    found = line(0, 12, 50, "a"), line(0, 24, 100, collector="second")
    assert total(*found, during=ALL.clip(0, 12 * HOUR)) == pytest.approx(50)
    assert total(*found) == pytest.approx(100)


@pytest.mark.parametrize(
    ("first", "later", "expected"),
    [
        ({"account": "1"}, {"account": "2"}, 150),
        ({"account": "1"}, {"account": ""}, 100),
        ({"account": ""}, {"account": "2"}, 100),
        ({"provider": "aws"}, {"provider": "AWS"}, 100),
        ({"provider": "aws"}, {"provider": "gcp"}, 150),
        ({"component": "egress"}, {"component": "gpu"}, 150),
    ],
)
def test_only_the_same_kind_of_charge_is_the_same(first: dict[str, str], later: dict[str, str], expected: int) -> None:
    assert total(line(0, 10, 50, "a", **first), line(0, 10, 100, collector="second", **later)) == expected


def test_what_is_taken_from_a_resource_is_taken_once() -> None:
    """`a` is on both bills: the later line by tag is for others."""
    found = line(0, 10, 50, "a"), line(0, 10, 60, "a", "second"), line(0, 10, 40, collector="second")
    assert total(*found) == 50 + 40
    assert total(*found, line(0, 10, 30, "b")) == 50 + 30 + (40 - 30)
    assert total(*found, line(0, 10, 70, "b")) == 50 + 70


def test_corrections_of_the_same_charge_count_once() -> None:
    both = [
        each
        for name in ORDER
        for each in (line(0, 10, 100, collector=name), line(0, 10, -10, collector=name, charge_class="Correction"))
    ]
    assert total(*both) == 90


amounts = st.integers(0, 50).map(lambda tenths: Decimal(tenths) / 10)
spans = st.tuples(st.integers(0, 12), st.integers(1, 12)).map(lambda one: (one[0], one[0] + one[1]))


def lines_of(collector: str, names: Sequence[str]) -> st.SearchStrategy[list[BillLine]]:
    one = st.tuples(spans, amounts, st.sampled_from(names))
    return st.lists(one, max_size=5).map(
        lambda found: [line(*span, usd, name, collector) for span, usd, name in found if usd]
    )


def usd(lines: Sequence[BillLine]) -> Decimal:
    return sum((each.charge.effective_cost for each in lines), Decimal(0))


@settings(max_examples=200, deadline=None)
@given(lines_of("bill", ("", "a")), lines_of("second", ("", "b")))
def test_two_bills_come_to_no_more_than_their_sum_and_no_less_than_the_larger(
    first: list[BillLine], later: list[BillLine]
) -> None:
    """Of resources that both list the first alone counts; here each lists its own."""
    found = costs(*first, *later)
    both, tiny = sum(found.by(ALL).values(), Decimal(0)), Decimal("1e-18")
    assert max(usd(first), usd(later)) - tiny <= both <= usd(first) + usd(later) + tiny
    assert abs(both + found.superseded_usd(ALL) - usd(first) - usd(later)) < tiny
    assert set(found.superseded_by(ALL)) <= {"second"}


@settings(max_examples=100, deadline=None)
@given(lines_of("bill", ("", "a", "b")), st.booleans(), st.randoms(use_true_random=False))
def test_equal_bills_count_once_in_any_order(lines: list[BillLine], by_tag: bool, random: object) -> None:
    """Also where one of them names no resources."""
    other = [replace(each, collector="second") for each in lines]
    if by_tag:
        other = [replace(each, charge=replace(each.charge, resource="")) for each in other]
    found = [*lines, *other]
    random.shuffle(found)  # type: ignore[attr-defined]
    assert total(*found) == pytest.approx(float(usd(lines)))
    back = [replace(each, collector={"bill": "second", "second": "bill"}[each.collector]) for each in found]
    assert total(*back) == pytest.approx(float(usd(lines)))


@settings(max_examples=100, deadline=None)
@given(lines_of("bill", ("", "a", "b")), lines_of("second", ("", "a", "b")), st.integers(0, 24))
def test_nothing_is_lost_and_no_rent_turns_negative(first: list[BillLine], later: list[BillLine], until: int) -> None:
    during = ALL.clip(0, until * HOUR)
    rents = [
        Rent(
            component="gpu",
            evidence="billed",
            amount_usd=each.charge.effective_cost,
            per_seconds=each.charge.window.seconds,
            seconds=Intervals([(each.charge.window.start, each.charge.window.end)]),
            collector=each.collector,
            line=each,
            resource=each.charge.resource,
        )
        for each in (*first, *later)
    ]
    kept, lost = rents_once(rents, ORDER)
    assert abs(sum(one.usd(during) for one in (*kept, *lost)) - sum(one.usd(during) for one in rents)) < 1e-18
    assert all(one.amount_usd >= 0 for one in (*kept, *lost))
    assert not [one for one in lost if one.collector == "bill"]


def test_a_bill_by_tag_beside_one_that_lists_a_node_of_two(tmp_path: Path) -> None:
    """What is left of the line by tag replaces the list price of the node that the first bill does not list."""
    facts = [node("a", "i-a"), node("b", "i-b"), pod("chat-1", 8, on="a"), pod("chat-2", 8, on="b")]
    workloads = (Workload("llm/chat", {"team": "chat"}),)
    for listed, expected in (("50", 100), ("120", 120)):
        directory = tmp_path / listed
        directory.mkdir()
        with cluster(directory, *facts, hours=10, workloads=workloads) as sim:
            sim.say("bill", bill([node_line(0, 10, listed, "i-a")]))
            sim.say("second", bill([node_line(0, 10, "100", "", tags=TAGS)]))
            sim.tick()
            assert gpu_usd(sim, "llm/chat") == pytest.approx(expected)
            assert parts(sim, collector="second") == {"allocated": 100}
            drift = sim.value("llmcost_bill_drift_ratio", collector="second", window="7d")
            assert drift is None or drift > -1
