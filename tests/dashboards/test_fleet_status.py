"""The fleet's status against the exporter's own, over days: the rules see one exporter's counters, nothing else."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.dashboards.promtool import Labels, Recording, holds
from tests.exporter.simulated import START, Simulation, config, engine

HOUR, DAY = 3600, 86400
STEP = 300
END = int(4.7 * DAY)
# Tokens per second from these instants on. Against 4.68 USD an hour the ratio is 1.3, then 0.15, then 4.5.
PHASES = ((0, 1300), (int(1.25 * DAY), 150), (int(3.1 * DAY), 4500))
COUNTERS = ("llmcost_tokens_total", "llmcost_cost_usd_total", "llmcost_api_equivalent_usd_total",
            "llmcost_unpriced_alternative_tokens_total")  # fmt: skip
TARGET = {("job", "exporter"), ("instance", "one")}


def served(now: float) -> tuple[int, int, int]:
    seconds, total = now - START, 0.0
    for index, (start, rate) in enumerate(PHASES):
        end = PHASES[index + 1][0] if index + 1 < len(PHASES) else END
        total += max(0.0, min(seconds, end) - start) * rate
    return int(total * 0.7), 0, int(total * 0.3)


@dataclass
class History:
    """What a Prometheus scrapes of the exporter, and what the exporter itself shows at half past every hour."""

    recording: Recording = field(default_factory=lambda: Recording(STEP))
    status: dict[int, str] = field(default_factory=dict)
    ratio: float = 0

    def add(self, second: int, page: Simulation) -> None:
        samples = page.samples()
        self.recording.scrape({key: value for key, value in _scraped(samples)})
        if second % HOUR == HOUR // 2:
            (self.status[second],) = (
                dict(labels)["status"]
                for (name, labels), value in samples.items()
                if name == "llmcost_break_even_status" and value == 1
            )


def _scraped(samples: dict[tuple[str, Labels], float]) -> Iterator[tuple[tuple[str, Labels], float]]:
    yield ("up", frozenset(TARGET)), 1.0
    for (name, labels), value in samples.items():
        if name in COUNTERS or (name == "llmcost_window_coverage_ratio" and ("window", "1h") in labels):
            yield (name, frozenset(labels | TARGET)), value


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> History:
    found = History()
    directory = tmp_path_factory.mktemp("status")
    with engine(served) as running, Simulation(config(directory, running, usd_per_hour="2.34"), running) as page:
        for second in range(0, END + 1, STEP):
            page.at(START + second)
            found.add(second, page)
        found.ratio = (
            page.value(
                "llmcost_break_even_ratio",
                workload="chat",
                path="self_hosted",
                alternative="api:acme/tiny",
                window="7d",
            )
            or 0
        )
    return found


def test_the_history_has_every_status(history: History) -> None:
    assert set(history.status.values()) == {"unknown", "break_even", "api_cheaper", "self_hosting_cheaper"}


def test_the_status_is_the_exporters_an_hour_later_at_most(history: History, tmp_path: Path) -> None:
    """The first hour of the counters has no closed hour before it, so the fleet may be one evaluation behind."""
    truths = {}
    for second, status in history.status.items():
        either = f"{status}|{history.status.get(second - HOUR, status)}"
        if second > HOUR:
            truths[f'max(workload:llmcost_break_even_status:7d{{status=~"{either}"}}) + {second} * 0'] = second
    holds(tmp_path, ["fleet-rules.yaml"], history.recording, 900, truths)


def test_the_ratio_over_days_is_the_exporters(history: History, tmp_path: Path) -> None:
    expression = f"abs(sum(workload:llmcost_break_even_ratio:ratio7d) / {history.ratio!r} - 1) < bool 0.01"
    holds(tmp_path, ["fleet-rules.yaml"], history.recording, 900, {expression: END // HOUR * HOUR + HOUR // 2})
