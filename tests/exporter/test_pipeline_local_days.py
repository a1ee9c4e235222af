"""A bill file by local days on which clocks change, with zone offsets, through ledger and page: 23 and 25 hours."""

import csv
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from collectors.billing.aws_data_export import DataExportSettings
from collectors.billing.focus import FocusSettings
from collectors.records import HOUR
from tests.collectors.billing.data_exports import EXPORT, WRITERS, Delivery
from tests.collectors.billing.data_exports import line as cur_line
from tests.exporter.cluster import PODS, node, pod
from tests.exporter.simulated import START
from tests.exporter.test_pipeline_cluster import cluster, gpu_usd, parts

# (start and end in hours since START, zone offset in hours of each): spring forward, then back in autumn.
DAYS = ((0, 1, 23, 2), (23, 2, 48, 1))
USD_PER_HOUR = 10


def local(hours: int, offset: int) -> str:
    return datetime.fromtimestamp(START + hours * HOUR, timezone(timedelta(hours=offset))).isoformat()


def focus_file(folder: Path) -> FocusSettings:
    """One line a local day."""
    month = {"BillingPeriodStart": "2027-01-01T00:00:00+00:00", "BillingPeriodEnd": "2027-02-01T00:00:00+00:00"}
    rows = [
        {
            **month,
            "BillingAccountId": "1",
            "BillingCurrency": "USD",
            "ProviderName": "AWS",
            "ChargePeriodStart": local(start, before),
            "ChargePeriodEnd": local(end, after),
            "ChargeCategory": "Usage",
            **dict.fromkeys(("BilledCost", "EffectiveCost", "ListCost"), str((end - start) * USD_PER_HOUR)),
            "ConsumedQuantity": str(end - start),
            "ConsumedUnit": "Hours",
            "ServiceCategory": "Compute",
            "ServiceName": "Amazon Elastic Compute Cloud",
            "ResourceId": "i-1",
            "ResourceType": "GPU Instance",
            "SkuId": "p5",
            "Tags": "{}",
        }
        for start, before, end, after in DAYS
    ]
    with (folder / "bill.csv").open("w", newline="") as out:
        writer = csv.DictWriter(out, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return FocusSettings(name="bill", kind="focus", path=str(folder / "*.csv"))


def cur_file(kind: str) -> Callable[[Path], DataExportSettings]:
    """One row a local day, as an export in files."""

    def write(folder: Path) -> DataExportSettings:
        rows = [
            {
                **cur_line(f"{(end - start) * USD_PER_HOUR}.0000000000"),
                "line_item_usage_start_date": local(start, before),
                "line_item_usage_end_date": local(end, after),
                "line_item_resource_id": "i-1",
                "line_item_usage_amount": f"{end - start}.0000000000",
            }
            for start, before, end, after in DAYS
        ]
        Delivery(folder, period="2027-01", kind=kind).write(rows)
        return DataExportSettings(name="bill", kind="aws_data_export", export=EXPORT, path=str(folder))

    return write


@pytest.mark.parametrize("written", [focus_file, *map(cur_file, WRITERS)], ids=["focus", *WRITERS])
def test_a_bill_file_by_local_days_costs_each_hour_once(
    tmp_path: Path, written: Callable[[Path], FocusSettings | DataExportSettings]
) -> None:
    assert datetime.fromtimestamp(START, UTC).isoformat() == "2027-01-15T00:00:00+00:00"
    bill = written(tmp_path)
    with cluster(tmp_path, node(), pod("chat-1", 6), hours=48, collectors=(bill, PODS)) as sim:
        sim.at(sim.now, "bill")
        assert sim.value("llmcost_exporter_collector_success", collector="bill") == 1
        assert parts(sim) == pytest.approx({"allocated": 360, "idle": 120})
        assert parts(sim, "billed") == {"usage": 480}
        assert gpu_usd(sim, "llm/chat") == pytest.approx(360)
        # The last 24 hours begin one hour before the second local day does: as much of each as falls into them.
        assert gpu_usd(sim, "llm/chat", "24h") == pytest.approx(24 * USD_PER_HOUR * 6 / 8)
        assert sim.value("llmcost_billed_usd", collector="bill", window="24h") == pytest.approx(24 * USD_PER_HOUR)
        assert sim.value("llmcost_superseded_cost_usd", collector="pods") == pytest.approx(48 * 16 * 6 / 8)
        lengths = [
            (line.charge.window.start - START, line.charge.window.end - START)
            for line in sorted(sim.exporter.ledger.snapshot().bill, key=lambda line: line.charge.window.start)
        ]
        assert lengths == [(0, 23 * HOUR), (23 * HOUR, 48 * HOUR)]
