"""Aggregated lines cost what the rows of the file cost, to the last digit, per day and per hour of an instance."""

import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from decimal import Context, Decimal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from collectors.bill_days import BillDay
from collectors.billing import columnar_child, columnar_lines, cur_amounts
from collectors.billing.columnar import Reader, days
from collectors.billing.columnar_child import answers
from collectors.billing.columnar_frames import BillError, Done, Failed, Job, Lines
from collectors.billing.cur_columns import USED
from collectors.records import DAY, HOUR, Charge
from tests.collectors.billing.data_exports import (
    OCTOBER,
    WRITERS,
    Row,
    line,
    plain,
    storage,
    write_csv,
    write_parquet,
)

EXACT = Context(prec=80)
MEMORY = 192 * 1024 * 1024
both_formats = pytest.mark.parametrize("kind", WRITERS)


def read_here(rows: list[Row], folder: Path, kind: str) -> tuple[list[Charge], dict[str, int]]:
    """Through DuckDB in this process: what the child does, without its pipes."""
    path = folder / f"data.{kind}"
    WRITERS[kind](path, rows, ())
    lines: list[Charge] = []
    for answer in days(whole(answers(Job([str(path)], "csv" if kind == "csv.gz" else "parquet", str(folder)), MEMORY))):
        if isinstance(answer, Done):
            return lines, answer.flags
        assert all(answer.start <= charge.window.start < answer.start + DAY for charge in answer)
        lines += answer
    raise AssertionError("the bill has no end")


def whole(found: Iterable[Lines | Done | Failed]) -> Iterator[Lines | Done]:
    for answer in found:
        assert not isinstance(answer, Failed), answer.reason
        yield answer


def total(amounts: Iterable[Decimal | None]) -> Decimal:
    found = Decimal(0)
    for one in amounts:
        found = EXACT.add(found, one or 0)
    return found


money = st.decimals(min_value=-3, max_value=120, places=10).map(lambda value: f"{value:f}")
odd_money = st.one_of(
    money,
    money,
    st.sampled_from(["0", "1e-7", "123456.7890123456", "98.32", "0.000000000000000001", "-0.1", "250000.123"]),
)
used = st.sampled_from(["Usage", *USED])
other = st.sampled_from(
    [
        *("Tax", "Credit", "Refund", "Fee", "RIFee", "SavingsPlanNegation", "SavingsPlanRecurringFee"),
        *("SavingsPlanUpfrontFee", "EdpDiscount", "NotYetInvented"),
    ]
)


@st.composite
def rows_of_a_bill(draw: st.DrawFn) -> list[Row]:
    rows: list[Row] = []
    for number in range(draw(st.integers(1, 3))):  # instances that run for some hours at some price
        price, first = draw(odd_money), draw(st.integers(0, 30))
        for hour in range(first, first + draw(st.integers(1, 30))):
            if draw(st.integers(0, 9)) == 0:
                price = draw(odd_money)
            more = {
                "line_item_line_item_type": draw(used),
                "reservation_effective_cost": draw(odd_money),
                "savings_plan_savings_plan_effective_cost": draw(odd_money),
                "pricing_public_on_demand_cost": draw(st.sampled_from(["", "98.32"])),
                "line_item_usage_amount": draw(st.sampled_from(["1.0000000000"] * 5 + ["0.25"])),
            }
            row = line(price, 1 + hour // 24, hour % 24, line_item_resource_id=f"i-{number}", **more)
            rows += [row] * draw(st.sampled_from([1, 1, 1, 2]))
    for _ in range(draw(st.integers(0, 6))):
        rows.append(storage(draw(odd_money), draw(st.integers(1, 2)), draw(st.integers(0, 23))))
    for _ in range(draw(st.integers(0, 4))):
        more = {
            "line_item_line_item_type": draw(other),
            "reservation_unused_recurring_fee": draw(money),
            "savings_plan_total_commitment_to_date": draw(money),
            "savings_plan_used_commitment": draw(money),
            "reservation_reservation_a_r_n": draw(st.sampled_from(["", "arn:aws:ec2:reserved"])),
        }
        rows.append(line(draw(odd_money), 1, 0, draw(st.sampled_from([1, 24, 744])), **more))
    return rows


@both_formats
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=rows_of_a_bill())
def test_days_and_hours_cost_what_their_rows_cost(tmp_path: Path, kind: str, rows: list[Row]) -> None:
    lines, _ = read_here(rows, tmp_path, kind)
    for date in {row["line_item_usage_start_date"][:10] for row in rows}:
        start = OCTOBER + (int(date[8:]) - 1) * DAY
        of_day = [charge for charge in lines if start <= charge.window.start < start + DAY]
        costs = [plain(row) for row in rows if row["line_item_usage_start_date"].startswith(date)]
        assert total(charge.billed_cost for charge in of_day) == total(cost["billed"] for cost in costs)
        assert total(charge.effective_cost for charge in of_day) == total(cost["effective"] for cost in costs)
        assert total(charge.list_cost for charge in of_day) == total(cost["list"] for cost in costs)
        unused = (charge.effective_cost for charge in of_day if charge.commitment_status == "Unused")
        assert total(unused) == total(cost["unused"] for cost in costs)
    assert hourly(lines) == hourly_of(rows)


