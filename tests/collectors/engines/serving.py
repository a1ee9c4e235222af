"""A loopback server whose every byte a test decides."""

import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import BinaryIO

Wire = tuple[BinaryIO, BinaryIO]
Behaviour = Callable[["Upstream", BinaryIO], bool]
"""Writes the answer to one request; True keeps the connection open."""


class Upstream:
    """Serves on 127.0.0.1 at a port of its own. `behave` may be changed at any time."""

    def __init__(self, behave: Behaviour) -> None:
        self.behave = behave
        self.requests: list[str] = []
        self.connections = 0
        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), self._connection, bind_and_activate=False)
        self._server.allow_reuse_address = True
        self._server.request_queue_size = 64
        self._server.server_bind()
        self._server.server_activate()
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def stop(self) -> None:
        """Connections must be closed by their clients first: their threads are waited for."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def __enter__(self) -> "Upstream":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def _connection(self, connection: object, address: object, server: object) -> None:
        upstream = self

        class Handler(socketserver.StreamRequestHandler):
            wbufsize = 0

            def handle(self) -> None:
                upstream.connections += 1
                try:
                    while head := _head(self.rfile):
                        upstream.requests.append(head)
                        if not upstream.behave(upstream, self.wfile):
                            return
                except OSError:
                    return  # the client went away, as many tests want it to

        Handler(connection, address, server)  # type: ignore[arg-type]  # what socketserver itself passes on


def _head(lines: BinaryIO) -> str:
    head = b""
    while (line := lines.readline()) not in (b"\r\n", b""):
        head += line
    return head.decode()


def answer(body: bytes, *headers: str, status: str = "200 OK", length: int | None = None) -> Behaviour:
    """A well-formed response, if `length` is not given."""
    announced = len(body) if length is None else length
    head = "\r\n".join([f"HTTP/1.1 {status}", f"Content-Length: {announced}", *headers, "", ""]).encode()
    return raw(head + body, stay=length is None)


def raw(response: bytes, *, stay: bool = False) -> Behaviour:
    def behave(upstream: Upstream, out: BinaryIO) -> bool:
        out.write(response)
        return stay

    return behave


@contextmanager
def refusing_port() -> Iterator[int]:
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]
