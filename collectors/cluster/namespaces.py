"""The labels of namespaces that pods are given beside their own."""

from collections.abc import Sequence

import msgspec

from collectors.cluster.lists import Pages, pages
from collectors.cluster.objects import WireObject
from collectors.records import Labels

_OBJECT = msgspec.json.Decoder(WireObject)


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
        for page in pages(api, "namespaces"):
            for item in page.items or ():
                metadata = _OBJECT.decode(item).metadata
                own = metadata.labels or {}
                found[metadata.name] = tuple((f"namespace_{name}", own[name]) for name in self._wanted if name in own)
        self.labels, self._listed_at, self._unknown = found, stopwatch, names - found.keys()
