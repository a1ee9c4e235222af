"""A child process that reads blocks of log lines (`main`, started by `pool`): frames in, results out.

A backlog is read by several of these, so that it uses all cores, does not hold the exporter's interpreter lock, and has
its own memory limit. They run the same reader as a tail does. Positions stay with the
parent, so a child that dies loses nothing.

A frame is its kind, two numbers and a length (`FRAME`), then that many bytes: `M` memory limit (bytes), `J` job (JSON),
`I` request ids to know and to go on from (msgpack), `A` from here on judge ids apart: forget those of each result after
it, as after `J`; `B` block of lines (number of its first one, of newlines), `R` stretch of a plain file (msgpack: path,
device and inode, start, end), `F` flush: answer with the result so far, as a length (`LENGTH`) and msgpack.
"""

import gc
from typing import BinaryIO

import msgspec

from collectors.usage.aggregate import LineReader
from collectors.usage.duplicates import Met, Seen
from collectors.usage.files import LogFile
from collectors.usage.jobs import FRAME, LENGTH, Job, Result
from collectors.usage.positions import Position


def main(requests: BinaryIO, answers: BinaryIO) -> None:
    gc.freeze()  # what the imports made stays
    gc.enable()
    serve(requests, answers)


def serve(source: BinaryIO, sink: BinaryIO) -> None:
    """Handle frames until the end of `source`."""
    job: Job | None = None
    seen: Seen | None = None
    reader: LineReader | None = None
    stretch = Stretch()
    goes_on = False
    while header := source.read(FRAME.size):
        kind, number, newlines, length = FRAME.unpack(header)
        payload = source.read(length)
        if kind == b"B" and reader is not None:
            reader.read(payload, number, newlines)
        elif kind == b"F" and reader is not None:
            answer = msgspec.msgpack.encode(stretch.add_to(reader.result()))
            sink.write(LENGTH.pack(len(answer)) + answer)
            sink.flush()
            if seen is not None and not goes_on:
                seen.clear()
        elif kind == b"R" and reader is not None:
            stretch.read(reader, *msgspec.msgpack.decode(payload, type=tuple[str, tuple[int, int], int, int]))
        elif kind == b"J":
            job = msgspec.json.decode(payload, type=Job)
            seen = Seen(job.horizon) if job.horizon is not None else None
            reader = LineReader(job, seen)
            goes_on = False
        elif kind == b"I" and job is not None and seen is not None:
            seen.clear()
            seen.learn(msgspec.msgpack.decode(payload, type=Met), job.now)
            goes_on = True
        elif kind == b"A" and seen is not None:
            seen.clear()
            goes_on = False
        elif kind == b"M":
            limit_memory(number)


class Stretch:
    """Stretches of files that this process reads itself; counted until they are added to a result."""

    def __init__(self) -> None:
        self._lines = 0
        self._too_long = 0
        self._moved = False

    def read(self, reader: LineReader, path: str, inode: tuple[int, int], start: int, end: int) -> None:
        """Read the whole lines in `[start, end)`, if `path` is still the file with this device and inode."""
        try:
            with LogFile(path) as file:
                if file.stat[:2] == inode:
                    start = self._read(reader, file, start, end)
        except OSError:
            pass  # reported by what was not reached
        self._moved |= start != end

    def _read(self, reader: LineReader, file: LogFile, start: int, end: int) -> int:
        for reached, text, newlines in file.stretch(start, end):
            reader.read(text, self._lines + 1, newlines)
            self._lines += newlines
            start = reached
        if start < end:  # a long line, which has to be put together
            before = self._lines
            for block in file.blocks(Position(start), end):
                reader.read(block.data, before + block.first_line, block.newlines)
                start, self._lines = block.end.offset, before + block.end.lines
                self._too_long += block.too_long
        return start

    def add_to(self, result: Result) -> Result:
        """`result` with the counts since the last one."""
        result.lines, result.moved = self._lines, self._moved
        if self._too_long:
            result.rejected["line_too_long"] = self._too_long
        self._lines, self._too_long, self._moved = 0, 0, False
        return result


def limit_memory(limit: int) -> None:
    """Let allocations beyond `limit` bytes fail. Where the system has no such limit, there is none."""
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    except (ImportError, AttributeError, ValueError, OSError):
        return
