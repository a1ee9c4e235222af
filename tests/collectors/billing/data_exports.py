"""CUR 2.0 deliveries made for a test, as AWS lays them out, and what a bill costs, computed row by row.

SYNTHETIC: no real CUR 2.0 export with GPU rows is public. Column names and types are those of the AWS Data Exports
documentation; amounts have AWS's 10 decimals unless a test says otherwise.
"""

import csv
import gzip
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb

from collectors import Context
from collectors.billing.aws_data_export import AwsDataExport, DataExportSettings
from collectors.records import Batch, Charge, Failure

EXPORT = "gpu-bill"
NOW = int(datetime(2026, 11, 20, 12, tzinfo=UTC).timestamp())
OCTOBER = int(datetime(2026, 10, 1, tzinfo=UTC).timestamp())
DOUBLES = (
    *("line_item_usage_amount", "line_item_unblended_cost", "line_item_net_unblended_cost"),
    *("pricing_public_on_demand_cost", "reservation_effective_cost", "reservation_net_effective_cost"),
    *("reservation_unused_recurring_fee", "reservation_unused_amortized_upfront_fee_for_billing_period"),
    *("savings_plan_savings_plan_effective_cost", "savings_plan_net_savings_plan_effective_cost"),
    *("savings_plan_total_commitment_to_date", "savings_plan_used_commitment"),
)
TIMES = ("line_item_usage_start_date", "line_item_usage_end_date")
Row = dict[str, str]


def utc(at: int) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%S}.000Z"


def line(cost: str, day: int = 1, hour: int = 0, hours: float = 1, **more: str) -> Row:
    """One row of October 2026: an hour of an eight-GPU instance, unless `more` says otherwise."""
    start = OCTOBER + (day - 1) * 86400 + hour * 3600
    return {
        "bill_invoice_id": "",
        "line_item_usage_account_id": "111122223333",
        "line_item_line_item_type": "Usage",
        "line_item_usage_start_date": utc(start),
        "line_item_usage_end_date": utc(start + round(hours * 3600)),
        "line_item_product_code": "AmazonEC2",
        "line_item_usage_type": "BoxUsage:p5.48xlarge",
        "line_item_resource_id": "i-0a",
        "line_item_usage_amount": "1.0000000000",
        "line_item_unblended_cost": cost,
        "line_item_currency_code": "USD",
        "line_item_line_item_description": f"USD {cost} per hour",
        "product_instance_type": "p5.48xlarge",
        "product_product_family": "Compute Instance",
        "product_region_code": "us-east-1",
        "pricing_unit": "Hrs",
        "pricing_public_on_demand_cost": "",
        "reservation_reservation_a_r_n": "",
        "reservation_effective_cost": "",
        "reservation_unused_recurring_fee": "",
        "reservation_unused_amortized_upfront_fee_for_billing_period": "",
        "savings_plan_savings_plan_effective_cost": "",
        "savings_plan_total_commitment_to_date": "",
        "savings_plan_used_commitment": "",
        "resource_tags": '{"user_team": "chat"}',
        "split_line_item_parent_resource_id": "",
        "identity_line_item_id": "not read",
        **more,
    }


def storage(cost: str, day: int = 1, hour: int = 0, **more: str) -> Row:
    """An hour of a disk: money that prices no hour."""
    named = {
        "line_item_usage_type": "USE1-EBS:VolumeUsage.gp3",
        "line_item_resource_id": "vol-0a",
        "line_item_usage_amount": "0.6720430108",
        "product_instance_type": "",
        "product_product_family": "Storage",
        "pricing_unit": "GB-Mo",
    }
    return line(cost, day, hour, **{**named, **more})


def write_csv(path: Path, rows: Sequence[Row], columns: Sequence[str] = ()) -> None:
    with gzip.open(path, "wt", newline="", encoding="utf-8") as out:
        writer = csv.DictWriter(out, columns or list(rows[0]), extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)


def write_parquet(path: Path, rows: Sequence[Row], columns: Sequence[str] = ()) -> None:
    """With AWS's types: doubles, timestamps, a map of tags; what is empty is null."""
    between = path.with_suffix(".csv.gz")
    write_csv(between, rows, columns)
    names = columns or list(rows[0])
    casts = ", ".join(f"{_cast(name)} AS {name}" for name in names)
    with duckdb.connect() as db:
        db.execute(
            f"COPY (SELECT {casts} FROM read_csv('{between}', all_varchar = true, header = true, delim = ',')) "
            f"TO '{path}' (FORMAT parquet, COMPRESSION snappy)"
        )
    between.unlink()


def _cast(name: str) -> str:
    if name in DOUBLES:
        return f"nullif({name}, '')::DOUBLE"
    if name in TIMES:
        return f"{name}::TIMESTAMPTZ::TIMESTAMP"  # UTC, as AWS writes it
    if name == "resource_tags":
        return f"{name}::JSON::MAP(VARCHAR, VARCHAR)"
    return name


WRITERS: Mapping[str, Callable[[Path, Sequence[Row], Sequence[str]], None]] = {
    "csv.gz": write_csv,
    "snappy.parquet": write_parquet,
}


def manifest(files: Iterable[str], execution: str = "e1", columns: Iterable[str] = ()) -> bytes:
    """`files` are paths below the export's folder."""
    document: dict[str, Any] = {
        "exportArn": f"arn:aws:bcm-data-exports:us-east-1:999988887777:export/{EXPORT}",
        "executionId": execution,
        "dataFiles": [f"s3://somewhere/exports/{EXPORT}/{name}" for name in files],
        "columns": [{"name": name, "type": "string"} for name in columns],
    }
    return json.dumps(document).encode()


