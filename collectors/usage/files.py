"""A log file as a stream of whole lines from a position in its decompressed bytes, plain or gzip."""

import os
from collections.abc import Iterator
from types import TracebackType
from typing import cast

import msgspec
from msgspec import Struct

from collectors.usage.positions import EDGE, Incomplete, Position

PIECE = 128 * 1024
_GZIP_PIECE = 16 * 1024  # small, for what of a piece is left over after each output is copied
MAX_LINE = 16 * 1024 * 1024
_SEARCH = 1024 * 1024  # how far the end of a line is looked for
_STEP = 16 * 1024
CUT_OFF = "the gzip stream ends early: still being written, or cut off"
_GZIP = b"\x1f\x8b"
_BOM = b"\xef\xbb\xbf"


class Block(Struct, frozen=True):
    """Whole lines. `end` is the position after them; `too_long` counts the lines that were skipped before them."""

    data: bytes
    first_line: int
    newlines: int
    end: Position
    too_long: int = 0


class LogFile:
    """An open log file. `size` is that at the time of opening: what is written later is left for the next read."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            status = os.fstat(self._fd)
            self.size = status.st_size
            self.stat = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
            self.mtime = status.st_mtime_ns
            self.compressed = os.pread(self._fd, 2, 0) == _GZIP
            self.head = self._first(EDGE)
        except BaseException:
            os.close(self._fd)
            raise

    def __enter__(self) -> "LogFile":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._fd)

    def shrunk(self, offset: int) -> bool:
        """Whether the file was truncated below `offset` while it was being read."""
        return not self.compressed and os.fstat(self._fd).st_size < offset

    def edge_before(self, offset: int) -> bytes | None:
        """Up to 1024 (decompressed) bytes before `offset`; None if the file is shorter. May raise Incomplete."""
        if not self.compressed:
            wanted = min(EDGE, offset)
            return os.pread(self._fd, wanted, offset - wanted) if offset <= self.size else None
        done, edge = 0, b""
        for piece in self._pieces(0):
            edge = (edge + piece[: offset - done])[-EDGE:]
            done += len(piece)
            if done >= offset:
                return edge
        return None

    def line_end(self, offset: int) -> int | None:
        """The end of the line that holds the byte before `offset`; of a plain file, and None if that is far away. An
        offset beyond the end means the last whole line."""
        if offset >= self.size:
            start = max(0, self.size - _SEARCH)
            end = os.pread(self._fd, self.size - start, start).rfind(b"\n") + 1
            return start + end if end else None
        for start in range(offset - 1, offset - 1 + _SEARCH, _STEP):
            found = os.pread(self._fd, _STEP, start).find(b"\n")
            if found >= 0:
                return start + found + 1
        return None

    def blocks(self, position: Position, end: int | None = None) -> Iterator[Block]:
        """Whole lines from `position` to the end of the file, or to `end`, the end of a line. A half-written last
        line is left for the next read, unless it is a complete JSON object: only its newline can be missing."""
        lines = _Lines(position)
        for piece in self._pieces(position.offset, end):
            block = lines.cut(piece)
            if block is not None:
                yield block
        block = lines.rest()
        if block is not None:
            yield block

    def stretch(self, start: int, end: int) -> Iterator[tuple[int, bytes | memoryview, int]]:
        """The lines of a plain file in `[start, end)`, both the ends of lines, without copying them: the position after
        each block, its lines and how many newlines they have. It ends early at the end of the file, and before a line
        that is longer than a piece."""
        while start < end:
            piece = os.pread(self._fd, min(PIECE, end - start), start)
            cut = piece.rfind(b"\n") + 1
            if not cut:
                return
            text = memoryview(piece)[:cut]
            if start == 0 and piece.startswith(_BOM):
                text = text[len(_BOM) :]
            start += cut
            yield start, text, _newlines(piece)

    def _first(self, length: int) -> bytes:
        head = b""
        try:
            for piece in self._pieces(0):
                head += piece
                if len(head) >= length:
                    break
        except Incomplete:
            pass  # what there is identifies the file well enough
        return head[:length]

    def _pieces(self, offset: int, end: int | None = None) -> Iterator[bytes]:
        return self._inflated(offset) if self.compressed else self._raw(offset, end)

    def _raw(self, offset: int, end: int | None = None, length: int = PIECE) -> Iterator[bytes]:
        limit = self.size if end is None else end
        while offset < limit:
            piece = os.pread(self._fd, min(length, limit - offset), offset)
            if not piece:
                return
            offset += len(piece)
            yield piece

    def _inflated(self, offset: int) -> Iterator[bytes]:
        """Decompressed bytes from `offset`, in pieces of bounded size, over all members of the gzip file."""
        from isal import isal_zlib  # not for a plain log

        damage = cast(type[Exception], isal_zlib.error)  # its stub calls the class an instance
        inflate = isal_zlib.decompressobj(isal_zlib.MAX_WBITS | 16)
        skip = offset
        fresh = True  # no byte of the current member was read yet
        for piece in self._raw(0, length=_GZIP_PIECE):
            data = piece
            while data:
                if inflate.eof:
                    data = data.lstrip(b"\0")  # padding between members
                    inflate, fresh = isal_zlib.decompressobj(isal_zlib.MAX_WBITS | 16), True
                    continue
                try:
                    out = inflate.decompress(data, PIECE)
                except damage as error:
                    raise OSError(f"the gzip data is damaged ({error})") from None
                fresh = False
                data = inflate.unused_data if inflate.eof else inflate.unconsumed_tail
                if skip < len(out):
                    yield out[skip:] if skip else out
                skip = max(0, skip - len(out))
        if not (inflate.eof or fresh):
            raise Incomplete(CUT_OFF)


class _Lines:
    """Cuts a stream of pieces at newlines, and keeps the position after what was cut. A line longer than 16 MiB is
    skipped; at most that much is held."""

    def __init__(self, position: Position) -> None:
        self._offset = position.offset
        self._line = position.lines
        self._skipping = position.skipping
        self._edge = position.edge
        self._rest = b""
        self._too_long = 0

    def cut(self, piece: bytes) -> Block | None:
        """The whole lines that `piece` completes."""
        if self._skipping:
            end = piece.find(b"\n") + 1
            self._pass(piece[: end or None], 1 if end else 0)
            self._skipping = not end
            if not end:
                return self._block(b"")
            piece = piece[end:]
        end = piece.rfind(b"\n") + 1
        if end:
            whole = b"".join((self._rest, memoryview(piece)[:end]))
            self._rest = piece[end:]
            return self._block(whole)
        self._rest += piece
        if len(self._rest) <= MAX_LINE:
            return None
        self._too_long += 1
        self._pass(self._rest, 0)
        self._skipping, self._rest = True, b""
        return self._block(b"")

    def rest(self) -> Block | None:
        """An unterminated last line, if it is whole."""
        return self._block(self._rest) if self._rest.rstrip().endswith(b"}") and _is_json(self._rest) else None

    def _block(self, data: bytes) -> Block:
        first = self._line + 1
        text = data.removeprefix(_BOM) if self._offset == 0 else data
        newlines = _newlines(data)
        if data:
            self._pass(data, newlines)
        end = Position(self._offset, self._line, edge=self._edge, skipping=self._skipping)
        block = Block(text, first, newlines, end, self._too_long)
        self._too_long = 0
        return block

    def _pass(self, data: bytes, lines: int) -> None:
        self._offset += len(data)
        self._line += lines
        self._edge = data[-EDGE:] if len(data) >= EDGE else (self._edge + data)[-EDGE:]


def _newlines(data: bytes) -> int:
    return len(data) - len(data.replace(b"\n", b""))  # a quarter of the time of bytes.count (CPython 3.11)


def _is_json(data: bytes) -> bool:
    try:
        msgspec.json.decode(data, type=msgspec.Raw)
    except msgspec.DecodeError:
        return False
    return True
