"""Bills that are restated, delivered twice, in pieces, or half: the ledger holds the newest delivery, no more."""

import csv
import gzip
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from collectors.billing import focus as focus_module
from collectors.billing.delivery import LineSample
from collectors.billing.focus import Focus, FocusSettings
from collectors.billing.focus_rows import Row, read_rows
from collectors.records import Window
from tests.collectors.billing.bills import RECORDED, Store, collector, deliver, fresh, line, text

JUNE: dict[str, Any] = {"BillingPeriodStart": "2026-06-01T00:00:00Z", "BillingPeriodEnd": "2026-07-01T00:00:00Z"}
MONTH = [line("1.50", "i-1"), line("2.25", "i-2"), line("-0.10", "i-3", day=2), line("4.00", "i-4", day=3)]


def costs(store: Store) -> list[str]:
    return sorted(str(charge.billed_cost) for charge in store.all())


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.name)
def test_a_recorded_bill_is_kept_row_by_row_and_read_once(path: Path) -> None:
    store, focus = Store(), collector(path)
    batches, failures = store.take(focus)
    assert (failures, store.take(focus), store.take(collector(path))) == ([], ([], []), ([], []))
    rows = list(read_rows(path))
    assert sorted(map(repr, store.all())) == sorted(repr(row.charge) for row in rows)
    for batch in batches:
        assert batch.window is not None
        assert all(batch.window.start <= one.window.start < batch.window.end for one in batch.charges)


@pytest.mark.parametrize(
    ("restated", "expected"),
    [
        ([line("9.50", "i-1"), *MONTH[1:]], ["-0.10", "2.25", "4.00", "9.50"]),
        ([line("0.50", "i-1"), *MONTH[1:]], ["-0.10", "0.50", "2.25", "4.00"]),
        (MONTH[1:], ["-0.10", "2.25", "4.00"]),
        ([*MONTH, line("7", "i-5", day=4)], ["-0.10", "1.50", "2.25", "4.00", "7"]),
        (MONTH[:1], ["1.50"]),
        ([line("1.50", "i-1", ChargePeriodStart="2025-05-01", ChargePeriodEnd="2025-05-02")], ["1.50"]),
    ],
    ids=["up", "down", "away", "more", "short", "moved"],
)
@pytest.mark.parametrize("name", ["a.csv", "b.csv", "a.csv.gz", "run-2/a.csv"])
def test_a_restated_bill_replaces_the_last_one(
    tmp_path: Path, name: str, restated: list[dict[str, str]], expected: list[str]
) -> None:
    store, focus = Store(), collector(tmp_path / "**" / "*.csv*")
    first = deliver(tmp_path / "a.csv", MONTH, at=1000)
    store.take(focus)
    if restated[0].get("ChargePeriodStart", "").startswith("2025"):
        first.unlink()  # lines that share nothing with the old ones cannot be told from a further piece
    deliver(tmp_path / name, restated, at=2000)
    _, failures = store.take(focus)
    assert (failures, costs(store)) == ([], expected)
    assert store.all() == fresh(tmp_path / "**" / "*.csv*")


BILLS = [path for path in RECORDED if path.stat().st_size > 8000]  # not an example of a few lines that are alike
REKEYED = ["SkuId", "SkuPriceId", "ServiceName", "PricingCategory", "RegionId"]
ANONYMOUS = [line("1", "", day, SkuId=sku, ServiceName="Gen AI") for day in (1, 2, 3) for sku in ("in", "out")]


@pytest.mark.parametrize("column", REKEYED)
def test_a_delivery_with_new_sku_ids_beside_the_old_file_replaces_it(tmp_path: Path, column: str) -> None:
    store, focus = Store(), collector(tmp_path / "*.csv")
    deliver(tmp_path / "run1.csv", [{**row, column: f"a-{n}"} for n, row in enumerate(MONTH)], at=1000)
    store.take(focus)
    changed = [line("9.50", "i-1"), *MONTH[1:]]
    deliver(tmp_path / "run2.csv", [{**row, column: f"b-{n}"} for n, row in enumerate(changed)], at=2000)
    _, failures = store.take(focus)
    assert (failures, costs(store)) == ([], ["-0.10", "2.25", "4.00", "9.50"])


