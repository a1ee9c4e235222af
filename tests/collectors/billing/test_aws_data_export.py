"""Data exports that are restated, delivered half, twice or anew: the newest whole delivery of a period is in force."""

import os
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from collectors import Context
from collectors.billing import aws_data_export as module
from collectors.billing.aws_data_export import AwsDataExport, DataExportSettings
from collectors.records import Batch
from exporter.config import Config
from exporter.ledger.snapshot import BillLine
from exporter.ledger.store import Ledger
from exporter.reconcile.bill_match import scope_of
from tests.collectors.billing.data_exports import (
    EXPORT,
    NOW,
    WRITERS,
    Delivery,
    Row,
    Store,
    collector,
    line,
    storage,
)

OCTOBER_20 = NOW - 31 * 86400
MONTH = [line("1.50", 1), line("2.25", 1, 5), line("-0.10", 2), storage("4.00", 3)]
PART = f"{EXPORT}/2026-10"


@pytest.mark.parametrize("kind", WRITERS)
def test_a_period_is_read_once_per_delivery_a_part_a_day(tmp_path: Path, kind: str) -> None:
    Delivery(tmp_path, kind=kind).write(MONTH[:2], MONTH[2:])
    store, source = Store(), collector(tmp_path)
    batches, failures = store.take(source)
    assert (failures, store.costs()) == ([], ["-0.1", "1.5", "2.25", "4"])
    assert [batch.part for batch in batches] == [f"{PART}/2026-10-0{day}" for day in (1, 2, 3)] + [PART]
    assert store.take(source) == store.take(collector(tmp_path)) == ([], [])
    source.close()


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("execution", ["", "20261120T10-b"])
@pytest.mark.parametrize(
    ("restated", "expected"),
    [
        ([line("9.50", 1), *MONTH[1:]], ["-0.1", "2.25", "4", "9.5"]),
        (MONTH[1:], ["-0.1", "2.25", "4"]),
        (MONTH[:1], ["1.5"]),
        ([*MONTH, line("7", 30)], ["-0.1", "1.5", "2.25", "4", "7"]),
    ],
    ids=["up", "away", "short", "more"],
)
def test_a_new_delivery_replaces_the_last_one(
    tmp_path: Path, kind: str, execution: str, restated: list[Row], expected: list[str]
) -> None:
    """An export overwrites its files, or adds a folder per execution: the older one is then still there."""
    store, source = Store(), collector(tmp_path)
    Delivery(tmp_path, kind=kind, execution="20261119T10-a" if execution else "").write(MONTH, at=1000)
    store.take(source)
    Delivery(tmp_path, kind=kind, execution=execution).write(restated, at=90_000)
    assert store.take(source)[1] == []
    assert store.costs() == expected
    assert store.take(source) == ([], [])


def test_an_older_execution_that_arrives_late_does_not_count(tmp_path: Path) -> None:
    store, source = Store(), collector(tmp_path)
    Delivery(tmp_path, execution="b").write(MONTH, at=90_000)
    store.take(source)
    Delivery(tmp_path, execution="a").write([line("666")], at=1000)
    assert store.take(source) == ([], [])


def test_a_manifest_that_names_a_missing_file_leaves_the_old_bill_in_force(tmp_path: Path) -> None:
    store, source, delivery = Store(), collector(tmp_path), Delivery(tmp_path)
    delivery.write(MONTH)
    store.take(source)
    before = store.all()
    there = delivery.data(1, [line("9")], at=80_000)
    delivery.manifest([there, there.replace("00001", "00002")], at=90_000)
    batches, failures = store.take(source)
    assert (batches, store.all()) == ([], before)
    assert failures == [
        f"{PART}: data/BILLING_PERIOD=2026-10/{EXPORT}-00002.csv.gz is not there, but the manifest names it: half "
        "delivered, or removed"
    ]
    delivery.data(2, [line("3", 1, 9)], at=85_000)
    assert (store.take(source)[1], store.costs()) == ([], ["3", "9"])


def test_data_newer_than_its_manifest_is_a_delivery_under_way_until_nothing_changes(tmp_path: Path) -> None:
    store, source, delivery = Store(), collector(tmp_path), Delivery(tmp_path)
    name = delivery.data(1, MONTH, at=5000)
    delivery.manifest([name], at=1000)
    for at in (6000, 7000):
        batches, (failure,) = store.take(source)
        assert not batches and "newer than its manifest" in failure
        os.utime(tmp_path / EXPORT / name, (at, at))  # still being written
    store.take(source)
    assert (store.take(source)[1], len(store.all())) == ([], 4)


