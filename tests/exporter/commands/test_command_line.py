"""The command line: documented options, the default command, exit statuses and what errors look like."""

import json
import logging
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from collectors import Context, build
from collectors.records import Batch
from exporter.__main__ import COMMANDS, main
from exporter.commands import logs
from exporter.commands.configured import configured
from exporter.commands.types import MOMENT
from exporter.config import Config
from exporter.ledger.store import Ledger

ROOT = Path(__file__).parents[3]
DOC = ROOT / "docs" / "command-line.md"
BAD = Path(__file__).parents[1] / "config" / "bad_configs" / "float-money.yaml"
QUICKSTART = ROOT / "deploy" / "examples" / "quickstart.yaml"


def run(*args: str) -> Result:
    return CliRunner().invoke(main, args, prog_name="llm-cost-exporter")


def command(name: str) -> click.Command:
    found = main.get_command(click.Context(main), name)  # type: ignore[attr-defined]  # the decorator says Command
    assert isinstance(found, click.Command)
    return found


def documented() -> dict[str, list[str]]:
    """The options in the tables, by the command in the heading above."""
    options: dict[str, list[str]] = {}
    name = ""
    for line in DOC.read_text().splitlines():
        if match := re.match(r"## `(\w+)`$", line):
            name = match[1]
            options[name] = []
        elif match := re.match(r"\| `(--[^`]+)` \|", line):
            options[name].append(match[1])
    return options


def test_every_command_is_documented_in_order() -> None:
    assert tuple(documented()) == COMMANDS


@pytest.mark.parametrize("name", COMMANDS)
def test_the_documented_options_are_those_of_the_command(name: str) -> None:
    options = [each.opts[0] for each in command(name).params if isinstance(each, click.Option) and each.name != "help"]
    assert documented()[name] == options


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name: str) -> None:
    result = run(name, "--help")
    assert result.exit_code == 0
    assert result.stdout.startswith(f"Usage: llm-cost-exporter {name} ")


def test_a_bad_config_is_one_line_per_problem_and_exit_status_2() -> None:
    for name in ("check", "once", "serve"):
        result = run(name, "--config.file", str(BAD))
        assert (result.exit_code, result.stdout) == (2, "")
        assert result.stderr == BAD.with_suffix(".txt").read_text()


def test_without_a_command_it_serves() -> None:
    result = run("--config.file", str(BAD))
    assert (result.exit_code, result.stderr) == (2, BAD.with_suffix(".txt").read_text())
    assert "expected --config.file FILE, or --engine URL" in run().stderr
    assert run("--version").stdout == "llm-cost-exporter, version 0.1.0\n"
    assert "breakeven" in run("--help").stdout


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["serv"], "no command 'serv'; did you mean 'serve'?"),
        (["xyz"], "no command 'xyz'; expected one of serve, once"),
        (["serve", "--engine", "http://h/metrics"], "--engine needs --gpu-usd-per-hour"),
        (["serve", "--config.file", "x", "--gpus", "2"], "--config.file cannot be combined"),
        (["serve", "--web.config.file", "web.yml"], "--web.config.file: TLS and authentication are not supported yet"),
        (["once"], "Missing option '--config.file'"),
        (["report", "--config.file", "x", "--from", "2026-02-01", "--to", "2026-01-01"], "--from must be before --to"),
        (["report", "--config.file", "x", "--from", "yesterday", "--to", "2026-01-01"], "expected a date like"),
    ],
)
def test_wrong_options_are_named_and_exit_status_2(args: list[str], message: str) -> None:
    result = run(*args)
    assert result.exit_code == 2
    assert message in result.stderr


def test_serving_gets_the_config_and_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[Config, str]] = []
    monkeypatch.setattr("exporter.service.serve", lambda config, listen: calls.append((config, listen)))
    monkeypatch.setattr("exporter.commands.serve.set_up", lambda *_: None)
    result = run("--config.file", str(QUICKSTART), "--web.listen-address", "127.0.0.1:0", "--log.level", "error")
    assert result.exit_code == 0, result.output
    ((config, listen),) = calls
    assert ([each.name for each in config.collectors], listen) == (["engine", "gpus"], "127.0.0.1:0")