def test_lines_without_a_resource_and_new_sku_ids_are_told_by_what_they_cost(tmp_path: Path) -> None:
    store, focus = Store(), collector(tmp_path / "*.csv")
    rows = [{**row, "BilledCost": f"{n}.5"} for n, row in enumerate(ANONYMOUS)]
    deliver(tmp_path / "run1.csv", rows, at=1000)
    deliver(tmp_path / "run2.csv", [{**row, "SkuId": f"new-{row['SkuId']}"} for row in rows], at=2000)
    store.take(focus)
    assert costs(store) == [f"{n}.5" for n in range(6)]


def test_several_lines_of_a_resource_and_hour_may_be_in_several_files(tmp_path: Path) -> None:
    """Each resource has an instance, its disk and its traffic in every hour: a split by file must not look like a
    second delivery, or the bill would be short."""
    hours = [
        line(cost, f"i-{n}", day, SkuId=sku, ServiceCategory="Compute", ConsumedQuantity="1", ConsumedUnit="Hours")
        for n in range(4)
        for day in (1, 2, 3)
        for sku, cost in (("box", "2.5"), ("disk", "0.1"), ("ip", "0.005"), ("free", "0"), ("free-too", "0"))
    ]
    for piece, skus in enumerate((("box",), ("disk",), ("ip",), ("free",), ("free-too",))):
        deliver(tmp_path / f"{piece}.csv", [row for row in hours if row["SkuId"] in skus], at=1000)
    assert len(fresh(tmp_path / "*.csv")) == len(hours)


@pytest.mark.parametrize("path", BILLS, ids=lambda path: path.name)
@pytest.mark.parametrize("pieces", [2, 3])
def test_a_recorded_bill_in_pieces_is_whole(tmp_path: Path, path: Path, pieces: int) -> None:
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8-sig", newline="") as file:
        header, *rows = csv.reader(file)
    for piece in range(pieces):
        with (tmp_path / f"{piece}.csv").open("w", newline="") as file:
            csv.writer(file).writerows([header, *rows[piece::pieces]])
    assert sorted(map(repr, fresh(tmp_path / "*.csv"))) == sorted(map(repr, fresh(path)))


def test_the_same_bill_under_two_names_counts_once(tmp_path: Path) -> None:
    store, focus = Store(), collector(tmp_path / "*")
    deliver(tmp_path / "a.csv", MONTH, at=1000)
    store.take(focus)
    deliver(tmp_path / "copy.csv.gz", MONTH, at=2000)
    assert store.take(focus) == ([], [])
    (tmp_path / "a.csv").unlink()
    assert store.take(focus) == ([], [])
    assert costs(store) == ["-0.10", "1.50", "2.25", "4.00"]


def test_a_bill_in_several_files_is_whole_and_its_lines_may_move_between_them(tmp_path: Path) -> None:
    store, focus = Store(), collector(tmp_path / "*.csv")
    deliver(tmp_path / "run1-part1.csv", MONTH[:2], at=1000)
    deliver(tmp_path / "run1-part2.csv", MONTH[2:], at=1000)
    store.take(focus)
    assert costs(store) == ["-0.10", "1.50", "2.25", "4.00"]
    deliver(tmp_path / "run2-part1.csv", [MONTH[3], MONTH[0]], at=2000)
    deliver(tmp_path / "run2-part2.csv", [MONTH[1], MONTH[2]], at=2001)
    store.take(focus)
    assert costs(store) == ["-0.10", "1.50", "2.25", "4.00"]
    (tmp_path / "run1-part1.csv").unlink()
    (tmp_path / "run1-part2.csv").unlink()
    store.take(focus)
    assert costs(store) == ["-0.10", "1.50", "2.25", "4.00"]


