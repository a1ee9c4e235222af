"""Fetching one metrics page: a GET that ends in time, in bounded memory, with a reason that holds no secret.

Three outcomes: the page's bytes; `Refused` (nobody listens there: the engine is down); `Unreadable` (everything else:
nothing is known of the engine).
"""

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlencode, urlsplit

from urllib3 import BaseHTTPResponse
from urllib3 import exceptions as failures
from urllib3.util import make_headers

from collectors import deadline
from collectors.engines.page import PageError, check
from collectors.settings import sounds_secret

_CHUNK = 1 << 16
_EXPECTED = (
    "expected a URL like 'http://127.0.0.1:8000/metrics' ('/', '@', '#' and blanks in a password percent-encoded)"
)


class Unreadable(Exception):
    """No page. The text is a one-line reason for the on-call engineer, without secrets."""


class Refused(Unreadable):
    """The connection was refused: the target is down, not merely slow or broken."""


@dataclass(frozen=True, slots=True)
class Target:
    """A page's address. `shown` may be logged; `url` (in its query) and `headers` may hold secrets."""

    shown: str
    url: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False, default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> "Target":
        """The target of an http(s) URL (`/metrics` if it has no path). ValueError, not quoting it, if it is none."""
        try:
            url = urlsplit(text)
            port, host = url.port, url.hostname
        except ValueError:  # its text may quote a part of a password
            raise ValueError(_EXPECTED) from None
        # An '@' behind the host is what is left of a password with a bare '/' or '#' in it.
        misread = "@" in url.path + url.query + url.fragment or not text.isprintable() or " " in text
        if url.scheme not in ("http", "https") or not host or misread:
            raise ValueError(_EXPECTED)
        at = (f"[{host}]" if ":" in host else host) + ("" if port is None else f":{port}")
        bare = url._replace(netloc=at, path=url.path.rstrip("/") or "/metrics", fragment="")
        return cls(_without_secrets(bare).geturl(), bare.geturl(), _basic_auth(url))


def _without_secrets(url: SplitResult) -> SplitResult:
    """The values of query parameters that sound like credentials are starred."""
    pairs = [
        (key, "***" if sounds_secret(key + value[: value.rfind("=") + 1]) else value)
        for key, value in parse_qsl(url.query, keep_blank_values=True)  # `a=1;sig=x` is one pair
    ]
    return url._replace(query=urlencode(pairs, safe="*[]/:"))


def _basic_auth(url: SplitResult) -> Mapping[str, str]:
    if url.username is None:
        return {}
    return make_headers(basic_auth=f"{unquote(url.username)}:{unquote(url.password or '')}")


