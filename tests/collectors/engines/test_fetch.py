"""A fetch ends in time and in bounded memory, tells down from broken, and gives no secret away."""

import gzip
import threading
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import pytest

from collectors.engines.fetch import Fetcher, Refused, Target, Unreadable
from tests.collectors.engines.serving import Behaviour, Upstream, answer, raw, refusing_port

PAGE = b"# TYPE a counter\na_total 1\n"
TEXT = "Content-Type: text/plain; version=1.0.0; charset=utf-8"
OPENMETRICS = "Content-Type: application/openmetrics-text; version=1.0.0; charset=utf-8"


@contextmanager
def fetching(
    behave: Behaviour, *, timeout: float = 5.0, max_bytes: int = 1 << 20, token_file: str | None = None, auth: str = ""
) -> Iterator[tuple[Fetcher, Target, Upstream]]:
    with Upstream(behave) as upstream:
        target = Target.parse(f"http://{auth}127.0.0.1:{upstream.port}")
        fetcher = Fetcher([target], timeout, max_bytes, token_file)
        try:
            yield fetcher, target, upstream
        finally:
            fetcher.close()


def reason(behave: Behaviour, *, timeout: float = 5.0, max_bytes: int = 1 << 20) -> str:
    with fetching(behave, timeout=timeout, max_bytes=max_bytes) as (fetcher, target, _):
        with pytest.raises(Unreadable) as caught:
            fetcher.get(target)
        assert not isinstance(caught.value, Refused)
        assert "\n" not in str(caught.value)
        return str(caught.value)


def test_a_page_over_a_kept_alive_connection() -> None:
    with fetching(answer(PAGE, TEXT)) as (fetcher, target, upstream):
        assert [fetcher.get(target) for _ in range(3)] == [PAGE] * 3
        assert upstream.connections == 1
        assert upstream.requests[0].startswith("GET /metrics HTTP/1.1\r\n")
        assert "authorization" not in upstream.requests[0].lower()


def test_a_server_that_closes_after_each_page_is_read_again() -> None:
    response = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(PAGE), PAGE)
    with fetching(raw(response)) as (fetcher, target, upstream):
        assert [fetcher.get(target) for _ in range(3)] == [PAGE] * 3
        assert upstream.connections == 3


def test_gzip_and_chunks_and_a_page_that_ends_with_the_connection() -> None:
    with fetching(answer(gzip.compress(PAGE), "Content-Encoding: gzip")) as (fetcher, target, _):
        assert fetcher.get(target) == PAGE
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(PAGE), PAGE)
    with fetching(raw(chunked, stay=True)) as (fetcher, target, _):
        assert fetcher.get(target) == PAGE
    with fetching(raw(b"HTTP/1.0 200 OK\r\n\r\n" + PAGE)) as (fetcher, target, _):
        assert fetcher.get(target) == PAGE


def test_refused_is_told_apart() -> None:
    with refusing_port() as port:
        target = Target.parse(f"http://user:hunter2@127.0.0.1:{port}/metrics")
        fetcher = Fetcher([target], 5.0, 1000)
        with pytest.raises(Refused, match=r"^connection refused$"):
            fetcher.get(target)
        fetcher.close()


def test_an_unknown_host_is_not_refused() -> None:
    target = Target.parse("http://engine.invalid:8000/metrics")
    fetcher = Fetcher([target], 5.0, 1000)
    with pytest.raises(Unreadable) as caught:
        fetcher.get(target)
    assert not isinstance(caught.value, Refused)
    fetcher.close()


