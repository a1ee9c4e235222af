"""A server that trickles: every byte starts a socket's own timeout anew, so the whole must be bounded as well."""

import base64
import json
import socket
import ssl
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from urllib3.exceptions import InsecureRequestWarning

from collectors.cluster import api as api_module
from collectors.cluster.api import Api, ApiError
from collectors.cluster.kubernetes import KubernetesSettings
from collectors.settings import Duration

PAUSE = 0.05


@contextmanager
def trickling(head: bytes, piece: bytes, tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """A server that answers one request with `head`, and `piece` again and again until the peer has had enough."""
    done = threading.Event()

    def serve() -> None:
        peer, _ = server.accept()
        with suppress(OSError), tls.wrap_socket(peer, server_side=True) if tls else peer as stream:
            stream.recv(65536)
            stream.sendall(head)
            while not done.wait(PAUSE):
                stream.sendall(piece)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"{'https' if tls else 'http'}://127.0.0.1:{server.getsockname()[1]}"
        finally:
            done.set()
            thread.join()


def api(url: str, ca_file: Path | None = None) -> Api:
    ca = str(ca_file) if ca_file else None
    return Api(KubernetesSettings("k", "kubernetes", api_server=url, ca_file=ca, timeout=Duration(1)))


OK = b"HTTP/1.1 200 OK\r\n"
ENDLESS = [
    pytest.param(OK + b"Content-Length: 100000\r\n\r\n", b" ", id="body"),
    pytest.param(OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n", id="chunks"),
    pytest.param(OK + b"X-Wait: ", b"a", id="header"),
    pytest.param(b"", b"HTTP/1.1 100 Continue\r\n\r\n", id="continue"),
]


@pytest.mark.parametrize(("head", "piece"), ENDLESS)
def test_a_page_that_trickles_ends(head: bytes, piece: bytes) -> None:
    with trickling(head, piece) as url:
        client = api(url)
        with pytest.raises(ApiError, match="list of pods: took longer than 1 s"):
            client.page("pods")
        client.close()


@pytest.mark.parametrize(("head", "piece"), ENDLESS)
def test_so_it_does_over_tls(head: bytes, piece: bytes, server_tls: ssl.SSLContext, certificate: Path) -> None:
    with trickling(head, piece, server_tls) as url:
        client = api(url, certificate)
        with pytest.raises(ApiError, match="list of pods: took longer than 1 s"):
            client.page("pods")
        client.close()


def test_only_the_given_authority_is_believed(server_tls: ssl.SSLContext, certificate: Path) -> None:
    with trickling(OK + b"Content-Length: 2\r\n\r\n{}", b"", server_tls) as url:
        client = api(url, certificate)
        assert client.page("pods") == b"{}"
        client.close()
    with trickling(OK, b"", server_tls) as url:
        client = api(url)
        with pytest.raises(ApiError, match="certificate verify failed: self-signed certificate"):
            client.page("pods")
        client.close()


@pytest.mark.parametrize("how", ["insecure", "data", "client certificate"])
def test_what_a_kubeconfig_says_of_tls_holds(
    how: str, server_tls: ssl.SSLContext, certificate: Path, tmp_path: Path
) -> None:
    trusted = {"certificate-authority-data": base64.b64encode(certificate.read_bytes()).decode()}
    key = certificate.with_suffix(".key")
    user = {"client-certificate": str(certificate), "client-key": str(key)} if how == "client certificate" else {}
    if user:
        server_tls.load_verify_locations(certificate)
        server_tls.verify_mode = ssl.CERT_REQUIRED
    with trickling(OK + b"Content-Length: 2\r\n\r\n{}", b"", server_tls) as url:
        cluster = {"server": url, **({"insecure-skip-tls-verify": True} if how == "insecure" else trusted)}
        config = {
            "current-context": "one",
            "clusters": [{"name": "c", "cluster": cluster}],
            "users": [{"name": "u", "user": user}],
            "contexts": [{"name": "one", "context": {"cluster": "c", "user": "u"}}],
        }
        (tmp_path / "config").write_text(json.dumps(config))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", InsecureRequestWarning)
            client = Api(KubernetesSettings("k", "kubernetes", kubeconfig=str(tmp_path / "config")))
            assert client.page("pods") == b"{}"
        client.close()


def test_a_refusal_whose_text_trickles_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_module, "_ERROR_SECONDS", 0.2)
    with trickling(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 100000\r\n\r\n", b" ") as url:
        client = api(url)
        with pytest.raises(ApiError, match="needs list on pods: forbidden"):
            client.page("pods")
        client.close()


def test_a_watch_that_the_server_does_not_end_ends() -> None:
    """Else nothing would be listed anew, however long ago `relist` was."""
    with trickling(OK + b"Transfer-Encoding: chunked\r\n\r\n", b"3\r\n{}\n\r\n") as url:
        client = api(url)
        with client.watch("pods", "1", 1) as lines:
            assert set(lines) == {b"{}"}
        client.close()
