"""What the ledger does with batches, in memory: replaces what a part said of a window, keeps cursors, adds what was
paid. With it: the collector over a stand-in account, and the synthetic account of the tests."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from collectors import Context
from collectors.billing.aws_cost_explorer import AwsCostExplorer, CostExplorerSettings
from collectors.records import DAY, HOUR, Batch, Charge, Failure
from tests.collectors.billing.ce_stand_in import CostExplorer, Item


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


def D(text: str) -> Decimal:
    return Decimal(text)


class Store:
    """Parts with their charges and cursors, and all that was paid."""

    def __init__(self) -> None:
        self.cursors: dict[str, str] = {}
        self.charges: dict[str, list[Charge]] = {}
        self.paid = Decimal(0)
        self.batches: list[Batch] = []

    def commit(self, batch: Batch) -> None:
        self.batches.append(batch)
        self.paid += batch.paid_usd
        if batch.window is not None:
            kept = self.charges.setdefault(batch.part, [])
            kept[:] = [c for c in kept if not batch.window.start <= c.window.start < batch.window.end]
            kept += batch.charges
        if batch.cursor == "":
            self.cursors.pop(batch.part, None)
        elif batch.cursor is not None:
            self.cursors[batch.part] = batch.cursor

    def collect(self, account: CostExplorer, now: int, **settings: Any) -> list[Failure]:
        """One run of a freshly built collector (as after a restart); what failed."""
        account.now = now
        with built(account, **settings) as collector:
            return self.take(collector.collect(now, dict(self.cursors)))

    def take(self, outcomes: Iterator[Batch | Failure]) -> list[Failure]:
        failures = []
        for outcome in outcomes:
            if isinstance(outcome, Failure):
                failures.append(outcome)
            else:
                self.commit(outcome)
        return failures

    @property
    def lines(self) -> list[Charge]:
        return [charge for charges in self.charges.values() for charge in charges]

    def day(self, day: int) -> list[Charge]:
        return [charge for charge in self.lines if day <= charge.window.start < day + DAY]

    def sums(self, day: int) -> tuple[Decimal, Decimal]:
        """(billed, effective) of a UTC day."""
        of_day = self.day(day)
        return sum((c.billed_cost for c in of_day), Decimal(0)), sum((c.effective_cost for c in of_day), Decimal(0))


@contextmanager
def built(account: CostExplorer, **settings: Any) -> Iterator[AwsCostExplorer]:
    made = CostExplorerSettings("bill", "aws_cost_explorer", endpoint_url=account.url, **settings)
    collector = AwsCostExplorer(made, Context(first_start=0))
    try:
        yield collector
    finally:
        collector.close()


CHAT, SEARCH = {"workload": "chat"}, {"workload": "search"}
P5, G5 = "USW2-BoxUsage:p5.48xlarge", "SpotUsage:g5.xlarge"


def one_day(day: int) -> list[Item]:
    """A day with everything that Cost Explorer can bill: on demand, spot, half under a Savings Plan, disks, traffic,
    tokens, fees, tax, a credit above the cost, a Capacity Block and its refund, odd cents."""
    items = []
    for hour in range(day, day + DAY, HOUR):
        items += [
            Item(hour, D("98.32"), D("98.32"), usage_type=P5, resource="i-0a", tags=CHAT, discount=D("0.1")),
            Item(hour, D("98.32"), D("53.95"), "SavingsPlanCoveredUsage", P5, resource="i-0b", tags=CHAT),
            Item(hour, D("-98.32"), D("0"), "SavingsPlanNegation", P5, quantity=D("0")),
            Item(hour, D("0.33333333"), D("0.33333333"), usage_type=G5, resource="i-0c", tags=SEARCH),
            Item(hour, D("0.011"), D("0.011"), usage_type="USW2-UnusedBox:p5.48xlarge"),
        ]
    return [
        *items,
        Item(day, D("1440"), D("145.2"), "SavingsPlanRecurringFee", "ComputeSP:1yrNoUpfront", "Savings Plans for AWS"),
        Item(day, D("7.77"), D("7.77"), usage_type="EBS:VolumeUsage.gp3", service="EC2 - Other", unit="GB-Mo"),
        Item(day, D("0.09"), D("0.09"), usage_type="USW2-DataTransfer-Out-Bytes", service="EC2 - Other", unit="GB"),
        Item(day, D("3.1"), D("3.1"), usage_type="USE1-Claude-input-tokens", service="Amazon Bedrock", unit="1K"),
        Item(day, D("44.01"), D("44.01"), "Tax", "", "AWS Tax", quantity=D("0"), unit=""),
        Item(day, D("-9999.99"), D("-9999.99"), "Credit", P5, quantity=D("0")),
        Item(day, D("500"), D("500"), "Upfront", "USE1-CapacityBlockFee:p5.48xlarge", tags=CHAT),
        Item(day, D("-500"), D("-500"), "Refund", "USE1-CapacityBlockFee:p5.48xlarge", tags=CHAT),
        Item(day, D("10"), D("10"), "Enterprise Discount Program Discount", P5, quantity=D("0")),
        Item(day, D("29.00"), D("29.00"), "Support", "Dollar", "AWS Support (Business)"),
    ]


def month_of_bill(first: str, last: str) -> list[Item]:
    """`one_day` for every UTC day from `first` through `last`."""
    return [item for day in range(at(first), at(last) + DAY, DAY) for item in one_day(day)]


def of(charges: Sequence[Charge], **wanted: Any) -> list[Charge]:
    return [c for c in charges if all(getattr(c, key) == value for key, value in wanted.items())]


def only_test_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK's chain finds the stand-in's key, and nothing of this machine."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDTEST")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "verysecret")
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, "/dev/null")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
