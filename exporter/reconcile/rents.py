"""A rent: money that runs over seconds, on one evidence. What bills, cards and list prices all become. Pure."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import lru_cache

from collectors.records import SLOT, Card, Charge, Component
from exporter.intervals import Intervals
from exporter.ledger.snapshot import BillLine
from exporter.prices.nodes import NodePrice
from exporter.reconcile.memo import once_for_each
from exporter.reconcile.report import Evidence

BESIDE: frozenset[Component] = frozenset({"storage", "egress", "tokens"})
HOUR_UNITS = frozenset({"h", "hr", "hrs", "hour", "hours"})
_ARN = re.compile(r"arn:aws[\w-]*:ec2:[^:]*:[^:]*:[\w-]+/([a-z]+-[0-9a-f]+)")
_GOOGLE = re.compile(r"(?://compute\.googleapis\.com/)?projects/([^/]+)/zones/([^/]+)/instances/([^/]+)")


@dataclass(frozen=True, slots=True)
class Rent:
    """`amount_usd` for every `per_seconds`, running over some seconds, on one evidence.

    `collector` said so; of a list price it is the one that saw the node. `line` is the bill line behind it, if one is;
    `resource` and `node` are the bill's and the cluster's name of what is rented, where known. Of a node the amount is
    for `share` of its `gpus`; of an estimate it is `price` in USD, times `factor` where one was learned, times `share`.
    """

    component: Component
    evidence: Evidence
    amount_usd: Decimal
    per_seconds: int
    seconds: Intervals
    collector: str = ""
    line: BillLine | None = None
    resource: str = ""
    node: str = ""
    gpus: Decimal | None = None
    share: Decimal = Decimal(1)
    price: NodePrice | None = None
    factor: Decimal | None = None

    def usd(self, covered: Intervals) -> Decimal:
        """USD over the part of `covered` in which this rent runs; exact over all of a bill line's seconds."""
        return self.amount_usd * self.seconds.overlap(covered) / self.per_seconds

    def part(self, fraction: Decimal, seconds: Intervals) -> "Rent | None":
        """`fraction` of this rent over `seconds`; None if it does not run then."""
        shared = self.seconds & seconds
        if not shared:
            return None
        return replace(self, amount_usd=self.amount_usd * fraction, share=self.share * fraction, seconds=shared)


@lru_cache(maxsize=65536)
def resource_name(resource: str) -> str:
    """A bill's name of a machine or a disk as a cluster writes it: the id of an EC2 ARN, `<project>/<zone>/<name>` of a
    Google resource, an Azure id in lower case; anything else as it is."""
    if arn := _ARN.fullmatch(resource):
        return arn[1]
    if google := _GOOGLE.fullmatch(resource):
        return "/".join(google.groups())
    return resource.lower() if resource.lower().startswith("/subscriptions/") else resource


def billed_hours(charges: Iterable[Charge]) -> dict[tuple[object, ...], Decimal]:
    """By resource, component and charge period: the hours that its lines bill together. An hour that a commitment
    covers in part is two lines of half an hour each, and is billed whole."""
    sums: dict[tuple[object, ...], Decimal] = {}
    for charge in charges:
        hours = hours_of(charge)
        if hours is not None and hours > 0 and charge.charge_class != "Correction":
            key = _same_use(charge)
            sums[key] = sums.get(key, Decimal(0)) + hours
    return sums


def hours_of(charge: Charge) -> Decimal | None:
    """The quantity of a line that is measured in hours, None of any other."""
    return charge.quantity if charge.unit.lower() in HOUR_UNITS else None


def prices_seconds(charge: Charge) -> bool:
    """Whether a line prices the time it is for: a correction, or one for no time or no quantity, only moves money."""
    some = charge.window.seconds > 0 and (charge.quantity is None or charge.quantity > 0)
    return some and charge.charge_class != "Correction"


def billed_seconds(charge: Charge, hours: Mapping[tuple[object, ...], Decimal] | None = None) -> Intervals:
    """The seconds a bill line prices: its charge period, or, where its quantity is in hours and falls short of the
    period, that many hours from the period's start. So a bill delivered half covers half, and never lowers a cost.
    `hours` are those of all lines of the bill (see `billed_hours`); None: this line is all there is."""
    start, end = charge.window.start, charge.window.end
    if not prices_seconds(charge):
        return Intervals()
    quantity = hours_of(charge)
    if quantity is not None:
        total = max(quantity, (hours or {}).get(_same_use(charge), quantity))
        end = min(end, start + round(total * 3600))
    return Intervals([(start, end)])


def _same_use(charge: Charge) -> tuple[object, ...]:
    return charge.resource, charge.component, charge.window


def whole_period(charge: Charge) -> Intervals:
    """Where the money of a line that prices no second goes: its charge period, an instant's to its slot."""
    start, end = charge.window.start, charge.window.end
    return Intervals([(start, end) if start < end else (start - start % SLOT, start - start % SLOT + SLOT)])


def componented(charge: Charge, cards: Mapping[str, Card]) -> Charge:
    """A line for a resource that a card names pays for what the card pays for, whatever its SKU looks like; but for
    its disks, traffic and tokens, which are paid for beside it."""
    beside = not charge.resource or charge.component in BESIDE
    card = None if beside else by_resource(cards).get(charge.resource)
    return charge if card is None or charge.component == card.component else replace(charge, component=card.component)


@once_for_each
def by_resource(cards: Mapping[str, Card]) -> dict[str, Card]:
    """The card that names each resource; the first one counts."""
    return {resource: card for card in reversed([*cards.values()]) for resource in card.resources}
