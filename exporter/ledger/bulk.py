"""All usage at once, as columns: SQLite joins each column of a series to one text, which is parsed without a row in
Python. Fetching 4 million rows takes 4 s, this 2 s; what is held beside the result is one series.

group_concat joins in the order of the scan, which is by key as the table is clustered; SQLite does not promise that, so
it is checked.
"""

import sqlite3
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from collectors.records import CORE_TOKEN_TYPES
from exporter.ledger.snapshot import SeriesKey, UsageSeries

_COLUMNS = ("start", "seconds", "requests", *CORE_TOKEN_TYPES)
_USAGE = f"SELECT series, {', '.join(f'group_concat({c})' for c in _COLUMNS)} FROM usage GROUP BY series"
_MORE = "SELECT series, token_type, group_concat(start), group_concat(tokens) FROM usage_more GROUP BY 1, 2"
_numbers = msgspec.json.Decoder(list[int]).decode

More = Mapping[str, Mapping[int, int]]
"""Tokens of the rare types by start of the row."""


def read_usage(db: sqlite3.Connection, keys: Mapping[int, SeriesKey]) -> Iterator[tuple[int, UsageSeries]]:
    """Every series that has rows, by id. `keys` are those of all ids."""
    more: dict[int, dict[str, dict[int, int]]] = {}
    for series, token_type, starts, tokens in db.execute(_MORE):
        more.setdefault(series, {})[token_type] = dict(zip(_parsed(starts), _parsed(tokens), strict=True))
    for series, *texts in db.execute(_USAGE):
        columns = [_parsed(text) for text in texts]
        for at, column in enumerate(columns):
            if column and len(column) != len(columns[0]):  # a type that is told now and then: NULLs were left out
                columns[at] = _filled(db, series, _COLUMNS[at])
        yield series, of_columns(keys[series], columns, more.get(series, {}))


def of_columns(key: SeriesKey, columns: Sequence[list[int]], more: More) -> UsageSeries:
    """A series of its columns in the order of `_COLUMNS`; a token type that no row tells has an empty one."""
    if columns[0] != sorted(columns[0]):
        columns = _sorted(columns)
    starts, seconds, requests, *core = columns
    tokens = {token_type: column for token_type, column in zip(CORE_TOKEN_TYPES, core, strict=True) if column}
    for token_type, by_start in more.items():
        tokens[token_type] = [by_start.get(at, 0) for at in starts]
    return UsageSeries.of_columns(key, starts, seconds, requests, tokens)


def _sorted(columns: Sequence[list[int]]) -> list[list[int]]:
    starts = columns[0]
    order = sorted(range(len(starts)), key=starts.__getitem__)
    return [[column[at] for at in order] if column else [] for column in columns]


def _filled(db: sqlite3.Connection, series: int, column: str) -> list[int]:
    query = f"SELECT group_concat(ifnull({column}, 0)) FROM usage WHERE series = ?"
    return _parsed(db.execute(query, (series,)).fetchone()[0])


def _parsed(text: str | None) -> list[int]:
    """The values of a column; none where every row is NULL."""
    return _numbers(f"[{text or ''}]")
