"""Kubernetes: which workload held which GPUs on which node when, and which pods are engines to scrape."""

import logging
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from math import ceil, floor
from posixpath import normpath
from time import monotonic  # a stopwatch, not the time of day
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec

from collectors import Context, Target
from collectors.cluster import nodes, pods
from collectors.cluster.api import Api, ApiError
from collectors.cluster.changes import Sight, Told, changes, last_seen, vouched
from collectors.cluster.discovery import Discover
from collectors.cluster.feed import Feed, Health
from collectors.cluster.kept import Kept
from collectors.cluster.namespaces import Namespaces
from collectors.cluster.nodes import Bare, Machine
from collectors.cluster.pods import Pod
from collectors.records import OPEN, Batch, Failure, Observed, Window
from collectors.settings import STRICT, Duration, Reads

log = logging.getLogger("collectors.cluster.kubernetes")

PERMISSIONS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("", "nodes", ("list", "watch")),
    ("", "pods", ("list", "watch")),
    ("", "namespaces", ("list",)),  # only with namespace_labels
)
"""All that is asked of the API server: API group, resource, verbs. The charts' ClusterRole is this and no more."""

_STOP_SECONDS = 5


@dataclass(frozen=True, slots=True)
class KubernetesSettings:
    """Without `api_server`, `kubeconfig` and `context` it is the cluster that the exporter runs in.

    `token_file` is read at each request. `timeout` is that of one page of a list. Every `relist` everything is listed
    anew, in case the watch has missed something. `spot_labels`: further node labels, with the value that spot machines
    have. `namespace_labels`: labels of namespaces that pods are given as `namespace_<label>`. `discover`: which pods
    are engines; `kind: vllm` reads them where its `discover` names this collector.
    """

    __pydantic_config__ = STRICT

    name: str
    kind: Literal["kubernetes"]
    kubeconfig: str | None = None
    context: str | None = None
    api_server: str | None = None
    token_file: str | None = None
    ca_file: str | None = None
    interval: Duration = Duration(30)
    timeout: Duration = Duration(30)
    relist: Duration = Duration(600)
    spot_labels: Mapping[str, str] = field(default_factory=dict)
    namespace_labels: tuple[str, ...] = ()
    discover: Discover = field(default_factory=Discover)

    def __post_init__(self) -> None:
        for key, value in (("timeout", self.timeout), ("relist", self.relist)):
            if value < 1:
                raise ValueError(f"{key}: expected at least 1s, got {value.text!r}")
        if self.api_server is None:
            if self.ca_file is not None:
                raise ValueError("ca_file: expected beside api_server only")
        elif self.kubeconfig is not None or self.context is not None:
            raise ValueError("api_server: expected either it, or kubeconfig and context")
        elif not _is_server(self.api_server):
            raise ValueError("api_server: expected a URL like 'https://10.0.0.1:6443', without user and password")

    def reads(self) -> Iterator[Reads]:
        """The cluster behind an API server, a context of a kubeconfig, or, without any, around the exporter."""
        source: Hashable = ("cluster", self.kubeconfig and normpath(self.kubeconfig), self.context)
        if self.api_server is not None:
            source = ("API server", self.api_server.rstrip("/").lower())
        given = {"api_server": self.api_server, "context": self.context, "kubeconfig": self.kubeconfig}
        key = next((key for key, value in given.items() if value is not None), None)
        which = "the cluster that the exporter runs in" if key is None else "{}"
        text = f"{which}; its nodes and pods would be counted twice, keep one of them"
        yield Reads((key,) if key else (), source, text, given.get(key or ""))


def _is_server(text: str) -> bool:
    try:
        url = urlsplit(text)
        return url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0 and "@" not in text
    except ValueError:
        return False


