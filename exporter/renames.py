"""Collectors of usage under new names: what the ledger holds of them must not count a second time."""

from dataclasses import fields
from hashlib import blake2b
from typing import Any

from exporter.config import Config
from exporter.ledger.sources import Source, Sources, replaced

_NOT_READ = frozenset({"name", "role", "interval"})
"""Settings that do not tell what is read."""

DELIVERED_AGAIN = frozenset({"openai", "anthropic"})
"""Kinds whose past is read again by whoever is new: an account that has two names is counted twice."""


def sources_of(config: Config) -> dict[str, Source]:
    """What each configured collector of usage is."""
    metering = {one.name: one for one in config.collectors if hasattr(one, "role")}
    return {name: Source(one.kind, one.role, _digest(one)) for name, one in metering.items()}


def replaced_warnings(kept: Sources, configured: Sources) -> list[str]:
    """What to say of accounts that may have been read before under another name, and are not known to be the same."""
    return [
        f"the ledger holds usage of {old} ({kept[old].kind}), which the configuration no longer names, and {new} is "
        f"new: if both are one account, the days that both have read count twice; then give {new} the name {old}"
        for old, new in replaced(kept, configured)
        if kept[old].kind in DELIVERED_AGAIN
    ]


def _digest(settings: Any) -> str:
    read = {field.name: getattr(settings, field.name) for field in fields(settings) if field.name not in _NOT_READ}
    return blake2b(repr(sorted(read.items())).encode(), digest_size=16).hexdigest()