def test_a_file_replaced_while_it_is_read_fails_and_is_read_next_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    store, source, delivery = Store(), collector(tmp_path), Delivery(tmp_path)
    delivery.write(MONTH)
    copy = shutil.copyfile

    def overtaken(from_: Path, to: Path) -> None:
        copy(from_, to)
        delivery.write([line("9")], at=90_000)

    monkeypatch.setattr(shutil, "copyfile", overtaken)
    batches, (failure,) = store.take(source)
    assert not batches and "was replaced while it was read" in failure
    monkeypatch.undo()
    assert (store.take(source)[1], store.costs()) == ([], ["9"])


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize(
    ("rows", "dropped", "reason"),
    [
        (MONTH, "line_item_unblended_cost", "lacks the column line_item_unblended_cost"),
        (MONTH, "line_item_usage_start_date", "lacks the column line_item_usage_start_date"),
        (
            [line("1", line_item_line_item_type="SavingsPlanCoveredUsage")],
            "savings_plan_savings_plan_effective_cost",
            "has SavingsPlanCoveredUsage rows, but no column savings_plan_savings_plan_effective_cost",
        ),
        (
            [line("0", line_item_line_item_type="DiscountedUsage")],
            "reservation_effective_cost",
            "has DiscountedUsage rows, but no column reservation_effective_cost",
        ),
    ],
)
@pytest.mark.parametrize("named", [True, False], ids=["in the manifest", "in the data only"])
def test_a_column_that_is_missing_is_named(
    tmp_path: Path, kind: str, rows: list[Row], dropped: str, reason: str, named: bool
) -> None:
    columns = [name for name in MONTH[0] if name != dropped]
    delivery = Delivery(tmp_path, kind=kind)
    files = [delivery.data(1, rows, columns=columns)]
    delivery.manifest(files, columns=columns if named else ())
    batches, (failure,) = Store().take(collector(tmp_path))
    assert not batches and failure.startswith(f"{PART}: {reason}")


def test_columns_that_nobody_knows_are_ignored(tmp_path: Path) -> None:
    Delivery(tmp_path).write([{**row, "brand_new": "x", "discount": "{}"} for row in MONTH])
    store = Store()
    assert (store.take(collector(tmp_path))[1], len(store.all())) == ([], 4)


def test_files_of_one_delivery_with_other_columns_are_refused(tmp_path: Path) -> None:
    delivery = Delivery(tmp_path)
    files = [delivery.data(1, MONTH), delivery.data(2, [{**row, "more": ""} for row in MONTH])]
    delivery.manifest(files)
    _, (failure,) = Store().take(collector(tmp_path))
    assert "has other columns than" in failure


def test_current_and_previous_period_by_default_and_earlier_ones_once(tmp_path: Path) -> None:
    for period in ("2026-07", "2026-08", "2026-09", "2026-10", "2026-11"):
        Delivery(tmp_path, period).write([line("1")])
    store = Store()
    store.take(collector(tmp_path))
    assert set(store.cursors) == {f"{EXPORT}/{p}{d}" for p in ("2026-10", "2026-11") for d in ("", "/2026-10-01")}
    earlier = collector(tmp_path, since=module.Instant.parse("2026-08-01"))
    batches, _ = store.take(earlier)
    assert {batch.part[:16] for batch in batches} == {f"{EXPORT}/2026-08", f"{EXPORT}/2026-09"}
    Delivery(tmp_path, "2026-08").write([line("2")], at=90_000)
    assert store.take(earlier) == ([], [])


def test_nothing_at_all_under_the_prefix_is_a_failure_and_a_month_to_come_is_none(tmp_path: Path) -> None:
    store, source = Store(), collector(tmp_path)
    assert store.take(source) == (
        [],
        [f"{EXPORT}: no manifest under {tmp_path}/{EXPORT}/metadata/: check path and export"],
    )
    Delivery(tmp_path).write(MONTH)
    assert store.take(source)[1] == []


def test_a_manifest_that_is_gone_leaves_the_bill_in_force(tmp_path: Path) -> None:
    store, source = Store(), collector(tmp_path)
    Delivery(tmp_path).write(MONTH)
    store.take(source)
    for path in (tmp_path / EXPORT / "metadata").rglob("*.json"):
        path.unlink()
    batches, failures = store.take(source)
    assert (batches, failures) == ([], [f"{PART}: its manifest is gone: the bill read before stays in force"])


def test_one_bad_period_does_not_hold_back_another(tmp_path: Path) -> None:
    Delivery(tmp_path).write([line("1"), storage("x")])
    Delivery(tmp_path, "2026-11").write([line("5")])
    store = Store()
    _, (failure,) = store.take(collector(tmp_path))
    assert failure.startswith(f"{PART}: line_item_unblended_cost")
    assert store.costs() == ["5"]


def test_an_export_without_rows_clears_its_period(tmp_path: Path) -> None:
    store, source, delivery = Store(), collector(tmp_path), Delivery(tmp_path)
    delivery.write(MONTH)
    store.take(source)
    delivery.manifest([], at=90_000)
    assert (store.take(source)[1], store.all(), list(store.cursors)) == ([], [], [PART])


