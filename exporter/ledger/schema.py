"""The ledger's tables and how an older file is brought up to date.

Plain SQL that SQLite and PostgreSQL both accept, but for WITHOUT ROWID, which PostgreSQL does without.
"""

import sqlite3
from collections.abc import Callable, Sequence

from exporter.ledger import bill

Step = str | Callable[[sqlite3.Connection], None]

VERSION_1 = (
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL)",
    """CREATE TABLE parts (
        collector TEXT NOT NULL, part TEXT NOT NULL, cursor TEXT NOT NULL, updated BIGINT NOT NULL,
        PRIMARY KEY (collector, part))""",
    """CREATE TABLE series (
        id INTEGER PRIMARY KEY, collector TEXT NOT NULL, part TEXT NOT NULL, stream TEXT NOT NULL, path TEXT NOT NULL,
        provider TEXT NOT NULL, model TEXT NOT NULL, service_tier TEXT NOT NULL, region TEXT NOT NULL,
        band BIGINT NOT NULL, band_known INTEGER NOT NULL, labels TEXT NOT NULL,
        UNIQUE (collector, part, stream, path, provider, model, service_tier, region, band, band_known, labels))""",
    # One wide row per series and slot; `seconds` is 300, or 3600 once rolled up. NULL: the source cannot tell the type.
    # `peak` is the largest 5-minute token sum inside the row. Rare token types live in usage_more.
    """CREATE TABLE usage (
        series BIGINT NOT NULL, start BIGINT NOT NULL, seconds INTEGER NOT NULL, requests BIGINT NOT NULL,
        input BIGINT, cache_read BIGINT, cache_write BIGINT, cache_write_1h BIGINT, output BIGINT, peak BIGINT NOT NULL,
        PRIMARY KEY (series, start))""",
    """CREATE TABLE usage_more (
        series BIGINT NOT NULL, start BIGINT NOT NULL, token_type TEXT NOT NULL, tokens BIGINT NOT NULL,
        PRIMARY KEY (series, start, token_type))""",
    """CREATE TABLE charges (
        id INTEGER PRIMARY KEY, collector TEXT NOT NULL, part TEXT NOT NULL, start BIGINT NOT NULL,
        stop BIGINT NOT NULL, charge TEXT NOT NULL)""",
    "CREATE INDEX charges_by_part ON charges (collector, part, start)",
    """CREATE TABLE reservations (
        id INTEGER PRIMARY KEY, collector TEXT NOT NULL, part TEXT NOT NULL, card TEXT NOT NULL, terms TEXT NOT NULL,
        start BIGINT NOT NULL, stop BIGINT NOT NULL)""",
    "CREATE INDEX reservations_by_card ON reservations (card, stop)",
    """CREATE TABLE observed (
        collector TEXT NOT NULL, stream TEXT NOT NULL, start BIGINT NOT NULL, stop BIGINT NOT NULL, up INTEGER NOT NULL,
        PRIMARY KEY (collector, stream, start))""",
    # From `at` until `back` (NULL: still) the configuration did not name the stream.
    """CREATE TABLE retired (
        collector TEXT NOT NULL, stream TEXT NOT NULL, at BIGINT NOT NULL, back BIGINT,
        PRIMARY KEY (collector, stream, at))""",
    """CREATE TABLE loads (
        collector TEXT NOT NULL, stream TEXT NOT NULL, model TEXT NOT NULL, slot BIGINT NOT NULL,
        seconds BIGINT NOT NULL, saturated_seconds BIGINT NOT NULL, saturated_tokens BIGINT NOT NULL,
        prefill_seconds REAL, decode_seconds REAL, running REAL, waiting REAL, kv_cache_usage REAL,
        PRIMARY KEY (collector, stream, model, slot))""",
    """CREATE TABLE counters (
        family TEXT NOT NULL, labels TEXT NOT NULL, value TEXT NOT NULL, created REAL NOT NULL,
        PRIMARY KEY (family, labels))""",
    "CREATE TABLE accruals (key TEXT PRIMARY KEY, through BIGINT NOT NULL)",
    """CREATE TABLE evaluations (
        workload TEXT NOT NULL, path TEXT NOT NULL, alternative TEXT NOT NULL, at BIGINT NOT NULL,
        api_usd TEXT, self_hosted_usd TEXT, covered_seconds BIGINT NOT NULL, reason TEXT NOT NULL,
        PRIMARY KEY (workload, path, alternative, at))""",
    """CREATE TABLE primaries (
        workload TEXT NOT NULL, path TEXT NOT NULL, alternative TEXT NOT NULL, PRIMARY KEY (workload, path))""",
)

