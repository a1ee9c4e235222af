"""What the ledger holds of rate cards and accounts, held against the config: for `check`."""

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from collectors.billing.rate_card import cards as rate_cards
from collectors.billing.rate_card import keyed_rates
from collectors.records import Reservation
from exporter.config import Config
from exporter.ledger.store import Ledger, LedgerUnreadableError
from exporter.renames import replaced_warnings, sources_of


def ledger_warnings(config: Config) -> list[str]:
    """What an edit of the rate cards made of the rent that the ledger holds, and one of the accounts of their usage;
    none where there is no ledger yet."""
    path = Path(config.storage.path)
    if not path.exists():
        return []
    try:
        ledger = Ledger.read_only(path, int(time.time()))
    except LedgerUnreadableError as error:
        return [f"the rent in the ledger was not checked: {error}"]
    try:
        reservations, sources = ledger.snapshot().reservations, ledger.sources
    finally:
        ledger.close()
    accounts = replaced_warnings(sources, sources_of(config))
    return [*_unnamed(config, reservations), *_changed_hands(config, reservations), *accounts]


def _unnamed(config: Config, reservations: Sequence[Reservation]) -> Iterator[str]:
    known = {key for settings in config.collectors if settings.kind == "rate_card" for key in rate_cards(settings)}
    for card in sorted({one.card for one in reservations if one.window.seconds and one.count} - known):
        yield (
            f"the ledger holds rent of card {card} that the configuration no longer names: its past cost is not shown; "
            "keep the rate with an `until`"
        )


def _changed_hands(config: Config, reservations: Sequence[Reservation]) -> Iterator[str]:
    """Of rates that only the GPU tells apart the first has a name without it: which one that is must not change."""
    held: Mapping[str, str] = {one.card: one.gpu for one in reservations if one.window.seconds and one.count}
    for settings in config.collectors:
        keyed = keyed_rates(settings) if settings.kind == "rate_card" else {}
        for key, rate in keyed.items():
            was = held.get(f"{settings.name}/{key}", rate.gpu)
            others = {other.gpu for other in keyed.values() if other.identity == rate.identity and other is not rate}
            if was != rate.gpu and was in others:
                yield (
                    f"the ledger holds rent of card {settings.name}/{key} for {was}, the configuration gives that card "
                    f"to {rate.gpu or 'no GPU'}: list the rate of {was} first again"
                )
