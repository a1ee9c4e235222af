"""What is known of the price of a model: the core of the `prices` command. Imports the catalogue when called."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from exporter.prices.book import PriceKey, Rate
from exporter.prices.names import provider_id
from exporter.prices.open_models import same_model
from exporter.prices.overrides import load
from exporter.prices.resolve import resolve

SIMILAR = 5
_TIERS = ("batch", "flex", "priority", "fast")


def describe(
    provider: str,
    model: str,
    at: int,
    overrides_path: str | None = None,
    service_tier: str = "default",
    region: str = "",
) -> dict[str, Any]:
    """Everything known of a model's price, as plain JSON values; `in_force` marks the rate that prices `at`.

    Times are ISO 8601 (`from` inclusive, `until` exclusive, null: open), prices strings in USD per million tokens.
    `rates` are in order of precedence and empty for an unknown model; then `similar` names what it may be called.
    """
    key = PriceKey(provider, model, service_tier, region)
    keys = [key, *(replace(key, service_tier=tier) for tier in _TIERS)]
    resolved = resolve(keys, overrides_path)
    current = next((rate for rate in resolved[key] if rate.covers(at)), None)
    return {
        "provider": provider,
        "model": model,
        "service_tier": service_tier,
        "region": region,
        "at": _iso(at),
        "rates": [{**_rate(rate), "in_force": rate is current} for rate in resolved[key]],
        "service_tiers": [each.service_tier for each in keys[1:] if resolved[each]],
        "similar": [] if resolved[key] else similar(provider, model, overrides_path),
    }


def similar(provider: str, model: str, overrides_path: str | None = None) -> list[str]:
    """Up to five known `provider/model` names near an unknown one, nearest first."""
    from exporter.prices import catalogue

    owner = provider_id(provider)
    known = [f"{owner}/{candidate.id}" for candidate in catalogue.models(owner)]
    known += [f"{host}/{candidate.id}" for host, candidate in catalogue.everything() if _alike(model, candidate.id)]
    if overrides_path:
        known += [f"{entry.provider}/{entry.model}" for entry in load(Path(overrides_path))]
    return get_close_matches(f"{owner}/{model}", dict.fromkeys(known), SIMILAR, cutoff=0.4)


def _alike(model: str, known: str) -> bool:
    return model.lower() == known.lower() or same_model(model, known)


def _rate(rate: Rate) -> dict[str, Any]:
    return {
        "origin": rate.origin,
        "from": _iso(rate.start),
        "until": _iso(rate.end),
        "utc_day": None if rate.day is None else [_clock(second) for second in rate.day],
        "usd_per_request": _text(rate.per_request),
        "bands": [{"above_prompt_tokens": edge, "usd_per_mtok": _per_mtok(prices)} for edge, prices in rate.bands],
    }


def _per_mtok(prices: Mapping[str, Decimal]) -> dict[str, str]:
    return {token_type: _text(price.scaleb(6)) for token_type, price in prices.items()}


def _text(amount: Decimal) -> str:
    """Plain digits without trailing zeros: `0.5`, never `5E-1` or `0.500000`."""
    return f"{amount.normalize():f}"


def _iso(at: int | None) -> str | None:
    return None if at is None else datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _clock(second: int) -> str:
    return f"{second // 3600:02d}:{second // 60 % 60:02d}"
