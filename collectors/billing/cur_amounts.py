"""Amounts of AWS CUR 2.0 rows as SQL: which column, on which basis, and how it is summed to the last digit. Pure.

A double is taken as the shortest decimal that names it, which is what AWS wrote. Most amounts are a whole number of
1e-10, and are summed as integers; the others go through their text, to 18 decimals.

Effective cost by line item type, after the AWS Data Exports user guide (CUR 2.0 columns; "Understanding your amortized
reservation data"; "Understanding Savings Plans"): usage under a commitment costs what the commitment's columns say; the
fees of a commitment and the negation of what a Savings Plan covers cost nothing, but for the part of a fee that nothing
used; everything else costs what it is billed. Where a column of net cost (after private discounts) has a value, it is
the one that counts.
"""

from collections.abc import Iterator, Mapping

AMOUNTS = ("billed", "effective", "list", "quantity")
COMMITTED = {
    "DiscountedUsage": ("reservation_net_effective_cost", "reservation_effective_cost"),
    "SavingsPlanCoveredUsage": (
        "savings_plan_net_savings_plan_effective_cost",
        "savings_plan_savings_plan_effective_cost",
    ),
}
"""By line item type of usage under a commitment: the columns of its effective cost, of which the first value counts."""
UNUSED = {
    "RIFee": (
        (
            "+",
            "reservation_net_unused_amortized_upfront_fee_for_billing_period",
            "reservation_unused_amortized_upfront_fee_for_billing_period",
        ),
        ("+", "reservation_net_unused_recurring_fee", "reservation_unused_recurring_fee"),
    ),
    "SavingsPlanRecurringFee": (
        ("+", "savings_plan_total_commitment_to_date"),
        ("-", "savings_plan_used_commitment"),
    ),
}
"""By line item type of a commitment's fee: the terms of what nothing used, each with the columns that may hold it."""
FREE = ("SavingsPlanNegation", "SavingsPlanUpfrontFee", *UNUSED)
RESERVATION = "reservation_reservation_a_r_n"
SPLIT_PARENT = "split_line_item_parent_resource_id"

_BILLED = ("line_item_net_unblended_cost", "line_item_unblended_cost")
_SOURCES = {
    "billed": _BILLED,
    "effective": (*_BILLED, *(column for pair in COMMITTED.values() for column in pair)),
    "list": ("pricing_public_on_demand_cost",),
    "quantity": ("line_item_usage_amount",),
}
_OWN_EFFECTIVE = (*COMMITTED, *FREE, "Fee")
_EXACT = "DECIMAL(38, 18)"
_WHOLE = "1e10"  # AWS writes 10 decimals

Columns = Mapping[str, str]
"""DuckDB type by column name."""


def kind(columns: Columns, name: str) -> str:
    """The type an amount is taken as: that of its columns, a text if they differ or there is none."""
    types = {columns[column] for column in _SOURCES[name] if column in columns}
    return types.pop() if len(types) == 1 else "VARCHAR"


def amount(columns: Columns, name: str) -> str:
    """An amount of a row as it is written; NULL where there is none, on the split rows of a shared node (theirs is
    another view of money that the node's own row has), and for an effective cost that is what the row is billed (see
    `total`). Refers to `split`, `line_type`, `usage_type` and `billed`."""
    as_kind = kind(columns, name)
    if name == "effective":
        sql = f"CASE {' '.join(_cases(columns, as_kind))} END"
    else:
        sql = _first(columns, _SOURCES[name], as_kind)
    return f"CASE WHEN NOT split THEN {sql} END" if SPLIT_PARENT in columns else sql


def _cases(columns: Columns, as_kind: str) -> Iterator[str]:
    """The effective cost of rows for which it may differ from what they are billed. Most rows leave at the first."""
    yield f"WHEN line_type NOT IN {_OWN_EFFECTIVE} THEN NULL"
    for line_type, pair in COMMITTED.items():
        own = f"coalesce({_first(columns, pair, as_kind)}, {_as('billed', as_kind)})"
        yield f"WHEN line_type = '{line_type}' THEN {own}"
    yield f"WHEN line_type IN {FREE} THEN '0'::{as_kind}"
    if RESERVATION in columns:  # paid up front and amortized into the usage it covers; a capacity block is not
        fee = f"line_type = 'Fee' AND {RESERVATION} <> '' AND NOT contains(usage_type, 'CapacityBlock')"
        yield f"WHEN {fee} THEN '0'::{as_kind}"
    yield f"WHEN line_type = 'Fee' THEN {_as('billed', as_kind)}"


def parsing(columns: Columns) -> Iterator[list[str]]:
    """What is summed of the amounts of a row, by name: `_units`, whole numbers of 1e-10, else `_rest`, which is NULL if
    it is no number; and of the row, whether there is any such rest (`odd`), and whether any was `rounded` to 18
    decimals. In steps that each refer to columns of the one before: DuckDB would compute an alias of the same SELECT
    again at every mention."""
    steps = [_parse(columns, name) for name in AMOUNTS]
    for expressions in zip(*steps, strict=True):
        yield [sql for sql in expressions if sql]
    yield [f"{' OR '.join(f'{name} IS NOT NULL AND {name}_units IS NULL' for name in AMOUNTS)} AS odd"]
    yield [f"CASE WHEN odd AND {name}_units IS NULL THEN {decimal(name)} END AS {name}_rest" for name in AMOUNTS]
    rounded = " OR ".join(_rounded(columns, name) for name in AMOUNTS)
    yield [f"CASE WHEN odd THEN coalesce({rounded}, false) ELSE false END AS rounded"]