VERSION_2 = (
    # Facts with a key of their own; the newest word on each counts. An open span stops at records.OPEN.
    """CREATE TABLE nodes (
        collector TEXT NOT NULL, key TEXT NOT NULL, node TEXT NOT NULL, stop BIGINT NOT NULL,
        PRIMARY KEY (collector, key))""",
    """CREATE TABLE allocations (
        collector TEXT NOT NULL, key TEXT NOT NULL, allocation TEXT NOT NULL, stop BIGINT NOT NULL,
        PRIMARY KEY (collector, key))""",
    """CREATE TABLE list_prices (
        collector TEXT NOT NULL, provider TEXT NOT NULL, region TEXT NOT NULL, tier TEXT NOT NULL, unit TEXT NOT NULL,
        name TEXT NOT NULL, currency TEXT NOT NULL, start BIGINT NOT NULL, price TEXT NOT NULL, sku TEXT NOT NULL,
        PRIMARY KEY (collector, provider, region, tier, unit, name, currency, start))""",
    # What each day of a bill said last, and how many deliveries in a row said the same: a bill settles.
    """CREATE TABLE bill_days (
        collector TEXT NOT NULL, part TEXT NOT NULL, day BIGINT NOT NULL, digest TEXT NOT NULL, alike BIGINT NOT NULL,
        PRIMARY KEY (collector, part, day))""",
    # Restatable usage that has entered the counters, by slot; and what was counted but taken back since, by series.
    """CREATE TABLE counted (
        series BIGINT NOT NULL, start BIGINT NOT NULL, token_type TEXT NOT NULL, tokens BIGINT NOT NULL,
        PRIMARY KEY (series, start, token_type))""",
    """CREATE TABLE debts (
        collector TEXT NOT NULL, series TEXT NOT NULL, token_type TEXT NOT NULL, tokens BIGINT NOT NULL,
        PRIMARY KEY (collector, series, token_type))""",
)

# Clustered by their key: usage is read series by series at the start, and a key is not stored twice.
_CLUSTERED = (
    """CREATE TABLE usage (
        series BIGINT NOT NULL, start BIGINT NOT NULL, seconds INTEGER NOT NULL, requests BIGINT NOT NULL,
        input BIGINT, cache_read BIGINT, cache_write BIGINT, cache_write_1h BIGINT, output BIGINT, peak BIGINT NOT NULL,
        PRIMARY KEY (series, start)) WITHOUT ROWID""",
    """CREATE TABLE evaluations (
        workload TEXT NOT NULL, path TEXT NOT NULL, alternative TEXT NOT NULL, at BIGINT NOT NULL,
        api_usd TEXT, self_hosted_usd TEXT, covered_seconds BIGINT NOT NULL, reason TEXT NOT NULL,
        PRIMARY KEY (workload, path, alternative, at)) WITHOUT ROWID""",
    """CREATE TABLE loads (
        collector TEXT NOT NULL, stream TEXT NOT NULL, model TEXT NOT NULL, slot BIGINT NOT NULL,
        seconds BIGINT NOT NULL, saturated_seconds BIGINT NOT NULL, saturated_tokens BIGINT NOT NULL,
        prefill_seconds REAL, decode_seconds REAL, running REAL, waiting REAL, kv_cache_usage REAL,
        PRIMARY KEY (collector, stream, model, slot)) WITHOUT ROWID""",
)
_KEYS = {
    "usage": "series, start",
    "evaluations": "workload, path, alternative, at",
    "loads": "collector, stream, model, slot",
}

VERSION_3 = (
    *(f"ALTER TABLE {table} RENAME TO old_{table}" for table in _KEYS),
    *_CLUSTERED,
    *(f"INSERT INTO {table} SELECT * FROM old_{table} ORDER BY {key}" for table, key in _KEYS.items()),
    *(f"DROP TABLE old_{table}" for table in _KEYS),
    "CREATE INDEX loads_queued ON loads (collector, stream, slot) WHERE saturated_seconds > 0",
    # The state that the evaluations through `at` lead to under the settings that `rule` tells; '': fold them again.
    """CREATE TABLE folds (
        workload TEXT NOT NULL, path TEXT NOT NULL, alternative TEXT NOT NULL, at BIGINT NOT NULL, rule TEXT NOT NULL,
        state TEXT NOT NULL, PRIMARY KEY (workload, path, alternative))""",
    "INSERT INTO folds SELECT DISTINCT workload, path, alternative, 0, '', '' FROM evaluations",
)

VERSION_4: tuple[Step, ...] = (
    # What many lines of bills have in common, once; and what each part says of each UTC day, its lines as one text (see
    # collectors.bill_days). `alike`: how many deliveries in a row said the same of the day.
    "CREATE TABLE bill_kinds (id INTEGER PRIMARY KEY, digest TEXT NOT NULL UNIQUE, kind TEXT NOT NULL)",
    """CREATE TABLE bill (
        collector TEXT NOT NULL, part TEXT NOT NULL, day BIGINT NOT NULL, digest TEXT NOT NULL, alike BIGINT NOT NULL,
        kinds TEXT NOT NULL, lines TEXT NOT NULL, PRIMARY KEY (collector, part, day))""",
    bill.migrate,
    "DROP TABLE charges",
    "DROP TABLE bill_days",
)

MIGRATIONS: tuple[Sequence[Step], ...] = (VERSION_1, VERSION_2, VERSION_3, VERSION_4)
"""MIGRATIONS[n] brings a ledger from schema version n to n + 1."""


class NewerLedgerError(Exception):
    """The ledger file was written by a newer release; this one must not touch it."""


def migrate(connection: sqlite3.Connection) -> None:
    """Bring the ledger to the current schema version, each step in its own transaction.

    Raises NewerLedgerError if the file is ahead of this release.
    """
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > len(MIGRATIONS):
        raise NewerLedgerError(
            f"the ledger has schema version {version}, this release knows {len(MIGRATIONS)}: "
            "run the newer release, or point storage.path at a new file"
        )
    for step in range(version, len(MIGRATIONS)):
        connection.execute("BEGIN IMMEDIATE")
        for one in MIGRATIONS[step]:
            if isinstance(one, str):
                connection.execute(one)
            else:
                one(connection)
        connection.execute(f"PRAGMA user_version = {step + 1}")
        connection.execute("COMMIT")
