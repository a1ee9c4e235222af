"""The live side of the gateways: requests of the Azure 2023 conversation trace, appended to a log as they come due."""

import csv
import gzip
import io
import json
import threading
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from importlib.resources import files
from pathlib import Path

from exporter.demo.history import iso
from exporter.demo.streams import Stream

_GOLDEN = 0.6180339887498949  # multiples of it modulo 1 are evenly spread: a share of the trace is taken evenly
_POLL_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Trace:
    """Recorded requests: `at[i]` seconds after the first, prompt and generated tokens; `length` seconds in all."""

    at: tuple[float, ...]
    tokens: tuple[tuple[int, int], ...]
    length: float


@cache
def recorded_trace() -> Trace:
    """The bundled trace."""
    packed = files("exporter.demo").joinpath("recorded", "azure_llm_2023_conv.csv.gz").read_bytes()
    rows = list(csv.reader(io.StringIO(gzip.decompress(packed).decode(), newline="")))[1:]
    times = [datetime.fromisoformat(row[0][:26] + "+00:00").timestamp() for row in rows]
    at = tuple(time - times[0] for time in times)
    return Trace(at, tuple((int(row[1]), int(row[2])) for row in rows), at[-1] * len(at) / (len(at) - 1))


def requests_due(trace: Trace, stream: Stream, start: float, end: float) -> Iterator[tuple[float, str]]:
    """The log lines of `stream` for requests that arrive in `[start, end)` (epoch seconds), in order, with their time.

    The trace repeats without end. What is due in a span does not depend on how the span is cut.
    """
    origin = stream.handover - stream.trace_offset
    start = max(start, stream.handover)
    loop = int((start - origin) // trace.length)
    while (begins := origin + loop * trace.length) < end:
        for i in range(bisect_left(trace.at, start - begins), bisect_left(trace.at, end - begins)):
            number, at = loop * len(trace.at) + i, begins + trace.at[i]
            if number * _GOLDEN % 1 < stream.share.at(at):
                yield at, _line(stream, number, at, *trace.tokens[i])
        loop += 1


def _line(stream: Stream, number: int, at: float, prompt: int, generated: int) -> str:
    teams = sorted(stream.clients.values())
    line = {
        "ts": iso(at),
        "id": f"{stream.workload}-{number}",
        "provider": stream.provider,
        "model": stream.model,
        "tokens": {"input": prompt, "output": generated},
        "status": "ok",
        "labels": {**stream.labels, "team": teams[number % len(teams)]},
    }
    return json.dumps(line) + "\n"


class Gateway:
    """Keeps the live log of some streams up to date with `clock` (epoch seconds) in a thread of its own.

    Started again on the same file it goes on where the file ends, at most `catch_up` seconds back: the time before
    that is a time without traffic.
    """

    def __init__(self, path: Path, streams: Sequence[Stream], clock: Callable[[], float], catch_up: int = 3600) -> None:
        self._path, self._streams, self._clock = path, streams, clock
        self._trace = recorded_trace()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        last = _last_instant(path)
        first = min(stream.handover for stream in streams)
        self._through: float = first if last is None else max(last, clock() - catch_up)

    def start(self) -> None:
        """Write all that is due by now, then go on in the background."""
        self.advance(self._clock())
        self._thread = threading.Thread(target=self._run, name=f"demo {self._path.name}", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread:
            self._thread.join()

    def advance(self, now: float) -> int:
        """Append every request that arrived before `now`, whole milliseconds only; returns how many."""
        now = int(now * 1000) / 1000
        due = [pair for stream in self._streams for pair in requests_due(self._trace, stream, self._through, now)]
        self._through = max(self._through, now)
        with self._path.open("ab", buffering=0) as log:
            log.write("".join(line for _, line in sorted(due)).encode())
        return len(due)

    def _run(self) -> None:
        while not self._stop.wait(_POLL_SECONDS):
            self.advance(self._clock())


def _last_instant(path: Path) -> float | None:
    """The first millisecond after the last line of the log; None without a line."""
    if not path.exists():
        return None
    with path.open("rb") as log:
        log.seek(max(0, path.stat().st_size - 4096))
        lines = log.read().splitlines()
    return datetime.fromisoformat(json.loads(lines[-1])["ts"]).timestamp() + 0.001 if lines else None
