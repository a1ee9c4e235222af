"""The process that reads a bill: `python -m collectors.billing.columnar_child BYTES`. See `columnar`."""

import contextlib
import gc
import itertools
import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec

from collectors.bill_days import encoded, line_text
from collectors.billing.columnar_files import relation
from collectors.billing.columnar_frames import BillError, Done, Failed, Job, Lines, received, send
from collectors.billing.cur_columns import (
    DOUBTS,
    ColumnsError,
    Group,
    Kind,
    day_number,
    faults_query,
    groups_query,
    kinds_query,
    lines_query,
    problem,
    rest_query,
)
from collectors.billing.cur_kinds import doubts_of
from collectors.billing.cur_lines import pieces

MAX_GROUPS = 250_000  # of one day: as a line of it is made, it takes about 1 KB
AT_ONCE = 40_000  # lines that are fetched together, but for a day of more
OVERHEAD = 80 * 1024 * 1024  # of a process with DuckDB, beside what it is limited to
LEAST = 64 * 1024 * 1024
MAX_THREADS = 4
MANY_PASSES = 16
MAX_KINDS = 20_000  # that are remembered from day to day: one takes about 1 KB on either side


def main() -> None:
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    memory_bytes = int(sys.argv[1])
    gc.disable()  # nothing here refers to itself in circles; looking for such takes a quarter of the time
    with contextlib.suppress(EOFError, BrokenPipeError):
        _loaded()  # while the parent fetches files
        while True:
            job = msgspec.msgpack.decode(received(source), type=Job)
            for answer in answers(job, memory_bytes):
                send(sink, answer)


def answers(job: Job, memory_bytes: int) -> Iterator[Lines | Done | Failed]:
    """The lines of a delivery, or why it cannot be read."""
    duckdb = _loaded()
    if duckdb is None:
        yield Failed("duckdb is not installed: install llm-cost-exporter[aws]")
        return
    try:
        db, flags = _prepared(duckdb, job, memory_bytes)
        with db:
            yield from _answered(db, flags)
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


def _prepared(duckdb: Any, job: Job, memory_bytes: int) -> tuple[Any, Counter[str]]:
    """A connection with the tables of groups (`found`) and `kinds`, all rows read and checked; and numbers of doubtful
    ones. On several threads and in one pass over the files if the memory is enough for that."""
    for threads, passes in ((min(MAX_THREADS, cores()), 1), (1, 1), (1, MANY_PASSES)):
        db = duckdb.connect(config=_settings(job, memory_bytes, threads))
        try:
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
        "disabled_optimizers": "in_clause",  # it makes planning the query take longer than running it
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


def _answered(db: Any, flags: Counter[str]) -> Iterator[Lines | Done]:
    sent = _Sent(db)
    counts = db.execute("SELECT day, count(*) FROM found WHERE NOT split GROUP BY day ORDER BY day").fetchall()
    for first, last in _spans(counts):
        span = f"day BETWEEN {first} AND {last}"
        ready = {day: found for day, *found in db.execute(lines_query("found", "kinds", span)).fetchall()}
        rest: dict[int, list[Group]] = {}
        for group in itertools.starmap(Group, db.execute(rest_query("found", "kinds", span)).fetchall()):
            rest.setdefault(group.day, []).append(group)
        for day in sorted({*ready, *rest}):
            numbers, lines = ready.get(day, ([], ""))
            yield sent.day(day, numbers, [lines] if lines else [], rest.get(day, []))
    flags += doubts_of(_kinds(db.execute("SELECT * FROM kinds")))
    yield Done({reason: rows for reason, rows in flags.items() if rows})


def _kinds(cursor: Any) -> Iterator[Kind]:
    while some := cursor.fetchmany(1000):
        yield from itertools.starmap(Kind, some)


def _spans(days: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Days, given with their numbers of lines, put together to spans (first and last day) of `AT_ONCE` lines."""
    first, last, size = -1, -1, 0
    for day, count in days:
        if size and size + count > AT_ONCE:
            yield first, last
            size = 0
        first, last, size = day if not size else first, day, size + count
    if size:
        yield first, last


class _Sent:
    """What lines have in common, which is the same on most days, is sent once: as much of it as may be remembered."""

    def __init__(self, db: Any) -> None:
        self._db = db
        self._known: dict[int, int] = {}  # where a kind is among those that were sent
        self._anew = True

    def day(self, start: int, numbers: list[int], lines: list[str], rest: Sequence[Group]) -> Lines:
        """The message of a day: of `lines` of the kinds `numbers` (in order), and what `rest` has beside these."""
        for group in rest:
            of_group = pieces(group) if group.hours is not None else []
            numbers += [group.number] * len(of_group)
            lines += of_group
        unused = [group for group in rest if group.unused is not None]
        kinds = list(dict.fromkeys(numbers))
        at = dict(zip(kinds, itertools.count(), strict=False))
        columns = [*map(at.__getitem__, numbers), *range(len(kinds), len(kinds) + len(unused))]
        lines += [line_text(one.at, one.seconds, "0", one.unused, None, None, None) for one in unused]
        new, known = self._learn({*kinds, *(one.number for one in unused)}), self._known
        anew, self._anew = self._anew, False
        of_unused = [known[one.number] for one in unused]
        return Lines(start, anew, new, [known[one] for one in kinds], of_unused, encoded(columns, lines), len(columns))

    def _learn(self, wanted: set[int]) -> list[Kind]:
        """Make the kinds of these numbers known; return those that are not yet."""
        if len(self._known) > MAX_KINDS:
            self._known, self._anew = {}, True
        missing = wanted - self._known.keys()
        if not missing:
            return []
        query = "SELECT * FROM kinds WHERE number IN (SELECT unnest(?::BIGINT[])) ORDER BY number"
        new = list(_kinds(self._db.execute(query, [list(missing)])))
        self._known.update(zip((kind.number for kind in new), itertools.count(len(self._known)), strict=False))
        return new


def cores() -> int:
    """The cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


if __name__ == "__main__":
    main()
