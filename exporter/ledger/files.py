"""Opening the ledger file: one writing process at a time, checked, and a damaged file set aside rather than lost."""

import fcntl
import logging
import sqlite3
from pathlib import Path
from typing import IO

from exporter.ledger.schema import MIGRATIONS, migrate

log = logging.getLogger("exporter.ledger")


class LedgerError(Exception):
    """The ledger cannot be used as it is; the message names the file and what to do, in one line."""


class LedgerBusyError(LedgerError):
    """Another exporter has this ledger open. Two writers on one ledger would count twice."""


class LedgerUnusableError(LedgerError):
    """The ledger cannot be opened for writing, and an exporter does not start without it."""

    @classmethod
    def of(cls, path: str | Path, error: Exception) -> "LedgerUnusableError":
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error).removeprefix(f"{path}: ")
        to_do = "the exporter does not start without its ledger: free disk space, make the file and its directory "
        return cls(f"{path}: cannot be opened for writing: {reason}; {to_do}writable, or set another storage.path")


class LedgerUnreadableError(LedgerError):
    """The ledger cannot be read as it is: it is not there, damaged, out of reach, or of another release."""


def lock(path: Path) -> IO[str]:
    """Hold `<path>.lock` until the returned file is closed or the process ends, however it ends.

    Raises LedgerBusyError if another process holds it, LedgerUnusableError if it cannot be made.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = path.with_name(path.name + ".lock").open("w")
    except OSError as error:
        raise LedgerUnusableError.of(path, error) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        handle.close()
        raise LedgerBusyError(
            f"{path}: another llm-cost-exporter is using this ledger; stop it, or set another storage.path"
        ) from None
    return handle


def open_checked(path: Path, now: int) -> sqlite3.Connection:
    """Open and migrate the ledger at `path`. A damaged file is renamed to `<name>.corrupt-<now>`, a new one begun.

    Raises LedgerUnusableError (a full disk or a missing permission is not damage), NewerLedgerError.
    """
    try:
        return _open_or_begin(path, now)
    except (sqlite3.Error, OSError) as error:
        raise LedgerUnusableError.of(path, error) from error


def _open_or_begin(path: Path, now: int) -> sqlite3.Connection:
    try:
        return _open(path)
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.OperationalError) and "malformed" not in str(error):
            raise
        _quarantine(path, now, error)
        return _open(path)


def open_read_only(path: Path) -> sqlite3.Connection:
    """Open the ledger at `path` for reading only: all it shows until it is closed is the ledger of this instant.

    No lock is taken and nothing is migrated, checked or set aside: an exporter may go on writing it. Raises
    LedgerUnreadableError. Readers of a write-ahead log need its index: <https://sqlite.org/wal.html#readonly>.
    """
    if not path.exists():
        raise LedgerUnreadableError(f"{path}: there is no ledger; check storage.path, or start `serve`, which makes it")
    try:
        return _begin_reading(path, "mode=ro")
    except sqlite3.OperationalError as error:
        if path.with_name(path.name + "-wal").exists():
            raise LedgerUnreadableError(f"{path}: {error}; read it as the user that `serve` runs as") from error
    except sqlite3.DatabaseError as error:
        raise LedgerUnreadableError(f"{path}: {error}; `serve` would set it aside and begin a new one") from error
    try:  # a folder that cannot be written, and nobody writing: the file alone is the whole ledger
        return _begin_reading(path, "immutable=1")
    except sqlite3.DatabaseError as error:
        raise LedgerUnreadableError(f"{path}: {error}; check who may read it") from error


def quarantined(path: Path) -> int:
    """How many damaged ledgers were set aside beside `path`."""
    return sum(1 for other in path.parent.glob(f"{path.name}.corrupt-*") if not other.name.endswith(("-wal", "-shm")))


def _open(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA cache_size = -2000")
        verdict = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if verdict != "ok":
            raise sqlite3.DatabaseError(f"database disk image is malformed: {verdict}")
        migrate(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _begin_reading(path: Path, how: str) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?{how}", uri=True, isolation_level=None, check_same_thread=False
    )
    try:
        connection.execute("BEGIN")  # one transaction until it is closed: what is read fits together
        _require_current(path, connection.execute("PRAGMA user_version").fetchone()[0])
    except BaseException:
        connection.close()
        raise
    return connection


def _require_current(path: Path, version: int) -> None:
    if version == len(MIGRATIONS):
        return
    to_do = (
        "read it with that release" if version > len(MIGRATIONS) else "start `serve` once, which brings it up to date"
    )
    raise LedgerUnreadableError(
        f"{path}: the ledger has schema version {version}, this release reads {len(MIGRATIONS)}: {to_do}"
    )


def _quarantine(path: Path, now: int, error: sqlite3.DatabaseError) -> None:
    aside = path.with_name(f"{path.name}.corrupt-{now}")
    for suffix in ("", "-wal", "-shm"):
        damaged = path.with_name(path.name + suffix)
        if damaged.exists():
            damaged.rename(aside.with_name(aside.name + suffix))
    log.error(
        "the ledger %s is damaged (%s); it was set aside as %s and a new one begun: counters start at 0 again, "
        "logs are read again from their beginning, engine history before now is only in the old file",
        path,
        error,
        aside.name,
    )
