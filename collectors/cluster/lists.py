"""A whole list of the API server, page by page, that comes to an end whatever the server says."""

from collections.abc import Iterator
from typing import Protocol

import msgspec

from collectors.cluster.api import ApiError
from collectors.cluster.objects import Page

MOST_PAGES = 10_000
MOST_OBJECTS = 1_000_000
"""Of one list, those that do not matter included: Kubernetes is made for 150,000 pods."""

_PAGE = msgspec.json.Decoder(Page)


class Pages(Protocol):
    def page(self, resource: str, after: str = "") -> bytes: ...


def pages(api: Pages, resource: str) -> Iterator[Page]:
    """Every page; the list is whole when this ends. Raises `ApiError`, and msgspec.DecodeError for what is no list."""
    seen: set[str] = set()
    after, objects = "", 0
    while True:
        page = _PAGE.decode(api.page(resource, after))
        objects += len(page.items or ())
        after = page.metadata.continue_ or ""
        if after in seen:
            raise ApiError(f"list of {resource}: the API server names the same next page twice")
        if objects > MOST_OBJECTS or len(seen) >= MOST_PAGES:
            raise ApiError(f"list of {resource}: no end after {len(seen) + 1} pages with {objects} objects")
        yield page
        if not after:
            return
        seen.add(after)
