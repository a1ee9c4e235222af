"""A month of an AWS bill with a million rows, into a ledger, against a bare DuckDB aggregation of the same file.

The month is generated (SYNTHETIC, deterministic, kept in the temporary folder): 400 instances by the hour (on demand,
spot, Savings Plan, reserved), a disk each, traffic and object storage; 42 columns with the names and types of CUR 2.0,
as Parquet and as gzip CSV. Our side is everything: interpreter, collector, its child process, exact decimals, runs of
hours, some 59,000 lines committed to SQLite a day at a time. There are two references, each one query, sums as floating
point, in the memory it likes, its rows fetched:

- `reference`: by day, resource and usage type. Of Parquet it reads 5 columns and skips 37;
- `reference_own_columns`: by the day and all columns that the collector's lines keep apart, with plain sums of the
  columns their costs are made of, unchecked and without hours: the same columns of the same file as the collector.

The rule: gzip CSV, the export's default, of which every side reads every byte, must reach the target against the first;
Parquet against the second; and neither may take more memory than its target. Beside these, `ratio_stored` is against
the first with its rows put into a plain SQLite table; `ratio_same_groups` against the query of the collector, with
exact sums, alone. All sides are processes of their own, timed from start to end, taken in turns, the median of each;
seconds of all rounds, of the processor too, are printed. Peak memory is that of the collector's process and its child,
from /proc. What the ledger then holds is read and summed untimed, but for `snapshot_seconds`, which reading it takes.

    python tests/benchmarks/bench_bill.py [rounds]
"""

import json
import os
import resource
import shutil
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench_usage_log import run

ROUNDS = 5
MEMORY_TARGET = 300 * 1024 * 1024
TARGET = 0.5
JUDGED_BY = {"csv.gz": "ratio", "parquet": "ratio_own_columns"}
VERSION = 1  # of the generated month

COLLECT = """
import sys
from pathlib import Path
from collectors import Context
from collectors.billing.aws_data_export import AwsDataExport, DataExportSettings
from collectors.records import Batch
from exporter.ledger.store import Ledger
now = 1795176000
collector = AwsDataExport(DataExportSettings("bill", "aws_data_export", "month", path=sys.argv[1]), Context(0))
ledger = Ledger(Path(sys.argv[2], "ledger.db"), now)
for batch in collector.collect(now, ledger.cursors("bill")):
    assert isinstance(batch, Batch), batch
    ledger.commit("bill", batch, now)
ledger.close()
"""
CHECK = """
import sys, time
from decimal import Context
from pathlib import Path
from exporter.ledger.store import Ledger
ledger = Ledger.read_only(Path(sys.argv[2], "ledger.db"), 1795176000)
started = time.perf_counter()
bill = ledger.snapshot().bill
took = time.perf_counter() - started
exact, total = Context(prec=60), 0
for line in bill:
    total = exact.add(total, line.charge.billed_cost)
print(len(bill), total.normalize(), took)
ledger.close()
"""
QUERY = """
import sys
import duckdb
csv = sys.argv[1].endswith(".gz")
source = "read_csv($path, all_varchar = true)" if csv else "read_parquet($path)"
day = "line_item_usage_start_date[:10]" if csv else "line_item_usage_start_date::DATE"
query = f'''SELECT {day} AS day, line_item_resource_id, line_item_usage_type, sum(line_item_unblended_cost::DOUBLE),
            sum(line_item_usage_amount::DOUBLE) FROM {source} GROUP BY ALL'''
rows = duckdb.connect().execute(query, {"path": sys.argv[1]}).fetchall()
"""
STORED = (
    QUERY
    + """
import sqlite3
db = sqlite3.connect(sys.argv[2] + "/plain.db")
db.execute("PRAGMA journal_mode = WAL")
db.execute("CREATE TABLE bill (day TEXT, resource TEXT, usage_type TEXT, cost REAL, quantity REAL)")
db.executemany("INSERT INTO bill VALUES (?, ?, ?, ?, ?)", ((str(row[0]), *row[1:]) for row in rows))
db.commit()
db.close()
"""
)

