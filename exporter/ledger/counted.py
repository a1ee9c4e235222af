"""Restatable usage and the counters: what of a new delivery has not been counted yet, and what was counted too much.

A provider revises yesterday's tokens, up or down, and moves them between slots. The ledger replaces its rows; counters
only step up. So every slot keeps what of it was counted, and every series a debt: tokens that were counted and then
taken back. New tokens pay the debt first, so the counter stands still until the total has caught up with it.

    tokens counted by a series' counter = sum of its slots' counted tokens + its debt

A series goes by more than the counters do: labels, tier, band. What a delivery takes from one series and gives to
another of the same path, provider and model has been counted (a renamed project, say): it moves, and counts nothing.
"""

import json
import sqlite3
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from collectors.records import CORE_TOKEN_TYPES, SLOT, Batch, Usage, Window
from exporter.ledger.snapshot import SeriesKey

REQUESTS = ""
"""The requests of a series, kept beside its token types."""

Amounts = dict[str, int]

Group = tuple[str, str, str]
"""The path, provider and model of a series."""

_CORE = f"SELECT start, {', '.join(CORE_TOKEN_TYPES)} FROM usage WHERE series = ? AND start >= ? AND start < ?"
_TYPED = "SELECT start, token_type, tokens FROM {} WHERE series = ? AND start >= ? AND start < ?"


@dataclass(slots=True)
class Growth:
    """What one replacing delivery adds to the counters: `usage`, each at the slot it came for; and to the tokens that
    came too late for them. `counted` and `debts` are what the ledger is to keep, in the delivery's transaction."""

    usage: list[Usage] = field(default_factory=list)
    late_tokens: int = 0
    counted: dict[tuple[SeriesKey, int], Amounts] = field(default_factory=dict)
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
    fresh: bool  # nothing of it was counted before


@dataclass(frozen=True, slots=True)
class Known:
    """What the ledger knows of the part before: its rows and what of them was counted by slot, and debts by series."""

    rows: Mapping[tuple[SeriesKey, int], Amounts]
    counted: Mapping[tuple[SeriesKey, int], Amounts]
    debts: Mapping[SeriesKey, Amounts]


def key_of(collector: str, stream: str, u: Usage) -> SeriesKey:
    return SeriesKey(
        collector, stream, u.path, u.provider, u.model, u.service_tier, u.region, u.band, u.band_known, u.labels
    )


def growth(collector: str, batch: Batch, known: Known, now: int, late_after: int) -> Growth:
    """What the counters gain from `batch`, which replaces its part. A slot that is first seen more than `late_after`
    seconds after its end is not counted, nor is what it grows by later. Pure."""
    found = Growth()
    new: dict[SeriesKey, dict[int, Usage]] = {}
    for usage in batch.usage:
        slots = new.setdefault(key_of(collector, batch.stream, usage), {})
        slots[usage.slot] = _added(slots[usage.slot], usage) if usage.slot in slots else usage
    counted: dict[SeriesKey, list[int]] = {}
    for key, slot in known.counted:
        counted.setdefault(key, []).append(slot)
    moving = _taken_back(new, known)
    groups: dict[Group, list[Settled]] = {}
    for key in (*new, *(counted.keys() - new.keys())):
        slots = new.get(key, {})
        starts = sorted({*counted.get(key, ()), *slots}, reverse=True)
        settled = _series(found, key, slots, starts, known, now - late_after, moving)
        groups.setdefault(_group(key), []).append(settled)
    for group in groups.values():
        _net(found, group)
        for one in group:
            if one.slots:
                found.usage += _placed(one.slots[max(one.slots)], one.grown, one.left)
    return found


def _group(key: SeriesKey) -> Group:
    """What of a series the labels of its counters tell, but for the workload."""
    return key.path, key.provider, key.model


def _taken_back(new: Mapping[SeriesKey, Mapping[int, Usage]], known: Known) -> set[tuple[Group, int]]:
    """The slots of which counted tokens are taken back, by group: what comes there instead was first seen in time."""
    found: set[tuple[Group, int]] = set()
    for (key, slot), before in known.counted.items():
        usage = new.get(key, {}).get(slot)
        amounts = _amounts(usage) if usage else {}
        if any(amounts.get(t, 0) < n for t, n in before.items()):
            found.add((_group(key), slot))
    return found


