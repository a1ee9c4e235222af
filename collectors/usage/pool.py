"""Where blocks of lines are read: in this process (a tail), or in child processes (a backlog). Both answer in order."""

import contextlib
import os
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from queue import SimpleQueue
from typing import IO, Protocol

import msgspec

from collectors.records import Usage
from collectors.usage.aggregate import MAX_PROBLEMS, Job, LineReader, Result
from collectors.usage.cold import FRAME, LENGTH
from collectors.usage.duplicates import Ids, Seen
from collectors.usage.files import LogFile

MAX_CHILDREN = 4
MIN_CHILD_MEMORY = 64 * 1024 * 1024
_PIPE_SIZE = 1024 * 1024
_ROOT = str(Path(__file__).parents[2])
# Garbage collection would only slow the imports down. Not `-m`: it costs an import more.
_START = "import gc; gc.disable(); from collectors.usage.cold import main; gc.freeze(); gc.enable(); main()"


class ChildDied(OSError):
    """A reading process ended early. What it had read was not committed and is read again."""


class Reading(Protocol):
    """Blocks go in by `read`. `flush` asks for a result of all blocks since the last flush; `result` waits for the
    oldest one asked for."""

    def read(self, block: bytes, first_line: int, newlines: int) -> None: ...

    def flush(self) -> None: ...

    def result(self) -> Result: ...


class InProcess:
    """Reads in this process. `seen` is changed as ids are met."""

    def __init__(self, job: Job, seen: Seen | None) -> None:
        self._reader = LineReader(job, seen)
        self._results: deque[Result] = deque()

    def read(self, block: bytes, first_line: int, newlines: int) -> None:
        self._reader.read(block, first_line, newlines)

    def flush(self) -> None:
        self._results.append(self._reader.result())

    def result(self) -> Result:
        return self._results.popleft()


class Pool:
    """Child processes, one per core (at most 4), that share the lines, or one of them that reads all, in order."""

    def __init__(self, memory_bytes: int) -> None:
        count = min(MAX_CHILDREN, cores())
        self._children = [_Child(max(MIN_CHILD_MEMORY, memory_bytes // count)) for _ in range(count)]
        self._readers = self._children
        self._next = 0
        self._asked = 0

    def start(self, job: Job, ids: Ids | None) -> None:
        """Begin a file, or a part of it; results that were asked for and not taken are dropped. With `ids`, the request
        ids to know, one child reads all lines in order."""
        for _ in range(self._asked):
            for child in self._readers:
                child.answer()
        self._asked = 0
        self._readers = self._children if ids is None else self._children[:1]
        self._next = 0
        for child in self._readers:
            child.send(b"J", msgspec.json.encode(job))
            if ids is not None:
                child.send(b"I", msgspec.msgpack.encode((ids.keys.tobytes(), ids.times.tobytes())))

    def read(self, block: bytes, first_line: int, newlines: int) -> None:
        self._readers[self._next].send(b"B", block, first_line, newlines)
        self._next = (self._next + 1) % len(self._readers)

    def read_stretch(self, file: LogFile, start: int, end: int) -> None:
        """Let the children read the lines in `[start, end)` of a plain file, a part each, and ask for the result."""
        for child, first, last in zip(self._readers, *self._parts(file, start, end), strict=True):
            child.send(b"R", msgspec.msgpack.encode((str(Path(file.path).absolute()), file.stat[:2], first, last)))
        self.flush()

    def _parts(self, file: LogFile, start: int, end: int) -> tuple[list[int], list[int]]:
        count = len(self._readers)
        nominal = (start + (end - start) * index // count for index in range(1, count))
        cuts = sorted(min(end, file.line_end(offset) or end) for offset in nominal)
        return [start, *cuts], [*cuts, end]

    def flush(self) -> None:
        for child in self._readers:
            child.send(b"F")
        self._asked += 1

    def result(self) -> Result:
        answers = [child.answer() for child in self._readers]
        self._asked -= 1
        if any(answer.moved for answer in answers):
            raise FileNotFoundError("the file was renamed or truncated while it was being read")
        return merge(answers)

    def close(self) -> None:
        """End the children, whatever they are doing."""
        for child in self._children:
            child.close()


class _Child:
    def __init__(self, memory_bytes: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _START],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=_ROOT,  # where `-m` finds this package, installed or not
        )
        assert self._process.stdin is not None and self._process.stdout is not None
        self._stdin: IO[bytes] = self._process.stdin
        self._answers: SimpleQueue[bytes | None] = SimpleQueue()
        self._listener = threading.Thread(target=self._listen, args=(self._process.stdout,), daemon=True)
        self._listener.start()
        _widen(self._stdin)
        self.send(b"M", b"", memory_bytes)

    def send(self, kind: bytes, payload: bytes = b"", number: int = 0, newlines: int = 0) -> None:
        try:
            self._stdin.write(FRAME.pack(kind, number, newlines, len(payload)))
            self._stdin.write(payload)
            if kind != b"B":
                self._stdin.flush()
        except OSError as error:
            raise ChildDied(f"a reading process ended: {error}") from None

    def answer(self) -> Result:
        answer = self._answers.get()
        if answer is None:
            raise ChildDied("a reading process ended (out of its memory limit, or killed)")
        return msgspec.msgpack.decode(answer, type=Result)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self._listener.join()
        with contextlib.suppress(OSError):  # unsent bytes in the buffer
            self._stdin.close()

    def _listen(self, stdout: IO[bytes]) -> None:
        """Take answers off the pipe as they come, so that a child never waits for its parent to listen."""
        with stdout:
            while header := stdout.read(LENGTH.size):
                (length,) = LENGTH.unpack(header)
                answer = stdout.read(length)
                if len(answer) < length:
                    break
                self._answers.put(answer)
        self._answers.put(None)


def _widen(pipe: IO[bytes]) -> None:
    """A pipe that holds a few blocks keeps a child busy while its parent feeds the others. Linux only."""
    with contextlib.suppress(ImportError, AttributeError, OSError):
        import fcntl

        fcntl.fcntl(pipe.fileno(), fcntl.F_SETPIPE_SZ, _PIPE_SIZE)


def cores() -> int:
    """The cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def merge(results: Iterable[Result]) -> Result:
    """One result of several: usage of the same slot and series is summed."""
    merged = Result([], {}, [])
    series: dict[tuple[object, ...], Usage] = {}
    for result in results:
        for usage in result.usage:
            _add(series, usage)
        merged.problems += [(merged.lines + line, reason) for line, reason in result.problems]
        merged.lines += result.lines
        for reason, n in result.rejected.items():
            merged.rejected[reason] = merged.rejected.get(reason, 0) + n
        merged.met += result.met
    merged.usage = list(series.values())
    merged.problems = sorted(merged.problems)[:MAX_PROBLEMS]
    return merged


def _add(series: dict[tuple[object, ...], Usage], usage: Usage) -> None:
    u = usage
    key = (u.slot, u.provider, u.model, u.service_tier, u.region, u.band, u.band_known, u.labels)
    same = series.setdefault(key, u)
    if same is u:
        return
    tokens = dict(same.tokens)
    for token_type, n in u.tokens.items():
        tokens[token_type] = tokens.get(token_type, 0) + n
    requests = same.requests + u.requests
    rest = (u.service_tier, u.region, u.band, u.band_known, u.labels)
    series[key] = Usage(u.slot, u.path, u.provider, u.model, tokens, requests, *rest)
