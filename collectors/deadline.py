"""HTTP connections whose requests end in time, however slowly their bytes arrive.

A socket's own timeout starts anew with every byte, so a server that trickles could hold a request for ever. These
sockets wait no longer than what is left for the request that their thread is on.
"""

import socket
import ssl
import threading
from collections.abc import Mapping
from time import monotonic  # a stopwatch for timeouts, not the time of day
from typing import Any

from urllib3 import BaseHTTPResponse, HTTPConnectionPool, HTTPSConnectionPool, PoolManager, Timeout
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.util.ssl_ import create_urllib3_context, resolve_cert_reqs

_request = threading.local()


def begin(seconds: float) -> None:
    """From now on this thread is on a request that may take `seconds` in all."""
    _request.deadline = monotonic() + seconds


def remaining() -> float:
    """Seconds left for this thread's request. Raises TimeoutError when there are none."""
    left: float = _request.deadline - monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def connections(pools: int, https: bool) -> PoolManager:
    """Kept-alive connections to as many hosts as `pools`, bounded by `begin`; `https`: whether any of them is."""
    manager = PoolManager(num_pools=max(1, pools), maxsize=4, ssl_context=_tls_context() if https else None)
    manager.pool_classes_by_scheme = {**manager.pool_classes_by_scheme, "http": _Pool}
    return manager


def bound(manager: PoolManager) -> None:
    """Have the connections that `manager`, made by somebody else, makes from now on bounded by `begin`."""
    manager.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}


def bound_own(pool_classes: dict[str, Any]) -> None:
    """`bound` for managers with pools of classes of their own by scheme: changed in place, as several managers may
    share them (one for each proxy), and else left what they are."""
    pool_classes.update({scheme: _bounded(pool, scheme == "https") for scheme, pool in pool_classes.items()})


def _bounded(pool: Any, tls: bool) -> Any:
    connection = type("Connection", (_BoundTls if tls else _Bound, pool.ConnectionCls), {})
    return type("Pool", (pool,), {"ConnectionCls": connection})


def get(manager: PoolManager, url: str, headers: Mapping[str, str]) -> BaseHTTPResponse:
    """Ask for `url` within this thread's request: once, no redirect followed, the body left to be read."""
    return manager.request(
        "GET",
        url,
        headers=headers,
        timeout=Timeout(remaining()),
        retries=False,
        redirect=False,
        preload_content=False,
    )


def close(manager: PoolManager) -> None:
    """Close every connection."""
    for key in manager.pools.keys():  # noqa: SIM118 - urllib3's container cannot be iterated
        manager.pools[key].close()  # `clear` alone leaves it to the garbage collector
    manager.clear()


class _Socket(socket.socket):
    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        self.settimeout(remaining())
        return super().recv_into(*args, **kwargs)


class _TlsSocket(ssl.SSLSocket):
    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        self.settimeout(remaining())
        return super().recv_into(*args, **kwargs)


class _Connection(HTTPConnection):
    def connect(self) -> None:
        super().connect()
        timeout = self.sock.gettimeout()
        self.sock = _Socket(fileno=self.sock.detach())
        self.sock.settimeout(timeout)


class _TlsConnection(HTTPSConnection):
    """With a TLS context of its own: urllib3 loads its certificates into it, which no two threads may do at once."""

    def connect(self) -> None:
        if self.ssl_context is None:
            own = bool(self.ca_certs or self.ca_cert_dir or self.ca_cert_data)
            self.ssl_context = _tls_context(self.cert_reqs, public=not own)
        super().connect()


class _Bound:
    sock: Any

    def connect(self) -> None:
        super().connect()  # type: ignore[misc] # of the connection that it is mixed into
        timeout = self.sock.gettimeout()
        self.sock = _Socket(fileno=self.sock.detach())
        self.sock.settimeout(timeout)


class _BoundTls:
    ssl_context: ssl.SSLContext

    def connect(self) -> None:
        self.ssl_context.sslsocket_class = _TlsSocket
        super().connect()  # type: ignore[misc] # of the connection that it is mixed into


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


def _tls_context(cert_reqs: int | str | None = None, public: bool = True) -> ssl.SSLContext:
    """`cert_reqs`: whether certificates are verified, by default yes; `public`: against the system's authorities."""
    context = create_urllib3_context(cert_reqs=resolve_cert_reqs(cert_reqs))
    if public:
        context.load_default_certs()
    context.sslsocket_class = _TlsSocket
    return context
