"""The manifests of an AWS data export: which delivery of a billing period is in force, and what it consists of. Pure.

Layout, from the AWS Data Exports user guide ("Understanding export delivery"): under `<prefix>/<export>/` the data are
in `data/BILLING_PERIOD=YYYY-MM/` and the manifest in `metadata/BILLING_PERIOD=YYYY-MM/<export>-Manifest.json`, written
after all data files. An export that overwrites replaces both; one that creates new files each time adds a folder per
execution below both. A folder of data says nothing of which files count, so only manifests are looked for, and of
several the newest counts.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Literal

from collectors.billing.focus_values import month_of

MAX_MANIFEST = 8 << 20  # bytes; a longer one is no manifest


class ManifestError(Exception):
    """A delivery that is not whole or not understood: one line for the on-call engineer."""


@dataclass(frozen=True, slots=True)
class Item:
    """An object or file. `name` is its path below the export's folder; `etag` changes with its content; `modified` in
    epoch seconds."""

    name: str
    etag: str
    size: int
    modified: float

    @property
    def mark(self) -> str:
        """What changes when it is written again, whatever is in it."""
        return json.dumps([self.name, self.etag, self.modified])


@dataclass(frozen=True, slots=True)
class Manifest:
    """Data files by their paths below the export's folder, and the names of their columns (empty: it does not say)."""

    files: tuple[str, ...]
    format: Literal["csv", "parquet"]
    columns: tuple[str, ...]


def periods(now: int, recent: int, since: int | None, known: Iterable[str]) -> list[str]:
    """The billing periods (`YYYY-MM`, oldest first) to look at: the `recent` newest ones, and those from `since` (epoch
    seconds) on that are not among the `known`."""
    period, seen, found = _period(now), set(known), list[str]()
    first = _period(since) if since is not None else period
    while len(found) < recent or period >= first:
        found.append(period)
        period = _before(period)
    return sorted(one for at, one in enumerate(found) if at < recent or one not in seen)


def folder(period: str) -> str:
    """Where the manifests of a billing period are, below the export's folder."""
    return f"metadata/BILLING_PERIOD={period}/"


def newest(items: Iterable[Item], export: str) -> Item | None:
    """The manifest that counts: the one written last. None if there is none."""
    wanted = f"{export}-Manifest.json"
    manifests = [item for item in items if PurePosixPath(item.name).name == wanted]
    return max(manifests, key=lambda item: (item.modified, item.name), default=None)


def parse(content: bytes, export: str) -> Manifest:
    """Raises `ManifestError`."""
    try:
        document = json.loads(content)
        files = tuple(_below(str(uri), export) for uri in document["dataFiles"])
        columns = tuple(str(column["name"]) for column in document.get("columns") or ())
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        text = f"{type(error).__name__}: {str(error)[:80]}"
        raise ManifestError(f"the manifest cannot be read ({text}): is it of a data export (CUR 2.0)?") from None
    return Manifest(files, _format(files), columns)


def _below(uri: str, export: str) -> str:
    """The path of a data file below the export's folder. Buckets are replicated under other names and prefixes, so what
    stands before that folder does not count."""
    _, found, rest = uri.rpartition(f"/{export}/data/")
    path = PurePosixPath("data", rest)
    if not found or not rest or ".." in path.parts:
        raise ManifestError(f"the manifest names a file outside of {export}/data/: {uri[-120:]}")
    return str(path)


def _format(files: Iterable[str]) -> Literal["csv", "parquet"]:
    kinds = {"parquet" if name.endswith(".parquet") else "csv" if ".csv" in name else "" for name in files}
    if len(kinds) > 1 or "" in kinds:
        raise ManifestError("the manifest names files that are neither all .csv.gz nor all .parquet")
    return "parquet" if kinds == {"parquet"} else "csv"


def _period(at: int) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m}"


def _before(period: str) -> str:
    first = month_of(int(datetime.fromisoformat(f"{period}-01T00:00:00+00:00").timestamp())).start
    return _period(first - 1)