Hours = dict[tuple[str, int], Decimal]


def hourly(lines: Iterable[Charge]) -> Hours:
    """What each hour of each instance is billed: a line over several hours is for the same price in each of them."""
    costs: Hours = {}
    for charge in lines:
        if charge.unit == "Hours":
            each = EXACT.divide(charge.billed_cost, charge.window.seconds // HOUR)
            for at in range(charge.window.start, charge.window.end, HOUR):
                costs[charge.resource, at] = EXACT.add(costs.get((charge.resource, at), Decimal(0)), each)
    return costs


def hourly_of(rows: Iterable[Row]) -> Hours:
    costs: Hours = {}
    for row in rows:
        if row["line_item_line_item_type"] in USED and row["pricing_unit"] == "Hrs":
            time = row["line_item_usage_start_date"]
            key = (row["line_item_resource_id"], OCTOBER + (int(time[8:10]) - 1) * DAY + int(time[11:13]) * HOUR)
            costs[key] = EXACT.add(costs.get(key, Decimal(0)), plain(row)["billed"])
    return costs


def spans(lines: Iterable[Charge]) -> list[tuple[int, int, str]]:
    """(first hour of October, hours, billed cost)."""
    found = (
        ((c.window.start - OCTOBER) // HOUR, c.window.seconds // HOUR, str(c.billed_cost.normalize())) for c in lines
    )
    return sorted(found)


@both_formats
def test_an_instance_that_ran_all_day_at_one_price_is_one_line(tmp_path: Path, kind: str) -> None:
    rows = [line("98.3200000000", day, hour) for day in (1, 2) for hour in range(24)]
    lines, flags = read_here(rows, tmp_path, kind)
    assert (spans(lines), flags) == ([(0, 24, "2359.68"), (24, 24, "2359.68")], {})
    (first, _) = sorted(lines, key=lambda charge: charge.window)
    assert (first.quantity, first.unit, first.component) == (Decimal(24), "Hours", "gpu")
    assert (first.resource, first.resource_type, first.tags) == ("i-0a", "p5.48xlarge", (("team", "chat"),))


@both_formats
def test_a_partial_day_stays_partial_and_a_part_of_an_hour_stays_alone(tmp_path: Path, kind: str) -> None:
    rows = [line("10", 1, hour) for hour in (3, 4, 5, 9)]
    rows += [line("2.5", 1, hour, line_item_usage_amount="0.25") for hour in (6, 7)]
    lines, _ = read_here(rows, tmp_path, kind)
    assert spans(lines) == [(3, 3, "3E+1"), (6, 1, "2.5"), (7, 1, "2.5"), (9, 1, "1E+1")]
    assert sorted(str(charge.quantity) for charge in lines if charge.quantity and charge.quantity < 1) == ["0.25"] * 2


@both_formats
def test_a_new_price_begins_a_new_line(tmp_path: Path, kind: str) -> None:
    rows = [line("10" if hour < 9 else "12", 1, hour) for hour in range(24)]
    assert spans(read_here(rows, tmp_path, kind)[0]) == [(0, 9, "9E+1"), (9, 15, "1.8E+2")]


@both_formats
def test_what_prices_no_hour_is_one_line_a_day(tmp_path: Path, kind: str) -> None:
    rows = [storage(f"0.{hour + 1:010}", 1, hour) for hour in range(5, 20)]
    (charge,) = read_here(rows, tmp_path, kind)[0]
    assert (charge.window.start, charge.window.end) == (OCTOBER + 5 * HOUR, OCTOBER + 20 * HOUR)
    assert (charge.component, charge.unit, charge.resource) == ("storage", "GB-Mo", "vol-0a")
    assert charge.billed_cost == total(Decimal(row["line_item_unblended_cost"]) for row in rows)


@both_formats
def test_more_rows_of_one_hour_than_a_digit_counts_are_kept_as_one_line(tmp_path: Path, kind: str) -> None:
    rows = [line("1.5", 1, 0)] * 40 + [line("1.5", 1, 1)] * 3
    (charge,) = read_here(rows, tmp_path, kind)[0]
    assert (charge.billed_cost, charge.quantity, charge.window.seconds) == (Decimal("64.5"), Decimal(43), 2 * HOUR)


@both_formats
def test_amounts_beyond_18_decimals_are_rounded_and_counted(tmp_path: Path, kind: str) -> None:
    rows = [storage("1.2345678901234567e-05"), storage("0.5", hour=1), storage("0.25000000000000000000", hour=2)]
    (charge,), flags = read_here(rows, tmp_path, kind)
    assert flags == {"rounded": 1}
    assert charge.billed_cost == Decimal("0.000012345678901235") + Decimal("0.75")


@both_formats
def test_rows_are_counted_by_each_doubt_about_them(tmp_path: Path, kind: str) -> None:
    covered = {"line_item_line_item_type": "DiscountedUsage"}
    rows = [line("2", 1, hour, **covered) for hour in range(3)]  # without the column's value
    rows += [line("2", 1, 3, **covered, reservation_effective_cost="1.5"), storage("1", 2)]
    rows += [storage("", 1, hour) for hour in range(2)] + [storage("1.2345678901234567e-05", 1, 4)]
    lines, flags = read_here(rows, tmp_path, kind)
    assert flags == {"rounded": 1, "no_cost": 2, "no_effective_cost": 3}
    assert total(charge.effective_cost for charge in lines) == Decimal("8.500012345678901235")


@both_formats
def test_in_many_passes_the_bill_is_the_same(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import duckdb

    rows = [line("98.32", day, hour) for day in (1, 2, 17) for hour in range(24)] + [storage("1.5", 1, 3)]
    once, _ = read_here(rows, tmp_path, kind)
    group = columnar_child._group

    def too_much(db: duckdb.DuckDBPyConnection, job: Job, passes: int) -> Counter[str]:
        if passes == 1:
            raise duckdb.OutOfMemoryException("no more")
        return group(db, job, passes)

    monkeypatch.setattr(columnar_child, "_group", too_much)
    many, _ = read_here(rows, tmp_path, kind)
    assert sorted(map(repr, many)) == sorted(map(repr, once))


def outcome(reader: Reader, path: Path, folder: Path) -> list[BillDay | Done]:
    return list(reader.read([path], "csv" if path.name.endswith(".csv.gz") else "parquet", folder))


def test_one_child_reads_several_bills_and_says_what_is_wrong_with_a_bad_one(tmp_path: Path) -> None:
    good, bad, cut, foreign = (tmp_path / name for name in ("a.csv.gz", "b.csv.gz", "c.csv.gz", "d.parquet"))
    write_csv(good, [line("1")])
    write_csv(bad, [line("1"), storage("one dollar")])
    write_csv(cut, [line(f"{n}.{n * n:010}") for n in range(20_000)])
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    foreign.write_bytes(b"PAR1 not really")
    reader = Reader(MEMORY)
    try:
        for path, reason in [(bad, "line_item_unblended_cost"), (cut, "cannot be read"), (foreign, "cannot be read")]:
            with pytest.raises(BillError, match=reason):
                outcome(reader, path, tmp_path)
            assert len(outcome(reader, good, tmp_path)) == 2
    finally:
        reader.close()


def test_a_read_that_takes_long_shows_no_progress(tmp_path: Path) -> None:
    """Run as `Reader` runs it: DuckDB takes a process without a script for one at a terminal."""
    write_csv(tmp_path / "a.csv.gz", [line("1")])
    code = """
import sys
from collectors.billing import columnar_child, columnar_frames
job = columnar_frames.Job([sys.argv[1]], "csv", sys.argv[2])
db, _ = columnar_child._prepared(columnar_child._loaded(), job, int(sys.argv[3]))
print(*db.execute("SELECT current_setting('enable_progress_bar')").fetchone())
"""
    command = [sys.executable, "-c", code, str(tmp_path / "a.csv.gz"), str(tmp_path), str(MEMORY)]
    child = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=Path(__file__).parents[3])
    assert (child.stdout, child.stderr, child.returncode) == ("False\n", "", 0)


def test_a_child_that_dies_is_an_error(tmp_path: Path) -> None:
    write_csv(tmp_path / "a.csv.gz", [line("1")])
    reader = Reader(MEMORY)
    reader._process.kill()
    reader._process.wait()
    with pytest.raises(BillError, match="reading process ended"):
        outcome(reader, tmp_path / "a.csv.gz", tmp_path)
    reader.close()


@both_formats
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"line_item_usage_start_date": ""}, "line_item_usage_start_date"),
        ({"line_item_usage_end_date": "2026-09-01T00:00:00Z"}, "line_item_usage_end_date"),
        ({"line_item_usage_amount": "NaN"}, "line_item_usage_amount"),
        ({"line_item_unblended_cost": "inf"}, "line_item_unblended_cost"),
    ],
)
@pytest.mark.parametrize("make", [line, storage])
def test_a_row_that_cannot_be_read_refuses_the_bill(
    tmp_path: Path, kind: str, change: dict[str, str], reason: str, make: type
) -> None:
    path = tmp_path / f"a.{kind}"
    rows = [make("1"), {**make("1", 1, 1), **change}]
    if kind == "csv.gz":
        write_csv(path, rows)
    else:
        for row in rows:
            row["line_item_usage_start_date"] = row["line_item_usage_start_date"] or "infinity"
        write_parquet(path, rows)
    (answer,) = answers(Job([str(path)], "csv" if kind == "csv.gz" else "parquet", str(tmp_path)), MEMORY)
    assert isinstance(answer, Failed) and reason in answer.reason


