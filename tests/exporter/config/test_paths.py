"""How places and values are worded, and what counts as a secret."""

import pytest

from collectors.settings import Duration, Instant
from exporter.config.checks import open_bracket
from exporter.config.paths import Place, dotted, is_secret, shown, without_userinfo


@pytest.mark.parametrize(
    ("place", "text"),
    [
        ((), "config"),
        (("collectors", 1, "interval"), "collectors[1].interval"),
        (("workloads", 0, "match", "app.kubernetes.io/name"), "workloads[0].match['app.kubernetes.io/name']"),
        (("key-alias",), "key-alias"),
    ],
)
def test_places_read_like_code(place: Place, text: str) -> None:
    assert dotted(place) == text


@pytest.mark.parametrize(
    "key", ["password", "api_key", "apiKey", "API_KEY", "bearer-token", "client_secret", "auth.token", "Authorization"]
)
def test_keys_that_look_secret(key: str) -> None:
    assert is_secret(("collectors", 0, key))
    assert shown(("collectors", 0, key), "hunter2") == "<hidden>"


@pytest.mark.parametrize(
    "key", ["capacity_tokens_per_second", "bearer_token_file", "monkey", "tokens", "keys_file", "name"]
)
def test_keys_that_do_not(key: str) -> None:
    assert not is_secret((key,))


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("http://me:hunter2@host/x", "http://<hidden>@host/x"),
        ("see https://hunter2@host and http://a/b@c", "see https://<hidden>@host and http://a/b@c"),
        ("http://h/?api_key=hunter2&x=1", "http://h/?api_key=<hidden>&x=1"),
        ("http://h/?X-Amz-Signature=hunter2", "http://h/?X-Amz-Signature=<hidden>"),
        ("me@example.org", "me@example.org"),
    ],
)
def test_urls_are_shown_without_what_they_may_hide(text: str, safe: str) -> None:
    assert without_userinfo(text) == safe


def test_long_values_are_cut() -> None:
    assert len(shown((), "x" * 10_000)) < 100


@pytest.mark.parametrize("glob", ["a[", "a[b", "[!x", "[]", "[!]", "[a]["])
def test_open_brackets(glob: str) -> None:
    assert open_bracket(glob)


@pytest.mark.parametrize("glob", ["", "*", "[ab]", "[!ab]*", "[]]", "[!]]", "[[]", "a]"])
def test_closed_brackets(glob: str) -> None:
    assert not open_bracket(glob)


@pytest.mark.parametrize("text", ["0s", "15s", "1m30s", "1h30m", "7d", "400d"])
def test_durations_are_written_as_they_are_read(text: str) -> None:
    assert Duration.parse(text).text == text


def test_instants_are_written_as_they_are_read() -> None:
    assert Instant.parse(Instant.parse("2026-01-31").text) == Instant.parse("2026-01-31")
