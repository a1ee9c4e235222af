"""The queries of the dashboards, asked of the Prometheus that has scraped the mission."""

import json
import time
from urllib.parse import urlencode

from tests.dashboards.boards import NAMES, Asked, asked, filled
from tests.e2e.running import fetch

SHOWN = (("chat", "self_hosted"), ("lab", "self_hosted"), ("support-bot", "api"))
RANGE = 15  # seconds


def series_of_all_queries(url: str, troubled_at: float) -> dict[str, int]:
    """How many series each query of the boards returns, by board and place: the most of those for each kind of
    workload, now and during the trouble."""
    instants = (time.time(), troubled_at, troubled_at + RANGE / 2)
    return {
        f"{name}: {one.place}": max(_series(url, one, *shown, at) for shown in SHOWN for at in instants)
        for name in NAMES
        for one in asked(name)
    }


def _series(url: str, one: Asked, workload: str, path: str, at: float) -> int:
    values = {"job": ".*", "biggest": workload, "workload": workload, "path": path}
    values |= {"__rate_interval": f"{RANGE}s", "__range": f"{4 * RANGE}s"}
    query = urlencode({"query": filled(one.expr, values), "time": at})
    return len(json.loads(fetch(f"{url}/api/v1/query?{query}") or "{}")["data"]["result"])
