"""FOCUS rows as they are found: exact money, every date format, and what is refused and why."""

import gzip
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.billing.components import component_of
from collectors.billing.focus_rows import ForeignFileError, Row, read_rows
from collectors.billing.focus_values import BillFileError, instant, money, month_of, tags
from collectors.records import Charge, Window
from tests.collectors.billing.bills import FIXTURES, RECORDED, REFUSED, line, text

MAY, MAY_2, JUNE = 1777593600, 1777680000, 1780272000


def rows_of(path: Path, content: str | bytes) -> list[Row]:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return list(read_rows(path))


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.name)
def test_every_recorded_file_is_read_to_its_end(path: Path) -> None:
    assert list(read_rows(path))


@pytest.mark.parametrize(("name", "columns"), REFUSED.items())
def test_files_without_the_mandatory_columns_are_refused_by_name(name: str, columns: str) -> None:
    with pytest.raises(ForeignFileError, match=f"lacks the columns {columns}"):
        list(read_rows(FIXTURES / "synthetic" / name))


def test_the_anonymised_sample_shows_its_rounded_effective_cost() -> None:
    rows = list(read_rows(FIXTURES / "focus_1_0_sample_a.csv.gz"))
    suspects = [row for row in rows if "effective_cost_suspect" in row.flags]
    assert len(rows) == 500
    assert len(suspects) == 310
    assert {row.charge.effective_cost % 1 for row in suspects} == {Decimal(0)}  # kept as stated
    gpus = [row.charge for row in rows if row.charge.component == "gpu"]
    assert {charge.description.split()[-3] for charge in gpus} == {"g5.4xlarge", "g3.4xlarge"}
    assert Decimal("1.11063573600") in {charge.billed_cost for charge in gpus}
    assert Decimal("0.683889000000000") in {charge.quantity for charge in gpus}


@pytest.mark.parametrize("path", sorted((FIXTURES / "synthetic").glob("*rows100*")), ids=lambda path: path.name)
def test_no_effective_cost_of_an_amortized_bill_is_suspect(path: Path) -> None:
    assert not [row for row in read_rows(path) if row.flags]


def test_a_new_provider_column_is_preferred_and_allocated_tags_win() -> None:
    rows = [row.charge for row in read_rows(FIXTURES / "synthetic" / "aws_1_3_rows100_seed42.csv.gz")]
    assert {charge.provider for charge in rows} == {"AWS"}
    shared = [charge for charge in rows if "Shared" in charge.description]
    assert shared
    assert all("workload" in dict(charge.tags) for charge in shared)


def test_columns_that_a_file_lacks_are_empty_and_others_are_ignored(tmp_path: Path) -> None:
    columns = ["ChargePeriodStart", "ChargePeriodEnd", "ChargeCategory", "BilledCost", "x_Own"]
    (row,) = rows_of(tmp_path / "a.csv", text([{**line("1.5"), "x_Own": "?"}], columns))
    assert row.part == "-/2026-05-01"
    assert row.charge == Charge(Window(MAY, MAY + 3600), "Usage", "", Decimal("1.5"), Decimal("1.5"))
    assert row.span == Window(MAY, JUNE)  # the month of the charge
    assert set(row.flags) == {"no_currency", "no_effective_cost"}


FOCUS_1_1 = (
    "AvailabilityZone BilledCost BillingAccountId BillingAccountName BillingCurrency BillingPeriodEnd "
    "BillingPeriodStart CapacityReservationId CapacityReservationStatus ChargeCategory ChargeClass ChargeDescription "
    "ChargeFrequency ChargePeriodEnd ChargePeriodStart CommitmentDiscountCategory CommitmentDiscountId "
    "CommitmentDiscountName CommitmentDiscountQuantity CommitmentDiscountStatus CommitmentDiscountType "
    "CommitmentDiscountUnit ConsumedQuantity ConsumedUnit ContractedCost ContractedUnitPrice EffectiveCost "
    "InvoiceIssuerName ListCost ListUnitPrice PricingCategory PricingQuantity PricingUnit ProviderName PublisherName "
    "RegionId RegionName ResourceId ResourceName ResourceType ServiceCategory ServiceName ServiceSubcategory SkuId "
    "SkuMeter SkuPriceDetails SkuPriceId SubAccountId SubAccountName Tags"
)


