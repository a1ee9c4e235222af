"""A part that fails leaves the others alone, what was read stays in force, and the admin key is told to nobody."""

import gzip
import logging
import re
import threading
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from collectors.settings import Duration
from collectors.usage import provider_http
from collectors.usage.provider_days import Read, due
from collectors.usage.provider_http import PATIENCE, PAUSES
from tests.collectors.engines.serving import refusing_port
from tests.collectors.usage import anthropic_stand_in, openai_stand_in
from tests.collectors.usage.provider_books import DAY, MIDNIGHT, Books, opened, stand_in_of
from tests.collectors.usage.provider_stand_in import Answer, Query

NOW = MIDNIGHT + 9 * 3600 + 47 * 60 + 12
YESTERDAY = datetime.fromtimestamp(MIDNIGHT - DAY, UTC).date().isoformat()
TODAY = datetime.fromtimestamp(MIDNIGHT, UTC).date().isoformat()
KINDS = ("openai", "anthropic")
JSON = ("Content-Type", "application/json")
every_kind = pytest.mark.parametrize("kind", KINDS)


def some_calls(kind: str) -> list[Any]:
    call = openai_stand_in.Call if kind == "openai" else anthropic_stand_in.Call
    return [call(at=at, input=10, output=1) for at in range(MIDNIGHT - 10 * DAY, NOW, 7 * 3600)]


def is_usage(query: Query) -> bool:
    return "usage" in query.path


def is_cost(query: Query) -> bool:
    return "cost" in query.path


def is_of(query: Query, at: int) -> bool:
    """Whether a request is for usage from that instant on."""
    told = datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return is_usage(query) and dict(query.pairs).get("start_time", dict(query.pairs).get("starting_at")) in (
        str(at),
        told,
    )


def text(status: int, body: bytes = b"{}", *headers: tuple[str, str]) -> Answer:
    return Answer(status, body, (JSON, *headers))


BROKEN = {
    "HTTP 500": text(500),
    "HTML": Answer(200, b"<!doctype html><title>Sign in</title>", (("Content-Type", "text/html"),)),
    "HTML without a type": text(200, b"\n <html>"),
    "truncated JSON": text(200, b'{"data": [{"start'),
    "fewer bytes than announced": text(200, b'{"data"', ("Content-Length", "4000")),
    "not UTF-8": text(200, b'{"next_page": "\xff"}'),
    "another schema": text(200, b'{"data": "none", "has_more": "secret-of-theirs"}'),
    "no data": text(200, b"{}"),
    "no buckets": text(200, b'{"data": [], "has_more": false}'),
    "more pages that are none": text(200, b'{"data": [], "has_more": true, "next_page": null}'),
    "the same page for ever": text(200, b'{"data": [], "has_more": true, "next_page": "again"}'),
    "a gigabyte": text(200, b"", ("Content-Length", str(1 << 30))),
    "compressed": Answer(200, gzip.compress(b"{}"), (JSON, ("Content-Encoding", "gzip"))),
    "a redirect": text(302, b"", ("Location", "http://127.0.0.1:1/")),
    "a bad request": text(400, b'{"error": {"message": "no"}}'),
    "forbidden": text(403, b'{"error": {"message": "You have insufficient permissions"}}'),
    "not found": text(404),
    "rate limit": text(429, b"{}", ("Retry-After", "1")),
}


