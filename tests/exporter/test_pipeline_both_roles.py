"""A cluster exporter beside sidecars: an engine, its tokens and its GPUs are counted by exactly one of them."""

from contextlib import ExitStack
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from collectors import Board, Target
from collectors.billing.focus import FocusSettings
from collectors.billing.rate_card import Rate, RateCardSettings
from collectors.engines.vllm import VllmSettings
from collectors.records import HOUR, Allocation, Batch, Node, Observed, Window
from collectors.settings import Instant, Money
from exporter.config import Alternative, Config, Storage, Workload
from exporter.ledger.snapshot import Snapshot
from exporter.prices.book import PriceBook
from exporter.reconcile.build import Inputs, views
from tests.exporter.cluster import PODS, bill, handed_over, line, listed, node, pod, seen
from tests.exporter.simulated import START, Engine, Simulation, engine
from tests.exporter.test_pipeline_cluster import cluster, gpu_usd, parts

CHAT = Workload("chat", {"model": "tiny"}, alternatives=(Alternative(api="acme/tiny"),))
COUNTERS = (
    *("llmcost_tokens_total", "llmcost_requests_total", "llmcost_cost_usd_total"),
    *("llmcost_api_equivalent_usd_total", "llmcost_unpriced_tokens_total"),
)
STEP = 300
Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


def served(now: float) -> tuple[int, int, int]:
    seconds = int(now - START)
    return 10 * seconds, 2 * seconds, 5 * seconds


def card(start: int) -> RateCardSettings:
    """The price of the node's four GPUs that the engine holds: half of the list price of all eight."""
    rate = Rate(workload="chat", gpu="test-gpu", count=Money("4"), usd_per_hour=Money("2"), from_=Instant(start))
    return RateCardSettings(name="gpus", kind="rate_card", rates=(rate,))


def exporter(stack: ExitStack, directory: Path, name: str, *collectors: object) -> Simulation:
    config = Config(
        collectors=collectors,
        workloads=(CHAT,),
        storage=Storage(path=str(directory / f"{name}.db")),
    )
    return stack.enter_context(Simulation(config))


def reading(at: Engine | None = None) -> VllmSettings:
    return VllmSettings(
        name="engine", kind="vllm", targets=() if at is None else (at.url,), discover=None if at else "pods"
    )


def board(sim: Simulation) -> Board:
    """Where the exporter's cluster collector would post the engines it finds."""
    collector: Any = sim.exporter.runner.running["pods"].collector
    found: Board = collector._board
    return found


def step(sim: Simulation, running: Engine, second: int, sidecar: bool) -> None:
    """A tick of an exporter that watches the cluster: a pod with the engine, and one that trains."""
    sim.now = float(START + second)
    if "pods" in sim.exporter.runner.running:
        facts: list[Node | Allocation] = [node(), pod("engine-1", 4, sidecar=sidecar), pod("train-1", 2)]
        sim.say("pods", seen(int(sim.now), listed(), *facts, since=max(START, START + second - STEP)))
        labels = (("namespace", "llm"), ("owner", "engine"), ("pod", "engine-1"))
        board(sim).post("pods", [Target("llm/engine-1", running.url, labels)][: not sidecar])
    sim.at(START + second, *(name for name in sim.exporter.runner.running if name != "pods"))


def counters(*exporters: Simulation) -> Series:
    """The sum over exporters, as Prometheus has it, of every counter of workloads."""
    sums: Series = {}
    for sim in exporters:
        for (name, labels), value in sim.samples().items():
            if name in COUNTERS:
                sums[name, labels] = sums.get((name, labels), 0.0) + value
    return {key: value for key, value in sums.items() if value}


def test_a_sidecar_and_a_cluster_exporter_count_what_one_exporter_counts(tmp_path: Path) -> None:
    with ExitStack() as stack:
        running = stack.enter_context(engine(served))
        alone = exporter(stack, tmp_path, "alone", reading(), PODS)
        sidecar = exporter(stack, tmp_path, "sidecar", reading(running), card(START))
        beside = exporter(stack, tmp_path, "cluster", reading(), PODS)
        before: Series = {}
        for second in range(0, 5 * HOUR + 1, STEP):
            running.now = float(START + second)
            step(alone, running, second, sidecar=False)
            step(sidecar, running, second, sidecar=True)
            step(beside, running, second, sidecar=True)
            if second == HOUR:  # where each begins to count is its own; from here on they are to say the same
                before = counters(alone)
                apart = counters(sidecar, beside)
        one = {key: value - before[key] for key, value in counters(alone).items()}
        two = {key: value - apart[key] for key, value in counters(sidecar, beside).items()}
        assert two == pytest.approx(one)
        usd = {dict(labels)["workload"]: value for (name, labels), value in one.items() if "cost_usd" in name}
        assert usd == pytest.approx({"chat": 32, "llm/train": 16})
        assert not [labels for _, labels in beside.samples() if ("workload", "chat") in labels]


