"""What a ledger would hold of a provider's collector: replaced by part and window, positions kept; and its failures."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from collectors import Context
from collectors.records import Batch, Charge, Failure, Usage
from collectors.usage.anthropic import Anthropic, AnthropicSettings
from collectors.usage.openai import OpenAI, OpenAISettings
from tests.collectors.usage.anthropic_stand_in import AnthropicStandIn
from tests.collectors.usage.openai_stand_in import OpenAIStandIn
from tests.collectors.usage.provider_stand_in import StandIn

DAY = 86400
MIDNIGHT = 1_794_960_000 // DAY * DAY
"""A UTC midnight; what is now in most tests is some hours later."""


@dataclass
class Books:
    collector: Any
    pauses: list[float] = field(default_factory=list)
    cursors: dict[str, str] = field(default_factory=dict)
    usage: list[Usage] = field(default_factory=list)
    charges: list[Charge] = field(default_factory=list)
    observed: set[int] = field(default_factory=set)  # slots
    failures: dict[str, str] = field(default_factory=dict)
    rejected: Counter[str] = field(default_factory=Counter)
    batches: list[Batch] = field(default_factory=list)

    def collect(self, now: int) -> dict[str, str]:
        """One collect at `now`; its failures by part."""
        self.failures, self.batches = {}, []
        for outcome in self.collector.collect(now, dict(self.cursors)):
            if isinstance(outcome, Failure):
                assert outcome.part not in self.failures
                self.failures[outcome.part] = outcome.reason
            else:
                self._commit(outcome)
        return self.failures

    def _commit(self, batch: Batch) -> None:
        self.batches.append(batch)
        assert batch.cursor
        self.cursors[batch.part] = batch.cursor
        if (window := batch.window) is not None:
            inside = range(window.start, window.end)
            assert all(one.slot in inside for one in batch.usage)
            assert all(one.window.start in inside for one in batch.charges)
            if batch.part == "usage":
                self.usage = [one for one in self.usage if one.slot not in inside]
            else:
                self.charges = [one for one in self.charges if one.window.start not in inside]
        assert len({(u.slot, u.model, u.service_tier, u.region, u.band, u.labels) for u in batch.usage}) == len(
            batch.usage
        )
        assert all(n >= 0 for one in batch.usage for n in one.tokens.values())
        self.usage += batch.usage
        self.charges += batch.charges
        for one in batch.observed:
            self.observed.update(range(one.window.start, one.window.end, 300))
        self.rejected.update(batch.rejected)

    def tokens(self, *by: str, width: int = 300) -> dict[tuple[Any, ...], int]:
        """Tokens by bucket of `width` seconds, the fields in `by`, and type; without what is 0."""
        found: Counter[tuple[Any, ...]] = Counter()
        for one in self.usage:
            for token_type, n in one.tokens.items():
                key = *(dict(one.labels).get(name) if name in LABELS else getattr(one, name) for name in by), token_type
                found[(one.slot - one.slot % width, *key)] += n
        return dict(+found)

    @property
    def requests(self) -> int:
        return sum(one.requests for one in self.usage)


LABELS = {"project", "project_name", "key", "key_name", "workspace", "workspace_name"}


@contextmanager
def opened(
    kind: str, stand_in: StandIn, folder: Path, band_edges: tuple[int, ...] = (), **settings: Any
) -> Iterator[Books]:
    """A collector of that kind against the stand-in, whose pauses take no time."""
    key_file = folder / "admin-key"
    key_file.write_text(stand_in.key + "\n")
    told: dict[str, Any] = {"name": kind, "kind": kind, "admin_key_file": str(key_file), "base_url": stand_in.url}
    pauses: list[float] = []
    context = Context(first_start=0, band_edges=band_edges)
    collector: Any
    if kind == "openai":
        collector = OpenAI(OpenAISettings(**{**told, **settings}), context, pauses.append)
    else:
        collector = Anthropic(AnthropicSettings(**{**told, **settings}), context, pauses.append)
    try:
        yield Books(collector, pauses)
    finally:
        collector.close()


def stand_in_of(kind: str, now: int, calls: Sequence[Any] = ()) -> Any:
    """The stand-in of that kind."""
    return OpenAIStandIn(now, calls) if kind == "openai" else AnthropicStandIn(now, calls)