def test_an_address_in_use_is_one_line_and_exit_status_1(monkeypatch: pytest.MonkeyPatch) -> None:
    def taken(*_: object) -> None:
        raise OSError("cannot listen on ':9482'")

    monkeypatch.setattr("exporter.service.serve", taken)
    result = run("--config.file", str(QUICKSTART))
    assert (result.exit_code, result.stderr) == (1, "error: cannot listen on ':9482'\n")


def test_checking_a_good_config(tmp_path: Path) -> None:
    assert run("check", "--config.file", str(QUICKSTART)).stdout == f"{QUICKSTART}: ok\n"
    printed = run("check", "--config.file", str(QUICKSTART), "--print").stdout
    (tmp_path / "printed.yaml").write_text(printed)
    assert run("check", "--config.file", str(tmp_path / "printed.yaml"), "--print").stdout == printed


H100 = '{workload: chat, gpu: h100, usd_per_hour: "2"}'
A100 = '{workload: chat, gpu: a100, usd_per_hour: "1"}'
UNNAMED = (
    "warning: the ledger holds rent of card %s that the configuration no longer names: its past cost is not shown; "
    "keep the rate with an `until`\n"
)


def rented(folder: Path, rates: str, name: str = "gpus") -> Path:
    config = folder / "config.yaml"
    config.write_text(
        f"collectors: [{{name: {name}, kind: rate_card, rates: [{rates}]}}]\n"
        f"workloads: [{{name: chat, match: {{model: a}}}}]\nstorage: {{path: '{folder}/ledger.db'}}\n"
    )
    return config


@pytest.mark.parametrize(
    ("rates", "name", "said"),
    [
        (f"{H100}, {A100}", "gpus", ""),
        (H100.replace("h100", "h100-80gb") + ", " + A100, "gpus", ""),
        (H100.replace("usd", "until: 2026-12-01, usd") + ", " + A100, "gpus", ""),
        (H100, "gpus", UNNAMED % "gpus/chat/a100/gpu"),
        (f"{H100}, {A100}", "rent", UNNAMED % "gpus/chat/a100/gpu" + UNNAMED % "gpus/chat/gpu"),
        (
            f"{A100}, {H100}",
            "gpus",
            "warning: the ledger holds rent of card gpus/chat/gpu for h100, the configuration gives that card to a100: "
            "list the rate of h100 first again\n",
        ),
    ],
    ids=["same", "other GPU name", "ended", "removed", "other collector", "other order"],
)
def test_checking_says_what_an_edit_makes_of_past_rent(tmp_path: Path, rates: str, name: str, said: str) -> None:
    first = configured(rented(tmp_path, f"{H100}, {A100}"))
    ledger = Ledger(tmp_path / "ledger.db", 0)
    for now in (1000, 2000):
        collector = build(first.collectors[0], Context(first_start=0))
        for batch in collector.collect(now, ledger.cursors("gpus")):
            assert isinstance(batch, Batch)
            ledger.commit("gpus", batch, now)
    result = run("check", "--config.file", str(rented(tmp_path, rates, name)))  # while the exporter runs
    ledger.close()
    assert (result.exit_code, result.stderr) == (0, said)


