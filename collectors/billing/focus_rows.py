"""FOCUS cost and usage rows (versions 1.0 to 1.3, https://focus.finops.org) from CSV text, plain or gzip, to `Charge`.

Money is taken exactly as written. A row is never dropped: what cannot be told of it is flagged, and a file in which
money cannot be read is refused as a whole, because a bill with lines missing looks like a saving.
"""

import csv
import gzip
import io
import zlib
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from operator import itemgetter
from pathlib import Path
from sys import intern
from typing import Any, NamedTuple

from collectors.billing.components import component_of
from collectors.billing.focus_values import BillFileError, money, month_of, period, suspect, tags
from collectors.records import Charge, ChargeCategory, Labels, Window

MAX_LINE = 1 << 20  # characters; a longer line is not a bill
NULLS = frozenset({"", "NULL", "null", "Null"})
REQUIRED = ("ChargePeriodStart", "ChargePeriodEnd", "ChargeCategory")
CATEGORIES: dict[str, ChargeCategory] = {
    "Usage": "Usage",
    "Purchase": "Purchase",
    "Tax": "Tax",
    "Credit": "Credit",
    "Adjustment": "Adjustment",
}


class ForeignFileError(BillFileError):
    """A whole file that is not FOCUS cost and usage: it can hold no bill line."""


class Row(NamedTuple):
    """One bill line. `part` is `<billing account>/<start of the billing period>`; `span` covers the billing and the
    charge period; `key` is the same for the same line in another delivery, whatever it costs there; `amounts` is the
    same where it is named otherwise but costs the same (None: it costs nothing, so that tells nothing); `content` is
    all that was read; `flags` are the reasons why the line is doubtful."""

    part: str
    charge: Charge
    span: Window
    key: int
    amounts: int | None
    content: str
    flags: tuple[str, ...]


class _Cells(NamedTuple):
    """The columns that are read, by their FOCUS names; columns a file lacks are empty."""

    BillingAccountId: str
    SubAccountId: str
    BillingPeriodStart: str
    BillingPeriodEnd: str
    ChargePeriodStart: str
    ChargePeriodEnd: str
    ChargeCategory: str
    ChargeClass: str
    ChargeDescription: str
    BillingCurrency: str
    BilledCost: str
    EffectiveCost: str
    ListCost: str
    ContractedCost: str
    ServiceProviderName: str  # 1.3; before that ProviderName
    ProviderName: str
    HostProviderName: str  # 1.3; before that PublisherName
    PublisherName: str
    ServiceName: str
    ServiceCategory: str
    SkuId: str
    SkuPriceId: str
    SkuMeter: str
    SkuPriceDetails: str
    ResourceId: str
    ResourceType: str
    RegionId: str
    RegionName: str
    ConsumedQuantity: str
    ConsumedUnit: str
    PricingQuantity: str
    PricingUnit: str
    PricingCategory: str
    CommitmentDiscountId: str
    CommitmentDiscountStatus: str
    InvoiceId: str
    AllocatedResourceId: str
    AllocatedTags: str
    Tags: str


def read_rows(path: Path) -> Iterator[Row]:
    """The bill line of every row of a file, streamed. Raises `BillFileError` naming line and column."""
    try:
        with path.open("rb") as raw:
            yield from _parsed(_lines(raw))
    except (OSError, EOFError, zlib.error) as error:  # EOFError: a gzip stream that ends too early
        raise BillFileError(f"cannot be read to its end ({error}): deliver it again") from error
    except UnicodeDecodeError as error:
        raise BillFileError(f"not UTF-8 text ({error.reason}): export CSV in UTF-8") from error


def _lines(raw: io.BufferedReader) -> Iterator[str]:
    magic = raw.peek(4)[:4]
    if magic == b"PAR1":
        raise ForeignFileError("is Parquet: export CSV")
    binary: Any = gzip.GzipFile(fileobj=raw) if magic[:2] == b"\x1f\x8b" else raw
    with io.TextIOWrapper(binary, encoding="utf-8-sig", newline="") as text:
        while line := text.readline(MAX_LINE):
            if len(line) == MAX_LINE:
                raise BillFileError(f"has a line of {MAX_LINE} or more characters: not a bill")
            yield line


