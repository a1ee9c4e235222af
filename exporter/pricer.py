"""The price book of a running exporter: grows as new models are seen, resolved in a child process."""

import logging
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from exporter.aside import call_aside
from exporter.prices.book import PriceBook, PriceKey
from exporter.prices.pricing import blended

log = logging.getLogger("exporter.prices")

RETRY = 300
"""Seconds after which a failed look-up is tried again."""

PROMPT = 1.0
"""Seconds that a publish tick waits for a look-up that it starts (a healthy one takes less), then goes on without."""

_FAILURES = (RuntimeError, ValueError, LookupError, OSError)  # what `call_aside` raises


class PricePendingError(Exception):
    """The prices asked for are not looked up yet, or could not be. Ask again at the next tick."""


class Pricer:
    """Holds the resolved rates. Thread-safe. A failed look-up leaves tokens unpriced and is tried again later.

    `wait` is how many seconds a caller waits for a look-up; it goes on in the background. None: until it is done.
    """

    def __init__(self, overrides: str | None = None, call: Callable[..., Any] = call_aside) -> None:
        self.book = PriceBook()
        self.catalogue_at: int | None = None
        self._overrides, self._call = overrides, call
        self._hosts: dict[tuple[str, tuple[str, ...]], list[tuple[str, str]]] = {}
        self._lock = threading.Lock()  # one look-up at a time
        self._thread: threading.Thread | None = None
        self._retry_at: dict[str, int] = {}  # by what was looked up

    def ensure(self, keys: Iterable[PriceKey], now: int, wait: float | None = None) -> PriceBook:
        """The book with every key looked up that can be; `now` in epoch seconds. A key that was looked up is in it,
        with no rates if no price is known; one that is missing is yet to be looked up."""
        missing = sorted(self.book.missing(keys), key=repr)
        if missing and self._may_try("prices", now):
            self._run(lambda: self._resolve(missing, now), wait)
        return self.book

    def band_edges(self) -> tuple[int, ...]:
        """The prompt lengths at which any known price changes (tokens); raises if the override file is not valid."""
        edges: tuple[int, ...] = self._call("exporter.prices.resolve:band_edges", self._overrides)
        return edges

    def cheapest_host(
        self, model: str, providers: Sequence[str], mix: Mapping[str, int], now: int, wait: float | None = None
    ) -> str | None:
        """`<provider>/<model>` of the cheapest endpoint that serves the same open model at this token mix, or None if
        there is none. Raises PricePendingError while that is not known."""
        hosts = self._hosts_of(model, tuple(providers), now, wait)
        keys = [PriceKey(provider, host) for provider, host in hosts]
        book = self.ensure(keys, now, wait)
        if book.missing(keys):
            raise PricePendingError(f"not all hosts of {model} have been looked up")
        priced: list[tuple[Decimal, str]] = []
        for key in keys:
            rate = book.rate(key, now)
            price = blended(rate, mix) if rate else None
            if price is not None:
                priced.append((price, f"{key.provider}/{key.model}"))
        return min(priced)[1] if priced else None

    def _hosts_of(self, model: str, providers: tuple[str, ...], now: int, wait: float | None) -> list[tuple[str, str]]:
        if (model, providers) not in self._hosts and self._may_try(f"hosts of {model}", now):
            self._run(lambda: self._find_hosts(model, providers, now), wait)
        if (model, providers) not in self._hosts:
            raise PricePendingError(f"the hosts of {model} have not been looked up")
        return self._hosts[model, providers]

    def _may_try(self, what: str, now: int) -> bool:
        return now >= self._retry_at.get(what, now)

    def _run(self, look_up: Callable[[], None], wait: float | None) -> None:
        """Do a look-up, here or in the background. One that is still under way there is not waited for."""
        if wait is None:
            look_up()
        elif self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=look_up, name="look-up", daemon=True)
            self._thread.start()
            self._thread.join(wait)

    def _find_hosts(self, model: str, providers: tuple[str, ...], now: int) -> None:
        with self._lock:
            try:
                self._hosts[model, providers] = self._call("exporter.prices.resolve:open_model_hosts", model, providers)
            except _FAILURES as error:
                self._retry_at[f"hosts of {model}"] = now + RETRY
                log.warning("no automatic alternative for %s yet, tried again in %d s: %s", model, RETRY, error)

    def _resolve(self, keys: Sequence[PriceKey], now: int) -> None:
        with self._lock:
            missing = sorted(self.book.missing(keys), key=repr)  # another thread may have been faster
            if not missing or not self._may_try("prices", now):
                return
            try:
                rates = self._call("exporter.prices.resolve:resolve", missing, self._overrides)
                if self.catalogue_at is None:
                    self.catalogue_at = self._call("exporter.prices.resolve:newest_price", now)
            except _FAILURES as error:
                self._retry_at["prices"] = now + RETRY
                log.error(
                    "prices of %d models could not be looked up, their tokens stay unpriced: %s", len(missing), error
                )
                return
            self.book = self.book.extended(rates)
        for key in missing:
            if not rates[key]:
                log.warning("no price is known for %s/%s: see prices.overrides", key.provider, key.model)
