"""Whose the GPUs of a pod are: tokens and GPUs of one pod go to one workload, at every time of its life."""

from pathlib import Path

import pytest

from collectors.records import DAY, HOUR, OPEN, SLOT, Allocation, Batch, Observed, Usage, Window
from exporter.config import Workload
from exporter.ledger.snapshot import SeriesKey, UsageSeries
from exporter.reconcile.owners import Owners
from tests.exporter.cluster import listed, node, pod, seen
from tests.exporter.simulated import START, Simulation
from tests.exporter.test_pipeline_cluster import cluster, gpu_usd

MODELS = (Workload("a", {"model": "model-a"}), Workload("b", {"model": "model-b"}))


def served(name: str, begin: int, end: int, model: str, **labels: str) -> Batch:
    """What the engine in a pod served over `[begin, end)`."""
    own = tuple(sorted({**dict(pod(name, 0).labels), **labels}.items()))
    slots = range(begin - begin % SLOT, end, SLOT)
    usage = [Usage(slot, "self_hosted", "vllm", model, {"input": 10}, 1, labels=own) for slot in slots]
    observed = [Observed(Window(begin, end), f"llm/{name}")]
    return Batch(f"llm/{name}", usage=usage, observed=observed, stream=f"llm/{name}", cursor=str(end))


def counted(sim: Simulation, workload: str) -> float | None:
    return sim.value("llmcost_cost_usd_total", workload=workload, path="self_hosted", component="gpu")


def test_a_pod_that_comes_back_with_another_model_leaves_the_past_where_it_was(tmp_path: Path) -> None:
    """As a StatefulSet's does, under the same name; the old model's last slot is the new one's first."""
    again = START + 5 * DAY + 100
    with cluster(tmp_path, hours=0, workloads=MODELS) as sim:
        sim.say("pods", seen(START + HOUR, listed(), node(), pod("chat-0", 8)))
        sim.say("engines", served("chat-0", START, again, "model-a"))
        for through, facts in (
            (START + HOUR, ()),
            (again, (pod("chat-0", 8, end=again),)),
            (again + 60, (pod("chat-0", 8, start=again),)),
        ):
            sim.say("pods", seen(through, *facts))
            sim.now = through + 10.0
            sim.tick()
            assert gpu_usd(sim, "llm/chat") is None
        sim.say("engines", served("chat-0", again + 200, START + 6 * DAY, "model-b"))
        sim.say("pods", seen(START + 6 * DAY))
        sim.now = float(START + 6 * DAY + 10)
        sim.tick()
        shown = {name: gpu_usd(sim, name) for name in ("a", "b", "llm/chat")}
        assert shown["llm/chat"] is None
        assert shown["a"] == pytest.approx(16 * 120, abs=1)
        assert shown["b"] == pytest.approx(16 * 24, abs=2)
        assert counted(sim, "llm/chat") is None
        total = (counted(sim, "a") or 0) + (counted(sim, "b") or 0)
        assert total <= 16 * 24 * 6


def test_the_gpus_go_where_the_tokens_go(tmp_path: Path) -> None:
    """The engine's model is configured first, the pod's labels match a later workload; and the other way round."""
    model, label = Workload("llama", {"model": "model-a"}), Workload("rest", {"namespace": "llm"})
    for first, second in ((model, label), (label, model)):
        directory = tmp_path / first.name
        directory.mkdir()
        with cluster(directory, node(), pod("chat-1", 8), hours=10, workloads=(first, second)) as sim:
            sim.say("engines", served("chat-1", START, START + 10 * HOUR, "model-a"))
            sim.tick()
            assert gpu_usd(sim, first.name) == pytest.approx(160)
            assert gpu_usd(sim, second.name) is None
            tokens = sim.value(
                "llmcost_window_tokens", workload=first.name, path="self_hosted", token_type="input", window="24h"
            )
            assert tokens == 10 * 12 * 10


def rows(name: str, model: str, begin: int, end: int, seconds: int = SLOT, **labels: str) -> UsageSeries:
    own = tuple(sorted({"namespace": "llm", "owner": "big", "pod": name, **labels}.items()))
    key = SeriesKey("engines", f"llm/{name}", "self_hosted", "vllm", model, labels=own)
    return UsageSeries(key, [(at, seconds, {"input": 1}, 1) for at in range(begin - begin % seconds, end, seconds)])


def whose(series: list[UsageSeries], name: str, start: int, end: int = OPEN, **labels: str) -> str:
    held: Allocation = pod(name, 8, start, end, owner="big", **labels)
    return Owners.of(series, MODELS).workload(held.labels, held.window)


@pytest.mark.parametrize("seconds", [SLOT, HOUR])
def test_a_name_is_looked_up_in_the_time_of_the_pod(seconds: int) -> None:
    change = 10 * HOUR + 1000
    one = [rows("x-0", "model-a", 0, change, seconds), rows("x-0", "model-b", change + 100, 20 * HOUR, seconds)]
    assert whose(one, "x-0", 0, change) == "a"
    assert whose(one, "x-0", change + 50) == "b"
    assert whose(one, "x-0", 30 * HOUR) == "b", "it served that before it was made anew"
    assert whose([one[0]], "x-0", change + 50) == "a"


def test_a_pod_that_serves_several_models_at_once_says_nothing() -> None:
    both = [rows("x-0", "model-a", 0, DAY), rows("x-0", "model-b", 0, DAY)]
    assert whose(both, "x-0", 0) == "llm/big"
    assert whose([both[0], rows("x-1", "model-b", 0, DAY)], "x-2", 0) == "llm/big"
    assert whose([both[0], rows("x-1", "model-b", 0, DAY)], "x-1", 0) == "b"


def test_the_workers_of_a_group_are_their_leader_s() -> None:
    kind = {"owner_kind": "LeaderWorkerSet"}
    rolled = [rows("big-0", "model-a", 0, DAY), rows("big-1", "model-a", 0, 2 * DAY)]
    rolled.append(rows("big-0", "model-b", DAY + 600, 3 * DAY))
    assert whose(rolled, "big-0-1", 0, DAY, **kind) == "a"
    assert whose(rolled, "big-0-1", DAY, **kind) == "b"
    assert whose(rolled, "big-1-1", 0, **kind) == "a"
