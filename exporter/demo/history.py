"""Two weeks of a real production load as gateway log lines, shifted so that they end at the start of the demo.

The load is recorded in 10-minute windows; each becomes two log lines of 5 minutes (half the requests and tokens each),
the resolution of the ledger, so that the highest 5-minute rate is not doubled by the recording's coarser windows.
"""

import csv
import gzip
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path

from collectors.records import SLOT
from exporter.demo.streams import Stream

SPAN = 14 * 86400  # seconds recorded
WINDOW = 600  # seconds of one recorded window

Row = tuple[int, int, int, int]
"""Start of the window (seconds into the recording), requests, input tokens, output tokens."""


def recorded_clients() -> dict[str, list[Row]]:
    """The recorded windows of every bundled client, in time order."""
    clients: dict[str, list[Row]] = {}
    packed = files("exporter.demo").joinpath("recorded", "servegen_m-large_clients.csv.gz").read_bytes()
    rows = csv.reader(io.StringIO(gzip.decompress(packed).decode()))
    next(rows)
    for start, client, requests, input_tokens, output_tokens in rows:
        clients.setdefault(client, []).append((int(start), int(requests), int(input_tokens), int(output_tokens)))
    return clients


def write_history(path: Path, streams: Iterable[Stream]) -> int:
    """Write the history of `streams` as one gzip JSONL file, in time order; returns the number of lines.

    The same streams give the same bytes: nothing in the file depends on when or where it is written.
    """
    clients = recorded_clients()
    lines = sorted(line for stream in streams for line in _lines(stream, clients))
    with path.open("wb") as raw, gzip.GzipFile("", "wb", compresslevel=1, fileobj=raw, mtime=0) as packed:
        packed.write("".join(line for _, line in lines).encode())
    return len(lines)


def iso(at: float) -> str:
    """`at` (epoch seconds) as ISO 8601 in UTC with milliseconds."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _lines(stream: Stream, clients: Mapping[str, list[Row]]) -> Iterator[tuple[int, str]]:
    shift = stream.handover - SPAN
    for client, team in stream.clients.items():
        fixed = {"provider": stream.provider, "model": stream.model, "labels": {**stream.labels, "team": team}}
        for window, *amounts in clients[client]:
            for at, (requests, input_tokens, output_tokens) in _halves(window + shift, amounts):
                usage = {"tokens": {"input": input_tokens, "output": output_tokens}, "requests": requests}
                yield at, json.dumps({"ts": iso(at), **fixed, **usage}) + "\n"


def _halves(at: int, amounts: list[int]) -> Iterator[tuple[int, list[int]]]:
    if amounts[0] < 2:  # one request cannot be halved
        yield at, amounts
        return
    first = [amount // 2 for amount in amounts]
    yield at, first
    yield at + SLOT, [amount - half for amount, half in zip(amounts, first, strict=True)]
