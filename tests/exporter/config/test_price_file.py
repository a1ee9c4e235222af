"""The price file that a config names is a part of it: what is wrong there is wrong with the config."""

from pathlib import Path

import pytest
import yaml

from exporter.config import ConfigError
from exporter.config.load import load
from tests.exporter.commands.test_command_line import run


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    log = {"name": "gateway", "kind": "usage_log", "path": f"{tmp_path}/*.jsonl"}
    path.write_text(yaml.safe_dump({"collectors": [log], "prices": {"overrides": f"{tmp_path}/prices.yaml"}}))
    return path


def problems(config: Path) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        load(config)
    return caught.value.problems


def test_a_file_that_is_not_there(config: Path) -> None:
    (line,) = problems(config)
    assert line == f"prices.overrides: {config.parent}/prices.yaml cannot be read: No such file or directory"


def test_every_problem_of_the_file_is_a_line(config: Path) -> None:
    prices = config.parent / "prices.yaml"
    prices.write_text("prices: [{provider: a, model: m, usd_per_mtok: {input: -1}, colour: red}]")
    assert problems(config) == (
        f"{prices}: prices[0].usd_per_mtok.input: expected 0 or more, got -1",
        f"{prices}: prices[0].colour: unknown key",
    )
    for command in ("check", "once"):
        result = run(command, "--config.file", str(config))
        assert result.exit_code == 2 and result.stderr.splitlines() == list(problems(config))


def test_a_good_file(config: Path) -> None:
    prices = config.parent / "prices.yaml"
    prices.write_text("prices: []")
    assert load(config).prices.overrides == str(prices)
