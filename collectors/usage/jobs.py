"""What a process that reads lines is told, and what it answers (`collectors.usage.cold` says how). No I/O."""

import struct

from msgspec import Struct

from collectors.terms import Labels, Path
from collectors.usage.duplicates import Met
from collectors.usage.records import Format

FRAME = struct.Struct("<cQQQ")
LENGTH = struct.Struct("<Q")
MAX_PROBLEMS = 5


class Job(Struct, frozen=True):
    """How to read one file. `fallback_at` is the time of lines without one (None: they are rejected).

    `horizon` is that of request ids in seconds, None where ids are not compared.
    """

    declared: Format
    detected: Format
    now: int
    fallback_at: int | None = None
    path: Path = "api"
    provider: str = ""
    labels: dict[str, str] = {}
    band_edges: tuple[int, ...] = ()
    horizon: int | None = None


Key = tuple[int, str, str, str, str, int, bool, Labels]
"""Of a series in a slot: slot, provider, model, service tier, region, band, whether the band is known, labels."""


class Result(Struct):
    """What the lines since the last result gave. `sums` are requests, and tokens by type, of each key. `problems` are
    (line number, reason) of the first rejected lines. `met` are the request ids added.

    Of a stretch that a child process read itself: `lines` is how many there were, from which the problems are numbered;
    `moved`: the file was not the expected one, or shorter."""

    sums: list[tuple[Key, int, dict[str, int]]]
    rejected: dict[str, int]
    problems: list[tuple[int, str]]
    met: Met | None = None
    lines: int = 0
    moved: bool = False
