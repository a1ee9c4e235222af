"""The cost counters of workloads on nodes: they agree with the windows where nothing is restated, and never count a
second twice, whatever a card, a late cluster, a late bill or a restart does."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from collectors.billing.focus import FocusSettings
from collectors.billing.rate_card import Rate, RateCardSettings
from collectors.records import DAY, HOUR, Allocation, ListPrice, Node
from collectors.settings import Instant, Money
from exporter.config import Config, Storage
from tests.exporter.cluster import PODS, bill, line, listed, node, pod, seen
from tests.exporter.simulated import START, Simulation
from tests.exporter.test_pipeline_cluster import gpu_usd

STEP = 180
LAG = 20
"""Seconds by which what the cluster vouches for is behind a tick."""


def card(usd: str, **more: object) -> RateCardSettings:
    rate = Rate(workload="llm/chat", usd_per_hour=Money(usd), from_=Instant(START), **more)  # type: ignore[arg-type]
    return RateCardSettings(name="contract", kind="rate_card", rates=(rate,))


@contextmanager
def exporter(directory: Path, *cards: RateCardSettings) -> Iterator[Simulation]:
    focus = FocusSettings(name="bill", kind="focus", path=str(directory / "none" / "*.csv"))
    config = Config(collectors=(focus, *cards, PODS), storage=Storage(path=str(directory / "ledger.db")))
    with Simulation(config) as sim:
        yield sim


def through(
    sim: Simulation, start: float, hours: float, *facts: Node | Allocation | ListPrice, away: bool = False
) -> None:
    """Tick every three minutes from `start` hours on; the cluster is seen all the time, or not at all (`away`)."""
    begin, end = START + int(start * HOUR), START + int((start + hours) * HOUR)
    for now in range(begin, end + 1, STEP):
        sim.now = float(now)
        if not away:
            sim.say("pods", seen(max(begin, now - LAG), *facts, since=max(START, begin - STEP - LAG)))
        if "contract" in sim.exporter.runner.running:
            sim.exporter.runner.collect("contract")
        sim.tick()


def counted(sim: Simulation) -> float:
    value = sim.value("llmcost_cost_usd_total", workload="llm/chat", path="self_hosted", component="gpu")
    return 0.0 if value is None else value


@pytest.mark.parametrize("cards", [(), (card("10"),), (card("10", nodes=("node-n1",)),)])
def test_an_hours_increase_is_what_the_window_says(tmp_path: Path, cards: tuple[RateCardSettings, ...]) -> None:
    facts = [node(), node("n2", "i-2"), pod("chat-1", 8), pod("chat-2", 4, on="n2")]
    with exporter(tmp_path, *cards) as sim:
        through(sim, 0, 1, listed(), *facts)
        before = counted(sim)
        through(sim, 1, 1)
        assert counted(sim) - before == pytest.approx(gpu_usd(sim, "llm/chat", "1h"), rel=0.01)


def test_an_hours_increase_is_what_the_window_says_on_a_calibrated_price_beside_a_card(tmp_path: Path) -> None:
    days, start = 9, 9 * 24
    with exporter(tmp_path, card("10")) as sim:
        sim.now = float(START + days * DAY)
        sim.say("pods", seen(START + days * DAY, listed(), node(), pod("chat-1", 8)))
        for _ in range(2):
            sim.say("bill", bill([line(24 * day, 24, "192") for day in range(days - 2)], days))
        through(sim, start, 1)
        before = counted(sim)
        through(sim, start + 1, 1)
        assert gpu_usd(sim, "llm/chat", "1h") == pytest.approx(8)
        assert counted(sim) - before == pytest.approx(8, rel=0.01)


def test_while_the_cluster_is_away_nothing_is_counted_and_afterwards_all_of_it_once(tmp_path: Path) -> None:
    with exporter(tmp_path) as sim:
        through(sim, 0, 1, listed(), node(), pod("chat-1", 8))
        begun = counted(sim)
        through(sim, 1 + STEP / HOUR, 2 - STEP / HOUR, away=True)
        assert counted(sim) - begun == 0
        through(sim, 3, 1)
        assert counted(sim) - begun == pytest.approx(3 * 16, rel=0.01)


def test_a_restart_and_an_outage_of_the_exporter_count_nothing_twice(tmp_path: Path) -> None:
    with exporter(tmp_path) as sim:
        through(sim, 0, 1, listed(), node(), pod("chat-1", 8))
        begun = counted(sim)
    with exporter(tmp_path) as sim:
        through(sim, 3, 1)
        through(sim, 4, 1)
        assert counted(sim) - begun == pytest.approx(4 * 16, rel=0.01)


def test_a_card_that_comes_and_goes_counts_no_second_of_its_nodes_twice(tmp_path: Path) -> None:
    with exporter(tmp_path) as sim:
        through(sim, 0, 1, listed(), node(), pod("chat-1", 8))
        begun = counted(sim)
    with exporter(tmp_path, card("10")) as sim:
        through(sim, 1, 2)
    with exporter(tmp_path) as sim:
        through(sim, 3, 1)
        assert counted(sim) - begun == pytest.approx(2 * 10 + 16, rel=0.01)


def test_a_bill_before_any_list_price_counts_from_then_on_and_never_back(tmp_path: Path) -> None:
    facts = [node(instance_type="unheard-of"), pod("chat-1", 8)]
    with exporter(tmp_path) as sim:
        through(sim, 0, 10, *facts)
        assert counted(sim) == 0
        values = []
        for hours in (6, 8, 5, 9):  # the bill grows, is restated, and grows
            sim.say("bill", bill([line(0, hours, str(10 * hours))]))
            sim.tick()
            values.append(counted(sim))
        assert values == [0, 20, 20, 30]


def test_a_bill_restated_up_down_and_away_never_lowers_a_counter(tmp_path: Path) -> None:
    with exporter(tmp_path) as sim:
        through(sim, 0, 2, listed(), node(), pod("chat-1", 8))
        last = counted(sim)
        for at, usd in enumerate(("100", "1", "-5", None, "32")):
            sim.say("bill", bill([] if usd is None else [line(0, 2, usd)]))
            through(sim, 2 + at, 1)
            assert counted(sim) - last == pytest.approx(16, rel=0.02)
            last = counted(sim)


def test_a_card_is_not_lost_where_its_pod_ended_while_the_cluster_was_away(tmp_path: Path) -> None:
    days, start = 9, 9 * 24
    with exporter(tmp_path, card("10")) as sim:
        sim.now = float(START + days * DAY)
        sim.say("pods", seen(START + days * DAY, listed(), node(), pod("chat-1", 8)))
        for _ in range(2):
            sim.say("bill", bill([line(24 * day, 24, "192") for day in range(days - 2)], days))
        through(sim, start, 1)
        before, ended = counted(sim), START + (start + 1) * HOUR
        through(sim, start + 1, 10, away=True)
        assert counted(sim) == before
        over = pod("chat-1", 8, end=ended)
        sim.say("pods", seen(START + (start + 11) * HOUR, node(), over, since=ended - STEP - LAG))
        through(sim, start + 11, 1)
        assert counted(sim) - before == pytest.approx(11 * 10, rel=0.01)