class Delivery:
    """One delivery of a billing period in parts, into a folder: what AWS writes, in its order."""

    def __init__(self, folder: Path, period: str = "2026-10", kind: str = "csv.gz", execution: str = "") -> None:
        self._base, self._kind = folder / EXPORT, kind
        run = f"{execution}/" if execution else ""
        self._data, self._metadata = f"data/BILLING_PERIOD={period}/{run}", f"metadata/BILLING_PERIOD={period}/{run}"
        self._execution = execution or "e1"

    def write(self, *chunks: Sequence[Row], at: int = 1000, columns: Sequence[str] = ()) -> None:
        """All chunks, then the manifest."""
        names = [self.data(number, rows, at, columns) for number, rows in enumerate(chunks, 1)]
        self.manifest(names, at + 60, columns)

    def data(self, number: int, rows: Sequence[Row], at: int = 1000, columns: Sequence[str] = ()) -> str:
        name = f"{self._data}{EXPORT}-{number:05}.{self._kind}"
        path = self._base / name
        path.parent.mkdir(parents=True, exist_ok=True)
        WRITERS[self._kind](path, rows, columns)
        os.utime(path, (at, at))
        return name

    def manifest(self, names: Iterable[str], at: int = 1060, columns: Iterable[str] = ()) -> Path:
        path = self._base / self._metadata / f"{EXPORT}-Manifest.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(manifest(names, f"{self._execution}-{at}", columns))
        os.utime(path, (at, at))
        return path


def collector(folder: Path, **more: Any) -> AwsDataExport:
    settings = DataExportSettings("bill", "aws_data_export", EXPORT, path=str(folder), **more)
    return AwsDataExport(settings, Context(first_start=0))


class Store:
    """Replaces what a part said of a window, and moves its cursor, as the ledger does."""

    def __init__(self) -> None:
        self.charges: dict[str, list[Charge]] = {}
        self.cursors: dict[str, str] = {}
        self.flags: dict[str, int] = {}

    def take(self, source: AwsDataExport, now: int = NOW) -> tuple[list[Batch], list[str]]:
        """The batches, which are kept, and the failures as `part: reason`."""
        batches, failures = [], []
        for one in source.collect(now, dict(self.cursors)):
            if isinstance(one, Failure):
                failures.append(f"{one.part}: {one.reason}")
            else:
                batches.append(one)
                self._commit(one)
        return batches, failures

    def _commit(self, batch: Batch) -> None:
        if batch.window is not None:  # else only a position, and counts
            start, end = batch.window.start, batch.window.end
            assert all(start <= charge.window.start < end for charge in batch.charges)
            self.charges[batch.part] = list(batch.charges)
        assert batch.cursor is not None
        self.cursors[batch.part] = batch.cursor
        if not batch.cursor:
            del self.cursors[batch.part]
        for reason, count in batch.rejected.items():
            self.flags[reason] = self.flags.get(reason, 0) + count

    def all(self) -> list[Charge]:
        found = (charge for charges in self.charges.values() for charge in charges)
        return sorted(found, key=lambda one: (one.window, one.resource, repr(one)))

    def costs(self) -> list[str]:
        return sorted(str(charge.billed_cost.normalize()) for charge in self.all())


def read(rows: Sequence[Row], folder: Path, kind: str = "csv.gz", columns: Sequence[str] = ()) -> Store:
    """The bill of October 2026 with these rows, read for the first time."""
    Delivery(folder, kind=kind).write(rows, columns=columns)
    store = Store()
    _, failures = store.take(collector(folder))
    assert not failures, failures
    return store


def amount(row: Row, *columns: str) -> Decimal | None:
    """The first of `columns` that has a value."""
    return next((Decimal(row[column]) for column in columns if row.get(column)), None)


def plain(row: Row) -> dict[str, Decimal]:
    """Billed, effective and list cost and the unused commitment of one row, as the documentation of CUR 2.0 defines
    them: the other way to compute what the query does."""
    zero = Decimal(0)
    billed = amount(row, "line_item_net_unblended_cost", "line_item_unblended_cost") or zero
    kind, unused, effective = row["line_item_line_item_type"], zero, billed
    if kind == "DiscountedUsage":
        effective = amount(row, "reservation_net_effective_cost", "reservation_effective_cost") or zero
    if kind == "SavingsPlanCoveredUsage":
        names = ("savings_plan_net_savings_plan_effective_cost", "savings_plan_savings_plan_effective_cost")
        effective = amount(row, *names) or zero
    if kind in ("SavingsPlanNegation", "SavingsPlanUpfrontFee"):
        effective = zero
    if kind == "Fee" and row.get("reservation_reservation_a_r_n"):
        effective = zero if "CapacityBlock" not in row["line_item_usage_type"] else billed
    if kind == "RIFee":
        names = ("unused_amortized_upfront_fee_for_billing_period", "unused_recurring_fee")
        effective = unused = sum((amount(row, f"reservation_{name}") or zero for name in names), zero)
    if kind == "SavingsPlanRecurringFee":
        total = amount(row, "savings_plan_total_commitment_to_date") or zero
        effective = unused = total - (amount(row, "savings_plan_used_commitment") or zero)
    return {
        "billed": billed,
        "effective": effective,
        "list": amount(row, "pricing_public_on_demand_cost") or zero,
        "unused": unused,
    }
