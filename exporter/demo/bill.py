"""A small invoice in FOCUS 1.0 columns for the demo. The rows are synthetic, and every one of them says so.

It covers seven closed days of the assistant's GPUs, a little below the rate card as a negotiated price would be, and
the lines that every real bill has beside them: a GPU nobody claims, storage that is not ours, tax and a credit.
"""

import csv
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

from collectors.records import DAY
from exporter.demo.history import iso

FIRST_DAY, DAYS = 10, 7  # from ten days ago to three days ago: provider bills lag
GPU_USD_PER_HOUR = Decimal("2.41")  # billed; the rate card says 2.49, the list 2.99
COLUMNS = (
    "ProviderName", "PublisherName", "InvoiceIssuerName", "BillingAccountId", "BillingAccountName", "SubAccountId",
    "BillingPeriodStart", "BillingPeriodEnd", "ChargePeriodStart", "ChargePeriodEnd", "ChargeCategory", "ChargeClass",
    "ChargeDescription", "ChargeFrequency", "BilledCost", "EffectiveCost", "ListCost", "ContractedCost",
    "BillingCurrency", "PricingQuantity", "PricingUnit", "ConsumedQuantity", "ConsumedUnit", "ServiceName",
    "ServiceCategory", "SkuId", "ResourceId", "ResourceType", "RegionId", "CommitmentDiscountStatus", "Tags",
)  # fmt: skip
_COMMON = {
    "ProviderName": "Example Cloud",
    "PublisherName": "Example Cloud",
    "InvoiceIssuerName": "Example Cloud",
    "BillingAccountId": "demo",
    "BillingAccountName": "demo",
    "SubAccountId": "demo",
    "ChargeFrequency": "Usage-Based",
    "BillingCurrency": "USD",
    "RegionId": "eu-1",
}


def write_bill(path: Path, now: int) -> None:
    """Write the invoice for the seven days that ended three UTC days before the day of `now` (epoch seconds)."""
    first = now - now % DAY - FIRST_DAY * DAY
    with path.open("w", newline="", encoding="utf-8") as out:
        rows = csv.DictWriter(out, COLUMNS, restval="")
        rows.writeheader()
        for day in range(first, first + DAYS * DAY, DAY):
            rows.writerows(_day(day, first))


def _day(day: int, first: int) -> Iterator[dict[str, str]]:
    period = _COMMON | {
        "BillingPeriodStart": iso(first),
        "BillingPeriodEnd": iso(first + DAYS * DAY),
        "ChargePeriodStart": iso(day),
        "ChargePeriodEnd": iso(day + DAY),
    }
    yield period | _gpu("gpu-assistant", 4, "assistant's four GPUs", '{"workload": "assistant"}')
    yield period | _gpu("gpu-lab-7", 1, "a GPU that carries no tag", "{}")
    yield period | _line("Usage", "Object Storage", "Storage", "bucket-archive", Decimal("1.37"), "a bucket")
    if day == first:
        yield period | _line("Tax", "Tax", "Other", "", Decimal("42.10"), "tax of the period")
        yield period | _line("Credit", "Promotion", "Other", "", Decimal("-25.00"), "promotional credit")


def _gpu(resource: str, gpus: int, what: str, tags: str) -> dict[str, str]:
    hours = Decimal(24 * gpus)
    row = _line("Usage", "GPU Compute", "Compute", resource, hours * GPU_USD_PER_HOUR, what)
    quantity = {"PricingQuantity": str(hours), "ConsumedQuantity": str(hours)}
    units = {"PricingUnit": "GPU-Hours", "ConsumedUnit": "GPU-Hours"}
    of = {
        "SkuId": "gpu-h100-80gb",
        "ResourceType": "GPU Instance",
        "Tags": tags,
        "ListCost": str(hours * Decimal("2.99")),
    }
    return row | quantity | units | of


def _line(category: str, service: str, kind: str, resource: str, cost: Decimal, what: str) -> dict[str, str]:
    money = dict.fromkeys(("BilledCost", "EffectiveCost", "ListCost", "ContractedCost"), str(cost))
    names = {"ServiceName": service, "ServiceCategory": kind, "ResourceId": resource}
    return (
        money | names | {"ChargeCategory": category, "ChargeDescription": f"SYNTHETIC demo row: {what}", "Tags": "{}"}
    )
