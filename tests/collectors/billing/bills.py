"""FOCUS files made for a test, the recorded ones, and a ledger in a few lines."""

import csv
import gzip
import io
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from collectors import Context
from collectors.billing.focus import Focus
from collectors.records import Batch, Charge, Failure

FIXTURES = Path(__file__).parents[2] / "fixtures" / "focus"
REFUSED = {
    "aws_1_3_contract_commitment.csv": "ChargePeriodStart, ChargePeriodEnd, ChargeCategory, BilledCost",
    "scenarios_correction_set.csv": "ChargePeriodStart, ChargePeriodEnd",
    "scenarios_sca_equal.csv": "ChargePeriodStart, ChargePeriodEnd",
    "scenarios_sca_weighted.csv": "ChargePeriodStart, ChargePeriodEnd",
}
RECORDED = sorted(path for path in FIXTURES.rglob("*") if path.suffix in (".csv", ".gz") and path.name not in REFUSED)
NOW = 1_790_000_000


def collector(*paths: Path | str) -> Focus:
    return Focus(Focus.Settings("bill", "focus", tuple(str(path) for path in paths)), Context(first_start=0))


def line(cost: str, resource: str = "i-1", day: int = 1, **more: str) -> dict[str, str]:
    """One row of May 2026."""
    return {
        "BillingAccountId": "acme",
        "BillingPeriodStart": "2026-05-01T00:00:00Z",
        "BillingPeriodEnd": "2026-06-01T00:00:00Z",
        "ChargePeriodStart": f"2026-05-{day:02}T00:00:00Z",
        "ChargePeriodEnd": f"2026-05-{day:02}T01:00:00Z",
        "ChargeCategory": "Usage",
        "BillingCurrency": "USD",
        "BilledCost": cost,
        "EffectiveCost": cost,
        "ResourceId": resource,
        **more,
    }


def text(rows: Iterable[Mapping[str, str]], columns: Iterable[str] | None = None) -> str:
    kept = list(rows)
    out = io.StringIO()
    writer = csv.DictWriter(out, list(columns or (kept[0] if kept else line("0"))), extrasaction="ignore")
    writer.writeheader()
    writer.writerows(kept)
    return out.getvalue()


def deliver(path: Path, rows: Iterable[Mapping[str, str]], at: int) -> Path:
    """Write a whole file with modification time `at`."""
    data = text(rows).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    os.utime(path, (at, at))
    return path


class Store:
    """Replaces what a part said of a window, and moves its cursor, as the ledger does."""

    def __init__(self) -> None:
        self.charges: dict[str, list[Charge]] = {}
        self.cursors: dict[str, str] = {}
        self.rejected: dict[str, int] = {}

    def take(self, focus: Focus) -> tuple[list[Batch], list[Failure]]:
        batches, failures = [], []
        for one in focus.collect(NOW, dict(self.cursors)):
            if isinstance(one, Failure):
                failures.append(one)
            else:
                batches.append(one)
                self._commit(one)
        return batches, failures

    def _commit(self, batch: Batch) -> None:
        assert batch.window is not None
        assert batch.cursor is not None
        start, end = batch.window.start, batch.window.end
        kept = [one for one in self.charges.get(batch.part, ()) if not start <= one.window.start < end]
        self.charges[batch.part] = [*kept, *batch.charges]
        self.cursors[batch.part] = batch.cursor
        if not batch.cursor:
            del self.cursors[batch.part]
        for reason, count in batch.rejected.items():
            self.rejected[reason] = self.rejected.get(reason, 0) + count

    def all(self) -> list[Charge]:
        return [charge for _, charges in sorted(self.charges.items()) for charge in sorted(charges, key=repr)]


def fresh(*paths: Path | str) -> list[Charge]:
    """The charges of files read for the first time."""
    store = Store()
    _, failures = store.take(collector(*paths))
    assert not failures
    return store.all()
