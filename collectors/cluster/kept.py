"""What the API server said last of one kind of object, reduced to what matters; written by the thread that watches,
read by the one that collects."""

from collections.abc import Callable, Iterable, Mapping
from threading import Lock
from typing import Generic, Protocol, TypeVar


class Fact(Protocol):
    """An object in few words. `key` is its uid; `version` grows with every change of the object (0: not told)."""

    @property
    def key(self) -> str: ...

    @property
    def version(self) -> int: ...


F = TypeVar("F", bound=Fact)

MOST = 200_000
"""Objects of one kind that are kept; further ones are counted as rejected (`too_many`)."""

MOST_GONE = 20_000
"""Objects that went away and are still to be committed, from which on nothing further is learned (`full`)."""


class Kept(Generic[F]):
    """The objects that are there, and those that went away and have not been collected since.

    Instants are those of a stopwatch (`time.monotonic`): this thread may not know the time of day. A whole list is the
    truth; between two lists events are believed unless they speak of an older version, or of an object that is gone.
    """

    def __init__(self, merge: Callable[[F, F], F]) -> None:
        """`merge(old, new)`: what to keep of an object that changed."""
        self._merge = merge
        self._lock = Lock()
        self._facts: dict[str, F] = {}
        self._gone: dict[str, tuple[F, float]] = {}
        self._buried: set[str] = set()
        self._rejected: dict[str, int] = {}

    def replace(self, facts: Iterable[F], seen: float) -> None:
        """A whole list. What is not on it went away after the instant `seen`, when it was last known to be there."""
        listed = {fact.key: fact for fact in facts}
        if len(listed) > MOST:
            self.reject("too_many", len(listed) - MOST)
            listed = dict(list(listed.items())[:MOST])
        with self._lock:
            for key, old in self._facts.items():
                if key not in listed:
                    self._gone[key] = (old, seen)
                else:
                    listed[key] = self._merge(old, listed[key])
            for key in listed:
                self._gone.pop(key, None)
            self._facts, self._buried = listed, set()

    def put(self, fact: F) -> None:
        """An object was made or changed."""
        with self._lock:
            old = self._facts.get(fact.key)
            if fact.key in self._buried or (old is not None and fact.version < old.version):
                return
            if old is None and len(self._facts) >= MOST:
                self._rejected["too_many"] = self._rejected.get("too_many", 0) + 1
                return
            self._facts[fact.key] = fact if old is None else self._merge(old, fact)

    def remove(self, fact: F, at: float) -> None:
        """An object was deleted; `fact` is what it was at the end."""
        with self._lock:
            old = self._facts.pop(fact.key, None)
            if old is not None:
                self._gone[fact.key] = (self._merge(old, fact), at)
                self._buried.add(fact.key)

    def drop(self, key: str) -> None:
        """An object that is there no longer matters."""
        with self._lock:
            self._facts.pop(key, None)

    @property
    def full(self) -> bool:
        """Whether as much waits to be committed as may be held. What is held is not given up for what comes: whoever
        watches stops until some of it is `told`, and goes on from there."""
        return len(self._gone) >= MOST_GONE

    def view(self) -> tuple[Mapping[str, F], Mapping[str, tuple[F, float]]]:
        """The objects that are there, and those gone with the instant of it, by key."""
        with self._lock:
            return dict(self._facts), dict(self._gone)

    def told(self, gone: Mapping[str, tuple[F, float]]) -> None:
        """What is known of `gone` has been committed: it need not be kept."""
        with self._lock:
            for key, known in gone.items():
                if self._gone.get(key) == known:
                    del self._gone[key]

    def reject(self, reason: str, count: int = 1) -> None:
        """Count what could not be used."""
        with self._lock:
            self._rejected[reason] = self._rejected.get(reason, 0) + count

    def rejected(self) -> dict[str, int]:
        """What could not be used since the last call, by reason."""
        with self._lock:
            found, self._rejected = self._rejected, {}
            return found
