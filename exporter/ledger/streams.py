"""The streams of a snapshot: read whole at first, then brought up to date with what each batch observed."""

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from exporter.intervals import Intervals
from exporter.ledger.snapshot import Stream, StreamKey

_SPANS = "SELECT collector, stream, start, stop, up FROM observed"
_RETIRED = "SELECT collector, stream, at, back FROM retired"
_ONE = " WHERE collector = ? AND stream = ?"


@dataclass(slots=True)
class Streams:
    """The streams read so far, and those of them that have changed since (None: all have to be read)."""

    known: dict[StreamKey, Stream] = field(default_factory=dict)
    changed: set[StreamKey] | None = None

    def touch(self, keys: Iterable[StreamKey]) -> None:
        if self.changed is not None:
            self.changed.update(keys)

    def forget(self) -> None:
        self.changed = None

    def refresh(self, db: sqlite3.Connection) -> dict[StreamKey, Stream]:
        """The streams as they are now: the same object as before if none has changed."""
        if self.changed is None:
            self.known = _streams(db.execute(f"{_SPANS} ORDER BY start"), db.execute(_RETIRED))
        elif self.changed:
            self.known = self.known.copy()  # the one before belongs to a snapshot
            for key in self.changed:
                spans, retired = db.execute(f"{_SPANS}{_ONE} ORDER BY start", key), db.execute(_RETIRED + _ONE, key)
                self.known.update(_streams(spans, retired))
        self.changed = set()
        return self.known


def _streams(observed: Iterable[Any], retirements: Iterable[Any]) -> dict[StreamKey, Stream]:
    spans: dict[StreamKey, list[tuple[int, int, bool]]] = {}
    for collector, stream, start, stop, up in observed:
        spans.setdefault((collector, stream), []).append((start, stop, bool(up)))
    retired: dict[StreamKey, int] = {}
    absent: dict[StreamKey, list[tuple[int, int]]] = {}
    for collector, stream, at, back in retirements:
        if back is None:
            retired[collector, stream] = at
        else:
            absent.setdefault((collector, stream), []).append((at, back))
    return {
        key: Stream(
            first_seen=found[0][0],
            retired_at=retired.get(key),
            observed=Intervals((start, stop) for start, stop, _ in found),
            up=Intervals((start, stop) for start, stop, up in found if up),
            absent=Intervals(absent.get(key, ())),
        )
        for key, found in spans.items()
    }
