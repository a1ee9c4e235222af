"""What was metered stays what it was: whatever is taken out of the configuration, renamed or matched anew, and however
a clock jumps, no dollar and no token counts twice."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from collectors.billing.rate_card import Rate, RateCardSettings
from collectors.engines.vllm import VllmSettings
from collectors.records import DAY, HOUR, Batch, Labels, Observed, Usage, Window
from collectors.settings import Instant, Money
from collectors.usage.log import UsageLogSettings
from exporter.config import Alternative, Config, Storage, Workload
from tests.exporter.cluster import PODS, listed, node, pod, seen
from tests.exporter.simulated import START, Simulation

RENT = RateCardSettings(
    "gpus",
    "rate_card",
    rates=(Rate(workload="chat", gpu="h100", count=Money("1"), usd_per_hour=Money("10"), from_=Instant(START)),),
)
CHAT = Workload("chat", {"model": "tiny"}, alternatives=(Alternative(api="acme/tiny"),))
SHARED = {"workload": "chat", "path": "self_hosted"}


def configured(
    directory: Path, collectors: Sequence[object] = (RENT,), workloads: Sequence[Workload] = (CHAT,)
) -> Config:
    storage = Storage(path=str(directory / "ledger.db"))
    return Config(workloads=tuple(workloads), collectors=tuple(collectors), storage=storage)


CHAT_0 = (("namespace", "llm"), ("owner", "chat"), ("pod", "chat-0"))


def served(
    start: int, end: int, stream: str = "", tokens: int = 600_000, model: str = "tiny", labels: Labels = ()
) -> Batch:
    """What a meter says of `[start, end)`: as many tokens in every slot."""
    slots = range(start, end, 300)
    rows = [Usage(at, "self_hosted", "vllm", model, {"input": tokens}, 1, labels=labels) for at in slots]
    return Batch(stream, usage=rows, observed=[Observed(Window(start, end), stream)], stream=stream, cursor="x")


def test_a_check_that_is_taken_out_or_renamed_does_not_become_traffic(tmp_path: Path) -> None:
    def log(name: str) -> UsageLogSettings:
        path = str(tmp_path / "none*.jsonl")
        return UsageLogSettings(name=name, kind="usage_log", path=path, serves="self_hosted", role="check")

    ratios: list[float | None] = []
    for more in ((log("gateway"),), (), (log("router"),)):
        with Simulation(configured(tmp_path, (RENT, *more))) as sim:
            sim.now = float(START + 30 * HOUR)
            for name in ("engine", "gateway") if not ratios else ():
                sim.say(name, served(START, START + 30 * HOUR))
            sim.now += 330
            sim.exporter.runner.collect("gpus")
            sim.tick()
            ratio = {"name": "llmcost_break_even_ratio", "alternative": "api:acme/tiny", "window": "24h"}
            ratios.append(sim.value(**ratio, **SHARED))
            tokens = sim.value("llmcost_window_tokens", token_type="input", window="24h", **SHARED)
            assert tokens == 24 * 12 * 600_000
    assert ratios == [pytest.approx(0.72)] * 3


def cost(sim: Simulation) -> dict[str, float]:
    counters = sim.exporter.ledger.counters().items()
    return {labels[0]: float(one.value) for (name, labels), one in counters if name == "llmcost_cost_usd_total"}


def test_a_pod_that_is_matched_to_another_workload_and_back_is_counted_once(tmp_path: Path) -> None:
    mine = Workload("chat", {"app": "chat"})
    for hours, workloads in (((0, 2), ()), ((2, 20), (mine,)), ((20, 21), ()), ((21, 24), (mine,))):
        with Simulation(configured(tmp_path, (PODS,), workloads)) as sim:
            for now in range(START + hours[0] * HOUR, START + hours[1] * HOUR + 1, 600):
                facts = (listed(), node(), pod("chat-0", 8, app="chat")) if now == START else ()
                sim.now = float(now)
                sim.say("pods", seen(now, *facts, since=max(START, now - 700)))
                sim.tick()
    first = 16 / 6  # a counter begins at its first tick
    assert cost(sim) == {"llm/chat": pytest.approx(3 * 16 - first), "chat": pytest.approx(21 * 16)}


def test_a_pod_whose_engine_serves_a_second_model_is_counted_once(tmp_path: Path) -> None:
    bot = Workload("bot", {"model": "other"})
    with Simulation(configured(tmp_path, (PODS,), (CHAT, bot))) as sim:
        for now in range(START, START + 24 * HOUR + 1, 600):
            sim.now = float(now)
            facts = (listed(), node(), pod("chat-0", 8)) if now == START else ()
            sim.say("pods", seen(now, *facts, since=max(START, now - 700)))
            if now in (START + 2 * HOUR, START + 20 * HOUR):
                model = "tiny" if now < START + 20 * HOUR else "other"
                sim.say("engine", served(now - 300, now, "llm/chat-0", model=model, labels=CHAT_0))
            sim.tick()
    assert sum(cost(sim).values()) == pytest.approx(24 * 16 - 2 * 16 / 6)  # two counters begin at their first tick


def test_a_clock_that_was_ahead_freezes_neither_the_status_nor_the_counter(tmp_path: Path) -> None:
    shown = []
    for ahead in (0, 40 * DAY, 800 * DAY):
        directory = tmp_path / str(ahead)
        directory.mkdir()
        with Simulation(configured(directory)) as sim:
            counters = []
            for hour in range(1, 90):
                if hour == 60 and ahead:
                    sim.at(sim.now + ahead, "gpus")
                    sim.tick()
                sim.now = float(START + hour * HOUR)
                sim.say("engine", served(START + hour * HOUR - HOUR, START + hour * HOUR, tokens=300_000))
                sim.exporter.runner.collect("gpus")
                sim.tick()
                counters.append(cost(sim)["chat"])
            names = ("llmcost_break_even_status", "llmcost_break_even_status_since_timestamp_seconds")
            shown.append({key: value for key, value in sim.samples().items() if key[0] in names})
            assert counters == sorted(counters)
            assert counters[-1] - counters[-20] == pytest.approx(19 * 10)
            ats = [one.at for one in sim.exporter.ledger.evaluations()]
            assert ats == list(range(START + HOUR, START + 89 * HOUR + 1, HOUR))
    assert shown[0] == shown[1] == shown[2]


def test_a_clock_that_steps_back_a_little_counts_nothing_twice(tmp_path: Path) -> None:
    with Simulation(configured(tmp_path)) as sim:
        for at in (0, HOUR, HOUR - 60, HOUR - 30, 2 * HOUR):
            sim.at(START + at)
        assert cost(sim)["chat"] == pytest.approx(2 * 10)


def test_a_clock_that_steps_back_a_day_counts_nothing_twice(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with Simulation(configured(tmp_path)) as sim:
        for at in (0, 48 * HOUR, 24 * HOUR, 24 * HOUR + 60, 48 * HOUR, 49 * HOUR):
            sim.at(START + at)
        assert cost(sim)["chat"] == pytest.approx(49 * 10)
    (said,) = [record.getMessage() for record in caplog.records if record.name == "exporter.accruing"]
    assert said.startswith("costs are counted through 2027-01-17 00:00 UTC") and "clock behind?" in said


def test_a_machine_that_does_not_know_the_time_yet_counts_nothing_twice(tmp_path: Path) -> None:
    with Simulation(configured(tmp_path)) as sim:
        for at in (0, 48 * HOUR, -800 * DAY, -800 * DAY + 60, 49 * HOUR):
            sim.at(START + at)
        assert cost(sim)["chat"] == pytest.approx(49 * 10)


def test_evaluations_outlive_a_clock_that_is_a_day_behind(tmp_path: Path) -> None:
    def story(steps_back: int) -> dict[object, float]:
        directory = tmp_path / str(steps_back)
        directory.mkdir()
        with Simulation(configured(directory)) as sim:
            for hour in range(1, 91):
                if hour == 80 and steps_back:
                    for at in range(3):
                        sim.now += HOUR if at else -steps_back
                        sim.tick()
                sim.now = float(START + hour * HOUR)
                sim.say("engine", served(START + hour * HOUR - HOUR, START + hour * HOUR, tokens=300_000))
                sim.exporter.runner.collect("gpus")
                sim.tick()
            assert [one.at for one in sim.exporter.ledger.evaluations()] == list(
                range(START + HOUR, START + 90 * HOUR + 1, HOUR)
            )
            names = ("llmcost_break_even_status", "llmcost_break_even_status_since_timestamp_seconds")
            return {key: value for key, value in sim.samples().items() if key[0] in names}

    assert story(30 * HOUR) == story(0)


@pytest.mark.parametrize("rented", [True, False])
def test_while_no_pod_is_there_nothing_is_served_and_the_rent_burns(tmp_path: Path, rented: bool) -> None:
    finding = VllmSettings(name="engine", kind="vllm", discover="pods")
    gone, back, end = START + 12 * HOUR, START + 24 * HOUR, START + 36 * HOUR
    with Simulation(configured(tmp_path, (RENT, PODS, finding) if rented else (PODS, finding))) as sim:
        sim.now = float(gone)
        facts = () if rented else (listed(), node(), pod("chat-0", 8, end=gone))
        sim.say("pods", seen(gone, *facts))
        sim.say("engine", served(START, gone, "llm/chat-0", labels=CHAT_0))
        sim.exporter.ledger.retire("engine", ["llm/chat-0"], gone)
        sim.now = float(end)
        sim.say("pods", seen(end, *(() if rented else (pod("chat-1", 8, start=back),)), since=gone))
        sim.say("engine", served(back, end, "llm/chat-1", labels=CHAT_0))
        if rented:
            sim.exporter.runner.collect("gpus")
        sim.now += sim.exporter.pipeline.settle
        sim.tick()
        assert sim.value("llmcost_window_coverage_ratio", window="7d", **SHARED) == 1
        usd = sim.sum("llmcost_effective_cost_usd", window="7d", component="gpu", **SHARED)
        assert usd == pytest.approx(36 * 10 if rented else 24 * 16)
        tokens = sim.value("llmcost_window_tokens", token_type="input", window="7d", **SHARED)
        assert tokens == 24 * 12 * 600_000