@both_formats
def test_what_lines_have_in_common_is_begun_anew_when_it_is_too_much(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pod = {"split_line_item_parent_resource_id": "i-1"}
    rows = [line(f"{day}.5", day, 3, line_item_resource_id=f"i-{day % 3}") for day in range(1, 9)]
    rows += [{**line("7", day, 4), **pod} if day == 4 else storage("0.5", day) for day in range(1, 9)]
    rows = [{**dict.fromkeys(pod, ""), **row} for row in rows]
    once, _ = read_here(rows, tmp_path, kind)
    monkeypatch.setattr(columnar_lines, "MAX_KINDS", 2)
    again, _ = read_here(rows, tmp_path, kind)
    assert sorted(map(repr, again)) == sorted(map(repr, once)) and len(once) == 15


@both_formats
def test_the_lines_of_a_bill_are_the_same_however_many_are_fetched_together(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [line(f"{day}.5", day, hour) for day in range(1, 12) for hour in range(0, 24, day)]
    rows += [storage("0.5", day) for day in (2, 3, 7)]
    once, _ = read_here(rows, tmp_path, kind)
    monkeypatch.setattr(columnar_lines, "AT_FIRST", 3)
    monkeypatch.setattr(columnar_lines, "AT_ONCE", 8)
    again, _ = read_here(rows, tmp_path, kind)
    assert again == once and len(once) > 30


@settings(max_examples=200, deadline=None)
@given(
    digits=st.integers(0, 10**18),
    point=st.integers(0, 19),
    power=st.one_of(st.none(), st.none(), st.integers(-40, 1), st.just(-400)),
    short=st.booleans(),
)
def test_an_amount_is_what_its_text_says_or_is_counted_as_rounded(
    digits: int, point: int, power: int | None, short: bool
) -> None:
    digits = digits // 10**7 if short else digits
    text = f"{digits:020}"
    text = f"{text[: 20 - point].lstrip('0') or '0'}.{text[20 - point :]}".rstrip(".")
    text += "" if power is None else f"e{power}"
    value, rounded = read_amount(text, "VARCHAR")
    assert rounded or value == Decimal(text)
    exponent = Decimal(text).normalize(EXACT).as_tuple().exponent
    assert isinstance(exponent, int)
    assert rounded or exponent >= -18


@settings(max_examples=200, deadline=None)
@given(
    value=st.one_of(
        st.floats(-1e5, 1e5),
        st.floats(-0.001, 0.001),
        st.integers(-(10**9), 10**9).map(lambda units: units / 1e10),
        st.floats(1e5, 1e17),
    )
)
def test_a_double_is_the_shortest_decimal_that_names_it(value: float) -> None:
    shortest = Decimal(repr(value))
    read, rounded = read_amount(repr(value), "DOUBLE")
    exponent = shortest.normalize(EXACT).as_tuple().exponent
    assert isinstance(exponent, int) and rounded == (exponent < -18)
    assert read == (round(shortest, 18) if rounded else shortest) or abs(read - shortest) * 2 == Decimal("1e-18")


def read_amount(text: str, kind: str) -> tuple[Decimal, bool]:
    """The amount, of its units or the rest, and whether it was rounded."""
    import duckdb

    sql = f"SELECT {', '.join(f'$text::{kind} AS {name}' for name in cur_amounts.AMOUNTS)}"
    sources = ("line_item_unblended_cost", "pricing_public_on_demand_cost", "line_item_usage_amount")
    for columns in cur_amounts.parsing(dict.fromkeys(sources, kind)):
        sql = f"SELECT *, {', '.join(columns)} FROM ({sql})"
    found = duckdb.execute(f"SELECT billed_units, billed_rest, rounded FROM ({sql})", {"text": text}).fetchone()
    assert found is not None and (found[0] is None) != (found[1] is None)
    units, rest, rounded = found
    return rest if units is None else EXACT.multiply(Decimal(units), Decimal("1e-10")), bool(rounded)
