"""A thread that keeps what the API server says of one kind of object up to date: list, watch, list again.

A watch goes on after the last event when its connection ends; 410 (too old), garbage and `relist` lead to a new list,
which is the truth whatever the watch said. Instants are those of a stopwatch (`time.monotonic`).
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from threading import Event as Flag
from threading import Lock, Thread
from time import monotonic  # a stopwatch, not the time of day
from typing import Generic

import msgspec

from collectors.cluster.api import Api, ApiError, GoneError
from collectors.cluster.kept import F, Kept
from collectors.cluster.lists import pages
from collectors.cluster.objects import Event, Status, WireObject

log = logging.getLogger("collectors.cluster.kubernetes")

WATCH_SECONDS = 60
"""How long one watch is asked for: at its end the server is known to be alive, a dead connection is noticed soon."""

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0

_FULL = "they are kept, and no more are read until it can be written again"

_EVENT = msgspec.json.Decoder(Event)
_OBJECT = msgspec.json.Decoder(WireObject)
_STATUS = msgspec.json.Decoder(Status)


@dataclass(frozen=True, slots=True)
class Health:
    """`synced`: there was a whole list. `since`: from when on nothing can have been missed (stopwatch), None while
    something may be. `reason`: why, "" if all is well."""

    synced: bool = False
    since: float | None = None
    reason: str = ""


class Feed(Generic[F]):
    """One kind of object. `parse` makes a fact of an object's JSON, or None of one that does not matter."""

    def __init__(
        self, api: Api, resource: str, kept: Kept[F], parse: Callable[[msgspec.Raw], F | None], relist: int
    ) -> None:
        self._api, self._resource, self._kept, self._parse, self._relist = api, resource, kept, parse, relist
        self._stop, self._settled, self._lock = Flag(), Flag(), Lock()
        self._health = Health()
        self._sign = 0.0  # when the server last showed that nothing was missed
        self._pause = FIRST_PAUSE
        self._thread = Thread(target=self._run, name=f"kubernetes {resource}", daemon=True)
        self._thread.start()

    def settled(self, seconds: float) -> bool:
        """Wait until there is a list, or the first reason why not."""
        return self._settled.wait(seconds)

    def health(self) -> Health:
        with self._lock:
            health = self._health
        if not self.alive:
            return Health(health.synced, None, f"the thread that watches {self._resource} has ended")
        return health

    @property
    def alive(self) -> bool:
        """Whether its thread runs: it ends only when asked to, or by a fault of this program."""
        return self._thread.is_alive()

    def ask_to_stop(self) -> None:
        self._stop.set()

    def join(self, seconds: float) -> None:
        self._thread.join(seconds)

    def _run(self) -> None:
        version = ""
        relist_at = 0.0
        while not self._stop.is_set():
            if self._kept.full:
                self._fail(f"too many {self._resource} have gone since the ledger was last written: {_FULL}", 0)
                continue
            try:
                if not version or monotonic() >= relist_at:
                    version = self._list()
                    relist_at = monotonic() + self._relist
                version = self._watch(version, relist_at)
            except GoneError as error:
                version = ""
                self._fail(str(error), 0)
            except ApiError as error:
                self._fail(str(error), error.retry_after)
            except (msgspec.DecodeError, ValueError):
                version = ""
                self._fail(f"list of {self._resource}: what came is no list (is this an API server?)", 0)

    def _list(self) -> str:
        """Read the whole list, page by page; its version."""
        facts: list[F] = []
        seen, version = self._sign, ""
        for page in pages(self._api, self._resource):
            facts += (fact for item in page.items or () if (fact := self._fact(item)) is not None)
            version = page.metadata.resource_version
            if self._stop.is_set():
                return ""
        self._kept.replace(facts, seen or monotonic())
        self._well()
        return version

    def _watch(self, version: str, relist_at: float) -> str:
        """Follow the events after `version` until the watch ends; the version to go on from."""
        began, events = monotonic(), 0
        seconds = max(1, min(WATCH_SECONDS, int(relist_at - began) + 1))
        with self._api.watch(self._resource, version, seconds) as lines:
            self._well()
            for line in lines:
                version = self._event(line) or version
                events += 1
                self._well()
                if self._stop.is_set() or self._kept.full:
                    return version
        if events or monotonic() - began > FIRST_PAUSE:
            self._pause = FIRST_PAUSE
        else:
            self._stop.wait(self._pause)  # a server that hangs up at once, again and again
            self._pause = min(2 * self._pause, LONGEST_PAUSE)
        return version

    def _event(self, line: bytes) -> str:
        """Take one event; the version it is of, "" if it has none. Raises `GoneError` where a new list is needed."""
        try:
            event = _EVENT.decode(line)
            if event.type == "ERROR":
                raise _error(self._resource, _STATUS.decode(event.object))
            metadata = _OBJECT.decode(event.object).metadata if event.type != "BOOKMARK" else None
        except (msgspec.DecodeError, ValueError):
            self._kept.reject("malformed_event")
            raise GoneError(f"watch of {self._resource}: an event that is none; listing again") from None
        if metadata is None:
            return _bookmark(event.object)
        self._take(event.type, event.object, metadata.uid)
        return metadata.resource_version

    def _take(self, kind: str, item: msgspec.Raw, uid: str) -> None:
        fact = self._fact(item)
        if fact is None:
            self._kept.drop(uid)
        elif kind == "DELETED":
            self._kept.remove(fact, monotonic())
        elif kind in ("ADDED", "MODIFIED"):
            self._kept.put(fact)
        else:
            self._kept.reject("unknown_event")

    def _fact(self, item: msgspec.Raw) -> F | None:
        try:
            return self._parse(item)
        except (msgspec.DecodeError, ValueError, ArithmeticError) as error:
            self._kept.reject(f"malformed_{self._resource.removesuffix('s')}")
            log.debug("an object among the %s cannot be read: %s", self._resource, error)
            return None

    def _well(self) -> None:
        self._sign = monotonic()
        with self._lock:
            since = self._sign if self._health.since is None else self._health.since
            self._health = Health(True, since)
        self._settled.set()

    def _fail(self, reason: str, seconds: int) -> None:
        """Remember why, and wait before the next attempt."""
        if self._stop.is_set():
            return
        with self._lock:
            self._health = Health(self._health.synced, None, reason)
        self._settled.set()
        self._stop.wait(max(self._pause, seconds))
        self._pause = min(2 * self._pause, LONGEST_PAUSE)


def _bookmark(item: msgspec.Raw) -> str:
    try:
        return msgspec.json.decode(item, type=_Bookmark).metadata.resource_version
    except msgspec.DecodeError:
        return ""


class _Version(msgspec.Struct, rename="camel"):
    resource_version: str = ""


class _Bookmark(msgspec.Struct):
    metadata: _Version


def _error(resource: str, status: Status) -> ApiError:
    if status.code == 410 or status.reason in ("Expired", "Gone"):
        return GoneError(f"watch of {resource}: too old (410): listing again")
    return ApiError(f"watch of {resource}: the API server ended it ({status.code}: {(status.message or '')[:200]})")
