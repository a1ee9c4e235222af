"""Figures as people read them: USD, tokens, shares, ages, instants. Pure; unknown is a dash."""

from datetime import UTC, datetime
from decimal import Decimal

DASH = "\N{EN DASH}"
_MINUS = "\N{MINUS SIGN}"
_MILLION = Decimal(1_000_000)


def usd(amount: Decimal | None) -> str:
    """`$1,234`, `$12.34`, `$0.0123`: whole dollars from 1,000, cents from 1, else three significant digits."""
    if amount is None:
        return DASH
    sign, size = _MINUS if amount < 0 else "", abs(amount)
    if size >= 1000:
        return f"{sign}${size:,.0f}"
    if size >= 1 or size == 0:
        return f"{sign}${size:.2f}"
    return f"{sign}${_significant(size)}"


def usd_per_million(usd_per_token: Decimal | None) -> str:
    """A price per token, shown per million tokens; the unit is for the caller to name."""
    if usd_per_token is None:
        return DASH
    price = usd_per_token * _MILLION
    return usd(price) if price == 0 or price >= 10 else f"${_significant(price)}"


def _significant(amount: Decimal) -> str:
    """Three significant digits of a positive amount below 1,000, never with an exponent."""
    places = max(2, 2 - amount.adjusted())
    return f"{amount:.{places}f}"


def ratio(value: Decimal | None) -> str:
    return DASH if value is None else f"{value:,.2f}"


def percent(share: Decimal | None) -> str:
    """A ratio as a percentage; not rounded up to a full 100 %, nor down to 0."""
    if share is None:
        return DASH
    points = share * 100
    if 0 < points < Decimal("0.1"):
        return "< 0.1 %"
    if Decimal("99.9") < points < 100:
        return "> 99.9 %"
    return f"{points:.0f} %" if points == points.to_integral_value() else f"{points:.1f} %"


def count(number: int | Decimal | None) -> str:
    """`412`, `9,310`, `41.2 million`: a quantity."""
    if number is None:
        return DASH
    for size, name in ((10**12, "trillion"), (10**9, "billion"), (10**6, "million")):
        if number >= size:
            return f"{Decimal(number) / size:.1f} {name}"
    return f"{number:,.0f}"


def span(seconds: float) -> str:
    """`42 s`, `5 min`, `3 h 20 min`, `2 d 4 h`: a length of time, to two units."""
    whole = max(0, int(seconds))
    days, hours, minutes = whole // 86400, whole % 86400 // 3600, whole % 3600 // 60
    if days:
        return f"{days} d {hours} h" if hours and days < 30 else f"{days} d"
    if hours:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    return f"{minutes} min" if minutes else f"{whole} s"


def duration(seconds: float) -> str:
    """How long a run took: `18 ms`, `1.3 s`, `2 min`."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    return f"{seconds:.1f} s" if seconds < 60 else span(seconds)


def ago(at: float | None, now: float) -> str:
    return "never" if at is None else f"{span(now - at)} ago"


def instant(at: float | None) -> str:
    """`2026-11-20 21:00 UTC`."""
    return DASH if at is None else datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC")


def usd_cents(amount: Decimal) -> str:
    """An amount that must add up with others: always to the cent."""
    return f"{_MINUS if amount < 0 else ''}${abs(amount):,.2f}"
