"""The Kubernetes API server over HTTP: pages of lists, and watches as lines of JSON. The one place that knows the SDK.

The SDK finds the cluster and its credentials (in-cluster, kubeconfig, token), and carries the requests. Its model
objects are not used: one for every object of a large cluster is what the benchmark's reference shows.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from threading import Lock
from typing import Any

import msgspec
from urllib3 import exceptions as failures

from collectors import deadline
from collectors.cluster.objects import Status
from collectors.sdk import importing

PATHS = {"nodes": "/api/v1/nodes", "pods": "/api/v1/pods", "namespaces": "/api/v1/namespaces"}
PAGE = 250
"""Objects in one page of a list: a page is held in memory whole."""

MAX_PAGE_BYTES = 256 * 1024 * 1024
MAX_LINE_BYTES = 16 * 1024 * 1024  # an object in etcd is at most 1.5 MB
CONNECT_SECONDS = 10
_ERROR_SECONDS = 5  # for the text of a refusal
_CHUNK = 1 << 16


class ApiError(Exception):
    """A request that failed, in one line without secrets. `retry_after`: seconds that the server asks to wait."""

    def __init__(self, text: str, retry_after: int = 0) -> None:
        super().__init__(text)
        self.retry_after = retry_after


class GoneError(ApiError):
    """410: what was asked for is too old to be known; list again."""


class Api:
    """Requests to one cluster; safe for several threads. Raises `ApiError` where the cluster cannot be found."""

    def __init__(self, settings: Any) -> None:
        """`settings`: see `collectors.cluster.kubernetes.KubernetesSettings`."""
        try:
            with importing():
                client, config = import_module("kubernetes.client"), import_module("kubernetes.config")
                self._failed: Any = import_module("kubernetes.client.exceptions").ApiException
        except ModuleNotFoundError:
            raise ApiError("the Kubernetes client is missing: pip install 'llm-cost-exporter[kubernetes]'") from None
        configuration = client.Configuration()
        _locate(configuration, settings, config)
        configuration.retries = False  # what was missed must be noticed, not repeated behind our back
        configuration.keep_alive = True
        self._client = client.ApiClient(configuration)
        deadline.bound(self._client.rest_client.pool_manager)
        self._seconds = float(settings.timeout)
        self._lock = Lock()
        self._open: set[Any] = set()
        self._closed = False

    def page(self, resource: str, after: str = "") -> bytes:
        """One page of the list of `resource`; `after` is the `continue` of the page before. Raises `ApiError`."""
        query: list[tuple[str, Any]] = [("limit", PAGE), *([("continue", after)] if after else [])]
        with self._request("list", resource, query, self._seconds) as response:
            pieces, size = [], 0
            while piece := response.read1(_CHUNK):
                pieces.append(piece)
                size += len(piece)
                if size > MAX_PAGE_BYTES:
                    raise ApiError(f"list of {resource}: a page of more than {MAX_PAGE_BYTES} bytes")
            return b"".join(pieces)

    @contextmanager
    def watch(self, resource: str, version: str, seconds: int) -> Iterator[Iterator[bytes]]:
        """The events of `resource` after `version`, one line of JSON each, for at most `seconds`. Raises `ApiError`.

        A connection that breaks ends the lines like one that is closed, as does one that goes on for longer; half
        a line is left out.
        """
        query = [("watch", "true"), ("allowWatchBookmarks", "true"), ("resourceVersion", version)]
        query.append(("timeoutSeconds", str(seconds)))
        with self._request("watch", resource, query, seconds + self._seconds) as response:
            yield _lines(resource, response)

    def interrupt(self) -> None:
        """End what is under way, from any thread; further requests fail."""
        with self._lock:
            self._closed = True
            for response in self._open:
                try:
                    response.shutdown()
                except (OSError, ValueError, RuntimeError):
                    continue  # it has just ended by itself

    def close(self) -> None:
        """Release the connections, when nothing is under way any more."""
        deadline.close(self._client.rest_client.pool_manager)

    @contextmanager
    def _request(self, verb: str, resource: str, query: list[tuple[str, Any]], seconds: float) -> Iterator[Any]:
        """A 200 answer, its body left to be read; all of it, headers included, within `seconds`."""
        deadline.begin(seconds)
        try:
            response = self._send(resource, query, seconds)
            try:
                self._register(response)
                if response.status != 200:
                    raise _refusal(verb, resource, response)
                yield response
            finally:
                with self._lock:
                    self._open.discard(response)
                response.close()
                response.release_conn()
        except (failures.ReadTimeoutError, TimeoutError):
            raise ApiError(f"{verb} of {resource}: took longer than {seconds:g} s") from None
        except failures.HTTPError as error:
            raise ApiError(f"{verb} of {resource}: {_explained(error)}") from None
        except OSError as error:
            raise ApiError(f"{verb} of {resource}: {error.strerror or type(error).__name__}") from None

    def _send(self, resource: str, query: list[tuple[str, Any]], seconds: float) -> Any:
        parameters = self._client.param_serialize(
            "GET",
            PATHS[resource],
            query_params=query,
            header_params={"Accept": "application/json"},
            auth_settings=["BearerToken"],
        )
        try:
            return self._client.call_api(*parameters, _request_timeout=(CONNECT_SECONDS, seconds)).response
        except self._failed as error:  # TLS: it keeps the reason of urllib3 behind a first line
            raise ApiError(f"cannot connect: {str(error.reason).splitlines()[-1][:200]}") from None

    def _register(self, response: Any) -> None:
        with self._lock:
            if self._closed:
                raise ApiError("closed")
            self._open.add(response)


def _locate(configuration: Any, settings: Any, config: Any) -> None:
    """Where the cluster is and how to get in: `api_server`, a kubeconfig, or the pod's own service account. `config` is
    the SDK's module of that name."""
    yaml = import_module("yaml")  # the SDK has it
    try:
        if settings.api_server:
            configuration.host = settings.api_server.rstrip("/")
            configuration.ssl_ca_cert = settings.ca_file
        elif settings.kubeconfig or settings.context:
            config.load_kube_config(settings.kubeconfig, settings.context, configuration, persist_config=False)
        else:
            config.load_incluster_config(configuration)
    except config.ConfigException as error:
        said = " ".join(str(error).split())[:200]
        if settings.kubeconfig or settings.context:
            raise ApiError(f"kubeconfig {_kubeconfig(config, settings)}: {said}") from None
        raise ApiError(f"no way into the cluster: {said} (not in a pod? set kubeconfig, or api_server)") from None
    except OSError as error:
        raise ApiError(f"kubeconfig {_kubeconfig(config, settings)}: {error.strerror}") from None
    except yaml.YAMLError:  # its text may quote the file
        raise ApiError(f"kubeconfig {_kubeconfig(config, settings)}: not YAML") from None
    except (TypeError, AttributeError, KeyError, ValueError):  # what the SDK makes of a file that is something else
        raise ApiError(f"kubeconfig {_kubeconfig(config, settings)}: expected a kubeconfig, got another file") from None
    if settings.token_file:
        _token_from(configuration, Path(settings.token_file))


