"""What a SKU of Google's Compute Engine catalogue is the price of, read off its description. Pure.

The catalogue has tens of thousands of SKUs and no field that names the machine family or the GPU: only the description
does. It is read by a grammar, so that what is not understood is left out and counted, never taken for something else:
several SKUs with usage type `OnDemand` are other offers (DWS, calendar mode, sole tenancy, virtual workstations), and
the spot price of B200 slices has the usage type `OnDemand` too.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from collectors.gpu_names import gpu_product
from collectors.records import PriceUnit

FAMILIES = ("a2", "a3", "a3plus", "a3ultra", "g2", "g4", "n1")
"""Machine families whose cores and memory are read, named as in the catalogue: `a3plus` is `a3-megagpu`, `a3ultra` is
`a3-ultragpu`; `n1` is what T4, P4, P100 and V100 are attached to. An A4's slice is billed whole, as its GPU."""

MONTH_HOURS = Decimal(730)

_DESCRIPTION = re.compile(
    r"(?P<commitment>Commitment v1: )?(?P<spot>(?:Spot )?Preemptible )?(?P<item>.+?)"
    r"(?P<attached> attached to (?:Spot )?Preemptible VMs)?"
    r"(?: (?:running )?in (?P<place>.+?))?(?: for (?P<years>\d+) years?)?",
    re.IGNORECASE,
)
_PART = re.compile(
    r"(?:(?P<family>\w+(?: Plus| Ultra)?) )?(?:Predefined )?(?:Instance )?(?P<part>Core|Cpu|Ram)", re.IGNORECASE
)
_GPU = re.compile(
    r"(?:Nvidia )?(?:Tesla )?(?:[A-Z]{1,2}\d+[A-Z]?(?: \d+GB| Mega| Plus)* GPU|RTX (?:PRO )?6000(?: 96GB)?(?: GPU)?)"
    r"|\w+ (?P<slice>Nvidia \w+) \(1 gpu slice\)",
    re.IGNORECASE,
)
_LOCAL_SSD = {"ssd backed local storage", "local ssd"}
_OTHER_OFFER = re.compile(
    r"\b(?:DWS|Defined Duration|Calendar Mode|Flex Start|Reserved|Reservation|Sole Tenancy|Workstation|vWS|Premium)\b",
    re.IGNORECASE,
)
_COMMITMENTS = {"Commit1Yr": ("commit_1y", "1"), "Commit3Yr": ("commit_3y", "3")}
_UNITS: Mapping[PriceUnit, str] = {"gpu": "h", "vcpu": "h", "memory_gib": "GiBy.h", "local_ssd_gib": "GiBy.mo"}


@dataclass(frozen=True, slots=True)
class Sku:
    """One SKU with its current price. `rates` are (usage from which it holds, money per `usage_unit`), ascending;
    `effective` is in epoch seconds, 0 if not said."""

    id: str
    description: str
    group: str
    usage_type: str
    regions: tuple[str, ...]
    usage_unit: str
    currency: str
    rates: tuple[tuple[Decimal, Decimal], ...]
    effective: int = 0


@dataclass(frozen=True, slots=True)
class Item:
    """What is priced, in the terms of `records.ListPrice`."""

    tier: str
    unit: PriceUnit
    name: str


class SkippedError(ValueError):
    """A SKU of a GPU, or of a machine that has GPUs, that is not used. The text is the reason it is counted under."""


def item_of(sku: Sku) -> Item | None:
    """What `sku` prices; None if it has nothing to do with GPU machines. SkippedError if it has, but is no plain price:
    `other_offer` or `unknown_gpu`."""
    match = _DESCRIPTION.fullmatch(sku.description)
    what = _what(match["item"], bool(match["commitment"])) if match else None
    if match is None or what is None:
        if sku.group != "GPU":
            return None
        raise SkippedError("other_offer" if _OTHER_OFFER.search(sku.description) else "unknown_gpu")
    tier = _tier(sku.usage_type, match)
    if tier is None:
        raise SkippedError("other_offer")
    return Item(tier, *what)


def price_of(sku: Sku, unit: PriceUnit) -> Decimal:
    """The price per hour of one `unit`, in the SKU's currency. SkippedError: `unit`, `no_price`, `tiered_price` (what
    it costs would depend on how much of it the account uses) or `zero_price`."""
    if sku.usage_unit != _UNITS[unit]:
        raise SkippedError("unit")
    if not sku.rates:
        raise SkippedError("no_price")
    if len(sku.rates) > 1 or sku.rates[0][0] != 0:
        raise SkippedError("tiered_price")
    price = sku.rates[0][1]
    if price <= 0:
        raise SkippedError("zero_price")
    return price / MONTH_HOURS if unit == "local_ssd_gib" else price


def _what(item: str, commitment: bool) -> tuple[PriceUnit, str] | None:
    if item.lower() in _LOCAL_SSD:
        return "local_ssd_gib", "local-ssd"
    if gpu := _GPU.fullmatch(item):
        return "gpu", gpu_product(gpu["slice"] or item)
    part = _PART.fullmatch(item)
    if part is None:
        return None
    unnamed = "n1" if commitment else ""  # "Commitment v1: Cpu in Americas" is N1's
    family = (part["family"] or unnamed).lower().replace(" ", "")
    if family not in FAMILIES:
        return None
    return ("memory_gib" if part["part"].lower() == "ram" else "vcpu"), family


def _tier(usage_type: str, match: re.Match[str]) -> str | None:
    spot = bool(match["spot"] or match["attached"])
    if usage_type in _COMMITMENTS:
        tier, years = _COMMITMENTS[usage_type]
        return tier if match["commitment"] and match["years"] == years and not spot else None
    if match["commitment"] or match["years"]:
        return None
    if usage_type == "Preemptible" or (usage_type == "OnDemand" and spot):
        return "spot"
    return "on_demand" if usage_type == "OnDemand" else None
