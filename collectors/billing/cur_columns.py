"""AWS CUR 2.0 as SQL: what is kept of a row, and which rows of a UTC day become one line. Pure.

Rows are grouped by everything that matching or classifying a bill line may use, and summed. Rows of instance hours
("timed") price the seconds of a workload, so their hours must survive: they are grouped by their amounts as well, with
a number of 24 digits to base 32 that counts the rows of each hour of the day. `cur_lines` makes runs of hours of it.
"""

from collections.abc import Iterator
from typing import NamedTuple

from collectors.billing import cur_amounts as amounts
from collectors.billing.cur_amounts import AMOUNTS, COMMITTED, SPLIT_PARENT, Columns

REQUIRED = (
    *("line_item_usage_account_id", "line_item_line_item_type", "line_item_product_code", "line_item_usage_type"),
    *("line_item_usage_start_date", "line_item_usage_end_date", "line_item_usage_amount"),
    *("line_item_unblended_cost", "line_item_currency_code"),
)
USED = ("Usage", *COMMITTED)
KEYS = {  # what the rows of a group have in common, and its column; one that the export lacks is NULL
    "account": "line_item_usage_account_id",
    "line_type": "line_item_line_item_type",
    "product": "line_item_product_code",
    "usage_type": "line_item_usage_type",
    "resource": "line_item_resource_id",
    "region": "product_region_code",
    "currency": "line_item_currency_code",
    "invoice": "bill_invoice_id",
    "instance_type": "product_instance_type",
    "family": "product_product_family",
    "unit": "pricing_unit",
    "tags": "resource_tags",
    "description": "line_item_line_item_description",
}
_HOURS = ("hrs", "hours", "hour", "hr")
_INSTANCES = ("BoxUsage", "SpotUsage", "DedicatedUsage", "HostUsage")
# What makes a row unreadable, by column, as its group shows it: then the whole bill is, because one with lines missing
# looks like a saving. The period of rows that are not for an hour of the clock is in `exact_start` and `exact_end`.
_TIMES_WRONG = {
    "line_item_usage_start_date": "day IS NULL",
    "line_item_usage_end_date": "exact_start IS NOT NULL AND (exact_end IS NULL OR exact_end < exact_start)",
}
_AMOUNTS_WRONG = {
    "billed": "line_item_unblended_cost or line_item_net_unblended_cost",
    "effective": "a commitment's effective cost",
    "list": "pricing_public_on_demand_cost",
    "quantity": "line_item_usage_amount",
}
_WRONG = (*_TIMES_WRONG, *_AMOUNTS_WRONG.values())


class ColumnsError(Exception):
    """The export cannot be read as a bill: what is wrong and which column, for the on-call engineer."""


class Group(NamedTuple):
    """One row of the query. What stands between `day` (UTC, since the epoch) and `rows` tells its lines apart. `start`,
    `end` span its rows (epoch seconds). The amounts are exact decimals as text: of a timed group, whose rows `hours`
    counts, those of every one of its rows; of any other their sums."""

    day: int
    account: str | None
    line_type: str | None
    product: str | None
    usage_type: str | None
    resource: str | None
    region: str | None
    currency: str | None
    invoice: str | None
    instance_type: str | None
    family: str | None
    unit: str | None
    tags: str | None
    description: str | None
    split: bool
    timed: bool
    rows: int
    start: int
    end: int
    hours: int | None
    billed: str | None
    effective: str | None
    list: str | None
    quantity: str | None
    unused: str | None


def check(columns: Columns) -> None:
    """Raise `ColumnsError` naming what an export with these columns lacks. Further columns do not matter."""
    missing = [name for name in REQUIRED if name not in columns]
    if missing:
        plural = "s" if len(missing) > 1 else ""
        raise ColumnsError(f"lacks the column{plural} {', '.join(missing)}: add to the export's column selection")


def groups_query(columns: Columns, relation: str) -> str:
    """The query over `relation`, whose rows have `columns`. Its columns are those of `Group`, then `bad` (bits, see
    `problem`) and numbers of rows: `rounded`, `no_cost`, `no_effective_cost`."""
    check(columns)
    group = ["day", *KEYS, "split", "timed", "count(*) AS n", "min(s) AS start", "max(e) AS stop"]
    group += ["sum(CASE WHEN timed THEN 1::HUGEINT << (5 * (s // 3600 % 24))::INTEGER END) AS hours"]
    group += [f"{amounts.total(columns, name)} AS {name}_text" for name in AMOUNTS]
    group += [f"{amounts.text('sum(unused)')} AS unused", f"{_bad(columns)} AS bad"]
    group += [f"count_if({' OR '.join(f'{name}_rounded' for name in AMOUNTS)}) AS rounded"]
    group += ["CASE WHEN split THEN 0 ELSE count(*) - count(billed) END AS no_cost"]
    group += ["count_if(unpriced) AS no_effective_cost"]
    by = ["day", *KEYS, "split", "timed", "exact_start", "exact_end", *(f"{name}_each" for name in AMOUNTS)]
    return f"SELECT {', '.join(group)} FROM ({_rows(columns, relation)}) GROUP BY {', '.join(by)}"


