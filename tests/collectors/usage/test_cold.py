"""A backlog read by child processes gives exactly what the same lines give when they are tailed."""

import gzip
import json
import random
from collections import Counter
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.usage import pool, reading
from collectors.usage.aggregate import Job, LineReader
from collectors.usage.duplicates import Apart, Ids, RequestId, Seen, keys_of, newest, restore, save
from tests.collectors.usage.log_follower import EDGES, NOW, Follower, line

TIMES = st.one_of(
    st.integers(NOW - 7000, NOW),
    st.floats(NOW - 7000, NOW),
    st.integers(0, 6999).map(lambda s: f"2026-09-20T23:{s % 60:02}:{s // 60 % 60:02}.{s:06}Z"),
    st.sampled_from(
        ["2026-09-21T01:00:00+02:00", "2026-09-21 00:01:02Z", "2026-09-21T00:00:00", "soon", None, True, -5]
    ),
)
COUNTS = st.one_of(st.integers(0, 9000), st.sampled_from([0, -1, 10**12, 1.5, "7", None, True]))
TOKEN_TYPES = st.sampled_from(
    ["input", "output", "cache_read", "cache_write", "cache_write_1h", "audio_input", "Bad type"]
)
LABELS = st.one_of(
    st.none(),
    st.dictionaries(st.sampled_from("abc"), st.one_of(st.sampled_from(["x", "é", ""]), st.integers(), st.booleans())),
    st.just([1]),
)
LLMCOST = st.fixed_dictionaries(
    {"model": st.sampled_from(["m", "n", "", None]), "tokens": st.dictionaries(TOKEN_TYPES, COUNTS, max_size=4)},
    optional={
        "ts": TIMES,
        "provider": st.sampled_from(["acme", "", None]),
        "requests": st.one_of(st.integers(0, 3), COUNTS),
        "service_tier": st.sampled_from(["default", "flex", "", None]),
        "region": st.sampled_from(["eu", "", None, 3]),
        "labels": LABELS,
        "id": st.one_of(st.integers(0, 20).map(str), st.integers(0, 20), st.none()),
        "unknown": st.just({"x": [1, {"y": None}]}),
    },
)
USAGE = st.dictionaries(st.sampled_from(["prompt_tokens", "completion_tokens", "input_tokens", "total_tokens"]), COUNTS)
RESPONSES = st.fixed_dictionaries({"model": st.sampled_from(["g", None]), "usage": USAGE}, optional={"created": TIMES})
LITELLM = st.fixed_dictionaries(
    {"call_type": st.just("acompletion"), "prompt_tokens": COUNTS, "completion_tokens": COUNTS, "model": st.just("l")},
    optional={"endTime": TIMES, "cache_hit": st.sampled_from(["True", "False", None, False])},
)
ROWS = st.one_of(
    LLMCOST, LLMCOST, LLMCOST, RESPONSES, LITELLM, RESPONSES.map(lambda row: {"time": NOW, "response": row})
)
JUNK = st.sampled_from(
    [b"", b"   ", b"{", b"[]", b"null", b'{"model": "m",', b'"tokens": {"input": 1}}', b"\xff\xfe", b"{}"]
)
LINES = st.lists(st.one_of(ROWS.map(lambda row: json.dumps(row).encode()), JUNK), max_size=30)


def result(lines: list[bytes], detected: Any, size: int) -> Any:
    reader = LineReader(Job("auto", detected, NOW, fallback_at=NOW, band_edges=EDGES))
    for start in range(0, len(lines), size):
        block = b"".join(line + b"\n" for line in lines[start : start + size])
        reader.read(block, start + 1, block.count(b"\n"))
    merged = pool.merge([reader.result()])
    usage = sorted((u.slot, u.provider, u.model, u.service_tier, u.region, u.band, u.labels) for u in merged.usage)
    sums = sorted((u.slot, u.model, u.requests, sorted(u.tokens.items()), u.band_known) for u in merged.usage)
    return usage, sums, dict(sorted(merged.rejected.items()))


