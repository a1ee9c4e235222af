"""The AWS bill from a data export (CUR 2.0) in S3: a billing period is replaced when a new manifest of it is there.

Which manifest counts is in `cur_manifest`, what its columns mean in `cur_amounts` and `cur_lines`. A period is read by
a child process (`columnar`) and replaced day by day, so that memory is bounded by one day's lines.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from posixpath import normpath
from typing import Any, ClassVar, Literal

from collectors import Context
from collectors.bill_days import BillDay
from collectors.billing import cur_manifest, scratch
from collectors.billing.aws_session import Access, AwsError
from collectors.billing.columnar import Reader
from collectors.billing.columnar_frames import BillError
from collectors.billing.cur_columns import ColumnsError, check
from collectors.billing.cur_manifest import Item, Manifest, ManifestError
from collectors.billing.cur_source import Bucket, Folder, Source
from collectors.records import DAY, Batch, Failure, Window
from collectors.settings import STRICT, Duration, Instant, Reads

MORE_MEMORY = 48 << 20  # bytes, beyond what a child gets: each of two threads keeps a table of a month's groups
FORMAT = "1"  # of the lines made from a delivery: a change reads every bill again


@dataclass(frozen=True, slots=True)
class DataExportSettings:
    """`kind: aws_data_export`. The export's files are under `s3://<bucket>/<prefix>/<export>/`, or under
    `<path>/<export>/` where they were synced to.

    `periods` is how many billing periods, the current one included, are looked at again; those before it are read once,
    from `since` on. `scope` as in `kind: focus`.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    name: str
    kind: Literal["aws_data_export"]
    export: str
    bucket: str = ""
    prefix: str = ""
    path: str = ""
    interval: Duration = Duration(3600)
    periods: int = 2
    since: Instant | None = None
    profile: str = ""
    role_arn: str = ""
    region: str = ""
    endpoint_url: str = ""
    scope: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if problem := self.access.problem():
            raise ValueError(problem)
        if bool(self.bucket) == bool(self.path):
            raise ValueError(f"expected exactly one of bucket and path, got {'both' if self.path else 'neither'}")
        if not self.export or "/" in self.export:
            raise ValueError(f"expected export to be the export's name, got {self.export!r}")
        if self.bucket.startswith("s3:") or "/" in self.bucket:
            raise ValueError(f"expected bucket to be a name without s3:// or a prefix, got {self.bucket!r}")
        if self.periods < 1:
            raise ValueError(f"expected periods of at least 1, got {self.periods}")

    @property
    def access(self) -> Access:
        return Access(self.profile, self.role_arn, self.region, self.endpoint_url)

    @property
    def where(self) -> str:
        """The export's folder, for people; it ends in a slash."""
        return f"{self.path.rstrip('/')}/{self.export}/" if self.path else f"s3://{self.bucket}/{self.folder}"

    @property
    def base(self) -> str:
        """The key that says where the export's folder is."""
        return "path" if self.path else "prefix"

    @property
    def folder(self) -> str:
        """The export's folder in its bucket, with a slash at its end."""
        return f"{self.prefix.strip('/')}/{self.export}/".lstrip("/")

    def reads(self) -> Iterator[Reads]:
        folder = f"{self.bucket or normpath(self.path)}/{self.prefix.strip('/')}"
        source = ("data export", self.endpoint_url, folder, self.export)
        yield Reads(("export",), source, "{}; keep one of them", self.export)


class AwsDataExport:
    """Restatable. Part `<export>/<YYYY-MM>` has the position: the manifest in force; `<export>/<YYYY-MM>/<YYYY-MM-DD>`
    the lines of a UTC day of that billing period."""

    Settings = DataExportSettings
    streams: frozenset[str] | None = None
    late_after: int | None = None

    def __init__(self, settings: DataExportSettings, context: Context) -> None:
        self._settings, self._memory_bytes = settings, context.memory_bytes + MORE_MEMORY
        self._unsure: dict[str, str] = {}  # by part: a delivery that looked as if it was still being written

    def collect(self, now: int, cursors: Mapping[str, str]) -> Iterator[Batch | Failure]:
        """Replace the billing periods whose newest manifest is not the one in force. A period that cannot be read whole
        keeps the lines it has."""
        settings = self._settings
        scratch.clear()
        try:
            source = self._source()
        except (AwsError, ManifestError) as error:
            yield Failure(settings.export, str(error))
            return
        run = _Run(source, settings.export, cursors, self._memory_bytes, self._unsure)
        try:
            for period in cur_manifest.periods(now, settings.periods, settings.since, run.known):
                yield from run.period(period)
            if not run.found and not run.failed:
                yield Failure(
                    settings.export, f"no manifest under {settings.where}metadata/: check {settings.base} and export"
                )
        finally:
            run.close()

    def close(self) -> None:
        """Nothing is held open between collects."""

    def _source(self) -> Source:
        settings = self._settings
        if settings.path:
            return Folder(Path(settings.path, settings.export))
        return Bucket(settings.access, settings.bucket, settings.folder)


