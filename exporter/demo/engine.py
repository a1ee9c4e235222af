"""A stand-in for a vLLM server: its recorded `/metrics` pages, in a loop, on loopback.

Each loop adds what the counters gained in the recorded run, so that they never fall and the process start time stays:
to the exporter it is one server that serves the same 1,200 requests every 30 s.
"""

import gzip
import json
import re
import threading
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files

_TYPE = re.compile(r"# TYPE (\S+) (\S+)")
_ACCUMULATING = {"counter", "histogram", "summary"}
_SUFFIX = re.compile(r"_(?:bucket|sum|count)$")

Line = tuple[str, float | None, float]
"""Text before the value, value, gain per loop. A line that is served as recorded has no value."""


@dataclass(frozen=True, slots=True)
class Recording:
    """The pages as lines, when each was read (seconds after the first), and how long the run took (seconds)."""

    at: tuple[float, ...]
    pages: tuple[tuple[Line, ...], ...]
    length: float


def recorded_pages() -> Recording:
    """The bundled recording."""
    packed = files("exporter.demo").joinpath("recorded", "vllm-0.32.0-series.jsonl.gz").read_bytes()
    rows = [json.loads(line) for line in gzip.decompress(packed).splitlines()]
    first, last = _accumulating(rows[0]["page"]), _accumulating(rows[-1]["page"])
    gain = {series: value - first.get(series, 0.0) for series, value in last.items()}
    at = tuple(row["t"] - rows[0]["t"] for row in rows)
    return Recording(at, tuple(_lines(row["page"], gain) for row in rows), at[-1])


def page_at(recording: Recording, elapsed: float) -> str:
    """The page `elapsed` seconds after the server was first read."""
    loop, position = divmod(max(elapsed, 0.0), recording.length)
    index = bisect_right(recording.at, position) - 1
    if index == 0 and loop:  # the idle page of a new process: a running one shows the end of the loop before
        loop, index = loop - 1, len(recording.pages) - 1
    return "".join(
        text if value is None else f"{text}{value + loop * gain!r}\n" for text, value, gain in recording.pages[index]
    )


class Engine:
    """Serves the pages on 127.0.0.1 at a port of its own; `clock` and `started` (epoch seconds) say which one."""

    def __init__(self, started: float, clock: Callable[[], float]) -> None:
        recording = recorded_pages()
        self._server = _Server(("127.0.0.1", 0), lambda: page_at(recording, clock() - started).encode())
        self._thread = threading.Thread(target=self._server.serve_forever, name="demo engine", daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/metrics"

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    def __init__(self, address: tuple[str, int], page: Callable[[], bytes]) -> None:
        super().__init__(address, _Handler)
        self.page = page


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        if self.path.rstrip("/") != "/metrics":
            self.send_error(404)
            return
        body = self.server.page()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=1.0.0; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Keep quiet: the demo's output is the exporter's."""


def _accumulating(page: str) -> dict[str, float]:
    """The value of every sample of a counter, histogram or summary, by its text before the value."""
    return {text: value for text, value, _ in _lines(page, {}) if value is not None}


def _lines(page: str, gain: dict[str, float]) -> tuple[Line, ...]:
    types = dict(_TYPE.findall(page))
    lines: list[Line] = []
    for line in page.splitlines():
        text, _, value = line.rpartition(" ")
        name = text.partition("{")[0]
        if line.startswith("#") or types.get(name, types.get(_SUFFIX.sub("", name))) not in _ACCUMULATING:
            lines.append((line + "\n", None, 0.0))
        else:
            lines.append((text + " ", float(value), gain.get(text + " ", 0.0)))
    return tuple(lines)