OWN_COLUMNS = """
import sys
import duckdb
csv = sys.argv[1].endswith(".gz")
source = "read_csv($path, all_varchar = true)" if csv else "read_parquet($path)"
day = "line_item_usage_start_date[:10]" if csv else "line_item_usage_start_date::DATE"
lines = "account_id line_item_type product_code usage_type resource_id currency_code"
names = ["line_item_" + {"account_id": "usage_account_id"}.get(name, name) for name in lines.split()]
names += ["product_region_code", "bill_invoice_id", "product_instance_type", "product_product_family", "pricing_unit"]
costs = ["line_item_unblended_cost", "pricing_public_on_demand_cost", "line_item_usage_amount",
         "savings_plan_savings_plan_effective_cost", "reservation_effective_cost"]
sums = ", ".join(f"sum({name}::DOUBLE)" for name in costs)
query = f"SELECT {day} AS day, {', '.join(names)}, resource_tags::VARCHAR, {sums} FROM {source} GROUP BY ALL"
rows = duckdb.connect().execute(query, {"path": sys.argv[1]}).fetchall()
"""
SAME_GROUPS = """
import sys
import duckdb
from collectors.billing.columnar_files import relation
from collectors.billing.cur_columns import groups_query
source = relation([sys.argv[1]], "csv" if sys.argv[1].endswith(".gz") else "parquet")
db = duckdb.connect()
columns = {row[0]: row[1] for row in db.execute(f"DESCRIBE SELECT * FROM {source}").fetchall()}
print(len(db.execute(groups_query(columns, source)).fetchall()))
"""

SIDES = {"bare": QUERY, "own_columns": OWN_COLUMNS, "stored": STORED, "same_groups": SAME_GROUPS, "ours": COLLECT}

ROUNDS_OF = ("ours", "ours_cpu", "bare", "bare_cpu", "own_columns", "own_columns_cpu")

