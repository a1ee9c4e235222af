"""The process that reads a bill: groups of its rows, all of them checked. See `columnar`; lines: `columnar_lines`."""

import contextlib
import os
import threading
from collections import Counter
from collections.abc import Iterator
from importlib import import_module
from typing import Any, BinaryIO

import msgspec

from collectors.billing.columnar_files import relation
from collectors.billing.columnar_frames import BillError, Done, Failed, Job, Lines, received, send
from collectors.billing.cur_columns import (
    DOUBTS,
    ColumnsError,
    day_number,
    faults_query,
    groups_query,
    kinds_query,
    problem,
)

MAX_GROUPS = 250_000  # of one day: as a line of it is made, it takes about 1 KB
OVERHEAD = 80 * 1024 * 1024  # of a process with DuckDB, beside what it is limited to
LEAST = 64 * 1024 * 1024
MAX_THREADS = 4
MANY_PASSES = 16


def main(source: BinaryIO, sink: BinaryIO, memory_bytes: int) -> None:
    """Answer jobs until there are none. Garbage collection stays off: nothing here refers to itself in circles, and
    looking for such takes a quarter of the time."""
    with contextlib.suppress(EOFError, BrokenPipeError):
        _loaded()  # while the parent fetches files
        while True:
            job = msgspec.msgpack.decode(received(source), type=Job)
            threading.Thread(target=_prepare_lines).start()
            for answer in answers(job, memory_bytes):
                send(sink, answer)


def _prepare_lines() -> None:
    """What makes lines is imported while DuckDB reads, which does not need the interpreter."""
    import_module("collectors.billing.columnar_lines")


def answers(job: Job, memory_bytes: int) -> Iterator[Lines | Done | Failed]:
    """The lines of a delivery, or why it cannot be read."""
    duckdb = _loaded()
    if duckdb is None:
        yield Failed("duckdb is not installed: install llm-cost-exporter[aws]")
        return
    try:
        db, flags = _prepared(duckdb, job, memory_bytes)
        with db:
            from collectors.billing.columnar_lines import lines_of

            yield from lines_of(db, flags)
    except (BillError, ColumnsError) as error:
        yield Failed(str(error))
    except duckdb.OutOfMemoryException:
        yield Failed(f"needs more than {memory_bytes >> 20} MB of memory, or more disk in the temporary folder")
    except duckdb.Error as error:
        yield Failed(f"cannot be read: {(str(error).strip().splitlines() or ['no message'])[0][:300]}")


def _loaded() -> Any:
    """DuckDB, or None. `_duckdb` is all of it that is used here: what its package `duckdb` wraps it in takes 60 of the
    80 ms of the import, for every bill. It is private, so where a release has no such module it is the package."""
    for name in ("_duckdb", "duckdb"):
        with contextlib.suppress(ImportError):
            return import_module(name)
    return None


def _prepared(duckdb: Any, job: Job, memory_bytes: int) -> tuple[Any, Counter[str]]:
    """A connection with the tables of groups (`found`) and `kinds`, all rows read and checked; and numbers of doubtful
    ones. On several threads and in one pass over the files if the memory is enough for that."""
    for threads, passes in ((min(MAX_THREADS, cores()), 1), (1, 1), (1, MANY_PASSES)):
        db = duckdb.connect(config=_settings(job, memory_bytes, threads))
        try:
            db.execute("SET enable_progress_bar = false")  # it is on where Python runs a text
            return db, _group(db, job, passes)
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
        # The first makes planning the query take longer than running it, the other compares texts with their bounds.
        "disabled_optimizers": "in_clause,join_filter_pushdown",
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
    }


def _group(db: Any, job: Job, passes: int) -> Counter[str]:
    source = relation(job.files, job.format)
    columns: dict[str, str] = {row[0]: row[1] for row in db.execute(f"DESCRIBE SELECT * FROM {source}").fetchall()}
    for at in range(passes):
        rows = source if passes == 1 else f"(FROM {source} WHERE {day_number(columns)} % {passes} = {at})"
        into = "INSERT INTO found" if at else "CREATE TEMP TABLE found AS"
        db.execute(f"{into} {groups_query(columns, rows)}")
    bad, *rows = db.execute(faults_query("found")).fetchone()
    if fault := problem(bad):
        raise BillError(fault)
    busiest = db.execute("SELECT coalesce(max(n), 0) FROM (SELECT count(*) AS n FROM found GROUP BY day)").fetchone()[0]
    if busiest > MAX_GROUPS:
        raise BillError(f"has {busiest} lines on one day, more than {MAX_GROUPS}: export fewer columns or accounts")
    db.execute(f"CREATE TEMP TABLE kinds AS {kinds_query('found')}")
    return Counter(dict(zip(DOUBTS, rows, strict=True)))


def cores() -> int:
    """The cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
