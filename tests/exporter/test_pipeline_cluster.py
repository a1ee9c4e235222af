"""Nodes, pods and their bill through ledger and page: shares, estimates, evidence, idle time, both identities."""

from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest

from collectors.billing.focus import FocusSettings
from collectors.records import HOUR, Batch, Charge, Observed, Usage, Window
from exporter.config import Config, Storage, Workload
from tests.exporter.cluster import PODS, bill, line, listed, node, pod, seen
from tests.exporter.raw_bill import SPANS, raw_lines, raw_sum
from tests.exporter.simulated import START, Simulation


@contextmanager
def cluster(directory: Path, *facts: object, hours: int = 30, **more: object) -> Iterator[Simulation]:
    """A ledger that has seen `facts` for `hours`, with list prices, and an exporter with an (empty) bill over it."""
    focus = FocusSettings(name="bill", kind="focus", path=str(directory / "none" / "*.csv"))
    other = FocusSettings(name="second", kind="focus", path=str(directory / "none" / "*.csv"))
    fields = {"collectors": (focus, other, PODS), "storage": Storage(path=str(directory / "ledger.db")), **more}
    with Simulation(Config(**fields)) as sim:  # type: ignore[arg-type]
        sim.now = float(START)
        sim.say("pods", seen(START + hours * HOUR, listed(), *facts))
        sim.now = float(START + hours * HOUR + 10)  # the last slot is closed
        yield sim


def parts(sim: Simulation, basis: str = "effective", window: str = "7d", collector: str = "bill") -> dict[str, float]:
    """Every part of the bill that the page shows, whatever its name."""
    given = {("collector", collector), ("basis", basis), ("window", window)}
    return {
        dict(labels)["part"]: value
        for (name, labels), value in sim.samples().items()
        if name == "llmcost_bill_part_usd" and given <= labels
    }


def gpu_usd(sim: Simulation, workload: str, window: str = "7d") -> float | None:
    return sim.value(
        "llmcost_effective_cost_usd", workload=workload, path="self_hosted", component="gpu", window=window
    )


def test_a_node_without_a_bill_costs_its_list_price_shared_out_by_gpus(tmp_path: Path) -> None:
    with cluster(tmp_path, node(), pod("chat-1", 4), pod("embed-1", "0.5"), hours=10) as sim:
        sim.tick()
        assert gpu_usd(sim, "llm/chat") == pytest.approx(16 / 2 * 10)
        assert gpu_usd(sim, "llm/embed") == pytest.approx(16 / 16 * 10)
        assert sim.value("llmcost_evidence_ratio", workload="llm/chat", path="self_hosted", evidence="list") == 1
        assert sim.value("llmcost_gpus", collector="pods", gpu="test-gpu", state="allocated") == 4.5
        assert sim.value("llmcost_gpus", collector="pods", gpu="test-gpu", state="idle") == 3.5
        assert sim.value("llmcost_window_coverage_ratio", workload="llm/chat", path="self_hosted", window="7d") == 1


def test_a_bill_replaces_the_estimate_for_what_it_covers_and_a_partial_day_never_lowers_a_cost(tmp_path: Path) -> None:
    with cluster(tmp_path, node(), pod("chat-1", 4)) as sim:
        sim.say("bill", bill([line(0, 10, "100")]))  # 10 h of the day so far, at 10 USD/h
        sim.tick()
        assert gpu_usd(sim, "llm/chat") == pytest.approx(50 + 20 * 8)
        assert parts(sim) == {"allocated": 50, "idle": 50}
        assert parts(sim, "billed") == {"usage": 100}
        assert sim.value("llmcost_superseded_cost_usd", collector="pods") == pytest.approx(80)
        assert sim.value("llmcost_bill_drift_ratio", collector="bill", window="7d") == pytest.approx(50 / 80 - 1)
        assert sim.value("llmcost_bill_state_usd", collector="bill", state="provisional", window="7d") == 100


def test_an_hour_half_covered_by_a_savings_plan_is_two_lines_and_one_hour(tmp_path: Path) -> None:
    halves = [line(0, "0.5", "2", sku="p5", commitment_status="Used"), line(0, "0.5", "8", sku="p5")]
    unused = line(0, "0.5", "3", sku="plan", commitment_status="Unused", resource="")
    with cluster(tmp_path, node(), pod("chat-1", 8), hours=2) as sim:
        sim.say("bill", bill([*halves, unused]))
        sim.tick()
        assert gpu_usd(sim, "llm/chat") == pytest.approx(10 + 16)
        assert parts(sim) == {"allocated": 10, "commitment_unused": 3}