def test_another_export_of_the_same_bill_replaces_the_one_configured_before(tmp_path: Path) -> None:
    store = Store()
    Delivery(tmp_path).write(MONTH)
    store.take(collector(tmp_path))
    Delivery(tmp_path, "2026-09").write([line("1", -20)])
    store.take(collector(tmp_path, since=module.Instant.parse("2026-09-01")))
    old = {f"old{part[len(EXPORT) :]}" for part in store.cursors}
    store.cursors = {f"old{part[len(EXPORT) :]}": cursor for part, cursor in store.cursors.items()}
    store.charges = {f"old{part[len(EXPORT) :]}": charges for part, charges in store.charges.items()}
    assert {part for part in old if "2026-09" in part} < old
    store.take(collector(tmp_path))  # looks at October, not at September
    assert {part for part in store.cursors if part.startswith("old")} == {
        part for part in old if "/2026-09" in part[:11]
    }
    assert store.costs() == ["-0.1", "1", "1.5", "2.25", "4"]


def test_another_accounts_lines_are_out_of_scope(tmp_path: Path) -> None:
    Delivery(tmp_path).write([line("1"), line("2", 1, 1, line_item_usage_account_id="444455556666")])
    store = Store()
    store.take(collector(tmp_path))
    settings = DataExportSettings(
        "bill", "aws_data_export", EXPORT, bucket="b", scope={"account": "1111*", "provider": "AWS"}
    )
    in_scope = scope_of(Config(collectors=(settings,)))
    found = {charge.account: in_scope(BillLine("bill", "part", charge)) for charge in store.all()}
    assert found == {"111122223333": True, "444455556666": False}


def test_in_a_real_ledger_a_restated_bill_equals_a_fresh_read(tmp_path: Path) -> None:
    def bill(ledger: Ledger, source: AwsDataExport) -> list[str]:
        for batch in source.collect(NOW, ledger.cursors("bill")):
            assert isinstance(batch, Batch), batch
            ledger.commit("bill", batch, NOW)
        return sorted(repr(one.charge) for one in ledger.snapshot().bill)

    old, new = Ledger(tmp_path / "old.db", NOW), Ledger(tmp_path / "new.db", NOW)
    try:
        Delivery(tmp_path / "e").write(MONTH)
        assert len(bill(old, collector(tmp_path / "e"))) == 4
        Delivery(tmp_path / "e").write([*MONTH[1:], line("8", 9)], at=90_000)
        assert bill(old, collector(tmp_path / "e")) == bill(new, collector(tmp_path / "e"))
    finally:
        old.close()
        new.close()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, "exactly one of bucket and path, got neither"),
        ({"bucket": "b", "path": "/x"}, "exactly one of bucket and path, got both"),
        ({"bucket": "s3://b/p"}, "expected bucket to be a name"),
        ({"bucket": "b", "export": "a/b"}, "expected export to be the export's name"),
        ({"bucket": "b", "periods": 0}, "expected periods of at least 1"),
        ({"bucket": "b", "role_arn": "role"}, "expected role_arn like"),
        ({"bucket": "b", "since": "soon"}, "expected a date"),
        ({"bucket": "b", "accounts": []}, "Extra inputs|[Uu]nexpected keyword"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(change: dict[str, Any], expected: str) -> None:
    given = {"name": "bill", "kind": "aws_data_export", "export": EXPORT, **change}
    with pytest.raises(ValidationError, match=expected):
        TypeAdapter(DataExportSettings).validate_python(given)


@pytest.mark.parametrize(
    ("settings", "where"),
    [
        ({"bucket": "b", "prefix": "/exports/aws/"}, f"s3://b/exports/aws/{EXPORT}/"),
        ({"bucket": "b"}, f"s3://b/{EXPORT}/"),
        ({"path": "/synced/"}, f"/synced/{EXPORT}/"),
    ],
)
def test_where_the_export_is(settings: dict[str, str], where: str) -> None:
    assert DataExportSettings("bill", "aws_data_export", EXPORT, **settings).where == where


def test_without_duckdb_the_failure_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Delivery(tmp_path).write(MONTH)
    for name in ("duckdb.py", "_duckdb.py"):
        (tmp_path / name).write_text("print('not an answer', flush=True)\nraise ImportError('none here')")
    monkeypatch.syspath_prepend(tmp_path)
    source = AwsDataExport(
        DataExportSettings("bill", "aws_data_export", EXPORT, path=str(tmp_path)), Context(first_start=0)
    )
    _, (failure,) = Store().take(source)
    assert failure == f"{PART}: duckdb is not installed: install llm-cost-exporter[aws]"
