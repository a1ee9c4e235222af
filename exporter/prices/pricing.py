"""Tokens times a dated price. Pure."""

from collections.abc import Mapping
from decimal import Decimal
from typing import NamedTuple

from exporter.prices.book import Rate

CACHED_TYPES = ("cache_read", "cache_write", "cache_write_1h")
_CACHED = frozenset(CACHED_TYPES)


class Priced(NamedTuple):
    """What tokens cost: `usd` of those that have a price (also `by_type`, where the price per request is left out), and
    the others as a count by token type."""

    usd: Decimal
    unpriced: Mapping[str, int]
    by_type: Mapping[str, Decimal]


class Tariff(NamedTuple):
    """One price vector: USD per token by type, and per request."""

    prices: Mapping[str, Decimal]
    per_request: Decimal

    def cost(self, tokens: Mapping[str, int], requests: int) -> Priced:
        """The cost in USD of `tokens` (by disjoint type) of `requests` requests.

        A token type without a price leaves as unpriced: it is never 0 USD. No token of a type is never unpriced.
        """
        usd, by_type, unpriced = self.per_request * requests, {}, {}
        for token_type, count in tokens.items():
            if token_type in self.prices:
                by_type[token_type] = part = self.prices[token_type] * count
                usd += part
            elif count:
                unpriced[token_type] = count
        return Priced(usd, unpriced, by_type)


def tariff(rate: Rate, band: int, cached_as_input: bool = False) -> Tariff:
    """The prices of requests that all lie in the band with edge `band`. Cached tokens never pay the input price.

    `cached_as_input` is for a counterfactual only: self-hosted tokens at the price of an API alternative. If the rate
    has no price for any cached type in any band, such a host gives no cache discount and would bill these tokens as
    prompt tokens: cached tokens then cost the input price of the band. If the rate has a price for one cached type,
    the host knows caching, and a cached type without a price stays unpriced.
    """
    prices = rate.prices(band)
    if cached_as_input and "input" in prices and not _prices_cached(rate):
        prices = {**prices, **dict.fromkeys(CACHED_TYPES, prices["input"])}
    return Tariff(prices, rate.per_request)


def cost(rate: Rate, tokens: Mapping[str, int], band: int, requests: int, cached_as_input: bool = False) -> Priced:
    """The cost in USD of `tokens` of `requests` requests that all lie in the band with edge `band`, see `tariff`."""
    return tariff(rate, band, cached_as_input).cost(tokens, requests)


def blended(rate: Rate, mix: Mapping[str, int], band: int = 0) -> Decimal | None:
    """The blended API price in USD per token of a token mix (counts by type), or None if a part of it has no price.

    For comparing hosts: counterfactual, so cached tokens count as in `cost(..., cached_as_input=True)`. A price per
    request is left out: a mix has no request length.
    """
    total = sum(mix.values())
    priced = cost(rate, mix, band, 0, cached_as_input=True)
    return priced.usd / total if total > 0 and not priced.unpriced else None


def _prices_cached(rate: Rate) -> bool:
    return not all([_CACHED.isdisjoint(prices) for _, prices in rate.bands])
