"""Request ids seen within a bounded horizon of record time, so that a request logged twice is counted once.

Bounded in number too, so in memory: of more than `MAX_IDS` ids the oldest are forgotten, inside a slot too. A record
that might be among those forgotten is still compared with what is known, and counted as `beyond_duplicate_horizon`.
"""

from array import array
from binascii import a2b_base64, crc32
from collections.abc import Iterable, Sequence
from operator import itemgetter
from typing import Any

from msgspec import Struct

MAX_IDS = 262_144  # in the memory of a process, measured: up to 40 MB
MAX_SAVED = 32_768  # in one file's cursor: 0.35 MB of text
_NEVER = 2**62
_reversed = itemgetter(slice(None, None, -1))

RequestId = str | int | None


def keys_of(ids: Sequence[RequestId]) -> "array[int] | list[int | None]":
    """The keys of request ids; None for what is not an id (None, or empty).

    The key of an id is the CRC-32 of its text and that of its reverse, 64 bits. If both are as good as random, two
    of 262,144 ids share one with a probability of 2e-9; a million sequential ids have no equal keys (tested).
    """
    try:
        texts = list(map(str.encode, ids))  # type: ignore[arg-type]  # what is no text raises
    except TypeError:
        texts = [b"" if one is None else str(one).encode() for one in ids]
    halves = array("I", bytes(8 * len(texts)))
    halves[0::2] = array("I", map(crc32, texts))
    halves[1::2] = array("I", map(crc32, map(_reversed, texts)))
    keys = array("Q", halves.tobytes())
    return keys if all(texts) else [key if text else None for key, text in zip(keys, texts, strict=True)]


class Met(Struct, frozen=True, omit_defaults=True):
    """Ids by the slot of their records (8-byte keys, in the order of reading), and the span of slots of all lines read,
    with an id or without; `newest` is at most the time of the read. `lost` is the newest slot that lacks ids."""

    keys: dict[int, bytes] = {}
    newest: int = 0
    lost: int = 0
    oldest: int = _NEVER


