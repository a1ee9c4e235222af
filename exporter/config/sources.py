"""What a collector reads: no source may count twice, read by two collectors or under two names. Pure."""

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from posixpath import normpath
from typing import Any
from urllib.parse import urlsplit

from collectors.settings import Reads
from exporter.config.paths import Place, Problem, dotted, shown

Items = list[tuple[Place, Any]]


def read_twice(collectors: Items) -> Iterator[Problem]:
    """A source that an earlier collector reads already, at the key that names it. A check counts nothing. Whether two
    names (a kubeconfig and a URL, two profiles) lead to one source, the config does not say."""
    earlier: dict[Hashable, list[tuple[Place, Reads]]] = {}
    for place, settings in collectors:
        if getattr(settings, "role", "meter") != "meter":
            continue
        for one in sources_read(settings):
            same = earlier.setdefault(one.source, [])
            before = next((at for at, other in same if one.overlaps(other)), None)
            if before is not None:
                yield _again(place, one, before)
            same.append(((*place, *one.key), one))


def _again(place: Place, one: Reads, before: Place) -> Problem:
    at = (*place, *(one.key if one.change is None else one.change))
    text = one.text.format(shown(at, one.value))
    return Problem(at, f"expected {one.what} that nothing else reads, got that of {dotted(before)}: {text}")


def sources_read(settings: Any) -> Iterable[Reads]:
    """What a collector reads: what its settings say, or what the keys name that many have in common."""
    own: Callable[[], Iterable[Reads]] | None = getattr(settings, "reads", None)
    return _named(settings) if own is None else own()


def _named(settings: Any) -> Iterator[Reads]:
    for key, same in _KEYS.items():
        value = getattr(settings, key, None) or ()
        for i, source in enumerate((value,) if isinstance(value, str) else value):
            yield Reads((key,) if isinstance(value, str) else (key, i), (key, same(source)), value=source)


def _page(target: str) -> str:
    """The page that a target stands for: `/metrics` if without a path, whoever asks."""
    url = urlsplit(target)
    return f"{url.scheme}://{url.netloc.rpartition('@')[2].lower()}{url.path.rstrip('/') or '/metrics'}?{url.query}"


_KEYS: Mapping[str, Callable[[str], str]] = {
    "targets": _page,
    "discover": str,
    "path": normpath,
    "admin_key_file": normpath,
}
"""By the key of a collector that names its sources, what is the same for the same source."""
