"""A provider's usage through the whole exporter: windows follow what the provider says, counters only rise."""

from dataclasses import replace
from pathlib import Path

from collectors.usage.openai import OpenAISettings
from exporter.config import Config, Storage
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


def _by(given: list[Call], tokens: int) -> list[Call]:
    return [replace(call, input=max(0, call.input + tokens), audio_in=0) for call in given]