class _Ending:
    """Passes lines through and remembers whether the last one was whole."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines, self.whole = lines, False

    def __iter__(self) -> Iterator[str]:
        for line in self._lines:
            self.whole = line.endswith(("\n", "\r"))
            yield line


def _parsed(lines: Iterator[str]) -> Iterator[Row]:
    ending = _Ending(lines)
    reader = csv.reader(ending, strict=True)
    try:
        header = next(reader, None)
        if header is None:
            raise BillFileError("is empty: deliver it again")
        parse = RowParser(header, ending.whole)
        for cells in reader:
            if not cells:
                continue
            if len(cells) != len(header):
                cut = "" if ending.whole else ", and the file ends inside it: deliver it again"
                raise BillFileError(f"has {len(cells)} columns where the header has {len(header)}{cut}")
            yield parse(cells)
    except csv.Error as error:
        raise BillFileError(f"line {reader.line_num}: {error}: deliver it again") from error
    except BillFileError as error:
        raise type(error)(f"line {reader.line_num}: {error}") from error


class RowParser:
    """Rows of one file: the columns are looked up once, values that repeat are parsed once and shared."""

    def __init__(self, header: Sequence[str], whole: bool = True) -> None:
        """`whole` is False where the file ended inside the header. Column names are compared without case: the
        specification's own examples write `SkuPriceid`."""
        at = {name.strip().casefold(): i for i, name in reversed(list(enumerate(header)))}
        self._billed, self._effective = "billedcost" in at, "effectivecost" in at
        missing = [name for name in REQUIRED if name.casefold() not in at]
        if not (self._billed or self._effective):
            missing.append("BilledCost (or EffectiveCost)")
        if missing:
            what = f"lacks the column{'s' if len(missing) > 1 else ''} {', '.join(missing)}"
            raise (ForeignFileError if whole else BillFileError)(
                f"{what}: not FOCUS cost and usage data; export these columns, or keep the file out of `path`"
            )
        absent = len(header)  # of a cell that is added to every row
        self._pick = itemgetter(*(at.get(name.casefold(), absent) for name in _Cells._fields))
        self._component = lru_cache(maxsize=4096)(component_of)
        self._period = lru_cache(maxsize=4096)(period)
        self._part = lru_cache(maxsize=4096)(_part)
        self._amount = lru_cache(maxsize=4096)(money)
        self._labels = lru_cache(maxsize=4096)(tags)

    def __call__(self, cells: list[str]) -> Row:
        """The bill line in `cells`. Raises `BillFileError` where its money or all of its dates cannot be read."""
        c = _Cells._make(["" if cell in NULLS else cell for cell in self._pick([*cells, ""])])
        window, billing = self._times(c)
        billed, effective = self._costs(c)
        labels, readable = self._labels(c.Tags, c.AllocatedTags)
        charge = self._charge(c, window or billing, billed, effective, labels)
        start, end = charge.window.start, charge.window.end
        span = Window(min(start, billing.start), max(end, billing.end, start + 1))
        flags = [*self._doubts(c, charge)]
        if window is None:
            flags.append("bad_charge_period")
        if not readable:
            flags.append("bad_tags")
        part, content = self._part(c.BillingAccountId, billing.start), "\x1f".join(c)
        return Row(part, charge, span, _key(c, charge), _amounts(c, charge), content, tuple(flags))

    def _times(self, c: _Cells) -> tuple[Window | None, Window]:
        """The charge period, None if it cannot be read, and the billing period. Without a billing period the line
        belongs to the UTC month in which its charge period starts."""
        charge = self._period(c.ChargePeriodStart, c.ChargePeriodEnd)
        billing = self._period(c.BillingPeriodStart, c.BillingPeriodEnd)
        if charge is None and billing is None:
            raise BillFileError(
                f"ChargePeriodStart {c.ChargePeriodStart[:40]!r}, ChargePeriodEnd {c.ChargePeriodEnd[:40]!r}: expected "
                "a period like 2026-01-01T00:00:00Z to 2026-01-01T01:00:00Z"
            )
        return charge, billing or month_of(charge.start if charge else 0)

    def _costs(self, c: _Cells) -> tuple[Decimal, Decimal]:
        """Billed and effective cost; where the file has only one of the columns, that one is both."""
        if not self._billed:
            effective = self._money("EffectiveCost", c.EffectiveCost)
            return effective, effective
        billed = self._money("BilledCost", c.BilledCost)
        return billed, self._money("EffectiveCost", c.EffectiveCost) if self._effective else billed

    def _money(self, column: str, text: str) -> Decimal:
        try:
            return self._amount(text)
        except BillFileError as error:
            raise BillFileError(f"{column}: {error}") from None

    def _charge(self, c: _Cells, window: Window, billed: Decimal, effective: Decimal, labels: Labels) -> Charge:
        # What was consumed, rather than what was priced: a commitment may price half an hour as a quarter.
        quantity, unit = (
            (c.ConsumedQuantity, c.ConsumedUnit) if c.ConsumedQuantity else (c.PricingQuantity, c.PricingUnit)
        )
        text = f"{c.SkuId} {c.SkuMeter} {c.SkuPriceDetails} {c.ResourceType} {c.ChargeDescription}"
        return Charge(
            window=window,
            category=CATEGORIES.get(c.ChargeCategory, "Adjustment"),
            currency=intern(c.BillingCurrency.strip().upper()),
            billed_cost=billed,
            effective_cost=effective,
            list_cost=self._money("ListCost", c.ListCost) if c.ListCost else None,
            contracted_cost=self._money("ContractedCost", c.ContractedCost) if c.ContractedCost else None,
            component=self._component(c.ServiceCategory, c.PricingUnit, text),
            provider=intern(c.ServiceProviderName or c.ProviderName or c.HostProviderName or c.PublisherName),
            service=intern(c.ServiceName),
            service_category=intern(c.ServiceCategory),
            sku=intern(c.SkuId or c.SkuPriceId),
            resource=intern(c.ResourceId),
            resource_type=intern(c.ResourceType),
            region=intern(c.RegionId or c.RegionName),
            account=intern(c.SubAccountId or c.BillingAccountId),
            quantity=self._money("ConsumedQuantity or PricingQuantity", quantity) if quantity else None,
            unit=intern(unit),
            commitment_status=intern(c.CommitmentDiscountStatus),
            charge_class=intern(c.ChargeClass),
            invoice=intern(c.InvoiceId),
            description=intern(c.ChargeDescription),
            tags=labels,
        )

    def _doubts(self, c: _Cells, charge: Charge) -> Iterator[str]:
        if not self._effective:
            yield "no_effective_cost"
        if not self._billed:
            yield "no_billed_cost"
        if c.ChargeCategory not in CATEGORIES:
            yield "unknown_category"
        if not charge.currency:
            yield "no_currency"
        committed = c.CommitmentDiscountId or c.CommitmentDiscountStatus
        if charge.category == "Usage" and not committed and suspect(charge.billed_cost, charge.effective_cost):
            yield "effective_cost_suspect"


