"""Bills of any size: DuckDB reads the files in a child process and sends finished lines, a UTC day at a time.

`python -m collectors.billing.columnar` is the child. It gets a limit of memory (spilling to disk beyond it), does not
hold the exporter's interpreter lock, and is gone after the read, with all that the library keeps. Nothing is sent
before every row of every file was read and checked: a delivery that cannot be read changes nothing.

Frames are a length and msgpack: a `Job` in; `Lines` for each day, in order, then `Done`, or `Failed` out.
"""

import contextlib
import csv
import gc
import gzip
import io
import itertools
import os
import struct
import subprocess
import sys
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple

import msgspec

from collectors.billing.cur_columns import ColumnsError, Group, day_of_month, faults_query, groups_query, problem
from collectors.billing.cur_kinds import Common, Kinds, Line, charges, common
from collectors.records import DAY, Charge

MAX_GROUPS = 250_000  # of one day: a line of it takes about 1.5 KB
OVERHEAD = 80 * 1024 * 1024  # of a process with DuckDB, beside what it is limited to
LEAST = 64 * 1024 * 1024
MAX_THREADS = 4
MANY_PASSES = 16
MAX_KINDS = 20_000  # that are remembered from day to day: one takes about 1 KB on either side

_LENGTH = struct.Struct("<Q")
_ROOT = str(Path(__file__).parents[2])
_CSV_LINE = 500_000

Format = Literal["csv", "parquet"]


class BillError(Exception):
    """Files that cannot be read as a bill, or a child process that ended: one line for the on-call engineer."""


class Job(msgspec.Struct, tag=True):
    """Files of one delivery, all of one format; `scratch` is a folder to spill to."""

    files: list[str]
    format: Format
    scratch: str


class Day(NamedTuple):
    """The lines of one UTC day: those whose charge period starts in it. `start` in epoch seconds."""

    start: int
    charges: list[Charge]


class Lines(msgspec.Struct, tag=True):
    """A `Day` as it is sent. `kinds` continue those of the days before, or, if `anew`, begin again."""

    start: int
    anew: bool
    kinds: list[Charge]
    lines: list[Line]


class Done(msgspec.Struct, tag=True):
    """The end of the bill. `flags` are numbers of rows by what is doubtful about them."""

    flags: dict[str, int]


class Failed(msgspec.Struct, tag=True):
    reason: str


