"""`check --live` asks one small question, waits for it a few seconds, and says what is missing."""

import threading
from pathlib import Path

import pytest

from collectors.records import Failure
from collectors.usage import provider_collect
from tests.collectors.usage.provider_books import MIDNIGHT, Books, opened, stand_in_of
from tests.collectors.usage.provider_stand_in import Answer, Query

NOW = MIDNIGHT + 9 * 3600
every_kind = pytest.mark.parametrize("kind", ["openai", "anthropic"])


def failures(books: Books) -> list[str]:
    return [f"{one.part}: {one.reason}" for one in books.collector.probe(NOW) if isinstance(one, Failure)]


@every_kind
def test_one_request_that_the_real_api_would_answer(tmp_path: Path, kind: str) -> None:
    with stand_in_of(kind, NOW) as stand_in, opened(kind, stand_in, tmp_path) as books:
        assert failures(books) == []
        (query,) = stand_in.asked
        assert dict(query.pairs)["limit"] == "1"


@every_kind
@pytest.mark.parametrize(
    ("status", "said"),
    [
        (401, "is not accepted; needed is an"),
        (403, "may not read this; needed is an"),
        (404, "is base_url right"),
        (429, "HTTP 429 (rate limit) on /v1/organization"),
        (500, "HTTP 500 (the provider's error) on /v1/organization"),
        (200, "not the documented schema"),
    ],
)
def test_what_is_missing_is_named_after_one_attempt(tmp_path: Path, kind: str, status: int, said: str) -> None:
    with stand_in_of(kind, NOW) as stand_in, opened(kind, stand_in, tmp_path) as books:
        stand_in.fault = lambda query: Answer(status, b"{}", (("Retry-After", "1"),))
        (failure,) = failures(books)
        assert failure.startswith("usage: ")
        assert said in failure
        assert len(stand_in.asked) == 1
        assert books.pauses == []


@every_kind
def test_a_server_that_hangs_is_left_soon(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert provider_collect.PROBE_SECONDS < 10
    monkeypatch.setattr(provider_collect, "PROBE_SECONDS", 0.05)
    done = threading.Event()

    def stuck(query: Query) -> Answer:
        done.wait(30)
        return Answer(500, b"{}")

    with stand_in_of(kind, NOW) as stand_in:
        stand_in.fault = stuck
        with opened(kind, stand_in, tmp_path) as books:
            (failure,) = failures(books)
            done.set()
        assert "timed out after 0.05 s" in failure
        assert len(stand_in.asked) == 1
