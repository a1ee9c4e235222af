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


class Pricer:
    """Holds the resolved rates. Thread-safe. A failed look-up leaves tokens unpriced and is tried again later."""

    def __init__(self, overrides: str | None = None, call: Callable[..., Any] = call_aside) -> None:
        self.book = PriceBook()
        self.catalogue_at: int | None = None
        self._overrides, self._call = overrides, call
        self._lock = threading.Lock()
        self._retry_at = 0

    def ensure(self, keys: Iterable[PriceKey], now: int) -> PriceBook:
        """The book with every key looked up that can be; `now` in epoch seconds."""
        with self._lock:
            missing = sorted(self.book.missing(keys), key=repr)
            if missing and now >= self._retry_at:
                self._resolve(missing, now)
            return self.book

    def band_edges(self) -> tuple[int, ...]:
        """The prompt lengths at which any known price changes (tokens); raises if the override file is not valid."""
        edges: tuple[int, ...] = self._call("exporter.prices.resolve:band_edges", self._overrides)
        return edges

    def cheapest_host(self, model: str, providers: Sequence[str], mix: Mapping[str, int], now: int) -> str | None:
        """`<provider>/<model>` of the cheapest endpoint that serves the same open model at this token mix, or None."""
        try:
            hosts = self._call("exporter.prices.resolve:open_model_hosts", model, tuple(providers))
        except (RuntimeError, ValueError, OSError) as error:
            log.warning("no automatic alternative for %s: %s", model, error)
            return None
        book = self.ensure([PriceKey(provider, host) for provider, host in hosts], now)
        priced: list[tuple[Decimal, str]] = []
        for provider, host in hosts:
            rate = book.rate(PriceKey(provider, host), now)
            price = blended(rate, mix) if rate else None
            if price is not None:
                priced.append((price, f"{provider}/{host}"))
        return min(priced)[1] if priced else None

    def _resolve(self, missing: Sequence[PriceKey], now: int) -> None:
        try:
            rates = self._call("exporter.prices.resolve:resolve", missing, self._overrides)
            if self.catalogue_at is None:
                self.catalogue_at = self._call("exporter.prices.resolve:newest_price", now)
        except (RuntimeError, ValueError, OSError) as error:
            self._retry_at = now + RETRY
            log.error("prices of %d models could not be looked up, their tokens stay unpriced: %s", len(missing), error)
            return
        self.book = self.book.extended(rates)
        for key in missing:
            if not rates[key]:
                log.warning("no price is known for %s/%s: see prices.overrides", key.provider, key.model)
