"""Which billing periods are looked at, which manifest counts, and what a manifest may say."""

import json
from datetime import UTC, datetime

import pytest

from collectors.billing.cur_manifest import Item, Manifest, ManifestError, newest, parse, periods

NOW = int(datetime(2026, 1, 31, 23, tzinfo=UTC).timestamp())
AUGUST = int(datetime(2025, 8, 20, tzinfo=UTC).timestamp())


@pytest.mark.parametrize(
    ("recent", "since", "known", "expected"),
    [
        (2, None, [], ["2025-12", "2026-01"]),
        (1, None, ["2026-01"], ["2026-01"]),
        (2, AUGUST, [], ["2025-08", "2025-09", "2025-10", "2025-11", "2025-12", "2026-01"]),
        (2, AUGUST, ["2025-09", "2025-12", "2026-01"], ["2025-08", "2025-10", "2025-11", "2025-12", "2026-01"]),
        (3, NOW, [], ["2025-11", "2025-12", "2026-01"]),
    ],
)
def test_recent_periods_are_looked_at_again_and_earlier_ones_once(
    recent: int, since: int | None, known: list[str], expected: list[str]
) -> None:
    assert periods(NOW, recent, since, known) == expected


def item(name: str, modified: float) -> Item:
    return Item(name, '"e"', 10, modified)


def test_the_manifest_written_last_counts() -> None:
    items = [
        item("metadata/BILLING_PERIOD=2026-01/20260120T0-a/bill-Manifest.json", 100),
        item("metadata/BILLING_PERIOD=2026-01/20260121T0-b/bill-Manifest.json", 200),
        item("metadata/BILLING_PERIOD=2026-01/20260121T0-b/other-Manifest.json", 300),
        item("metadata/BILLING_PERIOD=2026-01/20260121T0-b/notes.json", 400),
    ]
    assert newest(items, "bill") is items[1]
    assert newest(items[2:], "bill") is None


def document(**more: object) -> bytes:
    return json.dumps({"dataFiles": ["s3://b/p/bill/data/BILLING_PERIOD=2026-01/x-1.csv.gz"], **more}).encode()


def test_files_are_named_below_the_exports_folder_whatever_bucket_it_was_copied_to() -> None:
    assert parse(document(columns=[{"name": "a", "type": "string"}]), "bill") == Manifest(
        ("data/BILLING_PERIOD=2026-01/x-1.csv.gz",), "csv", ("a",)
    )
    uri = "s3://b/bill/data/BILLING_PERIOD=2026-01/20260101T0-e/x-1.snappy.parquet"
    assert parse(document(dataFiles=[uri]), "bill").format == "parquet"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"<html>", "cannot be read"),
        (b"[]", "cannot be read"),
        (b"[" * 100_000, "cannot be read"),
        (b'{"assemblyId": "x", "reportKeys": ["a.csv.gz"]}', "'dataFiles'.*is it of a data export"),
        (document(dataFiles=5), "cannot be read"),
        (document(dataFiles=["s3://b/p/other/data/x.csv.gz"]), "outside of bill/data/"),
        (document(dataFiles=["s3://b/bill/data/../../secret.csv.gz"]), "outside of bill/data/"),
        (document(dataFiles=["s3://b/bill/data/x.csv.gz", "s3://b/bill/data/x.parquet"]), "neither all"),
        (document(dataFiles=["s3://b/bill/data/x.zip"]), "neither all"),
    ],
)
def test_a_manifest_that_is_none_is_refused_with_the_reason(content: bytes, reason: str) -> None:
    with pytest.raises(ManifestError, match=reason):
        parse(content, "bill")