def former(text: str) -> Met:
    """The ids of a cursor as they were kept before `Met`: base64 of their keys, then of their slots, 8 bytes each, at
    most `MAX_SAVED`; of a cursor that has so many some of any slot may be lost. ValueError if it is not that."""
    packed = a2b_base64(text, strict_mode=True)
    keys, slots = array("Q", packed[: len(packed) // 2]), array("q", packed[len(packed) // 2 :])
    ids = Ids()
    for key, slot in zip(keys, slots, strict=True):
        ids.add(slot, [key])
    return Met(ids.packed(), newest := max(slots), newest if len(slots) >= MAX_SAVED else 0)


class Ids:
    """Keys by slot. `lost` is the newest slot of which some were dropped for their number (0: none were)."""

    def __init__(self) -> None:
        self.slots: dict[int, array[int]] = {}
        self.size = 0
        self.lost = 0

    def add(self, slot: int, keys: Iterable[int]) -> None:
        kept = self.slots.get(slot)
        if kept is None:
            kept = self.slots[slot] = array("Q")
        before = len(kept)
        kept.extend(keys)
        self.size += len(kept) - before

    def before(self, floor: int) -> "list[array[int]]":
        """Drop and return what is older than `floor`."""
        return [self._drop(slot, _NEVER) for slot in [slot for slot in self.slots if slot < floor]]

    def beyond(self, limit: int) -> "list[array[int]]":
        """If there are more than `limit`, drop and return the oldest, a few more than need be: it is done rarely."""
        dropped = []
        excess = self.size - limit + limit // 16 if self.size > limit else 0
        while excess > 0:
            self.lost = max(self.lost, oldest := min(self.slots))
            dropped.append(self._drop(oldest, excess))
            excess -= len(dropped[-1])
        return dropped

    def _drop(self, slot: int, count: int) -> "array[int]":
        keys = self.slots[slot]
        dropped = keys[:count]
        if len(dropped) == len(keys):
            del self.slots[slot]
        else:
            del keys[:count]
        self.size -= len(dropped)
        return dropped

    def packed(self) -> dict[int, bytes]:
        return {slot: keys.tobytes() for slot, keys in self.slots.items()}


class Seen:
    """Tells whether an id was seen before. Times are slots. The horizon ends `horizon` seconds before the newest slot;
    what is older is not compared: it counts as new, and as `beyond_duplicate_horizon`. So does a record of a slot up to
    `lost` that is not found."""

    def __init__(self, horizon: int, limit: int = MAX_IDS) -> None:
        self.horizon = horizon
        self._limit = limit
        self.clear()

    def clear(self) -> None:
        """Forget all."""
        self.newest = 0
        self.floor = 0
        self._ids = Ids()
        self._known: set[int] = set()  # what is in `_ids`
        self._clear_counts()

    def _clear_counts(self) -> None:
        self._fresh = Ids()
        self._oldest = _NEVER
        self._repeated = 0
        self._beyond = 0

    def __len__(self) -> int:
        return self._ids.size

    @property
    def lost(self) -> int:
        """The newest slot of which some ids are not known any more; 0: none."""
        return self._ids.lost

    def advance(self, slot: int, now: int) -> None:
        """The records that follow are of `slot`. A time after `now` does not move the horizon further than `now`."""
        self._oldest = min(self._oldest, slot)
        self._move(min(slot, now))

    def _move(self, newest: int) -> None:
        if newest > self.newest:
            self.newest = newest
            self.floor = max(self.floor, newest - self.horizon)
            self._forget(self._ids.before(self.floor))

    def _forget(self, dropped: "list[array[int]]") -> None:
        for keys in dropped:
            self._known.difference_update(keys)

    def repeats(self, request_id: RequestId, slot: int) -> bool:
        """Whether a record was seen before. One without an id never was."""
        key = keys_of([request_id])[0]
        if key is None:
            return False
        if slot < self.floor:
            self._beyond += 1
        elif key in self._known:
            self._repeated += 1
            return True
        else:
            self._add(slot, [key], [key])
        return False

    def unmet(self, rows: Sequence[Any], slot: int) -> Sequence[Any]:
        """`rows` of one slot without those whose `id` was seen before, as `repeats` tells, but without work per row."""
        keys = keys_of([row.id for row in rows])
        if slot < self.floor or not isinstance(keys, array):
            return [row for row in rows if not self.repeats(row.id, slot)]
        count = len(keys)
        first = dict(zip(reversed(keys), range(count - 1, -1, -1), strict=True))
        if not self._known.isdisjoint(first):
            for key in self._known.intersection(first):
                del first[key]
        if len(first) < count:
            self._repeated += count - len(first)
            rows = [rows[index] for index in first.values()]
            keys = array("Q", reversed(first))
        self._add(slot, keys, first)
        return rows

    def _add(self, slot: int, keys: "array[int] | list[int]", fresh: "Iterable[int]") -> None:
        if slot <= self._ids.lost:
            self._beyond += len(keys)
        self._known.update(fresh)
        self._ids.add(slot, keys)
        self._fresh.add(slot, keys)
        self._trim()

    def _trim(self) -> None:
        if self._ids.size > self._limit:
            self._forget(self._ids.beyond(self._limit))
            self._fresh.beyond(self._limit)

    def take(self) -> tuple[Met, dict[str, int]]:
        """The ids added since the last call, and what was counted."""
        counts = {"duplicate": self._repeated, "beyond_duplicate_horizon": self._beyond}
        fresh = Met(self._fresh.packed(), self.newest, self._fresh.lost, self._oldest)
        self._clear_counts()
        return fresh, {reason: n for reason, n in counts.items() if n}

    def met(self) -> Met:
        """All that is known, to go on from elsewhere."""
        return Met(self._ids.packed(), self.newest, self.lost)

    def learn(self, met: Met, now: int) -> None:
        """Take over ids that were seen elsewhere: in another process, or before a restart."""
        self._move(min(met.newest, now))  # first: an id may be known from behind the horizon and from within it
        for slot, packed in met.keys.items():
            if slot >= self.floor:
                keys = array("Q", packed)
                self._known.update(keys)
                self._ids.add(slot, keys)
        self._ids.lost = max(self.lost, met.lost)
        self._trim()

    def accept(self, met: Met, now: int) -> int | None:
        """Take over the ids of the next lines, which were judged without knowing what was before them, if they would
        have been judged the same knowing it: no id met before, no line behind the horizon. None, and nothing is taken
        over, if not; else how many of them may be among those that are lost."""
        if met.oldest < self.floor:
            return None
        pieces = {slot: array("Q", packed) for slot, packed in met.keys.items()}
        expected = len(self._known) + sum(map(len, pieces.values()))
        self._known.update(*pieces.values())
        if len(self._known) != expected:
            self._known = set().union(*self._ids.slots.values())
            return None
        for slot, keys in pieces.items():
            self._ids.add(slot, keys)
        self._ids.lost = max(self.lost, met.lost)
        lost = sum(len(keys) for slot, keys in pieces.items() if slot <= self.lost)
        self._move(min(met.newest, now))
        self._trim()
        return lost


class Saved:
    """The newest ids of one file, at most `MAX_SAVED`, for its cursor."""

    def __init__(self, met: Met | None) -> None:
        self._ids = Ids()
        self._newest = 0
        if met is not None:
            self.add(met, 0)

    def add(self, met: Met, floor: int) -> None:
        """Add ids; those older than `floor` are left out."""
        for slot, packed in met.keys.items():
            self._ids.add(slot, array("Q", packed))
        self._ids.lost = max(self._ids.lost, met.lost)
        self._newest = max(self._newest, met.newest)
        self._ids.before(floor)
        self._ids.beyond(MAX_SAVED)

    def met(self) -> Met | None:
        """None if nothing was ever read."""
        return Met(self._ids.packed(), self._newest, self._ids.lost) if self._newest else None