def test_odd_cents_over_three_pods_close_to_the_nano(tmp_path: Path) -> None:
    held = [pod(f"w{i}-1", "1.1") for i in range(3)]
    with cluster(tmp_path, node(), *held, hours=5) as sim:
        sim.say("bill", bill([line(hour, 1, "0.1000000001") for hour in range(5)]))
        state = sim.tick()
        (report,) = [one for one in state.report.bills if one.window == "7d"]
        assert sum(report.parts["effective"].values()) == Decimal("0.5000000005") == report.billed_usd
        assert set(report.parts["effective"]) == {"allocated", "idle"}


def test_a_node_that_is_gone_before_the_bill_comes_is_still_known(tmp_path: Path) -> None:
    gone = node(end=START + 5 * HOUR), pod("batch-1", 8, end=START + 4 * HOUR)
    with cluster(tmp_path, *gone) as sim:
        sim.say("bill", bill([line(0, 6, "60")]))  # an hour more than the node was seen up
        sim.tick()
        assert gpu_usd(sim, "llm/batch") == pytest.approx(40)
        assert parts(sim) == pytest.approx({"allocated": 40, "idle": 10, "unallocated": 10})


def test_a_name_that_came_back_on_another_machine_is_two_nodes(tmp_path: Path) -> None:
    first = node("a", "p/z/name", end=START + 6 * HOUR), pod("old-1", 8, end=START + 6 * HOUR, on="a")
    second = node("b", "p/z/name", START + 6 * HOUR), pod("new-1", 8, START + 6 * HOUR, on="b")
    google = "//compute.googleapis.com/projects/p/zones/z/instances/name"
    with cluster(tmp_path, *first, *second, hours=24) as sim:
        sim.say("bill", bill([line(0, 24, "24", resource=google)]))
        sim.tick()
        assert (gpu_usd(sim, "llm/old"), gpu_usd(sim, "llm/new")) == (pytest.approx(6), pytest.approx(18))
        assert parts(sim) == {"allocated": 24}


def test_credits_above_cost_and_foreign_lines_stay_apart(tmp_path: Path) -> None:
    lines = [
        line(0, 10, "10"),
        line(0, 10, "-25", category="Credit", quantity=None, resource=""),
        line(0, 10, "7", resource="i-elsewhere"),
        line(0, 10, "5", currency="EUR", sku="license"),
    ]
    with cluster(tmp_path, node(), pod("chat-1", 8), hours=10, fx={"EUR": Decimal(2)}) as sim:
        sim.say("bill", bill(lines))
        sim.tick()
        assert parts(sim) == {"allocated": 20, "adjustment": -25, "unallocated": 7}
        assert parts(sim, "billed") == {"usage": 20, "credits": -25, "unallocated": 7}


def test_two_bills_that_claim_one_charge_count_once(tmp_path: Path) -> None:
    with cluster(tmp_path, node(), pod("chat-1", 8), hours=10) as sim:
        sim.say("second", bill([line(0, 10, "70")]))
        sim.say("bill", bill([line(0, 4, "40")]))
        sim.tick()
        assert gpu_usd(sim, "llm/chat") == pytest.approx(40 + 7 * 6)
        assert sim.value("llmcost_superseded_cost_usd", collector="second") == pytest.approx(28)
        assert parts(sim, collector="second") == {"allocated": 70}  # each bill still closes by itself


def test_a_settled_week_calibrates_what_is_not_billed_yet(tmp_path: Path) -> None:
    days = 9
    with cluster(tmp_path, node(), pod("chat-1", 8), hours=days * 24) as sim:
        month = bill([line(24 * day, 24, "192") for day in range(days - 2)], days)
        for _ in range(2):  # the second delivery says the same: what is 72 h old is settled
            sim.say("bill", month)
        sim.tick()
        assert sim.value("llmcost_calibration_ratio", collector="bill") == pytest.approx(0.5)
        assert gpu_usd(sim, "llm/chat", "24h") == pytest.approx(24 * 8)
        assert sim.value("llmcost_evidence_ratio", workload="llm/chat", path="self_hosted", evidence="calibrated") > 0
        assert sim.value("llmcost_bill_state_usd", collector="bill", state="settled", window="30d") == 6 * 192