@every_kind
@pytest.mark.parametrize("what", BROKEN)
def test_one_day_fails_and_the_rest_goes_on(tmp_path: Path, kind: str, what: str) -> None:
    given = some_calls(kind)
    with stand_in_of(kind, NOW, given) as stand_in, opened(kind, stand_in, tmp_path, since=3 * DAY) as books:
        assert books.collect(NOW) == {}
        before, billed = books.tokens(), sum(charge.billed_cost for charge in books.charges)
        stand_in.calls = []
        stand_in.now = NOW + 3 * 3600
        stand_in.fault = lambda query: BROKEN[what] if is_of(query, MIDNIGHT - DAY) else None
        failures = books.collect(stand_in.now)
        assert set(failures) == {f"usage/{YESTERDAY}"}
        assert "\n" not in failures[f"usage/{YESTERDAY}"]
        assert books.tokens() == {key: n for key, n in before.items() if key[0] < MIDNIGHT}  # today was read anew
        assert sum(charge.billed_cost for charge in books.charges) == billed
        stand_in.fault = lambda query: None
        assert books.collect(stand_in.now + 300) == {}
        assert books.tokens() == {key: n for key, n in before.items() if key[0] < MIDNIGHT - DAY}


@every_kind
@pytest.mark.parametrize("what", BROKEN)
def test_the_bill_that_was_read_stays_in_force(tmp_path: Path, kind: str, what: str) -> None:
    with stand_in_of(kind, NOW, some_calls(kind)) as stand_in, opened(kind, stand_in, tmp_path) as books:
        books.collect(NOW)
        billed = list(books.charges)
        stand_in.fault = lambda query: BROKEN[what] if is_cost(query) else None
        stand_in.calls = []
        assert set(books.collect(NOW + 7 * 3600)) == {"cost"}
        assert books.charges == billed
        stand_in.fault = lambda query: None
        assert books.collect(NOW + 7 * 3600 + 300) == {}  # at the next interval, not six hours later
        assert all(charge.window.start < MIDNIGHT - 5 * DAY for charge in books.charges)


@every_kind
def test_a_key_that_is_not_accepted(tmp_path: Path, kind: str) -> None:
    with stand_in_of(kind, NOW, some_calls(kind)) as stand_in, opened(kind, stand_in, tmp_path) as books:
        (tmp_path / "admin-key").write_text("sk-of-somebody-else")
        failures = books.collect(NOW)
        spans = due(Read.parse(None), NOW, 31 * DAY, 5 * DAY, 600)
        assert set(failures) == {*(f"usage/{span.name}" for span in spans), "cost"}
        for reason in failures.values():
            assert "HTTP 401" in reason
            assert str(tmp_path / "admin-key") in reason
            assert "admin" in reason.lower() and "needed is" in reason
        (tmp_path / "admin-key").write_text(stand_in.key)  # rotated: read again without a restart
        assert books.collect(NOW) == {}


@every_kind
@pytest.mark.parametrize("content", [b"", b"\n", b"two words", b"caf\xc3\xa9", None])
def test_a_key_file_without_a_key(tmp_path: Path, kind: str, content: bytes | None) -> None:
    with stand_in_of(kind, NOW) as stand_in, opened(kind, stand_in, tmp_path) as books:
        path = tmp_path / "admin-key"
        path.unlink() if content is None else path.write_bytes(content)
        failures = books.collect(NOW)
        assert all(f"admin_key_file {path}: " in reason for reason in failures.values())
        assert not stand_in.asked


@every_kind
def test_names_are_a_convenience(tmp_path: Path, kind: str) -> None:
    with stand_in_of(kind, NOW, some_calls(kind)) as stand_in, opened(kind, stand_in, tmp_path) as books:
        broken = Answer(403, b"{}")
        stand_in.fault = lambda query: None if is_usage(query) or is_cost(query) else broken
        assert books.collect(NOW) == {}  # a key may be allowed to read no more than usage
        assert not any(name.endswith("_name") for one in books.usage for name, _ in one.labels)
        stand_in.fault = lambda query: None
        books.collect(NOW + 3600)
        live = [one for one in books.usage if one.slot >= MIDNIGHT]
        assert live and all(any(name.endswith("_name") for name, _ in one.labels) for one in live)
        broken = Answer(400, b"{}")
        stand_in.fault = lambda query: None if is_usage(query) or is_cost(query) else broken
        assert set(books.collect(NOW + 7200)) == {"names"}
        assert [one.labels for one in books.usage if one.slot >= MIDNIGHT] == [one.labels for one in live]


