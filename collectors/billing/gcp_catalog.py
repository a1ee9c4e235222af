"""Google Cloud's list prices of GPU machines: GPUs, cores, memory and local SSD per region and tier, dated.

Parts are regions. The API says only what holds now, with an `effective_time` within its last 12 hours: a price that has
not changed gets no new date, so a part's cursor keeps the prices that are known, and only changed ones are delivered.
A price that the catalogue no longer lists stays the last that was known.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, ClassVar, Literal

from collectors import Context
from collectors.billing.gcp_client import Access, CatalogueError, ask_once, read_skus
from collectors.billing.gcp_sku import Item, SkippedError, Sku, item_of, price_of
from collectors.records import Batch, Failure, ListPrice
from collectors.settings import STRICT, Duration

CATALOGUE = "catalogue"  # the part for what is said of the catalogue as a whole
PROBE_SECONDS = 8.0
"""Of the one request that answers somebody who waits."""


@dataclass(frozen=True, slots=True)
class GcpCatalogSettings:
    """`kind: gcp_catalog`. `endpoint` (`host:port`) with `insecure: true` is for emulators and tests."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    name: str
    kind: Literal["gcp_catalog"]
    regions: tuple[str, ...] = ()
    currency: str = "USD"
    credentials_file: str = ""
    interval: Duration = Duration(86400)
    timeout: Duration = Duration(120)
    endpoint: str = ""
    insecure: bool = False

    def __post_init__(self) -> None:
        if len(self.currency) != 3 or not self.currency.isalpha() or not self.currency.isupper():
            raise ValueError(f"currency: expected an ISO 4217 code like 'USD', got {self.currency!r}")
        if not 0 < self.timeout < self.interval:
            raise ValueError(f"timeout: expected less than the interval, {self.interval.text!r}")
        if self.insecure and not self.endpoint:
            raise ValueError("endpoint: expected host:port of an emulator beside insecure, got ''")
        if self.insecure and self.credentials_file:
            raise ValueError("credentials_file: expected none beside insecure: they would be sent unencrypted")


Key = tuple[str, str, str]
"""Of a price within its region: tier, unit, name."""
RegionPrices = Mapping[Key, tuple[ListPrice, str]]
"""With each price what makes it the same price at the next reading."""


@dataclass(slots=True)
class Catalogue:
    """The prices found so far, by region, and how many SKUs of GPU machines were left out, by reason."""

    regions: frozenset[str]
    prices: dict[str, dict[Key, tuple[ListPrice, str]]] = field(default_factory=dict)
    skipped: Counter[str] = field(default_factory=Counter)

    def add(self, sku: Sku, now: int) -> None:
        """Note what `sku` prices, if it is of a GPU machine and in a region that is wanted."""
        try:
            item = item_of(sku)
            price = price_of(sku, item.unit) if item else None
        except SkippedError as reason:
            self.skipped[str(reason)] += 1
            return
        for region in sku.regions:
            if item and price is not None and (region in self.regions or not self.regions):
                self._note(_list_price(sku, item, region, price, now))

    def with_gpus(self) -> dict[str, RegionPrices]:
        """The prices of the regions that have GPUs at all."""
        return {region: prices for region, prices in self.prices.items() if any(unit == "gpu" for _, unit, _ in prices)}

    def _note(self, price: ListPrice) -> None:
        """Keep one price for each thing: if several SKUs price it, that of the lowest id, so that it stays the same."""
        known = self.prices.setdefault(price.region, {})
        key = (price.tier, price.unit, price.name)
        other = known.get(key)
        if other is not None and other[0].price_per_hour != price.price_per_hour:
            self.skipped["two_prices"] += 1
        if other is None or price.sku < other[0].sku:
            known[key] = (price, _shown(price))


def _list_price(sku: Sku, item: Item, region: str, price: Decimal, now: int) -> ListPrice:
    return ListPrice(
        provider="gcp",
        region=region,
        tier=item.tier,
        unit=item.unit,
        name=item.name,
        price_per_hour=price,
        currency=sku.currency,
        start=min(sku.effective or now, now),
        sku=sku.id,
    )


def _shown(price: ListPrice) -> str:
    """What makes it the same price: not its date, which moves with every answer."""
    return f"{price.price_per_hour} {price.currency}"


class GcpCatalog:
    """Reads the whole catalogue (some ten pages) and delivers what has changed, region by region."""

    Settings = GcpCatalogSettings
    streams: frozenset[str] | None = None
    late_after: int | None = None

    def __init__(self, settings: GcpCatalogSettings, context: Context) -> None:
        self._settings = settings
        self._access = Access(
            settings.endpoint, settings.insecure, settings.credentials_file, seconds=float(settings.timeout)
        )

    def collect(self, now: int, cursors: Mapping[str, str]) -> Iterator[Batch | Failure]:
        """Deliver every price that is new or has changed. A catalogue that is not read to its end changes nothing."""
        catalogue = Catalogue(frozenset(self._settings.regions))
        try:
            for sku in self._skus():
                catalogue.add(sku, now)
        except CatalogueError as error:
            yield Failure(CATALOGUE, str(error))
            return
        yield from _changes(catalogue.with_gpus(), cursors)
        yield from _skipped(catalogue.skipped, cursors)
        yield from self._missing(catalogue)

    def probe(self, now: int) -> Iterator[Batch | Failure]:
        """Whether the catalogue answers: one request for one SKU; nothing of it is kept."""
        access = replace(self._access, seconds=min(PROBE_SECONDS, self._access.seconds))
        try:
            ask_once(access, self._settings.currency)
        except CatalogueError as error:
            yield Failure(CATALOGUE, str(error))
        else:
            yield Batch(CATALOGUE)

    def close(self) -> None:
        """Nothing is held open between collects."""

    def _skus(self) -> Iterable[Sku]:
        return read_skus(self._access, self._settings.currency)

    def _missing(self, catalogue: Catalogue) -> Iterator[Failure]:
        found = catalogue.with_gpus()
        if not found and not self._settings.regions:
            yield Failure(CATALOGUE, "no price of a GPU machine in the catalogue: is endpoint a Cloud Billing API?")
        for region in self._settings.regions:
            if region not in found:
                yield Failure(region, f"no price of a GPU machine in region {region!r}: check `regions`")


def _changes(by_region: Mapping[str, RegionPrices], cursors: Mapping[str, str]) -> Iterator[Batch]:
    for region, prices in sorted(by_region.items()):
        known: dict[str, str] = json.loads(cursors.get(region) or "{}")
        shown = {"/".join(key): shown for key, (_, shown) in prices.items()}
        changed = [price for key, (price, shown) in sorted(prices.items()) if known.get("/".join(key)) != shown]
        if changed:
            yield Batch(region, list_prices=changed, cursor=_compact({**known, **shown}))


def _skipped(skipped: Mapping[str, int], cursors: Mapping[str, str]) -> Iterator[Batch]:
    """Say what was left out, once for as long as it stays the same."""
    cursor = _compact(skipped)
    if cursor != cursors.get(CATALOGUE, "{}"):
        yield Batch(CATALOGUE, cursor=cursor, rejected=dict(skipped))


def _compact(values: Mapping[str, str | int]) -> str:
    return json.dumps(values, sort_keys=True, separators=(",", ":"))
