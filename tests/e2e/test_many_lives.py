"""Killed at 200 random instants while tailing a growing, rotating log and scraping: totals as if it had never died."""

import gzip
import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from decimal import Decimal
from pathlib import Path

from tests.exporter.simulated import engine

LIVES = 200
ROOT = Path(__file__).parents[2]


class World:
    """A log that grows by halves of lines, is rotated and compressed, and an engine that counts; until told to stop."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.written, self.requests = directory, Counter[str](), 0
        self.served = (0, 0, 0)
        self._files = 0
        self.thread = threading.Thread(target=self.run)

    def run(self) -> None:
        path = self.directory / "gateway.jsonl"
        while not (self.directory / "stop").exists():
            with path.open("a") as log:
                for n in range(40):
                    line = self.line(n)
                    log.write(line[: len(line) // 2])
                    log.flush()
                    time.sleep(0.001)
                    log.write(line[len(line) // 2 :])
                    log.flush()
                    computed, cached, generated = self.served
                    self.served = (computed + 7, cached + 3, generated + 5)
            self.rotate(path)
        (self.directory / "stopped").touch()

    def line(self, n: int) -> str:
        tokens = {"input": 10 + n, "output": n}
        self.written.update(tokens)
        self.requests += 1
        record = {"ts": time.time(), "id": f"r{self.requests}", "provider": "acme", "model": "writer", "tokens": tokens}
        return json.dumps(record) + "\n"

    def rotate(self, path: Path) -> None:
        """Rename, and compress the file before: as logrotate does with delaycompress."""
        self._files += 1
        path.rename(self.directory / f"gateway-{self._files}.jsonl")
        before = self.directory / f"gateway-{self._files - 1}.jsonl"
        if before.exists():
            part = self.directory / "compressing"
            part.write_bytes(gzip.compress(before.read_bytes()))
            part.rename(self.directory / f"{before.name}.gz")
            before.unlink()


def test_two_hundred_kills_lose_nothing_and_count_nothing_twice(tmp_path: Path) -> None:
    world = World(tmp_path)
    with engine(lambda now: world.served) as vllm:
        world.thread.start()
        try:
            command = [sys.executable, "-m", "tests.e2e.many_lives", str(tmp_path), vllm.url, str(LIVES), "7"]
            environment = {**os.environ, "PYTHONPATH": str(ROOT)}
            outcome = subprocess.run(
                command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600, check=False
            )
        finally:
            (tmp_path / "stop").touch()
            world.thread.join()
    assert outcome.returncode == 0, outcome.stderr
    result = json.loads(outcome.stdout)
    assert result["killed"] == LIVES
    assert (tmp_path / "rounds").stat().st_size > LIVES  # on average they were killed in the middle of their work
    assert result["done"]

    counted: Counter[tuple[str, ...]] = Counter()
    for family, *labels, value in result["counters"]:
        counted[family, *labels] += Decimal(value)  # type: ignore[assignment]
    writer = ("writer", "api", "acme", "writer")
    for token_type, tokens in world.written.items():
        assert counted["llmcost_tokens_total", *writer, token_type] == tokens
    assert counted["llmcost_requests_total", *writer] == world.requests

    computed, cached, generated = world.served
    chat = ("chat", "self_hosted", "vllm", "tiny")
    assert counted["llmcost_tokens_total", *chat, "input"] == computed
    assert counted["llmcost_tokens_total", *chat, "cache_read"] == cached
    assert counted["llmcost_tokens_total", *chat, "output"] == generated
    assert {model: tokens["input"] for model, tokens in result["series"]} == {
        "writer": world.written["input"],
        "tiny": computed,
    }
    assert not [key for key in counted if key[0] == "llmcost_exporter_rejected_records_total" and counted[key]]