def test_a_node_without_any_price_is_unknown_and_not_free(tmp_path: Path) -> None:
    with cluster(tmp_path, node(instance_type="unheard-of"), pod("chat-1", 8), hours=10) as sim:
        sim.tick()
        assert gpu_usd(sim, "llm/chat") is None
        sim.say("bill", bill([line(0, 10, "50")]))
        sim.tick()
        assert gpu_usd(sim, "llm/chat") == pytest.approx(50)


def test_pods_on_more_gpus_than_there_are_share_what_there_is(tmp_path: Path) -> None:
    with cluster(tmp_path, node(), pod("a-1", 6), pod("b-1", 6), hours=10) as sim:
        sim.say("bill", bill([line(0, 10, "100")]))
        sim.tick()
        assert gpu_usd(sim, "llm/a") == gpu_usd(sim, "llm/b") == pytest.approx(50)
        assert parts(sim) == {"allocated": 100}


def test_the_counter_accrues_the_estimate_once_and_never_falls(tmp_path: Path) -> None:
    with cluster(tmp_path, node(), pod("chat-1", 8), hours=1) as sim:
        sim.tick()
        for hour in range(2, 6):
            sim.say("pods", seen(START + hour * HOUR, since=START + (hour - 1) * HOUR))
            sim.now = float(START + hour * HOUR)
            sim.tick()
            sim.tick()
        counted = sim.value("llmcost_cost_usd_total", workload="llm/chat", path="self_hosted", component="gpu")
        assert counted == pytest.approx(4 * 16)
        sim.say("bill", bill([line(0, 5, "5")]))
        sim.tick()
        assert sim.value("llmcost_cost_usd_total", workload="llm/chat", path="self_hosted", component="gpu") == counted


def test_gpus_held_before_the_engine_serves_are_starting(tmp_path: Path) -> None:

    with cluster(tmp_path, node(), pod("chat-1", 8), hours=10) as sim:
        up = [Observed(Window(START + 2 * HOUR, START + 10 * HOUR), "llm/chat-1")]
        sim.say("engines", Batch("llm/chat-1", observed=up, cursor="1"))
        sim.say("bill", bill([line(0, 10, "100")]))
        sim.tick()
        assert parts(sim) == {"starting": 20, "allocated": 80}
        assert gpu_usd(sim, "llm/chat") == pytest.approx(100)


def test_a_pod_that_comes_back_under_its_name_is_starting_again(tmp_path: Path) -> None:
    facts = [node(), pod("chat-0", 8, end=START + 4 * HOUR), pod("chat-0", 8, start=START + 5 * HOUR)]
    with cluster(tmp_path, *facts, hours=10) as sim:
        spans = [Window(START + begin * HOUR, START + end * HOUR) for begin, end in ((1, 4), (7, 10))]
        up = [Observed(span, "llm/chat-0") for span in spans]
        sim.say("engines", Batch("llm/chat-0", observed=up, cursor="1"))
        sim.say("bill", bill([line(0, 10, "100")]))
        sim.tick()
        assert parts(sim) == {"starting": 30, "allocated": 60, "idle": 10}


def test_a_pod_costs_the_workload_that_its_engine_serves(tmp_path: Path) -> None:
    labels = (("namespace", "llm"), ("owner", "chat"), ("pod", "chat-1"))
    served = Usage(START, "self_hosted", "vllm", "llama", {"input": 900, "output": 100}, 5, labels=labels)
    workloads = (Workload("assistant", {"model": "llama"}),)
    with cluster(tmp_path, node(), pod("chat-1", 8), pod("chat-2", 0), hours=10, workloads=workloads) as sim:
        observed = [Observed(Window(START, START + 10 * HOUR), "llm/chat-1")]
        sim.say("engines", Batch("llm/chat-1", usage=[served], observed=observed, cursor="1", stream="llm/chat-1"))
        sim.tick()
        assert gpu_usd(sim, "assistant") == pytest.approx(160)
        assert gpu_usd(sim, "llm/chat") is None


def test_a_workload_that_is_scaled_to_nothing_costs_nothing_and_that_is_known(tmp_path: Path) -> None:
    with cluster(tmp_path, node(), pod("chat-1", 8, end=START + 5 * HOUR), hours=10) as sim:
        sim.tick()
        assert gpu_usd(sim, "llm/chat") == pytest.approx(80)
        assert sim.value("llmcost_window_coverage_ratio", workload="llm/chat", path="self_hosted", window="7d") == 1