@settings(max_examples=300, deadline=None)
@given(LINES, st.integers(1, 30))
def test_the_fast_reader_and_the_exact_reader_agree(lines: list[bytes], size: int) -> None:
    """By the block, by the line, and without the fast decoder at all."""
    exact = result(lines, "openai", 1)
    assert result(lines, "llmcost", size) == exact
    assert result(lines, "llmcost", 1) == exact


def write_random(path: Path, count: int, seed: int) -> list[bytes]:
    rng = random.Random(seed)
    rows = []
    for i in range(count):
        tokens = {"input": rng.randrange(6000), "cache_read": rng.choice([0, 2000]), "output": rng.randrange(300)}
        row = {"ts": NOW - 20000 + i, "id": f"r{rng.randrange(count)}", "model": rng.choice("abc"), "tokens": tokens}
        text = json.dumps(row | {"labels": {"team": rng.choice("xyz")}}).encode()
        if rng.random() < 0.01:
            text = rng.choice([text[:50], text.replace(b"input", b"Input"), b'{"usage": {}}', b"", text + text])
        rows.append(text + b"\n")
    path.write_bytes(b"".join(rows))
    return rows


@pytest.mark.parametrize("duplicates", ["none", "possible"])
@pytest.mark.parametrize("compressed", [False, True])
def test_cold_equals_tail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, duplicates: str, compressed: bool, caplog: pytest.LogCaptureFixture
) -> None:
    cold_path, tail_path = tmp_path / "cold.jsonl", tmp_path / "tail.jsonl"
    rows = write_random(cold_path, 12000, seed=5)
    if compressed:
        cold_path.write_bytes(gzip.compress(cold_path.read_bytes()))
    tail = Follower(tail_path, duplicates=duplicates)
    for start in range(0, len(rows), 1700):
        with tail_path.open("ab") as file:
            file.writelines(rows[start : start + 1700])
        tail.read()
    caplog.clear()
    monkeypatch.setattr(reading, "COLD_BYTES", 0)
    monkeypatch.setattr(reading, "COLD_COMPRESSED_BYTES", 0)
    monkeypatch.setattr(reading, "COMMIT_BYTES", 300_000)
    cold = Follower(cold_path, duplicates=duplicates).read()
    assert not cold.failures and cold.complete_through == NOW and cold.batches > 4
    assert cold.series == tail.series
    assert cold.rejected == tail.rejected and sum(cold.rejected.values()) > 50
    bad = next(number for number, row in enumerate(rows, 1) if b"Input" in row or len(row) == 51 or b"usage" in row)
    assert f"line {bad} " in caplog.text
    again = Follower(cold_path, duplicates=duplicates)
    again.cursors = cold.cursors
    assert again.read().requests == 0


@pytest.mark.parametrize("far", [0, 3])
def test_repeats_near_and_far(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, far: int) -> None:
    """Lines repeated at once are judged by each child for itself; a few from long before need the order."""
    rng = random.Random(9)
    rows: list[bytes] = []
    for i in range(9000):
        rows += [line(i, ts=NOW - 20000 + i)] * (2 if rng.random() < 0.02 else 1)
    for n in range(far):
        rows.insert(4000 + 2000 * n, rows[1500 + 2000 * n])
    path = tmp_path / "cold.jsonl"
    path.write_bytes(b"".join(rows))
    accepted = []
    accept = Apart.accept

    def noted(self: Apart, pieces: Any, now: int) -> bool:
        accepted.append(accept(self, pieces, now))
        return accepted[-1]

    monkeypatch.setattr(Apart, "accept", noted)
    monkeypatch.setattr(reading, "COLD_BYTES", 0)
    monkeypatch.setattr(reading, "COMMIT_BYTES", 150_000)
    log = Follower(path, duplicates="possible").read()
    assert log.requests == 9000 and log.rejected == {"duplicate": len(rows) - 9000} and not log.failures
    assert any(accepted) and (far == 0 or not all(accepted))


