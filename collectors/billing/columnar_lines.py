"""In the process that reads a bill: from the tables of groups and kinds to the lines of its days."""

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from collectors.bill_days import encoded, line_text
from collectors.billing.columnar_frames import Done, Lines
from collectors.billing.cur_columns import Group, Kind, lines_query, rest_query
from collectors.billing.cur_kinds import doubts_of
from collectors.billing.cur_lines import pieces

AT_FIRST, AT_ONCE = 15_000, 50_000  # lines that are fetched together, but for a day of more
MAX_KINDS = 20_000  # that are remembered from day to day: one takes about 1 KB on either side


def lines_of(db: Any, flags: Counter[str]) -> Iterator[Lines | Done]:
    """The days of the tables `found` and `kinds`, in order, and what is doubtful: `flags`, and what kinds tell."""
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
    """Days, given with their numbers of lines, put together to spans (first and last day) of `AT_ONCE` lines; the first
    is shorter, so that the lines after it are made while it is stored."""
    first, last, size, most = -1, -1, 0, AT_FIRST
    for day, count in days:
        if size and size + count > most:
            yield first, last
            size, most = 0, AT_ONCE
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
