"""The drift of a bill: from the estimates it replaced, and from nothing else."""

from decimal import Decimal

import pytest

from collectors.records import DAY, Card, Reservation, Window
from exporter.intervals import Intervals
from exporter.ledger.snapshot import BillLine
from exporter.reconcile.drift import compared, replaced_usd
from exporter.reconcile.evidence import self_hosted_costs
from tests.exporter.cluster import line
from tests.exporter.simulated import START

WHOLE = Intervals([(START, START + DAY)])


def drift(card: Card, *lines: BillLine) -> dict[str, tuple[Decimal, Decimal]]:
    held = [Reservation("gpus/k", "chat", "h100", Decimal(1), Window(START, START + DAY))]
    rents = self_hosted_costs(held, {"gpus/k": card}, lines, Intervals(), {"USD": Decimal(1)}, Decimal(0), START + DAY)
    found = replaced_usd(compared(rents), WHOLE, {"24h": START}, START + DAY)
    return {collector: pair for (collector, _), pair in found.items()}


def card(usd: str, *resources: str) -> Card:
    return Card("gpus", "chat", "gpu", Decimal(usd), "USD", Decimal(1), resources=resources)


def said(usd: str, resource: str, start: int = 0, hours: int = 24) -> BillLine:
    return BillLine("bill", "month", line(start, hours, usd, resource))


def test_a_machine_that_nobody_estimated_is_no_drift() -> None:
    assert drift(card("5", "i-1"), said("96", "i-1")) == {"bill": (Decimal(96), Decimal(120))}
    assert drift(card("5", "i-1"), said("96", "i-1"), said("240", "i-2")) == {"bill": (Decimal(96), Decimal(120))}


def test_each_machine_is_compared_over_its_own_time() -> None:
    lines = said("24", "i-1", 0, 12), said("36", "arn:aws:ec2:us-east-1:1:instance/i-2", 12, 12)
    assert drift(card("6", "i-1", "i-2"), *lines) == {"bill": (Decimal(60), Decimal(72))}


@pytest.mark.parametrize("resource", ["i-1", ""])
def test_an_estimate_or_a_bill_that_names_nothing_is_compared_whole(resource: str) -> None:
    assert drift(card("5"), said("96", resource)) == {"bill": (Decimal(96), Decimal(120))}
    assert drift(card("5", "i-1"), said("96", "")) == {"bill": (Decimal(96), Decimal(120))}