class Fetcher:
    """Reads the pages of `targets` over kept-alive connections; safe to use from several threads.

    `timeout`: seconds for a whole request, however slowly its bytes arrive (looking up a host name is the system's and
    not bounded). `max_bytes` bounds a page before and after decompression. `token_file` holds a bearer token; it is
    read at each request. Redirects are not followed: they would carry the token elsewhere.
    """

    def __init__(
        self, targets: Sequence[Target], timeout: float, max_bytes: int, token_file: str | None = None
    ) -> None:
        self._timeout = timeout
        self._max_bytes = max_bytes
        self._token_file = Path(token_file) if token_file else None
        https = any(target.url.startswith("https:") for target in targets)
        self._pool = deadline.connections(len(targets), https)

    def get(self, target: Target) -> bytes:
        """The whole page. Raises `Refused` or `Unreadable`."""
        deadline.begin(self._timeout)
        headers = {"Accept": "text/plain, */*;q=0.1", "Accept-Encoding": "gzip", **target.headers, **self._bearer()}
        try:
            try:
                return self._read(target.url, headers)
            except failures.ProtocolError as error:
                if not _hung_up(error):
                    raise
                return self._read(target.url, headers)  # the server was just closing a kept-alive connection
        except failures.HTTPError as error:
            raise self._explained(error) from None
        except TimeoutError:
            raise self._too_late() from None

    def close(self) -> None:
        deadline.close(self._pool)

    def _bearer(self) -> Mapping[str, str]:
        if self._token_file is None:
            return {}
        try:
            token = self._token_file.read_text("ascii").strip()
        except OSError as error:
            raise Unreadable(f"bearer_token_file {self._token_file}: {error.strerror}") from None
        except UnicodeDecodeError:
            token = ""
        if not token or not token.isprintable() or " " in token:
            raise Unreadable(f"bearer_token_file {self._token_file}: expected one token on one line")
        return {"Authorization": f"Bearer {token}"}

    def _read(self, url: str, headers: Mapping[str, str]) -> bytes:
        response = deadline.get(self._pool, url, headers)
        try:
            page = self._page(response)
        except BaseException:
            response.close()  # what is left of it must not be taken for the next response
            raise
        finally:
            response.release_conn()
        return page

    def _page(self, response: BaseHTTPResponse) -> bytes:
        kind = response.headers.get("Content-Type", "").lower()
        if response.status != 200:
            hint = " (redirects are not followed: configure the final URL)" if 300 <= response.status < 400 else ""
            raise Unreadable(f"HTTP {response.status}{hint}")
        announced = response.headers.get("Content-Length", "")
        if announced.isascii() and announced.isdecimal() and int(announced) > self._max_bytes:
            raise Unreadable(f"page of {announced} bytes, larger than max_page_bytes ({self._max_bytes})")
        page = b"".join(self._body(response))
        if kind.startswith("text/html") or page[:256].lstrip().startswith(b"<"):
            raise Unreadable("an HTML page, not metrics (is this the engine's address?)")
        try:
            check(page, openmetrics="openmetrics-text" in kind)
        except PageError as error:
            raise Unreadable(str(error)) from None
        return page

    def _body(self, response: BaseHTTPResponse) -> Iterator[bytes]:
        """The body in pieces, decompressed. urllib3 is not asked to decompress: before 2.6 it did so without bound."""
        encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
        if encoding not in ("identity", "", "gzip"):
            raise Unreadable(f"unexpected Content-Encoding {encoding[:40]!r}")
        inflate = zlib.decompressobj(zlib.MAX_WBITS | 16) if encoding == "gzip" else None
        received = size = 0
        for piece in response.stream(_CHUNK, decode_content=False):
            received += len(piece)
            if inflate:
                piece = _inflated(inflate, piece, self._max_bytes + 1 - size)
            size += len(piece)
            if max(received, size) > self._max_bytes:
                raise Unreadable(f"page larger than max_page_bytes ({self._max_bytes})")
            yield piece
        if inflate and not inflate.eof:
            raise Unreadable(f"truncated gzip page (after {received} bytes)")

    def _explained(self, error: failures.HTTPError) -> Unreadable:
        """The exception in words of our own: urllib3's texts hold object addresses and whole URLs."""
        if isinstance(error, failures.NameResolutionError):
            return Unreadable("cannot resolve the host name")
        if isinstance(error, failures.NewConnectionError):
            if isinstance(error.__cause__, ConnectionRefusedError):
                return Refused("connection refused")
            return Unreadable(f"cannot connect: {getattr(error.__cause__, 'strerror', None) or 'unknown reason'}")
        if isinstance(error, failures.TimeoutError):
            return self._too_late()
        if isinstance(error, failures.SSLError):
            inner = error.args[0] if error.args else None
            return Unreadable(
                f"TLS: {getattr(inner, 'verify_message', '') or getattr(inner, 'reason', '') or 'failed'}"
            )
        cause = error.args[1] if len(error.args) > 1 else error
        if isinstance(cause, failures.IncompleteRead) and cause.partial is not None:
            return Unreadable(
                f"truncated page: the connection closed after {cause.partial} bytes of the announced length"
            )
        if isinstance(error, failures.ProtocolError):
            return Unreadable(f"broken HTTP response ({type(cause).__name__})")
        return Unreadable(f"cannot read ({type(error).__name__})")

    def _too_late(self) -> Unreadable:
        return Unreadable(f"timed out after {self._timeout:g} s")


def _inflated(inflate: Any, piece: bytes, limit: int) -> bytes:
    try:
        data: bytes = inflate.decompress(piece, limit)
    except zlib.error:
        raise Unreadable("corrupt gzip page") from None
    if inflate.unused_data:
        raise Unreadable("corrupt gzip page: more data behind its end")
    return data


def _hung_up(error: failures.ProtocolError) -> bool:
    """Whether the server closed the connection before the first byte of a response."""
    return len(error.args) > 1 and isinstance(error.args[1], ConnectionResetError | BrokenPipeError)
