"""Two bills for one charge: what the bill says that is configured first counts, and of a later one what is beyond it.

Lines for the same resource are two words on one charge: over the seconds of the first, the later one is superseded
whole. Where one of the two names no resource, such as a line by tag, it may be for more than the other one is: then the
first takes from the later line what it charged itself, and no more. Pure.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from itertools import pairwise
from typing import NamedTuple

from exporter.intervals import Intervals, Span
from exporter.reconcile.rents import Rent, prices_seconds, resource_name


class Claim(NamedTuple):
    """What a line tells of whose it is: whether it names a resource, and its account, "" if that is not told."""

    named: bool
    account: str


Amounts = dict[Claim, Decimal]


def rents_once(billed: Sequence[Rent], order: Sequence[str]) -> tuple[list[Rent], list[Rent]]:
    """The rents of bills that count, and what earlier bills in `order` (collectors, as configured) say already.

    Two lines of different collectors are for the same charge if they are for the same component and the same resource;
    or, where one names no resource, for the same provider and account (an account that is not told may be any). There
    the later one is left with what it says beyond the earlier ones: second by second, and over the periods in which
    their lines overlap, as one may bill by the day what the other does by the hour.
    """
    rank = {name: at for at, name in enumerate(order)}
    collectors = sorted({rent.collector for rent in billed}, key=lambda name: (rank.get(name, len(rank)), name))
    if len(collectors) < 2:
        return list(billed), []
    kept: list[Rent] = []
    lost: list[Rent] = []
    for name in collectors:
        mine = [rent for rent in billed if rent.collector == name]
        rest, same = _split(mine, _by_resource(kept))
        counted, taken = _beyond(rest, _split(kept, _by_resource(mine))[0])
        kept += counted
        lost += [*same, *taken]
    return kept, lost


def _by_resource(rents: Iterable[Rent]) -> dict[tuple[str, str], Intervals]:
    """When each resource is billed, by component: a correction only moves money."""
    spans: dict[tuple[str, str], list[Span]] = {}
    for rent in rents:
        if rent.resource and _prices(rent):
            spans.setdefault((rent.component, resource_name(rent.resource)), []).extend(rent.seconds)
    return {key: Intervals(found) for key, found in spans.items()}


def _split(rents: Iterable[Rent], billed: Mapping[tuple[str, str], Intervals]) -> tuple[list[Rent], list[Rent]]:
    """The rents over seconds in which others do not bill their resource, and over those in which they do."""
    rest: list[Rent] = []
    same: list[Rent] = []
    for rent in rents:
        seconds = billed.get((rent.component, resource_name(rent.resource))) if rent.resource else None
        if seconds is None:
            rest.append(rent)
        else:
            rest += _over(rent, rent.seconds - seconds)
            same += _over(rent, rent.seconds & seconds)
    return rest, same


def _over(rent: Rent, seconds: Intervals, part: Decimal = Decimal(1)) -> list[Rent]:
    return [replace(rent, seconds=seconds, amount_usd=rent.amount_usd * part)] if seconds else []


def _prices(rent: Rent) -> bool:
    return rent.line is None or prices_seconds(rent.line.charge)


def _beyond(later: Sequence[Rent], earlier: Sequence[Rent]) -> tuple[list[Rent], list[Rent]]:
    """What of the later rents goes beyond the earlier ones, and what does not."""
    markets: dict[tuple[str, str], tuple[list[Rent], list[Rent]]] = {}
    for at, rents in enumerate((earlier, later)):
        for rent in rents:
            provider = rent.line.charge.provider.casefold() if rent.line else ""
            markets.setdefault((rent.component, provider), ([], []))[at].append(rent)
    kept: list[Rent] = []
    lost: list[Rent] = []
    for before, after in markets.values():
        if not before or all(rent.resource for rent in (*before, *after)):
            kept += after
            continue
        for cell in _cells(before, after):
            counted, taken = cell.beyond()
            kept += counted
            lost += taken
    return kept, lost


def _cells(earlier: Iterable[Rent], later: Iterable[Rent]) -> list["_Cell"]:
    """Rents whose periods overlap, together; periods that only touch are apart."""
    both = [*((rent, True) for rent in earlier), *((rent, False) for rent in later)]
    cells: list[_Cell] = []
    through = 0
    for rent, before in sorted(both, key=lambda one: one[0].seconds.spans[0][0]):
        if not cells or rent.seconds.spans[0][0] >= through:
            cells.append(_Cell())
        (cells[-1].earlier if before else cells[-1].later).append(rent)
        through = max(through, rent.seconds.end or 0)
    return cells


class Piece(NamedTuple):
    """A later rent, by its place, with the fraction that is left of it over some seconds; `replaced`: a line of an
    earlier bill that names no resource runs then, too."""

    rent: int
    left: Decimal
    replaced: bool


@dataclass(slots=True)
class _Cell:
    earlier: list[Rent] = field(default_factory=list)
    later: list[Rent] = field(default_factory=list)

    def beyond(self) -> tuple[list[Rent], list[Rent]]:
        """What of the later rents is left, and what is taken. A line by tag of which nothing is left still says that
        nothing else is to be paid for: it is kept, at 0."""
        if not (self.earlier and self.later):
            return self.later, []
        pieces, over = self._by_second()
        kept: list[Rent] = []
        lost: list[Rent] = []
        for piece, spans in pieces.items():
            rent, seconds = self.later[piece.rent], Intervals(spans)
            left = piece.left * over.get(_claim(rent), Decimal(1))
            if left or (not (rent.resource or piece.replaced) and _prices(rent)):
                kept += _over(rent, seconds, left)
            if left != 1:
                lost += _over(rent, seconds, 1 - left)
        return kept, lost

    def _by_second(self) -> tuple[dict[Piece, list[Span]], Amounts]:
        """What is left second by second; and what fraction of that is left of each claim once the earlier bills have
        taken, over the whole cell, what they had not taken at its second."""
        pieces: dict[Piece, list[Span]] = {}
        unused: Amounts = {}
        wanted: Amounts = {}
        for start, end, before, after in self._sweep():
            pool, tagged = _pool(before), any(not rent.resource and _prices(rent) for rent in before)
            asked = _sums(self.later[at] for at in after)
            rest, spare = take(pool, asked)
            for at in after:
                claim = _claim(self.later[at])
                left = _fraction(rest[claim], asked[claim], any(_may_take(one, claim) for one in pool))
                pieces.setdefault(Piece(at, left, tagged), []).append((start, end))
            for sums, rates in ((unused, spare), (wanted, rest)):
                for claim, rate in rates.items():
                    sums[claim] = sums.get(claim, Decimal(0)) + rate * (end - start)
        rest, _ = take(unused, wanted)
        return pieces, {claim: _fraction(rest[claim], usd, False) for claim, usd in wanted.items()}

    def _sweep(self) -> Iterator[tuple[int, int, list[Rent], list[int]]]:
        """Each span in which the same rents run: the earlier ones, and the places of the later ones."""
        runs = [(*span, -1, rent) for rent in self.earlier for span in rent.seconds]
        runs += [(*span, at, rent) for at, rent in enumerate(self.later) for span in rent.seconds]
        runs.sort(key=lambda run: run[0])
        edges = sorted({at for run in runs for at in run[:2]})
        active: list[tuple[int, int, int, Rent]] = []
        begun = 0
        for start, end in pairwise(edges):
            active = [run for run in active if run[1] > start]
            while begun < len(runs) and runs[begun][0] <= start:
                active.append(runs[begun])
                begun += 1
            if active:
                before = [rent for _, _, at, rent in active if at < 0]
                yield start, end, before, [at for _, _, at, _ in active if at >= 0]


def take(pool: Mapping[Claim, Decimal], wanted: Mapping[Claim, Decimal]) -> tuple[Amounts, Amounts]:
    """What is left of `wanted` once those in `pool` have taken what they have, and what they have left. None takes from
    a resource what it has for another; each takes from its own account first."""
    spare, rest = dict(pool), {}
    for claim in sorted(wanted, key=lambda one: (not one.named, not one.account, one.account)):
        left = max(wanted[claim], Decimal(0))
        takers = [one for one in pool if _may_take(one, claim)]
        for one in sorted(takers, key=lambda one: (not one.account, one.account, one.named)):
            taken = min(spare[one], left)
            spare[one] -= taken
            left -= taken
        rest[claim] = left
    return rest, spare


def _may_take(one: Claim, claim: Claim) -> bool:
    same_account = not one.account or not claim.account or one.account == claim.account
    return same_account and not (one.named and claim.named)


def _fraction(rest: Decimal, asked: Decimal, claimed: bool) -> Decimal:
    """The fraction of `asked` that `rest` is; of what takes money back nothing where it is `claimed`, else all."""
    if asked > 0:
        return rest / asked
    return Decimal(0 if claimed else 1)


def _pool(rents: Iterable[Rent]) -> Amounts:
    """USD per second by claim, of those of which some line prices the time."""
    rents = list(rents)
    pricing = {_claim(rent) for rent in rents if _prices(rent)}
    return {claim: max(usd, Decimal(0)) for claim, usd in _sums(rents).items() if claim in pricing}


def _sums(rents: Iterable[Rent]) -> Amounts:
    sums: Amounts = {}
    for rent in rents:
        claim = _claim(rent)
        sums[claim] = sums.get(claim, Decimal(0)) + rent.amount_usd / rent.per_seconds
    return sums


def _claim(rent: Rent) -> Claim:
    return Claim(bool(rent.resource), rent.line.charge.account if rent.line else "")
