"""AWS CUR 2.0 as SQL: what is kept of a row, and which rows of a UTC day become one line. Pure.

Rows are grouped by everything that matching or classifying a bill line may use, and summed. Rows of instance hours
("timed") price the seconds of a workload, so their hours must survive: they are grouped by their amounts as well, with
a number of 24 digits to base 32 that counts the rows of each hour of the day. Where that is one run of hours the sums
are a line; `cur_lines` makes the runs of the others. What lines have in common is numbered, and kept once.
"""

from collections.abc import Iterator
from typing import NamedTuple

from collectors.billing import cur_amounts as amounts
from collectors.billing.cur_amounts import AMOUNTS, COMMITTED, SPLIT_PARENT, Columns
from collectors.terms import DAY, HOUR

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
DOUBTS = ("rounded", "no_cost", "no_effective_cost")
"""What may be in doubt about a row that is read all the same."""
_COUNT = 31  # bits of a number of rows in `doubts`: as many as let what is summed up fit 64
_DIGIT = 5  # bits of a digit of `hours`
_HOURS = ("hrs", "hours", "hour", "hr")
_INSTANCES = ("BoxUsage", "SpotUsage", "DedicatedUsage", "HostUsage")
# What makes a row unreadable, by column: then the whole bill is, because one with lines missing looks like a saving.
_TIMES_WRONG = {
    "line_item_usage_start_date": "day IS NULL",
    "line_item_usage_end_date": "s IS NOT NULL AND (e IS NULL OR e < s)",
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


class Kind(NamedTuple):
    """What lines have in common: its number, and in how many rows."""

    number: int
    account: str
    line_type: str
    product: str
    usage_type: str
    resource: str
    region: str
    currency: str
    invoice: str
    instance_type: str
    family: str
    unit: str
    tags: str
    description: str
    split: bool
    timed: bool
    rows: int


class Group(NamedTuple):
    """Rows of one kind on one UTC day (its start, epoch seconds), the first of which starts at `at` seconds of the day
    and which span `seconds`. The amounts are their exact sums as text; `effective` is None where it is what they are
    billed, `unused` what of a commitment's fee nothing used. `hours` counts the rows of each hour, where these are not
    one run of hours."""

    day: int
    number: int
    at: int
    seconds: int
    billed: str
    effective: str | None
    list: str | None
    quantity: str | None
    unused: str | None
    rows: int
    hours: int | None


def check(columns: Columns) -> None:
    """Raise `ColumnsError` naming what an export with these columns lacks. Further columns do not matter."""
    missing = [name for name in REQUIRED if name not in columns]
    if missing:
        plural = "s" if len(missing) > 1 else ""
        raise ColumnsError(f"lacks the column{plural} {', '.join(missing)}: add to the export's column selection")


def groups_query(columns: Columns, relation: str) -> str:
    """The query over `relation`, whose rows have `columns`, for groups by day (UTC, since the epoch) and `KEYS`. Beside
    what `Group` has: `line`, as `collectors.bill_days.line_text` writes it, of a group that is one; `rest`, whether
    there is more to it; `bad` (bits, see `problem`) and `doubts` (numbers of rows, see `faults_query`)."""
    check(columns)
    group = ["day", *KEYS, "split", "timed", "count(*) AS n", "min(s) AS start", "max(e) AS stop"]
    group += [f"sum(CASE WHEN timed THEN 1::HUGEINT << ({_DIGIT} * (s // {HOUR} % 24))::INTEGER END) AS all_hours"]
    group += [f"{amounts.total(name)} AS {name}_text" for name in AMOUNTS]
    group += [f"{amounts.text('sum(unused)')} AS unused_text", "bit_or(wrong) AS bad", "sum(doubt) AS doubts"]
    by = ["day", *KEYS, "split", "timed", "apart"]
    sql = f"SELECT {', '.join(group)} FROM ({_rows(columns, relation)}) GROUP BY {', '.join(by)}"
    # Credits and the like are of no quantity; a discount lowers the cost of its resource, and prices no time.
    priced = f"WHEN line_type LIKE '%Discount' THEN '0' WHEN line_type IN {USED} THEN quantity_text"
    row = [f'start - day * {DAY} AS "at"', "stop - start AS seconds", "coalesce(billed_text, '0') AS billed"]
    row += ["nullif(effective_text, billed_text) AS effective", 'list_text AS "list"', f"CASE {priced} END AS quantity"]
    row += ["nullif(unused_text, '0') AS unused", f"CASE WHEN timed AND NOT ({_one_run()}) THEN all_hours END AS hours"]
    sql = f"SELECT day, {', '.join(KEYS)}, split, timed, n, bad, doubts, {', '.join(row)} FROM ({sql})"
    rest = "hours IS NOT NULL OR unused IS NOT NULL AS rest"
    return f"SELECT *, CASE WHEN hours IS NULL THEN {_line()} END AS line, {rest} FROM ({sql})"


def _one_run() -> str:
    """Whether there is one row for each hour from the first row's to the last one's, of whole hours: what
    `cur_lines.runs` would join."""
    first, ones = f"{_DIGIT} * (start // {HOUR} % 24)", sum(1 << _DIGIT * hour for hour in range(24))
    digits = f"all_hours >> ({first})::INTEGER = {ones}::HUGEINT >> ({_DIGIT} * (24 - n))::INTEGER"
    return f"n = 1 OR CASE WHEN n <= 24 THEN {digits} AND coalesce(quantity_text::DOUBLE >= n, true) END"


def _line() -> str:
    effective, listed, quantity = (
        f"""coalesce('"' || "{name}" || '"', 'null')""" for name in ("effective", "list", "quantity")
    )
    parts = ("'['", '"at"', "','", "seconds", """',"'""", "billed", """'",'""", effective, "','", listed, "',null,'")
    return f"concat({', '.join(parts)}, {quantity}, ']')"


def kinds_query(groups: str) -> str:
    """The query over the table of groups for `Kind`s, numbered in the order of what they are: alike for like bills."""
    keys = [f"coalesce({key}, '') AS {key}" for key in KEYS]
    kinds = f"SELECT {', '.join(keys)}, split, timed, sum(n)::BIGINT AS n FROM {groups} GROUP BY ALL"
    order = f"row_number() OVER (ORDER BY {', '.join(KEYS)}, split, timed) - 1"
    return f"SELECT {order} AS number, {', '.join(KEYS)}, split, timed, n FROM ({kinds})"


def lines_query(groups: str, kinds: str, span: str) -> str:
    """The query over both tables for the groups that are lines, of the days in `span` (SQL on `day`): the day (epoch
    seconds), the numbers of their kinds, and the lines joined by commas; in an order that only depends on these."""
    ordered = "list(number ORDER BY number), string_agg(line, ',' ORDER BY number, line)"
    sql = f"SELECT day * {DAY} AS day, number, line FROM {_joined(groups, kinds)} AND line IS NOT NULL AND {span}"
    return f"SELECT day, {ordered} FROM ({sql}) GROUP BY day"


def rest_query(groups: str, kinds: str, span: str) -> str:
    """The query for the `Group`s that are not a line, or have an unused part beside it."""
    row = {"day": f"day * {DAY} AS day", "rows": f"{groups}.n AS rows"}
    names = ", ".join(row.get(name, f'"{name}"') for name in Group._fields)
    found = f"{_joined(groups, kinds)} AND rest AND {span}"
    return f"SELECT {names} FROM {found} ORDER BY ALL"


def _joined(groups: str, kinds: str) -> str:
    """Groups of rows that are not split with their kinds, as of `FROM`."""
    same = [f"coalesce({groups}.{key}, '') = {kinds}.{key}" for key in KEYS]
    same += [f"{groups}.{key} = {kinds}.{key}" for key in ("split", "timed")]
    return f"{groups} JOIN {kinds} ON {' AND '.join(same)} WHERE NOT {groups}.split"


def _rows(columns: Columns, relation: str) -> str:
    """The query for all that groups are made of, row by row: in steps, as in `cur_amounts.parsing`. Rows of an hour at
    equal amounts, and others of one exact period, have the same number in `apart`."""
    row = [*_keys(columns), *_period(columns), *(f"{amounts.amount(columns, name)} AS {name}" for name in AMOUNTS)]
    row += [f"{amounts.unused(columns)} AS unused", f"{amounts.unpriced_commitment(columns)} AS unpriced"]
    sql = f"SELECT {', '.join(row)} FROM {relation}"
    apart = f"CASE WHEN timed THEN hash({', '.join(AMOUNTS)}) WHEN NOT hourly THEN hash(s, e) END AS apart"
    for step in (*_times(), [apart], *amounts.parsing(columns), _judged(columns)):
        if step:
            sql = f"SELECT *, {', '.join(step)} FROM ({sql})"
    return sql


def day_number(columns: Columns) -> str:
    """A number of a row that all rows of its group have; 0 if its time cannot be read."""
    return f"coalesce({_instant(columns, 'line_item_usage_start_date')} // 86400, 0)"


def faults_query(table: str) -> str:
    """Over the table of groups: the bits of everything that is wrong, then the numbers of rows by `DOUBTS`."""
    counts = [f"coalesce(sum(doubts >> {_COUNT * at} & {(1 << _COUNT) - 1}), 0)::BIGINT" for at in range(len(DOUBTS))]
    return f"SELECT coalesce(bit_or(bad), 0), {', '.join(counts)} FROM {table}"


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
        yield f"{_instant(columns, column)} AS {name}"


def _instant(columns: Columns, column: str) -> str:
    """Epoch seconds. A TIMESTAMP drops the offset of a text that has one; a TIMESTAMPTZ would take the session's zone
    for a text that has none."""
    if columns[column].startswith("TIMESTAMP"):
        return f"epoch_us({column}) // 1000000"
    utc = f"epoch_us(TRY_CAST({column} AS TIMESTAMP))"
    if columns[column] == "VARCHAR":
        after = f"substr({column}, 20)"  # what follows the seconds
        offset = f"NOT suffix({column}, 'Z') AND (contains({after}, '+') OR contains({after}, '-'))"
        utc = f"CASE WHEN {offset} THEN epoch_us(TRY_CAST({column} AS TIMESTAMPTZ)) ELSE {utc} END"
    return f"{utc} // 1000000"


def _times() -> tuple[list[str], ...]:
    """The day, whether the row is for an hour of the clock, and whether it is timed."""
    hourly = "coalesce(e - s = 3600 AND s % 3600 = 0, false) AS hourly"
    timed = f"coalesce(CASE WHEN hourly AND NOT split THEN {_counted_in_hours()} END, false) AS timed"
    return ["s // 86400 AS day", hourly], [timed]


def _counted_in_hours() -> str:
    """Whether a row is usage counted in hours. Without a unit the usage type says so."""
    named = " OR ".join(f"contains(usage_type, '{word}')" for word in _INSTANCES)
    return f"line_type IN {USED} AND CASE WHEN unit <> '' THEN lower(unit) IN {_HOURS} ELSE {named} END"


def _judged(columns: Columns) -> list[str]:
    """What is `wrong` with a row: bits in the order of `_WRONG`, then of commitments whose columns are not there. And
    what is in doubt (`DOUBTS`), as one number: of `_COUNT` bits each, so that rows add up. Most rows are not looked at
    twice."""
    bits = [*_TIMES_WRONG.values(), *(amounts.unread(name) for name in _AMOUNTS_WRONG)]
    for line_type, names in COMMITTED.items():
        lacking = not any(name in columns for name in names)
        bits.append(f"line_type = '{line_type}'" if lacking else "false")
    usual = "NOT odd AND hourly AND billed IS NOT NULL AND NOT unpriced"
    wrong = " | ".join(f"CASE WHEN {sql} THEN {1 << at} ELSE 0 END" for at, sql in enumerate(bits))
    doubts = ("rounded", "billed IS NULL AND NOT split", "unpriced")
    doubt = " + ".join(f"CASE WHEN {sql} THEN {1 << _COUNT * at} ELSE 0 END" for at, sql in enumerate(doubts))
    return [
        f"CASE WHEN NOT ({usual}) THEN {wrong} END AS wrong",
        f"CASE WHEN NOT ({usual}) THEN {doubt} END AS doubt",
    ]