@every_kind
def test_a_burst_of_429_is_waited_for_as_the_server_says(tmp_path: Path, kind: str) -> None:
    given = some_calls(kind)
    with stand_in_of(kind, NOW, given) as stand_in, opened(kind, stand_in, tmp_path, since=2 * DAY) as books:
        date = ("Date", "Wed, 18 Nov 2026 12:00:00 GMT")
        burst = [
            text(429, b"{}", ("Retry-After", "3")),
            text(429, b"{}", ("Retry-After", "Wed, 18 Nov 2026 12:00:05 GMT"), date),
            text(429),
            text(503, b"{}", ("Retry-After", "soon")),
            text(529),
        ]
        stand_in.fault = lambda query: burst.pop(0) if burst and is_usage(query) else None
        assert books.collect(NOW) == {}
        assert books.pauses == [3, 5, PAUSES[2], PAUSES[3], PAUSES[4]]
        assert sum(books.tokens().values()) == 11 * len([call for call in given if call.at >= MIDNIGHT - 2 * DAY])


@every_kind
@pytest.mark.parametrize("retry_after", ["0", "7", "100000", ""])
def test_an_hour_of_throttling_ends_in_failures_not_in_a_hang(tmp_path: Path, kind: str, retry_after: str) -> None:
    with stand_in_of(kind, NOW, some_calls(kind)) as stand_in, opened(kind, stand_in, tmp_path) as books:
        throttled = text(429, b"{}", ("Retry-After", retry_after))
        stand_in.fault = lambda query: throttled
        failures = books.collect(NOW)
        assert {part.partition("/")[0] for part in failures} == {"usage", "cost", "names"}
        assert sum(books.pauses) <= PATIENCE
        assert len(stand_in.asked) <= 35 * (len(PAUSES) + 1)
        assert len(set(failures.values())) < 10
        assert not any("next interval" in reason for reason in failures.values())  # of which `check` knows none
        stand_in.fault = lambda query: None
        assert books.collect(NOW + 300) == {}  # with new patience


