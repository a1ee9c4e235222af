"""A server that trickles: every byte starts a socket's own timeout anew, so the whole must be bounded as well."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from collectors.cluster.api import Api, ApiError
from collectors.cluster.kubernetes import KubernetesSettings
from collectors.settings import Duration

PAUSE = 0.05


@contextmanager
def trickling(head: bytes, piece: bytes) -> Iterator[str]:
    """A server that answers one request with `head`, and `piece` again and again until the peer has had enough."""
    done = threading.Event()

    def serve() -> None:
        peer, _ = server.accept()
        with peer, suppress(OSError):
            peer.recv(65536)
            peer.sendall(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n\r\n")
            while not done.wait(PAUSE):
                peer.sendall(piece)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}"
        finally:
            done.set()
            thread.join()


def api(url: str) -> Api:
    return Api(KubernetesSettings("k", "kubernetes", api_server=url, timeout=Duration(1)))


@pytest.mark.parametrize(
    ("head", "piece"),
    [(b"Content-Length: 100000", b" "), (b"Transfer-Encoding: chunked", b"1\r\n \r\n")],
)
def test_a_page_that_trickles_ends(head: bytes, piece: bytes) -> None:
    with trickling(head, piece) as url:
        client = api(url)
        with pytest.raises(ApiError, match="took longer than 1 s"):
            client.page("pods")
        client.close()


def test_a_watch_that_the_server_does_not_end_ends() -> None:
    """Else nothing would be listed anew, however long ago `relist` was."""
    with trickling(b"Transfer-Encoding: chunked", b"3\r\n{}\n\r\n") as url:
        client = api(url)
        with client.watch("pods", "1", 1) as lines:
            assert set(lines) == {b"{}"}
        client.close()
