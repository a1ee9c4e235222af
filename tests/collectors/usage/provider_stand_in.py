"""What the stand-ins of the two admin APIs share: a loopback server that refuses what the real one would refuse.

A stand-in is given calls, the ground truth, and derives every report from them at any bucket width, so that all reports
agree; the calls may be revised between two requests. `fault` may answer a request in its place.
"""

import base64
import hashlib
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

import msgspec

DAY = 86400
WIDTHS = {"1m": 60, "1h": 3600, "1d": DAY}
# Buckets of one page by width: (default, most).
LIMITS = {"1m": (60, 1440), "1h": (24, 168), "1d": (7, 31)}

Pairs = list[tuple[str, str]]
_encode = msgspec.json.Encoder(decimal_format="number").encode


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes
    headers: tuple[tuple[str, str], ...] = (("Content-Type", "application/json"),)


class RefusedError(Exception):
    """A request that the real API would not answer."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


@dataclass
class Query:
    """Checked parameters: each known, single unless it is a list, and of its type."""

    path: str
    pairs: Pairs

    def check(self, single: Sequence[str], lists: Sequence[str]) -> None:
        names = [name for name, _ in self.pairs]
        for name in names:
            if name not in single and name not in lists:
                raise RefusedError(400, f"unknown parameter {name}")
            if name in single and names.count(name) > 1:
                raise RefusedError(400, f"{name} given twice")

    def one(self, name: str, default: str | None = None) -> str:
        value = dict(self.pairs).get(name, default)
        if value is None:
            raise RefusedError(400, f"{name} is required")
        return value

    def many(self, name: str, allowed: Sequence[str]) -> list[str]:
        values = [value for key, value in self.pairs if key == name]
        if not set(values) <= set(allowed) or len(set(values)) != len(values):
            raise RefusedError(400, f"{name}: {values}")
        return values

    def width(self, allowed: Sequence[str] = tuple(WIDTHS)) -> str:
        width = self.one("bucket_width", "1d")
        if width not in allowed:
            raise RefusedError(400, f"bucket_width {width}")
        return width

    def limit(self, default: int, most: int) -> int:
        text = self.one("limit", str(default))
        if not text.isdecimal() or not 1 <= int(text) <= most:
            raise RefusedError(400, f"limit must be between 1 and {most}")
        return int(text)


class StandIn:
    """Serves on 127.0.0.1 at a port of its own. `now` is what the provider takes for now."""

    key = ""

    def __init__(self, now: int) -> None:
        self.now = now
        self.fault: Callable[[Query], Answer | None] = lambda query: None
        self.asked: list[Query] = []
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Clients must close their connections first: their threads are waited for."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def answer(self, target: str, headers: Any) -> Answer:
        url = urlsplit(target)
        query = Query(url.path, parse_qsl(url.query, keep_blank_values=True, strict_parsing=bool(url.query)))
        self.asked.append(query)
        try:
            self.authorize(headers)
            return self.fault(query) or Answer(200, _encode(self.report(query)))
        except RefusedError as error:
            return Answer(error.status, json.dumps(self.error(error)).encode())

    def authorize(self, headers: Any) -> None:
        raise NotImplementedError

    def report(self, query: Query) -> Any:
        raise NotImplementedError

    def error(self, refused: RefusedError) -> Any:
        return {"error": {"message": str(refused), "type": "invalid_request_error"}}

    def page(self, query: Query, starts: Sequence[int], limit: int) -> tuple[Sequence[int], str | None]:
        """The bucket starts of the page that is asked for, and the token of the next one, bound to the other
        parameters."""
        others = sorted(pair for pair in query.pairs if pair[0] != "page")
        binding = hashlib.sha256(repr((query.path, others)).encode()).hexdigest()[:16]
        first = 0
        if token := query.one("page", ""):
            bound, _, text = base64.urlsafe_b64decode(token).decode().partition(":")
            if bound != binding:
                raise RefusedError(400, "page belongs to another request")
            first = int(text)
        chunk = starts[first : first + limit]
        more = first + limit < len(starts)
        following = base64.urlsafe_b64encode(f"{binding}:{first + limit}".encode()).decode()
        return chunk, following if more else None


def starts(start: int, end: int, now: int, width: int) -> list[int]:
    """The starts of all buckets from the one that holds `start`, up to `end` or now."""
    return list(range(start - start % width, min(end, now), width))


def bucketed(calls: Sequence[Any], width: int) -> dict[int, list[Any]]:
    """Calls by the start of their bucket."""
    found: dict[int, list[Any]] = {}
    for call in calls:
        found.setdefault(call.at - call.at % width, []).append(call)
    return found


def grouped(calls: Sequence[Any], by: Sequence[str]) -> Iterator[tuple[tuple[Any, ...], list[Any]]]:
    """Calls by the dimensions they are grouped by."""
    found: dict[tuple[Any, ...], list[Any]] = {}
    for call in calls:
        found.setdefault(tuple(getattr(call, name) for name in by), []).append(call)
    yield from found.items()


def usd(tokens: int, per_mtok: str) -> Decimal:
    return tokens * Decimal(per_mtok) / 1_000_000


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    block_on_close = True


def _handler(stand_in: StandIn) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = 1 << 16  # head and body in one piece, or each answer waits for an acknowledgement

        def do_GET(self) -> None:
            answer = stand_in.answer(self.path, self.headers)
            try:
                self.send_response_only(answer.status)
                for name, value in answer.headers:
                    self.send_header(name, value)
                if not any(name == "Content-Length" for name, _ in answer.headers):
                    self.send_header("Content-Length", str(len(answer.body)))
                self.end_headers()
                self.wfile.write(answer.body)
            except OSError:
                self.close_connection = True  # the client went away, as some tests want it to
            if any(name == "Content-Length" for name, _ in answer.headers):
                self.close_connection = True  # what was announced is not what came

        def log_message(self, format: str, *args: Any) -> None:
            """Silent."""

    return Handler
