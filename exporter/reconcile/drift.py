"""What bills said, and the estimates that they replaced: machine by machine where both name theirs. Pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from exporter.intervals import Intervals
from exporter.reconcile.evidence import BILLED, Costs
from exporter.reconcile.rent_sums import Group
from exporter.reconcile.rents import Rent, resource_name


@dataclass(frozen=True, slots=True)
class Compared:
    """What the bill of `collector` replaced: over `seconds`, `bills` (its own and those of others, as which estimate
    each of them replaced cannot be told) stand where `estimates` stood."""

    collector: str
    bills: Group
    estimates: Group
    seconds: Intervals


def compared(costs: Costs) -> tuple[Compared, ...]:
    """The bills in `costs` and the estimates that they replaced, by collector, component and machine. What is billed
    for a machine that nobody estimated is compared with nothing."""
    found: list[Compared] = []
    estimates = [rent for rent in costs.superseded if rent.evidence not in BILLED]
    for component in {rent.component for rent in estimates}:
        billed = [rent for rent in costs.counted if rent.evidence in BILLED and rent.component == component]
        for bills, replaced in _by_machine(billed, [rent for rent in estimates if rent.component == component]):
            found += _compared(bills, replaced)
    return tuple(found)


def _compared(bills: Sequence[Rent], estimates: Sequence[Rent]) -> Iterator[Compared]:
    together, replaced = Group(bills), Group(estimates)
    for collector in {rent.collector for rent in bills}:
        said = Intervals(span for rent in bills if rent.collector == collector for span in rent.seconds)
        if both := said & replaced.seconds:
            yield Compared(collector, together, replaced, both)


def _by_machine(bills: Sequence[Rent], estimates: Sequence[Rent]) -> Iterator[tuple[list[Rent], list[Rent]]]:
    """Both by what they are for; all of them together where one does not name that."""
    if not all(rent.resource or rent.node for rent in (*bills, *estimates)):
        yield [*bills], [*estimates]
        return
    of: dict[str, list[Rent]] = {}
    for rent in bills:
        for name in {resource_name(rent.resource), rent.node} - {""}:
            of.setdefault(name, []).append(rent)
    guessed: dict[str, list[Rent]] = {}
    for rent in estimates:
        names = (resource_name(rent.resource), rent.node)
        guessed.setdefault(next((name for name in names if name in of), ""), []).append(rent)
    yield from ((of[name], rents) for name, rents in guessed.items() if name)


def replaced_usd(
    pairs: Iterable[Compared], covered: Intervals, starts: Mapping[str, int], end: int
) -> dict[tuple[str, str], tuple[Decimal, Decimal]]:
    """By collector and window: billed USD and the estimates they replaced, over `covered`."""
    found: dict[tuple[str, str], tuple[Decimal, Decimal]] = {}
    for pair in pairs:
        both = pair.seconds & covered
        for window, start in starts.items() if both else ():
            seconds = both.clip(start, end)
            billed, estimated = found.get((pair.collector, window), (Decimal(0), Decimal(0)))
            found[pair.collector, window] = billed + pair.bills.usd(seconds), estimated + pair.estimates.usd(seconds)
    return found