def _series(
    found: Growth,
    key: SeriesKey,
    slots: Mapping[int, Usage],
    starts: Iterable[int],
    known: Known,
    on_time_from: int,
    moving: Collection[tuple[Group, int]],
) -> Settled:
    """Settle one series: the change of its counted slots, less its debt, goes to the newest slots that grew. `starts`
    are its slots, counted or delivered, the newest first."""
    change: Amounts = {}
    grown: list[tuple[int, Amounts]] = []
    fresh = True
    for slot in starts:
        amounts = _amounts(slots[slot]) if slot in slots else {}
        before = known.counted.get((key, slot))
        fresh &= before is None
        if before is None and slot + SLOT < on_time_from and (_group(key), slot) not in moving:
            old = known.rows.get((key, slot), {})
            found.late_tokens += sum(max(0, n - old.get(t, 0)) for t, n in amounts.items() if t != REQUESTS)
            continue
        step = {t: amounts.get(t, 0) - (before or {}).get(t, 0) for t in {*amounts, *(before or {})}}
        for t, n in step.items():
            change[t] = change.get(t, 0) + n
        grown.append((slot, {t: n for t, n in step.items() if n > 0}))
        found.counted[key, slot] = amounts
    debt = known.debts.get(key, {})
    left = {t: max(0, n - debt.get(t, 0)) for t, n in change.items()}
    found.debts[key] = {t: max(0, debt.get(t, 0) - change.get(t, 0)) for t in {*debt, *change}}
    return Settled(key, slots, grown, left, {t: -n for t, n in change.items() if n < 0}, fresh)


def _net(found: Growth, group: Sequence[Settled]) -> None:
    """What this delivery took back from some series of a group pays for what others of it grew by, new ones first."""
    giving = [one for one in group if one.owed]
    for taking in sorted(group, key=lambda one: not one.fresh) if giving else ():
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


def _amounts(usage: Usage) -> Amounts:
    return {**usage.tokens, REQUESTS: usage.requests}


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
    rows: dict[tuple[SeriesKey, int], Amounts] = {}
    counted: dict[tuple[SeriesKey, int], Amounts] = {}
    for series, key in ids.items():
        span = (series, window.start, window.end)
        for start, *core in db.execute(_CORE, span):
            rows[key, start] = {t: n for t, n in zip(CORE_TOKEN_TYPES, core, strict=True) if n is not None}
        for start, token_type, tokens in db.execute(_TYPED.format("usage_more"), span):
            rows.setdefault((key, start), {})[token_type] = tokens
        for start, token_type, tokens in db.execute(_TYPED.format("counted"), span):
            counted.setdefault((key, start), {})[token_type] = tokens
    texts = {encode_key(key): key for key in {*ids.values(), *wanted}}
    debts: dict[SeriesKey, Amounts] = {}
    for text, token_type, tokens in db.execute(
        "SELECT series, token_type, tokens FROM debts WHERE collector = ?", (collector,)
    ):
        if text in texts:
            debts.setdefault(texts[text], {})[token_type] = tokens
    return Known(rows, counted, debts)


def write(db: sqlite3.Connection, collector: str, found: Growth, ids: Mapping[SeriesKey, int]) -> None:
    """Keep what was counted and what is owed. `ids` are the series ids of the delivery's part by key."""
    slots = [(ids[key], slot, amounts) for (key, slot), amounts in found.counted.items()]
    db.executemany("DELETE FROM counted WHERE series = ? AND start = ?", [slot[:2] for slot in slots])
    db.executemany(
        "INSERT INTO counted VALUES (?, ?, ?, ?)",
        [(series, slot, token_type, n) for series, slot, amounts in slots for token_type, n in amounts.items()],
    )
    rows = [(collector, encode_key(key), t, n) for key, owed in found.debts.items() for t, n in owed.items()]
    db.executemany("DELETE FROM debts WHERE collector = ? AND series = ? AND token_type = ?", [r[:3] for r in rows])
    db.executemany("INSERT INTO debts VALUES (?, ?, ?, ?)", [r for r in rows if r[3]])