def test_a_file_that_is_gone_takes_its_lines_away(tmp_path: Path) -> None:
    store, focus = Store(), collector(tmp_path / "*.csv")
    deliver(tmp_path / "may.csv", MONTH, at=1000)
    june = deliver(tmp_path / "june.csv", [line("5", "i-1", **JUNE)], at=1000)
    store.take(focus)
    assert set(store.cursors) == {"acme/2026-05-01", "acme/2026-06-01"}
    june.unlink()
    (batch,), _ = store.take(focus)
    assert (batch.part, batch.charges, batch.cursor) == ("acme/2026-06-01", (), "")
    assert costs(store) == ["-0.10", "1.50", "2.25", "4.00"]
    assert store.take(focus) == ([], [])


def test_a_bill_without_lines_is_an_empty_bill(tmp_path: Path) -> None:
    store, focus = Store(), collector(tmp_path / "*.csv")
    deliver(tmp_path / "a.csv", MONTH, at=1000)
    store.take(focus)
    deliver(tmp_path / "a.csv", [], at=2000)
    store.take(focus)
    assert (store.all(), store.cursors) == ([], {})


def test_a_path_that_matches_nothing_takes_nothing_away(tmp_path: Path) -> None:
    store = Store()
    path = deliver(tmp_path / "a.csv", MONTH, at=1000)
    store.take(collector(path))
    path.unlink()
    batches, (failure,) = store.take(collector(path))
    assert (batches, failure.part) == ([], str(path))
    assert "no file matches" in failure.reason
    assert len(store.all()) == 4


def halved(data: bytes) -> bytes:
    return data[: len(data) // 2]


DAMAGES: list[Callable[[bytes], bytes]] = [
    lambda data: b"",
    lambda data: data[:30],
    lambda data: data[:-5] if data[:2] == b"\x1f\x8b" else data[:-30],
    lambda data: halved(data)[:-1],
]


@pytest.mark.parametrize("damage", DAMAGES, ids=["empty", "header", "end", "half"])
@pytest.mark.parametrize("suffix", [".csv", ".csv.gz"])
@pytest.mark.parametrize("old", ["kept", "overwritten", "removed"])
def test_a_half_delivered_bill_leaves_the_last_one_in_force(
    tmp_path: Path, damage: Callable[[bytes], bytes], suffix: str, old: str
) -> None:
    store, focus = Store(), collector(tmp_path / "*.csv*")
    first = deliver(tmp_path / f"a{suffix}", MONTH, at=1000)
    store.take(focus)
    before = store.all()
    path = first if old == "overwritten" else tmp_path / f"b{suffix}"
    deliver(path, [line("99", f"i-{n}") for n in range(200)], at=2000)
    if old == "removed":
        first.unlink()
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    batches, (failure,) = store.take(focus)
    assert (batches, failure.part, store.all()) == ([], str(path), before)
    path.write_bytes(whole)
    _, failures = store.take(focus)
    assert (failures, store.all()) == ([], fresh(tmp_path / "*.csv*"))
    assert len(store.all()) == 200


def test_a_broken_file_holds_back_its_own_months_only(tmp_path: Path) -> None:
    store, focus = Store(), collector(tmp_path / "*.csv")
    deliver(tmp_path / "may.csv", MONTH, at=1000)
    deliver(tmp_path / "june.csv", [line("5", "i-1", **JUNE)], at=1000)
    store.take(focus)
    (tmp_path / "may.csv").write_text(text(MONTH)[:-30])
    deliver(tmp_path / "june.csv", [line("6", "i-1", **JUNE)], at=2000)
    (batch,), (failure,) = store.take(focus)
    assert (batch.part, failure.part) == ("acme/2026-06-01", str(tmp_path / "may.csv"))
    assert costs(store) == ["-0.10", "1.50", "2.25", "4.00", "6"]


def test_a_stranger_in_the_folder_is_a_failure_and_holds_nothing_back(tmp_path: Path) -> None:
    store, focus = Store(), collector(tmp_path / "*.csv")
    deliver(tmp_path / "a.csv", MONTH[:3], at=1000)
    (tmp_path / "notes.csv").write_text("who,what\r\nme,lunch\r\n")
    _, (failure,) = store.take(focus)
    assert failure.part.endswith("notes.csv")
    deliver(tmp_path / "a.csv", MONTH, at=2000)
    store.take(focus)
    assert costs(store) == ["-0.10", "1.50", "2.25", "4.00"]


def test_a_bill_that_loses_a_mandatory_column_keeps_its_last_delivery(tmp_path: Path) -> None:
    store, focus = Store(), collector(tmp_path / "*.csv")
    path = deliver(tmp_path / "a.csv", MONTH, at=1000)
    store.take(focus)
    path.write_text(text(MONTH, ["BillingAccountId", "BilledCost"]))
    batches, (failure,) = store.take(focus)
    assert batches == []
    assert "lacks the columns ChargePeriodStart, ChargePeriodEnd, ChargeCategory" in failure.reason
    assert len(store.all()) == 4


@pytest.mark.parametrize("reading", [1, 2], ids=["survey", "charges"])
def test_a_file_that_grows_while_it_is_read_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reading: int
) -> None:
    store, focus = Store(), collector(tmp_path / "*.csv")
    path = deliver(tmp_path / "a.csv", MONTH[:2], at=1000)
    readings = 0

    def growing(file: Path) -> list[Row]:
        nonlocal readings
        readings += 1
        rows = list(read_rows(file))
        if readings == reading:
            deliver(path, MONTH, at=2000)
        return rows

    monkeypatch.setattr(focus_module, "read_rows", growing)
    batches, (failure,) = store.take(focus)
    assert batches == []
    assert "written while it was read" in failure.reason
    assert len(store.take(focus)[0]) == 1
    assert store.all() == fresh(path)