class Reader:
    """A child process that reads deliveries, one after the other. Start it early: it takes a quarter of a second."""

    def __init__(self, memory_bytes: int) -> None:
        """`memory_bytes` is for the whole child process."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "collectors.billing.columnar", str(memory_bytes)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pipesize=1 << 20,  # it works some days ahead
            cwd=_ROOT,  # where `-m` finds this package, installed or not
            start_new_session=True,  # Ctrl-C is for the exporter, which ends the child itself
        )
        assert self._process.stdin is not None and self._process.stdout is not None
        self._stdin, self._stdout = self._process.stdin, self._process.stdout
        self._decode = msgspec.msgpack.Decoder(Lines | Done | Failed).decode

    def read(self, files: Sequence[Path], format_: Format, scratch: Path) -> Iterator[Day | Done]:
        """The days of a delivery, in order, then `Done`. Raises `BillError`."""
        try:
            _send(self._stdin, Job([str(path) for path in files], format_, str(scratch)))
            yield from days(self._answers())
        except (OSError, EOFError) as error:
            raise BillError(f"the reading process ended (out of memory, or killed): {error}") from error

    def _answers(self) -> Iterator[Lines | Done]:
        while True:
            answer = self._decode(_received(self._stdout))
            if isinstance(answer, Failed):
                raise BillError(answer.reason)
            yield answer
            if isinstance(answer, Done):
                return

    def close(self) -> None:
        """End the child, whatever it is doing."""
        self._process.kill()
        self._process.wait()
        self._stdout.close()
        with contextlib.suppress(OSError):  # unsent bytes in the buffer
            self._stdin.close()


def days(answers: Iterable[Lines | Done]) -> Iterator[Day | Done]:
    """The answers to one job with their lines as charges."""
    kinds: list[Common] = []
    for answer in answers:
        if isinstance(answer, Lines):
            if answer.anew:
                kinds.clear()
            kinds += map(common, answer.kinds)
            yield Day(answer.start, charges(answer.lines, kinds))
        else:
            yield answer


def main() -> None:
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    memory_bytes = int(sys.argv[1])
    gc.disable()  # nothing here refers to itself in circles; looking for such takes a quarter of the time
    with contextlib.suppress(EOFError, BrokenPipeError):
        _loaded()  # while the parent fetches files
        while True:
            job = msgspec.msgpack.decode(_received(source), type=Job)
            for answer in answers(job, memory_bytes):
                _send(sink, answer)


def answers(job: Job, memory_bytes: int) -> Iterator[Lines | Done | Failed]:
    """The lines of a delivery, or why it cannot be read."""
    duckdb = _loaded()
    if duckdb is None:
        yield Failed("duckdb is not installed: install llm-cost-exporter[aws]")
        return
    try:
        with _prepared(duckdb, job, memory_bytes) as db:
            yield from _days(db)
    except (BillError, ColumnsError) as error:
        yield Failed(str(error))
    except duckdb.OutOfMemoryException:
        yield Failed(f"needs more than {memory_bytes >> 20} MB of memory, or more disk in the temporary folder")
    except duckdb.Error as error:
        yield Failed(f"cannot be read: {(str(error).strip().splitlines() or ['no message'])[0][:300]}")


def _loaded() -> Any:
    try:
        import duckdb
    except ImportError:
        return None
    return duckdb


def _prepared(duckdb: Any, job: Job, memory_bytes: int) -> Any:
    """A connection with the table of groups, `found`: all rows read and checked. On several threads and in one pass
    over the files if the memory is enough for that."""
    for threads, passes in ((min(MAX_THREADS, cores()), 1), (1, 1), (1, MANY_PASSES)):
        db = duckdb.connect(config=_settings(job, memory_bytes, threads))
        try:
            _group(db, job, passes)
            return db
        except duckdb.OutOfMemoryException:
            db.close()
            if passes == MANY_PASSES:
                raise
        except BaseException:
            db.close()
            raise
    raise AssertionError("the last attempt returns or raises")


def _settings(job: Job, memory_bytes: int, threads: int) -> dict[str, Any]:
    return {
        "memory_limit": f"{max(LEAST, memory_bytes - OVERHEAD)}B",
        "threads": threads,
        "temp_directory": job.scratch,
        "preserve_insertion_order": False,
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
    }


def _group(db: Any, job: Job, passes: int) -> None:
    source = relation(job.files, job.format)
    columns: dict[str, str] = {row[0]: row[1] for row in db.execute(f"DESCRIBE SELECT * FROM {source}").fetchall()}
    for at in range(passes):
        rows = f"(FROM {source} WHERE {day_of_month()} % {passes} = {at})"
        into = "INSERT INTO found" if at else "CREATE TEMP TABLE found AS"
        db.execute(f"{into} {groups_query(columns, rows if passes > 1 else source)}")
    db.execute(f"CREATE TEMP TABLE faults AS {faults_query(columns, 'found')}")
    if fault := problem(db.execute("SELECT bad FROM faults").fetchone()[0]):
        raise BillError(fault)
    busiest = db.execute("SELECT coalesce(max(n), 0) FROM (SELECT count(*) AS n FROM found GROUP BY day)").fetchone()[0]
    if busiest > MAX_GROUPS:
        raise BillError(f"has {busiest} lines on one day, more than {MAX_GROUPS}: export fewer columns or accounts")


def _days(db: Any) -> Iterator[Lines | Done]:
    names = ("rounded", "no_cost", "no_effective_cost")
    flags = Counter(dict(zip(names, db.execute(f"SELECT {', '.join(names)} FROM faults").fetchone(), strict=True)))
    query = f"SELECT * EXCLUDE ({', '.join(('bad', *names))}) FROM found WHERE day = ?"  # a sort would need more memory
    kinds, anew = Kinds(flags), True
    for (day,) in db.execute("SELECT DISTINCT day FROM found ORDER BY day").fetchall():
        if len(kinds) > MAX_KINDS:
            kinds, anew = Kinds(flags), True
        lines = kinds.lines(itertools.starmap(Group, db.execute(query, [day]).fetchall()))
        if lines:
            yield Lines(day * DAY, anew, kinds.new, lines)
            kinds.new, anew = [], False
    yield Done({reason: rows for reason, rows in flags.items() if rows})


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


def cores() -> int:
    """The cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _send(pipe: IO[bytes], message: msgspec.Struct) -> None:
    payload = msgspec.msgpack.encode(message)
    pipe.write(_LENGTH.pack(len(payload)) + payload)
    pipe.flush()


def _received(pipe: IO[bytes]) -> bytes:
    header = pipe.read(_LENGTH.size)
    if len(header) < _LENGTH.size:
        raise EOFError("end of stream")
    (length,) = _LENGTH.unpack(header)
    payload = pipe.read(length)
    if len(payload) < length:
        raise EOFError("end of stream inside a message")
    return payload


if __name__ == "__main__":
    main()
