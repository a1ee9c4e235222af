import csv
import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from urllib.request import urlopen

import pytest
import yaml
from click.testing import CliRunner

from exporter.__main__ import main
from exporter.demo import Demo, prepare
from exporter.demo.bill import DAYS, GPU_USD_PER_HOUR

STARTED = 1_795_209_872


class Clock:
    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock(STARTED)


@pytest.fixture
def demo(tmp_path: Path, clock: Clock) -> Iterator[Demo]:
    demo = prepare(tmp_path, STARTED, clock)
    demo.start()
    yield demo
    demo.stop()


def lines(demo: Demo, kind: str) -> list[dict]:
    return [json.loads(line) for line in (demo.directory / "logs" / kind / "live.jsonl").read_text().splitlines()]


def test_the_config_reads_what_the_demo_writes(demo: Demo) -> None:
    config = yaml.safe_load(demo.config_path.read_text())
    collectors = {entry["name"]: entry for entry in config["collectors"]}
    for name in ("gateway", "gateway-api"):
        pattern = Path(collectors[name]["path"])
        assert {path.name for path in pattern.parent.glob(pattern.name)} == {"history.jsonl.gz", "live.jsonl"}
    assert list((demo.directory / "bill").glob("*.csv"))
    with urlopen(collectors["tiny-engine"]["targets"][0]) as page:
        assert b"vllm:prompt_tokens_total" in page.read()


def test_check_has_nothing_to_say_of_the_config_that_users_copy(demo: Demo) -> None:
    result = CliRunner().invoke(main, ["check", "--config.file", str(demo.config_path)])
    assert (result.exit_code, result.stderr) == (0, "")


def test_every_line_belongs_to_a_configured_workload(demo: Demo) -> None:
    config = yaml.safe_load(demo.config_path.read_text())
    matches = {entry["name"]: entry["match"] for entry in config["workloads"]}
    for kind in ("self-hosted", "api"):
        for line in lines(demo, kind):
            fields = {"model": line["model"], **line["labels"]}
            name = line["id"].rsplit("-", 1)[0]
            assert matches[name].items() <= fields.items()


def test_every_priced_gpu_belongs_to_a_workload(demo: Demo) -> None:
    config = yaml.safe_load(demo.config_path.read_text())
    rates = next(entry["rates"] for entry in config["collectors"] if entry["kind"] == "rate_card")
    assert {rate["workload"] for rate in rates} < {entry["name"] for entry in config["workloads"]}


def test_prepared_again_it_goes_on(demo: Demo, clock: Clock) -> None:
    demo.stop()
    before, history = lines(demo, "self-hosted"), demo.directory / "logs" / "self-hosted" / "history.jsonl.gz"
    written = history.stat().st_mtime_ns
    clock.now += 60
    again = prepare(demo.directory, STARTED + 60, clock)
    again.start()
    again.stop()
    assert again.started == STARTED
    assert history.stat().st_mtime_ns == written
    after = lines(again, "self-hosted")
    assert after[: len(before)] == before
    ids = [line["id"] for line in after]
    assert len(ids) > len(before) and len(set(ids)) == len(ids)


def test_the_bill_is_marked_and_adds_up(demo: Demo) -> None:
    with (demo.directory / "bill" / "focus.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert all(row["ChargeDescription"].startswith("SYNTHETIC demo row: ") for row in rows)
    assistant = sum(Decimal(row["EffectiveCost"]) for row in rows if '"assistant"' in row["Tags"])
    assert assistant == 4 * 24 * DAYS * GPU_USD_PER_HOUR
    assert max(row["ChargePeriodEnd"] for row in rows) == "2026-11-17T00:00:00.000Z"
