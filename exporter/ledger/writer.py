"""The statements that put one batch into the ledger, inside the caller's transaction."""

import json
import logging
import sqlite3
from dataclasses import replace

from collectors.records import CORE_TOKEN_TYPES, Batch, EngineLoad, Observed, Reservation, Usage
from exporter.ledger import facts
from exporter.ledger.bill import Bills

_COLUMNS = ", ".join(CORE_TOKEN_TYPES)
_ADD_USAGE = f"""
INSERT INTO usage (series, start, seconds, requests, {_COLUMNS}, peak) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (series, start) DO UPDATE SET requests = usage.requests + excluded.requests,
{", ".join(f"{c} = coalesce(usage.{c} + excluded.{c}, usage.{c}, excluded.{c})" for c in CORE_TOKEN_TYPES)},
peak = CASE WHEN usage.seconds = 300 THEN usage.peak + excluded.peak ELSE max(usage.peak, excluded.peak) END
"""
_FIND_SERIES = """
SELECT id FROM series WHERE collector = ? AND part = ? AND stream = ? AND path = ? AND provider = ? AND model = ?
AND service_tier = ? AND region = ? AND band = ? AND band_known = ? AND labels = ?
"""
MAX_SERIES = 10_000
"""Usage series of one collector that may have labels: a session id among them must not fill memory and ledger."""

log = logging.getLogger("exporter.ledger")

_ADD_LOAD = """
INSERT INTO loads VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (collector, stream, model, slot) DO UPDATE SET
seconds = loads.seconds + excluded.seconds, saturated_seconds = loads.saturated_seconds + excluded.saturated_seconds,
saturated_tokens = loads.saturated_tokens + excluded.saturated_tokens,
prefill_seconds = coalesce(loads.prefill_seconds + excluded.prefill_seconds, loads.prefill_seconds,
                           excluded.prefill_seconds),
decode_seconds = coalesce(loads.decode_seconds + excluded.decode_seconds, loads.decode_seconds,
                          excluded.decode_seconds),
running = excluded.running, waiting = excluded.waiting, kv_cache_usage = excluded.kv_cache_usage
"""


