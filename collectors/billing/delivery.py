"""Which files make up the bill in force: deliveries, their replacements, and what a failed file holds back. Pure.

A bill is replaced by **part**: one billing account's billing period. Providers write a whole period again each time,
in one file or several, over the old names or under new ones. The rule, with files of one part taken from the newest
modification time to the oldest (equal times: from the last path to the first):

- a file that repeats at least half of the lines of newer files (or of which newer files repeat half) is an older
  delivery of the same, and is left out;
- a file that does not is a further piece of the newest delivery, and is added.

Two lines are the same if they are for the same charge period and either

- for the same resource, SKU, service, region, account and categories, whatever it costs (a restated amount); or
- for the same resource (a line without one: the same account), charge and service category, quantity and costs,
  whatever it is called (a new SKU id or service name).

The costs are part of the second because one resource has several lines in an hour (an instance, its disk, its
traffic), and a bill split over files may have each in a file of its own: without them such pieces would look like
deliveries of the same, and the bill would be short. So a delivery in which most lines have both a new name and a new
amount is added while the old file is still there: remove the old file.

So a bill that is delivered twice counts once, a restated one replaces, and one that is split over files is whole. A
part that no file carries any more is cleared. What files alone cannot tell: a text file cut exactly at the end of a
line, or a delivery some files of which are yet to come, is a short bill until the rest is there.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b

from collectors.records import Window

FORMAT = "1"  # of the charges made from a file: a change reads every bill again


class LineSample:
    """The keys of a file's lines: all of them, or, beyond `LIMIT`, those whose number ends in enough zero bits.

    Samples thin out alike, so the share of common lines is estimated within about 3 points in bounded memory.
    """

    LIMIT = 1024
    __slots__ = ("_keys", "_mask")

    def __init__(self) -> None:
        self._keys: set[int] = set()
        self._mask = 0

    def add(self, key: int) -> None:
        if key & self._mask:
            return
        self._keys.add(key)
        while len(self._keys) > self.LIMIT:
            self._thin(self._mask << 1 | 1)

    def merge(self, other: "LineSample") -> None:
        self._thin(self._mask | other._mask)
        for key in other._keys:
            self.add(key)

    def repeats(self, other: "LineSample") -> bool:
        """Whether the two have at least half of the lines of the smaller one in common."""
        mask = self._mask | other._mask
        mine = {key for key in self._keys if not key & mask}
        theirs = {key for key in other._keys if not key & mask}
        smaller = min(len(mine), len(theirs))
        return smaller > 0 and 2 * len(mine & theirs) >= smaller

    def _thin(self, mask: int) -> None:
        if mask != self._mask:
            self._mask = mask
            self._keys = {key for key in self._keys if not key & mask}


@dataclass(slots=True)
class Piece:
    """What one file holds of one part."""

    rows: int = 0
    start: int = 1 << 62
    end: int = -(1 << 62)
    lines: LineSample = field(default_factory=LineSample)
    amounts: LineSample = field(default_factory=LineSample)
    digest: str = ""

    def add(self, span: Window, key: int, amounts: int | None) -> None:
        """One more line; the keys are those of `focus_rows.Row`."""
        self.rows += 1
        self.start = min(self.start, span.start)
        self.end = max(self.end, span.end)
        self.lines.add(key)
        if amounts is not None:
            self.amounts.add(amounts)


@dataclass(frozen=True, slots=True)
class BillFile:
    """A file read to its end. `stamp` is (size, modification time in ns, inode): equal means not written since."""

    path: str
    stamp: tuple[int, int, int]
    pieces: Mapping[str, Piece]


@dataclass(frozen=True, slots=True)
class Unread:
    """A file that could not be read. `parts` are those of the lines before the fault; `foreign` means that it is whole
    and holds no bill lines."""

    path: str
    reason: str
    foreign: bool = False
    parts: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class InForce:
    """The delivery of one part: its content, the span `[start, end)` of its lines, the files that carry the part."""

    digest: str
    start: int
    end: int
    files: frozenset[str]

    def cursor(self) -> str:
        """As the part's position in the ledger."""
        known = {"digest": self.digest, "start": self.start, "end": self.end, "files": sorted(self.files)}
        return json.dumps(known, separators=(",", ":"))

    @classmethod
    def parse(cls, cursor: str) -> "InForce":
        known = json.loads(cursor)
        return cls(known["digest"], known["start"], known["end"], frozenset(known["files"]))


@dataclass(frozen=True, slots=True)
class Delivery:
    """The newest delivery of one part: the files that form it, and how many lines they hold."""

    part: str
    files: tuple[BillFile, ...]
    rows: int
    in_force: InForce

    def replaces(self, old: InForce | None) -> Window:
        """The span to clear: of these lines, and of those that the last delivery left in the ledger."""
        new = self.in_force
        return Window(new.start, new.end) if old is None else Window(min(new.start, old.start), max(new.end, old.end))


def deliveries(files: Iterable[BillFile]) -> dict[str, Delivery]:
    """The newest delivery of every part that the files hold."""
    carriers: dict[str, list[BillFile]] = {}
    for file in sorted(files, key=lambda file: (file.stamp[1], file.path), reverse=True):
        for part in file.pieces:
            carriers.setdefault(part, []).append(file)
    return {part: _delivery(part, found) for part, found in sorted(carriers.items())}


def _delivery(part: str, newest_first: Sequence[BillFile]) -> Delivery:
    chosen: list[BillFile] = []
    lines, amounts = LineSample(), LineSample()
    for file in newest_first:
        piece = file.pieces[part]
        if not (piece.lines.repeats(lines) or piece.amounts.repeats(amounts)):
            chosen.append(file)
            lines.merge(piece.lines)
            amounts.merge(piece.amounts)
    pieces = [file.pieces[part] for file in chosen]
    content = "\n".join([FORMAT, *sorted(piece.digest for piece in pieces)])
    in_force = InForce(
        digest=blake2b(content.encode(), digest_size=16).hexdigest(),
        start=min(piece.start for piece in pieces),
        end=max(piece.end for piece in pieces),
        files=frozenset(file.path for file in newest_first),
    )
    return Delivery(part, tuple(chosen), sum(piece.rows for piece in pieces), in_force)


def held_back(
    parts: Iterable[str], in_force: Mapping[str, InForce], unread: Sequence[Unread], paths: Iterable[str]
) -> Iterator[str]:
    """The parts whose last delivery stays in force, because a file that could not be read may belong to them.

    These are: the parts that such a file fed before, or that its lines before the fault name (by billing period); the
    parts of which a file is gone, as it may have been the same under another name; and, where nothing can be told of a
    broken file, every part that has a delivery in force. `paths` are all files there are.
    """
    if not unread:
        return
    failed, present = {file.path for file in unread}, set(paths)
    periods = {_period(part) for file in unread for part in file.parts}
    fed = {path for old in in_force.values() for path in old.files}
    blind = any(not (file.foreign or file.parts or file.path in fed) for file in unread)
    for part in parts:
        old = in_force.get(part)
        if _period(part) in periods or (old and (blind or failed & old.files or not old.files <= present)):
            yield part


def _period(part: str) -> str:
    return part.rpartition("/")[2]
