"""A cold JSONL backlog through the usage log collector, against a bare DuckDB aggregation of the same file.

The reference is `read_json` with explicit columns, grouped by hour, model and team. Beside it, `ratio_same_groups` is
against a query that reads the columns and makes the groups that the collector does, unchecked. All sides are processes
of their own, timed from their start to their end (interpreter and imports included), taken in turns, the median of
each. Peak memory is the sum of the peaks of the collector's process and of its children, read from /proc. It is also
taken of dense logs with `duplicates: possible`: more ids inside one slot, and inside the horizon, than are kept.

    python tests/benchmarks/bench_usage_log.py [rows]
"""

import gzip
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
ROUNDS = 5
MEMORY_TARGET = 250 * 1024 * 1024
NOW = 1_800_000_000

COLLECT = """
import sys
from collectors import Context
from collectors.records import Batch
from collectors.usage.log import UsageLog
settings = UsageLog.Settings(name="b", kind="usage_log", path=sys.argv[1], duplicates=sys.argv[2])
requests = tokens = 0
for batch in UsageLog(settings, Context(0, (128000, 200000))).collect(int(sys.argv[3]), {}):
    assert isinstance(batch, Batch), batch
    requests += sum(usage.requests for usage in batch.usage)
    tokens += sum(sum(usage.tokens.values()) for usage in batch.usage)
print(requests, tokens)
"""
DUCKDB = """
import sys
import duckdb
columns = {"ts": "TIMESTAMP", "model": "VARCHAR", "labels": "STRUCT(team VARCHAR)",
           "tokens": "STRUCT(input BIGINT, cache_read BIGINT, output BIGINT)"}
query = '''SELECT date_trunc('hour', ts), model, labels.team, count(*),
           sum(tokens.input) + sum(tokens.cache_read) + sum(tokens.output)
           FROM read_json($path, format='newline_delimited', columns=$columns) GROUP BY ALL'''
rows = duckdb.connect().execute(query, {"path": sys.argv[1], "columns": columns}).fetchall()
print(sum(row[3] for row in rows), sum(row[4] for row in rows))
"""
SAME_GROUPS = """
import sys
import duckdb
texts = dict.fromkeys(("provider", "model", "service_tier", "region", "labels"), "VARCHAR")
types = ", ".join(f"{name} BIGINT" for name in ("input", "cache_read", "cache_write", "cache_write_1h", "output"))
columns = {"ts": "TIMESTAMP", "requests": "BIGINT", **texts, "tokens": f"STRUCT({types})"}
prompt = "coalesce(tokens.input, 0) + coalesce(tokens.cache_read, 0) + coalesce(tokens.cache_write, 0)"
query = f'''SELECT time_bucket(INTERVAL 5 minutes, ts), provider, model, service_tier, region, labels,
           CASE WHEN {prompt} > 200000 THEN 2 WHEN {prompt} > 128000 THEN 1 ELSE 0 END,
           sum(requests), sum(tokens.input), sum(tokens.cache_read), sum(tokens.cache_write),
           sum(tokens.cache_write_1h), sum(tokens.output)
           FROM read_json($path, format='newline_delimited', columns=$columns) GROUP BY ALL'''
rows = duckdb.connect().execute(query, {"path": sys.argv[1], "columns": columns}).fetchall()
print(sum(row[7] for row in rows), sum(sum(n or 0 for n in row[8:]) for row in rows))
"""


def generate(path: Path, rows: int, repeated: float = 0.0) -> int:
    """Write a seeded log of about 20 requests a second; returns the number of distinct requests."""
    rng = random.Random(7)
    models = [("openai", "gpt-5"), ("anthropic", "claude-sonnet-4-5"), ("acme", "writer-7b"), ("acme", "writer-70b")]
    at, distinct = 1_789_948_800.0, 0
    with path.open("w") as file:
        while distinct < rows:
            at += rng.expovariate(20)
            provider, model = rng.choice(models)
            row = {
                "ts": datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z",
                "id": f"req-{distinct:08d}-{rng.getrandbits(32):08x}",
                "provider": provider,
                "model": model,
                "tokens": {
                    "input": rng.randint(1, 4000),
                    "cache_read": rng.choice((0, 1024)),
                    "output": rng.randint(1, 900),
                },
                "requests": 1,
                "service_tier": "default",
                "region": "",
                "status": "ok",
                "labels": {"team": f"team-{rng.randrange(20)}"},
            }
            text = json.dumps(row) + "\n"
            file.write(text * (2 if rng.random() < repeated else 1))
            distinct += 1
    return distinct


