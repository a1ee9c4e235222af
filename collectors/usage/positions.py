"""Where a log file was read to, and how the file is known again: by its content, not by its name or inode.

The fingerprint is that of the first min(1024, size) decompressed bytes, with that length, and of the last up to 1024
bytes before the offset. If both match it is the same file: renamed, copied, compressed. If not it is a new one.
"""

from collections.abc import Iterable, Mapping
from typing import Protocol

import msgspec
from msgspec import Struct

from collectors.usage.duplicates import Met, former
from collectors.usage.records import Format

EDGE = 1024


def digest(data: bytes) -> str:
    import hashlib  # slow to load (OpenSSL), and the processes that read a backlog do not need it

    return hashlib.blake2b(data, digest_size=16).hexdigest()


class Position(Struct, frozen=True):
    """Whole lines up to `offset` (decompressed bytes) are counted; `lines` of them. `edge` are the bytes before it.

    `skipping`: the offset is inside a line that is too long, whose rest is to be skipped.
    """

    offset: int = 0
    lines: int = 0
    edge: bytes = b""
    skipping: bool = False


class Cursor(Struct, frozen=True, omit_defaults=True):
    """The committed position of one file. `stat` is (device, inode, size, modification time) when it was read to its
    end: a shortcut that saves looking into files that did not change. `met` are recent request ids, where they are
    compared. `gone_since` is the time of the first complete read that did not find the file under any name."""

    offset: int
    lines: int
    head: str
    head_length: int
    tail: str
    skipping: bool = False
    format: Format = "auto"
    stat: tuple[int, int, int, int] | None = None
    met: Met | None = None
    gone_since: int | None = None

    def text(self) -> str:
        return msgspec.json.encode(self).decode()


class _Former(Struct):
    """What a cursor of a release before `met` had instead."""

    ids: str = ""


_decode = msgspec.json.Decoder(Cursor).decode
_decode_former = msgspec.json.Decoder(_Former).decode


def parse(text: str) -> Cursor:
    """A committed cursor; ValueError if it is not one."""
    try:
        cursor = _decode(text)
        ids = _decode_former(text).ids if cursor.met is None else ""
        return msgspec.structs.replace(cursor, met=former(ids)) if ids else cursor
    except ValueError as error:
        raise ValueError(f"not the cursor of a log file: {error}") from None


class Incomplete(OSError):
    """A compressed file that ends early: it is still being written, or was cut off."""


class Content(Protocol):
    """What of a file is needed to know it again."""

    @property
    def head(self) -> bytes: ...

    def edge_before(self, offset: int) -> bytes | None: ...


class Match(Struct, frozen=True):
    """`part` is the known file that this is, at `position`; None for a new file. `shorter` are the known files whose
    beginning this has, but which were read further than it is long; `incomplete`: so far, it ends early."""

    part: str | None
    position: Position
    shorter: tuple[str, ...] = ()
    incomplete: bool = False


def match(content: Content, cursors: Mapping[str, Cursor]) -> Match:
    """Which known file this is; of several the one that was read furthest."""
    shorter = []
    incomplete = False
    for part, cursor in sorted(cursors.items(), key=lambda item: item[1].offset, reverse=True):
        if not has_head(content.head, cursor):
            continue
        try:
            edge = content.edge_before(cursor.offset)
        except Incomplete:
            edge, incomplete = None, True
        if edge is None:
            shorter.append(part)
        elif digest(edge) == cursor.tail:
            return Match(part, Position(cursor.offset, cursor.lines, edge, cursor.skipping))
    return Match(None, Position(), tuple(shorter), incomplete)


def has_head(head: bytes, cursor: Cursor) -> bool:
    return len(head) >= cursor.head_length and digest(head[: cursor.head_length]) == cursor.head


def new_part(head: bytes, taken: Iterable[str]) -> str:
    """A name for a new file: its fingerprint, and a number if an earlier file began the same."""
    known, name = set(taken), digest(head)
    number = 0
    while f"{name}.{number}" in known:
        number += 1
    return f"{name}.{number}"
