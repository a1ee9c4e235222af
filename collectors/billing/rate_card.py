"""Rate cards: what a GPU (or a disk, a node, a link) costs per hour by contract, from the configuration.

A rate card accrues quantities, not money: each collect extends the reservation of every rate up to now, and the price
stays in the configuration (`cards`). So a corrected price corrects the past, while a changed count holds from now on.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, ClassVar, Literal

from collectors import Context
from collectors.records import Batch, Card, Failure, Reservation, Window
from collectors.settings import STRICT, Duration, Instant, Money

RateComponent = Literal["gpu", "node", "storage", "egress", "other"]


def _yaml_key(field: str) -> str:
    """The YAML key of a field: `from` is a Python keyword, so the field is `from_`."""
    return field.rstrip("_")


@dataclass(frozen=True, slots=True)
class Rate:
    """The price of ONE GPU (or other unit) per hour; what is paid is `count` x price x hours.

    The price is `usd_per_hour`, or `price_per_hour` with its `currency`. It holds over `[from, until)`; without `from`
    it accrues from when the exporter first saw it. `while_running` pays only for seconds in which the engine was up.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = {**STRICT, "alias_generator": _yaml_key}

    workload: str
    gpu: str = ""
    count: Money = Money("1")
    usd_per_hour: Money | None = None
    price_per_hour: Money | None = None
    currency: str | None = None
    billing: Literal["always", "while_running"] = "always"
    from_: Instant | None = None
    until: Instant | None = None
    resources: tuple[str, ...] = ()
    nodes: tuple[str, ...] = ()
    component: RateComponent = "gpu"

    def __post_init__(self) -> None:
        if not self.workload:
            raise ValueError("expected the name of the workload that the rate pays for, got ''")
        if (self.usd_per_hour is None) == (self.price_per_hour is None):
            raise ValueError("expected exactly one of usd_per_hour, and price_per_hour with currency")
        if (self.price_per_hour is None) != (not self.currency):
            raise ValueError("expected currency beside price_per_hour (for example EUR), and only there")
        if self._price < 0:
            raise ValueError(f"expected a price per hour of at least 0, got '{self._price}'")
        if self.count <= 0:
            raise ValueError(f"expected a count above 0 (a fraction for a shared GPU), got '{self.count}'")
        if self.from_ is not None and self.until is not None and self.until <= self.from_:
            raise ValueError(f"expected until ({_iso(self.until)}) after from ({_iso(self.from_)})")

    @property
    def _price(self) -> Decimal:
        price = self.price_per_hour if self.usd_per_hour is None else self.usd_per_hour
        assert price is not None  # __post_init__
        return price

    @property
    def identity(self) -> str:
        """What makes it the same rate after an edit: not its price, count, end, resources or nodes."""
        since = [] if self.from_ is None else [_iso(self.from_)]
        return "/".join([self.workload, *([self.gpu] if self.gpu else []), self.component, *since])

    def card(self, collector: str) -> Card:
        """The price of this rate, for the reconciling side."""
        return Card(
            collector=collector,
            workload=self.workload,
            component=self.component,
            price_per_hour=Decimal(self._price),
            currency=(self.currency or "USD").upper(),
            count=Decimal(self.count),
            while_running=self.billing == "while_running",
            start=self.from_,
            end=self.until,
            resources=self.resources,
            nodes=self.nodes,
            gpu=self.gpu,
        )


@dataclass(frozen=True, slots=True)
class RateCardSettings:
    """`kind: rate_card`."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    name: str
    kind: Literal["rate_card"]
    rates: tuple[Rate, ...]
    interval: Duration = Duration(60)

    def __post_init__(self) -> None:
        if not self.rates:
            raise ValueError("expected at least one rate, got none")


def keyed_rates(settings: RateCardSettings) -> dict[str, Rate]:
    """The rates by their part name. Rates alike in workload, gpu, component and `from` are numbered in config order."""
    keyed: dict[str, Rate] = {}
    for rate in settings.rates:
        key, number = rate.identity, 1
        while key in keyed:
            number += 1
            key = f"{rate.identity}#{number}"
        keyed[key] = rate
    return keyed


def cards(settings: RateCardSettings) -> Mapping[str, Card]:
    """The prices of a rate card collector by `Reservation.card`."""
    return {f"{settings.name}/{key}": rate.card(settings.name) for key, rate in keyed_rates(settings).items()}


class RateCard:
    """Accrues every rate up to now, each its own part; the cursor is the instant (epoch seconds) accrued up to.

    Time in which the exporter was down is accrued at the next collect: the rent ran.
    """

    Settings = RateCardSettings
    streams: frozenset[str] | None = None
    late_after: int | None = None

    def __init__(self, settings: RateCardSettings, context: Context) -> None:
        self._name = settings.name
        self._rates = keyed_rates(settings)

    def collect(self, now: int, cursors: Mapping[str, str]) -> Iterator[Batch | Failure]:
        """One reservation per rate over `[accrued before, now)`, within the rate's `[from, until)`."""
        for key, rate in self._rates.items():
            cursor = cursors.get(key)
            first = now if rate.from_ is None else rate.from_
            start = int(cursor) if cursor else int(first)
            end = now if rate.until is None else min(now, rate.until)
            if start < end or (not cursor and start == end):  # an empty window at first sight: accrues from here
                yield Batch(key, reservations=(self._reservation(key, rate, Window(start, end)),), cursor=str(end))

    def close(self) -> None:
        """Nothing is held."""

    def _reservation(self, key: str, rate: Rate, window: Window) -> Reservation:
        return Reservation(
            card=f"{self._name}/{key}",
            workload=rate.workload,
            gpu=rate.gpu,
            count=Decimal(rate.count),
            window=window,
            while_running=rate.billing == "while_running",
            resources=rate.resources,
            node=rate.nodes[0] if len(rate.nodes) == 1 else "",
        )


def _iso(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z")
