"""What failed in a run: every part is counted, and the log says each reason once, when it is new."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from collectors.records import Batch, Failure
from exporter.runner import Running
from tests.exporter.simulated import START, Simulation, config, engine


class Source:
    """Fails as it is told to."""

    streams: frozenset[str] | None = None
    late_after: int | None = None

    def __init__(self) -> None:
        self.failed: Mapping[str, str] = {}

    def collect(self, now: int, cursors: Mapping[str, str]) -> Iterator[Batch | Failure]:
        yield from (Failure(part, reason) for part, reason in self.failed.items())

    def close(self) -> None:
        """Nothing is held."""


DAYS = {"usage/1": "down", "usage/2": "no key", "usage/3": "down", "cost": "down"}
STEPS: tuple[tuple[dict[str, str], list[str]], ...] = (
    ({"usage/1": "down"}, ["gpus (usage/1): down"]),
    ({"usage/1": "down"}, []),
    (DAYS, ["gpus (usage/2): no key", "gpus (usage/3): down (and 1 more of this read, the last cost)"]),
    (DAYS, []),
    (DAYS | {"cost": "no key"}, ["gpus (cost): no key"]),
    ({}, ["gpus: all parts are read again"]),
    (DAYS, ["gpus (usage/1): down (and 2 more of this read, the last cost)", "gpus (usage/2): no key"]),
)


def test_parts_that_failed_are_counted_and_reasons_are_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "exporter.collectors")
    with engine(lambda now: (0, 0, 0)) as vllm, Simulation(config(tmp_path, vllm), vllm) as sim:
        running: Running = sim.exporter.runner.running["gpus"]
        running.collector.close()
        running.collector = source = Source()
        for step, (failed, told) in enumerate(STEPS):
            caplog.clear()
            source.failed = failed
            sim.at(START + 60 * step, "gpus")
            assert caplog.messages == told
            name = "llmcost_exporter_collector_parts"
            assert sim.value(name, collector="gpus", state="failed") == len(failed)
