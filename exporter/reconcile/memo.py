"""Results of pure functions, kept while their arguments stay the same, so that a tick does only what has changed."""

from collections.abc import Callable, Hashable
from functools import wraps
from operator import is_
from typing import Any, TypeVar

A = TypeVar("A")
T = TypeVar("T")


def once_for_each(make: Callable[[A], T]) -> Callable[[A], T]:
    """`make`, its results remembered for the last few arguments by identity: for what is made of a configuration, which
    does not change while it is used."""
    kept: tuple[tuple[A, T], ...] = ()  # replaced, never changed: threads may ask at once

    @wraps(make)
    def once(argument: A) -> T:
        nonlocal kept
        for of, result in kept:
            if of is argument:
                return result
        result = make(argument)
        kept = ((argument, result), *kept[:3])
        return result

    return once


class Memo:
    """Remembers, for each name, the last arguments and their result. Arguments are compared by identity first, so a
    large value that is the same object costs nothing; what is equal but new costs one comparison."""

    def __init__(self) -> None:
        self._kept: dict[Hashable, tuple[tuple[Any, ...], Any]] = {}

    def same(self, name: Hashable, args: tuple[Any, ...], make: Callable[[], T]) -> T:
        """`make()`, or its last result under `name` if every argument is the very same object."""
        kept = self._kept.get(name)
        if kept is not None and len(kept[0]) == len(args) and all(map(is_, kept[0], args)):
            result: T = kept[1]
            return result
        return self._make(name, args, make)

    def equal(self, name: Hashable, args: tuple[Any, ...], make: Callable[[], T]) -> T:
        """`make()`, or its last result under `name` if every argument is equal."""
        kept = self._kept.get(name)
        if kept is not None and kept[0] == args:  # tuples compare their elements by identity first
            result: T = kept[1]
            return result
        return self._make(name, args, make)

    def keep(self, kind: str, names: set[Hashable]) -> None:
        """Forget the results named `(kind, x)` whose x is not in `names`."""
        gone = [one for one in self._kept if isinstance(one, tuple) and one[0] == kind and one[1] not in names]
        for one in gone:
            del self._kept[one]

    def _make(self, name: Hashable, args: tuple[Any, ...], make: Callable[[], T]) -> T:
        result = make()
        self._kept[name] = (args, result)
        return result
