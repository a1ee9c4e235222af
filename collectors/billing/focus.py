"""FOCUS bill exports as files: every billing account's billing period is replaced when a new delivery of it is there.

What counts as a delivery, and what a broken file holds back, is in `collectors.billing.delivery`.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any, ClassVar, Literal

from collectors import Context
from collectors.billing.delivery import BillFile, Delivery, InForce, Piece, Unread, deliveries, held_back
from collectors.billing.focus_rows import ForeignFileError, read_rows
from collectors.billing.focus_values import BillFileError
from collectors.records import Batch, Charge, Failure, Window
from collectors.settings import STRICT, Duration

MAX_ROWS = 500_000  # of one part: a row takes 0.4 to 0.9 KB
ROWS_AT_ONCE = 200_000  # parts are read together up to so many rows


@dataclass(frozen=True, slots=True)
class FocusSettings:
    """`kind: focus`. `path` is a glob, or several: CSV, plain or gzip, FOCUS 1.0 to 1.3.

    `scope` are globs on `provider`, `service`, `account` (or `region`, `sku`, `resource`, any tag): lines that do not
    match are kept as the bill part `out_of_scope`. It is applied when the bill is reconciled, so it also corrects the
    past.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    name: str
    kind: Literal["focus"]
    path: str | tuple[str, ...]
    interval: Duration = Duration(6 * 3600)
    scope: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.patterns:
            raise ValueError("expected at least one path, got none")
        for pattern in self.patterns:
            if not Path(pattern).name or any("**" in part and part != "**" for part in Path(pattern).parts):
                raise ValueError(f"expected a glob of files like '/exports/focus/*.csv.gz', got {pattern!r}")

    @property
    def patterns(self) -> tuple[str, ...]:
        return (self.path,) if isinstance(self.path, str) else tuple(self.path)


class Focus:
    """Restatable: a part's cursor says which delivery is in force; an unchanged one yields nothing.

    A file is read once to see what it holds, and a second time when its parts have changed, so that memory is bounded
    by the rows of one part (at most `MAX_ROWS`), not by the size of the files.
    """

    Settings = FocusSettings
    streams: frozenset[str] | None = None
    late_after: int | None = None

    def __init__(self, settings: FocusSettings, context: Context) -> None:
        self._patterns = settings.patterns
        self._known: dict[str, BillFile] = {}  # by path: files that were read whole, to not read them again

    def collect(self, now: int, cursors: Mapping[str, str]) -> Iterator[Batch | Failure]:
        """Replace the parts whose newest delivery is not the one in force, clear those that are delivered no more."""
        paths = self._paths()
        if not paths:
            yield Failure(self._patterns[0], "no file matches: the bill read before stays in force; check `path`")
            return
        files, unread = self._survey(paths)
        yield from (Failure(file.path, file.reason) for file in unread)
        in_force = {part: InForce.parse(cursor) for part, cursor in cursors.items()}
        newest = deliveries(files)
        held = set(held_back({*newest, *in_force}, in_force, unread, map(str, paths)))
        for part, old in in_force.items():
            if part not in newest and part not in held:
                yield Batch(part, cursor="", window=Window(old.start, old.end))
        changed = [
            one
            for part, one in newest.items()
            if part not in held and not (part in in_force and in_force[part].digest == one.in_force.digest)
        ]
        yield from self._replace(changed, in_force)

    def close(self) -> None:
        """Nothing is held open between collects."""

    def _paths(self) -> list[Path]:
        found: set[Path] = set()
        for pattern in self._patterns:
            path = Path(pattern)
            base = Path(path.anchor or ".")
            found.update(file for file in base.glob(str(path.relative_to(path.anchor))) if file.is_file())
        return sorted(found)

    def _survey(self, paths: Sequence[Path]) -> tuple[list[BillFile], list[Unread]]:
        """Every file's parts; files not written since the last survey are not read again."""
        read = [self._look(path) for path in paths]
        files = [one for one in read if isinstance(one, BillFile)]
        self._known = {file.path: file for file in files}
        return files, [one for one in read if isinstance(one, Unread)]

    def _look(self, path: Path) -> BillFile | Unread:
        known = self._known.get(str(path))
        pieces: dict[str, Piece] = {}
        try:
            stamp = _stamp(path)
            if known is not None and known.stamp == stamp:
                return known
            _survey_rows(path, pieces)
            _unchanged(path, stamp)
        except BillFileError as error:
            return Unread(str(path), str(error), isinstance(error, ForeignFileError), frozenset(pieces))
        return BillFile(str(path), stamp, pieces)

    def _replace(self, changed: Iterable[Delivery], in_force: Mapping[str, InForce]) -> Iterator[Batch | Failure]:
        for group in _groups(changed):
            too_long = {one.part for one in group if one.rows > MAX_ROWS}
            for one in group:
                if one.part in too_long:
                    yield Failure(one.part, f"{one.rows} rows, over the limit of {MAX_ROWS}: export fewer services")
            wanted = [one for one in group if one.part not in too_long]
            charges, flags, failures = _charges(wanted)
            yield from failures
            for one in wanted:
                if one.part in charges:
                    yield Batch(
                        one.part,
                        charges=charges.pop(one.part),
                        cursor=one.in_force.cursor(),
                        window=one.replaces(in_force.get(one.part)),
                        rejected=flags[one.part],
                    )


