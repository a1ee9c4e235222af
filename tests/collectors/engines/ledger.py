"""What a ledger would hold of a collector's results: just enough to check sums, coverage and positions."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from collectors import Context
from collectors.engines.counters import State
from collectors.engines.vllm import Vllm
from collectors.records import Batch, EngineLoad, Failure, Usage, Window
from tests.collectors.engines.serving import Upstream, raw

Result = Batch | Failure


@dataclass
class Ledger:
    cursors: dict[str, str] = field(default_factory=dict)
    usage: list[Usage] = field(default_factory=list)
    loads: list[EngineLoad] = field(default_factory=list)
    up: list[Window] = field(default_factory=list)
    down: list[Window] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    rejected: Counter[str] = field(default_factory=Counter)

    def collect(self, collector: Vllm, now: int) -> list[Result]:
        results = list(collector.collect(now, dict(self.cursors)))
        for result in results:
            if isinstance(result, Failure):
                self.failures.append(result.reason)
            else:
                self.commit(result)
        return results

    def commit(self, batch: Batch) -> None:
        assert batch.cursor is not None
        assert batch.window is None
        assert State.loads(State.loads(batch.cursor).dumps()) == State.loads(batch.cursor)
        self.cursors[batch.part] = batch.cursor
        for row in batch.usage:
            assert row.slot % 300 == 0
            assert all(amount >= 0 for amount in row.tokens.values())
            assert row.requests >= 0
        assert all(load.saturated_tokens >= 0 and load.seconds >= 0 for load in batch.loads)
        self.usage += batch.usage
        self.loads += batch.loads
        for observed in batch.observed:
            assert observed.stream == batch.stream == batch.part
            (self.up if observed.up else self.down).append(observed.window)
        self.rejected.update(batch.rejected)

    def tokens(self, model: str | None = None) -> dict[str, int]:
        return sums(self.usage, model)

    def requests(self) -> int:
        return sum(row.requests for row in self.usage)


def sums(rows: Iterable[Usage], model: str | None = None) -> dict[str, int]:
    """Tokens by type; a type that was at 0 throughout is there with 0."""
    total: dict[str, int] = {}
    for row in rows:
        if model in (None, row.model):
            for kind, amount in row.tokens.items():
                total[kind] = total.get(kind, 0) + amount
    return total


def batches(results: Sequence[Result]) -> list[Batch]:
    return [result for result in results if isinstance(result, Batch)]


@contextmanager
def scraping(*, first_start: int = 0, **settings: Any) -> Iterator[tuple[Vllm, Upstream, Ledger]]:
    with Upstream(raw(b"")) as upstream:
        options: dict[str, Any] = {"targets": (upstream.url,), "name": "chat", "kind": "vllm"} | settings
        collector = Vllm(Vllm.Settings(**options), Context(first_start))
        try:
            yield collector, upstream, Ledger()
        finally:
            collector.close()
