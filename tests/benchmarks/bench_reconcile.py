"""1,000 self-hosted workloads over 90 days: from opening the ledger file to the first page, and every tick after it.

The ledger (tests/benchmarks/large_ledger.py) is written once through the ledger's own verbs and kept in the temporary
directory. Everything is measured in fresh processes: wall time, and CPU time beside it. The reference of the full run
is a bare SQLite scan of the same usage rows, fetched and dropped; a tick has the design's bound.

`full`: opening, snapshot, status fold, views, report, rendered page. The prices are there already: looking them up is a
child process beside it, and the page does not wait for it. `tick`: one publish tick with its page after each of 1,000
targets has delivered a batch; `few`: after 30 of them have; `quiet`: after none has; `slot`: once in five minutes, all
windows of all workloads move; `hour`: all workloads are evaluated. The bound holds for every kind. The slot that ends
with an hour closes some seconds after the hour is evaluated: sources have their interval to deliver its end.

BENCH_BILLS=0 leaves out the bill lines (90 daily ones for every second workload).
"""

import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from tests.benchmarks import large_ledger as large  # noqa: E402  # found through the path above

RUNS = int(os.environ.get("BENCH_RUNS", "3"))
BILLS = os.environ.get("BENCH_BILLS", "1") != "0"
FULL_SECONDS, TICK_SECONDS, PAGE_MB = 10.0, 0.5, 16.0
COLUMNS = "series, start, seconds, requests, input, cache_read, cache_write, cache_write_1h, output"


def child(what: str, ledger: Path) -> dict[str, Any]:
    command = [sys.executable, __file__, what, str(ledger)]
    output = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=1800).stdout
    found: dict[str, Any] = json.loads(output.splitlines()[-1])
    return found


def on_copy(what: str, ledger: Path) -> dict[str, Any]:
    with large.copied(ledger) as own:
        return child(what, own)


def timed(work: Callable[[], Any]) -> tuple[float, float, Any]:
    wall, cpu = time.perf_counter(), time.process_time()
    result = work()
    return time.perf_counter() - wall, time.process_time() - cpu, result


def scan(ledger: Path) -> dict[str, float]:
    """The bare reference: fetch every usage row."""

    def work() -> int:
        rows, cursor = 0, db.execute(f"SELECT {COLUMNS} FROM usage")
        while some := cursor.fetchmany(5000):
            rows += len(some)
        return rows

    db = sqlite3.connect(ledger)
    wall, cpu, rows = timed(work)
    db.close()
    return {"wall": wall, "cpu": cpu, "rows": rows}


def full(ledger: Path) -> dict[str, float]:
    """Open, reconcile, render; then nothing."""
    wall, cpu, (exporter, page) = timed(lambda: large.first_page(ledger))
    exporter.close()
    return {"wall": wall, "cpu": cpu, "mb": resident_mb(), "page_mb": len(page.openmetrics) / 1e6}


def ticks(ledger: Path) -> dict[str, Any]:
    """Seconds of the ticks of a simulated course, by what each one had to do: (wall, CPU, wall of the page in it)."""
    one, _ = large.first_page(ledger)
    found: dict[str, list[tuple[float, float, float]]] = {}
    for kind, step in large.course():
        step(one)
        wall, cpu, state = timed(one.exporter.tick)
        page, page_cpu, _ = timed(lambda state=state: one.exporter.page(state))
        found.setdefault(kind, []).append((wall + page, cpu + page_cpu, page))
    one.close()
    return {"kinds": found, "mb": resident_mb()}


def resident_mb() -> float:
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


def summary(times: list[list[float]]) -> str:
    wall, cpu, page = (sorted(column) for column in zip(*times, strict=True))
    p99 = wall[-(-len(wall) * 99 // 100) - 1]
    return f"{median(wall):.2f} s (p99 {p99:.2f} s, CPU {median(cpu):.2f} s, of it the page {median(page):.2f} s)"


def main() -> None:
    ledger = large.built(BILLS)
    reference = min((child("scan", ledger) for _ in range(RUNS)), key=lambda one: one["wall"])
    whole = sorted((on_copy("full", ledger) for _ in range(RUNS)), key=lambda one: one["wall"])[RUNS // 2]
    ticked = on_copy("ticks", ledger)
    kinds = ticked["kinds"]
    slowest = max(median(one[0] for one in times) for times in kinds.values())
    print(json.dumps({
        "name": "reconcile_1000_workloads_90_days",
        "figure": f"full {whole['wall']:.1f} s (CPU {whole['cpu']:.1f} s), page {whole['page_mb']:.1f} MB, "
        f"{whole['mb']:.0f} MB resident, {ticked['mb']:.0f} MB after the ticks; "
        + "; ".join(f"{kind}: {summary(times)}" for kind, times in kinds.items()),
        "reference": f"{reference['wall']:.1f} s (CPU {reference['cpu']:.1f} s), "
        f"a bare scan of {reference['rows']:.0f} usage rows",
        "ratio": round(whole["wall"] / reference["wall"], 2),
        "target": f"full <= {FULL_SECONDS:.0f} s, every kind of tick <= {TICK_SECONDS} s, page <= {PAGE_MB:.0f} MB",
        "ok": whole["wall"] <= FULL_SECONDS and slowest <= TICK_SECONDS and whole["page_mb"] <= PAGE_MB,
    }))  # fmt: skip


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps({"scan": scan, "full": full, "ticks": ticks}[sys.argv[1]](Path(sys.argv[2]))))
    else:
        main()
