"""Reading a FOCUS bill of 200,000 rows into exact charges, against a bare DuckDB sum of the same file.

Each runs in a process of its own, so that peak memory is its own. DuckDB sums two columns and makes no row of them, so
the ratio is for information: how far a line-by-line reading (twice: what a delivery holds, then its charges) is from
the fastest scan. The sums must agree. Prints one line of JSON.
"""

import csv
import gzip
import json
import multiprocessing
import random
import resource
import sys
import tempfile
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from time import perf_counter
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from collectors import Context
from collectors.billing.focus import Focus
from collectors.records import Batch

ROWS = 200_000
SAMPLE = Path(__file__).parents[1] / "fixtures" / "focus" / "focus_1_0_sample_a.csv.gz"


def write_bill(path: Path) -> None:
    """The recorded sample's rows again and again, each with a resource and a cost of its own."""
    with gzip.open(SAMPLE, "rt", encoding="utf-8-sig", newline="") as text:
        reader = csv.DictReader(text)
        columns, rows = list(reader.fieldnames or ()), list(reader)
    dice = random.Random(20261120)
    with path.open("w", newline="", encoding="utf-8") as out:
        writer = csv.DictWriter(out, columns)
        writer.writeheader()
        for n in range(ROWS):
            cost = f"{dice.randrange(10**9)}e-8"
            copy = {**rows[n % len(rows)], "BilledCost": str(Decimal(cost)), "EffectiveCost": str(Decimal(cost))}
            writer.writerow({**copy, "ResourceId": f"{copy['ResourceId']}-{n // len(rows)}"})


def ours(path: str) -> Decimal:
    total = Decimal(0)
    for batch in Focus(Focus.Settings("bill", "focus", path), Context(first_start=0)).collect(0, {}):
        assert isinstance(batch, Batch), batch
        total += sum(charge.billed_cost for charge in batch.charges)
    return total


def bare_duckdb(path: str) -> Decimal:
    import duckdb

    sums = "sum(BilledCost::DECIMAL(38, 8)), sum(EffectiveCost::DECIMAL(38, 8))"
    query = f"SELECT {sums} FROM read_csv(?, all_varchar = true)"
    with duckdb.connect() as db:
        found = db.execute(query, [path]).fetchone()
    assert found is not None
    return Decimal(found[0])


def measured(work: Callable[[str], Decimal], path: str) -> tuple[float, int, str]:
    """Seconds, peak resident memory in MB, and the sum."""
    start = perf_counter()
    total = work(path)
    seconds = perf_counter() - start
    return seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, str(total.normalize())


def apart(work: Callable[[str], Decimal], path: str) -> tuple[float, int, str]:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(measured, (work, path))


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bill.csv"
        write_bill(path)
        seconds, megabytes, total = apart(ours, str(path))
        reference, reference_megabytes, same = apart(bare_duckdb, str(path))
    assert total == same, (total, same)
    result: dict[str, Any] = {
        "name": "focus",
        "what": "rows per second of a 200,000-row FOCUS file; peak RSS in MB",
        "figure": round(ROWS / seconds),
        "reference": round(ROWS / reference),
        "ratio": round(reference / seconds, 4),
        "target": None,
        "ok": True,
        "rss_mb": megabytes,
        "reference_rss_mb": reference_megabytes,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