def _kubeconfig(config: Any, settings: Any) -> str:
    """The file that is read: the configured one, else the SDK's ($KUBECONFIG, ~/.kube/config)."""
    return str(settings.kubeconfig or config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION)


def _token_from(configuration: Any, file: Path) -> None:
    """Send the token in `file`, read at each request: it rotates."""

    def read(configuration: Any) -> None:
        try:
            token = file.read_text("ascii").strip()
        except OSError as error:
            raise ApiError(f"token_file {file}: {error.strerror}") from None
        except UnicodeDecodeError:
            token = ""
        if not token or not token.isprintable() or " " in token:
            raise ApiError(f"token_file {file}: expected one token on one line")
        configuration.api_key["BearerToken"] = f"Bearer {token}"

    configuration.api_key["BearerToken"] = ""  # without one the hook is not asked
    configuration.refresh_api_key_hook = read


def _lines(resource: str, response: Any) -> Iterator[bytes]:
    held = b""
    try:
        for piece in response.stream(_CHUNK, decode_content=False):
            *lines, held = (held + piece).split(b"\n")
            yield from filter(None, lines)
            if len(held) > MAX_LINE_BYTES:
                raise ApiError(f"watch of {resource}: an event of more than {MAX_LINE_BYTES} bytes")
    except (failures.ProtocolError, failures.ReadTimeoutError, OSError):
        return  # what was lost comes again with the next watch: it goes on after the last event


def _refusal(verb: str, resource: str, response: Any) -> ApiError:
    """What a status other than 200 means, and what to do about it."""
    status = response.status
    deadline.begin(_ERROR_SECONDS)  # what the status says is enough
    try:
        message = msgspec.json.decode(response.read(_CHUNK), type=Status).message or ""
    except (msgspec.DecodeError, failures.HTTPError):
        message = ""
    said = "".join(c if c.isprintable() else " " for c in message)[:300]
    if status == 410:
        return GoneError(f"{verb} of {resource}: too old (410): listing again")
    if status == 403:
        return ApiError(f"needs {verb} on {resource}: {said or 'forbidden (403)'}")
    if status == 401:
        return ApiError(f"{verb} of {resource}: the API server does not accept the token (401); is it expired?")
    wait = response.headers.get("Retry-After", "")
    if status == 429 or (status == 503 and wait):
        seconds = min(int(wait), 300) if wait.isascii() and wait.isdecimal() else 0
        return ApiError(f"{verb} of {resource}: throttled by the API server ({status})", seconds)
    return ApiError(f"{verb} of {resource}: HTTP {status}{f': {said}' if said else ''}")


def _explained(error: failures.HTTPError) -> str:
    """The exception in words of our own: urllib3's texts hold object addresses and whole URLs."""
    if isinstance(error, failures.NameResolutionError):
        return "cannot resolve the API server's name"
    if isinstance(error, failures.NewConnectionError):
        refused = isinstance(error.__cause__, ConnectionRefusedError)
        return "connection refused" if refused else "cannot connect to the API server"
    if isinstance(error, failures.TimeoutError):
        return f"no connection within {CONNECT_SECONDS} s"
    if isinstance(error, failures.SSLError):
        return f"TLS: {getattr(error.args[0] if error.args else None, 'verify_message', '') or 'failed'}"
    if isinstance(error, failures.ProtocolError):
        return "the connection broke"
    return f"cannot read ({type(error).__name__})"
