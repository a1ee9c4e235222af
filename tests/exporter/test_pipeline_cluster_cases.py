"""Cases of clusters, bills, cards and providers together that are easy to get wrong by a factor."""

from decimal import Decimal
from pathlib import Path

import pytest

from collectors.billing.focus import FocusSettings
from collectors.billing.rate_card import Rate, RateCardSettings
from collectors.records import HOUR, Batch, Observed, Window
from collectors.settings import Instant, Money
from exporter.config import Workload
from tests.exporter.cluster import PODS, bill, line, listed, node, pod, seen
from tests.exporter.simulated import START
from tests.exporter.test_pipeline_cluster import cluster, gpu_usd, parts


def card() -> RateCardSettings:
    rate = Rate(workload="llm/chat", usd_per_hour=Money("10"), from_=Instant(START))
    return RateCardSettings(name="contract", kind="rate_card", rates=(rate,))


def bill_settings(directory: Path) -> FocusSettings:
    return FocusSettings(name="bill", kind="focus", path=str(directory / "none" / "*.csv"))


def test_a_line_of_another_kind_leaves_the_nodes_lines_in_their_parts(tmp_path: Path) -> None:
    with cluster(tmp_path, node(), pod("chat-1", 4), hours=10) as sim:
        sim.say("bill", bill([line(0, 10, "100")]))
        sim.tick()
        sim.say("second", bill([line(0, 10, "5", category="Tax", quantity=None, resource="")]))
        sim.tick()
        assert parts(sim) == {"allocated": 50, "idle": 50}


def test_a_machine_billed_in_parts_teaches_the_factor_of_their_sum(tmp_path: Path) -> None:
    google = "//compute.googleapis.com/projects/p/zones/z/instances/name"
    more = {"resource": google, "provider": "Google Cloud"}
    days = 9
    with cluster(tmp_path, node("a", "p/z/name"), pod("chat-1", 8, on="a"), hours=days * 24) as sim:
        lines = [
            line(24 * day, 24, usd, sku=sku, quantity=Decimal(hours), unit="h", **more)
            for day in range(days - 2)
            for sku, usd, hours in (("gpu", "150", 192), ("core", "30", 2304), ("ram", "12", 32640))
        ]
        for _ in range(2):
            sim.say("bill", bill(lines, days))
        sim.tick()
        assert sim.value("llmcost_calibration_ratio", collector="bill") == pytest.approx(192 / (16 * 24))


def test_a_bill_by_tag_replaces_the_estimate_of_the_nodes(tmp_path: Path) -> None:
    workloads = (Workload("llm/chat", {"team": "chat"}),)
    with cluster(tmp_path, node(), pod("chat-1", 8), hours=10, workloads=workloads) as sim:
        sim.say("bill", bill([line(0, 10, "50", resource="", tags=(("team", "chat"),))]))
        sim.tick()
        assert gpu_usd(sim, "llm/chat") == pytest.approx(50)


@pytest.mark.parametrize("other", ["egress", "gpu"])
def test_a_bill_for_traffic_or_for_one_node_makes_no_other_node_free(tmp_path: Path, other: str) -> None:
    facts = [node(instance_type="unheard-of"), pod("chat-1", 8)]
    if other == "gpu":
        facts += [node("n2", "i-2", instance_type="unheard-of"), pod("chat-2", 8, on="n2")]
    with cluster(tmp_path, *facts, hours=10) as sim:
        sim.say("bill", bill([line(0, 10, "50", component=other)]))
        sim.tick()
        assert gpu_usd(sim, "llm/chat") is None


def test_two_bills_that_write_one_machine_differently_count_once(tmp_path: Path) -> None:
    arn = "arn:aws:ec2:moon-1:123456789012:instance/i-1a"
    with cluster(tmp_path, node(resource="i-1a"), pod("chat-1", 8), hours=10) as sim:
        sim.say("bill", bill([line(0, 10, "50", resource="i-1a")]))
        sim.say("second", bill([line(0, 10, "50", resource=arn)]))
        sim.tick()
        assert gpu_usd(sim, "llm/chat") == pytest.approx(50)


def test_a_line_that_costs_nothing_leaves_the_estimate(tmp_path: Path) -> None:
    """Instances in a capacity block are on the bill at 0: the block was paid for at once."""
    with cluster(tmp_path, node(), pod("chat-1", 8), hours=10) as sim:
        sim.say("bill", bill([line(0, 10, "0")]))
        sim.tick()
        assert gpu_usd(sim, "llm/chat") == pytest.approx(160)


def test_gpus_before_anybody_watched_are_neither_idle_nor_starting(tmp_path: Path) -> None:
    facts = [node(), pod("chat-1", 4)]
    with cluster(tmp_path, hours=1) as sim:
        pass
    (tmp_path / "later").mkdir()
    with cluster(tmp_path / "later", hours=1) as sim:
        sim.exporter.ledger.close()
    directory = tmp_path / "own"
    directory.mkdir()
    with cluster(directory, hours=0) as sim:
        sim.now = float(START + 10 * HOUR + 600)
        sim.say("watch", seen(START + 10 * HOUR + 600, listed(), *facts, since=START + 8 * HOUR))
        up = [Observed(Window(START + 9 * HOUR, START + 10 * HOUR), "llm/chat-1")]
        sim.say("engines", Batch("llm/chat-1", observed=up, cursor="1"))
        sim.say("bill", bill([line(0, 10, "100")]))
        sim.tick()
        assert parts(sim) == {"allocated": 50, "idle": 10, "unallocated": 40}


def test_a_cluster_that_nobody_watches_any_more_has_no_gpus_now(tmp_path: Path) -> None:
    with cluster(tmp_path, node(), pod("chat-1", 4), hours=10) as sim:
        sim.tick()
        assert sim.value("llmcost_gpus", collector="pods", gpu="test-gpu", state="idle") == 4
        sim.now += 2 * HOUR
        sim.tick()
        assert sim.value("llmcost_gpus", collector="pods", gpu="test-gpu", state="idle") is None


def test_the_drift_is_from_the_estimate_that_was_shown_not_from_all_that_were_had(tmp_path: Path) -> None:
    with cluster(
        tmp_path, node(), pod("chat-1", 8), hours=10, collectors=(bill_settings(tmp_path), card(), PODS)
    ) as sim:
        sim.exporter.runner.collect("contract")
        sim.say("bill", bill([line(0, 10, "50")]))
        sim.tick()
        assert sim.value("llmcost_superseded_cost_usd", collector="contract") == pytest.approx(100, rel=0.01)
        assert sim.value("llmcost_bill_drift_ratio", collector="bill", window="7d") == pytest.approx(-0.5)


def test_fixed_costs_run_on_while_nothing_is_held(tmp_path: Path) -> None:
    workloads = (Workload("llm/chat", {"namespace": "llm"}, fixed_usd_per_month={"people": Money("730")}),)
    facts = [node(), pod("chat-1", 8, end=START + 5 * HOUR)]
    with cluster(tmp_path, *facts, hours=10, workloads=workloads) as sim:
        sim.tick()
        fixed = sim.value(
            "llmcost_effective_cost_usd", workload="llm/chat", path="self_hosted", component="fixed", window="7d"
        )
        assert fixed == pytest.approx(10)