def _part(account: str, period_start: int) -> str:
    return f"{account or '-'}/{datetime.fromtimestamp(period_start, UTC):%Y-%m-%d}"


def _key(c: _Cells, charge: Charge) -> int:
    """What identifies a line across deliveries: no amounts, and nothing that is filled in later (invoice, tags)."""
    what = (c.ResourceId, c.AllocatedResourceId, c.SkuId, c.SkuPriceId, c.ServiceName, charge.region, charge.account)
    how = (c.ChargeCategory, c.ChargeClass, c.PricingCategory, c.CommitmentDiscountId, c.CommitmentDiscountStatus)
    return _hashed(charge, *what, *how)


def _amounts(c: _Cells, charge: Charge) -> int | None:
    """What a line bills, whatever it is called: its resource (without one: its account), period, categories, quantity
    and costs. No SKU, service or region: those are the names that a provider changes."""
    if not (charge.billed_cost or charge.effective_cost or charge.list_cost):
        return None
    whose = c.ResourceId or c.AllocatedResourceId or charge.account
    how = (c.ChargeCategory, c.ChargeClass, c.ServiceCategory, c.CommitmentDiscountId)
    # As numbers: 1.50 is 1.5.
    numbers = (charge.quantity, charge.billed_cost, charge.effective_cost, charge.list_cost)
    return _hashed(charge, whose, *how, *("" if number is None else str(number.normalize()) for number in numbers))


def _hashed(charge: Charge, *texts: str) -> int:
    return zlib.crc32("\x1f".join((str(charge.window.start), str(charge.window.end), *texts)).encode())