@pytest.mark.parametrize(
    "charge",
    [
        line(0, 24, "24"),
        line(0, 24, "24", quantity=None),
        line(0, 24, "-3"),
        line(0, 24, "24", billed_cost=Decimal("31.000000007")),
        line(0, 24, "7", category="Tax", billed_cost=Decimal("6.5")),
        line(-3, 30, "11.0000000013", resource="i-elsewhere", billed_cost=Decimal(0)),
    ],
)
def test_both_identities_hold_whatever_the_line_says(tmp_path: Path, charge: Charge) -> None:
    with cluster(tmp_path, node(end=START + 7 * HOUR), pod("chat-1", 3), pod("x-1", 2, START + HOUR), hours=30) as sim:
        sim.say("bill", bill([charge]))
        state = sim.tick()
        lines = raw_lines(tmp_path / "ledger.db", "bill")
        for report in state.report.bills:
            assert sum(report.parts["billed"].values()) == report.billed_usd
            end = START + 30 * HOUR
            for basis in ("billed", "effective") if report.window in SPANS else ():
                raw, off = raw_sum(lines, f"{basis}_cost", end - SPANS[report.window], end)
                assert abs(sum(map(Fraction, report.parts[basis].values())) - raw) <= off
        (week,) = [one for one in state.report.bills if one.window == "7d"]
        assert sum(week.parts["billed"].values()) == charge.billed_cost
        assert sum(week.parts["effective"].values()) == charge.effective_cost


def test_a_scale_set_on_an_azure_bill_is_its_nodes(tmp_path: Path) -> None:
    scale_set = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachineScaleSets/gpus"
    nodes = [
        node(str(i), f"{scale_set.lower()}/virtualmachines/{i}", end=START + hours * HOUR, provider="azure")
        for i, hours in enumerate((6, 18))
    ]
    held = [pod(f"w{i}-1", 8, on=str(i)) for i in range(2)]
    with cluster(tmp_path, *nodes, *held, hours=24) as sim:
        sim.say("bill", bill([line(0, 24, "24", resource=scale_set, provider="Microsoft")]))
        sim.tick()
        assert (gpu_usd(sim, "llm/w0"), gpu_usd(sim, "llm/w1")) == (pytest.approx(6), pytest.approx(18))
        assert parts(sim) == {"allocated": 24}


@pytest.mark.parametrize("hours", [23, 25])
def test_a_local_day_of_23_or_25_hours_is_as_long_as_it_is(tmp_path: Path, hours: int) -> None:
    """Bills by local days: on the days on which clocks change, one is shorter or longer; all here is UTC."""
    with cluster(tmp_path, node(), pod("chat-1", 8), hours=48) as sim:
        sim.say("bill", bill([line(0, hours, str(hours * 10)), line(hours, 48 - hours, str((48 - hours) * 10))]))
        sim.tick()
        assert gpu_usd(sim, "llm/chat") == pytest.approx(480)
        assert gpu_usd(sim, "llm/chat", "24h") == pytest.approx(240)
        assert parts(sim) == {"allocated": 480}


def test_a_bill_of_another_account_is_out_of_scope(tmp_path: Path) -> None:
    scoped = FocusSettings(name="bill", kind="focus", path="x", scope={"account": "1"})
    with cluster(tmp_path, node(), pod("chat-1", 8), hours=10, collectors=(scoped, PODS)) as sim:
        sim.say("bill", bill([line(0, 10, "100"), line(0, 10, "55", account="2")]))
        sim.tick()
        assert gpu_usd(sim, "llm/chat") == pytest.approx(100)
        assert sim.value("llmcost_billed_usd", collector="bill", window="7d") == 155
        assert parts(sim) == {"allocated": 100, "out_of_scope": 55}
        assert parts(sim, "billed") == {"usage": 100, "out_of_scope": 55}


def test_a_cluster_that_is_no_longer_configured_ends_where_it_was_last_seen(tmp_path: Path) -> None:
    focus = FocusSettings(name="bill", kind="focus", path=str(tmp_path / "none" / "*.csv"))
    with cluster(tmp_path, node(), pod("chat-1", 8), hours=10, collectors=(focus,)) as sim:
        sim.now += 5 * HOUR
        sim.tick()
        assert gpu_usd(sim, "llm/chat") == pytest.approx(160)
        assert sim.value("llmcost_gpus", collector="pods", gpu="test-gpu", state="allocated") is None
