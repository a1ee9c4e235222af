import json
from itertools import pairwise
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.slots import slot_of
from exporter.demo.replay import Gateway, recorded_trace, requests_due
from exporter.demo.streams import Stream, self_hosted_streams

STARTED = 1_795_209_872
STREAMS = self_hosted_streams(STARTED)
ASSISTANT = STREAMS[0]
SUPPORT = next(stream for stream in STREAMS if stream.workload == "support")


def tokens(stream: Stream, start: float, end: float) -> tuple[int, int]:
    lines = [json.loads(line) for _, line in requests_due(recorded_trace(), stream, start, end)]
    return sum(line["tokens"]["input"] for line in lines), sum(line["tokens"]["output"] for line in lines)


def test_one_loop_is_the_recorded_trace() -> None:
    trace = recorded_trace()
    assert len(trace.at) == 19_366
    recorded = sum(prompt for prompt, _ in trace.tokens), sum(generated for _, generated in trace.tokens)
    origin = ASSISTANT.handover - ASSISTANT.trace_offset
    assert tokens(ASSISTANT, origin, origin + trace.length) == recorded
    assert recorded == (22_361_870, 4_088_665)


@settings(max_examples=8, deadline=None)
@given(st.lists(st.floats(0, 8000), min_size=1, max_size=6))
def test_what_is_due_does_not_depend_on_how_time_is_cut(cuts: list[float]) -> None:
    start, end = float(SUPPORT.handover), SUPPORT.handover + 8000.0
    whole = list(requests_due(recorded_trace(), SUPPORT, start, end))
    edges = [start, *sorted(start + cut for cut in cuts), end]
    assert [pair for a, b in pairwise(edges) for pair in requests_due(recorded_trace(), SUPPORT, a, b)] == whole


def test_support_falls_below_break_even_and_comes_back() -> None:
    """What config.yaml states, over every 15-minute window that decides: groq's price against 9.00 USD/h."""

    def ratio(end: int) -> float:
        prompt, generated = tokens(SUPPORT, end - 900, end)
        return (prompt * 0.59 + generated * 0.79) * 1e-6 / (9.00 / 4)

    first_mark = slot_of(STARTED) + 300
    assert SUPPORT.handover == first_mark - 1200
    assert all(ratio(first_mark + after) <= 0.9 for after in range(-300, 901, 300))
    assert all(ratio(first_mark + after) >= 1.1 for after in range(1800, 3301, 300))


def test_a_gateway_started_again_repeats_nothing_and_leaves_nothing_out(tmp_path: Path) -> None:
    log, now = tmp_path / "live.jsonl", STARTED + 0.5
    for step in (0.0, 0.0, 1.0007, 3.3333, 700.01):
        now += step
        Gateway(log, STREAMS, lambda at=now: at).advance(now)
    written = [json.loads(line)["id"] for line in log.read_text().splitlines()]
    until = int(now * 1000) / 1000
    due = sorted(
        (at, json.loads(line)["id"])
        for stream in STREAMS
        for at, line in requests_due(recorded_trace(), stream, 0, until)
    )
    assert sorted(written) == sorted(name for _, name in due)


def test_a_long_pause_is_not_made_up(tmp_path: Path) -> None:
    log = tmp_path / "live.jsonl"
    Gateway(log, STREAMS, lambda: STARTED).advance(STARTED)
    before = len(log.read_text().splitlines())
    late = STARTED + 86400
    Gateway(log, STREAMS, lambda: late, catch_up=60).advance(late)
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert 0 < len(lines) - before < 2000


def test_the_thread_follows_the_clock_and_stops(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path / "live.jsonl", STREAMS, lambda: STARTED)
    gateway.start()
    gateway.stop()
    assert (tmp_path / "live.jsonl").stat().st_size > 0
