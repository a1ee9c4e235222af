"""The ledger's promises: a transaction is all or nothing, replacing never adds, counters never fall."""

import sqlite3
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from collectors.records import Batch, Charge, EngineLoad, Observed, Reservation, Usage, Window
from exporter.intervals import Intervals
from exporter.ledger.schema import NewerLedgerError
from exporter.ledger.snapshot import Evaluation, Increment
from exporter.ledger.store import Ledger, LedgerBusyError, LedgerUnwritableError

NOW = 1_800_000_000
HOUR = 3600
DAY = 86400


@pytest.fixture
def ledger(tmp_path: Path):
    opened = Ledger(tmp_path / "ledger.db", NOW)
    yield opened
    opened.close()


def usage(slot: int, model: str = "m", requests: int = 1, **tokens: int) -> Usage:
    return Usage(slot, "self_hosted", "vllm", model, tokens, requests)


def charge(start: int, cost: str, resource: str = "i-1") -> Charge:
    window = Window(start, start + HOUR)
    return Charge(window, "Usage", "USD", Decimal(cost), Decimal(cost), resource=resource, component="gpu")


def rows(ledger: Ledger) -> dict[tuple[str, int], dict[str, int]]:
    return {
        (one.key.model, start): one.tokens(start, start + 1) for one in ledger.snapshot().series for start in one.starts
    }


def test_usage_of_one_slot_adds_up_and_keeps_what_cannot_be_told_apart_from_zero(ledger: Ledger) -> None:
    ledger.commit("c", Batch("t", usage=[usage(300, input=5, output=1)], cursor="1", stream="t"), NOW)
    ledger.commit("c", Batch("t", usage=[usage(300, input=2, cache_read=0, output=1)], cursor="2", stream="t"), NOW)
    ledger.commit("c", Batch("t", usage=[usage(600, input=1, audio_input=7)], cursor="3", stream="t"), NOW)
    assert rows(ledger) == {
        ("m", 300): {"input": 7, "cache_read": 0, "output": 2, "audio_input": 0},
        ("m", 600): {"input": 1, "cache_read": 0, "output": 0, "audio_input": 7},
    }
    assert ledger.cursors("c") == {"t": "3"}
    (series,) = ledger.snapshot().series
    assert series.request_count(0, 1000) == 3
    assert "cache_write" not in series.totals


def test_a_snapshot_reads_only_what_changed_and_equals_a_fresh_read(ledger: Ledger, tmp_path: Path) -> None:
    for i in range(20):
        ledger.commit("c", Batch("t", usage=[usage(300 * i, input=i), usage(0, "n", output=1)], stream="t"), NOW)
        ledger.snapshot()
    seen = rows(ledger)
    ledger.close()
    again = Ledger(tmp_path / "ledger.db", NOW)
    assert rows(again) == seen
    assert seen["n", 0]["output"] == 20
    again.close()


def test_a_failed_transaction_leaves_usage_cursor_and_counters_as_they_were(ledger: Ledger) -> None:
    step = Increment("llmcost_tokens_total", ("a",), 5)
    ledger.commit("c", Batch("t", usage=[usage(0, input=5)], cursor="1"), NOW, [step])
    before = rows(ledger), ledger.cursors("c"), ledger.counters()
    with pytest.raises(ValueError, match="must not fall"):
        ledger.commit(
            "c",
            Batch("t", usage=[usage(0, "other", input=1)], cursor="2", observed=[Observed(Window(0, 9))]),
            NOW,
            [step, Increment("llmcost_tokens_total", ("a",), -1)],
        )
    assert (rows(ledger), ledger.cursors("c"), ledger.counters()) == before
    assert not ledger.snapshot().streams
    ledger.commit("c", Batch("t", usage=[usage(0, "other", input=1)], cursor="2"), NOW, [step])
    assert ledger.counters()["llmcost_tokens_total", ("a",)].value == 10
    assert rows(ledger)["other", 0] == {"input": 1}


