"""What the README says is what there is: its config loads, its metrics, files, commands and targets exist."""

import re
from decimal import Decimal
from pathlib import Path

import click
import pytest
import yaml
from click.testing import CliRunner
from prometheus_client.parser import text_string_to_metric_families

from exporter.__main__ import main
from exporter.config import Config
from exporter.config.load import load
from exporter.publish.families import BY_NAME

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    """The fenced blocks of a language."""
    pieces = re.split(r"^```(.*)\n", README, flags=re.M)[1:]
    fenced = list(zip(pieces[0::4], pieces[1::4], strict=True))  # opening, text, closing, what follows
    return [text for found, text in fenced if found == language]


def test_its_configuration_loads(tmp_path: Path) -> None:
    sidecar, values = blocks("yaml")
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(values)["config"]), encoding="utf-8")
    assert [settings.kind for settings in load(path).collectors] == ["kubernetes", "vllm", "aws_data_export"]
    (container,) = yaml.safe_load(sidecar)["initContainers"]
    command, *options = container["args"]
    known = main.get_command(click.Context(main), command)
    assert known is not None
    assert {option.partition("=")[0] for option in options} <= {o for p in known.params for o in p.opts}


@pytest.mark.parametrize("file", ["README.md", "deploy/README.md"])
def test_its_sidecar_is_one_of_a_fleet(file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With its workload's name and the role `sidecar`, as the recording rules and the alerts expect it."""
    text = (ROOT / file).read_text(encoding="utf-8")
    (container,) = yaml.safe_load(text.partition("```yaml\n")[2].partition("```")[0])["initContainers"]
    ran: list[Config] = []
    monkeypatch.setattr("exporter.service.serve", lambda config, _: ran.append(config))
    monkeypatch.setattr("exporter.commands.serve.set_up", lambda *_: None)
    done = CliRunner(env={"WORKLOAD": None}).invoke(main, container["args"])
    assert done.exit_code == 0, done.output
    (config,) = ran
    assert (config.role, [each.name for each in config.workloads]) == ("sidecar", ["chat"])
    (rate,) = config.collectors[1].rates
    assert (rate.workload, rate.count, rate.usd_per_hour) == ("chat", 2, Decimal("2.49"))


def test_the_lines_it_counts_are_as_many() -> None:
    sidecar, values = blocks("yaml")
    assert len(sidecar.splitlines()) == 5
    assert len([line for line in values.splitlines() if not line.startswith("#")]) == 10


def test_its_output_is_of_families_that_exist_with_their_labels() -> None:
    text = blocks("")[0]
    found = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    assert len(found) == 10
    assert all(set(sample.labels) == set(BY_NAME[sample.name].labels) for sample in found)


def test_every_metric_it_names_exists() -> None:
    assert set(re.findall(r"llmcost_[a-z_]+", README)) <= set(BY_NAME)


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\((?!http)([^)#]+)", README))))
def test_every_file_it_links_is_there(target: str) -> None:
    assert (ROOT / target).exists()


@pytest.mark.parametrize("line", [line for text in blocks("console") for line in text.replace("\\\n", "").splitlines()])
def test_every_command_it_prints_is_there(line: str) -> None:
    words = line.partition("#")[0].split()
    if words[0] == "make":
        assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
        return
    if not words[0].endswith("llm-cost-exporter"):
        assert words[0] in ("python3.11", "venv/bin/pip", "helm")  # how it is installed: .ci/install does the same
        return
    command = main.get_command(click.Context(main), words[1])
    assert command is not None
    options = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= options
