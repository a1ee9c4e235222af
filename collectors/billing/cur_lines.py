"""From groups of AWS CUR 2.0 rows to bill lines: categories, components, tags, and runs of hours at one price. Pure.

Both conservation identities of a bill hold because every amount of the export is in exactly one line. Categories by
line item type:

| line item type | category | billed | effective |
|---|---|---|---|
| Usage | Usage | unblended | unblended |
| DiscountedUsage, SavingsPlanCoveredUsage | Usage, commitment `Used` | unblended | the commitment's effective cost |
| ...Discount | Usage of no quantity: it lowers the cost of its resource, and prices no time | unblended | unblended |
| SavingsPlanNegation | Adjustment: it takes back what the covered usage bills | unblended | 0 |
| RIFee, SavingsPlanRecurringFee | Purchase | unblended | 0 |
| their unused part | Usage, commitment `Unused` | 0 | what nothing used |
| SavingsPlanUpfrontFee, Fee of a reservation | Purchase | unblended | 0 |
| Fee of anything else, a capacity block's too (AWS does not amortize it) | Purchase | unblended | unblended |
| Refund of a capacity block | Purchase: it nets the fee | unblended | unblended |
| Tax, Credit, Refund | Tax, Credit, Credit | unblended | unblended |
| any other | Adjustment, counted as `unknown_line_type` | unblended | unblended |

(`unblended`: net of private discounts where the export says so.)
"""

from collections.abc import Iterable, Sequence
from decimal import Context, Decimal, Inexact, InvalidOperation, Overflow
from functools import lru_cache
from sys import intern

from collectors.bill_days import line_text
from collectors.billing.components import component_of
from collectors.billing.cur_amounts import COMMITTED, UNUSED
from collectors.billing.cur_columns import Group, Kind
from collectors.billing.focus_values import tags
from collectors.records import HOUR, Charge, ChargeCategory, Component, Labels, Window

PROVIDER = "AWS"  # as FOCUS bills of AWS write it
EXACT = Context(prec=100, traps=[Inexact, InvalidOperation, Overflow])
ZERO = Decimal(0)
_CATEGORIES: dict[str, ChargeCategory] = {
    **dict.fromkeys(("Usage", *COMMITTED), "Usage"),
    **dict.fromkeys((*UNUSED, "SavingsPlanUpfrontFee", "Fee"), "Purchase"),
    **dict.fromkeys(("Credit", "Refund"), "Credit"),
    "SavingsPlanNegation": "Adjustment",
    "Tax": "Tax",
}
_DAILY = 24
_DIGIT = 31  # the most rows of one hour that the hours of a group can count


def charge_of(kind: Kind, category: ChargeCategory, labels: Labels) -> Charge:
    """What lines of this kind have in common, as a charge of no amount at no time."""
    service, component = _kinds(
        kind.product, kind.usage_type, kind.instance_type, kind.family, kind.unit, kind.description
    )
    return Charge(
        window=Window(0, 0),
        category=category,
        currency=kind.currency.strip().upper(),
        billed_cost=ZERO,
        effective_cost=ZERO,
        component=component,
        provider=PROVIDER,
        service=kind.product,
        service_category=service,
        sku=kind.usage_type,
        resource=kind.resource,
        resource_type=kind.instance_type or kind.family,
        region=kind.region,
        account=kind.account,
        unit="Hours" if kind.timed else kind.unit,
        commitment_status="Used" if kind.line_type in COMMITTED else "",
        invoice=kind.invoice,
        description=kind.description,
        tags=labels,
    )


def pieces(group: Group) -> list[str]:
    """The runs of hours of a timed group as lines of its day; it as a whole if its hours were not counted, or its rows
    do not cost the same."""
    amounts = (group.billed, group.effective, group.list, group.quantity)
    try:
        each = [None if text is None else EXACT.divide(Decimal(text), group.rows) for text in amounts]
        found = runs(group.hours or 0, group.rows, whole_hours(each[-1]))
    except Inexact:
        found = ()
    if not found:
        return [_line(group.at, group.seconds, amounts)]
    return [_line(first * HOUR, hours * HOUR, _times(each, hours * rows)) for first, hours, rows in found]


def _line(at: int, seconds: int, amounts: Sequence[str | None]) -> str:
    billed, effective, listed, quantity = amounts
    return line_text(at, seconds, billed or "0", effective, listed, None, quantity)


