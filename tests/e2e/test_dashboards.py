"""Every query of both boards in a real Prometheus that scrapes the running demo: none fails, and each returns series
whose source the demo has. tests/e2e/test_mission.py asks them all of the mission, where every one returns series."""

import json
import math
import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest

from dashboards.grafana import promql as q
from tests.dashboards.boards import NAMES, Asked, asked, filled
from tests.e2e.running import exporter, free_port, prometheus, running, sped_up, wait_for

SPEED = 60  # one minute of the demo in a second
RANGE = 30  # seconds of the time range that Grafana would ask for
ELSEWHERE = {
    *("llmcost_gpus", "llmcost_calibration_ratio", "llmcost_exporter_paid_requests_usd_total"),
    *("llmcost_waterfall_usd", "llmcost_meter_gap_ratio", "llmcost_exporter_rejected_records_total"),
}
"""Families of which the demo has no source (nodes, paid requests, a provider's API) or no cause."""

WORKLOADS = (("support", "self_hosted"), ("tiny-llama", "self_hosted"), ("batch-mail", "api"))


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


def expected(name: str) -> list[Asked]:
    """The queries that the demo has data for; a filter for what should not be, and here is not, is left out."""
    of_demo = [one for one in asked(name) if ELSEWHERE.isdisjoint(re.findall(r"\bllmcost_\w+", one.expr))]
    return [replace(one, expr=one.expr.removesuffix(" > 0")) for one in of_demo]


@pytest.mark.parametrize("name", NAMES)
def test_every_query_returns_series(server: str, name: str) -> None:
    missing = expected(name)

    def all_there() -> bool:
        missing[:] = [one for one in missing if not anywhere(server, one)]
        return not missing

    try:
        wait_for("every query to return series", all_there, 90)
    except AssertionError:
        pytest.fail(f"without series: {[one.place for one in missing]}")


@pytest.mark.parametrize("name", NAMES)
def test_what_the_demo_has_no_source_of_is_asked_without_error(server: str, name: str) -> None:
    for one in asked(name):
        anywhere(server, one)
    found = ask(server, "query", query=f'count({{__name__=~"{"|".join(ELSEWHERE)}"}})')
    assert found["data"]["result"] == [], "the demo has some of ELSEWHERE now"


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
