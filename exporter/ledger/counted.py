"""Restatable usage and the counters: what of a new delivery has not been counted yet, and what was counted too much.

A provider revises yesterday's tokens, up or down, and moves them between slots. The ledger replaces its rows; counters
only step up. So every slot keeps what of it was counted, and every series a debt: tokens that were counted and then
taken back. New tokens pay the debt first, so the counter stands still until the total has caught up with it.

    tokens counted by a series' counter = sum of its slots' counted tokens + its debt

A series goes by more than the counters do: labels, tier, band. What a delivery takes from one series and gives to
another of the same path, provider and model has been counted (a renamed project, say): it moves, and counts nothing.

Tokens that come too late do not move the counters. In a slot that was first seen late they are counted only in the
place of others: as many as this delivery takes back from the group in that slot, then as many as the series owes.
"""

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from collectors.records import CORE_TOKEN_TYPES, SLOT, Batch, Usage, Window
from exporter.ledger.snapshot import SeriesKey

REQUESTS = ""
"""The requests of a series, kept beside its token types."""

Amounts = dict[str, int]

Group = tuple[str, str, str]
"""The path, provider and model of a series."""

Cell = tuple[SeriesKey, int]
"""One slot of a series."""

_CORE = (
    f"SELECT start, requests, {', '.join(CORE_TOKEN_TYPES)} FROM usage WHERE series = ? AND start >= ? AND start < ?"
)
_LATE = "late:"
"""Before the token types of what came too late, where the ledger keeps it beside what was counted."""
_TYPED = "SELECT start, token_type, tokens FROM {} WHERE series = ? AND start >= ? AND start < ?"


@dataclass(slots=True)
class Growth:
    """What one replacing delivery adds to the counters: `usage`, each at the slot it came for; and to the tokens that
    came too late for them. `counted`, `late` and `debts` are what the ledger is to keep, in the delivery's
    transaction."""

    usage: list[Usage] = field(default_factory=list)
    late_tokens: int = 0
    counted: dict[Cell, Amounts] = field(default_factory=dict)
    late: dict[Cell, Amounts] = field(default_factory=dict)
    debts: dict[SeriesKey, Amounts] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Settled:
    """One series of a delivery: by token type, what its counters may gain (`left`, grown in the slots of `grown`, the
    newest first) and what of it was taken back now (`owed`)."""

    key: SeriesKey
    slots: Mapping[int, Usage]
    grown: list[tuple[int, Amounts]]
    left: Amounts
    owed: Amounts


@dataclass(frozen=True, slots=True)
class Known:
    """What the ledger knows of the part before: its rows, what of them was counted and what came late by slot, and
    debts by series. A slot is in `late` if it was first seen too late, else in `counted` alone."""

    rows: Mapping[Cell, Amounts]
    counted: Mapping[Cell, Amounts]
    late: Mapping[Cell, Amounts]
    debts: Mapping[SeriesKey, Amounts]

    def late_before(self, cell: Cell, on_time_from: int) -> Amounts | None:
        """What is late of a slot that is, or that is first seen too late now; None of one that was seen in time."""
        if cell in self.counted or cell in self.late or cell[1] + SLOT >= on_time_from:
            return self.late.get(cell)
        return self.rows.get(cell, {})  # kept before the ledger knew what is late


def key_of(collector: str, stream: str, u: Usage) -> SeriesKey:
    return SeriesKey(
        collector, stream, u.path, u.provider, u.model, u.service_tier, u.region, u.band, u.band_known, u.labels
    )


def growth(collector: str, batch: Batch, known: Known, now: int, late_after: int) -> Growth:
    """What the counters gain from `batch`, which replaces its part. A slot that is first seen more than `late_after`
    seconds after its end is not counted, nor is what it grows by later. Pure."""
    new: dict[SeriesKey, dict[int, Usage]] = {}
    for usage in batch.usage:
        slots = new.setdefault(key_of(collector, batch.stream, usage), {})
        slots[usage.slot] = _added(slots[usage.slot], usage) if usage.slot in slots else usage
    before: dict[SeriesKey, set[int]] = {}
    for key, slot in (*known.counted, *known.late):
        before.setdefault(key, set()).add(slot)
    delivery = _Delivery(known, now - late_after, _taken_back(new, known))
    groups: dict[Group, list[Settled]] = {}
    for key in sorted({**new, **before}, key=lambda key: key in before):  # what was taken back goes to new ones first
        slots = new.get(key, {})
        starts = sorted({*before.get(key, ()), *slots}, reverse=True)
        groups.setdefault(_group(key), []).append(delivery.settle(key, slots, starts))
    for group in groups.values():
        _net(delivery.found, group)
        for one in group:
            if one.slots:
                delivery.found.usage += _placed(one.slots[max(one.slots)], one.grown, one.left)
    return delivery.found