def test_every_account_and_month_is_a_part_of_its_own(tmp_path: Path) -> None:
    store = Store()
    rows = [*MONTH, line("5", **JUNE), line("6", BillingAccountId="other"), line("7", BillingAccountId="")]
    store.take(collector(deliver(tmp_path / "a.csv", rows, at=1000)))
    assert set(store.cursors) == {"acme/2026-05-01", "acme/2026-06-01", "other/2026-05-01", "-/2026-05-01"}


def test_unchanged_parts_of_a_changed_file_are_not_replaced(tmp_path: Path) -> None:
    store, focus = Store(), collector(tmp_path / "a.csv")
    deliver(tmp_path / "a.csv", [*MONTH, line("5", **JUNE)], at=1000)
    store.take(focus)
    deliver(tmp_path / "a.csv", [*MONTH, line("6", **JUNE)], at=2000)
    (batch,), _ = store.take(focus)
    assert batch.part == "acme/2026-06-01"


def test_the_window_to_clear_covers_what_was_there_before(tmp_path: Path) -> None:
    store, focus = Store(), collector(tmp_path / "a.csv")
    year = line("9", ChargePeriodStart="2025-05-01T00:00:00Z", ChargePeriodEnd="2027-05-01T00:00:00Z")
    deliver(tmp_path / "a.csv", [year], at=1000)
    store.take(focus)
    deliver(tmp_path / "a.csv", MONTH, at=2000)
    (batch,), _ = store.take(focus)
    assert batch.window == Window(1746057600, 1809129600)  # 2025-05-01 to 2027-05-01
    assert costs(store) == ["-0.10", "1.50", "2.25", "4.00"]


def test_a_part_beyond_the_limit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(focus_module, "MAX_ROWS", 3)
    store = Store()
    path = deliver(tmp_path / "a.csv", [*MONTH, line("5", **JUNE)], at=1000)
    (batch,), (failure,) = store.take(collector(path))
    assert (batch.part, failure.part) == ("acme/2026-06-01", "acme/2026-05-01")
    assert "4 rows, over the limit of 3" in failure.reason