def test_a_child_that_dies_fails_the_file_and_nothing_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "cold.jsonl"
    write_random(path, 9000, seed=6)
    monkeypatch.setattr(reading, "COLD_BYTES", 0)
    monkeypatch.setattr(reading, "COMMIT_BYTES", 200_000)
    whole = Follower(path).read()
    broken = Follower(path)
    asked = 0
    flush = pool.Pool.flush

    def dies_at_the_third(self: pool.Pool) -> None:
        nonlocal asked
        asked += 1
        if asked == 3:
            self._children[0]._process.kill()
            self._children[0]._process.wait()
        flush(self)

    monkeypatch.setattr(pool.Pool, "flush", dies_at_the_third)
    broken.read()
    assert [failure.part for failure in broken.failures] == [str(path)] and broken.complete_through is None
    assert 0 < broken.requests < whole.requests
    assert broken.read().series == whole.series and not broken.failures


def test_ids_survive_a_cursor() -> None:
    seen = Seen(7200)
    seen.advance(NOW, NOW)
    assert not any(seen.repeats(f"id-{n}", NOW) for n in range(1000))
    fresh, counted = seen.take()
    assert len(fresh.ids.keys) == 1000 and not counted
    other = Seen(7200)
    other.learn(restore(save(newest(fresh.ids, 0, 5000))), NOW)
    assert all(other.repeats(f"id-{n}", NOW) for n in range(1000)) and not other.repeats("id-1000", NOW)
    assert newest(Ids.of(), 0, 5) == Ids.of()


@given(st.lists(st.one_of(st.none(), st.text(max_size=5), st.integers(0, 9)), max_size=8))
def test_keys_of_many_ids_are_those_of_each(ids: list[RequestId]) -> None:
    keys = [None if one is None or one == "" else text_key(str(one).encode()) for one in ids]
    assert list(keys_of(ids)) == keys


def text_key(text: bytes) -> int:
    return crc32(text) | crc32(bytes(reversed(text))) << 32


ROWS_WITH_IDS = st.lists(st.tuples(st.integers(0, 12), st.integers(-6, 6)), max_size=12)


def judged(seen: Seen, rows: list[tuple[int, int]]) -> list[bool]:
    kept = []
    for number, shift in rows:
        seen.advance(NOW + shift * 300, NOW)
        kept.append(seen.repeats(f"id-{number}", NOW + shift * 300))
    return kept


@given(ROWS_WITH_IDS, st.lists(ROWS_WITH_IDS, max_size=3))
def test_pieces_that_agree_were_judged_as_in_order(before: list[Any], pieces: list[list[Any]]) -> None:
    whole = Seen(900)
    judged(whole, before)
    whole.take()
    apart, met, counts = [], [], Counter[str]()
    for piece in pieces:
        seen = Seen(900)
        apart.append(judged(seen, piece))
        fresh, counted = seen.take()
        met.append(fresh)
        counts.update(counted)
    if Apart(whole).accept(met, NOW):
        whole.clear()
        judged(whole, before)
        whole.take()
        assert [judged(whole, piece) for piece in pieces] == apart
        assert whole.take()[1] == counts


def test_a_time_in_the_future_does_not_end_the_horizon() -> None:
    seen = Seen(7200)
    seen.advance(NOW + 10**6, NOW)
    assert not seen.repeats("a", NOW - 300) and seen.repeats("a", NOW - 300)


@pytest.mark.parametrize("pattern", ["req-{}", "chatcmpl-{:012d}"])
def test_sequential_ids_do_not_share_keys(pattern: str) -> None:
    seen = Seen(7200)
    seen.advance(NOW, NOW)
    assert not any(seen.repeats(pattern.format(n), NOW) for n in range(1_000_000))


def test_a_backlog_under_a_relative_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_random(tmp_path / "cold.jsonl", 3000, seed=8)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(reading, "COLD_BYTES", 0)
    log = Follower("cold.jsonl").read()
    assert not log.failures and log.requests > 2900
