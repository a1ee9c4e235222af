"""Request ids seen within a bounded horizon of record time, so that a request logged twice is counted once."""

import binascii
from array import array
from binascii import crc32
from itertools import islice
from typing import NamedTuple

MAX_IDS = 262_144  # in memory, measured: 22 MB
MAX_SAVED = 32_768  # in one file's cursor: 0.7 MB of text


class Ids(NamedTuple):
    """Keys of request ids, and the record time of each."""

    keys: "array[int]"
    times: "array[int]"

    def joined(self, other: "Ids") -> "Ids":
        return Ids(self.keys + other.keys, self.times + other.times)

    @classmethod
    def of(cls, keys: bytes = b"", times: bytes = b"") -> "Ids":
        return cls(array("Q", keys), array("q", times))


class Seen:
    """`repeats` tells whether an id was seen before. Times are slots. The horizon ends `horizon` seconds before the
    newest slot; what is older cannot be compared: it counts as new, and as `beyond_duplicate_horizon`.

    `shard` (index, count): only ids of this shard are kept and judged, so that several processes that read the same
    lines divide the work and each still sees all times in order.
    """

    def __init__(self, horizon: int, shard: tuple[int, int] = (0, 1)) -> None:
        self.horizon = horizon
        self.newest = 0
        self.floor = 0
        self._index, self._shards = shard
        self._at: dict[int, int] = {}
        self._added = 0
        self._repeated = 0
        self._beyond = 0

    def advance(self, slot: int, now: int) -> None:
        """The records that follow are of `slot`. A time after `now` does not move the horizon further than `now`."""
        newest = min(slot, now)
        if newest > self.newest:
            self.newest = newest
            self.floor = max(self.floor, newest - self.horizon)

    def repeats(self, request_id: str | int | None, slot: int) -> bool:
        """Whether to leave out a record: seen before, or another shard's. A record without an id is never a repeat.

        The key of an id is the CRC-32 of its text and that of its reverse, 64 bits. If both are as good as random, two
        of 262,144 ids share one with a probability of 2e-9; a million sequential ids have no equal keys (tested).
        """
        if request_id is None or request_id == "":
            return self._index != 0
        data = request_id.encode() if type(request_id) is str else str(request_id).encode()
        key = crc32(data)
        if key % self._shards != self._index:
            return True
        if slot < self.floor:
            self._beyond += 1
            return False
        key |= crc32(data[::-1]) << 32
        before = self._at.get(key)
        if before is not None:
            if before >= self.floor:
                self._repeated += 1
                return True
            del self._at[key]  # so that it is among the last ones again
        self._at[key] = slot
        self._added += 1
        return False

    def take(self) -> tuple[Ids, dict[str, int]]:
        """The ids added since the last call, and what was counted."""
        counts = {"duplicate": self._repeated, "beyond_duplicate_horizon": self._beyond}
        fresh = self.ids(self._added)
        self._added = self._repeated = self._beyond = 0
        self._trim()
        return fresh, {reason: n for reason, n in counts.items() if n}

    def learn(self, ids: Ids, now: int) -> None:
        """Take over ids that were seen elsewhere: in another process, or before a restart."""
        self.advance(max(ids.times, default=0), now)
        shard, shards = self._index, self._shards
        pairs = zip(*ids, strict=True)
        # The lower half of a key decides the shard.
        self._at.update(pairs if shards == 1 else (p for p in pairs if (p[0] & 0xFFFFFFFF) % shards == shard))
        self._trim()

    def ids(self, last: int | None = None) -> Ids:
        """All that are known, or the `last` ones."""
        start = 0 if last is None else len(self._at) - last
        return Ids(array("Q", islice(self._at, start, None)), array("q", islice(self._at.values(), start, None)))

    def _trim(self) -> None:
        """Forget what is older than the horizon; with too many ids left the horizon shrinks to the newest half."""
        limit = MAX_IDS // self._shards
        if len(self._at) <= limit:
            return
        self._forget()
        if len(self._at) > limit:
            self.floor = sorted(self._at.values())[-limit // 2]
            self._forget()

    def _forget(self) -> None:
        self._at = {key: at for key, at in self._at.items() if at >= self.floor}


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
