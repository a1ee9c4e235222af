"""Collectors: one source each, I/O and nothing else. They know no ledger, no exposition and no money maths.

Adding a source is one file with a `Settings` dataclass and a class that satisfies `Collector`, and one line in
`COLLECTORS`. A vendor SDK is imported in that file only, and the file only when the collector is built.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol

from collectors.records import Batch, Failure

# kind -> "module:class". The class has a nested `Settings` dataclass with at least `name`, `kind` and `interval`.
COLLECTORS = {
    "vllm": "collectors.engines.vllm:Vllm",
    "usage_log": "collectors.usage.log:UsageLog",
    "rate_card": "collectors.billing.rate_card:RateCard",
    "focus": "collectors.billing.focus:Focus",
}


@dataclass(frozen=True, slots=True)
class Context:
    """What a collector may know of the exporter around it.

    `first_start` is when this exporter's ledger was created (epoch seconds): an engine that started later was seen
    from its birth. `band_edges` are the prompt lengths at which any known price changes (tokens, exclusive lower
    edges, ascending); requests are put into these bands before they are summed. `memory_bytes` bounds a child process.
    """

    first_start: int
    band_edges: tuple[int, ...] = ()
    memory_bytes: int = 192 * 1024 * 1024


class Collector(Protocol):
    """One configured source."""

    streams: frozenset[str] | None
    """The streams it is configured for now; None: it vouches as a whole. A stream that is gone is asked no more."""

    late_after: int | None
    """Seconds after its slot's end at which a first-seen record is too late for the counters; None: never (deltas)."""

    def collect(self, now: int, cursors: Mapping[str, str]) -> Iterator[Batch | Failure]:
        """Yield what is new at `now` (epoch seconds), one `Batch` for each part that could be read, one `Failure` for
        each that could not. `cursors` are this collector's committed positions by part. May raise: that fails the
        whole collector this time, and nothing already yielded is lost."""
        ...

    def close(self) -> None:
        """Release connections. The collector is not used again."""
        ...


def collector_class(kind: str) -> Any:
    """The class behind a configured `kind`; KeyError if there is none."""
    module, _, name = COLLECTORS[kind].partition(":")
    return getattr(import_module(module), name)


def build(settings: Any, context: Context) -> Collector:
    """The collector for validated `settings`."""
    collector: Collector = collector_class(settings.kind)(settings, context)
    return collector
