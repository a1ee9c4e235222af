"""A provider's admin API over HTTPS: GET requests that end in time and in bounded memory, with bounded back-off.

The admin key is read from its file at each request and goes nowhere but into the request: no text of an error, log or
`repr` holds it, nor anything that the server sent.
"""

from collections.abc import Callable, Mapping, Sequence
from email.utils import parsedate_to_datetime
from ipaddress import ip_address
from pathlib import Path
from time import monotonic, sleep  # a stopwatch and a pause, not the time of day
from urllib.parse import urlencode, urlsplit

from urllib3 import BaseHTTPResponse
from urllib3 import exceptions as failures

from collectors import deadline

TIMEOUT = 60
"""Seconds for one whole request, however slowly its bytes arrive."""
MAX_BYTES = 64 * 1024 * 1024
PATIENCE = 120
"""Seconds of one collect that may go on pauses and on requests that fail; after them what is left fails at once."""
PROBE_SECONDS = 8
"""Of the one request that answers somebody who waits."""
PAUSES: tuple[int, ...] = (1, 2, 4, 8, 16)
"""Seconds before each further attempt, where the server does not say (`Retry-After`)."""

_CHUNK = 1 << 16
_BUSY = frozenset({429, 500, 502, 503, 504, 529})

Params = Sequence[tuple[str, str]]


class ApiError(Exception):
    """No answer that can be used. The text is one line for the on-call engineer, without secrets."""


class ForbiddenError(ApiError):
    """The key may not read this, or there is nothing at this address."""


class TooLargeError(ApiError):
    """The answer is larger than `MAX_BYTES`: ask for less."""


class _BusyError(Exception):
    """Worth another attempt, after `pause` seconds if the server says."""

    def __init__(self, reason: str, pause: float | None = None) -> None:
        super().__init__(reason)
        self.pause = pause