def test_gpus_that_a_sidecar_pays_for_are_allocated_and_no_workloads(tmp_path: Path) -> None:
    with cluster(tmp_path, node(), pod("chat-1", 4, sidecar=True), pod("train-1", 2), hours=10) as sim:
        sim.say("bill", bill([line(0, 10, "100")]))
        sim.tick()
        assert parts(sim) == {"allocated": 75, "idle": 25}
        assert gpu_usd(sim, "llm/train") == pytest.approx(25)
        assert sim.value("llmcost_gpus", collector="pods", gpu="test-gpu", state="allocated") == 6
        assert {dict(labels).get("workload") for _, labels in sim.samples()} == {None, "llm/train"}


def test_in_a_rollout_each_pod_is_paid_for_by_who_reads_it(tmp_path: Path) -> None:
    """Pods without a sidecar give way to pods with one: from then on the cluster counts nothing, and that is known."""
    old = [pod("chat-1", 4, end=START + 6 * HOUR), pod("chat-2", 4, end=START + 4 * HOUR)]
    new = [pod("chat-3", 4, START + 4 * HOUR, sidecar=True), pod("chat-4", 4, START + 6 * HOUR, sidecar=True)]
    with cluster(tmp_path, node(), *old, *new, hours=10) as sim:
        sim.tick()
        assert gpu_usd(sim, "llm/chat") == pytest.approx(16 / 2 * (6 + 4))
        assert sim.value("llmcost_gpus", collector="pods", gpu="test-gpu", state="idle") == 0


def test_a_pod_that_gets_a_sidecar_or_loses_it_is_counted_by_each_in_its_time(tmp_path: Path) -> None:
    """Also one in a ledger from before pods said so: what was counted stays, on the page and on the bill."""
    chat, on = handed_over(pod("chat-1", 4), START + 4 * HOUR)
    on, off = handed_over(on, START + 7 * HOUR)
    with cluster(tmp_path, node(), pod("chat-1", 4), hours=4) as sim:
        said: dict[int, list[Allocation]] = {4: [chat, on], 7: [on, off], 10: []}
        for hour, facts in said.items():
            sim.now = float(START + hour * HOUR + 10)  # the last slot is closed
            sim.say("pods", seen(START + hour * HOUR, *facts, since=START + 4 * HOUR))
            sim.tick()
            assert gpu_usd(sim, "llm/chat") == pytest.approx(8 * (min(hour, 4) + max(0, hour - 7)))
        sim.say("bill", bill([line(hour, 1, "10.0000000001") for hour in range(10)]))
        state = sim.tick()
        (report,) = [one for one in state.report.bills if one.window == "7d"]
        assert sum(report.parts["effective"].values()) == Decimal("100.000000001") == report.billed_usd
        assert parts(sim) == pytest.approx({"allocated": 50, "idle": 50})
        assert gpu_usd(sim, "llm/chat") == pytest.approx(35)


def test_dollars_of_a_pod_that_gets_a_sidecar_and_loses_it_are_counted_once(tmp_path: Path) -> None:
    """The counters of both exporters, which are restarted at times, are together those of one that counts alone."""
    held = pod("chat-1", 4)
    first, second = START + 2 * HOUR, START + 5 * HOUR
    chat, on = handed_over(held, first)
    on, off = handed_over(on, second)
    news = {START: [listed(), node(), held], first: [chat, on], second: [on, off]}
    rent = Rate(workload="llm/chat", gpu="g", count=Money("4"), usd_per_hour=Money("2"), from_=Instant(first))
    beside = RateCardSettings(name="gpus", kind="rate_card", rates=(rent,))
    counted: dict[str, list[float]] = {"alone": [], "cluster": [], "sidecar": []}
    for begin, end in ((0, 1), (1, 3), (3, 5), (5, 8)):
        with ExitStack() as stack:
            alone, whole = (exporter(stack, tmp_path, name, PODS) for name in ("alone", "cluster"))
            for now in range(START + begin * HOUR, START + end * HOUR + 1, STEP):
                alone.now = whole.now = float(now)
                since = max(START, now - STEP)
                alone.say("pods", seen(now, *news[START], since=since))
                whole.say("pods", seen(now, *news.get(now, ()), since=since))
                for sim in (alone, whole):
                    sim.tick()
            for name, sim in (("alone", alone), ("cluster", whole)):
                counted[name].append(sim.sum("llmcost_cost_usd_total", workload="llm/chat"))
            if first <= START + (end - 1) * HOUR < second:
                sidecar = exporter(stack, tmp_path, "sidecar", beside)
                sidecar.at(first)
                sidecar.at(min(START + end * HOUR, second))
                counted["sidecar"].append(sidecar.sum("llmcost_cost_usd_total", workload="llm/chat"))
    before = 8 * STEP / HOUR  # counters begin at the end of what was first seen
    assert [usd + before for usd in counted["alone"]] == pytest.approx([8, 24, 40, 64])
    assert [usd + before for usd in counted["cluster"]] == pytest.approx([8, 16, 16, 40])
    assert counted["sidecar"] == pytest.approx([8, 24])


