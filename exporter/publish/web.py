"""HTTP: a plain ASGI application over what the service last published. No locks and no work on the request path.

`/metrics` sends bytes that were rendered before; the status page and the JSON are rendered in a thread, once per
publish tick at most while they are asked for. Plain ASGI because Starlette costs 6 MB of a sidecar's 48.
"""

import asyncio
import gzip
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from exporter.publish.api import workloads_json
from exporter.publish.negotiate import wants_gzip, wants_openmetrics
from exporter.publish.page import OPENMETRICS_TYPE, TEXT_TYPE, Page
from exporter.publish.state import PublishState

if TYPE_CHECKING:
    import uvicorn

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_PLAIN = "text/plain; charset=utf-8"
_NO_SCRIPTS = (
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_KEEP_ALIVE = 120  # longer than any usual scrape interval, so that a scraper keeps its connection


@dataclass(frozen=True, slots=True)
class Published:
    """One tick's page and the state it was rendered from: they belong together."""

    page: Page
    state: PublishState


class Publication:
    """The newest tick. The service swaps it, requests read it: one reference, so no request sees half a tick."""

    def __init__(self) -> None:
        self.current: Published | None = None
        self.unhealthy = ""  # why the process should be restarted; one line

    @property
    def page(self) -> Page | None:
        return self.current.page if self.current else None

    @property
    def state(self) -> PublishState | None:
        return self.current.state if self.current else None

    def publish(self, page: Page, state: PublishState) -> None:
        self.current = Published(page, state)


@dataclass(frozen=True, slots=True)
class Response:
    status: int
    content_type: str
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()


class App:
    """The ASGI application."""

    def __init__(self, publication: Publication) -> None:
        self._publication = publication
        self._html = _Rendered(_status_html)
        self._json = _Rendered(workloads_json)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise RuntimeError(f"cannot serve {scope['type']!r} connections")
        response = await self._respond(scope["method"], scope["path"], _headers(scope))
        await _send(response, scope["method"] == "HEAD", send)

    async def _respond(self, method: str, path: str, headers: dict[str, str]) -> Response:
        if path == "/-/reload":
            return Response(
                403, _PLAIN, b"Reloading over HTTP is not enabled. Restart the exporter to load its config.\n"
            )
        if path not in ("/metrics", "/-/healthy", "/-/ready", "/api/v1/workloads", "/"):
            return Response(
                404, _PLAIN, b"Not found. There are /, /metrics, /api/v1/workloads, /-/healthy and /-/ready.\n"
            )
        if method not in ("GET", "HEAD"):
            return Response(405, _PLAIN, b"Only GET and HEAD are allowed.\n", (("allow", "GET, HEAD"),))
        if path == "/-/healthy":
            return _healthy(self._publication.unhealthy)
        published = self._publication.current
        if published is None:
            return _starting(path)
        if path == "/-/ready":
            return Response(200, _PLAIN, b"Ready.\n")
        if path == "/metrics":
            return _metrics(published.page, headers)
        return await self._rendered(path, published.state, headers)

    async def _rendered(self, path: str, state: PublishState, headers: dict[str, str]) -> Response:
        html = path == "/"
        plain, compressed = await asyncio.to_thread((self._html if html else self._json).of, state)
        extra = (("content-security-policy", _NO_SCRIPTS), ("referrer-policy", "no-referrer")) if html else ()
        content_type = "text/html; charset=utf-8" if html else "application/json"
        return _encoded(content_type, plain, compressed, headers, extra)


class _Rendered:
    """What `render` makes of a state, plain and gzip; kept until another state is asked for."""

    def __init__(self, render: Callable[[PublishState], bytes]) -> None:
        self._render = render
        self._kept: tuple[PublishState, bytes, bytes] | None = None

    def of(self, state: PublishState) -> tuple[bytes, bytes]:
        kept = self._kept
        if kept is None or kept[0] is not state:
            plain = self._render(state)
            self._kept = kept = (state, plain, gzip.compress(plain, 1, mtime=0))
        return kept[1], kept[2]


def config(app: App, **options: Any) -> "uvicorn.Config":
    """uvicorn's configuration for a small, quiet server. `options`: where to listen (`host`, `port`, `fd`), TLS."""
    import uvicorn

    return uvicorn.Config(
        app,
        interface="asgi3",
        loop="asyncio",
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,  # the service's logging stands
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=_KEEP_ALIVE,
        timeout_graceful_shutdown=3,
        **options,
    )


def _status_html(state: PublishState) -> bytes:
    from exporter.publish.status_page import render  # jinja2 costs 4 MB: only where somebody looks at the page

    return render(state).encode("utf-8", "replace")


def _metrics(page: Page, headers: dict[str, str]) -> Response:
    if wants_openmetrics(headers.get("accept", "")):
        return _encoded(OPENMETRICS_TYPE, page.openmetrics, page.openmetrics_gzip, headers)
    return _encoded(TEXT_TYPE, page.text, page.text_gzip, headers)


def _encoded(
    content_type: str, plain: bytes, compressed: bytes, headers: dict[str, str], extra: tuple[tuple[str, str], ...] = ()
) -> Response:
    extra = (*extra, ("vary", "accept, accept-encoding"))
    if wants_gzip(headers.get("accept-encoding", "")):
        return Response(200, content_type, compressed, (*extra, ("content-encoding", "gzip")))
    return Response(200, content_type, plain, extra)


def _healthy(unhealthy: str) -> Response:
    if unhealthy:
        return Response(500, _PLAIN, f"Unhealthy: {unhealthy}\n".encode("utf-8", "replace"))
    return Response(200, _PLAIN, b"Healthy.\n")


def _starting(path: str) -> Response:
    text = b"Starting: the first page is not there yet. Try again in some seconds.\n"
    headers = (("retry-after", "5"), ("refresh", "5")) if path == "/" else (("retry-after", "5"),)
    return Response(503, _PLAIN, text, headers)


def _headers(scope: Scope) -> dict[str, str]:
    """Request headers by lower-case name; a repeated one is joined by commas, as RFC 9110 section 5.3 allows."""
    headers: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]},{value}" if name in headers else value
    return headers


async def _send(response: Response, head: bool, send: Send) -> None:
    fields = (
        ("content-type", response.content_type),
        ("content-length", str(len(response.body))),
        ("x-content-type-options", "nosniff"),
        *response.headers,
    )
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in fields]
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if head else response.body})