def _group(key: SeriesKey) -> Group:
    """What of a series the labels of its counters tell, but for the workload."""
    return key.path, key.provider, key.model


def _taken_back(new: Mapping[SeriesKey, Mapping[int, Usage]], known: Known) -> dict[tuple[Group, int], Amounts]:
    """What is taken back, by group and slot: of counted tokens, and of late ones, whose types are prefixed."""
    found: dict[tuple[Group, int], Amounts] = {}
    for key, slot in {**known.counted, **known.late}:
        counted, late = known.counted.get((key, slot), {}), known.late.get((key, slot), {})
        amounts = _amounts(new.get(key, {}).get(slot))
        for t in {**counted, **late}:
            was, known_late, now = counted.get(t, 0), late.get(t, 0), amounts.get(t, 0)
            if was + known_late > now:
                back = found.setdefault((_group(key), slot), {})
                fallen = _fallen(was, known_late, now)
                back[t] = back.get(t, 0) + fallen
                back[_LATE + t] = back.get(_LATE + t, 0) + was + known_late - now - fallen
    return found


def _fallen(counted: int, late: int, now: int) -> int:
    """How many counted tokens a slot has less if it has `now` in all: they go before the late ones."""
    return min(counted, max(0, counted + late - now))


@dataclass(frozen=True, slots=True)
class _Delivery:
    """What is found of one delivery. `spare` is what it takes back by group and slot, less what came in its place."""

    known: Known
    on_time_from: int
    spare: Mapping[tuple[Group, int], Amounts]
    found: Growth = field(default_factory=Growth)

    def settle(self, key: SeriesKey, slots: Mapping[int, Usage], starts: Iterable[int]) -> Settled:
        """Settle one series: the change of its counted slots, less its debt, goes to the newest slots that grew.
        `starts` are its slots, known or delivered, the newest first."""
        known, found = self.known, self.found
        debt = dict(known.debts.get(key, {}))
        change: Amounts = {}
        grown: list[tuple[int, Amounts]] = []
        for slot in starts:
            cell, amounts = (key, slot), _amounts(slots.get(slot))
            before, late = known.counted.get(cell, {}), known.late_before(cell, self.on_time_from)
            if late is not None:
                amounts = self._late(cell, amounts, before, late, debt)
            found.counted[cell] = {**dict.fromkeys(before, 0), **amounts}
            step = {t: n - before.get(t, 0) for t, n in found.counted[cell].items()}
            for t, n in step.items():
                change[t] = change.get(t, 0) + n
            grown.append((slot, {t: n for t, n in step.items() if n > 0}))
        for t, n in known.debts.get(key, {}).items():  # late tokens that paid it are no change
            change[t] = change.get(t, 0) - (n - debt[t])
        left = {t: max(0, n - debt.get(t, 0)) for t, n in change.items()}
        found.debts[key] = {t: max(0, debt.get(t, 0) - change.get(t, 0)) for t in {*debt, *change}}
        return Settled(key, slots, grown, left, {t: -n for t, n in change.items() if n < 0})

    def _late(self, cell: Cell, now: Amounts, counted: Amounts, late: Amounts, debt: Amounts) -> Amounts:
        """What is counted of a late slot: of what it grew by only what comes in the place of counted tokens."""
        spare = self.spare.get((_group(cell[0]), cell[1]), {})
        kept: Amounts = {}
        rest: Amounts = {}
        for t in {**now, **counted, **late}:
            before, known_late, after = counted.get(t, 0), late.get(t, 0), now.get(t, 0)
            grew = max(0, after - before - known_late)
            moved = _take(spare, t, grew)
            grew -= moved + _take(spare, _LATE + t, grew - moved)
            paid = _take(debt, t, grew)
            kept[t] = before - _fallen(before, known_late, after) + moved + paid
            rest[t] = after - kept[t]
            self.found.late_tokens += 0 if t == REQUESTS else grew - paid
        self.found.late[cell] = rest
        return {t: n for t, n in kept.items() if n}