def test_two_collectors_that_learn_of_a_sidecar_at_different_times_hold_a_pod_once(tmp_path: Path) -> None:
    facts = [node(), pod("chat-1", 8)]
    with cluster(tmp_path, *facts, hours=10, collectors=(PODS, TWIN)) as sim:
        for hour, name in ((4, "again"), (6, "pods")):
            held = handed_over(pod("chat-1", 8), START + hour * HOUR)
            sim.say(name, seen(START + 10 * HOUR, node(), *held))
        sim.tick()
        assert gpu_usd(sim, "llm/chat") == pytest.approx(16 * 6)
        assert sim.value("llmcost_gpus", collector="pods", gpu="test-gpu", state="allocated") == 8


TURN = START + 5 * HOUR


@pytest.mark.parametrize(
    "held",
    [
        handed_over(pod("chat-0", 8), TURN),
        handed_over(pod("chat-0", 8, sidecar=True), TURN),
        [pod("chat-0", 8, end=TURN), pod("chat-0", 8, TURN, sidecar=True)],  # a rollout keeps the name
    ],
)
def test_a_pod_that_has_or_had_a_sidecar_is_never_starting(tmp_path: Path, held: list[Allocation]) -> None:
    """Its engine is read by another exporter, or was until now; one of another time was read under the same name."""
    with cluster(tmp_path, node(), *held, hours=10) as sim:
        up = [Observed(Window(START, START + HOUR), "llm/chat-0")]
        sim.say("engines", Batch("llm/chat-0", observed=up, cursor="1"))
        sim.say("bill", bill([line(0, 10, "100")]))
        sim.tick()
        assert parts(sim) == {"allocated": 100}
        assert gpu_usd(sim, "llm/chat") == pytest.approx(50)


def test_a_bill_by_tag_is_still_its_workloads(tmp_path: Path) -> None:
    """A tag names the workload whoever reads its engine; as there are no counters of a bill's lines, nothing adds."""
    focus = FocusSettings(name="bill", kind="focus", path=str(tmp_path / "none" / "*.csv"))
    config = Config(collectors=(focus, PODS), workloads=(Workload("chat", {"team": "chat"}),))
    found = bill([line(0, 10, "50", tags=(("team", "chat"),))])
    with cluster(tmp_path, node(), pod("chat-1", 8, sidecar=True), hours=10, workloads=config.workloads) as sim:
        sim.say("bill", found)
        sim.tick()
        assert gpu_usd(sim, "chat") == pytest.approx(50)
        assert sim.value("llmcost_cost_usd_total", workload="chat", path="self_hosted", component="gpu") is None


def test_a_sidecars_pod_makes_no_workload() -> None:
    held = pod("chat-1", 8, sidecar=True)
    snapshot = Snapshot(1, 0, nodes={("pods", "n1"): node()}, allocations={("pods", held.key): held})
    assert views(Inputs(snapshot, Config(collectors=(PODS,)), {}, PriceBook({})), START + HOUR) == []


TWIN = replace(PODS, name="again")


def test_a_cluster_that_two_collectors_watch_counts_once(tmp_path: Path) -> None:
    facts = [node(), pod("chat-1", 4)]
    bills = (FocusSettings(name="bill", kind="focus", path=str(tmp_path / "none" / "*.csv")),)
    with cluster(tmp_path, *facts, hours=10, collectors=(*bills, PODS, TWIN)) as sim:
        sim.say("again", seen(START + 10 * HOUR, *facts))
        sim.tick()
        assert gpu_usd(sim, "llm/chat") == pytest.approx(80)
        assert sim.sum("llmcost_gpus") == 8
        assert sim.value("llmcost_gpus", collector="again", gpu="test-gpu", state="idle") is None
        sim.say("bill", bill([line(0, 10, "100")]))
        sim.tick()
        assert gpu_usd(sim, "llm/chat") == pytest.approx(50)
        assert parts(sim) == {"allocated": 50, "idle": 50}


def test_a_cluster_collector_that_got_a_new_name_counts_nothing_twice(tmp_path: Path) -> None:
    with cluster(tmp_path, node(), pod("chat-1", 4), hours=10, collectors=(TWIN,)) as sim:
        sim.now += 10 * HOUR
        sim.say("again", seen(START + 20 * HOUR, node(), pod("chat-1", 4), since=START + 10 * HOUR))
        sim.tick()
        assert gpu_usd(sim, "llm/chat") == pytest.approx(160)
        assert sim.sum("llmcost_gpus") == 8
