"""Cases of clusters, bills, cards and providers together that are easy to get wrong by a factor."""

from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from collectors.billing.focus import FocusSettings
from collectors.billing.rate_card import Rate, RateCardSettings
from collectors.records import HOUR, Batch, Observed, Usage, Window
from collectors.settings import Instant, Money
from exporter.config import Config, Storage, Workload
from tests.exporter.cluster import PODS, bill, line, listed, node, pod, seen
from tests.exporter.simulated import START, Simulation
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


@pytest.mark.parametrize("tags", [(), (("team", "chat"),)])
def test_a_line_without_an_exchange_rate_leaves_the_estimate(tmp_path: Path, tags: tuple[tuple[str, str], ...]) -> None:
    workloads = (Workload("chat", {"team": "chat"}),)
    with cluster(tmp_path, node(), pod("chat-1", 8, team="chat"), hours=10, workloads=workloads) as sim:
        sim.say("bill", bill([line(0, 10, "50", currency="XYZ", tags=tags)]))
        sim.tick()
        assert gpu_usd(sim, "chat") == pytest.approx(160)


def test_a_machine_billed_to_one_workload_by_its_tag_is_not_free_for_the_others_on_it(tmp_path: Path) -> None:
    """What they cost is not known then: the bill is spent, and half of a machine is not for nothing."""
    workloads = (Workload("chat", {"team": "chat"}),)
    facts = [node(), pod("chat-1", 4, team="chat"), pod("embed-1", 4)]
    first = Usage(START, "self_hosted", "vllm", "m", {"input": 1}, 1, labels=pod("embed-1", 4).labels)
    observed = [Observed(Window(START, START + 30 * HOUR), "llm/embed-1")]
    with cluster(tmp_path, *facts, workloads=workloads) as sim:
        sim.say("engines", Batch("llm/embed-1", usage=[first], observed=observed, cursor="1", stream="llm/embed-1"))
        sim.say("bill", bill([line(0, 24, "240", tags=(("team", "chat"),))]))
        sim.tick()
        shown = {
            name: (
                gpu_usd(sim, name),
                sim.value("llmcost_window_coverage_ratio", workload=name, path="self_hosted", window="7d"),
            )
            for name in ("chat", "llm/embed")
        }
        assert shown == {"chat": (240 + 6 * 8, 1), "llm/embed": (6 * 8, 0.2)}


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


def test_a_cluster_under_a_new_name_is_the_same_cluster(tmp_path: Path) -> None:
    """The new collector sees the machine and the pod that are there still; of what ended only the old one knows."""
    renamed = (bill_settings(tmp_path), replace(PODS, name="k8s"))
    gone = (pod("embed-1", 2, end=START + 24 * HOUR), node("n2", "i-2", end=START + 10 * HOUR), pod("x-1", 8, on="n2"))
    with cluster(tmp_path, node(), pod("chat-1", 4), pod("y-1", 1), *gone, hours=48) as sim:
        sim.tick()
        assert gpu_usd(sim, "llm/chat") == 8 * 48
    with Simulation(Config(collectors=renamed, storage=Storage(path=str(tmp_path / "ledger.db")))) as sim:
        sim.now = float(START + 49 * HOUR)
        sim.say("k8s", seen(START + 49 * HOUR, node(), pod("chat-1", 4), since=START + 48 * HOUR))
        sim.now += 10
        sim.tick()
        shown = {name: gpu_usd(sim, f"llm/{name}") for name in ("chat", "embed", "y", "x")}
        assert shown == pytest.approx({"chat": 8 * 49, "embed": 4 * 24, "y": 2 * 48, "x": 160})
        assert sim.value("llmcost_gpus", collector="k8s", gpu="test-gpu", state="idle") == 4
        counted = sim.value("llmcost_cost_usd_total", workload="llm/chat", path="self_hosted", component="gpu")
        assert counted == pytest.approx(8)  # since the last tick
        sim.say("bill", bill([line(0, 48, "600")]))
        sim.tick()
        assert gpu_usd(sim, "llm/chat") == pytest.approx(300 + 8)
        assert parts(sim) == pytest.approx({"allocated": 300 + 75 + 75, "idle": 150})
    back = (bill_settings(tmp_path), PODS)
    with Simulation(Config(collectors=back, storage=Storage(path=str(tmp_path / "ledger.db")))) as sim:
        sim.now = float(START + 50 * HOUR)
        sim.say("pods", seen(START + 50 * HOUR, pod("y-1", 1, end=START + 48 * HOUR), since=START + 49 * HOUR))
        sim.now += 10
        sim.tick()
        shown = {name: gpu_usd(sim, f"llm/{name}") for name in ("chat", "embed", "y", "x")}
        assert shown == pytest.approx({"chat": 300 + 2 * 8, "embed": 75, "y": 75, "x": 160})
        assert parts(sim) == pytest.approx({"allocated": 300 + 75 + 75, "idle": 150})


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


def test_what_is_billed_in_a_currency_without_a_rate_is_estimated_and_the_rest_of_the_bill_counts(
    tmp_path: Path,
) -> None:
    facts = [node("a", "i-a"), node("b", "i-b"), pod("chat-1", 8, on="a"), pod("embed-1", 8, on="b")]
    with cluster(tmp_path, *facts, hours=10) as sim:
        sim.say("bill", bill([line(0, 10, "50", "i-a"), line(0, 10, "9000", "i-b", currency="JPY")]))
        sim.tick()
        assert (gpu_usd(sim, "llm/chat"), gpu_usd(sim, "llm/embed")) == (pytest.approx(50), pytest.approx(160))
        assert sim.value("llmcost_billed_usd", collector="bill", window="7d") is None  # unknown, not 50
        assert parts(sim) == {"allocated": 50}
