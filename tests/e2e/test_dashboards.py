"""Every query of both boards in a real Prometheus that scrapes the running demo: all succeed, and all return series."""

import json
import math
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest

from dashboards.grafana import promql as q
from tests.dashboards.boards import NAMES, Asked, asked, filled
from tests.e2e.running import exporter, free_port, prometheus, running, wait_for
from tests.e2e.test_demo import sped_up

SPEED = 60  # one minute of the demo in a second
RANGE = 30  # seconds of the time range that Grafana would ask for
WORKLOADS = (("support", "self_hosted"), ("tiny-llama", "self_hosted"), ("batch-mail", "api"))

NO_NODES = "no Kubernetes in the demo"
NO_LIST_PRICES = "no list prices of nodes in the demo, so nothing to calibrate"
NO_PROVIDER = "no provider API in the demo: its gateways' logs are the only meters"
ALL_WELL = "only what should not be, and in the demo is not"

EMPTY = {
    "GPUs idle/A": NO_NODES,
    "GPUs/A": NO_NODES,
    "Bills against estimates/C": NO_LIST_PRICES,
    "Tokens without a price, a second/B": ALL_WELL,
    "Tokens without a price, a second/C": ALL_WELL,
    "From metered tokens to the bill, USD (30 days)/A": NO_PROVIDER,
    "Check against meter, difference/A": NO_PROVIDER,
    "Sources/G": ALL_WELL,
    "Sources/H": "no collector of the demo pays for requests",
}
"""The queries that return nothing in the demo, and why. Whatever returns something is taken off this list."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real Prometheus that scrapes the demo, sixty times as fast, and evaluates the shipped alerts."""
    directory, address = tmp_path_factory.mktemp("dashboards"), f"127.0.0.1:{free_port()}"
    data = directory / "demo"
    command = exporter("demo", f"--web.listen-address={address}", f"--speed={SPEED}", f"--data-dir={data}")
    with ExitStack() as stack:
        child = stack.enter_context(running(command, directory / "demo.log"))
        child.page(f"http://{address}/metrics")
        yield stack.enter_context(prometheus(directory, [address], [sped_up(directory)]))


def ask(server: str, path: str, **parameters: str | float) -> dict[str, Any]:
    try:
        with urlopen(f"{server}/api/v1/{path}?{urlencode(parameters)}", timeout=30) as answer:
            return dict(json.load(answer))
    except HTTPError as error:
        with error:
            return dict(json.load(error))


def now(server: str) -> float:
    """Prometheus' own time of evaluation."""
    return float(ask(server, "query", query="time()")["data"]["result"][0])


def series(server: str, one: Asked, workload: str, path: str) -> list[Any]:
    """What the query returns, asked as Grafana asks it; a query that Prometheus refuses fails with its reason."""
    values = {
        "job": ".*",
        "biggest": workload,
        "workload": workload,
        "path": path,
        "__rate_interval": "15s",
        "__range": f"{RANGE}s",
    }
    expr = filled(one.expr, values)
    if one.instant:
        answer = ask(server, "query", query=expr)
    else:
        end = now(server)
        answer = ask(server, "query_range", query=expr, start=end - RANGE, end=end, step=1)
    assert answer["status"] == "success", f"{one.place}: {answer.get('error')}\n{expr}"
    return list(answer["data"]["result"])


def anywhere(server: str, one: Asked) -> list[Any]:
    return next((found for key in WORKLOADS if (found := series(server, one, *key))), [])


@pytest.mark.parametrize("name", NAMES)
def test_every_query_returns_series(server: str, name: str) -> None:
    missing = [one for one in asked(name) if one.place not in EMPTY]

    def all_there() -> bool:
        missing[:] = [one for one in missing if not anywhere(server, one)]
        return not missing

    try:
        wait_for("every query to return series", all_there, 90)
    except AssertionError:
        pytest.fail(f"without series, and not said why in EMPTY: {[one.place for one in missing]}")


@pytest.mark.parametrize("name", NAMES)
def test_what_the_demo_does_not_have_is_asked_without_error_and_is_still_not_there(server: str, name: str) -> None:
    there = [one.place for one in asked(name) if one.place in EMPTY and anywhere(server, one)]
    assert not there, "take these off the list EMPTY"


def test_the_list_of_empty_queries_names_existing_queries_only() -> None:
    assert set(EMPTY) <= {one.place for name in NAMES for one in asked(name)}


@pytest.mark.parametrize("window", ["1h", "7d"])
def test_the_ratio_from_sums_is_the_ratio_that_the_exporter_publishes(server: str, window: str) -> None:
    match = 'job=~".*"'
    published = f'llmcost_break_even_ratio{{{match},window="{window}"}}'
    error = f"({q.window_ratio(window, match)}) / on (workload, path, alternative) {published} - 1"
    wait_for("a ratio", lambda: ask(server, "query", query=published)["data"]["result"])
    found = ask(server, "query", query=error)["data"]["result"]
    assert len(found) >= 3
    assert all(math.isclose(float(one["value"][1]), 0, abs_tol=1e-9) for one in found)


def test_the_alternative_from_the_ratio_is_its_cost_over_tokens(server: str) -> None:
    match = 'job=~".*",workload="support",path="self_hosted",window="7d"'
    cost, tokens = f"llmcost_alternative_cost_usd{{{match}}}", f"llmcost_window_tokens{{{match}}}"
    expected = f"1e6 * sum by (workload) ({cost}) / sum by (workload) ({tokens})"
    shown = q.alternative_over_window("7d", 'job=~".*",workload="support",path="self_hosted"')
    wait_for("a cost", lambda: ask(server, "query", query=cost)["data"]["result"])
    (found,) = ask(server, "query", query=f"({shown}) / on (workload) ({expected}) - 1")["data"]["result"]
    assert math.isclose(float(found["value"][1]), 0, abs_tol=1e-9)