class Kubernetes:
    """One part per node, and part "" for the time in which nothing of the cluster can have been missed.

    Two threads watch nodes and pods from the first collect on and keep what matters of them; a collect compares that
    with the ledger's positions and waits for nothing but the first list.
    """

    Settings = KubernetesSettings
    late_after: int | None = None
    streams: frozenset[str] | None = None

    def __init__(self, settings: KubernetesSettings, context: Context) -> None:
        self._settings, self._board = settings, context.board
        self._api: Api | None = None
        self._nodes = Kept[Machine | Bare](_offered)
        self._pods = Kept[Pod](_newest)
        self._feeds: dict[str, Feed[Any]] = {}
        self._namespaces = Namespaces(settings.namespace_labels, settings.relist)
        self._told: Told | None = None  # from the first collect on
        self._vouched: tuple[int, float] | None = None  # `now` of the last word, and since when nothing was missed then
        self._has_gpus: bool | None = None
        self._twin: str | None = None

    def collect(self, now: int, cursors: Mapping[str, str]) -> Iterator[Batch | Failure]:
        """What changed since the positions. Nothing is said before nodes and pods have been listed once."""
        stopwatch = monotonic()
        try:
            self._begin()
        except ApiError as error:
            yield Failure("", str(error))
            return
        synced = [feed.settled(self._settings.timeout) and feed.health().synced for feed in self._feeds.values()]
        health = {name: feed.health() for name, feed in self._feeds.items()}
        yield from self._failures(health)
        if not all(synced):
            return
        machines, gone_machines = self._nodes.view()
        listed, gone_pods = self._pods.view()
        yield from self._labels_of({pod.namespace for pod in listed.values()})
        sight = Sight(
            machines={key: one for key, one in machines.items() if isinstance(one, Machine)},
            bare=frozenset(key for key, one in machines.items() if isinstance(one, Bare)),
            pods=listed,
            gone_machines={
                key: (one, _at(now, stopwatch, at))
                for key, (one, at) in gone_machines.items()
                if isinstance(one, Machine)
            },
            gone_pods={key: (pod, _at(now, stopwatch, at)) for key, (pod, at) in gone_pods.items()},
            namespaces=self._namespaces.labels,
        )
        self._post(sight)
        yield from self._news(sight, cursors, now)
        self._nodes.told(gone_machines)
        self._pods.told(gone_pods)
        yield from self._vouch(health, cursors, now, stopwatch)

    def close(self) -> None:
        """End the watches; waits a few seconds at most."""
        for feed in self._feeds.values():
            feed.ask_to_stop()
        if self._api is not None:
            self._api.interrupt()
            for feed in self._feeds.values():
                feed.join(_STOP_SECONDS)
            self._api.close()

    def _begin(self) -> None:
        """Connect, and start the threads that are not running."""
        settings = self._settings
        if self._api is None:
            self._api = Api(settings)
        if "nodes" not in self._feeds or not self._feeds["nodes"].alive:
            node = partial(nodes.parse, spot_labels=settings.spot_labels)
            self._feeds["nodes"] = Feed(self._api, "nodes", self._nodes, node, settings.relist)
        if "pods" not in self._feeds or not self._feeds["pods"].alive:
            pod = partial(pods.parse, discover=settings.discover)
            self._feeds["pods"] = Feed(self._api, "pods", self._pods, pod, settings.relist)

    def _failures(self, health: Mapping[str, Health]) -> Iterator[Failure]:
        for name, one in health.items():
            if one.since is None:
                yield Failure(name, one.reason or f"the API server has not listed them in {self._settings.timeout} s")

    def _labels_of(self, names: set[str]) -> Iterator[Failure]:
        assert self._api is not None
        try:
            self._namespaces.refresh(self._api, names, monotonic())
        except (ApiError, msgspec.DecodeError) as error:
            yield Failure("namespaces", str(error))

    def _post(self, sight: Sight) -> None:
        """Say which engines there are."""
        targets = [
            Target(f"{pod.namespace}/{pod.name}", pod.url, (*pod.labels, *sight.namespaces.get(pod.namespace, ())))
            for pod in sight.pods.values()
            if pod.url
        ]
        self._board.post(self._settings.name, sorted(targets, key=lambda target: target.name))
        twin = self._board.twin(self._settings.name, sight.machines)
        if twin is not None and twin != self._twin:
            log.warning("%s: it watches the same cluster as %s; it counts once, keep one", self._settings.name, twin)
        self._twin = twin

    def _news(self, sight: Sight, cursors: Mapping[str, str], now: int) -> Iterator[Batch | Failure]:
        told = self._told or Told(last_seen(cursors) or 0)
        fresh: dict[str, int] = {}
        for batch in changes(sight, cursors, told, now):
            yield batch
            if isinstance(batch, Batch):  # committed, or we would not be here
                fresh.update({one.key: one.window.end for one in batch.allocations if one.window.end != OPEN})
        over = {key for key, pod in sight.pods.items() if pod.end != OPEN}
        ends = {key: end for key, end in {**told.ends, **fresh}.items() if key.partition("@")[0] in over}
        self._told = Told(told.through, ends)
        has_gpus = bool(sight.machines)
        if has_gpus != self._has_gpus:
            self._has_gpus = has_gpus
            log.info("%s: %s", self._settings.name, _summary(sight))

    def _vouch(
        self, health: Mapping[str, Health], cursors: Mapping[str, str], now: int, stopwatch: float
    ) -> Iterator[Batch]:
        """Time in which nothing was missed: from the last word on if all went on since, else from when it began."""
        rejected: dict[str, int] = {}
        for counts in (self._nodes.rejected(), self._pods.rejected()):
            for reason, count in counts.items():
                rejected[reason] = rejected.get(reason, 0) + count
        since = [one.since for one in health.values() if one.since is not None]
        if len(since) < len(health):
            self._vouched = None
            if rejected:
                yield Batch("", rejected=rejected)
            return
        begun = max(since)
        last, unbroken = self._vouched or (0, -1.0)
        start = last if unbroken == begun else max(_at(now, stopwatch, begun, up=True), last_seen(cursors) or 0)
        window = Window(min(start, now), now)
        yield Batch("", observed=[Observed(window)], cursor=vouched(now), rejected=rejected)
        self._vouched = (now, begun)


def _offered(old: Machine | Bare, new: Machine | Bare) -> Machine | Bare:
    """A node whose GPUs are not offered just now (its device plugin restarts) is still what it was."""
    if isinstance(old, Machine) and isinstance(new, Bare):
        return Machine(old.key, new.version, old.node, old.shares)
    return new


def _newest(old: Pod, new: Pod) -> Pod:
    return new


def _at(now: int, stopwatch: float, then: float, up: bool = False) -> int:
    """The epoch second of an instant on the stopwatch, which now shows `stopwatch`; not after `now`."""
    return min(now, now - (floor if up else ceil)(stopwatch - then))


def _summary(sight: Sight) -> str:
    if not sight.machines:
        return f"none of the cluster's {len(sight.bare)} nodes has GPUs"
    gpus = sum(one.node.gpus for one in sight.machines.values())
    own = sum(pod.sidecar and bool(pod.requests) for pod in sight.pods.values())
    told = f"; pods with GPUs and a sidecar that counts them: {own}, here they are no workload's" if own else ""
    return f"{len(sight.machines)} nodes with {gpus} GPUs{told}"