def _groups(changed: Iterable[Delivery]) -> Iterator[list[Delivery]]:
    """Parts to be read in one go."""
    group: list[Delivery] = []
    rows = 0
    for one in changed:
        if group and rows + one.rows > ROWS_AT_ONCE:
            yield group
            group, rows = [], 0
        group.append(one)
        rows += one.rows
    if group:
        yield group


def _charges(
    wanted: Sequence[Delivery],
) -> tuple[dict[str, list[Charge]], dict[str, Counter[str]], list[Failure]]:
    """The charges and the doubts of each delivery; a delivery with a file that can no longer be read is left out."""
    charges: dict[str, list[Charge]] = {one.part: [] for one in wanted}
    flags: dict[str, Counter[str]] = {one.part: Counter() for one in wanted}
    failures: list[Failure] = []
    files = {file.path: file for one in wanted for file in one.files}
    for path, file in sorted(files.items()):
        parts = {one.part for one in wanted if file in one.files}
        try:
            for row in read_rows(Path(path)):
                if row.part in parts and row.part in charges:
                    charges[row.part].append(row.charge)
                    flags[row.part].update(row.flags)
            _unchanged(Path(path), file.stamp)
        except BillFileError as error:
            failures.append(Failure(path, str(error)))
            for part in parts:
                charges.pop(part, None)
    return charges, flags, failures


def _survey_rows(path: Path, pieces: dict[str, Piece]) -> None:
    """Fill in what the file holds of each part, with a digest of its rows."""
    hashes: dict[str, Any] = {}
    for row in read_rows(path):
        piece = pieces.get(row.part)
        if piece is None:
            piece = pieces[row.part] = Piece()
            hashes[row.part] = blake2b(digest_size=16)
        piece.add(row.span, row.key, row.amounts)
        hashes[row.part].update(row.content.encode() + b"\x1e")
    for part, piece in pieces.items():
        piece.digest = hashes[part].hexdigest()


def _stamp(path: Path) -> tuple[int, int, int]:
    try:
        status = path.stat()
    except OSError as error:
        raise BillFileError(f"cannot be read ({error.strerror}): check the file and its permissions") from error
    return status.st_size, status.st_mtime_ns, status.st_ino


def _unchanged(path: Path, stamp: tuple[int, int, int]) -> None:
    if _stamp(path) != stamp:
        raise BillFileError("was written while it was read: the next collect reads it again")
