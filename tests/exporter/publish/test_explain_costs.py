"""What `explain` says of nodes and bills: every amount can be made again from what stands beside it."""

import re
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from collectors.records import HOUR, Batch, Observed, Usage, Window
from collectors.settings import Duration, Money
from exporter.config import DecisionSettings, Workload
from exporter.publish.explain import explain
from exporter.reading import read
from tests.exporter.cluster import bill, line, listed, node, pod
from tests.exporter.publish.test_explain import cells, flat, snippet
from tests.exporter.simulated import START, Simulation
from tests.exporter.test_pipeline_cluster import cluster

DECISION = DecisionSettings(ratio_window=Duration(30 * 86400))
_NODES = re.compile(
    r"(?P<usd>[\d,.]+) gpu (?:list|calibrated) .*?: (?P<price>[\d.]+) (?:USD|EUR)/h \[\d\]"
    r"(?: x (?P<fx>[\d.]+) USD/EUR)?(?: x (?P<factor>[\d.]+) as billed)? x "
    r"(?P<held>[\d.]+) of (?P<gpus>\d+) GPUs? x (?P<hours>[\d.]+) h"
)


def explained(sim: Simulation, workload: str = "llm/chat") -> str:
    sim.tick()
    now = int(sim.now)
    found = read(sim.exporter.config, now, sim.exporter.pricer, workload)
    return explain(found.inputs, found.views, found.states, workload, now, end=found.end)


def rows(text: str) -> Iterator[tuple[Decimal, Decimal]]:
    """The amount of every line of nodes, and the product of what stands beside it."""
    for match in _NODES.finditer(flat(text)):
        part = {name: Decimal(value.replace(",", "")) for name, value in match.groupdict(default="1").items()}
        product = part["price"] * part["fx"] * part["factor"] * part["held"] / part["gpus"] * part["hours"]
        yield part["usd"], product


def assert_adds_up(text: str) -> None:
    costs = [
        Decimal(row[0].replace(",", "")) for row in cells(text, "EFFECTIVE COST") if re.match(r"^-?[\d,.]+$", row[0])
    ]
    assert sum(costs[:-1]) == costs[-1]


def assert_made_again(text: str, lines: int) -> None:
    found = list(rows(text))
    assert len(found) == lines
    for usd, product in found:
        assert usd == pytest.approx(product, abs=Decimal("0.01"))
    assert_adds_up(text)


def test_the_part_of_a_node_is_price_times_share_times_hours(tmp_path: Path) -> None:
    with cluster(tmp_path, node(), pod("chat-1", 3), hours=30, decision=DECISION) as sim:
        text = explained(sim)
    assert_made_again(text, 1)
    said = flat(text)
    assert "180.00 gpu list node-n1: 16 USD/h [1] x 3 of 8 GPUs x 30 h" in said
    assert ": t9.8gpu, moon-1, on_demand; seen by pods." in said
    assert "As billed" not in said and "Not counted" not in said


def test_nodes_of_one_price_are_one_line_and_those_of_another_share_another(tmp_path: Path) -> None:
    facts = [node(f"n{i}", f"i-{i}") for i in range(5)]
    pods = [pod(f"chat-{i}", 8 if i else 2, on=f"n{i}") for i in range(5)]
    with cluster(tmp_path, *facts, *pods, hours=10, decision=DECISION) as sim:
        text = explained(sim)
    assert_made_again(text, 2)
    said = flat(text)
    assert (
        "640.00 gpu list 4 nodes (node-n1, node-n2, node-n3 and 1 more): 16 USD/h [1] x 8 of 8 GPUs x 40 h in all"
        in said
    )
    assert "40.00 gpu list node-n0: 16 USD/h [1] x 2 of 8 GPUs x 10 h" in said


def test_a_price_in_another_currency_and_one_that_changed(tmp_path: Path) -> None:
    first = replace(listed("10", currency="EUR"), name="t9.eu")
    then = replace(first, price_per_hour=Decimal(20), start=START + 7 * HOUR)
    here = node(instance_type="t9.eu")
    fx = {"EUR": Money("1.25")}
    with cluster(tmp_path, here, pod("chat-1", 8), first, then, hours=30, fx=fx, decision=DECISION) as sim:
        text = explained(sim)
    assert_made_again(text, 2)
    said = flat(text)
    assert "87.50 gpu list node-n1: 10 EUR/h [1] x 1.25 USD/EUR x 8 of 8 GPUs x 7 h" in said
    assert "575.00 gpu list node-n1: 20 EUR/h [2] x 1.25 USD/EUR x 8 of 8 GPUs x 23 h" in said


