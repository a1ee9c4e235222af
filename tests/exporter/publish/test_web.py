"""The endpoints over real HTTP on loopback."""

import asyncio
import gzip
import http.client
import json
from collections.abc import Iterator
from dataclasses import replace

import pytest

from exporter.publish.page import Page, render
from exporter.publish.samples import samples
from exporter.publish.state import PublishState
from exporter.publish.web import App, Publication
from tests.exporter.publish.serving import request, serving
from tests.exporter.publish.states import EXPORTER, installation

PATHS = ("/", "/metrics", "/api/v1/workloads", "/-/healthy", "/-/ready")
OPENMETRICS = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"


def page_of(state: PublishState) -> Page:
    return render(samples(state, 200), state.exporter.page_at)


@pytest.fixture(scope="module")
def published() -> Publication:
    publication, state = Publication(), installation()
    publication.publish(page_of(state), state)
    return publication


@pytest.fixture(scope="module")
def port(published: Publication) -> Iterator[int]:
    with serving(published) as number:
        yield number


def test_metrics_are_text_unless_openmetrics_is_asked_for(port: int, published: Publication) -> None:
    assert published.page
    status, headers, body = request(port, "/metrics")
    assert (status, body) == (200, published.page.text)
    assert headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    status, headers, body = request(port, "/metrics", Accept=OPENMETRICS)
    assert (status, body) == (200, published.page.openmetrics)
    assert headers["content-type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    assert headers["vary"] == "accept, accept-encoding"


@pytest.mark.parametrize("accept", ["*/*", OPENMETRICS])
@pytest.mark.parametrize("path", ["/", "/metrics", "/api/v1/workloads"])
def test_gzip_is_sent_where_it_is_accepted_and_holds_the_same(port: int, path: str, accept: str) -> None:
    _, plain_headers, plain = request(port, path, Accept=accept)
    _, headers, body = request(port, path, Accept=accept, Accept_Encoding="gzip")
    assert headers["content-encoding"] == "gzip" and "content-encoding" not in plain_headers
    assert gzip.decompress(body) == plain


@pytest.mark.parametrize("path", PATHS)
def test_head_answers_as_get_without_a_body(port: int, path: str) -> None:
    status, headers, body = request(port, path)
    head_status, head_headers, nothing = request(port, path, "HEAD")
    volatile = {"date"}
    assert (head_status, nothing) == (status, b"") and body
    assert {k: v for k, v in head_headers.items() if k not in volatile} == {
        k: v for k, v in headers.items() if k not in volatile
    }


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_nothing_else_is_allowed(port: int, path: str, method: str) -> None:
    status, headers, _ = request(port, path, method)
    assert (status, headers["allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize("method", ["GET", "POST", "PUT"])
def test_reload_is_refused(port: int, method: str) -> None:
    status, _, body = request(port, "/-/reload", method)
    assert status == 403 and b"not enabled" in body


@pytest.mark.parametrize("path", ["/metrics/", "/favicon.ico", "/../etc/passwd", "/%2e%2e/"])
def test_other_paths_are_not_found(port: int, path: str) -> None:
    assert request(port, path)[0] == 404


def test_before_the_first_page_it_is_healthy_but_not_ready() -> None:
    publication = Publication()
    with serving(publication) as port:
        assert request(port, "/-/healthy")[0] == 200
        for path in ("/", "/metrics", "/api/v1/workloads", "/-/ready"):
            status, headers, body = request(port, path)
            assert (status, headers["retry-after"]) == (503, "5") and b"Starting" in body
        empty = PublishState(None, (), (), EXPORTER)
        publication.publish(page_of(empty), empty)
        assert [request(port, path)[0] for path in PATHS] == [200] * len(PATHS)


def test_failing_collectors_do_not_make_it_unready(port: int, published: Publication) -> None:
    assert published.state and not all(collector.success for collector in published.state.collectors)
    assert request(port, "/-/ready")[0] == 200


def test_a_new_tick_is_served_from_the_next_request_on(port: int, published: Publication) -> None:
    before = published.current
    assert before
    newer = replace(before.state, exporter=replace(before.state.exporter, version="9.9.9"))
    try:
        published.publish(page_of(newer), newer)
        assert all(b"9.9.9" in request(port, path)[2] for path in ("/", "/metrics", "/api/v1/workloads"))
    finally:
        published.current = before
    assert b"9.9.9" not in request(port, "/")[2]


def test_a_connection_is_kept_for_the_next_scrape(port: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        for _ in range(3):
            connection.request("GET", "/metrics")
            response = connection.getresponse()
            assert response.read() and not response.will_close
    finally:
        connection.close()


def test_the_status_page_forbids_scripts_and_foreign_content(port: int) -> None:
    _, headers, body = request(port, "/")
    assert headers["content-security-policy"].startswith("default-src 'none'; style-src 'unsafe-inline';")
    assert headers["x-content-type-options"] == "nosniff"
    assert b"<script" not in body and b"http://" not in body and b"https://" not in body


def test_the_json_is_json(port: int) -> None:
    _, headers, body = request(port, "/api/v1/workloads")
    assert headers["content-type"] == "application/json"
    assert json.loads(body)["workloads"][0]["workload"] == "chat"


def test_websockets_are_refused() -> None:
    async def call() -> None:
        await App(Publication())({"type": "websocket"}, None, None)  # type: ignore[arg-type]  # never called

    with pytest.raises(RuntimeError, match="websocket"):
        asyncio.run(call())
