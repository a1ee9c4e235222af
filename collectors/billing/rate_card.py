"""Rate cards: what a GPU (or a disk, a node, a link) costs per hour by contract, from the configuration.

A rate card accrues quantities, not money: each collect extends the reservation of every rate up to now, and the price
stays in the configuration (`cards`). So a corrected price corrects the past, while a changed count holds from now on:
what passed since the last collect, however long ago, is reserved at the old count.
"""

import json
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from itertools import chain
from itertools import count as counting
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
        """What makes it the same rate after an edit: not its price, count, end, GPU name, resources or nodes."""
        return "/".join([self.workload, *self._what])

    @property
    def identity_with_gpu(self) -> str:
        """What tells it from a rate that is the same but for the GPU."""
        return "/".join([self.workload, *([self.gpu] if self.gpu else []), *self._what])

    @property
    def _what(self) -> list[str]:
        return [self.component, *([] if self.from_ is None else [_iso(self.from_)])]

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
    """The rates by their part name, `<workload>/<component>[/<from>]`: a rate whose GPU is named otherwise is the same.

    Of several rates alike in these the first in the config has that name; each further one is `<workload>/<gpu>/...`,
    and numbered if alike in that too. So list a further rate below, and end a rate with `until` rather than remove it.
    """
    keyed: dict[str, Rate] = {}
    for rate, with_gpu in _named_by_gpu(settings.rates):
        keyed[_free(rate.identity if rate.identity not in keyed else with_gpu, keyed)] = rate
    return keyed


def former_keys(settings: RateCardSettings) -> dict[str, str]:
    """By part name the one with the GPU in it, where that is another: the same rate had it in an older release, or has
    it since another rate was listed above."""
    keyed = keyed_rates(settings)
    pairs = zip(keyed, (with_gpu for _, with_gpu in _named_by_gpu(settings.rates)), strict=True)
    return {key: with_gpu for key, with_gpu in pairs if with_gpu not in keyed}


def _named_by_gpu(rates: Sequence[Rate]) -> list[tuple[Rate, str]]:
    """The rates with names that have the GPU in them; rates that are alike are numbered in config order."""
    named: dict[str, Rate] = {}
    for rate in rates:
        named[_free(rate.identity_with_gpu, named)] = rate
    return [(rate, name) for name, rate in named.items()]


def _free(name: str, taken: Container[str]) -> str:
    numbered = (f"{name}#{number}" for number in counting(2))
    return next(each for each in chain([name], numbered) if each not in taken)


def cards(settings: RateCardSettings) -> Mapping[str, Card]:
    """The prices of a rate card collector by `Reservation.card`, under former keys too."""
    keyed, former = keyed_rates(settings), former_keys(settings)
    names = {**{with_gpu: key for key, with_gpu in former.items()}, **{key: key for key in keyed}}
    return {f"{settings.name}/{name}": keyed[key].card(settings.name) for name, key in names.items()}


@dataclass(frozen=True, slots=True)
class Position:
    """A part's cursor: accrued up to `at` (epoch seconds), since then at `count` (None: not noted). `ended`: the
    configuration no longer named the rate."""

    at: int
    count: Decimal | None = None
    workload: str = ""
    ended: bool = False

    def cursor(self) -> str:
        noted = None if self.count is None else str(self.count)
        return json.dumps({"at": self.at, "count": noted, "workload": self.workload, "ended": self.ended})

    @classmethod
    def parse(cls, cursor: str) -> "Position":
        """The position in a cursor; in the first release it was the instant alone."""
        known = json.loads(cursor)
        if isinstance(known, int):
            return cls(known)
        noted = None if known["count"] is None else Decimal(known["count"])
        return cls(known["at"], noted, known["workload"], known["ended"])


class RateCard:
    """Accrues every rate up to now, each its own part.

    Time in which the exporter was down is accrued at the next collect, at the count before: the rent ran. Time in which
    the configuration did not name the rate is not: a rate put back starts again now. With `from` it says since when it
    holds, so it goes on where it stopped: what the ledger has of that period is not reserved again.
    """

    Settings = RateCardSettings
    streams: frozenset[str] | None = None
    late_after: int | None = None

    def __init__(self, settings: RateCardSettings, context: Context) -> None:
        self._name = settings.name
        self._rates = keyed_rates(settings)
        self._former = former_keys(settings)

    def collect(self, now: int, cursors: Mapping[str, str]) -> Iterator[Batch | Failure]:
        """The reservations of every rate over `[accrued before, now)`, within the rate's `[from, until)`."""
        known = {part: Position.parse(cursor) for part, cursor in cursors.items()}
        parts = {self._part(key, known): rate for key, rate in self._rates.items()}
        for part, rate in parts.items():
            yield from self._accrued(part, rate, known.get(part), now)
        for part, position in known.items():
            if part not in parts and not position.ended and position.at < now:
                yield self._ended(part, position, now)

    def close(self) -> None:
        """Nothing is held."""

    def _part(self, key: str, known: Mapping[str, Position]) -> str:
        """The name under which a rate goes on: one that is accrued now, else one that was, else its own."""
        names = [name for name in (self._former.get(key, key), key) if name in known]
        running = [name for name in names if not known[name].ended]
        return next(iter((*running, *names, key)))

    def _accrued(self, part: str, rate: Rate, last: Position | None, now: int) -> Iterator[Batch]:
        end = now if rate.until is None else min(now, rate.until)
        running = last is not None and not last.ended
        start = _start(rate, last, now)
        before = last.count if last is not None and running and last.count is not None else Decimal(rate.count)
        changed = before != rate.count
        if start < end or (start == end and (changed or not running)):  # empty at first sight: accrues from here
            made = [self._reservation(part, rate, before, Window(start, end))]
            if changed and end == now:
                made.append(self._reservation(part, rate, Decimal(rate.count), Window(now, now)))
            position = Position(int(end), Decimal(rate.count), rate.workload)
            yield Batch(part, reservations=made, cursor=position.cursor())

    def _ended(self, part: str, last: Position, now: int) -> Batch:
        """A rate that is no longer configured: from now on nothing is reserved, so that what was last noted does not
        seem to go on when the rate is put back. The position stays: with it nothing is reserved twice."""
        nothing = Reservation(f"{self._name}/{part}", last.workload, "", Decimal(0), Window(now, now))
        return Batch(part, reservations=[nothing] if last.workload else [], cursor=replace(last, ended=True).cursor())

    def _reservation(self, part: str, rate: Rate, units: Decimal, window: Window) -> Reservation:
        return Reservation(
            card=f"{self._name}/{part}",
            workload=rate.workload,
            gpu=rate.gpu,
            count=units,
            window=window,
            while_running=rate.billing == "while_running",
            resources=rate.resources,
            node=rate.nodes[0] if len(rate.nodes) == 1 else "",
        )


def _start(rate: Rate, last: Position | None, now: int) -> int:
    """From when on a rate is accrued that was last at this position."""
    if last is None:
        return now if rate.from_ is None else int(rate.from_)
    if not last.ended:
        return last.at
    return max(last.at, now) if rate.from_ is None else max(last.at, int(rate.from_))


def _iso(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z")