def _times(each: Iterable[Decimal | None], rows: int) -> list[str | None]:
    """What `rows` rows cost together, each of which costs this much."""
    return [None if one is None else f"{EXACT.multiply(one, rows):f}" for one in each]


def whole_hours(quantity: Decimal | None) -> bool:
    """Whether rows of this many hours may be joined: a part of an hour stays alone, so that a bill for half of each
    hour is not taken for one of the first half of the day."""
    return quantity is None or quantity >= 1


@lru_cache(maxsize=65536)
def runs(hours: int, rows: int, join: bool) -> tuple[tuple[int, int, int], ...]:
    """(first hour, hours, rows of each hour) of the runs in a number whose digits to base 32 count the rows of each
    hour of a day; none if they do not add up to `rows`, because a digit overflowed. Without `join` one per hour."""
    if _counted(hours) != rows:
        return ()
    found: list[tuple[int, int, int]] = []
    for hour in range(_DAILY):
        count = _digit(hours, hour)
        if found and join and sum(found[-1][:2]) == hour and found[-1][2] == count:
            found[-1] = (found[-1][0], found[-1][1] + 1, count)
        elif count:
            found.append((hour, 1, count))
    return tuple(found)


def _digit(hours: int, hour: int) -> int:
    return hours >> 5 * hour & _DIGIT


@lru_cache(maxsize=65536)
def _counted(hours: int) -> int:
    if hours >> 5 * _DAILY:
        return -1
    return sum(_digit(hours, hour) for hour in range(_DAILY))


@lru_cache(maxsize=4096)
def category_of(line_type: str, usage_type: str) -> tuple[ChargeCategory, bool]:
    """The category, and whether the line item type is one that is known."""
    if line_type == "Refund" and "CapacityBlock" in usage_type:
        return "Purchase", True
    if line_type.endswith("Discount"):
        return "Usage", True
    return _CATEGORIES.get(line_type, "Adjustment"), line_type in _CATEGORIES


@lru_cache(maxsize=4096)
def _kinds(
    product: str, usage_type: str, instance_type: str, family: str, unit: str, description: str
) -> tuple[str, Component]:
    """The FOCUS service category and the component."""
    service = service_category(product, usage_type, family)
    return service, component_of(service, unit, f"{usage_type} {instance_type} {family} {description}")


_NETWORK = ("DataTransfer", "NatGateway", "Bytes", "PublicIPv4", "ElasticIP", "LoadBalancer", "Vpc")
_STORAGE = ("EBS:", "Volume", "Snapshot", "TimedStorage", "FileSystem")
_CATEGORY_OF = {
    **dict.fromkeys(("AmazonEC2", "AmazonECS", "AmazonEKS", "AWSLambda", "AWSBatch"), "Compute"),
    **dict.fromkeys(("AmazonSageMaker", "AmazonBedrock", "AmazonBedrockService"), "AI and Machine Learning"),
    **dict.fromkeys(("AmazonS3", "AmazonEFS", "AmazonFSx", "AmazonS3GlacierDeepArchive", "AmazonGlacier"), "Storage"),
    **dict.fromkeys(("AmazonVPC", "AWSELB", "AmazonCloudFront", "AWSDataTransfer", "AmazonRoute53"), "Networking"),
}


def service_category(product: str, usage_type: str, family: str) -> str:
    """The FOCUS `ServiceCategory` of a line; "Other" where it is none of those that components are told by. What EC2
    bills beside machines (disks, traffic) is told by the usage type."""
    category = _CATEGORY_OF.get(product, "Other")
    if category in ("Compute", "AI and Machine Learning"):
        if family in ("Data Transfer", "NAT Gateway", "Load Balancer") or any(word in usage_type for word in _NETWORK):
            return "Networking"
        if family.startswith("Storage") or any(word in usage_type for word in _STORAGE):
            return "Storage"
    return category


@lru_cache(maxsize=65536)
def labels_of(text: str) -> tuple[Labels, bool]:
    """Tags under their own names: AWS marks those of users by a prefix. Where a user's and another tag would then be of
    one name, the user's counts."""
    found, readable = tags(text, "")
    own = {name: value for name, value in found if not name.startswith(("user_", "user:"))}
    own.update({intern(name[5:]): value for name, value in found if name.startswith(("user_", "user:"))})
    return tuple(sorted(own.items())), readable
