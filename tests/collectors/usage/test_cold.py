"""A backlog read by child processes gives exactly what the same lines give when they are tailed."""

import gzip
import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.usage import duplicates, pool, reading
from collectors.usage.aggregate import LineReader
from collectors.usage.duplicates import Met, Seen
from collectors.usage.jobs import Job
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
    sums = sorted((*key, requests, sorted(tokens.items())) for key, requests, tokens in merged.sums)
    return sums, dict(sorted(merged.rejected.items()))


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
    accept = Seen.accept

    def noted(self: Seen, met: Met, now: int) -> int | None:
        accepted.append(accept(self, met, now))
        return accepted[-1]

    monkeypatch.setattr(Seen, "accept", noted)
    monkeypatch.setattr(reading, "STRETCH_BYTES", 100_000)
    monkeypatch.setattr(reading, "MIN_STRETCH_BYTES", 20_000)
    monkeypatch.setattr(reading, "COLD_BYTES", 0)
    monkeypatch.setattr(reading, "COMMIT_BYTES", 150_000)
    log = Follower(path, duplicates="possible").read()
    assert log.requests == 9000 and log.rejected == {"duplicate": len(rows) - 9000} and not log.failures
    assert len(accepted) > 10 and 0 in accepted and (far == 0 or None in accepted)


def test_a_child_that_dies_fails_the_file_and_nothing_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "cold.jsonl"
    write_random(path, 9000, seed=6)
    monkeypatch.setattr(reading, "COLD_BYTES", 0)
    monkeypatch.setattr(reading, "COMMIT_BYTES", 200_000)
    monkeypatch.setattr(reading, "STRETCH_BYTES", 100_000)
    whole = Follower(path).read()
    broken = Follower(path)
    pools = []
    start, commit = pool.Pool.start, reading.FileReading._commit_stretches

    def started(self: pool.Pool, job: Job, known: Any) -> None:
        pools.append(self)
        start(self, job, known)

    def dies_at_the_second(self: reading.FileReading, *arguments: Any) -> Any:
        if self._position.lines:
            pools[-1]._children[0]._process.kill()
            pools[-1]._children[0]._process.wait()
        return commit(self, *arguments)

    monkeypatch.setattr(pool.Pool, "start", started)
    monkeypatch.setattr(reading.FileReading, "_commit_stretches", dies_at_the_second)
    broken.read()
    assert [failure.part for failure in broken.failures] == [str(path)] and broken.complete_through is None
    assert 0 < broken.requests < whole.requests
    monkeypatch.setattr(reading.FileReading, "_commit_stretches", commit)
    assert broken.read().series == whole.series and not broken.failures


def test_a_backlog_under_a_relative_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_random(tmp_path / "cold.jsonl", 3000, seed=8)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(reading, "COLD_BYTES", 0)
    log = Follower("cold.jsonl").read()
    assert not log.failures and log.requests > 2900


def test_a_dense_slot_is_bounded_everywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one slot more ids than are kept: near repeats are found, far ones are said to be beyond comparison."""
    monkeypatch.setattr(duplicates, "MAX_SAVED", 100)
    monkeypatch.setattr(Seen.__init__, "__defaults__", (1000,))
    monkeypatch.setattr(reading, "COLD_BYTES", 0)
    monkeypatch.setattr(reading, "STRETCH_BYTES", 20_000)
    monkeypatch.setattr(reading, "MIN_STRETCH_BYTES", 20_000)
    path = tmp_path / "dense.jsonl"
    rows = [line(n, ts=NOW - 900) for n in range(4000)]
    path.write_bytes(b"".join([*rows[:3000], rows[2900], rows[5], *rows[3000:], rows[3990]]))
    log = Follower(path, duplicates="possible").read()
    assert not log.failures and log.rejected["duplicate"] == 2 and log.requests == 4001
    assert 2000 < log.rejected["beyond_duplicate_horizon"] <= 3100
    log.restart()  # knows what the cursor holds, and that this is not all
    with path.open("ab") as file:
        file.write(rows[3989] + rows[3000] + line(5000, ts=NOW - 10))
    before = log.rejected["beyond_duplicate_horizon"]
    log.read()
    assert log.rejected["duplicate"] == 3 and log.requests == 4003
    assert log.rejected["beyond_duplicate_horizon"] == before + 1