@every_kind
def test_a_page_that_is_too_large_is_asked_for_in_pieces(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = some_calls(kind)
    with stand_in_of(kind, NOW, given) as stand_in, opened(kind, stand_in, tmp_path, since=3 * DAY) as books:
        monkeypatch.setattr(provider_http, "MAX_BYTES", 40_000)
        assert books.collect(NOW) == {}
        assert sum(books.tokens().values()) == 11 * len([call for call in given if call.at >= MIDNIGHT - 3 * DAY])
        limits = {dict(query.pairs)["limit"] for query in stand_in.asked if is_usage(query)}
        assert limits == {"1440", "240"}


@every_kind
def test_a_page_that_never_ends(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a length that could be refused beforehand."""
    monkeypatch.setattr(provider_http, "MAX_BYTES", 4_000)
    endless = Answer(200, b" " * 100_000, (JSON, ("Connection", "close"), ("Content-Length", "100000")))
    with stand_in_of(kind, NOW) as stand_in, opened(kind, stand_in, tmp_path) as books:
        stand_in.fault = lambda query: endless
        assert all("over the limit of 4000" in reason for reason in books.collect(NOW).values())


@every_kind
def test_a_server_that_never_answers(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provider_http, "TIMEOUT", 0.05)
    monkeypatch.setattr(provider_http, "PATIENCE", 0.1)
    done = threading.Event()

    def stuck(query: Query) -> Answer:
        done.wait(30)
        return text(500)

    with stand_in_of(kind, NOW) as stand_in:
        stand_in.fault = stuck
        with opened(kind, stand_in, tmp_path) as books:
            failures = books.collect(NOW)
            done.set()
        assert {part.partition("/")[0] for part in failures} == {"usage", "cost", "names"}
        assert any("timed out" in reason for reason in failures.values())
        assert len(stand_in.asked) <= 3  # then patience was out: the rest was not asked


@every_kind
def test_nobody_listens(tmp_path: Path, kind: str) -> None:
    with (
        refusing_port() as port,
        stand_in_of(kind, NOW) as stand_in,
        opened(kind, stand_in, tmp_path, base_url=f"http://127.0.0.1:{port}") as books,
    ):
        assert any("cannot connect: " in reason for reason in books.collect(NOW).values())


def every_text(books: Books, log: str) -> Iterator[str]:
    yield log
    yield from books.failures.values()
    yield from map(repr, (books.collector, books.collector._settings, books.collector._api, books.batches))
    yield from map(str, books.cursors.items())


@every_kind
@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors],
)
@given(data=st.data())
def test_the_key_is_told_to_nobody(
    tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture, data: st.DataObject
) -> None:
    """Whatever the server answers, and though it repeats the key in all that it sends."""
    with (
        caplog.at_level(logging.DEBUG),
        stand_in_of(kind, NOW, some_calls(kind)) as stand_in,
        opened(kind, stand_in, tmp_path, since=2 * DAY) as books,
    ):
        key = stand_in.key
        echoes = [
            f'{{"error": {{"message": "{key}", "type": "{key}", "code": "{key}"}}}}',
            f'{{"data": "{key}"}}',
            f'{{"data": [{{"{key}": 1, "start_time": "{key}", "starting_at": "{key}"}}]}}',
            f'{{"data": [], "has_more": true, "next_page": "{key}", "last_id": "{key}"}}',
            f"{key}",
            f"<html>{key}</html>",
            f'{{"data": [{key}',
        ]
        answers = st.builds(
            lambda status, body, head: Answer(status, body.encode(), (JSON, *head)),
            st.sampled_from([200, 200, 200, 302, 400, 401, 403, 404, 418, 429, 500, 503]),
            st.sampled_from(echoes),
            st.sampled_from(
                [(), (("Retry-After", key),), (("Location", f"http://{key}/"),), (("Content-Encoding", key),)]
            ),
        )
        stand_in.fault = lambda query: data.draw(st.none() | answers)
        books.collect(NOW)
        for written in every_text(books, caplog.text):
            assert key not in written
        caplog.clear()


@every_kind
def test_no_traceback_holds_the_key(tmp_path: Path, kind: str) -> None:
    """Locals are not printed by the exporter's logging; what is chained to an error would be."""
    with stand_in_of(kind, NOW) as stand_in, opened(kind, stand_in, tmp_path) as books:
        stand_in.fault = lambda query: text(500)
        with pytest.raises(provider_http.ApiError) as raised:
            books.collector._api.get("/v1/x", [])
        assert stand_in.key not in "".join(traceback.format_exception(raised.value))


@every_kind
@pytest.mark.parametrize(
    "url",
    [
        "http://api.example.com",
        "https://user:pa55word@api.example.com",
        "https://api.example.com/?token=pa55word",
        "https://api.example.com:port",
        "https://",
        "ftp://127.0.0.1",
        "https://[::1",
        "https://api.example.com/#pa55word",
        "",
    ],
)
def test_addresses_that_a_key_is_not_sent_to(tmp_path: Path, kind: str, url: str) -> None:
    with (
        stand_in_of(kind, NOW) as stand_in,
        pytest.raises(ValueError, match=re.escape("expected base_url to be https://")) as bad,
        opened(kind, stand_in, tmp_path, base_url=url),
    ):
        pass
    assert "pa55word" not in str(bad.value)


@every_kind
def test_settings_that_are_wrong(tmp_path: Path, kind: str) -> None:
    with stand_in_of(kind, NOW) as stand_in:
        for wrong, text in (
            ({"cost_interval": Duration(1800)}, "cost_interval of at least 1h"),
            ({"admin_key_file": ""}, "file with the admin key"),
        ):
            with pytest.raises(ValueError, match=text), opened(kind, stand_in, tmp_path, **wrong):
                pass
