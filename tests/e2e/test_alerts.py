"""A crossing from the API to self-hosting, from a page to a webhook: real Prometheus, real Alertmanager, shipped rules.

The page is a stand-in: the exporter's own renderer shows statuses made by hand, because the exporter cannot judge API
workloads before it has plans (a later issue). The other direction runs from real input in test_demo.py.
"""

import json
import re
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from decimal import Decimal
from functools import partial
from pathlib import Path
from urllib.parse import quote

import pytest

from exporter.publish.page import render
from exporter.publish.samples import samples
from exporter.publish.state import PublishState
from exporter.publish.web import Publication
from exporter.reconcile.report import Report, Status, StatusName, WorkloadReport
from tests.e2e.running import Webhook, alertmanager, fetch, prometheus, wait_for, webhook
from tests.exporter.publish.serving import serving
from tests.exporter.publish.states import NOW, installation

DASHBOARDS = Path(__file__).parents[2] / "dashboards"
CROSSED = {"alertname": "LLMCostBreakEvenCrossed", "workload": "summaries", "path": "api"}


def summaries(status: StatusName, missed_usd: str) -> WorkloadReport:
    """An API workload of 1,803 USD a week whose plan, self_hosted:1xa100-80gb, would save 7,212 USD a month."""
    report = installation().report
    assert report is not None
    (workload,) = (one for one in report.workloads if one.workload == "summaries")
    assert workload.decision_window is not None
    (decision,) = workload.decisions
    decision = replace(decision, status=Status(status, NOW), missed_saving_usd=Decimal(missed_usd))
    windows = dict.fromkeys(("24h", "7d"), workload.decision_window)
    return replace(workload, windows=windows, decisions=(decision,))


def state(status: StatusName, missed_usd: str = "0") -> PublishState:
    page_at = time.time()
    report = Report(at=int(page_at), closed_through=int(page_at), workloads=(summaries(status, missed_usd),))
    return PublishState(report, (), (), replace(installation().exporter, page_at=page_at))


def sped_up(directory: Path) -> list[Path]:
    """Copies of the shipped rules whose waits are seconds; nothing else is changed."""
    copies = []
    for name in ("alerts.yaml", "fleet-rules.yaml"):
        copies.append(directory / name)
        text = (DASHBOARDS / name).read_text()
        copies[-1].write_text(re.sub(r"^( +(?:for|interval): )\S+$", r"\g<1>1s", text, flags=re.MULTILINE))
    return copies


class Monitored:
    """A page that is scraped, and what comes of it."""

    def __init__(self, publication: Publication, received: Webhook, url: str) -> None:
        self.publication, self.received, self.url = publication, received, url

    def show(self, status: StatusName, missed_usd: str = "0") -> None:
        """Show it on the page, and wait until Prometheus has read and evaluated it."""
        shown = state(status, missed_usd)
        self.publication.publish(render(samples(shown, 200), shown.exporter.page_at), shown)
        self.seen(f'llmcost_break_even_status{{status="{status}"}} == 1')

    def seen(self, expression: str) -> None:
        wait_for(expression, lambda: self.query(expression))

    def query(self, expression: str) -> list[dict]:
        answer = fetch(f"{self.url}/api/v1/query?query={quote(expression)}")
        return list(json.loads(answer)["data"]["result"]) if answer else []

    def told(self, status: str, severity: str) -> dict:
        first = partial(self.received.first, status, **CROSSED, severity=severity)
        return wait_for(f"{severity} {status} at the webhook", first, 120)


@pytest.fixture
def monitored(tmp_path: Path) -> Iterator[Monitored]:
    with ExitStack() as stack:
        publication = Publication()
        received = stack.enter_context(webhook())
        manager = stack.enter_context(alertmanager(tmp_path, received.url))
        port = stack.enter_context(serving(publication))
        url = stack.enter_context(prometheus(tmp_path, [f"127.0.0.1:{port}"], sped_up(tmp_path), manager))
        yield Monitored(publication, received, url)


def test_an_api_workload_that_should_be_self_hosted(monitored: Monitored) -> None:
    """Silent on break-even, warns on the crossing, pages when it is worth it, holds on unknown, resolves on known."""
    monitored.show("break_even")
    monitored.seen("workload:llmcost_break_even_crossed:last_known == 0")
    assert not monitored.received.alerts

    monitored.show("self_hosting_cheaper", missed_usd="49.20")
    warned = monitored.told("firing", "warning")
    assert warned["annotations"]["summary"] == (
        "summaries (api) is on the dearer side of break-even: 7212 USD a month to save."
    )
    assert "self_hosted:1xa100-80gb" in warned["annotations"]["description"]
    assert not monitored.query('ALERTS{severity="critical"}')

    monitored.show("self_hosting_cheaper", missed_usd="2500")
    paged = monitored.told("firing", "critical")
    assert "2500 USD lost so far" in paged["annotations"]["description"]

    monitored.show("unknown")
    monitored.seen('count_over_time(llmcost_break_even_status{status="unknown"}[5s]) >= 5')
    monitored.seen('sum_over_time(llmcost_break_even_status{status="unknown"}[5s]) >= 4')
    assert monitored.query('ALERTS{severity="critical", alertstate="firing"}')
    assert monitored.received.first("resolved", **CROSSED, severity="critical") is None

    monitored.show("api_cheaper")
    monitored.told("resolved", "critical")
