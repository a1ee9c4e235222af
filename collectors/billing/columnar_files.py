"""The data files of a bill as a DuckDB relation."""

import csv
import gzip
import io
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from collectors.billing.columnar_frames import BillError, Format

_CSV_LINE = 500_000


def relation(files: Sequence[str], format_: Format) -> str:
    """The rows of all files, as SQL. Raises `BillError` for CSV files whose headers cannot be read or differ: their
    cells are texts, named by the header."""
    return _csv_relation(files) if format_ == "csv" else f"read_parquet({_list(files)})"


def _csv_relation(files: Sequence[str]) -> str:
    headers = {path: _header(path) for path in files}
    first = headers[files[0]]
    for path, header in headers.items():
        if header != first:
            raise BillError(f"{Path(path).name} has other columns than {Path(files[0]).name}: deliver the export again")
    columns = ", ".join(f"{_quoted(name)}: 'VARCHAR'" for name in first)
    options = "header = true, auto_detect = false, delim = ',', quote = '\"', escape = '\"', nullstr = '', "
    options += f"max_line_size = {_CSV_LINE}, buffer_size = {8 * _CSV_LINE}"  # a buffer per thread counts as memory
    return f"read_csv({_list(files)}, columns = {{{columns}}}, {options})"


def _header(path: str) -> list[str]:
    try:
        with Path(path).open("rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            binary: Any = gzip.GzipFile(fileobj=raw) if packed else raw
            with io.TextIOWrapper(binary, encoding="utf-8-sig", newline="") as text:
                header = next(csv.reader([text.readline(1 << 20)]), [])
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error) as error:
        raise BillError(f"{Path(path).name} cannot be read ({error}): deliver the export again") from None
    if not header or len(set(header)) < len(header):
        raise BillError(f"{Path(path).name} has no header with names of its own: deliver the export again")
    return header


def _list(files: Sequence[str]) -> str:
    return f"[{', '.join(map(_quoted, files))}]"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