def _parse(columns: Columns, name: str) -> tuple[str, str, str]:
    double, number, exact = kind(columns, name) == "DOUBLE", name, ""
    if not double:
        # Of at most 15 digits a double tells them all; but a tiny number may have become zero.
        number, exact = f"{name}_number", f" AND ({name}_whole <> 0 OR NOT contains(lower({name}::VARCHAR), 'e'))"
    short = "" if double else f"CASE WHEN length({name}::VARCHAR) <= 16 THEN TRY_CAST({name} AS DOUBLE) END AS {number}"
    # Both numbers are exact in a double, so their quotient is the double nearest to the decimal.
    whole = f"CASE WHEN abs({number}) < 1e5 THEN round({number} * {_WHOLE})::BIGINT END AS {name}_whole"
    return short, whole, f"CASE WHEN {name}_whole / {_WHOLE} = {number}{exact} THEN {name}_whole END AS {name}_units"


def _rounded(columns: Columns, name: str) -> str:
    """Whether the rest of an amount differs from what is written; NULL where there is no rest."""
    if kind(columns, name) == "DOUBLE":  # no other decimal of so few digits names it
        return f"{name}_rest::VARCHAR::DOUBLE <> {name}"
    # A text of at most 19 characters has more than 18 decimals only by an exponent, and is then below 1e-4.
    suspect = f"abs({name}_rest) < 0.001 OR length({name}::VARCHAR) > 19"
    return f"CASE WHEN {name}_rest IS NULL THEN false WHEN {suspect} THEN {_decimals(name)} > 18 ELSE false END"


def total(name: str) -> str:
    """The exact sum of a group as text; of an effective cost NULL where it is what the rows are billed."""
    sql = f"CASE WHEN sum({name}_rest) IS NULL THEN {text(_WHOLE_SUM.format(name))} ELSE {text(_SUM.format(name))} END"
    if name == "effective":
        return f"CASE WHEN line_type IN {_OWN_EFFECTIVE} THEN {sql} END"
    return sql


def unread(name: str) -> str:
    """Whether an amount of a row is no number."""
    return f"odd AND {name} IS NOT NULL AND {name}_units IS NULL AND {name}_rest IS NULL"


_WHOLE_SUM = "sum({0}_units)::DECIMAL(28, 0) * 0.0000000001::DECIMAL(10, 10)"
_SUM = f"coalesce(({_WHOLE_SUM})::{_EXACT}, 0) + sum({{0}}_rest)"


def text(sql: str) -> str:
    """An exact decimal that has decimals as text, without trailing zeros."""
    return f"rtrim(rtrim(({sql})::VARCHAR, '0'), '.')"


def decimal(sql: str) -> str:
    """An amount as an exact decimal; NULL if it is no number."""
    return f"TRY_CAST({sql}::VARCHAR AS {_EXACT})"


def unused(columns: Columns) -> str:
    """The part of a commitment's fee that nothing used; NULL on other rows, and where the export does not tell."""
    cases = []
    for line_type, terms in UNUSED.items():
        found = [(sign, next((name for name in names if name in columns), None)) for sign, *names in terms]
        if all(name for _, name in found):
            total = " ".join(f"{sign} coalesce({decimal(str(name))}, 0)" for sign, name in found)
            cases.append(f"WHEN line_type = '{line_type}' THEN 0 {total}")
    return f"CASE {' '.join(cases)} END" if cases else f"NULL::{_EXACT}"


def unpriced_commitment(columns: Columns) -> str:
    """Whether a row is usage under a commitment without an effective cost of its own."""
    own = kind(columns, "effective")
    cases = (
        f"WHEN line_type = '{line_type}' THEN {_first(columns, pair, own)} IS NULL"
        for line_type, pair in COMMITTED.items()
    )
    return f"CASE {' '.join(cases)} ELSE false END"


def _first(columns: Columns, sources: tuple[str, ...], as_kind: str) -> str:
    """The first of `sources` that is there and not empty, as a type."""
    found = [
        _as(f"nullif({column}, '')" if columns[column] == "VARCHAR" else column, as_kind, columns[column])
        for column in sources
        if column in columns
    ]
    return f"coalesce({', '.join(found)})" if len(found) > 1 else found[0] if found else f"NULL::{as_kind}"


def _as(sql: str, as_kind: str, own: str = "") -> str:
    return sql if own == as_kind else f"{sql}::{as_kind}"


def _decimals(name: str) -> str:
    """Decimals of an amount without trailing zeros, counted where it is long enough to have more than 18."""
    text = f"{name}::VARCHAR"
    parts = f"split_part(lower({text}), 'e', 1)", f"split_part(lower({text}), 'e', 2)"
    fraction = f"length(rtrim(split_part({parts[0]}, '.', 2), '0'))"
    power = f"coalesce(TRY_CAST(nullif({parts[1]}, '') AS INTEGER), 0)"
    long = f"length({text}) > 19 OR contains({text}, 'e') OR contains({text}, 'E')"
    return f"CASE WHEN {long} THEN {fraction} - {power} ELSE 0 END"