# One row each: number, hour, kind of thing, and what that costs.
_MONTH = """
WITH things AS (
  SELECT i, CASE WHEN i < 60 THEN 'p5.48xlarge' WHEN i < 160 THEN 'g6e.12xlarge' WHEN i < 260 THEN 'g5.4xlarge'
            ELSE 'm7i.4xlarge' END AS machine,
         CASE WHEN i < 60 THEN 55.04 WHEN i < 160 THEN 10.49264 WHEN i < 260 THEN 1.624 ELSE 0.8064 END::DOUBLE
           AS price,
         CASE WHEN i % 10 < 5 THEN 'Usage' WHEN i % 10 < 7 THEN 'SavingsPlanCoveredUsage'
              WHEN i % 10 < 9 THEN 'DiscountedUsage' ELSE 'Spot' END AS how
  FROM range(400) AS t(i)),
hours AS (SELECT h FROM range(744) AS t(h)),
noise AS (SELECT i, h, k, (hash(i, h, k) % 1000000007) / 1000000007.0 AS dice
          FROM things, hours, range(2) AS t(k)),
rows AS (
  SELECT i, h, 'i' AS kind, 'AmazonEC2' AS product, CASE how WHEN 'Spot' THEN 'Usage' ELSE how END AS type,
         CASE how WHEN 'Spot' THEN 'SpotUsage:' ELSE 'BoxUsage:' END || machine AS usage, 'Compute Instance' AS family,
         'Hrs' AS unit, machine, price,
         CASE WHEN (i * 31 + h) % 500 = 0 THEN 0.2 + (i + h) % 7 / 10.0 ELSE 1.0 END AS quantity,
         CASE how WHEN 'Spot' THEN 0.3 + 0.01 * ((h // 5 + i) % 13) ELSE 1 END AS factor
  FROM things, hours
  UNION ALL SELECT i, h, 'vol', 'AmazonEC2', 'Usage', 'USE1-EBS:VolumeUsage.gp3', 'Storage', 'GB-Mo', '', 0.08,
         round(500 / 744.0, 10), 1 FROM things, hours
  UNION ALL SELECT i, h, 'i', 'AmazonEC2', 'Usage',
         CASE k WHEN 0 THEN 'USE1-DataTransfer-Regional-Bytes' ELSE 'USE1-DataTransfer-Out-Bytes' END, 'Data Transfer',
         'GB', '', 0.01, round(dice * 3, 10), 1 FROM noise WHERE (i * 7 + h * 3 + k) % 10 < 6
  UNION ALL SELECT i, h, 'bucket', 'AmazonS3', 'Usage', 'USE1-Requests-Tier' || (k + 1), 'API Request', 'Requests', '',
         0.0000004, floor(dice * 10000), 1 FROM noise WHERE i < 40),
costs AS (SELECT *, round(price * factor * quantity, 10)::DOUBLE AS cost, round(price * quantity, 10)::DOUBLE AS listed,
         TIMESTAMP '2026-10-01' + to_hours(h::BIGINT) AS start FROM rows)
SELECT md5(i || usage || h) AS identity_line_item_id,
  strftime(start, '%Y-%m-%dT%H:%M:%SZ') || '/' || strftime(start + to_hours(1), '%Y-%m-%dT%H:%M:%SZ')
    AS identity_time_interval,
  '' AS bill_invoice_id, 'AWS' AS bill_billing_entity, 'Anniversary' AS bill_bill_type,
  '999999999999' AS bill_payer_account_id, TIMESTAMP '2026-10-01' AS bill_billing_period_start_date,
  TIMESTAMP '2026-11-01' AS bill_billing_period_end_date, (111111111111 + i % 4)::VARCHAR AS line_item_usage_account_id,
  'account ' || i % 4 AS line_item_usage_account_name, type AS line_item_line_item_type,
  start AS line_item_usage_start_date, start + to_hours(1) AS line_item_usage_end_date,
  product AS line_item_product_code, usage AS line_item_usage_type, 'RunInstances' AS line_item_operation,
  'us-east-1' || chr(97 + (i % 3)::INTEGER) AS line_item_availability_zone,
  kind || '-' || printf('%017x', (hash(i, kind) % 1000000000000000)::BIGINT) AS line_item_resource_id,
  quantity::DOUBLE AS line_item_usage_amount, 1.0::DOUBLE AS line_item_normalization_factor,
  'USD' AS line_item_currency_code, price::VARCHAR AS line_item_unblended_rate,
  CASE type WHEN 'DiscountedUsage' THEN 0 ELSE cost END AS line_item_unblended_cost,
  cost AS line_item_blended_cost, '$' || price || ' per ' || usage AS line_item_line_item_description,
  'Amazon Web Services, Inc.' AS line_item_legal_entity, family AS product_product_family,
  machine AS product_instance_type, 'us-east-1' AS product_region_code, product AS product_servicecode,
  'sku' || i % 50 AS product_sku, MAP {'product_name': 'Amazon Elastic Compute Cloud', 'vcpu': '192'} AS product,
  unit AS pricing_unit, 'OnDemand' AS pricing_term, listed AS pricing_public_on_demand_cost,
  price::VARCHAR AS pricing_public_on_demand_rate,
  CASE type WHEN 'SavingsPlanCoveredUsage' THEN round(listed * 0.62, 10) END
    AS savings_plan_savings_plan_effective_cost,
  CASE type WHEN 'SavingsPlanCoveredUsage' THEN 'arn:aws:savingsplans::999999999999:savingsplan/x' ELSE '' END
    AS savings_plan_savings_plan_a_r_n,
  CASE type WHEN 'DiscountedUsage' THEN round(listed * 0.58, 10) END AS reservation_effective_cost,
  CASE type WHEN 'DiscountedUsage' THEN 'arn:aws:ec2:us-east-1:9:reserved-instances/y' ELSE '' END
    AS reservation_reservation_a_r_n,
  MAP {'user_team': 'team-' || i % 12, 'user_env': 'prod', 'aws_created_by': 'x'} AS resource_tags,
  MAP {'Project': 'llm'} AS cost_category
FROM costs ORDER BY line_item_usage_account_id, start, line_item_resource_id, usage
"""
_TEXTS = """
SELECT * REPLACE (to_json(product) AS product, to_json(resource_tags) AS resource_tags,
  to_json(cost_category) AS cost_category,
  strftime(bill_billing_period_start_date, '%Y-%m-%dT%H:%M:%S.000Z') AS bill_billing_period_start_date,
  strftime(bill_billing_period_end_date, '%Y-%m-%dT%H:%M:%S.000Z') AS bill_billing_period_end_date,
  strftime(line_item_usage_start_date, '%Y-%m-%dT%H:%M:%S.000Z') AS line_item_usage_start_date,
  strftime(line_item_usage_end_date, '%Y-%m-%dT%H:%M:%S.000Z') AS line_item_usage_end_date) FROM
"""


