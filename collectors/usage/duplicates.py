"""Request ids seen within a bounded horizon of record time, so that a request logged twice is counted once."""

import binascii
from array import array
from binascii import crc32
from collections.abc import Iterable, Sequence
from operator import itemgetter
from typing import NamedTuple

from msgspec import Struct

MAX_IDS = 262_144  # in memory, measured: 22 MB
MAX_SAVED = 32_768  # in one file's cursor: 0.7 MB of text
_NEVER = 2**62
_reversed = itemgetter(slice(None, None, -1))


RequestId = str | int | None


def keys_of(ids: Sequence[RequestId]) -> Sequence[int | None]:
    """The keys of request ids; None for what is not an id (None, or empty).

    The key of an id is the CRC-32 of its text and that of its reverse, 64 bits. If both are as good as random, two
    of 262,144 ids share one with a probability of 2e-9; a million sequential ids have no equal keys (tested).
    """
    try:
        texts = list(map(str.encode, ids))  # type: ignore[arg-type]  # what is no text raises
    except TypeError:
        texts = []
    if not all(texts) or not texts:
        return [None if one is None or one == "" else keys_of([str(one)])[0] for one in ids]
    backwards = map(crc32, map(_reversed, texts))
    return [forwards | high << 32 for forwards, high in zip(map(crc32, texts), backwards, strict=True)]


class Ids(NamedTuple):
    """Keys of request ids, and the record time of each."""

    keys: "array[int]"
    times: "array[int]"

    def joined(self, other: "Ids") -> "Ids":
        return Ids(self.keys + other.keys, self.times + other.times)

    @classmethod
    def of(cls, keys: bytes = b"", times: bytes = b"") -> "Ids":
        return cls(array("Q", keys), array("q", times))


class Met(Struct):
    """Ids that were added in a stretch of lines (`keys`, `times` as in `Ids`), and the span of slots of all its lines;
    `newest` is at most the time of the read."""

    keys: bytes
    times: bytes
    oldest: int
    newest: int

    @property
    def ids(self) -> Ids:
        return Ids.of(self.keys, self.times)


class Seen:
    """`repeats` tells whether an id was seen before. Times are slots. The horizon ends `horizon` seconds before the
    newest slot; what is older cannot be compared: it counts as new, and as `beyond_duplicate_horizon`."""

    def __init__(self, horizon: int) -> None:
        self.horizon = horizon
        self.clear()

    def clear(self) -> None:
        """Forget all."""
        self.newest = 0
        self.floor = 0
        self._oldest = _NEVER
        self._at: dict[int, int] = {}
        self._before = 0  # how many were known at the last `take`
        self._again = 0
        self._repeated = 0
        self._beyond = 0

    def advance(self, slot: int, now: int) -> None:
        """The records that follow are of `slot`. A time after `now` does not move the horizon further than `now`."""
        newest = min(slot, now)
        self._oldest = min(self._oldest, slot)
        if newest > self.newest:
            self.newest = newest
            self.floor = max(self.floor, newest - self.horizon)

    def repeats(self, request_id: RequestId, slot: int) -> bool:
        """Whether a record was seen before. One without an id never was."""
        return self.repeats_key(keys_of([request_id])[0], slot)

    def repeats_key(self, key: int | None, slot: int) -> bool:
        """`repeats` with the key of the id."""
        if key is None:
            return False
        if slot < self.floor:
            self._beyond += 1
            return False
        known = self._at
        size = len(known)
        before = known.setdefault(key, slot)
        if len(known) == size:
            if before >= self.floor:
                self._repeated += 1
                return True
            del known[key]  # so that it is among the last ones again
            known[key] = slot
            self._again += 1
        return False

    def take(self) -> tuple[Met, dict[str, int]]:
        """The ids added since the last call, and what was counted."""
        counts = {"duplicate": self._repeated, "beyond_duplicate_horizon": self._beyond}
        keys, times = self.ids(len(self._at) - self._before + self._again)
        fresh = Met(keys.tobytes(), times.tobytes(), self._oldest, self.newest)
        self._again = self._repeated = self._beyond = 0
        self._oldest = _NEVER
        self._trim()
        self._before = len(self._at)
        return fresh, {reason: n for reason, n in counts.items() if n}

    def knows(self, keys: Iterable[int]) -> bool:
        """Whether any of `keys` was seen, within the horizon or before."""
        return bool(self._at) and not self._at.keys().isdisjoint(keys)

    def learn(self, ids: Ids, now: int) -> None:
        """Take over ids that were seen elsewhere: in another process, or before a restart."""
        self.advance(max(ids.times, default=0), now)
        added = len(self._at) - self._before
        self._at.update(zip(*ids, strict=True))
        self._trim()
        self._before = len(self._at) - added

    def ids(self, last: int | None = None) -> Ids:
        """All that are known, or the `last` ones (one that was met again beyond the horizon counts twice)."""
        start = 0 if last is None else max(0, len(self._at) - last)
        return Ids(array("Q", list(self._at)[start:]), array("q", list(self._at.values())[start:]))

    def _trim(self) -> None:
        """Forget what is older than the horizon; with too many ids left the horizon shrinks to the newest half."""
        if len(self._at) <= MAX_IDS:
            return
        self._forget()
        if len(self._at) > MAX_IDS:
            self.floor = sorted(self._at.values())[-MAX_IDS // 2]
            self._forget()

    def _forget(self) -> None:
        self._at = {key: at for key, at in self._at.items() if at >= self.floor}


class Apart:
    """Stretches of lines whose ids were each judged without knowing anything before them, by several processes."""

    def __init__(self, seen: Seen) -> None:
        self._seen = seen
        self._accepted: list[tuple[set[int], Met]] = []

    def accept(self, pieces: Iterable[Met], now: int) -> bool:
        """Whether `pieces`, the next lines in order, were judged as they would have been in order: no id met before,
        and no line behind the horizon that the lines before it set. They are known from then on; if not, none is."""
        floor = self._seen.floor
        found: list[tuple[set[int], Met]] = []
        for piece in pieces:
            keys = set(piece.ids.keys)
            before = (*self._accepted, *found)
            if piece.oldest < floor or self._seen.knows(keys) or not all(keys.isdisjoint(known) for known, _ in before):
                return False
            found.append((keys, piece))
            floor = max(floor, piece.newest - self._seen.horizon)
        for _, piece in found:
            self._seen.advance(piece.newest, now)
        self._accepted = [kept for kept in (*self._accepted, *found) if kept[1].newest >= floor]
        return True

    def settle(self, now: int) -> None:
        """Let `Seen` know the ids of all that was accepted."""
        for _, piece in self._accepted:
            self._seen.learn(piece.ids, now)
        self._accepted.clear()


def newest(ids: Ids, floor: int, limit: int) -> Ids:
    """The last read ids, at most `limit`, without those at the start that are older than `floor`."""
    times = ids.times
    start = max(0, len(times) - limit)
    while start < len(times) and times[start] < floor:
        start += 1
    return Ids(ids.keys[start:], times[start:])


def save(ids: Ids) -> str:
    """Ids as text for a cursor: base64 of 8-byte keys, then of 8-byte times."""
    return binascii.b2a_base64(ids.keys.tobytes() + ids.times.tobytes(), newline=False).decode()


def restore(text: str) -> Ids:
    """The ids of a cursor."""
    data = binascii.a2b_base64(text)
    return Ids.of(data[: len(data) // 2], data[len(data) // 2 :])
