"""Temporary folders for bills that are read. A killed exporter leaves its own behind, which the next one removes.

A folder is its maker's for as long as it holds the lock in it, which ends with the process, however that ends. So an
exporter on the same host, or in another container with the same folder, takes none away that is in use.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PREFIX = "llmcost-bill-"
_LOCK = ".lock"


@contextmanager
def folder() -> Iterator[Path]:
    """A new folder, removed in the end."""
    with (
        tempfile.TemporaryDirectory(prefix=PREFIX, ignore_cleanup_errors=True) as name,
        Path(name, _LOCK).open("w") as lock,
    ):
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield Path(name)


def clear() -> None:
    """Remove the folders of this user that nobody holds. One without a lock is empty, or being made: it is left."""
    for found in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        try:
            if found.lstat().st_uid == os.getuid() and found.is_dir() and not found.is_symlink():
                with (found / _LOCK).open("r+") as lock:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(found, ignore_errors=True)
        except OSError:  # in use, or just gone
            continue