def check_base_url(text: str) -> None:
    """ValueError, not quoting it, unless `text` is an https URL (or http on loopback) of scheme, host and path."""
    expected = "expected base_url to be https:// without user, query and fragment (http:// only on loopback)"
    try:
        url = urlsplit(text)
        host, _ = url.hostname or "", url.port
    except ValueError:  # its text may quote a part of a password
        raise ValueError(expected) from None
    plain = text.isprintable() and " " not in text and not {"@", "?", "#"} & set(text)
    safe = url.scheme == "https" or (url.scheme == "http" and _is_loopback(host))
    if not (host and plain and safe):
        raise ValueError(expected)


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class AdminApi:
    """`headers` are those of a request with a given key; `permission` is what that key needs. `pause` waits."""

    def __init__(
        self,
        base_url: str,
        admin_key_file: str,
        headers: Callable[[str], Mapping[str, str]],
        permission: str,
        pause: Callable[[float], None] = sleep,
    ) -> None:
        self._base = base_url.rstrip("/")
        self._key_file = Path(admin_key_file)
        self._headers = headers
        self._permission = permission
        self._pause = pause
        self.begin()
        self._connections = deadline.connections(1, https=self._base.startswith("https:"))

    def begin(self) -> None:
        """A new collect, with new patience."""
        self._patience, self._timeout, self._pauses = float(PATIENCE), float(TIMEOUT), PAUSES

    def hurry(self, seconds: float) -> None:
        """From now on one attempt at a request, of at most so many seconds."""
        self._patience, self._timeout, self._pauses = seconds, seconds, ()

    def close(self) -> None:
        deadline.close(self._connections)

    def get(self, path: str, params: Params) -> bytes:
        """The body of a 200 answer. Raises ApiError."""
        for pause in (*self._pauses, None):
            try:
                return self._attempt(path, params)
            except _BusyError as error:
                wait = pause if error.pause is None or pause is None else error.pause
                if wait is None or wait > self._patience:
                    raise ApiError(f"{error} on {path}; given up for now") from None
                self._patience -= wait
                self._pause(wait)
        raise AssertionError("the last attempt returns or raises")

    def _attempt(self, path: str, params: Params) -> bytes:
        """One request; what time it takes to fail is taken off the patience."""
        if self._patience <= 0:
            raise ApiError(f"{path} not asked: too much time went on requests that failed before it")
        headers = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "llm-cost-exporter"}
        headers |= self._headers(self._key())
        url = f"{self._base}{path}?{urlencode(params)}"
        began = monotonic()
        deadline.begin(self._timeout)
        try:
            return self._request(url, path, headers)
        except failures.HTTPError as error:
            self._patience -= monotonic() - began
            if isinstance(error, failures.SSLError):  # another attempt would meet the same certificate
                raise ApiError(f"{self._reason(error)} on {path}") from None
            raise _BusyError(self._reason(error)) from None
        except TimeoutError:
            self._patience -= monotonic() - began
            raise _BusyError(f"timed out after {self._timeout:g} s") from None

    def _key(self) -> str:
        try:
            key = self._key_file.read_text("ascii").strip()
        except OSError as error:
            raise ApiError(f"admin_key_file {self._key_file}: {error.strerror}") from None
        except UnicodeDecodeError:
            key = ""
        if not key or not key.isprintable() or " " in key:
            raise ApiError(f"admin_key_file {self._key_file}: expected one key on one line")
        return key

    def _request(self, url: str, path: str, headers: Mapping[str, str]) -> bytes:
        response = deadline.get(self._connections, url, headers)
        try:
            self._check(response, path)
            return _body(response, path)
        except BaseException:
            response.close()  # what is left of it must not be taken for the next answer
            raise
        finally:
            response.release_conn()

    def _check(self, response: BaseHTTPResponse, path: str) -> None:
        status = response.status
        if status == 401:
            raise ForbiddenError(f"HTTP 401 on {path}: the key in {self._key_file} is not accepted; {self._needed}")
        if status == 403:
            raise ForbiddenError(f"HTTP 403 on {path}: the key in {self._key_file} may not read this; {self._needed}")
        if status == 404:
            raise ForbiddenError(f"HTTP 404 on {path}: is base_url right, and the key one of an organization?")
        if status in _BUSY:
            what = "rate limit" if status == 429 else "the provider's error"
            raise _BusyError(f"HTTP {status} ({what})", _retry_after(response.headers))
        if 300 <= status < 400:
            raise ApiError(f"HTTP {status} on {path}: redirects are not followed, set base_url to the final address")
        if status != 200:
            raise ApiError(f"HTTP {status} on {path}")
        encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
        if encoding not in ("identity", ""):
            raise ApiError(f"unexpected Content-Encoding on {path}: expected none")

    @property
    def _needed(self) -> str:
        return f"needed is {self._permission}"

    def _reason(self, error: failures.HTTPError) -> str:
        """The exception in words of our own: urllib3's texts hold object addresses and whole URLs."""
        if isinstance(error, failures.NameResolutionError):
            return "cannot resolve the host name of base_url"
        if isinstance(error, failures.NewConnectionError):
            return f"cannot connect: {getattr(error.__cause__, 'strerror', None) or 'unknown reason'}"
        if isinstance(error, failures.TimeoutError):
            return f"timed out after {self._timeout:g} s"
        if isinstance(error, failures.SSLError):
            inner = error.args[0] if error.args else None
            return f"TLS: {getattr(inner, 'verify_message', '') or getattr(inner, 'reason', '') or 'failed'}"
        return f"the connection broke before the answer's end ({type(error).__name__})"


def _body(response: BaseHTTPResponse, path: str) -> bytes:
    announced = response.headers.get("Content-Length", "")
    if announced.isascii() and announced.isdecimal() and int(announced) > MAX_BYTES:
        raise TooLargeError(f"an answer of {announced} bytes on {path}, over the limit of {MAX_BYTES}")
    pieces, size = [], 0
    for piece in response.stream(_CHUNK, decode_content=False):
        size += len(piece)
        if size > MAX_BYTES:
            raise TooLargeError(f"an answer on {path} of more than {MAX_BYTES} bytes, which is the limit")
        pieces.append(piece)
    body = b"".join(pieces)
    if response.headers.get("Content-Type", "").lower().startswith("text/html") or body[:256].lstrip().startswith(b"<"):
        raise ApiError(f"an HTML page instead of JSON on {path} (a proxy's? is base_url right?)")
    return body


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that the server asks to wait; a date counts from the answer's own."""
    text = headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdecimal():
        return float(text[:9])
    try:
        wait = parsedate_to_datetime(text) - parsedate_to_datetime(headers.get("Date", ""))
    except (TypeError, ValueError):  # none, no date, or one of them without a zone
        return None
    return max(0.0, wait.total_seconds())