def generate() -> tuple[Path, int]:
    """The folder with the month in both formats, made once, and its number of rows."""
    folder = Path(tempfile.gettempdir(), f"llmcost-bench-bill-{VERSION}")
    done = folder / "rows"
    if not done.exists():
        shutil.rmtree(folder, ignore_errors=True)
        parquet, csv = (file_of(folder, kind) for kind in ("parquet", "csv.gz"))
        import duckdb

        with duckdb.connect() as db:
            db.execute(f"COPY ({_MONTH}) TO '{parquet}' (FORMAT parquet, COMPRESSION snappy)")
            db.execute(f"COPY ({_TEXTS} '{parquet}') TO '{csv}' (FORMAT csv, COMPRESSION gzip, HEADER)")
            (rows,) = db.execute(f"SELECT count(*) FROM '{parquet}'").fetchall()[0]
        done.write_text(str(rows))
    return folder, int(done.read_text())


def file_of(folder: Path, kind: str) -> Path:
    """The one data file of an export in `kind`, with its manifest beside it."""
    base, name = folder / kind / "month", f"data/BILLING_PERIOD=2026-10/month-00001.{kind}"
    manifest = base / "metadata/BILLING_PERIOD=2026-10/month-Manifest.json"
    if not manifest.exists():
        manifest.parent.mkdir(parents=True)
        (base / name).parent.mkdir(parents=True)
        manifest.write_text(json.dumps({"executionId": "1", "dataFiles": [f"s3://bucket/month/{name}"], "columns": []}))
    return base / name


def compare(folder: Path, kind: str, rounds: int) -> dict[str, Any]:
    """Seconds of each side, peak bytes and what our ledger holds in the end: lines, their total, seconds to read it."""
    path, seconds, memory, outputs = file_of(folder, kind), dict[str, list[float]](), 0, list[list[str]]()
    os.utime(folder / kind / "month/metadata/BILLING_PERIOD=2026-10/month-Manifest.json")  # newer than the data
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as scratch:
            for name, code in SIDES.items():
                before, given = cpu(), folder / kind if name == "ours" else path
                took, _, used = run(code, str(given), scratch)
                seconds.setdefault(name, []).append(took)
                seconds.setdefault(f"{name}_cpu", []).append(cpu() - before)
            memory = max(memory, used)
            outputs.append(run(CHECK, "", scratch)[1].split())
    if any(output[:2] != outputs[0][:2] for output in outputs):
        raise SystemExit(f"the rounds disagree: {outputs}")
    return {
        "output": outputs[0][:2],
        "snapshot": statistics.median(float(output[2]) for output in outputs),
        "memory": memory,
        "rounds": seconds,
        **{name: statistics.median(all_) for name, all_ in seconds.items()},
    }


def cpu() -> float:
    """Processor seconds of all processes that ended, their own children included."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def report(kind: str, found: dict[str, Any], rows: int) -> dict[str, Any]:
    ratio, own = found["bare"] / found["ours"], found["own_columns"] / found["ours"]
    return {
        "name": f"bill_{kind}",
        "figure": round(found["ours"], 3),
        "reference": round(found["bare"], 3),
        "ratio": round(ratio, 3),
        "reference_own_columns": round(found["own_columns"], 3),
        "ratio_own_columns": round(own, 3),
        "ratio_stored": round(found["stored"] / found["ours"], 3),
        "ratio_same_groups": round(found["same_groups"] / found["ours"], 3),
        "cpu_seconds": round(found["ours_cpu"], 3),
        "reference_cpu_seconds": round(found["bare_cpu"], 3),
        "own_columns_cpu_seconds": round(found["own_columns_cpu"], 3),
        "snapshot_seconds": round(found["snapshot"], 3),
        "rounds": {name: [round(one, 2) for one in found["rounds"][name]] for name in ROUNDS_OF},
        "target": TARGET,
        "judged_by": JUDGED_BY[kind],
        "rows": rows,
        "lines": int(found["output"][0]),
        "peak_bytes": found["memory"],
        "ok": found["memory"] <= MEMORY_TARGET
        and {"ratio": ratio, "ratio_own_columns": own}[JUDGED_BY[kind]] >= TARGET,
    }


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    folder, rows = generate()
    found = {kind: compare(folder, kind, rounds) for kind in JUDGED_BY}
    totals = {one["output"][1] for one in found.values()}
    if len(totals) != 1:
        raise SystemExit(f"the formats disagree: {totals}")
    results = [report(kind, one, rows) for kind, one in found.items()]
    target, ok = results[0] | {"name": "bill"}, all(result["ok"] for result in results)
    print(json.dumps(target | {"ok": ok, "load_average": os.getloadavg(), "parts": results}))


if __name__ == "__main__":
    main()
