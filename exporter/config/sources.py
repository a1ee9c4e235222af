"""What a collector reads: no source may count twice, read by two collectors or under two names. Pure."""

from collections.abc import Callable, Hashable, Iterator, Mapping
from posixpath import normpath
from typing import Any
from urllib.parse import urlsplit

from exporter.config.paths import Place, Problem, dotted, shown

Items = list[tuple[Place, Any]]


def read_twice(collectors: Items) -> Iterator[Problem]:
    """A source that an earlier collector reads already, at the key that names it. A check counts nothing. Whether two
    names (a kubeconfig and a URL, two profiles) lead to one source, the config does not say."""
    first: dict[Hashable, Place] = {}
    for place, settings in collectors:
        if getattr(settings, "role", "meter") != "meter":
            continue
        for at, source, what in sources_read(place, settings):
            before = first.setdefault(source, at)
            if before != at:
                yield Problem(at, f"expected a source that nothing else reads, got that of {dotted(before)}{what}")
    yield from _accounts_twice([(place, one) for place, one in collectors if one.kind == "aws_cost_explorer"])


def sources_read(place: Place, settings: Any) -> Iterator[tuple[Place, Hashable, str]]:
    """What a collector reads, whatever its name, role and tuning: where the config says so, what it is, and what to say
    of one that is read twice."""
    if settings.kind == "kubernetes":
        yield _cluster(place, settings)
    elif settings.kind == "aws_data_export":
        at, folder = (*place, "export"), f"{settings.bucket or normpath(settings.path)}/{settings.prefix.strip('/')}"
        source = ("data export", settings.endpoint_url, folder, settings.export)
        yield at, source, f": {shown(at, settings.export)}; keep one of them"
    else:
        for key, same in _KEYS.items():
            value = getattr(settings, key, None) or ()
            for i, source in enumerate((value,) if isinstance(value, str) else value):
                at = (*place, key) if isinstance(value, str) else (*place, key, i)
                yield at, (key, same(source)), f": {shown(at, source)}"


def _cluster(place: Place, settings: Any) -> tuple[Place, Hashable, str]:
    """The cluster behind an API server, a context of a kubeconfig, or, without any, around the exporter."""
    key = next((key for key in ("api_server", "context", "kubeconfig") if getattr(settings, key) is not None), None)
    source: Hashable = ("cluster", settings.kubeconfig and normpath(settings.kubeconfig), settings.context)
    if settings.api_server is not None:
        source = ("API server", settings.api_server.rstrip("/").lower())
    what = "; its nodes and pods would be counted twice, keep one of them"
    if key is None:
        return place, source, f": the cluster that the exporter runs in{what}"
    return (*place, key), source, f": {shown((*place, key), getattr(settings, key))}{what}"


def _accounts_twice(collectors: Items) -> Iterator[Problem]:
    """Bills of one account from Cost Explorer: the same way in, and accounts that overlap (none: all of them)."""
    for i, (place, settings) in enumerate(collectors):
        for before, other in collectors[:i]:
            if _way_in(settings) == _way_in(other) and _overlap(settings.accounts, other.accounts):
                text = f"expected a bill that nothing else reads, got that of {dotted(before)}: the same credentials"
                how = "keep one of them, or give each other accounts, or another profile or role_arn"
                yield Problem((*place, "accounts") if settings.accounts else place, f"{text} and account; {how}")
                break


def _way_in(settings: Any) -> tuple[str, ...]:
    return settings.profile, settings.role_arn, settings.endpoint_url


def _overlap(accounts: tuple[str, ...], others: tuple[str, ...]) -> bool:
    return not accounts or not others or not set(accounts).isdisjoint(others)


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
