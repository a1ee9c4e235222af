"""An endpoint whose answer never ends, byte by byte: every request ends in time, with a clear reason."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from collectors.billing import aws_session, cur_source
from collectors.billing.aws_session import Access, AwsError, client, translated
from collectors.billing.cur_manifest import Item
from collectors.billing.cur_source import Bucket
from tests.collectors.billing.cost_explorer_ledger import only_test_credentials

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/xml\r\nContent-Length: 1000000\r\nETag: e\r\n\r\n"


@contextmanager
def trickling(before: bytes) -> Iterator[str]:
    """A server that answers with `before` and then a byte every now and then, for as long as it is asked."""
    done = threading.Event()
    server = socket.create_server(("127.0.0.1", 0))
    workers: list[threading.Thread] = []

    def answer(connection: socket.socket) -> None:
        with connection:
            try:
                connection.recv(1 << 16)
                connection.sendall(before)
                while not done.wait(0.02):
                    connection.sendall(b"x")
            except OSError:
                return

    def accept() -> None:
        while not done.is_set():
            try:
                connection, _ = server.accept()
            except OSError:
                return
            workers.append(threading.Thread(target=answer, args=(connection,)))
            workers[-1].start()

    accepting = threading.Thread(target=accept)
    accepting.start()
    try:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
    finally:
        done.set()
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        accepting.join()
        for worker in workers:
            worker.join()


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    only_test_credentials(monkeypatch)


@pytest.mark.parametrize("before", [b"", b"HTTP/1.1 200 OK\r\nX-Long: ", HEAD])
def test_an_answer_that_trickles_is_an_endpoint_that_does_not_answer(before: bytes) -> None:
    with trickling(before) as url:
        made = client("s3", Access(region="us-east-1", endpoint_url=url), timeout=0.3, attempts=1)
        try:
            with pytest.raises(AwsError, match="did not answer in time") as caught, translated("s3:ListBucket"):
                made.list_objects_v2(Bucket="bucket")
        finally:
            made.close()
    assert caught.value.kind == "unreachable"


def test_a_proxy_does_not_make_it_endless(monkeypatch: pytest.MonkeyPatch) -> None:
    with trickling(HEAD) as url:
        monkeypatch.setenv("http_proxy", url)
        access = Access(region="us-east-1", endpoint_url="http://s3.example.test")
        made = client("s3", access, timeout=0.3, attempts=1)
        try:
            with pytest.raises(AwsError, match="did not answer in time"), translated("s3:ListBucket"):
                made.list_objects_v2(Bucket="bucket")
        finally:
            made.close()


def test_a_file_that_trickles_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aws_session, "PATIENCE", 0.3)
    monkeypatch.setattr(cur_source, "_CHUNK", 1 << 16)
    with trickling(HEAD) as url:
        bucket = Bucket(Access(region="us-east-1", endpoint_url=url), "bucket", "month/")
        try:
            with pytest.raises(AwsError, match="did not answer in time"):
                bucket.fetch(Item("data/a.csv.gz", "e", 1000, 0.0), tmp_path)
        finally:
            bucket.close()
