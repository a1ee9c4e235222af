"""Collectors of usage under other names: what the ledger holds of them must not count a second time."""

from collections.abc import Collection, Iterator, Mapping
from hashlib import blake2b
from typing import Any

from exporter.config import Config
from exporter.config.sources import sources_read
from exporter.ledger.sources import Source, Sources, goes_on

PROVIDERS = frozenset({"openai", "anthropic"})
"""Kinds that read a day again and replace what they said of it."""

DELIVERED_AGAIN = PROVIDERS | {"usage_log"}
"""Kinds whose past is read again by whoever is new: a source that has two names is counted twice. (An engine at another
address is another engine.)"""

ANOTHER_ACCOUNT = "; if it is another account, give it another name, or its days replace those that are read again"


def sources_of(config: Config) -> dict[str, Source]:
    """What each configured collector of usage is."""
    metering = {one.name: one for one in config.collectors if hasattr(one, "role") or hasattr(one, "targets")}
    return {name: Source(one.kind, getattr(one, "role", "meter"), _reads(one)) for name, one in metering.items()}


def _reads(settings: Any) -> frozenset[str]:
    found = (repr((settings.kind, source)) for _, source, _ in sources_read((), settings))
    return frozenset(blake2b(text.encode(), digest_size=16).hexdigest() for text in found)


def replaced_warnings(kept: Sources, configured: Sources) -> list[str]:
    """What to say of usage that may be read a second time, or that may be of two sources under one name."""
    past = goes_on(kept, configured)
    shared, changed = list(_shared(kept, configured, past)), list(_changed(kept, configured, past))
    gone = {*changed, *(kept.keys() - past.values())}
    doubts = [pair for pair in _replaced(kept, configured, gone, configured.keys() - past.keys()) if pair not in shared]
    return [
        *(
            f"{new} reads what {old} has read, and {old} keeps what the ledger holds of it: what both have read counts "
            f"twice; let {old} go on reading it"
            for old, new in shared
        ),
        *(
            f"the ledger holds usage of {old} ({kept[old].kind}), whose source the configuration no longer names, and "
            f"{new} is new: if both are one {'account' if kept[old].kind in PROVIDERS else 'log'}, what both have read "
            f"counts twice; then give {new} the name {old}"
            for old, new in doubts
        ),
        *(
            f"{name} ({kept[name].kind}) reads nothing of what it read before: what the ledger holds of it stays, and "
            f"goes on under that name{ANOTHER_ACCOUNT if kept[name].kind in PROVIDERS else ''}"
            for name in changed
        ),
    ]


def moved_warnings(moved: Mapping[str, str], configured: Sources) -> Iterator[str]:
    """What to say of names whose past goes by another name now (see `Ledger.note_sources`)."""
    for old, new in moved.items():
        if new in configured:
            yield f"{old} is read under the name {new} now: what the ledger holds of it goes on under that"
        else:
            yield f"the name {old} is that of another source now: what the ledger holds under it is kept as {new}"


def _shared(kept: Sources, configured: Sources, past: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """The (former, new) names of meters of one source, of which the new one does not take the past along."""
    for new in sorted(name for name, one in configured.items() if one.role == "meter"):
        before = kept.get(past.get(new, ""))
        fresh = configured[new].reads - (before.reads if before and before.role == "meter" else frozenset())
        for old in sorted(name for name, one in kept.items() if one.role == "meter" and name != past.get(new)):
            if fresh & kept[old].reads:
                yield old, new


def _replaced(
    kept: Sources, configured: Sources, gone: Collection[str], new: Collection[str]
) -> Iterator[tuple[str, str]]:
    """The (former, new) names of sources that may be one: of one kind, one that is gone and one that is new."""
    for old in sorted(gone):
        for name in sorted(new):
            if kept[old].kind == configured[name].kind and kept[old].kind in DELIVERED_AGAIN:
                yield old, name


def _changed(kept: Sources, configured: Sources, past: Mapping[str, str]) -> Iterator[str]:
    """Names that stay, with nothing of what they stood for: the source may have moved, or be another one."""
    for name in sorted(name for name, old in past.items() if name == old and kept[name].kind in DELIVERED_AGAIN):
        if kept[name].reads and kept[name].reads.isdisjoint(configured[name].reads):
            yield name
