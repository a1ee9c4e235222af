"""The exporter is killed without warning while it tails logs and scrapes: nothing is lost, nothing counted twice."""

import gzip
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from exporter.demo import Demo, prepare
from exporter.demo.engine import page_at, recorded_pages
from tests.e2e.running import Running, exporter, fetch, free_port, wait_for

ENGINE_READ = 'llmcost_exporter_collector_success{collector="tiny-engine"} 1'
KILLS_AFTER = (0.3, 0.0, 1.1, 0.05, 2.3)  # seconds after the first page of each life
SOURCES = (  # folder of the logs, collector, workloads
    ("self-hosted", "gateway", {"assistant", "summaries", "support"}),
    ("api", "gateway-api", {"batch-mail"}),
)
Labels = tuple[tuple[str, str], ...]


class HeldClock:
    """The time, or the instant at which it is held."""

    def __init__(self) -> None:
        self.held: float | None = time.time()

    def __call__(self) -> float:
        return time.time() if self.held is None else self.held


@pytest.fixture
def clock() -> HeldClock:
    return HeldClock()


@pytest.fixture
def upstreams(tmp_path: Path, clock: HeldClock) -> Iterator[Demo]:
    """The stand-ins, which live on while the exporter dies. Until the clock runs, the engine's counters are 0."""
    demo = prepare(tmp_path, int(clock()), clock)
    demo.start()
    yield demo
    demo.stop()


def counters(page: str) -> dict[tuple[str, Labels], float]:
    """The exporter's own counters; those of the process (`process_*`, `llmcost_exporter_*`) start again with it."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(page)
        if family.type == "counter" and not family.name.startswith(("process_", "python_", "llmcost_exporter_"))
        for sample in family.samples
        if sample.name.endswith("_total")
    }


def logged(demo: Demo, kind: str) -> Counter[tuple[str, str]]:
    """Tokens of every line of a gateway's logs, by model and type."""
    total: Counter[tuple[str, str]] = Counter()
    folder = demo.directory / "logs" / kind
    for text in (gzip.decompress((folder / "history.jsonl.gz").read_bytes()), (folder / "live.jsonl").read_bytes()):
        for line in map(json.loads, text.splitlines()):
            total.update({(line["model"], name): tokens for name, tokens in line["tokens"].items()})
    return total


def counted(page: str, workloads: set[str]) -> Counter[str]:
    """Tokens by type that the page has counted for these workloads."""
    total: Counter[str] = Counter()
    for (name, labels), value in counters(page).items():
        if name == "llmcost_tokens_total" and dict(labels)["workload"] in workloads:
            total[dict(labels)["token_type"]] += int(value)
    return total


def late(page: str, collector: str) -> int:
    """Tokens that entered the ledger but not the counters: the history is older than the exporter."""
    found = counters(page).get(("llmcost_late_tokens_total", (("collector", collector),)), 0)
    return int(found)


def served(demo: Demo, at: float) -> int:
    """Tokens that the engine's page shows at an instant."""
    names = ("vllm:prompt_tokens_total", "vllm:generation_tokens_total")
    page = page_at(recorded_pages(), at - demo.started)
    return sum(int(float(line.rpartition(" ")[2])) for line in page.splitlines() if line.partition("{")[0] in names)


def test_killed_at_any_instant_nothing_is_lost_or_counted_twice(
    upstreams: Demo, clock: HeldClock, tmp_path: Path
) -> None:
    address, log = f"127.0.0.1:{free_port()}", tmp_path / "exporter.log"
    url = f"http://{address}/metrics"
    command = exporter("serve", f"--config.file={upstreams.config_path}", f"--web.listen-address={address}")
    before: dict[tuple[str, Labels], float] = {}
    for pause in KILLS_AFTER:
        child = Running(command, log)
        try:
            page = child.page(url)
            if clock.held is not None:
                wait_for("the engine to be seen at 0", lambda: ENGINE_READ in (fetch(url) or ""))
                clock.held = None
            time.sleep(pause)  # where in its work the kill hits; nothing is asserted of it
            page = fetch(url) or page
        finally:
            child.kill()
        after = counters(page)
        assert all(after.get(key, -1) >= value for key, value in before.items())
        before = after
    clock.held = time.time()
    assert served(upstreams, clock()) > 0

    child = Running(command, log)
    try:
        child.page(url)
        for kind, collector, workloads in SOURCES:
            wait_for_exactly(
                lambda of=collector, names=workloads: (
                    sum(counted(page_of(url), names).values()) + late(page_of(url), of)
                ),
                lambda of=kind: sum(logged(upstreams, of).values()),
            )
        wait_for_exactly(
            lambda: sum(counted(page_of(url), {"tiny-llama"}).values()), lambda: served(upstreams, clock())
        )
    finally:
        assert child.stop() == 0


def page_of(url: str) -> str:
    return fetch(url) or ""


def wait_for_exactly(counted_tokens: Callable[[], int], expected: Callable[[], int]) -> None:
    """Waits until all tokens are counted, and then asserts that not one is counted twice."""
    wait_for("all tokens to be counted", lambda: counted_tokens() >= expected())
    assert counted_tokens() == expected()