def test_a_row_of_focus_1_1(tmp_path: Path) -> None:
    """No publisher's file of this version was found; these are the specification's columns."""
    row = {
        **line("12.5", ProviderName="AWS", ServiceCategory="Compute", Tags='{"team": "chat"}'),
        "CapacityReservationId": "cr-1",
        "CapacityReservationStatus": "Used",
        "SkuMeter": "Compute",
    }
    (read,) = rows_of(tmp_path / "a.csv", text([row], FOCUS_1_1.split()))
    assert (read.charge.billed_cost, read.charge.provider, read.charge.tags) == (
        Decimal("12.5"),
        "AWS",
        (("team", "chat"),),
    )
    assert read.charge.window == Window(MAY, MAY + 3600)
    assert not read.flags


def test_a_file_with_only_the_effective_cost_is_read_and_flagged(tmp_path: Path) -> None:
    columns = [name for name in line("2") if name != "BilledCost"]
    (row,) = rows_of(tmp_path / "a.csv", text([line("2")], columns))
    assert (row.charge.billed_cost, row.flags) == (Decimal(2), ("no_billed_cost",))


def test_a_byte_order_mark_null_strings_gzip_and_blank_lines(tmp_path: Path) -> None:
    content = "\ufeff" + text([line("1", InvoiceId="NULL", RegionId="null")]) + "\r\n\r\n"
    (row,) = rows_of(tmp_path / "a.csv.gz", gzip.compress(content.encode()))
    assert (row.charge.invoice, row.charge.region) == ("", "")
    (plain,) = rows_of(tmp_path / "plain.csv.gz", content)  # told by content, not by name
    assert plain.charge == row.charge


def test_a_charge_period_that_cannot_be_read_is_the_billing_period(tmp_path: Path) -> None:
    (row,) = rows_of(tmp_path / "a.csv", text([line("1", ChargePeriodEnd="2026-05-01T30:00:00Z")]))
    assert (row.charge.window, row.flags) == (Window(MAY, JUNE), ("bad_charge_period",))
    (row,) = rows_of(tmp_path / "a.csv", text([line("1", ChargePeriodEnd="2026-04-01T00:00:00Z")]))
    assert (row.charge.window, row.flags) == (Window(MAY, JUNE), ("bad_charge_period",))


def test_an_unknown_category_is_an_adjustment(tmp_path: Path) -> None:
    (row,) = rows_of(tmp_path / "a.csv", text([line("1", ChargeCategory="Fee")]))
    assert (row.charge.category, row.flags) == ("Adjustment", ("unknown_category",))


def test_tags_that_are_no_json_are_left_out_and_flagged(tmp_path: Path) -> None:
    (row,) = rows_of(tmp_path / "a.csv", text([line("1", Tags='{"team": ')]))
    assert (row.charge.tags, row.flags) == ((), ("bad_tags",))
    assert tags('{"b": 1, "a": null, "c": {"d": true}}', "") == ((("a", ""), ("b", "1"), ("c", '{"d": true}')), True)
    assert tags("[" * 100_000, "") == ((), False)


def test_a_correction_has_the_key_of_no_other_line_and_money_is_not_part_of_it(tmp_path: Path) -> None:
    rows = [line("1"), line("2", InvoiceId="INV-1", Tags='{"a": "b"}'), line("1", ChargeClass="Correction")]
    columns = [*line("1"), "InvoiceId", "Tags", "ChargeClass"]
    first, restated, correction = rows_of(tmp_path / "a.csv", text(rows, columns))
    assert first.key == restated.key != correction.key
    assert first.content != restated.content


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "is empty"),
        ("a,b\r\n1,2\r\n", "line 1: lacks the columns ChargePeriodStart"),
        (text([line("12,34")]), "line 2: BilledCost: expected a decimal like 12.34, got '12,34'"),
        (text([line("1"), line("NaN")]), "line 3: BilledCost: expected"),
        (text([line("1e99")]), "BilledCost: expected"),
        (text([line("1e-40")]), "BilledCost: expected"),
        (text([line("")]), "BilledCost: expected"),
        (text([line("1_000")]), "BilledCost: expected"),
        (text([line("1", EffectiveCost="NULL")]), "EffectiveCost: expected"),
        (text([line("1", ListCost="much")]), "ListCost: expected"),
        (text([line("1", BillingPeriodStart="", ChargePeriodStart="never")]), "ChargePeriodStart 'never'"),
        (text([line("1"), line("2")])[:-20], "and the file ends inside it|unexpected end"),
        (text([line("1")]) + "too,few\r\n", "has 2 columns where the header has 10$"),
        (text([line("1")]) + '"never closed', "unexpected end of data"),
        (text([line("1", Tags="x" * 200_000)]), "field larger than field limit"),
        (text([line("1", Tags="x" * 2_000_000)]), "has a line of 1048576 or more characters"),
        (b"PAR1....", "is Parquet: export CSV"),
        (b"\xff\xfe\x00garbage", "not UTF-8"),
        (gzip.compress(text([line(str(n)) for n in range(999)]).encode())[:-40], "cannot be read to its end"),
        (b"\x1f\x8bnot gzip after all", "cannot be read to its end"),
    ],
)
def test_what_cannot_be_read_names_line_column_and_remedy(tmp_path: Path, content: str | bytes, reason: str) -> None:
    with pytest.raises(BillFileError, match=reason):
        rows_of(tmp_path / "a.csv", content)