def test_a_shared_node_on_a_bill_says_the_share_and_what_it_replaced(tmp_path: Path) -> None:
    with cluster(tmp_path, node(), pod("chat-1", 4), hours=30, decision=DECISION) as sim:
        sim.say("bill", bill([line(0, 12, "96"), line(12, 12, "108")]))
        text = explained(sim)
    said = flat(text)
    assert "102.00 gpu billed bill bill: 2 lines for i-1, 204.00 USD x its 4 of 8 GPUs, charged through" in said
    assert "48.00 gpu list node-n1: 16 USD/h [1] x 4 of 8 GPUs x 6 h" in said
    assert "Not counted, as bill bill says what was paid: 192.00 USD of list price for 24 h of node-n1." in said
    assert_made_again(text, 1)


def test_a_calibrated_node_says_what_bills_made_of_its_price(tmp_path: Path) -> None:
    days = 9
    with cluster(tmp_path, node(), pod("chat-1", 6), hours=days * 24, decision=DECISION) as sim:
        month = bill([line(24 * day, 24, "256.01") for day in range(days - 2)], days)
        for _ in range(2):
            sim.say("bill", month)
        text = explained(sim)
    assert_made_again(text, 1)
    said = flat(text)
    assert "16 USD/h [1] x 0.666693 as billed x 6 of 8 GPUs x 48 h" in said
    assert "As billed: what bills for such nodes came to over the last 7 settled days" in said
    assert "of list price x what bills made of it for 168 h of node-n1." in said


def test_the_documented_lines_are_what_it_prints(tmp_path: Path) -> None:
    with cluster(tmp_path, node(), pod("chat-1", 4), hours=9 * 24, decision=DECISION) as sim:
        month = bill([line(24 * day, 24, "238.08") for day in range(7)], 9)
        for _ in range(2):
            sim.say("bill", month)
        assert snippet("component  evidence    from\n    833.28") in explained(sim)


def test_a_second_bill_for_the_same_charge_is_named(tmp_path: Path) -> None:
    with cluster(tmp_path, node(), pod("chat-1", 8), hours=10, decision=DECISION) as sim:
        sim.say("second", bill([line(0, 10, "70")]))
        sim.say("bill", bill([line(0, 4, "40")]))
        said = flat(explained(sim))
    assert "40.00 gpu billed bill bill: 1 line for i-1" in said
    assert "42.00 gpu billed bill second: 1 line for i-1" in said
    assert "as bills bill and second say what was paid: 160.00 USD of list price for 10 h of node-n1." in said
    assert "Not counted, as bill bill says what was paid: 28.00 USD of bill second for i-1, the same charge." in said


def test_a_bill_line_claimed_as_a_whole_leaves_no_estimate_beside_it(tmp_path: Path) -> None:
    owner = Workload("llm/chat", {"model": "none"}, match_bill={"resource": "i-1"})
    with cluster(tmp_path, node(), pod("chat-1", 8), hours=10, workloads=(owner,), decision=DECISION) as sim:
        sim.say("bill", bill([line(0, 4, "40", component="node")]))
        said = flat(explained(sim))
    assert "96.00 gpu list node-n1: 16 USD/h [1] x 8 of 8 GPUs x 6 h" in said
    assert (
        "Not counted, as the bill for it is claimed as a whole by a rate card or a tag: 64.00 USD of list price "
        "for 4 h of node-n1." in said
    )


def test_what_another_workload_is_billed_for_is_missing(tmp_path: Path) -> None:
    owner = Workload("platform", {"model": "none"}, match_bill={"resource": "i-1"})
    served = Usage(START, "self_hosted", "vllm", "m", {"input": 1}, 1, labels=pod("chat-1", 8).labels)
    observed = [Observed(Window(START, START + 10 * HOUR), "llm/chat-1")]
    with cluster(tmp_path, node(), pod("chat-1", 8), hours=10, workloads=(owner,), decision=DECISION) as sim:
        sim.say("engines", Batch("llm/chat-1", usage=[served], observed=observed, cursor="1", stream="llm/chat-1"))
        sim.say("bill", bill([line(0, 4, "40")]))
        said = flat(explained(sim))
    assert "96.00 gpu list node-n1: 16 USD/h [1] x 8 of 8 GPUs x 6 h" in said
    assert "4 h cost: no price, card or bill of its own: 2027-01-15 00:00 UTC for 4 h" in said