def test_checking_with_a_ledger_that_cannot_be_read_says_so(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").write_bytes(b"not a database" * 400)
    result = run("check", "--config.file", str(rented(tmp_path, H100)))
    assert (result.exit_code, result.stdout) == (0, f"{tmp_path}/config.yaml: ok\n")
    assert "warning: the rent in the ledger was not checked: " in result.stderr


def test_checking_live_says_which_source_does_not_answer(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(
        "collectors:\n"
        '  - {name: gpus, kind: rate_card, rates: [{workload: a, usd_per_hour: "1"}]}\n'
        f'  - {{name: bill, kind: focus, path: "{tmp_path}/none-*.csv"}}\n'
        "workloads: [{name: a, match: {model: a}}]\n"
    )
    result = run("check", "--config.file", str(config), "--live")
    assert result.exit_code == 1
    gpus, bill, reason = result.stdout.splitlines()
    assert gpus.startswith("gpus (rate_card): ok, ")
    assert bill == "bill (focus): failed, 0 read, 1 failed"
    assert "no file matches" in reason


def test_explain_and_report_read_the_ledger_or_say_why_not(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(
        f"storage: {{path: {tmp_path}/ledger.db}}\n"
        "collectors: [{name: gpus, kind: rate_card, rates: [{workload: a, usd_per_hour: 1}]}]\n"
    )
    missing = run("explain", "a", "--config.file", str(config))
    assert (missing.exit_code, missing.stderr.count("\n")) == (1, 1)
    assert "there is no ledger" in missing.stderr
    once = run("once", "--config.file", str(config))
    assert once.exit_code == 0, once.output
    assert "llmcost_exporter_collector_success" in once.stdout
    period = ("--config.file", str(config), "--from", "2026-01-01", "--to")
    assert json.loads(run("report", *period, "2026-01-02", "--output", "json").stdout)["from"] == "2026-01-01T00:00:00Z"
    ragged = run("report", *period, "2026-01-02T00:00:01Z")
    assert (ragged.exit_code, "keeps 5 minutes as one" in ragged.stderr) == (2, True)
    unknown = run("explain", "b", "--config.file", str(config))
    assert (unknown.exit_code, "Traceback" in unknown.stderr) == (1, False)
    assert "b" in unknown.stderr


def test_prices_of_a_model_and_of_a_gpu() -> None:
    result = run("prices", "openai/gpt-4o", "--at", "2026-01-31", "--output", "json")
    assert result.exit_code == 0
    assert any(rate["in_force"] for rate in json.loads(result.stdout)["rates"])
    assert "USD/Mtok  input" in run("prices", "openai/gpt-4o").stdout
    unknown = run("prices", "openai/gpt-4oo")
    assert (unknown.exit_code, unknown.stdout.splitlines()[0]) == (1, "openai/gpt-4oo: no price is known")


def test_help_loads_nothing_heavy() -> None:
    script = (
        "import sys\n"
        "from exporter.__main__ import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'pydantic', 'yaml', 'duckdb', 'genai_prices', 'httpx', 'jinja2', 'apscheduler', 'uvicorn'}\n"
        "print('loaded:', sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "loaded: []"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1970-01-02", 86400), ("1970-01-01T01:00:00Z", 3600), ("1970-01-01T01:00:00+01:00", 0)],
)
def test_points_in_time(text: str, seconds: int) -> None:
    assert MOMENT.convert(text, None, None) == seconds


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(click.BadParameter, match="expected a time with a zone"):
        MOMENT.convert("2026-01-01T00:00:00", None, None)


@pytest.fixture
def record() -> Iterator[logging.LogRecord]:
    made = logging.LogRecord("exporter.x", logging.WARNING, "", 0, 'engine %s: "no"\n', ("a b",), None)
    made.created = 1767225600.25
    yield made


def test_log_lines(record: logging.LogRecord) -> None:
    assert logs.Logfmt().format(record) == (
        'ts="2026-01-01T00:00:00.250Z" level=warn logger=exporter.x msg="engine a b: \\"no\\"\\n"'
    )
    assert json.loads(logs.JsonLines().format(record)) == {
        "ts": "2026-01-01T00:00:00.250Z",
        "level": "warn",
        "logger": "exporter.x",
        "msg": 'engine a b: "no"\n',
    }


def test_a_traceback_stays_on_the_line(record: logging.LogRecord) -> None:
    try:
        raise OSError("gone")
    except OSError:
        record.exc_info = sys.exc_info()
    assert "\n" not in logs.Logfmt().format(record)
    assert "OSError: gone" in json.loads(logs.JsonLines().format(record))["error"]
