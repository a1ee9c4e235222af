"""Cost Explorer's answers to `Charge`: which number is the cost, and what kind of charge a line is. Pure.

Billed cost is (net) unblended, effective cost is (net) amortized. The net metrics exist only where an account has
private discounts; elsewhere they are missing or all zero, and the plain ones are the cost.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from collectors.billing import cost_explorer_usage_types as usage_types
from collectors.billing.cost_explorer_plan import Query
from collectors.records import Charge, ChargeCategory, Labels, Window

PROVIDER = "AWS"  # as FOCUS bills of AWS write it
NO_RESOURCE = "NoResourceId"
ZERO = Decimal(0)

# Charge types by their names without case and spaces: Cost Explorer writes some both ways.
_FEES = {
    *("savingsplanrecurringfee", "savingsplanupfrontfee", "recurring", "rifee", "recurringreservationfee"),
    *("upfront", "upfrontreservationfee"),
}
_UPFRONT = {"upfront", "upfrontreservationfee", "savingsplanupfrontfee"}
_CATEGORIES: Mapping[str, ChargeCategory] = {
    **dict.fromkeys(("fee", "support", "supportfee"), "Purchase"),
    "tax": "Tax",
    "credit": "Credit",
}


class AnswerError(ValueError):
    """An answer that is not what Cost Explorer documents: nothing of it is used."""


@dataclass(frozen=True, slots=True)
class Row:
    """One group of one period. `keys` are in the order of the query's groups. Money in `currency`; the net amounts are
    None where the answer has none."""

    window: Window
    keys: tuple[str, ...]
    currency: str
    unblended: Decimal
    amortized: Decimal
    net_unblended: Decimal | None
    net_amortized: Decimal | None
    quantity: Decimal | None
    unit: str
    estimated: bool

    def costs(self, net: bool) -> tuple[Decimal, Decimal]:
        """(billed, effective)."""
        if net and self.net_unblended is not None and self.net_amortized is not None:
            return self.net_unblended, self.net_amortized
        return self.unblended, self.amortized

    @property
    def empty(self) -> bool:
        return not any((self.unblended, self.amortized, self.net_unblended, self.net_amortized, self.quantity))


def rows_of(answer: Mapping[str, Any], groups: int) -> Iterator[Row]:
    """The groups of one page. Raises AnswerError where a period, a key or an amount cannot be read."""
    try:
        for period in answer["ResultsByTime"]:
            window = Window(_instant(period["TimePeriod"]["Start"]), _instant(period["TimePeriod"]["End"]))
            for group in period.get("Groups", ()):
                keys = tuple(map(str, group["Keys"]))
                if len(keys) != groups:
                    raise AnswerError(f"a group has {len(keys)} keys where {groups} were asked for")
                row = _row(window, keys, group["Metrics"], bool(period.get("Estimated")))
                if not row.empty:
                    yield row
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, AnswerError):
            raise
        raise AnswerError(f"unreadable ({type(error).__name__}: {str(error)[:80]})") from None


def is_net(rows: Iterable[Row]) -> bool:
    """Whether the net amounts of a day are its cost: they are there, and not all zero where the plain ones are not."""
    there = plain = net = False
    for row in rows:
        there = there or row.net_unblended is not None
        plain = plain or bool(row.unblended or row.amortized)
        net = net or bool(row.net_unblended or row.net_amortized)
    return there and (net or not plain)


def charges_of(query: Query, rows: Iterable[Row], net: bool, account: str = "") -> Iterator[Charge]:
    """The bill lines of rows that answer `query`."""
    keys = [key for _, key in query.groups]
    tag = next((key for kind, key in query.groups if kind == "TAG"), None)
    for row in rows:
        named = dict(zip(keys, row.keys, strict=True))
        if "RECORD_TYPE" in named:
            yield from _other(row, named["RECORD_TYPE"], named["USAGE_TYPE"], net, account)
        else:
            yield _usage(row, named, _tags(tag, named), net, account)


def totals(rows: Iterable[Row], net: bool) -> dict[str, tuple[Decimal, Decimal]]:
    """(billed, effective) by currency."""
    found: dict[str, tuple[Decimal, Decimal]] = {}
    for row in rows:
        billed, effective = row.costs(net)
        before = found.get(row.currency, (ZERO, ZERO))
        found[row.currency] = before[0] + billed, before[1] + effective
    return found


def corrections(
    window: Window,
    now: Mapping[str, tuple[Decimal, Decimal]],
    before: Mapping[str, tuple[Decimal, Decimal]],
    estimated: bool,
) -> Iterator[Charge]:
    """What a day's total differs by from its detail, which can no longer be read again."""
    for currency in sorted({*now, *before}):
        is_, was = now.get(currency, (ZERO, ZERO)), before.get(currency, (ZERO, ZERO))
        if is_ != was:
            yield Charge(
                window,
                "Adjustment",
                currency,
                is_[0] - was[0],
                is_[1] - was[1],
                provider=PROVIDER,
                charge_class="Correction",
                description="restated after its hours and resources could last be read",
                estimated=estimated,
            )


