"""Collectors: one source each, I/O and nothing else. They know no ledger, no exposition and no money maths.

Adding a source is one file with a `Settings` dataclass and a class that satisfies `Collector`, and one line in
`collectors.kinds`. A vendor SDK is imported in that file only, and the file only when the collector is built.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from threading import Lock
from typing import Any, Protocol

from collectors.kinds import COLLECTORS
from collectors.records import Batch, Failure, Labels


@dataclass(frozen=True, slots=True)
class Target:
    """An engine that was discovered: its metrics page and what usage read there is labelled with. `name` is its stream:
    the same for as long as it is the same engine (`<namespace>/<pod>`)."""

    name: str
    url: str
    labels: Labels = ()


class Board:
    """What discovering collectors see right now, by collector name, and which collector reads which page. It holds
    nothing that cannot be seen again."""

    def __init__(self) -> None:
        self._found: dict[str, tuple[Target, ...]] = {}
        self._listed: dict[str, str] = {}
        self._finders: dict[str, str] = {}
        self._read: dict[str, frozenset[str]] = {}
        self._machines: dict[str, frozenset[str]] = {}
        self._reading = Lock()

    def post(self, collector: str, targets: Iterable[Target]) -> None:
        """Replace what `collector` has found; in one step, so that a reader sees all of it or none."""
        self._found[collector] = tuple(targets)

    def targets(self, collector: str) -> tuple[Target, ...] | None:
        """What `collector` sees now; None before it has looked: not the same as nothing."""
        return self._found.get(collector)

    def twin(self, collector: str, machines: Iterable[str]) -> str | None:
        """Note which machines (by uid) `collector` sees: another collector that sees one of them too."""
        self._machines[collector] = mine = frozenset(machines)
        others = [name for name, seen in [*self._machines.items()] if name != collector and not mine.isdisjoint(seen)]
        return min(others, default=None)

    def join(self, reader: str, pages: Iterable[str], finder: str | None = None) -> None:
        """Note, in the order of the configuration, that `reader` reads these pages (URLs) whatever others find, and
        what the collector `finder` finds."""
        self._listed.update({page: reader for page in pages if page not in self._listed})
        if finder is not None:
            self._finders[reader] = finder

    def before(self, reader: str) -> dict[str, str]:
        """The collectors that go before `reader` where the same engine is found twice, each with its finder."""
        names = [*self._finders]
        return {name: self._finders[name] for name in names[: names.index(reader)]}

    def claim(self, reader: str, pages: Iterable[str], theirs: Mapping[str, str]) -> dict[str, str]:
        """Take the pages that `reader` has found, and let go of all others; those that it may not read, with who does:
        a page is read by the collector that lists it, else by the one that reads it already, else by that in `theirs`
        (by page: what those before it find)."""
        with self._reading:
            others = {page: name for name, read in self._read.items() if name != reader for page in read}
            mine = self._read.get(reader, frozenset())
            found = {page: self._listed.get(page) or others.get(page) for page in pages}
            found = {page: by or (None if page in mine else theirs.get(page)) for page, by in found.items()}
            taken = {page: by for page, by in found.items() if by is not None}
            self._read[reader] = frozenset(found.keys() - taken.keys())
            return taken


@dataclass(frozen=True, slots=True)
class Context:
    """What a collector may know of the exporter around it.

    `first_start` is when this exporter's ledger was created (epoch seconds): an engine that started later was seen
    from its birth. `band_edges` are the prompt lengths at which any known price changes (tokens, exclusive lower
    edges, ascending); requests are put into these bands before they are summed. `memory_bytes` bounds a child process.
    `board` is where a collector that discovers engines says which, and one that reads engines looks.
    """

    first_start: int
    band_edges: tuple[int, ...] = ()
    memory_bytes: int = 192 * 1024 * 1024
    board: Board = field(default_factory=Board)


class Collector(Protocol):
    """One configured source."""

    @property
    def streams(self) -> frozenset[str] | None:
        """The streams it is to read now; None: it vouches as a whole. One that is gone is asked no more: looked at
        after every collect, so it may change."""
        ...

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
    module, _, name = COLLECTORS[kind].factory.partition(":")
    return getattr(import_module(module), name)


def build(settings: Any, context: Context) -> Collector:
    """The collector for validated `settings`."""
    collector: Collector = collector_class(settings.kind)(settings, context)
    return collector
