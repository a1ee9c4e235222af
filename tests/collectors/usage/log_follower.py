"""A collector with a ledger of one dict: what is committed is what the collector sees the next time."""

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from collectors import Context
from collectors.records import Batch, Failure, Usage
from collectors.usage.log import UsageLog

NOW = 1_789_950_000  # 2026-09-21T00:20:00Z
EDGES = (1000, 5000)


def line(number: int = 1, **changes: Any) -> bytes:
    row = {
        "ts": NOW - 600 + number,
        "id": f"req-{number}",
        "provider": "acme",
        "model": "writer-7b",
        "tokens": {"input": 900 + number, "cache_read": 100, "output": 50},
        "labels": {"team": "support"},
    } | changes
    return json.dumps({key: value for key, value in row.items() if value is not ...}).encode() + b"\n"


def lines(numbers: Iterable[int]) -> bytes:
    return b"".join(map(line, numbers))


class Follower:
    """Reads again and again, with what was committed; `restart` forgets all but that."""

    def __init__(self, path: str | Path | tuple[str, ...], **settings: Any) -> None:
        chosen = path if isinstance(path, tuple) else str(path)
        self.settings = UsageLog.Settings(name="log", kind="usage_log", path=chosen, **settings)
        self.cursors: dict[str, str] = {}
        self.usage: list[Usage] = []
        self.rejected: Counter[str] = Counter()
        self.failures: list[Failure] = []
        self.complete_through: int | None = None
        self.batches = 0
        self.restart()

    def restart(self) -> None:
        self.collector = UsageLog(self.settings, Context(first_start=0, band_edges=EDGES))

    def read(self, now: int = NOW, batches: int | None = None) -> "Follower":
        """One read; `batches` stops it after so many commits, as a crash would."""
        self.failures = []
        outcomes = self.collector.collect(now, dict(self.cursors))
        for done, outcome in enumerate(outcomes, 1):
            if isinstance(outcome, Failure):
                self.failures.append(outcome)
            else:
                self.commit(outcome)
            if done == batches:
                outcomes.close()  # type: ignore[attr-defined]  # a generator
        return self

    def commit(self, batch: Batch) -> None:
        self.batches += 1
        self.usage += batch.usage
        self.rejected.update(batch.rejected)
        if batch.cursor:
            self.cursors[batch.part] = batch.cursor
        elif batch.cursor == "":
            self.cursors.pop(batch.part, None)
        for observed in batch.observed:
            self.complete_through = observed.window.end

    @property
    def requests(self) -> int:
        return sum(usage.requests for usage in self.usage)

    @property
    def tokens(self) -> dict[str, int]:
        total: Counter[str] = Counter()
        for usage in self.usage:
            total.update(usage.tokens)
        return dict(total)

    @property
    def series(self) -> dict[tuple[Any, ...], tuple[int, dict[str, int]]]:
        """Requests and tokens by slot and series, however many batches they came in."""
        sums: dict[tuple[Any, ...], tuple[int, Counter[str]]] = {}
        for u in self.usage:
            key = (u.slot, u.path, u.provider, u.model, u.service_tier, u.region, u.band, u.band_known, u.labels)
            requests, tokens = sums.get(key, (0, Counter()))
            for token_type, n in u.tokens.items():
                tokens[token_type] += n
            sums[key] = requests + u.requests, tokens
        return {key: (requests, dict(tokens)) for key, (requests, tokens) in sums.items()}