class Writer:
    """The statements behind `Ledger.commit`, inside its transaction."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self.bills = Bills(db)
        self._ids: dict[tuple[object, ...], int] = {}

    def forget(self) -> None:
        """After a roll-back ids handed out inside the transaction are void."""
        self._ids.clear()
        self.bills.forget()

    def usage(self, collector: str, batch: Batch, usage: Usage, now: int, fine_from: int) -> tuple[int, int]:
        series = self._series(collector, batch, usage)
        fine = usage.slot >= fine_from
        start, seconds = (usage.slot, 300) if fine else (usage.slot - usage.slot % 3600, 3600)
        core = [usage.tokens.get(token_type) for token_type in CORE_TOKEN_TYPES]
        total = sum(usage.tokens.values())
        self._db.execute(_ADD_USAGE, (series, start, seconds, usage.requests, *core, total))
        self._db.executemany(
            "INSERT INTO usage_more VALUES (?, ?, ?, ?) "
            "ON CONFLICT (series, start, token_type) DO UPDATE SET tokens = usage_more.tokens + excluded.tokens",
            [(series, start, t, n) for t, n in usage.tokens.items() if t not in CORE_TOKEN_TYPES],
        )
        return series, start

    def clear(self, collector: str, batch: Batch) -> dict[int, int]:
        """Delete the usage that this part said of the batch's window; return the touched series."""
        assert batch.window is not None
        key = (collector, batch.part, batch.window.start, batch.window.end)
        touched: dict[int, int] = {}
        ids = self._db.execute("SELECT id FROM series WHERE collector = ? AND part = ?", key[:2]).fetchall()
        for (series,) in ids if batch.part else ():
            for table in ("usage", "usage_more"):
                self._db.execute(
                    f"DELETE FROM {table} WHERE series = ? AND start >= ? AND start < ?", (series, *key[2:])
                )
            touched[series] = batch.window.start
        return touched

    def rest(self, collector: str, batch: Batch) -> None:
        facts.write(self._db, collector, batch)
        for reservation in batch.reservations:
            self._reservation(collector, batch.part, reservation)
        for load in batch.loads:
            self._db.execute(_ADD_LOAD, (collector, batch.stream, *_load_row(load)))
        for observed in batch.observed:
            self._observed(collector, observed)
            self._db.execute(
                "UPDATE retired SET back = ? WHERE collector = ? AND stream = ? AND back IS NULL",
                (observed.window.start, collector, observed.stream),
            )

    def cursor(self, collector: str, part: str, cursor: str, now: int) -> None:
        """Move the part's position; an empty cursor forgets the part."""
        if not cursor:
            self._db.execute("DELETE FROM parts WHERE collector = ? AND part = ?", (collector, part))
            return
        self._db.execute(
            "INSERT INTO parts VALUES (?, ?, ?, ?) "
            "ON CONFLICT (collector, part) DO UPDATE SET cursor = excluded.cursor, updated = excluded.updated",
            (collector, part, cursor, now),
        )

    def _series(self, collector: str, batch: Batch, u: Usage) -> int:
        part = batch.part if batch.window is not None else ""  # only restatable parts are ever cleared again
        labels = json.dumps(u.labels)
        key = (collector, part, batch.stream, u.path, u.provider, u.model, u.service_tier, u.region, u.band)
        row = (*key, int(u.band_known), labels)
        if row not in self._ids:
            # Of a restatable part every row must be found again, so none is kept under other labels than its own.
            if not part and u.labels and self._is_new(row) and self._count(collector) >= MAX_SERIES:
                return self._series(collector, batch, replace(u, labels=()))
            self._db.execute(
                "INSERT INTO series (collector, part, stream, path, provider, model, service_tier, region, band, "
                "band_known, labels) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                row,
            )
            self._ids[row] = self._db.execute(_FIND_SERIES, row).fetchone()[0]
        return self._ids[row]

    def _is_new(self, row: tuple[object, ...]) -> bool:
        return self._db.execute(_FIND_SERIES, row).fetchone() is None

    def _count(self, collector: str) -> int:
        found: int = self._db.execute("SELECT count(*) FROM series WHERE collector = ?", (collector,)).fetchone()[0]
        if found == MAX_SERIES:
            log.warning("%s: more than %d usage series; usage with further labels is kept without", collector, found)
        return found

    def _reservation(self, collector: str, part: str, r: Reservation) -> None:
        """A reservation that goes on where the last one of its card ended, on the same terms, makes that one longer."""
        terms = encode_terms(r)
        extended = self._db.execute(
            "UPDATE reservations SET stop = max(stop, ?) WHERE card = ? AND terms = ? AND start <= ? AND stop >= ?",
            (r.window.end, r.card, terms, r.window.start, r.window.start),
        )
        if extended.rowcount == 0:
            self._db.execute(
                "INSERT INTO reservations (collector, part, card, terms, start, stop) VALUES (?, ?, ?, ?, ?, ?)",
                (collector, part, r.card, terms, r.window.start, r.window.end),
            )

    def _observed(self, collector: str, o: Observed) -> None:
        """Time that adjoins what the stream vouched for before, in the same state, makes that span longer."""
        span = (collector, o.stream, int(o.up), o.window.start, o.window.start)
        extended = self._db.execute(
            "UPDATE observed SET stop = max(stop, ?) "
            "WHERE collector = ? AND stream = ? AND up = ? AND start <= ? AND stop >= ?",
            (o.window.end, *span),
        )
        if extended.rowcount == 0:
            self._db.execute(
                "INSERT INTO observed VALUES (?, ?, ?, ?, ?) "
                "ON CONFLICT (collector, stream, start) DO UPDATE SET stop = excluded.stop, up = excluded.up",
                (collector, o.stream, o.window.start, o.window.end, int(o.up)),
            )


def encode_terms(r: Reservation) -> str:
    """What a reservation was made on, apart from its window and card: two spans on equal terms may be joined."""
    return json.dumps([r.workload, r.gpu, str(r.count), r.while_running, r.resources, r.node])


def _load_row(load: EngineLoad) -> tuple[object, ...]:
    return (
        load.model,
        load.slot,
        load.seconds,
        load.saturated_seconds,
        load.saturated_tokens,
        load.prefill_seconds,
        load.decode_seconds,
        load.running,
        load.waiting,
        load.kv_cache_usage,
    )
