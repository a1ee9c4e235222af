"""Reading the ledger into a snapshot: only what changed since the last one is read again."""

import json
import sqlite3
from collections.abc import Iterable, Mapping
from decimal import Decimal
from itertools import groupby

from collectors.records import (
    CORE_TOKEN_TYPES,
    HOUR,
    Allocation,
    Batch,
    EngineLoad,
    ListPrice,
    Node,
    Path,
    Reservation,
    Window,
)
from exporter.ledger import bill, facts
from exporter.ledger.bulk import read_usage
from exporter.ledger.snapshot import BillLine, FactKey, SeriesKey, Snapshot, StreamKey, UsageSeries
from exporter.ledger.streams import Streams

_KEY = "collector, stream, path, provider, model, service_tier, region, band, band_known, labels"


class Reader:
    """The snapshot cache. Not thread-safe by itself: the ledger's lock guards it."""

    def __init__(self, db: sqlite3.Connection, every_load: bool = True) -> None:
        self._db, self._wanted_loads = db, "" if every_load else "AND saturated_seconds > 0"
        self._revision = 0
        self._series: dict[int, UsageSeries] = {}
        self._dirty: dict[int, int] = {}
        self._all_dirty = True
        self._rolled: list[tuple[int, int, int]] = []  # not yet done to the series in memory
        self._streams = Streams()
        self._reservations: tuple[Reservation, ...] | None = None
        self._bill: tuple[BillLine, ...] | None = None
        self._nodes: dict[FactKey, Node] | None = None
        self._allocations: dict[FactKey, Allocation] | None = None
        self._list_prices: tuple[ListPrice, ...] | None = None
        self._loads: dict[StreamKey, tuple[EngineLoad, ...]] = {}
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

    def roll_up(self, hourly_before: int, fine_from: int, keep_from: int) -> None:
        """Note what `exporter.ledger.rollup` did to the file: the next snapshot does it to the series in memory."""
        self._rolled.append((hourly_before, fine_from, keep_from))
        hours = {series: start - start % HOUR for series, start in self._dirty.items() if start < fine_from}
        self._dirty.update(hours)  # what changed inside an hour is now that hour
        self._revision += 1
        self._streams.forget()
        self._reservations = self._dirty_loads = self._nodes = self._allocations = None

    def touch_streams(self, keys: Iterable[StreamKey]) -> None:
        self._revision += 1
        self._streams.touch(keys)

    def saw(self, collector: str, batch: Batch, billed: bool) -> None:
        """Note what else than usage a batch changed; `billed`: it said, or took back, bill lines."""
        self._streams.touch((collector, observed.stream) for observed in batch.observed)
        if batch.reservations:
            self._reservations = None
        if billed:
            self._bill = None
        if batch.nodes and self._nodes is not None:
            self._nodes = self._nodes | {(collector, node.key): node for node in batch.nodes}
        if batch.allocations and self._allocations is not None:
            self._allocations = self._allocations | {(collector, one.key): one for one in batch.allocations}
        if batch.list_prices:
            self._list_prices = None
        if batch.loads and self._dirty_loads is not None:
            key, slot = (collector, batch.stream), min(load.slot for load in batch.loads)
            self._dirty_loads[key] = min(slot, self._dirty_loads.get(key, slot))

    def forget(self) -> None:
        """After a roll-back what was cached of the transaction is void."""
        self._streams.forget()
        self._reservations = self._bill = self._dirty_loads = None
        self._nodes = self._allocations = self._list_prices = None

    def snapshot(self, fine_from: int) -> Snapshot:
        self._refresh_series()
        self._refresh_loads()
        if self._reservations is None:
            self._reservations = self._read_reservations()
        if self._bill is None:
            self._bill = tuple(bill.read(self._db))
        if self._nodes is None:
            self._nodes = facts.read_nodes(self._db)
        if self._allocations is None:
            self._allocations = facts.read_allocations(self._db)
        if self._list_prices is None:
            self._list_prices = facts.read_list_prices(self._db)
        return Snapshot(
            revision=self._revision,
            fine_from=fine_from,
            series=tuple(self._series.values()),
            streams=self._streams.refresh(self._db),
            reservations=self._reservations,
            bill=self._bill,
            loads=self._loads,
            nodes=self._nodes,
            allocations=self._allocations,
            list_prices=self._list_prices,
        )

    def _refresh_series(self) -> None:
        if self._all_dirty:
            keys = self._read_keys()
            found = dict(read_usage(self._db, keys))
            self._series = {series_id: found.get(series_id) or UsageSeries(key) for series_id, key in keys.items()}
        else:
            for rolled in self._rolled:
                for series in self._series.values():
                    series.roll_up(*rolled)
            for series_id, start in self._dirty.items():
                self._refresh(series_id, start)
        self._dirty, self._rolled, self._all_dirty = {}, [], False

    def _refresh(self, series_id: int, start: int) -> None:
        series = self._series.get(series_id)
        if series is None:
            series = self._series[series_id] = UsageSeries(self.read_key(series_id))
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

    def read_key(self, series_id: int) -> SeriesKey:
        """What distinguishes the series of this id."""
        return _key(*self._db.execute(f"SELECT {_KEY} FROM series WHERE id = ?", (series_id,)).fetchone())

    def _read_keys(self) -> dict[int, SeriesKey]:
        return {
            series_id: _key(*row) for series_id, *row in self._db.execute(f"SELECT id, {_KEY} FROM series ORDER BY id")
        }

    def _read_reservations(self) -> tuple[Reservation, ...]:
        rows = self._db.execute("SELECT card, terms, start, stop FROM reservations ORDER BY start, id")
        return tuple(_reservation(*row) for row in rows)

    def _refresh_loads(self) -> None:
        if self._dirty_loads is None:
            streams = self._db.execute("SELECT DISTINCT collector, stream FROM loads")
            self._loads = {key: self._read_loads(key, 0) for key in streams.fetchall()}
        elif self._dirty_loads:
            self._loads = self._loads.copy()  # the one before belongs to a snapshot
            for key, slot in self._dirty_loads.items():
                kept = (load for load in self._loads.get(key, ()) if load.slot < slot)
                self._loads[key] = (*kept, *self._read_loads(key, slot))
        self._dirty_loads = {}

    def _read_loads(self, key: StreamKey, slot: int) -> tuple[EngineLoad, ...]:
        rows = self._db.execute(
            "SELECT slot, model, seconds, saturated_seconds, saturated_tokens, prefill_seconds, decode_seconds, "
            "running, waiting, kv_cache_usage FROM loads "
            f"WHERE collector = ? AND stream = ? AND slot >= ? {self._wanted_loads} ORDER BY slot",
            (*key, slot),
        )
        return tuple(EngineLoad(*row) for row in rows)


def _key(
    collector: str,
    stream: str,
    path: Path,
    provider: str,
    model: str,
    service_tier: str,
    region: str,
    band: int,
    band_known: int,
    labels: str,
) -> SeriesKey:
    pairs = tuple((name, value) for name, value in json.loads(labels))
    return SeriesKey(collector, stream, path, provider, model, service_tier, region, band, bool(band_known), pairs)


def _reservation(card: str, terms: str, start: int, stop: int) -> Reservation:
    workload, gpu, count, while_running, resources, node = json.loads(terms)
    return Reservation(card, workload, gpu, Decimal(count), Window(start, stop), while_running, tuple(resources), node)
