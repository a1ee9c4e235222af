"""Against moto's server, an independent AWS stand-in: signing, STS, and the paging of Cost Explorer (canned pages)."""

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import urllib3

from collectors import Context
from collectors.billing.aws_cost_explorer import AwsCostExplorer, CostExplorerSettings
from collectors.billing.aws_session import Access, client
from collectors.records import Batch
from tests.collectors.billing.cost_explorer_ledger import D, Store, at, only_test_credentials

NOW = at("2026-11-20T13:37:11")
DAY = at("2026-11-18")


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield f"http://{host}:{port}"
    finally:
        server.stop()


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch, moto: str) -> None:
    only_test_credentials(monkeypatch)
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", moto)


def page(keys: list[str], amount: str, token: str = "") -> dict[str, Any]:
    cost = {"Amount": amount, "Unit": "USD"}
    metrics = {"UnblendedCost": cost, "AmortizedCost": cost, "UsageQuantity": {"Amount": "24", "Unit": "Hrs"}}
    period = {
        "TimePeriod": {"Start": "2026-11-18", "End": "2026-11-19"},
        "Groups": [{"Keys": keys, "Metrics": metrics}],
        "Estimated": True,
    }
    return {"ResultsByTime": [period], **({"NextPageToken": token} if token else {})}


def test_pages_are_followed_to_the_last(moto: str) -> None:
    pages = [
        page(["workload$chat", "BoxUsage:p5.48xlarge"], "100.10", "two"),
        page(["workload$", "BoxUsage:p5.48xlarge"], "50.05"),
        page(["Tax", ""], "1.01"),
    ]
    with urllib3.PoolManager() as http:
        url = f"{moto}/moto-api/static/ce/cost-and-usage-results"
        body = json.dumps({"results": pages})
        answer = http.request("POST", url, body=body, headers={"Content-Type": "application/json"})
        assert answer.status == 201
    role = "arn:aws:iam::123456789012:role/bill"
    settings = CostExplorerSettings("bill", "aws_cost_explorer", tag="workload", endpoint_url=moto, role_arn=role)
    store = Store()
    collector = AwsCostExplorer(settings, Context(first_start=0))
    assert store.take(collector.collect(NOW, {})) == []
    assert store.sums(DAY) == (D("151.16"), D("151.16"))
    assert store.paid == D("0.03")
    assert {charge.tags for charge in store.day(DAY)} == {(("workload", "chat"),), ()}
    collector.close()


def test_a_role_is_assumed_with_the_chains_credentials(moto: str) -> None:
    made = client("sts", Access(role_arn="arn:aws:iam::123456789012:role/bill", endpoint_url=moto, region="us-east-1"))
    try:
        assert "assumed-role/bill/llm-cost-exporter" in made.get_caller_identity()["Arn"]
    finally:
        made.close()


def test_the_probe_is_answered(moto: str) -> None:
    settings = CostExplorerSettings("bill", "aws_cost_explorer", endpoint_url=moto)
    outcomes = list(AwsCostExplorer(settings, Context(first_start=0)).probe(NOW))
    assert [type(outcome) for outcome in outcomes] == [Batch]
