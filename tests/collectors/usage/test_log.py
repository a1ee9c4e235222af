import gzip
import logging
import os
import shutil
from pathlib import Path

import pytest

from collectors.usage import files, reading
from collectors.usage.log import UsageLog
from tests.collectors.usage.log_follower import NOW, Follower, line, lines


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "usage.jsonl"


def append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


def test_appended_lines_are_counted_once_and_the_read_vouches_for_its_start(path: Path) -> None:
    path.write_bytes(lines(range(3)))
    log = Follower(path).read()
    assert log.requests == 3 and log.complete_through == NOW
    log.restart()
    assert log.read(NOW + 15).requests == 3
    append(path, lines(range(3, 5)))
    assert log.read(NOW + 30).requests == 5 and log.complete_through == NOW + 30


def test_a_half_written_line_is_left_for_the_next_read(path: Path) -> None:
    whole = line(2)
    path.write_bytes(line(1) + whole[:40])
    log = Follower(path).read()
    assert log.requests == 1 and not log.rejected
    append(path, whole[40:])
    assert log.read().requests == 2 and not log.rejected


def test_a_complete_last_line_without_newline_is_counted_once(path: Path) -> None:
    path.write_bytes(line(1) + line(2).rstrip())
    log = Follower(path).read()
    assert log.requests == 2
    append(path, b"\n" + line(3))
    assert log.read().requests == 3 and not log.rejected


@pytest.mark.parametrize("restart", [False, True])
def test_rotation_by_rename(path: Path, restart: bool) -> None:
    path.write_bytes(lines(range(5)))
    log = Follower(f"{path}*").read()
    append(path, line(5))  # written after the last read, before the rotation
    path.rename(f"{path}.1")
    path.write_bytes(lines(range(6, 8)))
    if restart:
        log.restart()
    assert log.read().requests == 8


def test_rotation_by_copy_and_truncate(path: Path) -> None:
    path.write_bytes(lines(range(5)))
    log = Follower(f"{path}*").read()
    append(path, line(5))
    shutil.copy(path, f"{path}.1")
    path.write_bytes(b"")
    assert log.read().requests == 6
    append(path, lines(range(6, 9)))
    assert log.read().requests == 9


def test_a_compressed_rotated_file_goes_on_at_the_offset(path: Path) -> None:
    path.write_bytes(lines(range(50)))
    log = Follower(f"{path}*").read()
    with gzip.open(f"{path}.1.gz", "wb") as file:
        file.write(path.read_bytes() + line(50))
    path.write_bytes(line(51))
    log.restart()
    assert log.read().requests == 52
    assert log.read().requests == 52 and not log.failures


