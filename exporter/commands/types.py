"""Types of command-line options: exact decimals with bounds, and points in time."""

from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

import click

_SMALLEST, _LARGEST = Decimal("1e-18"), Decimal("1e18")  # beyond, it is a slip of the exponent


class Number(click.ParamType[Decimal]):
    """A finite decimal, exponents allowed, within bounds (both included)."""

    name = "number"

    def __init__(self, least: str = "0", most: str = "1e18", above_zero: bool = False) -> None:
        self.least, self.most, self.above_zero = Decimal(least), Decimal(most), above_zero

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Decimal:
        try:
            number = Decimal(str(value))
        except InvalidOperation:
            self.fail(f"expected a number like 2.49 or 5e9, got {value!r}", param, ctx)
        if not number.is_finite() or not self.least <= number <= self.most or (self.above_zero and number == 0):
            self.fail(f"expected a number {self._bounds()}, got {value}", param, ctx)
        if number and number < _SMALLEST:
            self.fail(f"expected 0 or a number from {_SMALLEST} to {_LARGEST}, got {value}", param, ctx)
        return number

    def _bounds(self) -> str:
        most = "1e18" if self.most == _LARGEST else f"{self.most:f}"
        return f"above 0 and up to {most}" if self.above_zero else f"from {self.least:f} to {most}"


class Whole(click.ParamType[int]):
    """A whole number of at least 1; an exponent is allowed."""

    name = "integer"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        number = AT_LEAST_ONE.convert(value, param, ctx)
        if number != number.to_integral_value():
            self.fail(f"expected a whole number, got {value}", param, ctx)
        return int(number)


class Moment(click.ParamType[int]):
    """A point in time as epoch seconds, written as a date (midnight UTC) or a date-time with a zone."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"expected a date like 2026-01-31 or a time with a zone, got {value!r}", param, ctx)
        if len(value) <= 10:
            moment = moment.replace(tzinfo=UTC)
        if moment.tzinfo is None:
            self.fail(f"expected a time with a zone (for example {value}Z), got {value!r}", param, ctx)
        return int(moment.timestamp())


AMOUNT = Number()
POSITIVE = Number(above_zero=True)
FRACTION = Number(most="1")
SHARE = Number(most="1", above_zero=True)
AT_LEAST_ONE = Number(least="1")
WHOLE = Whole()
MOMENT = Moment()
