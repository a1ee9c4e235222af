"""Collectors of usage under other names: what the ledger holds of them must not count a second time."""

from collections.abc import Collection, Hashable, Iterator, Mapping
from hashlib import blake2b
from typing import Any

from collectors.kinds import kind_of
from exporter.config import Config
from exporter.config.sources import sources_read
from exporter.ledger.sources import Source, Sources, goes_on

ANOTHER_ACCOUNT = "; if it is another account, give it another name, or its days replace those that are read again"


def sources_of(config: Config) -> dict[str, Source]:
    """What each configured collector of usage is."""
    metering = {one.name: one for one in config.collectors if hasattr(one, "role") or hasattr(one, "targets")}
    finders = [one for one in config.collectors if kind_of(one.kind).cluster]
    found: dict[Hashable, Hashable] = {
        ("discover", one.name): cluster.source for one in finders for cluster in sources_read(one)
    }
    return {name: Source(one.kind, getattr(one, "role", "meter"), _reads(one, found)) for name, one in metering.items()}


def _reads(settings: Any, found: Mapping[Hashable, Hashable]) -> frozenset[str]:
    """`found`: the cluster that a collector finds things in, by what one says that reads what it finds."""
    sources = (found.get(one.source, one.source) for one in sources_read(settings))
    texts = (repr((settings.kind, source)) for source in sources)
    return frozenset(blake2b(text.encode(), digest_size=16).hexdigest() for text in texts)


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
            f"{new} is new: if both are one {kind_of(kept[old].kind).history}, what both have read counts twice; then "
            f"give {new} the name {old}"
            for old, new in doubts
        ),
        *(
            f"{new} goes on with what {old} read before, and {old} ({kept[old].kind}) begins anew: if {old} is that "
            f"source at another place, it counts twice; then start once without {new} first"
            for old, new in _taken(kept, configured, past)
        ),
        *(
            f"{name} ({kept[name].kind}) reads nothing of what it read before: what the ledger holds of it stays, and "
            f"goes on under that name{ANOTHER_ACCOUNT if kind_of(kept[name].kind).history == 'account' else ''}"
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
    """The (former, new) names of sources that may be one: of one kind and role, one that is gone and one that is new.
    Only where whoever is new reads the past again: an engine at another address is another engine."""
    for old in sorted(gone):
        for name in sorted(new):
            if kept[old][:2] == configured[name][:2] and kind_of(kept[old].kind).history:
                yield old, name


def _taken(kept: Sources, configured: Sources, past: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """The (former, new) names where a name stays configured for another source, and its past goes to a new name."""
    for new, old in sorted(past.items()):
        stays = old != new and old in configured and old not in past and kept[old].kind == configured[old].kind
        if stays and kind_of(kept[old].kind).history:
            yield old, new


def _changed(kept: Sources, configured: Sources, past: Mapping[str, str]) -> Iterator[str]:
    """Names that stay, with nothing of what they stood for: the source may have moved, or be another one."""
    for name in sorted(name for name, old in past.items() if name == old and kind_of(kept[name].kind).history):
        if kept[name].reads and kept[name].reads.isdisjoint(configured[name].reads):
            yield name
