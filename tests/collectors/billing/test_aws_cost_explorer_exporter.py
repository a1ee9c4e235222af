"""Cost Explorer in the whole exporter: a config file, the real ledger, restarts, and `check --live`."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from collectors.records import DAY, HOUR
from exporter.__main__ import main
from exporter.commands.configured import configured
from exporter.service import Exporter
from tests.collectors.billing.ce_stand_in import CostExplorer, serving
from tests.collectors.billing.cost_explorer_ledger import D, at, month_of_bill, one_day, only_test_credentials

NOW = at("2026-11-20T13:37:11")


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    only_test_credentials(monkeypatch)


@pytest.fixture
def account() -> Iterator[CostExplorer]:
    with serving(CostExplorer(NOW, month_of_bill("2026-11-10", "2026-11-20"))) as account:
        yield account


def config_file(directory: Path, account: CostExplorer) -> Path:
    path = directory / "config.yaml"
    path.write_text(
        f"""
collectors: [{{name: aws, kind: aws_cost_explorer, endpoint_url: "{account.url}", tag: workload}}]
workloads: [{{name: chat, match: {{model: chat}}, match_bill: {{workload: chat}}}}]
storage: {{path: {directory / "ledger.db"}}}
"""
    )
    return path


def test_restarts_cost_nothing_and_the_bill_stands_in_the_ledger(tmp_path: Path, account: CostExplorer) -> None:
    config = configured(config_file(tmp_path, account))
    for minutes in (0, 1, 180, 359, 360):
        account.now = NOW + minutes * 60
        with Exporter(config, lambda: float(account.now)) as exporter:
            assert exporter.runner.collect("aws")
            lines = exporter.ledger.snapshot().bill
            counted = exporter.ledger.counters()
    assert account.requests == 4
    paid = counted[("llmcost_exporter_paid_requests_usd_total", ("aws",))]
    assert paid.value == D("0.04")
    for day in range(at("2026-11-10"), at("2026-11-20"), DAY):
        billed = sum(line.charge.billed_cost for line in lines if day <= line.charge.window.start < day + DAY)
        assert billed == account.total(day, "NetUnblendedCost")
    assert {line.alike for line in lines} == {2}


def test_the_live_check_pays_for_one_request(tmp_path: Path, account: CostExplorer) -> None:
    """`check` reads the clock of the machine, so the account lives today."""
    account.now = int(time.time())
    account.items = one_day(account.now - account.now % DAY - DAY)
    path = config_file(tmp_path, account)
    result = CliRunner().invoke(main, ["check", "--live", "--config.file", str(path)])
    assert result.exit_code == 0, result.output
    assert "aws (aws_cost_explorer): ok" in result.output
    assert account.requests == 1
    assert not (tmp_path / "ledger.db").exists()
    account.allowed = set()
    denied = CliRunner().invoke(main, ["check", "--live", "--config.file", str(path)])
    assert denied.exit_code == 1
    assert "permission ce:GetCostAndUsage is missing" in denied.output
    assert account.requests == 2


def test_a_failed_read_is_a_failed_collector_after_a_restart_too(tmp_path: Path, account: CostExplorer) -> None:
    config = configured(config_file(tmp_path, account))
    account.allowed = set()
    for hours in (0, 1, 5):
        account.now = NOW + hours * HOUR
        with Exporter(config, lambda: float(account.now)) as exporter:
            assert not exporter.runner.collect("aws")
            assert "ce:GetCostAndUsage" in exporter.runner.running["aws"].last_error
    assert account.requests == 1