class _Run:
    """One collect."""

    def __init__(
        self, source: Source, export: str, cursors: Mapping[str, str], memory_bytes: int, unsure: dict[str, str]
    ) -> None:
        self._source, self._export, self._cursors = source, export, cursors
        self._memory_bytes, self._unsure = memory_bytes, unsure
        self._reader: Reader | None = None
        self.found = self.failed = False

    @property
    def known(self) -> set[str]:
        """The billing periods that were read before, as they are now read."""
        own = f"{self._export}/"
        return {part.removeprefix(own) for part, cursor in self._cursors.items() if cursor.startswith(f"{FORMAT} ")}

    def period(self, period: str) -> Iterator[Batch | Failure]:
        """A billing period: nothing if its manifest is the one in force."""
        part = f"{self._export}/{period}"
        try:
            newest = cur_manifest.newest(self._source.below(cur_manifest.folder(period)), self._export)
            if newest is not None:
                self.found = True
                if self._cursors.get(part) != _cursor(newest):
                    yield from self._replace(part, newest)
            elif part in self._cursors:
                raise ManifestError("its manifest is gone: the bill read before stays in force")
        except (AwsError, ManifestError, ColumnsError, BillError) as error:
            self.failed = True
            self._end_reader()  # whatever state it is in
            yield Failure(part, str(error))
        except OSError as error:
            self.failed = True
            yield Failure(
                part, f"cannot be read here ({error.strerror or error}): check the room in the temporary folder"
            )

    def close(self) -> None:
        self._source.close()
        self._end_reader()

    def _end_reader(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def _replace(self, part: str, newest: Item) -> Iterator[Batch]:
        if self._reader is None:
            self._reader = Reader(self._memory_bytes)  # it gets ready while files are fetched
        manifest = cur_manifest.parse(self._source.read(newest), self._export)
        if manifest.columns:
            check(dict.fromkeys(manifest.columns, ""))
        delivered: set[str] = set()
        with scratch.folder() as own:
            files = self._fetched(part, manifest, newest, own)
            flags: Mapping[str, int] = {}
            for answer in self._reader.read(files, manifest.format, own) if files else ():
                if isinstance(answer, BillDay):
                    batch = _day(part, answer, newest)
                    delivered.add(batch.part)
                    yield batch
                else:
                    flags = answer.flags
        yield from self._cleared(part, delivered)
        yield Batch(part, cursor=_cursor(newest), rejected=flags)

    def _cleared(self, part: str, delivered: set[str]) -> Iterator[Batch]:
        """Forget the days of this billing period that have no lines any more, and the period as another export had it
        that was configured before: it would be counted twice."""
        for old in self._cursors:
            period, _, day = old.partition("/")[2].partition("/")
            if period == part.partition("/")[2] and old != part and old not in delivered:
                yield Batch(old, cursor="", window=_window(day) if day else None)

    def _fetched(self, part: str, manifest: Manifest, newest: Item, into: Path) -> list[Path]:
        """Copies of the data files, all as they were when they were first looked at."""
        items = [self._source.look(name) for name in manifest.files]
        late = [item for item in items if item.modified > newest.modified]
        if late and self._unsure.get(part) != (seen := "".join(item.mark for item in [newest, *items])):
            self._unsure[part] = seen
            raise ManifestError(
                f"{late[0].name} is newer than its manifest: a delivery seems to be under way, so the bill read before "
                "stays in force; if nothing has changed by the next collect, it is read"
            )
        self._unsure.pop(part, None)
        return [self._source.fetch(item, into) for item in items]


def _day(part: str, day: BillDay, newest: Item) -> Batch:
    name = f"{part}/{datetime.fromtimestamp(day.start, UTC):%Y-%m-%d}"
    return Batch(name, charges=day, cursor=newest.etag, window=Window(day.start, day.start + DAY))


def _window(text: str) -> Window:
    """The UTC day `text` (`YYYY-MM-DD`)."""
    day = date.fromisoformat(text)
    start = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())
    return Window(start, start + DAY)


def _cursor(newest: Item) -> str:
    return f"{FORMAT} {newest.mark}"
