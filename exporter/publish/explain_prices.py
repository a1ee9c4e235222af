"""Tokens at their prices in `explain`: list price, what a bill made of it, and where both are from. Pure."""

from collections.abc import Iterator, Sequence
from decimal import Decimal

from collectors.records import DAY
from exporter.publish import text
from exporter.publish.explain_case import Case, amounts, covered, per_million, plain
from exporter.publish.layout import prose, table
from exporter.reconcile.alternatives import ApiAlternative
from exporter.reconcile.build import api_bill
from exporter.reconcile.derivation import REQUESTS, PriceLine, billed_by, price_lines

_Origin = tuple[object, str, int | None, bool]
"""What the numbered notes below a table are about: key, origin and start of a price, and whether it is as billed."""


def priced(case: Case, alternative: ApiAlternative | None, symbol: str) -> Iterator[str]:
    """Tokens x price for each type and price; the origins of the prices are numbered and listed below."""
    lines = price_lines(case.view, alternative, covered(case))
    origins = list(dict.fromkeys(_origin(one) for one in lines if one.usd is not None))
    shown = amounts([one.usd or Decimal(0) for one in lines])
    rows: list[tuple[str, ...]] = [("tokens", "USD/Mtok", "as billed", "USD", "price", "token type")]
    for one, usd in zip(lines, shown, strict=False):
        price, known = one.usd_per_token, one.usd is not None
        number = f"[{origins.index(_origin(one)) + 1}]" if known else "none"
        each = text.DASH if price is None else per_million(price)
        factor = "" if one.factor is None else f"x {_digits(one.factor)}"
        rows.append((f"{one.tokens:,}", each, factor, usd if known else text.DASH, number, _type(one)))
    rows += [(first, "", "", *rest) for first, _, *rest in _totals(alternative, lines, shown[-1], symbol)]
    if any(one.factors for one in lines):
        yield from table(rows, "rrrrll")
    else:
        yield from table([(*row[:2], *row[3:]) for row in rows], "rrrll")
    for i, origin in enumerate(origins, 1):
        note = _note(case, [one for one in lines if _origin(one) == origin])
        yield from prose(f"[{i}] {note}.", hanging=4)


def _origin(line: PriceLine) -> _Origin:
    return line.key, line.origin, line.since, bool(line.factors)


def _digits(factor: Decimal) -> str:
    return plain(round(factor, 4))


def _note(case: Case, lines: Sequence[PriceLine]) -> str:
    """Where the price of some lines is from, and what a bill made of it."""
    line, origin = lines[0], lines[0].origin
    name = f"{line.key.provider}/{line.key.model}"
    named = origin if origin.endswith(name) else f"{origin}, as {name}"
    force = "" if line.since is None else f", in force since {text.instant(line.since)}"
    catalogue = case.catalogue_at is not None and not origin.startswith("override")
    dated = f", catalogue of {_day(case.catalogue_at or 0)}" if catalogue else ""
    return f"{named}{force}{dated}{_as_billed(case, lines)}"


def _as_billed(case: Case, lines: Sequence[PriceLine]) -> str:
    """`; list 1.25 x 0.8 to 0.83 by day, as billed by openai for 2026-11-17 to 2026-11-19`."""
    factors = {day: factor for line in lines for day, factor in line.factors.items()}
    if not factors:
        return ""
    shown = list(dict.fromkeys(_digits(factor) for factor in (min(factors.values()), max(factors.values()))))
    by = sorted({name for line in lines for name in billed_by(line, api_bill(case.inputs, case.end).days)})
    days = list(dict.fromkeys(_day(day) for day in (min(factors), max(factors))))
    varies = " (by day)" if len(shown) > 1 else ""
    return f"; list price x {'..'.join(shown)}{varies} as billed by {' and '.join(by)} for {' to '.join(days)}"


def _day(at: int) -> str:
    return text.instant(at - at % DAY)[:10]


def _totals(
    alternative: ApiAlternative | None, lines: Sequence[PriceLine], total: str, symbol: str
) -> list[tuple[str, ...]]:
    """The sum of a price table, and the discount on it."""
    if alternative is None or not alternative.discount:
        return [("", "", total, "", f"= {symbol}")]
    listed = sum((one.usd or Decimal(0) for one in lines), Decimal(0))
    _, less, left = amounts([listed, -listed * alternative.discount])
    label = f"discount {plain(alternative.discount * 100)} %"
    return [("", "", total, "", "= sum"), ("", "", less, "", label), ("", "", left, "", f"= {symbol}")]


def _type(line: PriceLine) -> str:
    """`cache_read (no cache price: as input), prompts above 200,000 tokens`."""
    name = "requests, USD per million" if line.token_type == REQUESTS else line.token_type
    name += " (no cache price: as input)" if line.as_input else ""
    name += f", prompts above {line.band:,} tokens" if line.band else ""
    tier = line.key.service_tier
    return name + ("" if tier in ("", "default") else f", tier {tier}") + ("" if line.usd is not None else ": unpriced")
