"""Bills through the whole exporter: after each delivery the figures are those of a fresh read, and no counter falls."""

import csv
import gzip
import os
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest

from collectors.billing.focus import FocusSettings
from exporter.config import Config
from exporter.publish.bill_view import bills_views
from tests.exporter.raw_bill import SPANS, raw_lines, raw_sum
from tests.exporter.simulated import START, Engine, Simulation, config, engine

HOUR, DAY = 3600, 86400
COLUMNS = (
    "BillingAccountId", "BillingPeriodStart", "BillingPeriodEnd", "ChargePeriodStart", "ChargePeriodEnd",
    "ChargeCategory", "BilledCost", "EffectiveCost", "ListCost", "BillingCurrency", "ServiceCategory", "ServiceName",
    "ResourceId", "ResourceType", "SkuId", "Tags",
)  # fmt: skip


def iso(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def deliver(path: Path, hourly_usd: dict[int, str], age: int, extra: bool = True) -> None:
    """A bill file: one GPU line per hour since START, tagged for the workload, and lines that are nobody's."""
    rows = []
    month = (START - 20 * DAY, START + 20 * DAY)
    base = dict.fromkeys(COLUMNS, "") | {"BillingAccountId": "a", "BillingCurrency": "USD"}
    base |= {"BillingPeriodStart": iso(month[0]), "BillingPeriodEnd": iso(month[1])}
    for hour, usd in hourly_usd.items():
        period = {"ChargePeriodStart": iso(START + hour * HOUR), "ChargePeriodEnd": iso(START + (hour + 1) * HOUR)}
        money = {"BilledCost": usd, "EffectiveCost": usd, "ListCost": usd}
        gpu = {"ChargeCategory": "Usage", "ServiceCategory": "Compute", "ResourceType": "GPU Instance", "SkuId": "gpu"}
        rows.append(base | period | money | gpu | {"ResourceId": "i-1", "Tags": '{"workload": "chat"}'})
    if extra:
        period = {"ChargePeriodStart": iso(START), "ChargePeriodEnd": iso(START + DAY)}
        rows.append(base | period | {"ChargeCategory": "Tax", "BilledCost": "19.01", "EffectiveCost": "19.01"})
        other = {"ChargeCategory": "Usage", "ServiceCategory": "Storage", "ResourceId": "bucket", "Tags": "{}"}
        rows.append(base | period | other | {"BilledCost": "0.07", "EffectiveCost": "0.07"})
    with gzip.open(path, "wt", newline="") if path.suffix == ".gz" else path.open("w", newline="") as out:
        writer = csv.DictWriter(out, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    os.utime(path, (START + age, START + age))


def with_bill(directory: Path, vllm: Engine) -> Config:
    bare = config(directory, vllm)
    chat = replace(bare.workloads[0], match_bill={"workload": "chat"})
    focus = FocusSettings(name="bill", kind="focus", path=str(directory / "*.csv*"))
    return replace(bare, collectors=(*bare.collectors, focus), workloads=(chat,))


def steady(now: float) -> tuple[int, int, int]:
    return int(700 * max(0.0, now - START)), 0, int(300 * max(0.0, now - START))


def shown(sim: Simulation) -> dict[str, float]:
    return {
        "gpu": sim.sum("llmcost_effective_cost_usd", workload="chat", component="gpu", window="24h"),
        "billed": sim.sum("llmcost_billed_usd", collector="bill", window="24h"),
        "allocated": sim.sum(
            "llmcost_bill_part_usd", collector="bill", basis="effective", part="allocated", window="24h"
        ),
        "superseded": sim.sum("llmcost_superseded_cost_usd", collector="gpus"),
    }


def file_sums(path: Path) -> dict[str, Fraction]:
    """What the lines of a bill file sum to on both bases."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    columns = {"billed": "BilledCost", "effective": "EffectiveCost"}
    return {basis: sum((Fraction(row[column]) for row in rows), Fraction(0)) for basis, column in columns.items()}


def fallen(before: dict, after: dict) -> list:
    return [
        key
        for key, value in before.items()
        if key[0].startswith("llmcost_") and key[0].endswith("_total") and after.get(key, -1.0) < value
    ]


def test_a_bill_restated_up_down_and_away_delivered_twice_and_half(tmp_path: Path) -> None:
    """The card says 7.20 USD/h. Four hours pass; the bill covers the first hours of them."""
    bill = tmp_path / "bill.csv"
    steps = (
        ("first", lambda: deliver(bill, {0: "6", 1: "6"}, 1), 6 + 6 + 7.2 * 2, 14.4),
        ("the same again", lambda: deliver(bill, {0: "6", 1: "6"}, 2), 6 + 6 + 7.2 * 2, 14.4),
        ("under another name too", lambda: deliver(tmp_path / "copy.csv", {0: "6", 1: "6"}, 2), 26.4, 14.4),
        ("restated up", lambda: deliver(bill, {0: "9", 1: "6.5"}, 3), 9 + 6.5 + 7.2 * 2, 14.4),
        ("restated down", lambda: deliver(bill, {0: "5", 1: "4"}, 4), 5 + 4 + 7.2 * 2, 14.4),
        ("half: one hour is missing", lambda: deliver(bill, {0: "5"}, 5), 5 + 7.2 * 3, 7.2),
        ("all four hours", lambda: deliver(bill, {h: "5" for h in range(4)}, 6), 20, 28.8),
        ("away", lambda: deliver(bill, {}, 7), 7.2 * 4, 0),
    )
    with engine(steady) as vllm, Simulation(with_bill(tmp_path, vllm), vllm) as sim:
        sim.at(START)
        sim.until(START + 4 * HOUR + 120, 120)
        before = sim.samples()
        for name, act, gpu, superseded in steps:
            act()
            if name == "restated up":
                (tmp_path / "copy.csv").unlink()
            sim.at(sim.now + 5, "bill")
            assert sim.value("llmcost_exporter_collector_success", collector="bill") == 1, name
            now = shown(sim)
            assert now["gpu"] == pytest.approx(gpu, abs=1e-9), name
            assert now["superseded"] == pytest.approx(superseded, abs=1e-9), name
            after = sim.samples()
            assert not fallen(before, after), name
            before = after


def test_a_truncated_delivery_leaves_the_last_whole_one_in_force(tmp_path: Path) -> None:
    bill = tmp_path / "bill.csv.gz"
    with engine(steady) as vllm, Simulation(with_bill(tmp_path, vllm), vllm) as sim:
        sim.at(START)
        deliver(bill, {0: "6", 1: "6"}, 1)
        sim.until(START + 4 * HOUR + 120, 120)
        whole = shown(sim)
        deliver(bill, {h: "1" for h in range(4)}, 2)
        bill.write_bytes(bill.read_bytes()[:-30])
        sim.at(sim.now + 5, "bill")
        assert sim.value("llmcost_exporter_collector_success", collector="bill") == 0
        assert shown(sim) == whole


def test_evidence_shares_sum_to_one_and_the_bill_closes(tmp_path: Path) -> None:
    with engine(steady) as vllm, Simulation(with_bill(tmp_path, vllm), vllm) as sim:
        sim.at(START)
        deliver(tmp_path / "bill.csv", {0: "6", 1: "6.000000001"}, 1)
        sim.until(START + DAY + 1200, 300)
        sim.at(sim.now + 290)  # the slot before is closed
        shares = {
            e: sim.value("llmcost_evidence_ratio", workload="chat", path="self_hosted", evidence=e)
            for e in ("invoiced", "billed", "calibrated", "configured", "list")
        }
        assert sum(v for v in shares.values() if v) == pytest.approx(1)
        assert shares["billed"] and shares["configured"]
        report = sim.state.report if sim.state else None
        assert report is not None
        whole = file_sums(tmp_path / "bill.csv")
        lines, end = raw_lines(tmp_path / "ledger.db", "bill"), int(sim.now) // 300 * 300
        assert {part.window for part in report.bills} >= set(SPANS)
        for part in report.bills:
            assert part.billed_usd == sum(part.parts["billed"].values(), Decimal(0))
            for basis in whole if part.window in SPANS else ():
                raw, off = raw_sum(lines, f"{basis}_cost", end - SPANS[part.window], end)
                assert abs(Fraction(sum(part.parts[basis].values())) - raw) <= off, (part.window, basis)
                assert part.window not in ("7d", "30d") or (raw, off) == (whole[basis], 0)
        page = sim.value("llmcost_billed_usd", collector="bill", window="7d")
        assert page == pytest.approx(float(whole["billed"]), rel=1e-12)
        week = next(part for part in report.bills if part.window == "7d")
        assert week.parts["effective"]["allocated"] == Decimal("12.000000001")
        assert week.parts["billed"]["tax"] == Decimal("19.01")
        assert week.parts["effective"]["unallocated"] == Decimal("0.07")


def test_lines_in_a_currency_without_a_rate_are_counted_and_change_no_cost(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bill = tmp_path / "bill.csv"
    with engine(steady) as vllm, Simulation(with_bill(tmp_path, vllm), vllm) as sim:
        sim.at(START)
        deliver(bill, {0: "6", 1: "6"}, 1, extra=False)
        bill.write_text(bill.read_text().replace("USD", "EUR"))
        sim.until(START + 4 * HOUR + 120, 120)
        assert shown(sim)["gpu"] == pytest.approx(7.2 * 4)
        reason = {"collector": "bill", "reason": "no_exchange_rate"}
        assert sim.value("llmcost_exporter_rejected_records_total", **reason) == 2
        told = [record.getMessage() for record in caplog.records if "EUR" in record.getMessage()]
        assert told == ['bill: what it bills in EUR is in no figure, no rate is known; add fx: {EUR: "<USD per unit>"}']
        assert sim.state is not None and sim.state.report is not None
        (totals,) = {view.totals for view in bills_views(sim.state.report.bills)}
        assert totals == "bill \N{EN DASH} (no rate in fx: EUR)"
