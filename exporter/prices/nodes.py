"""What a machine with GPUs costs per hour at list price, and from when: the evidence `list`. Pure.

Three sources are asked in this order: a collected price of the whole machine; the sum of collected prices of its parts
(Google prices machines so); the bundled table. At an instant the first of them counts that has a price valid then.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal

from collectors.records import ListPrice, Node
from exporter.prices.node_parts import Kind, Part, parts
from exporter.prices.node_tables import ORIGINS, bundled_prices


@dataclass(frozen=True, slots=True)
class NodePrice:
    """The list price of a whole node per hour, in `currency`. `origin` says where it is from and of when."""

    price_per_hour: Decimal
    currency: str
    origin: str


Step = tuple[int, NodePrice]
"""A price and the instant from which it holds (epoch seconds), until the next step."""
_Key = tuple[str, str, str, str, str]  # provider, region, tier, unit, name
_Dated = Sequence[ListPrice]  # ascending by start


class ListPrices:
    """List prices by what they are of. The bundled table is read when a price is first asked for."""

    def __init__(self, prices: Sequence[ListPrice], bundled: Callable[[], Sequence[ListPrice]]) -> None:
        self._prices = prices
        self._bundled = bundled
        self._indexes: tuple[_Index, _Index] | None = None
        self._timelines: dict[Kind, tuple[Step, ...]] = {}

    @classmethod
    def of(cls, prices: Sequence[ListPrice]) -> "ListPrices":
        """The prices that were collected, and the bundled table for what they do not know."""
        return cls(prices, bundled_prices)

    def timeline(self, kind: Kind) -> tuple[Step, ...]:
        """The list price of a kind of node over time, ascending; () if none is known. Computed once."""
        known = self._timelines.get(kind)
        if known is None:
            if self._indexes is None:
                self._indexes = _index(self._prices), _index(self._bundled())
            known = self._timelines[kind] = tuple(_timeline(kind, *self._indexes))
        return known


def node_price(node: Node, prices: ListPrices, at: int) -> NodePrice | None:
    """What `node` costs per hour at the instant `at` (epoch seconds); None if no list price is known.

    Before the first known date the first known price holds, and its origin says so. A node whose tier is not told is
    taken as on demand, and the origin says so; a spot node without a known spot price has none.
    """
    kind = Kind.of(node)
    steps = prices.timeline(kind)
    if not steps:
        return None
    index = bisect_right(steps, at, key=lambda step: step[0]) - 1
    start, price = steps[max(index, 0)]
    notes = [] if kind.tier_told else ["tier not told, taken as on_demand"]
    notes += [f"not known before {_day(start)}"] if index < 0 else []
    return replace(price, origin=f"{price.origin} ({'; '.join(notes)})") if notes else price


def price_changes(node: Node, prices: ListPrices, start: int, end: int) -> list[int]:
    """The instants inside `(start, end)` (epoch seconds) at which `node_price` may change, ascending."""
    return [at for at, _ in prices.timeline(Kind.of(node)) if start < at < end]


class _Index:
    """Dated prices by what they are of and by currency."""

    def __init__(self, by_key: Mapping[_Key, Mapping[str, _Dated]]) -> None:
        self._by_key = by_key

    def dated(self, kind: Kind, unit: str, name: str) -> Mapping[str, _Dated]:
        return self._by_key.get((kind.provider, kind.region, kind.tier, unit, name), {})


def _index(prices: Iterable[ListPrice]) -> _Index:
    by_key: dict[_Key, dict[str, list[ListPrice]]] = {}
    for price in sorted(prices, key=lambda price: price.start):
        key = (price.provider, price.region.lower(), price.tier, price.unit, price.name.lower())
        by_key.setdefault(key, {}).setdefault(price.currency, []).append(price)
    return _Index(by_key)


def _timeline(kind: Kind, collected: _Index, bundled: _Index) -> Iterator[Step]:
    """The steps of the sources, at each instant those of the first source that has a price by then."""
    sources = [list(_whole(kind, collected, "")), *_composed(kind, collected)]
    sources.append(list(_whole(kind, bundled, f" (bundled: {ORIGINS.get(kind.provider, '')})")))
    last: NodePrice | None = None
    for at in sorted({start for steps in sources for start, _ in steps}):
        price = next(price for price in (_valid(steps, at) for steps in sources) if price is not None)
        if price != last:
            yield at, price
        last = price


def _valid(steps: Sequence[Step], at: int) -> NodePrice | None:
    index = bisect_right(steps, at, key=lambda step: step[0])
    return steps[index - 1][1] if index else None


def _whole(kind: Kind, index: _Index, suffix: str) -> Iterator[Step]:
    """The price of the machine as one item, in USD if it is known so."""
    dated = index.dated(kind, "node", kind.instance_type)
    for price in dated[_preferred(dated)[0]] if dated else ():
        origin = f"list price of {_day(price.start)}{suffix}: {kind.instance_type}, {kind.region}, {kind.tier}"
        yield price.start, NodePrice(price.price_per_hour, price.currency, origin)


def _composed(kind: Kind, index: _Index) -> Iterator[list[Step]]:
    """The machine as the sum of its parts, for each currency in which all of them have a price; USD first."""
    needed = parts(kind)
    dated = [index.dated(kind, part.unit, part.name) for part in needed]
    common = set(dated[0]).intersection(*dated) if dated else set()
    for currency in _preferred(common):
        yield list(_sums(kind, needed, [prices[currency] for prices in dated]))


def _sums(kind: Kind, needed: Sequence[Part], dated: Sequence[_Dated]) -> Iterator[Step]:
    first = max(prices[0].start for prices in dated)  # from when on every part has a price
    for at in sorted({price.start for prices in dated for price in prices if price.start > first} | {first}):
        each = [prices[bisect_right(prices, at, key=lambda price: price.start) - 1] for prices in dated]
        total = sum((part.quantity * one.price_per_hour for part, one in zip(needed, each, strict=True)), Decimal(0))
        what = " + ".join(map(str, needed))
        origin = f"list prices of {_day(at)}: {kind.instance_type}, {kind.region}, {kind.tier} = {what}"
        yield at, NodePrice(total, each[0].currency, origin)


def _preferred(currencies: Iterable[str]) -> list[str]:
    return sorted(currencies, key=lambda currency: (currency != "USD", currency))


def _day(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).date().isoformat()
