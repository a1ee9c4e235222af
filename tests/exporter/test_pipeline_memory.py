"""What a running exporter remembers from tick to tick never shows: every page is that of a fresh one."""

from dataclasses import replace
from pathlib import Path

from collectors.settings import Duration, Instant
from exporter.breakeven.status import fold
from exporter.config import DecisionSettings
from exporter.ledger.store import Ledger
from exporter.publish.page import render
from exporter.publish.process import process_samples
from exporter.publish.samples import samples
from exporter.reconcile.build import Inputs, closed_through, views
from exporter.reconcile.report import Report
from exporter.reconcile.reporting import report
from tests.exporter.simulated import START, Simulation, config, engine
from tests.exporter.test_pipeline import steady
from tests.exporter.test_pipeline_bills import deliver, with_bill

HOUR = 3600
DAY = 86400


def fresh(sim: Simulation) -> Report:
    """The report of now by one that remembers nothing, from the file."""
    pipeline, now = sim.exporter.pipeline, int(sim.now)
    ledger = Ledger.read_only(sim.exporter.ledger.path, now)
    try:
        inputs = Inputs(
            ledger.snapshot(), pipeline.config, pipeline.cards, sim.exporter.pricer.book, dict(pipeline.automatic)
        )
        shown, end = pipeline._shown_states(), closed_through(now, pipeline.settle)
        return report(inputs, views(inputs, now), shown, now, end)
    finally:
        ledger.close()


def test_every_report_equals_one_made_from_nothing(tmp_path: Path) -> None:
    """Outages, bills that come and change, a card that is paid while running, compaction, a day that ends."""
    with engine(steady()) as vllm:
        settings = with_bill(tmp_path, vllm)
        running, cards, *others = settings.collectors
        rate = replace(cards.rates[0], billing="while_running", from_=Instant(START - HOUR))
        settings = replace(settings, collectors=(running, replace(cards, rates=(rate,)), *others))
        with Simulation(settings, vllm) as sim:
            for at in range(START, START + 27 * HOUR, 700):
                hour = (at - START) // HOUR
                vllm.served = (lambda now: None) if hour in (2, 9) else steady()
                if hour % 5 == 4:
                    deliver(tmp_path / "bill.csv", {h: f"{6 + (h + hour) % 3}.25" for h in range(hour - 1)}, at)
                if hour == 20:
                    sim.exporter.ledger.compact(at + 8 * DAY - 12 * HOUR)
                state = sim.at(at)
                assert state.report is not None
                assert replace(state.report, at=0) == replace(fresh(sim), at=0)
                assert sim.exporter._gather(state, 200) == samples(state, 200)
                families = [*samples(state, 200), *process_samples()]
                assert sim.exporter._render(families, 0.0) == render(families, 0.0)
            assert state.report.superseded_usd["gpus"] > 0 and state.report.bills


def test_a_kept_status_is_used_again_and_a_changed_rule_folds_anew(tmp_path: Path) -> None:
    decision = DecisionSettings(ratio_window=Duration(6 * HOUR), sustain=Duration(3 * HOUR), min_age=Duration(HOUR))
    with engine(steady()) as vllm:
        settings = config(tmp_path, vllm, decision=decision)
        with Simulation(settings, vllm) as sim:
            sim.until(START + 8 * HOUR, 300)
            states, made = sim.exporter.pipeline.states, sim.exporter.ledger.evaluations()
            (kept,) = sim.exporter.ledger.folds()
            assert made and kept.at == made[-1].at
            assert sim.exporter.ledger.evaluations_of(kept) == []
        with Simulation(settings, vllm) as sim:
            assert sim.exporter.pipeline.states == states == {key: fold(made, decision) for key in states}
        other = replace(decision, sustain=Duration(HOUR))
        for _ in range(2):  # the second one finds it kept under the new rule
            with Simulation(replace(settings, decision=other), vllm) as sim:
                assert sim.exporter.pipeline.states == {key: fold(made, other) for key in states}
