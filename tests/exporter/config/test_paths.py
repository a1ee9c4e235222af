"""How places and values are worded, and what counts as a secret."""

import contextlib
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.engines.fetch import Target
from collectors.settings import Duration, Instant
from exporter.config.checks import open_bracket
from exporter.config.paths import Place, Problem, dotted, is_secret, shown, without_secrets


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
        ("http://user:hunt@er2@host/x", "http://<hidden>@host/x"),
        ("got 'http://user:hunt/er2@host/x'", "got 'http://<hidden>@host/x'"),
        ("got 'http://user:12?hunter2@host/x': no", "got 'http://<hidden>@host/x': no"),
        ("http://user@host:hunter2@host", "http://<hidden>@host"),
        ("http://<hidden>@host:8000/metrics", "http://<hidden>@host:8000/metrics"),
        ("http://h/?auth=hunter2", "http://h/?auth=<hidden>"),
        ("got 'http://h/?x=1&AUTH=hunt'er2&y=2'", "got 'http://h/?x=1&AUTH=<hidden>&y=2'"),
        ("got 'http://h/?x=1;my_sig=hunter2': no", "got 'http://h/?x=1;my_sig=<hidden>': no"),
        ("http://h/?%61uth=hunter2", "http://h/?%61uth=<hidden>"),
        ("http://h/#access_token=hunter2", "http://h/#access_token=<hidden>"),
        ("http://h/?auth=&x=1", "http://h/?auth=<hidden>&x=1"),
        ("http://h/?module=vllm", "http://h/?module=vllm"),
    ],
)
def test_urls_are_shown_without_what_they_may_hide(text: str, safe: str) -> None:
    assert without_secrets(text) == safe


@pytest.mark.parametrize(
    "value", ["http://user:hun ter2@host/x", "http://user:hunt\ner2@host/x", "x://u:a/ hunter2@host/x"]
)
def test_a_value_is_one_url_whatever_it_holds(value: str) -> None:
    assert shown((), value).endswith("://<hidden>@host/x'")


@given(
    st.text(st.characters(codec="utf-8"), max_size=30), st.sampled_from(["auth", "api_key", "sig", "x-token", "pwd"])
)
def test_no_password_and_no_query_secret_is_shown(noise: str, key: str) -> None:
    secret = f"hunter{noise}2"
    quoted = quote(secret, safe="@:!$'()*,;=")  # what may stand in a URL's user information
    for value in (
        f"http://user:{secret}@host:80/x",
        f"http://{quoted}@host/x",
        f"http://host/x?a=1&{key}={quote(secret)}",
    ):
        assert "hunter" not in shown((), value)
        assert "hunter" not in str(Problem((), f"expected a URL, got {shown((), value)}"))
    with contextlib.suppress(ValueError):
        assert "hunter" not in Target.parse(f"http://host/x?a=1&{key}={quote(secret)}").shown


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