def test_a_gzip_in_the_making_beside_its_original_is_not_a_new_file(path: Path) -> None:
    path.write_bytes(lines(range(2000)))
    log = Follower(f"{path}*").read()
    whole = gzip.compress(path.read_bytes())
    Path(f"{path}.gz").write_bytes(whole[: len(whole) // 2])
    assert log.read().requests == 2000 and not log.failures
    path.unlink()
    log.read()
    assert log.requests == 2000 and log.failures  # cut off, and nothing else vouches for it
    Path(f"{path}.gz").write_bytes(whole)
    assert log.read().requests == 2000 and not log.failures


def test_a_truncated_gzip_fails_after_what_it_gave_and_goes_on_later(path: Path) -> None:
    whole = gzip.compress(lines(range(3000)))
    path.write_bytes(whole[: len(whole) * 2 // 3])
    log = Follower(path).read()
    assert log.failures and log.complete_through is None
    path.write_bytes(whole)
    assert log.read().requests == 3000 and not log.failures


def test_damaged_gzip_is_a_failure_and_others_are_read(path: Path) -> None:
    whole = bytearray(gzip.compress(lines(range(2000))))
    whole[20:40] = bytes(20)
    path.write_bytes(whole)
    other = path.with_name("usage2.jsonl")
    other.write_bytes(line(1))
    log = Follower(str(path.with_name("*.jsonl"))).read()
    assert [failure.part for failure in log.failures] == [str(path)]
    assert log.requests >= 1 and log.complete_through is None


def test_members_of_a_gzip_file_are_one_stream(path: Path) -> None:
    path.write_bytes(gzip.compress(lines(range(3))) + gzip.compress(lines(range(3, 7))))
    assert Follower(path).read().requests == 7


def test_a_copy_under_another_name_is_the_same_file(path: Path) -> None:
    path.write_bytes(lines(range(30)))
    shutil.copy(path, f"{path}.copy")
    os.link(path, f"{path}.link")
    Path(f"{path}.short").write_bytes(lines(range(20)))  # a copy in the making
    log = Follower(f"{path}*").read()
    assert log.requests == 30
    log.restart()
    assert log.read().requests == 30 and not log.failures


def test_a_replaced_file_is_a_new_file(path: Path) -> None:
    path.write_bytes(lines(range(10)))
    log = Follower(path).read()
    path.write_bytes(lines(range(100, 103)))
    assert log.read().requests == 13


def test_files_that_begin_the_same_are_told_apart(path: Path) -> None:
    path.write_bytes(lines(range(20)))
    log = Follower(f"{path}*").read()
    Path(f"{path}.b").write_bytes(lines(range(15)) + lines(range(100, 110)))
    assert log.read().requests == 45


def test_start_at_end_skips_what_is_there_and_reads_later_files_from_the_start(path: Path) -> None:
    path.write_bytes(lines(range(9)))
    log = Follower(f"{path}*", start_at="end").read()
    assert log.requests == 0
    append(path, line(9))
    Path(f"{path}.new").write_bytes(lines(range(20, 22)))
    assert log.read().requests == 3


def test_times_come_from_the_line_else_from_the_read_if_the_file_is_followed(path: Path) -> None:
    path.write_bytes(line(1, ts=...))
    log = Follower(path, late_after=3600).read()
    assert log.rejected == {"no_timestamp": 1} and log.requests == 0
    append(path, line(2, ts=...))
    log.read(NOW + 15)
    assert [usage.slot for usage in log.usage] == [(NOW + 15) // 300 * 300]
    append(path, line(3, ts=...))
    log.read(NOW + 8000)  # the exporter was away: nobody knows when
    assert log.rejected == {"no_timestamp": 2}


def test_bands_are_by_the_whole_prompt_and_strictly_above_the_edge(path: Path) -> None:
    prompts = [
        {"input": 900, "cache_read": 100},
        {"input": 901, "cache_read": 100},
        {"input": 1, "cache_write_1h": 5000},
    ]
    path.write_bytes(b"".join(line(i, tokens=tokens | {"output": 9}) for i, tokens in enumerate(prompts)))
    log = Follower(path).read()
    assert sorted((usage.band, usage.requests, usage.band_known) for usage in log.usage) == [
        (0, 1, True),
        (1000, 1, True),
        (5000, 1, True),
    ]


def test_a_line_for_many_requests_has_the_lowest_band_unknown(path: Path) -> None:
    path.write_bytes(line(1, requests=40, tokens={"input": 90000}))
    (usage,) = Follower(path).read().usage
    assert (usage.band, usage.band_known, usage.requests, usage.tokens) == (0, False, 40, {"input": 90000, "output": 0})


def test_settings_fill_in_what_lines_do_not_say(path: Path) -> None:
    path.write_bytes(line(1, provider=..., labels=...) + line(2))
    log = Follower(path, provider="mine", serves="self_hosted", labels={"team": "x", "site": "a"}).read()
    assert {(u.path, u.provider, u.labels) for u in log.usage} == {
        ("self_hosted", "mine", (("site", "a"), ("team", "x"))),
        ("self_hosted", "acme", (("site", "a"), ("team", "support"))),
    }


def test_bad_lines_are_counted_and_named_without_their_content(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    secret = b'{"prompt": "my secret'
    path.write_bytes(line(1) + secret + b"\n" + line(2) + (b"[]\n" + line(3)) * 9)
    with caplog.at_level(logging.INFO, "collectors.usage.log"):
        log = Follower(path).read()
    assert log.requests == 11 and log.rejected == {"malformed": 10} and log.complete_through == NOW
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 5 and f"{path}: line 2 " in warnings[0] and f"{path}: line 4 " in warnings[1]
    assert "secret" not in caplog.text and "format llmcost" in caplog.text


def test_a_line_that_is_too_long_is_skipped_and_counted(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MAX_LINE", 300_000)
    path.write_bytes(line(1) + b'{"x": "' + b"a" * 900_000)
    log = Follower(path).read()
    assert log.requests == 1 and log.rejected == {"line_too_long": 1}
    log.restart()
    append(path, b"b" * 500_000 + b'"}\n' + line(2))
    assert log.read().requests == 2 and log.rejected == {"line_too_long": 1}


def test_several_formats_in_one_file(path: Path) -> None:
    openai = b'{"id":"c","created":%d,"model":"gpt-5","usage":{"prompt_tokens":5,"completion_tokens":1}}\n' % NOW
    message = b'{"time":%d,"response":{"type":"message","model":"c","usage":{"input_tokens":7,"output_tokens":2}}}\n'
    path.write_bytes(line(1) + openai + message % NOW)
    log = Follower(path).read()
    assert {(u.provider, u.tokens["output"]) for u in log.usage} == {("acme", 50), ("openai", 1), ("anthropic", 2)}


def test_a_path_without_a_file_is_a_failure_until_one_was_seen(path: Path) -> None:
    log = Follower(path).read()
    assert log.failures and log.complete_through is None
    path.write_bytes(line(1))
    log.read()
    path.unlink()
    assert log.read(NOW + 15).complete_through == NOW + 15 and not log.failures


def test_duplicates_are_compared_across_files_reads_and_restarts(path: Path) -> None:
    path.write_bytes(lines(range(10)) + line(3))
    log = Follower(f"{path}*", duplicates="possible").read()
    assert log.requests == 10 and log.rejected == {"duplicate": 1}
    Path(f"{path}.2").write_bytes(line(50) + line(4))
    log.restart()
    assert log.read().requests == 11 and log.rejected == {"duplicate": 2}
    append(path, line(50) + line(1, id=...) * 2)
    assert log.read().requests == 13 and log.rejected == {"duplicate": 3}


def test_what_lies_beyond_the_horizon_is_counted_and_said(path: Path) -> None:
    path.write_bytes(line(1, ts=NOW - 9000) + line(2, ts=NOW - 10) + line(1, ts=NOW - 9000))
    log = Follower(path, duplicates="possible").read()
    assert log.requests == 3 and log.rejected == {"beyond_duplicate_horizon": 1}


def test_ids_of_lines_that_were_not_committed_are_forgotten(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_bytes(lines(range(10)))
    log = Follower(path, duplicates="possible")
    list(log.collector.collect(NOW, {}))  # read, but the ledger failed
    assert log.read().requests == 10 and not log.rejected


def test_stopping_between_commits_loses_and_repeats_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "COMMIT_BYTES", 1)
    monkeypatch.setattr(files, "PIECE", 500)
    path.write_bytes(lines(range(40)))
    log = Follower(path, duplicates="possible")
    for _ in range(60):
        log.restart()
        log.read(batches=1)
    assert log.requests == 40 and not log.rejected


def test_the_position_of_a_file_that_is_gone_is_dropped_after_a_week(path: Path) -> None:
    path.write_bytes(line(1))
    other = path.with_name("usage2.jsonl")
    other.write_bytes(line(2))
    log = Follower(str(path.with_name("*.jsonl"))).read()
    other.rename(other.with_suffix(".away"))
    log.read(NOW + 60)
    assert len(log.cursors) == 3
    other.with_suffix(".away").rename(other)  # it comes back: the week starts anew
    log.restart()
    log.read(NOW + 6 * 86400)
    other.unlink()
    for day in (7, 8, 9, 13, 14):
        log.read(NOW + day * 86400 + 1)
        assert len(log.cursors) == 3
    log.restart()
    log.read(NOW + 14 * 86400 + 2)
    assert len(log.cursors) == 2 and log.requests == 2
    assert log.read(NOW + 15 * 86400).requests == 2 and not log.failures


def test_a_cursor_of_something_else_is_an_error(path: Path) -> None:
    path.write_bytes(line(1))
    log = Follower(path)
    log.cursors["x"] = "17"
    with pytest.raises(ValueError, match="not the cursor of a log file"):
        log.read()


def test_the_settings_are_the_collectors() -> None:
    assert UsageLog.Settings(name="a", kind="usage_log", path="x").format == "auto"