def _take(purse: Amounts, token_type: str, wanted: int) -> int:
    taken = min(wanted, purse.get(token_type, 0))
    if taken:
        purse[token_type] -= taken
    return taken


def _net(found: Growth, group: Sequence[Settled]) -> None:
    """What this delivery took back from some series of a group pays for what others of it grew by, in their order."""
    giving = [one for one in group if one.owed]
    for taking in group if giving else ():
        for giver in giving:
            for t, n in taking.left.items():
                moved = min(n, giver.owed.get(t, 0))
                if moved:
                    taking.left[t] -= moved
                    giver.owed[t] -= moved
                    found.debts[giver.key][t] -= moved


def _placed(pattern: Usage, grown: list[tuple[int, Amounts]], left: Amounts) -> list[Usage]:
    """The amounts in `left` put on the newest slots that grew by them; types that do not grow appear at 0."""
    placed = [replace(pattern, tokens=dict.fromkeys(pattern.tokens, 0), requests=0)]
    for slot, amounts in grown:
        taken = {t: min(n, left.get(t, 0)) for t, n in amounts.items()}
        for t, n in taken.items():
            left[t] -= n
        if any(taken.values()):
            requests = taken.pop(REQUESTS, 0)
            placed.append(replace(pattern, slot=slot, tokens=taken, requests=requests))
    return placed


def _amounts(usage: Usage | None) -> Amounts:
    return {**usage.tokens, REQUESTS: usage.requests} if usage else {}


def _added(one: Usage, other: Usage) -> Usage:
    tokens = {t: one.tokens.get(t, 0) + other.tokens.get(t, 0) for t in {*one.tokens, *other.tokens}}
    return replace(one, tokens=tokens, requests=one.requests + other.requests)


def encode_key(key: SeriesKey) -> str:
    """As a debt's series in the ledger: all but the collector, which has a column of its own."""
    usage = (key.stream, key.path, key.provider, key.model, key.service_tier, key.region, key.band, key.band_known)
    return json.dumps([*usage, key.labels])


def read_known(
    db: sqlite3.Connection, collector: str, window: Window, ids: Mapping[int, SeriesKey], wanted: Iterable[SeriesKey]
) -> Known:
    """What the ledger knows of a part inside `window`. `ids` are the part's series so far, `wanted` those to come."""
    rows: dict[Cell, Amounts] = {}
    counted: dict[Cell, Amounts] = {}
    late: dict[Cell, Amounts] = {}
    for series, key in ids.items():
        span = (series, window.start, window.end)
        for start, *amounts in db.execute(_CORE, span):
            rows[key, start] = {
                t: n for t, n in zip((REQUESTS, *CORE_TOKEN_TYPES), amounts, strict=True) if n is not None
            }
        for start, token_type, tokens in db.execute(_TYPED.format("usage_more"), span):
            rows.setdefault((key, start), {})[token_type] = tokens
        for start, token_type, tokens in db.execute(_TYPED.format("counted"), span):
            kept = late if token_type.startswith(_LATE) else counted
            kept.setdefault((key, start), {})[token_type.removeprefix(_LATE)] = tokens
    texts = {encode_key(key): key for key in {*ids.values(), *wanted}}
    debts: dict[SeriesKey, Amounts] = {}
    for text, token_type, tokens in db.execute(
        "SELECT series, token_type, tokens FROM debts WHERE collector = ?", (collector,)
    ):
        if text in texts:
            debts.setdefault(texts[text], {})[token_type] = tokens
    return Known(rows, counted, late, debts)


def write(db: sqlite3.Connection, collector: str, found: Growth, ids: Mapping[SeriesKey, int]) -> None:
    """Keep what was counted, what is late and what is owed. `ids` are the series ids of the delivery's part by key."""
    db.executemany("DELETE FROM counted WHERE series = ? AND start = ?", [(ids[key], at) for key, at in found.counted])
    for prefix, cells in (("", found.counted), (_LATE, found.late)):
        db.executemany(
            "INSERT INTO counted VALUES (?, ?, ?, ?)",
            [(ids[key], at, prefix + t, n) for (key, at), amounts in cells.items() for t, n in amounts.items()],
        )
    rows = [(collector, encode_key(key), t, n) for key, owed in found.debts.items() for t, n in owed.items()]
    db.executemany("DELETE FROM debts WHERE collector = ? AND series = ? AND token_type = ?", [r[:3] for r in rows])
    db.executemany("INSERT INTO debts VALUES (?, ?, ?, ?)", [r for r in rows if r[3]])