def _usage(row: Row, named: Mapping[str, str], tags: Labels, net: bool, account: str) -> Charge:
    kind = usage_types.read(named["USAGE_TYPE"], named.get("SERVICE", ""))
    billed, effective = row.costs(net)
    resource = named.get("RESOURCE_ID", "")
    unused = usage_types.is_unused_reservation(named["USAGE_TYPE"]) and not tags
    return Charge(
        row.window,
        "Usage",
        row.currency,
        billed,
        effective,
        component=kind.component,
        provider=PROVIDER,
        service=kind.service,
        service_category=kind.category,
        sku=named["USAGE_TYPE"],
        resource="" if resource == NO_RESOURCE else resource,
        region=kind.region,
        account=account,
        quantity=row.quantity,
        unit=row.unit,
        commitment_status="Unused" if unused else "",
        tags=tags,
        estimated=row.estimated,
    )


def _other(row: Row, record: str, usage_type: str, net: bool, account: str) -> Iterator[Charge]:
    """A line that is no usage. The fee of a commitment is a purchase; what Cost Explorer amortizes of it to the fee
    itself is the part that nothing used."""
    billed, effective = row.costs(net)
    kind, block = record.replace(" ", "").lower(), usage_types.is_capacity_block(usage_type)
    whole = block or (kind in _UPFRONT and effective == billed)  # not amortized at all
    if kind in _FEES and effective and not whole:
        yield _line(row, "Usage", record, usage_type, (ZERO, effective), account, "Unused")
        effective = ZERO
    category = "Purchase" if kind in _FEES or block else _CATEGORIES.get(kind, "Adjustment")
    yield _line(row, category, record, usage_type, (billed, effective), account)


def _line(
    row: Row,
    category: ChargeCategory,
    record: str,
    usage_type: str,
    costs: tuple[Decimal, Decimal],
    account: str,
    status: str = "",
) -> Charge:
    kind = usage_types.read(usage_type)
    return Charge(
        row.window,
        category,
        row.currency,
        *costs,
        component=kind.component,
        provider=PROVIDER,
        service=kind.service,
        service_category=kind.category,
        sku=usage_type,
        region=kind.region,
        account=account,
        quantity=None if status else row.quantity,
        unit="" if status else row.unit,
        commitment_status=status,
        description=record,
        estimated=row.estimated,
    )


def _tags(tag: str | None, named: Mapping[str, str]) -> Labels:
    """The tag of a group, which is written `key$value`; `key$` is without the tag."""
    if tag is None:
        return ()
    text = named[tag]
    value = text[len(tag) + 1 :] if text.startswith(f"{tag}$") else text.partition("$")[2]
    return ((tag, value),) if value else ()


def _row(window: Window, keys: tuple[str, ...], metrics: Mapping[str, Any], estimated: bool) -> Row:
    unblended, amortized = _amount(metrics, "UnblendedCost"), _amount(metrics, "AmortizedCost")
    if unblended is None or amortized is None:
        raise AnswerError("a group lacks UnblendedCost or AmortizedCost")
    units = {str(metrics[name].get("Unit", "")) for name in ("UnblendedCost", "AmortizedCost")}
    if len(units) != 1:
        raise AnswerError(f"a group mixes the currencies {' and '.join(sorted(units))}")
    unit = usage_types.unit_of(str(metrics.get("UsageQuantity", {}).get("Unit", "")))
    return Row(
        window,
        keys,
        units.pop().upper(),
        unblended,
        amortized,
        _amount(metrics, "NetUnblendedCost"),
        _amount(metrics, "NetAmortizedCost"),
        _amount(metrics, "UsageQuantity") if unit else None,
        unit,
        estimated,
    )


def _amount(metrics: Mapping[str, Any], name: str) -> Decimal | None:
    """A decimal string; None where the metric is missing or empty."""
    text = metrics.get(name, {}).get("Amount")
    if text in (None, ""):
        return None
    try:
        amount = Decimal(text) if isinstance(text, str) else None
    except InvalidOperation:
        amount = None
    if amount is None or not amount.is_finite():
        raise AnswerError(f"{name} is {str(text)[:40]!r}: expected a decimal number in a string")
    return amount


def _instant(text: Sequence[str] | str) -> int:
    """A date or a time in UTC, in epoch seconds."""
    at = datetime.fromisoformat(str(text))
    return int(at.replace(tzinfo=UTC).timestamp() if at.tzinfo is None else at.timestamp())
