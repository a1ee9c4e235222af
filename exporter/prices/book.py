"""Dated token prices as values: look-ups over rates that were resolved beforehand. Pure, no library, no I/O.

Rates come from `exporter.prices.resolve` (user overrides first, then genai-prices), in a child process, so that a
running exporter holds only the rates of the models it has seen.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal


@dataclass(frozen=True, slots=True)
class PriceKey:
    """What a price is asked for: names as the source of the usage writes them."""

    provider: str
    model: str
    service_tier: str = "default"
    region: str = ""


@dataclass(frozen=True, slots=True)
class Rate:
    """One price vector, valid over `[start, end)` (epoch seconds, None: open) and, where `day` is given, only in the
    seconds `[day[0], day[1])` of the UTC day (it may wrap over midnight).

    `bands` are (edge, prices): `prices` in USD per token by token type holds for requests whose whole prompt is
    strictly longer than `edge` tokens; ascending, the first edge is 0. A type missing in a band falls back to the next
    lower band that has it; a type missing everywhere has no price. `per_request` is in USD. `origin` says where the
    price is from.
    """

    bands: tuple[tuple[int, Mapping[str, Decimal]], ...]
    start: int | None = None
    end: int | None = None
    day: tuple[int, int] | None = None
    per_request: Decimal = Decimal(0)
    origin: str = ""

    def covers(self, at: int) -> bool:
        if (self.start is not None and at < self.start) or (self.end is not None and at >= self.end):
            return False
        if self.day is None:
            return True
        second, (since, until) = at % 86400, self.day
        return since <= second < until if since < until else second >= since or second < until

    def prices(self, band: int) -> Mapping[str, Decimal]:
        """USD per token by token type for requests in the band with lower edge `band` (tokens)."""
        if len(self.bands) == 1:
            return self.bands[0][1]
        merged = dict(self.bands[0][1])
        for edge, prices in self.bands[1:]:
            if edge <= band:
                merged.update(prices)
        return merged


@dataclass(frozen=True, slots=True)
class PriceBook:
    """Resolved rates by key, in order of precedence: the first rate that covers the instant wins.

    A key that maps to () was looked up and is unknown; a key that is absent was never asked for.
    """

    rates: Mapping[PriceKey, tuple[Rate, ...]] = field(default_factory=dict)

    def rate(self, key: PriceKey, at: int) -> Rate | None:
        """The rate for `key` at the instant `at` (epoch seconds), or None if no price is known."""
        for rate in self.rates.get(key, ()):
            if rate.covers(at):
                return rate
        return None

    def missing(self, keys: Iterable[PriceKey]) -> set[PriceKey]:
        """The keys that were never looked up."""
        return {key for key in keys if key not in self.rates}

    def lasting(self, key: PriceKey) -> tuple[Rate, ...] | None:
        """The rates of `key` if none of them is dated: the first one, if any, is its price at all times."""
        rates = self.rates.get(key, ())
        for rate in rates:
            if rate.start is not None or rate.end is not None or rate.day is not None:
                return None
        return rates

    def changes(self, key: PriceKey, start: int, end: int) -> list[int]:
        """The instants inside `(start, end)` at which the price of `key` may change, ascending."""
        edges: set[int] = set()
        for rate in self.rates.get(key, ()):
            if rate.start is not None:
                edges.add(rate.start)
            if rate.end is not None:
                edges.add(rate.end)
            if rate.day is not None:
                midnight = start - start % 86400
                for day in range(midnight, end, 86400):
                    edges.update((day + rate.day[0], day + rate.day[1]))
        return sorted(at for at in edges if start < at < end) if edges else []

    def extended(self, rates: Mapping[PriceKey, tuple[Rate, ...]]) -> "PriceBook":
        return PriceBook({**self.rates, **rates})
