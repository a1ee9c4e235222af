"""From names to rates: the user's override file first, then genai-prices.

A running exporter calls these functions aside (`exporter.aside`): the catalogue is imported when one is called.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from exporter.prices.book import PriceKey, Rate
from exporter.prices.names import provider_id
from exporter.prices.open_models import same_model
from exporter.prices.overrides import Entry, load


def resolve(keys: Sequence[PriceKey], overrides_path: str | None = None) -> Mapping[PriceKey, tuple[Rate, ...]]:
    """All dated rates of each key in order of precedence, () where no price is known.

    The entries of the override file that match come first, in the file's order, then what genai-prices knows. `origin`
    names the override's source, or the version of genai-prices and the provider and model it matched. Raises OSError
    if the file cannot be read and OverridesError (a ValueError) if it is not valid.
    """
    entries = _entries(overrides_path)
    return {key: overridden(key, entries) + listed(key) for key in keys}


def band_edges(overrides_path: str | None = None) -> tuple[int, ...]:
    """Every prompt length at which any known price changes: tokens, exclusive lower edges, ascending, without 0."""
    from exporter.prices import catalogue

    return tuple(sorted(catalogue.edges().union(*(entry.edges() for entry in _entries(overrides_path)))))


def newest_price(now: int) -> int:
    """The date of the newest list price known at `now`, in epoch seconds: how old the price book is at most."""
    from exporter.prices import catalogue

    return catalogue.newest_price(now)


def open_model_hosts(model: str, providers: Sequence[str]) -> list[tuple[str, str]]:
    """The endpoints among `providers` that serve the same open model: (provider as given, model id), in that order.

    An endpoint that is deprecated, free of charge or without a price is no alternative. Matching is conservative, see
    `exporter.prices.open_models`.
    """
    from exporter.prices import catalogue

    hosts = []
    for name in providers:
        for candidate in catalogue.models(provider_id(name)):
            if not candidate.deprecated and same_model(model, candidate.id) and _sold(name, candidate.id):
                hosts.append((name, candidate.id))
    return hosts


def overridden(key: PriceKey, entries: Sequence[Entry]) -> tuple[Rate, ...]:
    """The rates that the override entries give to a key."""
    found = (entry.rate(key) for entry in entries if entry.matches(key))
    return tuple(rate for rate in found if rate is not None)


def listed(key: PriceKey) -> tuple[Rate, ...]:
    """The rates that the catalogue gives to a key. An open model's name is also found where the provider spells it its
    own way (`Meta-Llama-3.1-8B` for `Llama-3.1-8B`), if just one of its endpoints serves that model."""
    from exporter.prices import catalogue

    match = catalogue.find(key.provider, key.model)
    if match is None:
        hosts = open_model_hosts(key.model, [key.provider])
        match = catalogue.find(*hosts[0]) if len(hosts) == 1 else None
    return catalogue.rates(match, key.service_tier) if match else ()


def _entries(path: str | None) -> tuple[Entry, ...]:
    return load(Path(path)) if path else ()


def _sold(provider: str, model: str) -> bool:
    """Whether the id leads back to itself and costs something."""
    from exporter.prices import catalogue

    match = catalogue.find(provider, model)
    if match is None or match.model.id != model:
        return False
    return any(price > 0 for rate in catalogue.rates(match) for _, prices in rate.bands for price in prices.values())
