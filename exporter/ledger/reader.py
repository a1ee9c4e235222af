"""Reading the ledger into a snapshot: only what changed since the last one is read again."""

import json
import sqlite3
from collections.abc import Mapping
from decimal import Decimal
from itertools import groupby

import msgspec

from collectors.records import CORE_TOKEN_TYPES, Batch, Charge, EngineLoad, Reservation, Window
from exporter.intervals import Intervals
from exporter.ledger.snapshot import BillLine, SeriesKey, Snapshot, Stream, StreamKey, UsageSeries

Spans = dict[StreamKey, list[tuple[int, int, bool]]]


class Reader:
    """The snapshot cache. Not thread-safe by itself: the ledger's lock guards it."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._revision = 0
        self._series: dict[int, UsageSeries] = {}
        self._dirty: dict[int, int] = {}
        self._all_dirty = True
        self._streams: dict[StreamKey, Stream] | None = None
        self._reservations: tuple[Reservation, ...] | None = None
        self._bill: tuple[BillLine, ...] | None = None
        self._loads: dict[StreamKey, list[EngineLoad]] = {}
        self._dirty_loads: dict[StreamKey, int] | None = None  # None: read all

    def touch(self, series: Mapping[int, int]) -> None:
        """Note that rows of these series changed from the given instants on."""
        self._revision += 1
        for key, start in series.items():
            self._dirty[key] = min(start, self._dirty.get(key, start))

    def touch_all(self) -> None:
        self._revision += 1
        self._all_dirty = True
        self.forget()

    def touch_streams(self) -> None:
        self._revision += 1
        self._streams = None

    def saw(self, collector: str, batch: Batch) -> None:
        """Note what else than usage a batch changed."""
        if batch.observed:
            self._streams = None
        if batch.reservations:
            self._reservations = None
        if batch.charges or batch.window is not None:
            self._bill = None
        if batch.loads and self._dirty_loads is not None:
            key, slot = (collector, batch.stream), min(load.slot for load in batch.loads)
            self._dirty_loads[key] = min(slot, self._dirty_loads.get(key, slot))

    def forget(self) -> None:
        """After a roll-back what was cached of the transaction is void."""
        self._streams = self._reservations = self._bill = self._dirty_loads = None

    def snapshot(self, fine_from: int) -> Snapshot:
        self._refresh_series()
        self._refresh_loads()
        if self._streams is None:
            self._streams = self._read_streams()
        if self._reservations is None:
            self._reservations = self._read_reservations()
        if self._bill is None:
            self._bill = self._read_bill()
        return Snapshot(
            revision=self._revision,
            fine_from=fine_from,
            series=tuple(self._series.values()),
            streams=self._streams,
            reservations=self._reservations,
            bill=self._bill,
            loads={key: tuple(found) for key, found in self._loads.items()},
        )

    def _refresh_series(self) -> None:
        if self._all_dirty:
            self._series.clear()
            starts = {row[0]: 0 for row in self._db.execute("SELECT id FROM series")}
        else:
            starts = self._dirty
        for series_id, start in starts.items():
            self._refresh(series_id, start)
        self._dirty, self._all_dirty = {}, False

    def _refresh(self, series_id: int, start: int) -> None:
        series = self._series.get(series_id)
        if series is None:
            series = self._series[series_id] = UsageSeries(self._read_key(series_id))
            start = 0
        series.truncate(start)
        more = self._read_more(series_id, start)
        rows = self._db.execute(
            f"SELECT start, seconds, requests, {', '.join(CORE_TOKEN_TYPES)} FROM usage "
            "WHERE series = ? AND start >= ? ORDER BY start",
            (series_id, start),
        )
        for at, seconds, requests, *core in rows:
            tokens = {t: n for t, n in zip(CORE_TOKEN_TYPES, core, strict=True) if n is not None}
            tokens.update(more.get(at, {}))
            series.append(at, seconds, tokens, requests)

    def _read_more(self, series_id: int, start: int) -> dict[int, dict[str, int]]:
        rows = self._db.execute(
            "SELECT start, token_type, tokens FROM usage_more WHERE series = ? AND start >= ? ORDER BY start",
            (series_id, start),
        )
        return {at: {row[1]: row[2] for row in group} for at, group in groupby(rows, key=lambda row: row[0])}

    def _read_key(self, series_id: int) -> SeriesKey:
        row = self._db.execute(
            "SELECT collector, stream, path, provider, model, service_tier, region, band, band_known, labels "
            "FROM series WHERE id = ?",
            (series_id,),
        ).fetchone()
        labels = tuple((name, value) for name, value in json.loads(row[9]))
        collector, stream, path, provider, model, service_tier, region, band, band_known, _ = row
        return SeriesKey(collector, stream, path, provider, model, service_tier, region, band, bool(band_known), labels)

    def _read_streams(self) -> dict[StreamKey, Stream]:
        spans: Spans = {}
        for collector, stream, start, stop, up in self._db.execute(
            "SELECT collector, stream, start, stop, up FROM observed ORDER BY start"
        ):
            spans.setdefault((collector, stream), []).append((start, stop, bool(up)))
        retired: dict[StreamKey, int] = {}
        absent: dict[StreamKey, list[tuple[int, int]]] = {}
        for collector, stream, at, back in self._db.execute("SELECT collector, stream, at, back FROM retired"):
            if back is None:
                retired[collector, stream] = at
            else:
                absent.setdefault((collector, stream), []).append((at, back))
        return {
            key: Stream(
                first_seen=found[0][0],
                retired_at=retired.get(key),
                observed=Intervals((start, stop) for start, stop, _ in found),
                up=Intervals((start, stop) for start, stop, up in found if up),
                absent=Intervals(absent.get(key, ())),
            )
            for key, found in spans.items()
        }

    def _read_reservations(self) -> tuple[Reservation, ...]:
        rows = self._db.execute("SELECT card, terms, start, stop FROM reservations ORDER BY start, id")
        return tuple(_reservation(*row) for row in rows)

    def _read_bill(self) -> tuple[BillLine, ...]:
        rows = self._db.execute("SELECT collector, part, charge FROM charges ORDER BY id")
        return tuple(BillLine(c, part, msgspec.json.decode(text, type=Charge)) for c, part, text in rows)

    def _refresh_loads(self) -> None:
        columns = (
            "slot, model, seconds, saturated_seconds, saturated_tokens, prefill_seconds, decode_seconds, running, "
            "waiting, kv_cache_usage"
        )
        if self._dirty_loads is None:
            self._loads = {}
            for collector, stream, *row in self._db.execute(
                f"SELECT collector, stream, {columns} FROM loads ORDER BY slot"
            ):
                self._loads.setdefault((collector, stream), []).append(EngineLoad(*row))
        else:
            for key, slot in self._dirty_loads.items():
                kept = [load for load in self._loads.get(key, ()) if load.slot < slot]
                rows = self._db.execute(
                    f"SELECT {columns} FROM loads WHERE collector = ? AND stream = ? AND slot >= ? ORDER BY slot",
                    (*key, slot),
                )
                self._loads[key] = kept + [EngineLoad(*row) for row in rows]
        self._dirty_loads = {}


def _reservation(card: str, terms: str, start: int, stop: int) -> Reservation:
    workload, gpu, count, while_running, resources, node = json.loads(terms)
    return Reservation(card, workload, gpu, Decimal(count), Window(start, stop), while_running, tuple(resources), node)