@pytest.mark.parametrize(
    ("behave", "expected"),
    [
        (answer(b"", status="500 Internal Server Error"), "HTTP 500"),
        (answer(PAGE, status="503 Service Unavailable"), "HTTP 503"),
        (answer(b"", status="401 Unauthorized"), "HTTP 401"),
        (
            answer(PAGE, "Location: http://127.0.0.1:1/other", status="302 Found"),
            "HTTP 302 (redirects are not followed: configure the final URL)",
        ),
        (answer(b"<html>hello</html>\n", "Content-Type: text/html"), "an HTML page, not metrics"),
        (answer(b"\n<!doctype html>\n"), "an HTML page, not metrics"),
        (answer(b""), "empty page"),
        (answer(PAGE[:-1]), "truncated page: its last line has no newline (after 26 bytes)"),
        (answer(b"a_total 1\n", OPENMETRICS), "truncated page: no '# EOF'"),
        (answer(b"a \xff\n"), "not a metrics page: byte 2 is not UTF-8"),
        (answer(PAGE, length=len(PAGE) + 1), "truncated page: the connection closed after 27 bytes"),
        (answer(PAGE + b"b_total 2\n", length=len(PAGE) - 1), "truncated page: its last line has no newline"),
        (answer(PAGE, "Content-Encoding: br"), "unexpected Content-Encoding 'br'"),
        (answer(PAGE, "Content-Encoding: gzip"), "corrupt gzip page"),
        (answer(gzip.compress(PAGE)[:-9], "Content-Encoding: gzip"), "truncated gzip page"),
        (answer(gzip.compress(PAGE) * 2, "Content-Encoding: gzip"), "corrupt gzip page: more data"),
        (raw(b"hello\r\n\r\n"), "broken HTTP response (BadStatusLine)"),
        (raw(b""), "broken HTTP response (RemoteDisconnected)"),
        (
            raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n40\r\na_total 1\n"),
            "broken HTTP response",
        ),
        (raw(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n"), "broken HTTP response"),
    ],
)
def test_a_broken_answer_has_a_reason(behave: Behaviour, expected: str) -> None:
    assert expected in reason(behave)


def silent(upstream: Upstream, out: BinaryIO) -> bool:
    return True  # and the client waits for ever


def trickling(first: bytes, drop: bytes) -> Behaviour:
    def behave(upstream: Upstream, out: BinaryIO) -> bool:
        out.write(first)
        while True:  # until the client has had enough
            threading.Event().wait(0.01)
            out.write(drop)

    return behave


@pytest.mark.parametrize(
    "behave",
    [
        silent,
        trickling(b"", b"H"),
        trickling(b"HTTP/1.1 200 OK\r\n", b"x"),
        trickling(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", b"a"),
        trickling(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\na\r\n"),
        trickling(b"HTTP/1.0 200 OK\r\n\r\n", b"a"),
    ],
)
def test_a_slow_or_trickling_server_is_cut_off(behave: Behaviour) -> None:
    assert reason(behave, timeout=0.3) == "timed out after 0.3 s"


def endless(piece: bytes) -> Behaviour:
    def behave(upstream: Upstream, out: BinaryIO) -> bool:
        out.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
        while True:
            out.write(piece)

    return behave


def test_a_huge_page_is_not_read() -> None:
    assert "larger than max_page_bytes (1000)" in reason(answer(PAGE, length=1 << 30), max_bytes=1000)
    assert "larger than max_page_bytes (100000)" in reason(endless(b"a_total 1\n" * 1000), max_bytes=100_000)
    assert "larger than max_page_bytes (26)" in reason(answer(PAGE), max_bytes=26)
    with fetching(answer(PAGE), max_bytes=27) as (fetcher, target, _):
        assert fetcher.get(target) == PAGE


def test_a_decompression_bomb_is_not_inflated() -> None:
    bomb = gzip.compress(b"\n" * (64 << 20))
    tracemalloc.start()
    try:
        assert "larger than max_page_bytes" in reason(answer(bomb, "Content-Encoding: gzip"), max_bytes=1 << 20)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def test_compressed_bytes_that_inflate_to_nothing_are_bounded_too() -> None:
    header, empty_block = gzip.compress(b"")[:10], b"\x00\x00\x00\xff\xff"
    endless_nothing = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n" + header + empty_block * 100_000
    assert "larger than max_page_bytes (1000)" in reason(raw(endless_nothing), max_bytes=1000)


def test_credentials_are_sent_and_never_shown(tmp_path: Path) -> None:
    with fetching(answer(PAGE), auth="user:hun%2Fter2@") as (fetcher, target, upstream):
        fetcher.get(target)
        assert "Authorization: Basic dXNlcjpodW4vdGVyMg==" in upstream.requests[0].replace(
            "authorization", "Authorization"
        )
        assert target.shown == f"http://127.0.0.1:{upstream.port}/metrics"
        assert "hun" not in repr(target)
    token = tmp_path / "token"
    with fetching(answer(PAGE), token_file=str(token)) as (fetcher, target, upstream):
        with pytest.raises(Unreadable, match=r"bearer_token_file .*: No such file"):
            fetcher.get(target)
        for text in ("first", "second\n"):  # rotated under the running exporter
            token.write_text(text)
            fetcher.get(target)
            assert f"Bearer {text.strip()}\r\n" in upstream.requests[-1]
        for text in ("", "two words", "line\nbreak", "schlüssel"):
            token.write_text(text)
            with pytest.raises(Unreadable, match="expected one token on one line") as caught:
                fetcher.get(target)
            assert not text or text not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "shown", "url"),
    [
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000/metrics", "http://127.0.0.1:8000/metrics"),
        ("http://127.0.0.1:8000/", "http://127.0.0.1:8000/metrics", "http://127.0.0.1:8000/metrics"),
        ("https://me:pw@vllm.example/m/", "https://vllm.example/m", "https://vllm.example/m"),
        ("http://[::1]:8000/metrics", "http://[::1]:8000/metrics", "http://[::1]:8000/metrics"),
        ("http://h/m?name[]=a&token=t0p", "http://h/m?name[]=a&token=***", "http://h/m?name[]=a&token=t0p"),
        ("http://h/m#top", "http://h/m", "http://h/m"),
    ],
)
def test_a_target_url(text: str, shown: str, url: str) -> None:
    target = Target.parse(text)
    assert (target.shown, target.url) == (shown, url)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "127.0.0.1:8000",
        "ftp://h/metrics",
        "http:///metrics",
        "http://h:port/metrics",
        "http://user:hunter/2@h/metrics",
        "http://user:12/hunter@h/metrics",
        "http://user:12#hunter@h/metrics",
        "http://user:12?hunter@h/metrics",
        "http://[::1/metrics",
        "http://h/a b",
        "http://h/a\nb",
    ],
)
def test_a_bad_target_is_refused_without_quoting_it(text: str) -> None:
    with pytest.raises(ValueError, match="expected a URL like") as caught:
        Target.parse(text)
    assert "hunter" not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
