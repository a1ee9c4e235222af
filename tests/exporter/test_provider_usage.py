"""A provider's usage through the whole exporter: windows follow what the provider says, counters only rise."""

from dataclasses import replace
from pathlib import Path

import pytest

from collectors.usage.log import UsageLogSettings
from collectors.usage.openai import OpenAISettings
from exporter.commands.ledger_warnings import ledger_warnings
from exporter.config import Config, Storage, Workload
from tests.collectors.usage.openai_stand_in import Call, OpenAIStandIn
from tests.collectors.usage.provider_books import DAY, MIDNIGHT
from tests.collectors.usage.test_openai import calls, truth
from tests.exporter.simulated import Simulation

NOW = MIDNIGHT + 9 * 3600


def counted(simulation: Simulation) -> int:
    counters = simulation.exporter.ledger.counters().items()
    return int(sum(one.value for (family, _), one in counters if family == "llmcost_tokens_total"))


def kept(simulation: Simulation) -> int:
    return sum(sum(one.tokens(0, 1 << 40).values()) for one in simulation.exporter.ledger.snapshot().series)


def test_an_api_that_revises_yesterday(tmp_path: Path) -> None:
    given = [replace(call, model="gpt-5-2025-08-07") for call in calls(60, MIDNIGHT - DAY, NOW) if not call.audio_in]
    (tmp_path / "key").write_text(OpenAIStandIn.key)
    with OpenAIStandIn(NOW, given) as stand_in:
        settings = OpenAISettings("openai", "openai", str(tmp_path / "key"), base_url=stand_in.url)
        config = Config(collectors=(settings,), storage=Storage(path=str(tmp_path / "ledger.db")))
        with Simulation(config) as simulation:
            simulation.at(NOW)
            highest = 0
            for revised in (given, _by(given, 500), _by(given, -300), given[::2], _by(given, 700)):
                stand_in.calls = list(revised)
                stand_in.now = int(simulation.now) + 300
                simulation.at(stand_in.now)
                total = sum(truth(revised).values())
                assert kept(simulation) == total
                assert counted(simulation) >= highest
                highest = max(highest, total)
            assert counted(simulation) == total  # every series has more than ever before
            assert not simulation.exporter.runner.running["openai"].failures


def test_every_part_that_failed_counts_and_each_reason_is_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "key").write_text("sk-of-somebody-else")
    with OpenAIStandIn(NOW, []) as stand_in:
        settings = OpenAISettings("openai", "openai", str(tmp_path / "key"), base_url=stand_in.url)
        config = Config(collectors=(settings,), storage=Storage(path=str(tmp_path / "ledger.db")))
        with Simulation(config) as simulation:
            simulation.at(NOW)
            failed = simulation.exporter.runner.running["openai"].failures
            parts = "llmcost_exporter_collector_parts"
            assert simulation.value(parts, collector="openai", state="failed") == len(failed) > 10
            assert len(set(failed.values())) == 2
            simulation.at(NOW + 300)
            assert len([record for record in caplog.records if record.levelname == "WARNING"]) == 2


def _by(given: list[Call], tokens: int) -> list[Call]:
    return [replace(call, input=max(0, call.input + tokens), audio_in=0) for call in given]


def _one_organization(directory: Path, url: str, *more: object) -> Config:
    (directory / "key").write_text(OpenAIStandIn.key)
    settings = OpenAISettings("openai", "openai", str(directory / "key"), base_url=url)
    workloads = (Workload("all", {"provider": "openai"}),)
    storage = Storage(path=str(directory / "ledger.db"))
    return Config(collectors=(settings, *more), workloads=workloads, storage=storage)


def test_a_project_under_another_name_is_not_counted_again(tmp_path: Path) -> None:
    given = [replace(call, model="gpt-5-2025-08-07") for call in calls(60, MIDNIGHT - DAY, NOW) if not call.audio_in]
    with (
        OpenAIStandIn(NOW, given) as stand_in,
        Simulation(_one_organization(tmp_path, stand_in.url)) as simulation,
    ):
        simulation.at(NOW)
        names: tuple[dict[str, str], ...] = (
            {"proj_a": "Alpha 2", "proj_b": "Beta"},
            {"proj_a": "Third", "proj_b": "B"},
            {},
        )
        for hours, projects in enumerate(names, 1):
            stand_in.projects, stand_in.now = dict(projects), NOW + hours * 4500
            simulation.at(stand_in.now)
            assert kept(simulation) == counted(simulation) == sum(truth(given).values())


def test_tokens_whose_band_is_no_longer_told_are_not_counted_again(tmp_path: Path) -> None:
    given = [replace(call, model="gpt-5-2025-08-07") for call in calls(60, MIDNIGHT - DAY, NOW) if not call.audio_in]
    log = UsageLogSettings(name="other", kind="usage_log", path=str(tmp_path / "none*.jsonl"))
    with OpenAIStandIn(NOW, given) as stand_in:
        for at, more in ((NOW, ()), (NOW + 1800, (log,))):
            stand_in.now = at
            with Simulation(_one_organization(tmp_path, stand_in.url, *more)) as simulation:
                simulation.at(at)
                assert kept(simulation) == counted(simulation) == sum(truth(given).values())


def test_an_account_under_another_name_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    given = [replace(call, model="gpt-5-2025-08-07") for call in calls(60, MIDNIGHT - DAY, NOW) if not call.audio_in]
    with OpenAIStandIn(NOW, given) as stand_in:
        config = _one_organization(tmp_path, stand_in.url)
        for at, name in ((NOW, "openai"), (NOW + 1800, "openai-prod"), (NOW + 3600, "openai-prod")):
            stand_in.now = at
            settings = replace(config.collectors[0], name=name)
            with Simulation(replace(config, collectors=(settings,))) as simulation:
                simulation.at(at)
                simulation.now += 900
                simulation.tick()
                shown = simulation.sum("llmcost_window_tokens", window="7d")
                assert kept(simulation) == counted(simulation) == shown == sum(truth(given).values())
                assert simulation.sum("llmcost_window_coverage_ratio", window="24h") > 0.98
        assert "openai is read under the name openai-prod now" in caplog.text
        (tmp_path / "other").write_text(OpenAIStandIn.key)
        other = replace(config.collectors[0], name="third", admin_key_file=str(tmp_path / "other"))
        assert ledger_warnings(replace(config, collectors=(other,))) == [
            "the ledger holds usage of openai-prod (openai), whose source the configuration no longer names, and third "
            "is new: if both are one account, what both have read counts twice; then give third the name openai-prod"
        ]
