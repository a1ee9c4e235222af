"""Vendors' SDKs are imported when they are first needed, and by one thread at a time.

Collectors run side by side. Where two threads import libraries whose modules import each other in circles, CPython
gives one of them a half-made module rather than let both wait for ever (`_DeadlockError` in importlib/_bootstrap.py),
and what that broke stays broken until the process ends. The SDKs of Google and Kubernetes meet like that in `requests`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import RLock

_ONE_AT_A_TIME = RLock()


@contextmanager
def importing() -> Iterator[None]:
    """Around every import of an SDK, also of what it would import by itself later, where another one does so too."""
    with _ONE_AT_A_TIME:
        yield