def test_a_last_line_without_an_end_is_whole_when_its_columns_are(tmp_path: Path) -> None:
    assert len(rows_of(tmp_path / "a.csv", text([line("1"), line("2")]).rstrip())) == 2


@given(st.decimals(allow_nan=False, allow_infinity=False, places=12, min_value=-(10**12), max_value=10**12))
def test_money_is_taken_exactly_as_written(amount: Decimal) -> None:
    assert money(str(amount)) == amount
    assert money(f"{amount:f}") == amount
    assert money(f" {amount:,f} ") == amount


@pytest.mark.parametrize(
    ("written", "amount"), [("$10,000.00 ", "10000.00"), ("-$0.50", "-0.50"), ("1.2E-7", "1.2E-7")]
)
def test_money_as_spreadsheets_write_it(written: str, amount: str) -> None:
    assert money(written) == Decimal(amount)


@pytest.mark.parametrize(
    ("written", "at"),
    [
        ("2026-05-01T00:00:00Z", MAY),
        ("2026-05-01 00:00:00", MAY),
        ("2026-05-01T02:00:00+02:00", MAY),
        ("2026-05-01T00:00:00.000Z", MAY),
        ("2026-05-01", MAY),
        ("5/1/26", MAY),
        ("5/1/2026", MAY),
        ("5/1/26 1:30", MAY + 5400),
        ("13/1/26", None),
        ("2026-02-30", None),
        ("", None),
    ],
)
def test_dates(written: str, at: int | None) -> None:
    assert instant(written) == at


@given(st.integers(min_value=0, max_value=4_000_000_000))
def test_months_are_whole_and_adjoin(at: int) -> None:
    month = month_of(at)
    assert month.start <= at < month.end
    assert month_of(month.end).start == month.end
    assert 28 <= month.seconds / 86400 <= 31


@pytest.mark.parametrize(
    ("category", "unit", "what", "component"),
    [
        *(
            ("Compute", "Hours", name, "gpu")
            for name in ("p5.48xlarge", "g6f.large", "gr6.4xlarge", "p6-b200.48xlarge")
        ),
        *(("Compute", "Hours", name, "gpu") for name in ("Standard_NC24ads_A100_v4", "Standard_ND96isr_H100_v5")),
        *(("Compute", "Hours", name, "gpu") for name in ("a2-highgpu-1g", "a3-megagpu-8g", "g2-standard-4")),
        *(
            ("Compute", "Hours", name, "gpu")
            for name in ("Nvidia Tesla A100 GPU", "A2 Instance Core running", "BM.GPU.H100.8")
        ),
        *(
            ("Compute", "Hours", name, "node")
            for name in ("m6i.large", "Standard_D4s_v5", "e2-standard-4", "r6g.large")
        ),
        ("AI and Machine Learning", "Hours", "ml.p4d.24xlarge", "gpu"),
        ("AI and Machine Learning", "1000 Tokens", "an answer", "tokens"),
        ("AI and Machine Learning", "Units", "Input token count", "tokens"),
        ("AI and Machine Learning", "Requests", "vision", "other"),
        ("Storage", "GB-Months", "gp3 of a g5.4xlarge", "storage"),
        ("Networking", "GB", "data out", "egress"),
        ("Compute", "GB", "$0.085 per GB - data transfer out", "egress"),
        ("Databases", "Hours", "db.r6g.large", "other"),
        ("", "Hours", "g5.4xlarge", "gpu"),
        ("", "", "", "other"),
    ],
)
def test_components(category: str, unit: str, what: str, component: str) -> None:
    assert component_of(category, unit, what) == component