def test_parts_are_read_in_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(focus_module, "ROWS_AT_ONCE", 1)
    path = deliver(tmp_path / "a.csv", [*MONTH, line("5", **JUNE)], at=1000)
    grouped = fresh(path)
    monkeypatch.undo()
    assert grouped == fresh(path)


def test_doubtful_lines_are_kept_and_counted(tmp_path: Path) -> None:
    store = Store()
    rows = [line("1.624", EffectiveCost="2"), line("0.4", "i-2", EffectiveCost="0"), line("3", "i-3")]
    store.take(collector(deliver(tmp_path / "a.csv", rows, at=1000)))
    assert store.rejected == {"effective_cost_suspect": 2}
    assert len(store.all()) == 3


lines_of_a_month = st.dictionaries(
    st.integers(0, 30), st.decimals(-100, 100, places=4, allow_nan=False), min_size=1, max_size=12
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    deliveries=st.lists(lines_of_a_month, min_size=1, max_size=5),
    pieces=st.lists(st.integers(1, 4), min_size=5, max_size=5),
)
def test_after_any_sequence_of_deliveries_the_ledger_holds_the_newest(
    tmp_path_factory: pytest.TempPathFactory, deliveries: list[dict[int, object]], pieces: list[int]
) -> None:
    """Each delivery overwrites the folder with a split of its own; restarts in between change nothing."""
    folder = tmp_path_factory.mktemp("bill")
    store = Store()
    for at, (amounts, count) in enumerate(zip(deliveries, pieces, strict=False), start=1000):
        for old in folder.iterdir():
            old.unlink()
        rows = [line(str(cost), f"i-{n}") for n, cost in amounts.items()]
        for piece in range(count):
            deliver(folder / f"{piece}.csv", rows[piece::count], at=at)
        _, failures = store.take(collector(folder / "*.csv"))
        assert failures == []
        assert costs(store) == sorted(row["BilledCost"] for row in rows)


@given(st.integers(0, 4000), st.integers(0, 4000))
def test_samples_tell_the_same_lines_from_other_lines(first: int, second: int) -> None:
    def sample(prefix: int, count: int) -> LineSample:
        one = LineSample()
        for n in range(count):
            one.add((prefix + n) * 2654435761 % (1 << 32))
        return one

    whole, other = sample(0, first), sample(1 << 20, second)
    assert whole.repeats(sample(0, first)) == (first > 0)
    assert not whole.repeats(other)
    whole.merge(other)
    assert other.repeats(whole) == (second > 0)


def test_settings_are_strict() -> None:
    adapter = TypeAdapter(FocusSettings)
    read = adapter.validate_python({"name": "b", "kind": "focus", "path": ["a/*.csv", "b/*.csv"], "interval": "1h"})
    assert (read.patterns, read.interval, read.scope) == (("a/*.csv", "b/*.csv"), 3600, {})
    assert FocusSettings("b", "focus", "x").interval == 6 * 3600
    paths: list[Any] = ["", "/x/a**", [], "/"]
    for path in paths:
        with pytest.raises(ValidationError, match="expected a"):
            adapter.validate_python({"name": "b", "kind": "focus", "path": path})
    with pytest.raises(ValidationError, match="Unexpected keyword"):
        adapter.validate_python({"name": "b", "kind": "focus", "path": "x", "currency": "EUR"})


def test_a_relative_path_is_taken_from_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deliver(tmp_path / "bills" / "a.csv", MONTH, at=1000)
    monkeypatch.chdir(tmp_path)
    assert len(fresh("bills/*.csv")) == 4


def test_an_unreadable_file_is_a_failure(tmp_path: Path) -> None:
    path = deliver(tmp_path / "a.csv.gz", MONTH, at=1000)
    path.write_bytes(b"\x1f\x8b" + os.urandom(100))
    _, (failure,) = Store().take(collector(path))
    assert "cannot be read to its end" in failure.reason
    path.write_bytes(gzip.compress(text(MONTH).encode()))
    assert len(fresh(path)) == 4


def test_a_collector_holds_nothing() -> None:
    one: Focus = collector("x")
    one.close()
    assert one.late_after is None
