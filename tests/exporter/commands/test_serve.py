"""`serve` on one engine that options name: what config they stand for."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from exporter.__main__ import main
from exporter.config import Config

QUICKSTART = Path(__file__).parents[3] / "deploy" / "examples" / "quickstart.yaml"


def served(monkeypatch: pytest.MonkeyPatch, *args: str, **environ: str) -> Config:
    """The config that `serve` with these arguments would run."""
    ran: list[Config] = []
    monkeypatch.setattr("exporter.service.serve", lambda config, _: ran.append(config))
    monkeypatch.setattr("exporter.commands.serve.set_up", lambda *_: None)
    result = CliRunner(env={"WORKLOAD": None, **environ}).invoke(main, args)
    assert result.exit_code == 0, result.output
    return ran[0]


ENGINE = ("serve", "--engine=http://127.0.0.1:8000/metrics", "--gpu-usd-per-hour=2.49")


def test_one_engine_has_the_workload_and_the_role_that_the_options_say(monkeypatch: pytest.MonkeyPatch) -> None:
    config = served(monkeypatch, *ENGINE)
    assert (config.role, config.workloads[0].name) == ("cluster", "engine")
    config = served(monkeypatch, *ENGINE, "--role=sidecar", "--workload=chat")
    assert (config.role, config.workloads[0].name) == ("sidecar", "chat")
    (rate,) = config.collectors[1].rates
    assert rate.workload == "chat" and config.publish.windows == ("1h",)


def test_the_workload_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert served(monkeypatch, *ENGINE, WORKLOAD="chat").workloads[0].name == "chat"
    assert served(monkeypatch, *ENGINE, "--workload=mail", WORKLOAD="chat").workloads[0].name == "mail"
    assert served(monkeypatch, *ENGINE, WORKLOAD="").workloads[0].name == "engine"
    assert served(monkeypatch, "--config.file", str(QUICKSTART), WORKLOAD="chat").workloads[0].name == "engine"


@pytest.mark.parametrize("option", ["--role=sidecar", "--workload=chat"])
def test_role_and_workload_are_the_configs_where_there_is_one(option: str) -> None:
    result = CliRunner().invoke(main, ("serve", "--config.file", str(QUICKSTART), option))
    assert result.exit_code == 2
    assert "--config.file cannot be combined with --engine and its options" in result.stderr


def test_a_workload_name_that_cannot_be_is_the_options_error() -> None:
    result = CliRunner().invoke(main, (*ENGINE, "--workload", " "))
    assert (result.exit_code, result.stderr) == (2, "--workload: expected a name, got ' '\n")
