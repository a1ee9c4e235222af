"""Where blocks of lines are read: in this process (a tail), or in child processes (a backlog). Both answer in order."""

import contextlib
import os
import subprocess
import threading
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from queue import SimpleQueue
from typing import IO, Protocol

import msgspec

from collectors.child import command
from collectors.usage.duplicates import Met, Seen
from collectors.usage.files import LogFile
from collectors.usage.jobs import FRAME, LENGTH, MAX_PROBLEMS, Job, Key, Result

MAX_CHILDREN = 4
READ_AHEAD = 2  # stretches that a child is given at a time
MIN_CHILD_MEMORY = 64 * 1024 * 1024
_PIPE_SIZE = 1024 * 1024


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
        from collectors.usage.aggregate import LineReader  # not before there is a line to read here

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
        limit = max(MIN_CHILD_MEMORY, memory_bytes // count)
        self._answers: SimpleQueue[tuple[_Child, bytes | None]] = SimpleQueue()
        self._children = [_Child(limit, self._answers) for _ in range(count)]
        self._readers = self._children
        self._next = 0
        self._tickets = 0
        self._asked: deque[list[int]] = deque()  # the tickets of each result
        self._done: dict[int, bytes] = {}

    def start(self, job: Job, known: Met | None) -> None:
        """Begin a file, or a part of it; results that were asked for and not taken are dropped. With `known`, request
        ids, one child reads all lines in order; without, each judges the ids of what it reads by themselves."""
        while self._asked:
            self._wait_for(self._asked.popleft())
        self._readers = self._children if known is None else self._children[:1]
        self._next = 0
        for child in self._readers:
            child.send(b"J", msgspec.json.encode(job))
            if known is not None:
                child.send(b"I", msgspec.msgpack.encode(known))

    def read(self, block: bytes, first_line: int, newlines: int) -> None:
        self._readers[self._next].send(b"B", block, first_line, newlines)
        self._next = (self._next + 1) % len(self._readers)

    def flush(self) -> None:
        self._asked.append([self._ask(child) for child in self._readers])

    def result(self) -> Result:
        return merge(self._wait_for(self._asked.popleft()))

    @property
    def size(self) -> int:
        return len(self._children)

    def has_room(self) -> bool:
        """Whether a child has less to do than to be busy until it is given more."""
        return len(self._asked) < 2 * READ_AHEAD * self.size and len(self._idlest().waiting) < READ_AHEAD

    def has_result(self) -> bool:
        """Whether `result` would not wait."""
        return bool(self._asked) and all(ticket in self._done for ticket in self._asked[0])

    def wait(self) -> None:
        """Wait for any child to be ready with anything."""
        child, answer = self._answers.get()
        if answer is None:
            raise ChildDied("a reading process ended (out of its memory limit, or killed)")
        self._done[child.waiting.popleft()] = answer

    def read_stretch(self, file: LogFile, start: int, end: int) -> None:
        """Let a child read the lines in `[start, end)` of a plain file, and ask for the result."""
        child = self._idlest()
        child.send_stretch(file, start, end)
        self._asked.append([self._ask(child)])

    def read_knowing(self, known: Met, file: LogFile, start: int, end: int) -> Result:
        """Read a stretch with request ids to know, before everything else that was asked for."""
        child = self._idlest()
        child.send(b"I", msgspec.msgpack.encode(known))
        child.send_stretch(file, start, end)
        ticket = self._ask(child)
        child.send(b"A")
        return merge(self._wait_for([ticket]))

    def _idlest(self) -> "_Child":
        return min(self._children, key=lambda child: len(child.waiting))

    def _ask(self, child: "_Child") -> int:
        child.send(b"F")
        self._tickets += 1
        child.waiting.append(self._tickets)
        return self._tickets

    def _wait_for(self, tickets: list[int]) -> list[Result]:
        while not all(ticket in self._done for ticket in tickets):
            self.wait()
        return [msgspec.msgpack.decode(self._done.pop(ticket), type=Result) for ticket in tickets]

    def close(self) -> None:
        """End the children, whatever they are doing."""
        for child in self._children:
            child.kill()
        for child in self._children:
            child.close()


class _Child:
    def __init__(self, memory_bytes: int, answers: "SimpleQueue[tuple[_Child, bytes | None]]") -> None:
        self._process = subprocess.Popen(
            command("collectors.usage.cold"), stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self._process.stdin is not None and self._process.stdout is not None
        self._stdin: IO[bytes] = self._process.stdin
        self._answers = answers
        self.waiting: deque[int] = deque()  # tickets of the answers that are still to come
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

    def send_stretch(self, file: LogFile, start: int, end: int) -> None:
        self.send(b"R", msgspec.msgpack.encode((str(Path(file.path).absolute()), file.stat[:2], start, end)))

    def kill(self) -> None:
        self._process.kill()

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
                self._answers.put((self, answer))
        self._answers.put((self, None))


def _widen(pipe: IO[bytes]) -> None:
    """A pipe that holds a few blocks keeps a child busy while its parent feeds the others. Linux only."""
    with contextlib.suppress(ImportError, AttributeError, OSError):
        import fcntl

        fcntl.fcntl(pipe.fileno(), fcntl.F_SETPIPE_SZ, _PIPE_SIZE)


def cores() -> int:
    """The cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def merge(results: Iterable[Result]) -> Result:
    """One result of several, in order: what is of the same slot and series is summed. Raises FileNotFoundError if a
    stretch could not be read as it was."""
    merged = Result([], {}, [])
    series: dict[Key, tuple[int, dict[str, int]]] = {}
    for result in results:
        if result.moved:
            raise FileNotFoundError("the file was renamed or truncated while it was being read")
        for key, requests, tokens in result.sums:
            before = series.get(key)
            series[key] = (requests, tokens) if before is None else (before[0] + requests, _added(before[1], tokens))
        merged.problems += [(merged.lines + line, reason) for line, reason in result.problems]
        merged.lines += result.lines
        for reason, n in result.rejected.items():
            merged.rejected[reason] = merged.rejected.get(reason, 0) + n
        merged.met = result.met  # with request ids one process reads, or the results are merged without them
    merged.sums = [(key, requests, tokens) for key, (requests, tokens) in series.items()]
    merged.problems = sorted(merged.problems)[:MAX_PROBLEMS]
    return merged


def _added(sums: dict[str, int], tokens: dict[str, int]) -> dict[str, int]:
    for token_type, n in tokens.items():
        sums[token_type] = sums.get(token_type, 0) + n
    return sums
