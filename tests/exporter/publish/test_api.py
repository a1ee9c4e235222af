"""The JSON of the report: exact decimals as strings, nothing for the unknown."""

import json
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from exporter.publish.api import _plain, workloads_json
from exporter.publish.state import PublishState
from tests.exporter.publish.states import EXPORTER, LLAMA, NOW, installation, many


def body(state: PublishState) -> Any:
    return json.loads(workloads_json(state), parse_float=lambda text: AssertionError(f"a float: {text}"))


def test_figures_are_exact() -> None:
    state = installation()
    assert state.report
    chat = body(state)["workloads"][0]
    week = state.report.workloads[0].windows["7d"]
    assert Decimal(chat["windows"]["7d"]["cost_usd"]) == week.cost_usd == Decimal("1795.52")
    assert Decimal(chat["windows"]["7d"]["usd_per_token"]) == week.usd_per_token
    assert chat["windows"]["7d"]["alternatives"][f"api:{LLAMA}"] == {
        "cost_usd": "340.84", "ratio": "0.1898", "unpriced_tokens": 0,
    }  # fmt: skip
    assert chat["windows"]["7d"]["tokens"]["input"] == 1_310_442_118
    assert chat["decision_window"] == chat["windows"]["7d"]
    assert chat["decisions"][0]["status"] == {"name": "api_cheaper", "since": NOW - 2 * 86400 - 4 * 3600}
    assert chat["token_type_usd_per_token"][0]["usd_per_token"] == "0.00000094"  # no exponent


def test_the_unknown_has_no_key() -> None:
    workloads = {workload["workload"]: workload for workload in body(installation())["workloads"]}
    assert workloads["qwen3-coder"] == {
        "workload": "qwen3-coder", "path": "self_hosted", "windows": {}, "decisions": [], "evidence_ratio": {},
        "token_type_usd_per_token": [],
    }  # fmt: skip
    reranker = workloads["llm-prod/reranker"]["decisions"][0]
    assert reranker["status"]["reason"] == "coverage" and "saving_usd_per_month" not in reranker
    assert "null" not in workloads_json(installation()).decode().replace("got 'null'", "")


def test_bills_close() -> None:
    (bill,) = body(installation())["bills"]
    assert sum(map(Decimal, bill["parts"]["billed"].values())) == Decimal(bill["billed_usd"])


def test_collectors_are_in_it_with_their_health() -> None:
    collectors = {one["name"]: one for one in body(installation())["collectors"]}
    failing = collectors["cloud-bill"]
    assert failing.pop("last_error").startswith("/exports/focus/2026-11.csv.gz: truncated gzip stream")
    assert failing == {
        "name": "cloud-bill", "kind": "focus", "success": False, "last_success": NOW - 14 * 3600,
        "complete_through": NOW - 38 * 3600, "parts": {"ok": 30, "failed": 1}, "rejected": {},
        "last_error_at": NOW - 1900,
    }  # fmt: skip
    assert collectors["gateway"]["rejected"] == {"no_timestamp": 3}
    assert collectors["reranker-engine"] == {
        "name": "reranker-engine", "kind": "vllm", "success": False, "parts": {}, "rejected": {},
    }  # fmt: skip


def test_before_the_first_reconciliation_there_are_no_workloads() -> None:
    assert body(PublishState(None, (), (), EXPORTER)) == {
        "version": "0.1.0", "page_at": NOW + 12, "collectors": [],
    }  # fmt: skip


def test_no_workload_is_folded_and_names_survive() -> None:
    state = many(3)
    assert state.report
    odd = replace(state.report.workloads[0], workload='a "b"\n\u2028é\ud800')
    names = [w["workload"] for w in body(replace(state, report=replace(state.report, workloads=(odd,))))["workloads"]]
    assert names == ['a "b"\n\u2028é?']
    assert len(body(many(300))["workloads"]) == 300


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        ("2719.500000", "2719.5"),
        ("-0.00", "0"),
        ("100", "100"),
        ("1E+3", "1000"),
        ("4.40", "4.4"),
        ("1E-9", "0.000000001"),
    ],
)
def test_one_value_is_one_text(amount: str, text: str) -> None:
    assert _plain(Decimal(amount)) == text
