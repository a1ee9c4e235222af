"""The recorded pages, unpacked once per process."""

import json
import tarfile
from functools import cache
from pathlib import Path
from typing import Any

ARCHIVE = Path(__file__).parents[2] / "fixtures" / "engines" / "pages.tar.xz"


@cache
def _files() -> dict[str, bytes]:
    with tarfile.open(ARCHIVE) as archive:
        members = [(member, archive.extractfile(member)) for member in archive.getmembers()]
        return {member.name: file.read() for member, file in members if file}


def page(name: str) -> bytes:
    return _files()[f"{name}.prom"]


def pages(prefix: str = "") -> dict[str, bytes]:
    return {name: data for name, data in _files().items() if name.startswith(prefix) and name.endswith(".prom")}


def truth(run: str) -> dict[str, Any]:
    """The truth of a run: `all` by kind of count, and `increases` by series."""
    found: dict[str, Any] = json.loads(_files()[f"{run}/truth.json"])
    return found


def series(run: str) -> list[tuple[float, bytes]]:
    """The pages of a run with the time of each (epoch seconds)."""
    rows = [json.loads(line) for line in _files()[f"{run}/series.jsonl"].splitlines()]
    return [(row["t"], row["page"].encode()) for row in rows]


def text(name: str) -> str:
    return _files()[name].decode()