def run(code: str, *arguments: str) -> tuple[float, str, int]:
    """Seconds, output, and the summed peak memory of the process and its children (bytes)."""
    started = time.perf_counter()
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen([sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, env=environment) as process:
        peaks: dict[int, int] = {}
        while process.poll() is None:
            for pid in [process.pid, *children(process.pid)]:
                peaks[pid] = max(peaks.get(pid, 0), peak(pid))
            time.sleep(0.02)
        seconds = time.perf_counter() - started
        assert process.stdout is not None
        output = process.stdout.read().decode().strip()
    if process.returncode:
        raise SystemExit(f"a benchmark process failed with status {process.returncode}")
    return seconds, output, sum(peaks.values())


def children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def peak(pid: int) -> int:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM")), 0)


def dense(path: Path, rows: int, seconds: int) -> None:
    """Write `rows` short lines with ids of their own, evenly over `seconds`."""
    with path.open("w") as file:
        for number in range(rows):
            at = 1_789_948_800 + number * seconds // rows
            file.write(f'{{"ts":{at},"id":"r{number}","model":"writer-7b","tokens":{{"input":3,"output":7}}}}\n')


def bounded(name: str, path: Path, rows: int, seconds: int) -> dict[str, Any]:
    """The peak memory with a dense log, of which every line has to be counted."""
    dense(path, rows, seconds)
    took, output, used = run(COLLECT, str(path), "possible", str(NOW))
    if output != f"{rows} {10 * rows}":
        raise SystemExit(f"totals differ: {output} of {rows} lines")
    ratio = MEMORY_TARGET / used
    return {
        "name": name,
        "figure": round(used / 2**20),
        "reference": MEMORY_TARGET // 2**20,
        "ratio": round(ratio, 3),
        "target": 1.0,
        "seconds": round(took, 3),
        "peak_bytes": used,
        "ok": used <= MEMORY_TARGET,
    }


def compare(path: Path, duplicates: str, distinct: int) -> dict[str, Any]:
    ours, theirs, same, memory = [], [], [], 0
    for _ in range(ROUNDS):
        seconds, reference, _ = run(DUCKDB, str(path))
        theirs.append(seconds)
        same.append(run(SAME_GROUPS, str(path))[0])
        seconds, output, used = run(COLLECT, str(path), duplicates, str(NOW))
        ours.append(seconds)
        memory = max(memory, used)
        if duplicates == "none" and output != reference:
            raise SystemExit(f"totals differ: {output} against {reference}")
        if int(output.split()[0]) != distinct:
            raise SystemExit(f"{output.split()[0]} requests counted, {distinct} expected")
    return {
        "seconds": statistics.median(ours),
        "reference": statistics.median(theirs),
        "same_groups": statistics.median(same),
        "memory": memory,
    }


def report(name: str, found: dict[str, Any], target: float) -> dict[str, Any]:
    ratio = found["reference"] / found["seconds"]
    return {
        "name": name,
        "figure": round(found["seconds"], 3),
        "reference": round(found["reference"], 3),
        "ratio": round(ratio, 3),
        "ratio_same_groups": round(found["same_groups"] / found["seconds"], 3),
        "target": target,
        "peak_bytes": found["memory"],
        "ok": ratio >= target and found["memory"] <= MEMORY_TARGET,
    }


def main() -> None:
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with tempfile.TemporaryDirectory() as folder:
        plain, repeated = Path(folder, "usage.jsonl"), Path(folder, "repeated.jsonl")
        distinct = generate(plain, rows)
        compressed = Path(folder, "usage.jsonl.gz")
        with plain.open("rb") as source, gzip.open(compressed, "wb", compresslevel=6) as sink:
            shutil.copyfileobj(source, sink, 1 << 20)
        results = [
            report("usage_log_cold", compare(plain, "none", distinct), 0.7),
            report("usage_log_cold_gzip", compare(compressed, "none", distinct), 0.6),
        ]
        distinct = generate(repeated, rows, repeated=0.01)
        results.append(report("usage_log_cold_duplicates", compare(repeated, "possible", distinct), 0.4))
        results.append(bounded("usage_log_dense_slot_mb", repeated, 3 * rows, 300))
        results.append(bounded("usage_log_dense_horizon_mb", repeated, 3 * rows, 7200))
    worst = min(results, key=lambda result: result["ratio"] / result["target"])
    print(json.dumps(worst | {"name": "usage_log", "ok": all(r["ok"] for r in results), "parts": results}))


if __name__ == "__main__":
    main()