def _rows(columns: Columns, relation: str) -> str:
    """The query for all that groups are made of, row by row: in steps, as in `cur_amounts.parsing`."""
    row = [*_keys(columns), *_period(columns), *(f"{amounts.amount(columns, name)} AS {name}" for name in AMOUNTS)]
    row += [f"{amounts.unused(columns)} AS unused", f"{amounts.unpriced_commitment(columns)} AS unpriced"]
    sql = f"SELECT {', '.join(row)} FROM {relation}"
    each = [f"CASE WHEN timed THEN {name} END AS {name}_each" for name in AMOUNTS]
    for step in (*_times(), each, *amounts.parsing(columns)):
        if step:
            sql = f"SELECT *, {', '.join(step)} FROM ({sql})"
    return sql


def day_of_month() -> str:
    """A number of a row that all rows of its group have; 0 if its time cannot be read."""
    return "coalesce(day(TRY_CAST(line_item_usage_start_date AS TIMESTAMP)), 0)"


def faults_query(columns: Columns, table: str) -> str:
    """Over the table of groups: the bits of everything that is wrong, and the numbers of doubtful rows by reason."""
    each = (
        f"CASE WHEN timed AND {name}_text IS NOT NULL AND {amounts.decimal(f'{name}_text')} IS NULL "
        f"THEN {1 << at} ELSE 0 END"
        for at, name in enumerate(AMOUNTS, len(_TIMES_WRONG))
    )
    counts = ("rounded", "no_cost", "no_effective_cost")
    sums = ", ".join(f"coalesce(sum({name}), 0)::BIGINT AS {name}" for name in counts)
    return f"SELECT coalesce(bit_or(bad | {' | '.join(each)}), 0) AS bad, {sums} FROM {table}"


def problem(bad: int) -> str | None:
    """What the bits of `bad` say is wrong, in words; None if nothing is."""
    for at, column in enumerate(_WRONG):
        if bad >> at & 1:
            return f"{column} of some row cannot be read: expected a time in UTC or a number; deliver the export again"
    for at, (line_type, names) in enumerate(COMMITTED.items(), len(_WRONG)):
        if bad >> at & 1:
            return f"has {line_type} rows, but no column {names[-1]}: add to the export's column selection"
    return None


def _keys(columns: Columns) -> Iterator[str]:
    split = f"coalesce({SPLIT_PARENT}, '') <> ''" if SPLIT_PARENT in columns else "false"
    yield f"{split} AS split"
    for name, column in KEYS.items():
        sql = _text(columns, column)
        if name == "description":  # usage is told apart by what it is; what a fee or a credit is for, by words alone
            sql = f"CASE WHEN line_type NOT IN {USED} THEN {sql} END"
        if name in ("resource", "tags") and SPLIT_PARENT in columns:  # one per pod, and nothing of it is kept
            sql = f"CASE WHEN NOT split THEN {sql} END"
        yield f"{sql} AS {name}"


def _text(columns: Columns, column: str) -> str:
    if column not in columns:
        return "NULL::VARCHAR"
    if columns[column].startswith(("MAP", "STRUCT")):
        return f"to_json({column})::VARCHAR"
    return column if columns[column] == "VARCHAR" else f"{column}::VARCHAR"


def _period(columns: Columns) -> Iterator[str]:
    """`s` and `e` in epoch seconds; NULL: unreadable."""
    for name, column in (("s", "line_item_usage_start_date"), ("e", "line_item_usage_end_date")):
        sql = column if columns[column].startswith("TIMESTAMP") else f"TRY_CAST({column} AS TIMESTAMP)"
        yield f"floor(epoch({sql}))::BIGINT AS {name}"


def _times() -> tuple[list[str], ...]:
    """The day, whether the row is timed, and its exact period unless that is an hour of the clock."""
    hourly = "coalesce(e - s = 3600 AND s % 3600 = 0, false) AS hourly"
    timed = f"coalesce(CASE WHEN hourly AND NOT split THEN {_counted_in_hours()} END, false) AS timed"
    exact = [
        f"CASE WHEN NOT hourly THEN {sql} END AS {name}" for sql, name in (("s", "exact_start"), ("e", "exact_end"))
    ]
    return ["s // 86400 AS day", hourly], [timed, *exact]


def _counted_in_hours() -> str:
    """Whether a row is usage counted in hours. Without a unit the usage type says so."""
    named = " OR ".join(f"contains(usage_type, '{word}')" for word in _INSTANCES)
    return f"line_type IN {USED} AND CASE WHEN unit <> '' THEN lower(unit) IN {_HOURS} ELSE {named} END"


def _bad(columns: Columns) -> str:
    """What is wrong with the rows of a group, as bits in the order of `_WRONG`, then of commitments whose columns are
    not there."""
    wrong = (*_TIMES_WRONG.values(), *(amounts.unread(columns, name) for name in _AMOUNTS_WRONG))
    bits = [f"CASE WHEN {sql} THEN {1 << at} ELSE 0 END" for at, sql in enumerate(wrong)]
    for at, (line_type, names) in enumerate(COMMITTED.items(), len(_WRONG)):
        if not any(name in columns for name in names):
            bits.append(f"CASE WHEN line_type = '{line_type}' THEN {1 << at} ELSE 0 END")
    return " | ".join(bits)
