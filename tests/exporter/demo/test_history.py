import gzip
import json
from collections import Counter
from datetime import datetime
from pathlib import Path

import pytest

from exporter.demo.history import SPAN, recorded_clients, write_history
from exporter.demo.streams import Stream, api_streams, self_hosted_streams

STARTED = 1_795_209_872  # 2026-11-20T21:24:32Z
STREAMS = (*self_hosted_streams(STARTED), *api_streams(STARTED))


def written(path: Path, streams: tuple[Stream, ...]) -> list[dict]:
    write_history(path, streams)
    return [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]


def instant(line: dict) -> float:
    return datetime.fromisoformat(line["ts"]).timestamp()


@pytest.mark.parametrize("stream", STREAMS, ids=lambda stream: stream.workload)
def test_not_a_token_or_request_is_lost_or_made(stream: Stream, tmp_path: Path) -> None:
    lines = written(tmp_path / "h.gz", (stream,))
    clients = recorded_clients()
    recorded: Counter[str] = Counter()
    for client in stream.clients:
        for _, requests, input_tokens, output_tokens in clients[client]:
            recorded.update(requests=requests, input=input_tokens, output=output_tokens)
    shown: Counter[str] = Counter()
    for line in lines:
        shown.update(line["tokens"], requests=line["requests"])
    assert shown == recorded


@pytest.mark.parametrize("stream", STREAMS, ids=lambda stream: stream.workload)
def test_it_ends_at_the_handover_and_fills_two_weeks(stream: Stream, tmp_path: Path) -> None:
    times = [instant(line) for line in written(tmp_path / "h.gz", (stream,))]
    assert times == sorted(times)
    assert stream.handover - SPAN <= times[0]
    assert stream.handover - 1800 <= times[-1] < stream.handover
    assert all(at % 300 == 0 for at in times)


def test_the_same_start_gives_the_same_bytes(tmp_path: Path) -> None:
    write_history(tmp_path / "one.gz", STREAMS)
    write_history(tmp_path / "two.gz", STREAMS)
    assert (tmp_path / "one.gz").read_bytes() == (tmp_path / "two.gz").read_bytes()


def test_every_line_is_complete(tmp_path: Path) -> None:
    for line in written(tmp_path / "h.gz", STREAMS):
        assert line["requests"] >= 1
        assert set(line["tokens"]) == {"input", "output"}
        assert line["provider"] and line["model"] and line["labels"]["team"]
