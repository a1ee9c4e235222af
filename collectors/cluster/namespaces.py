"""The labels of namespaces that pods are given beside their own."""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from collectors.cluster.objects import Page, WireObject
from collectors.records import Labels

_PAGE = msgspec.json.Decoder(Page)
_OBJECT = msgspec.json.Decoder(WireObject)


class Pages(Protocol):
    def page(self, resource: str, after: str = "") -> bytes: ...


class Namespaces:
    """`labels`: by namespace, those of `wanted` that it has, as `namespace_<label>`. Listed when a namespace comes up
    that is not known, and every `relist` seconds; never if nothing is wanted."""

    def __init__(self, wanted: Sequence[str], relist: int) -> None:
        self._wanted, self._relist = tuple(wanted), relist
        self._listed_at: float | None = None
        self._unknown: set[str] = set()  # asked for, and not there
        self.labels: dict[str, Labels] = {}

    def refresh(self, api: Pages, names: set[str], stopwatch: float) -> None:
        """Make sure that the labels of `names` are known. ApiError, msgspec.DecodeError: then all is as before."""
        missing = names - self.labels.keys() - self._unknown
        due = self._listed_at is None or stopwatch - self._listed_at >= self._relist
        if not self._wanted or not (missing or due):
            return
        found: dict[str, Labels] = {}
        after: str | None = ""
        while after is not None:
            page = _PAGE.decode(api.page("namespaces", after))
            for item in page.items or ():
                metadata = _OBJECT.decode(item).metadata
                own = metadata.labels or {}
                found[metadata.name] = tuple((f"namespace_{name}", own[name]) for name in self._wanted if name in own)
            after = page.metadata.continue_ or None
        self.labels, self._listed_at, self._unknown = found, stopwatch, names - found.keys()