def test_counters_survive_a_restart_with_their_creation_time(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    first = Ledger(path, NOW)
    first.accrue("test", 0, NOW, [Increment("f", ("a", "b"), Decimal("0.1")), Increment("f", ("z", "b"), 0)])
    first.close()
    second = Ledger(path, NOW + 100)
    second.accrue("test", 0, NOW + 100, [Increment("f", ("a", "b"), Decimal("0.2"))])
    counters = second.counters()
    assert counters["f", ("a", "b")].value == Decimal("0.3")
    assert counters["f", ("a", "b")].created == NOW
    assert counters["f", ("z", "b")].value == 0
    assert second.first_start == NOW
    second.close()


def test_a_restated_window_is_replaced_and_nothing_else(ledger: Ledger) -> None:
    month = Window(0, 30 * DAY)
    ledger.commit("bill", Batch("jan", charges=[charge(0, "1"), charge(HOUR, "2")], window=month, cursor="a"), NOW)
    ledger.commit("bill", Batch("feb", charges=[charge(30 * DAY, "7")], window=Window(30 * DAY, 58 * DAY)), NOW)
    seen: list[tuple[list[str], list[str]]] = []

    def restated(old, new):
        seen.append(([str(c.effective_cost) for c in old], [str(c.effective_cost) for c in new]))
        yield Increment("llmcost_restatement_usd_total", ("bill", "up"), Decimal(3))

    ledger.commit("bill", Batch("jan", charges=[charge(0, "6")], window=month, cursor="b"), NOW, (), restated)
    assert sorted(str(line.charge.effective_cost) for line in ledger.snapshot().bill) == ["6", "7"]
    assert seen == [(["1", "2"], ["6"])]
    assert ledger.counters()["llmcost_restatement_usd_total", ("bill", "up")].value == 3
    ledger.commit("bill", Batch("jan", window=month, cursor=""), NOW)
    assert [line.part for line in ledger.snapshot().bill] == ["feb"]
    assert ledger.cursors("bill") == {}


def test_restated_usage_replaces_only_its_own_part(ledger: Ledger) -> None:
    day = Window(0, DAY)
    ledger.commit("api", Batch("d1", usage=[usage(0, input=10), usage(300, input=1)], window=day), NOW)
    ledger.commit("api", Batch("d2", usage=[usage(0, input=100)], window=day), NOW)
    ledger.commit("api", Batch("d1", usage=[usage(0, input=4)], window=day), NOW)
    assert sum(tokens.get("input", 0) for one in ledger.snapshot().series for tokens in [one.tokens(0, DAY)]) == 104


def test_charges_keep_every_digit_and_field(ledger: Ledger) -> None:
    full = Charge(
        Window(0, 1), "Credit", "EUR", Decimal("-0.00000000012345678901234567890"), Decimal("1E-9"), Decimal(3), None,
        "node", "p", "s", "sc", "sku", "r", "rt", "reg", "acc", Decimal("0.5"), "Hours", "Used", "Correction", "inv",
        "text", (("team", "a"),),
    )  # fmt: skip
    ledger.commit("bill", Batch("x", charges=[full], window=Window(0, 1)), NOW)
    assert [line.charge for line in ledger.snapshot().bill] == [full]


def test_adjoining_time_of_the_same_state_is_one_span(ledger: Ledger) -> None:
    for start, end, up in ((0, 15, True), (15, 30, True), (30, 45, False), (45, 60, True), (100, 110, True)):
        ledger.commit("e", Batch("t", observed=[Observed(Window(start, end), "t", up)]), NOW)
    stream = ledger.snapshot().streams["e", "t"]
    assert stream.observed == Intervals([(0, 60), (100, 110)])
    assert stream.up == Intervals([(0, 30), (45, 60), (100, 110)])
    assert stream.first_seen == 0
    ledger.retire("e", ["t"], 110)
    assert ledger.snapshot().streams["e", "t"].retired_at == 110
    ledger.commit("e", Batch("t", observed=[Observed(Window(200, 210), "t")]), NOW)
    stream = ledger.snapshot().streams["e", "t"]
    assert stream.retired_at is None
    assert stream.absent == Intervals([(110, 200)])


def test_a_log_that_vouches_for_all_time_is_one_growing_span(ledger: Ledger) -> None:
    for now in (1000, 2000, 3000):
        ledger.commit("log", Batch("", observed=[Observed(Window(0, now))]), NOW)
    assert ledger.snapshot().streams["log", ""].observed == Intervals([(0, 3000)])


def test_reservations_go_on_unless_their_terms_change(ledger: Ledger) -> None:
    def held(start: int, end: int, count: str) -> Batch:
        reservation = Reservation("gpus/a", "chat", "h100", Decimal(count), Window(start, end))
        return Batch("a", reservations=[reservation], cursor=str(end))

    for start, end, count in ((0, 0, "2"), (0, 60, "2"), (60, 120, "2"), (120, 180, "3"), (180, 240, "3")):
        ledger.commit("gpus", held(start, end, count), NOW)
    found = [(r.window.start, r.window.end, r.count) for r in ledger.snapshot().reservations]
    assert found == [(0, 120, Decimal(2)), (120, 240, Decimal(3))]


def test_loads_add_up_within_a_slot_and_keep_the_last_level(ledger: Ledger) -> None:
    for running in (1.0, 4.0):
        load = EngineLoad(300, "m", 15, 5, 700, 0.5, 2.0, running, 0.0, 0.25)
        ledger.commit("e", Batch("t", loads=[load], stream="t"), NOW)
        ledger.snapshot()
    (load,) = ledger.snapshot().loads["e", "t"]
    assert (load.seconds, load.saturated_tokens, load.prefill_seconds, load.running) == (30, 1400, 1.0, 4.0)


def test_evaluations_are_kept_as_they_were_first_made(ledger: Ledger) -> None:
    first = Evaluation("chat", "self_hosted", "api:x", HOUR, Decimal("1.10"), Decimal(1), "", 3600)
    ledger.store_evaluations([first])
    ledger.store_evaluations([Evaluation("chat", "self_hosted", "api:x", HOUR, Decimal(9), None, "coverage")])
    assert ledger.evaluations() == [first]
    assert ledger.evaluations(after=HOUR) == []


def test_the_automatic_primary_is_chosen_once(ledger: Ledger) -> None:
    assert ledger.primary("chat", "self_hosted", None) is None
    assert ledger.primary("chat", "self_hosted", "together/x") == "together/x"
    assert ledger.primary("chat", "self_hosted", "groq/y") == "together/x"


def test_accrual_moves_its_instant_with_the_counter(ledger: Ledger) -> None:
    assert ledger.accruals().get("card:a") is None
    ledger.accrue("card:a", 100, NOW, [Increment("llmcost_cost_usd_total", ("a",), Decimal("1.5"))])
    assert ledger.accruals().get("card:a") == 100


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(st.integers(0, 400), st.sampled_from(["m", "n"]), st.integers(0, 50), st.integers(0, 50)),
        max_size=40,
    ),
    st.integers(0, 400),
)
def test_rolling_up_keeps_every_token_and_the_highest_five_minutes(tmp_path_factory, found, fine_hour) -> None:
    path = tmp_path_factory.mktemp("ledger") / "ledger.db"
    ledger = Ledger(path, NOW, retain_fine=0, retain=400 * DAY)
    peaks: dict[tuple[str, int], int] = {}
    for slot, model, tokens, audio in found:
        ledger.commit("c", Batch("t", usage=[usage(slot * 300, model, input=tokens, audio_input=audio)]), NOW)
        peaks[model, slot] = peaks.get((model, slot), 0) + tokens + audio
    before = {one.key.model: one.tokens(0, NOW) for one in ledger.snapshot().series}
    ledger.compact(fine_hour * 300)
    after = {one.key.model: one.tokens(0, NOW) for one in ledger.snapshot().series}
    assert after == before
    edge = fine_hour * 300 // HOUR * HOUR
    assert all(
        (seconds == HOUR and start % HOUR == 0) if start < edge else seconds == 300
        for one in ledger.snapshot().series
        for start, seconds in zip(one.starts, one.seconds, strict=True)
    )
    with sqlite3.connect(path) as raw:
        for model, start, peak in raw.execute(
            "SELECT model, start, peak FROM usage JOIN series ON series.id = series WHERE seconds = 3600"
        ):
            assert peak == max(n for (m, s), n in peaks.items() if m == model and s * 300 // HOUR * HOUR == start)
    raw.close()
    ledger.close()


def test_a_late_record_joins_its_hour_after_the_roll_up(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.db", NOW, retain_fine=0)
    ledger.commit("c", Batch("t", usage=[usage(300, input=5), usage(600, input=6)]), NOW)
    ledger.compact(10 * HOUR)
    ledger.commit("c", Batch("t", usage=[usage(900, input=1)]), NOW)
    assert rows(ledger) == {("m", 0): {"input": 12}}
    ledger.close()


def test_old_usage_goes_and_counters_stay(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.db", NOW, retain_fine=DAY, retain=2 * DAY)
    step = Increment("llmcost_tokens_total", ("a",), 5)
    ledger.commit("c", Batch("t", usage=[usage(0, input=5), usage(10 * DAY, input=6)]), NOW, [step])
    ledger.compact(11 * DAY)
    assert rows(ledger) == {("m", 10 * DAY): {"input": 6}}
    assert ledger.counters()["llmcost_tokens_total", ("a",)].value == 5
    ledger.close()


def test_a_second_exporter_on_the_same_ledger_is_refused(ledger: Ledger) -> None:
    with pytest.raises(LedgerBusyError, match="another llm-cost-exporter is using this ledger"):
        Ledger(ledger.path, NOW)


@pytest.mark.parametrize("damage", ["garbage", "torn"])
def test_a_damaged_ledger_is_set_aside_and_a_new_one_begun(tmp_path: Path, damage: str, caplog) -> None:
    path = tmp_path / "ledger.db"
    ledger = Ledger(path, NOW)
    for i in range(300):
        ledger.commit("c", Batch("t", usage=[usage(300 * i, f"m{i}", input=1)], cursor="x" * 500), NOW)
    ledger.close()
    content = path.read_bytes()
    path.write_bytes(
        b"not a database" * 400 if damage == "garbage" else content[:8192] + b"\xff" * (len(content) - 8192)
    )
    again = Ledger(path, NOW + 5)
    assert again.quarantines == 1
    assert (tmp_path / f"ledger.db.corrupt-{NOW + 5}").exists()
    assert "set aside" in caplog.text
    assert again.cursors("c") == {}
    again.close()


def test_a_ledger_of_a_newer_release_is_refused_not_damaged(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    Ledger(path, NOW).close()
    with sqlite3.connect(path) as raw:
        raw.execute("PRAGMA user_version = 99")
    raw.close()
    with pytest.raises(NewerLedgerError, match="schema version 99"):
        Ledger(path, NOW)
    assert not list(tmp_path.glob("*.corrupt-*"))


def test_a_full_disk_loses_nothing_and_is_over_when_there_is_room(ledger: Ledger) -> None:
    """SQLite's own page limit stands in for the disk: it answers with the same error."""
    ledger.commit("c", Batch("t", usage=[usage(0, input=1)], cursor="1"), NOW)
    pages = ledger._db.execute("PRAGMA page_count").fetchone()[0]
    ledger._db.execute(f"PRAGMA max_page_count = {pages}")
    big = Batch("t", usage=[usage(300, f"model-{i}" * 50, input=1) for i in range(500)], cursor="2")
    with pytest.raises(LedgerUnwritableError, match="full"):
        ledger.commit("c", big, NOW, [Increment("llmcost_tokens_total", ("a",), 500)])
    assert not ledger.writable
    assert ledger.cursors("c") == {"t": "1"}
    assert ledger.counters() == {}
    assert rows(ledger) == {("m", 0): {"input": 1}}
    ledger._db.execute("PRAGMA max_page_count = 1000000")
    ledger.commit("c", big, NOW)
    assert ledger.writable
    assert len(rows(ledger)) == 501


def test_endless_label_values_do_not_make_endless_series(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, caplog
) -> None:
    monkeypatch.setattr("exporter.ledger.writer.MAX_SERIES", 20)
    for i in range(50):
        labelled = Usage(0, "api", "p", "m", {"input": 1}, labels=(("session", str(i)),))
        ledger.commit("log", Batch("f", usage=[labelled], cursor=str(i)), NOW)
    series = ledger.snapshot().series
    assert len(series) <= 22
    assert sum(one.tokens(0, 1)["input"] for one in series) == 50
    assert "more than 20 usage series" in caplog.text
