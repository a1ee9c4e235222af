"""The values of FOCUS cells: exact money, instants, tags. Pure."""

import json
import re
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from sys import intern

from collectors.records import DAY, Labels, Window

# Amounts beyond these are a broken export, and would not add up exactly.
MAX_AMOUNT, MIN_EXPONENT, MAX_DIGITS = Decimal(10) ** 15, -30, 60
MAX_PERIOD = 20 * 366 * DAY  # a charge period longer than this is a broken date


class BillFileError(Exception):
    """A file that cannot be read to its end. The text is for the on-call engineer."""


def suspect(billed: Decimal, effective: Decimal) -> bool:
    """Whether the effective cost of an uncommitted usage line looks rounded: whole units where the bill has a fraction.

    Some anonymised and some home-made exports round it (1.624 billed, 2 effective).
    """
    return effective != billed and effective == effective.to_integral_value() and billed != billed.to_integral_value()


_PLAIN = re.compile(r"-?\d{1,15}(?:\.\d{0,30})?", re.ASCII)
_FORMATTED = re.compile(r"-?\$?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d*)?", re.ASCII)


def money(text: str) -> Decimal:
    """The exact amount in `text`: a decimal, or as spreadsheets write it (`$10,000.00 `). Raises `BillFileError`."""
    if _PLAIN.fullmatch(text):
        return Decimal(text)
    text = text.strip()
    try:
        amount = Decimal(text.replace("$", "").replace(",", "") if _FORMATTED.fullmatch(text) else text)
    except InvalidOperation:
        raise BillFileError(f"expected a decimal like 12.34, got {text[:40]!r}") from None
    exponent = amount.as_tuple().exponent
    exact = isinstance(exponent, int) and exponent >= MIN_EXPONENT and len(text) <= MAX_DIGITS and "_" not in text
    if not exact or abs(amount) >= MAX_AMOUNT:
        raise BillFileError(f"expected a decimal like 12.34 of usual size, got {text[:40]!r}")
    return amount


_US_DATE = re.compile(r"(\d{1,2})/(\d{1,2})/(\d{4}|\d{2})(?: (\d{1,2}):(\d{2})(?::(\d{2}))?)?")


def instant(text: str) -> int | None:
    """Epoch seconds of an ISO 8601 date or time (UTC where it has no zone) or a US short date (`5/1/25`), else None."""
    try:
        if us := _US_DATE.fullmatch(text.strip()):
            month, day, year, hour, minute, second = (int(part or 0) for part in us.groups())
            at = datetime(year + (2000 if year < 100 else 0), month, day, hour, minute, second)
        else:
            at = datetime.fromisoformat(text.strip())
        return int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp())
    except (ValueError, OverflowError):
        return None


def month_of(at: int) -> Window:
    """The UTC calendar month that contains the instant `at` (epoch seconds)."""
    first = datetime.fromtimestamp(at, UTC).replace(day=1, hour=0, minute=0, second=0)
    after = first.replace(year=first.year + first.month // 12, month=first.month % 12 + 1)
    return Window(int(first.timestamp()), int(after.timestamp()))


def tags(own: str, allocated: str) -> tuple[Labels, bool]:
    """The tags in two JSON objects, sorted, those of the allocation (FOCUS 1.3) first in rank; and whether all could
    be read."""
    found: dict[str, str] = {}
    readable = True
    for text in (own, allocated):
        try:
            values = json.loads(text) if text else {}
        except (ValueError, RecursionError):
            values = None
        if isinstance(values, dict):
            found.update((intern(str(key)), _tag_text(value)) for key, value in values.items())
        else:
            readable = False
    return tuple(sorted(found.items())), readable


def _tag_text(value: object) -> str:
    if value is None:
        return ""
    return intern(value if isinstance(value, str) else json.dumps(value))


def period(start: str, end: str) -> Window | None:
    """`[start, end)`, or None where one cannot be read, they are reversed, or they lie absurdly far apart."""
    first, last = instant(start), instant(end)
    return Window(first, last) if first is not None and last is not None and 0 <= last - first <= MAX_PERIOD else None
