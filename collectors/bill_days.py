"""The lines of a bill a UTC day at a time, as text: what lines have in common is told once. Pure.

This is how a big bill goes from the process that reads it to the ledger, and how the ledger keeps any bill: a line is
the number of its kind, its time and its amounts, in JSON. Charges are made of it for those who ask.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import fields, replace
from decimal import Decimal
from functools import lru_cache
from operator import attrgetter
from typing import Any, overload

import msgspec

from collectors.records import DAY, Charge, Window

Kind = tuple[Any, ...]
"""What some lines have in common: the values of `COMMON`."""

_OWN = ("window", "billed_cost", "effective_cost", "list_cost", "contracted_cost", "quantity")
COMMON = tuple(field.name for field in fields(Charge) if field.name not in _OWN)
_CURRENCY = COMMON.index("currency")
_common_of: Callable[[Charge], Kind] = attrgetter(*COMMON)
_SET = {field.name: getattr(Charge, field.name).__set__ for field in fields(Charge)}
_SET_COMMON = tuple(_SET[name] for name in COMMON)
_SET_WINDOW, _SET_BILLED, _SET_EFFECTIVE, _SET_LIST, _SET_CONTRACTED, _SET_QUANTITY = (_SET[name] for name in _OWN)
_NOTHING = Decimal(0)


class _Lines(msgspec.Struct, array_like=True, frozen=True):
    """The lines of a day and the number of the kind of each. A line starts `at` seconds of the day and lasts for
    `seconds`; then billed, effective (None: as billed), list, contracted cost and quantity."""

    numbers: list[int]
    rows: list[tuple[int, int, Decimal, Decimal | None, Decimal | None, Decimal | None, Decimal | None],]


class BillDay(Sequence[Charge]):
    """The charges of a UTC day that begins at `start` (epoch seconds). `kinds` are what lines have in common (see
    `kind_text`), by number; `lines` (see `encoded`) are `count`.

    Days of one collector that say the same have equal kinds and lines.
    """

    __slots__ = ("kinds", "lines", "size", "start")

    def __init__(self, start: int, kinds: Sequence[str], lines: str, size: int) -> None:
        self.start, self.kinds, self.lines, self.size = start, kinds, lines, size

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[Charge]:
        return iter(self._charges())

    @overload
    def __getitem__(self, at: int) -> Charge: ...

    @overload
    def __getitem__(self, at: slice) -> Sequence[Charge]: ...

    def __getitem__(self, at: int | slice) -> Charge | Sequence[Charge]:
        return self._charges()[at]

    def _charges(self) -> list[Charge]:
        """Made anew each time: as objects the lines of a day take ten times the memory."""
        return charges(self.start, [kind_of(text) for text in self.kinds], self.lines)


def charges(start: int, kinds: Sequence[Kind], lines: str) -> list[Charge]:
    """The lines of the UTC day that begins at `start`. Slot by slot: three times as fast as the constructor."""
    new, found = object.__new__, list[Charge]()
    read = _decode(lines)
    for number, (at, seconds, billed, effective, listed, contracted, quantity) in zip(
        read.numbers, read.rows, strict=True
    ):
        charge = new(Charge)
        for put, value in zip(_SET_COMMON, kinds[number], strict=True):
            put(charge, value)
        _SET_WINDOW(charge, window(start + at, start + at + seconds))
        _SET_BILLED(charge, billed)
        _SET_EFFECTIVE(charge, billed if effective is None else effective)
        _SET_LIST(charge, listed)
        _SET_CONTRACTED(charge, contracted)
        _SET_QUANTITY(charge, quantity)
        found.append(charge)
    return found


def packed(lines: Iterable[Charge]) -> list[BillDay]:
    """Any charges by the UTC day that they start on, in order. Equal charges make equal days, however they come."""
    days: dict[int, list[tuple[Kind, Charge]]] = {}
    texts: dict[Kind, str] = {}
    for charge in lines:
        kind = _common_of(charge)
        if kind not in texts:
            texts[kind] = kind_text(empty(charge))
        days.setdefault(charge.window.start // DAY * DAY, []).append((kind, charge))
    return [_packed(start, found, texts) for start, found in sorted(days.items())]


def _packed(start: int, found: Sequence[tuple[Kind, Charge]], texts: dict[Kind, str]) -> BillDay:
    kinds = sorted({texts[kind] for kind, _ in found})
    number = {text: at for at, text in enumerate(kinds)}
    lines = sorted((number[texts[kind]], _line(start, charge)) for kind, charge in found)
    return BillDay(start, kinds, encoded([one for one, _ in lines], [text for _, text in lines]), len(lines))


def _line(start: int, charge: Charge) -> str:
    span, billed, effective = charge.window, str(charge.billed_cost), str(charge.effective_cost)
    amounts = (charge.list_cost, charge.contracted_cost, charge.quantity)
    return line_text(
        *(span.start - start, span.seconds, billed, None if effective == billed else effective),
        *(None if amount is None else str(amount) for amount in amounts),
    )


def line_text(
    at: int,
    seconds: int,
    billed: str,
    effective: str | None,
    listed: str | None,
    contracted: str | None,
    quantity: str | None,
) -> str:
    """A line of a day (see `_Lines`), encoded; amounts are decimals as text."""
    amounts = (
        f'"{text}"' if text is not None else "null" for text in (billed, effective, listed, contracted, quantity)
    )
    return f"[{at},{seconds},{','.join(amounts)}]"


def encoded(numbers: Sequence[int], lines: Iterable[str]) -> str:
    """The lines of a day: the number of each one's kind, and each as `line_text`, some of them joined by commas."""
    return f"[{msgspec.json.encode(numbers).decode()},[{','.join(lines)}]]"


_decode = msgspec.json.Decoder(_Lines).decode


def kind_text(charge: Charge) -> str:
    """What lines have in common with `charge`, which is of no amount at no time (see `empty`), as text."""
    return msgspec.json.encode(charge).decode()


def empty(charge: Charge) -> Charge:
    return replace(
        charge,
        window=Window(0, 0),
        billed_cost=_NOTHING,
        effective_cost=_NOTHING,
        list_cost=None,
        contracted_cost=None,
        quantity=None,
    )


@lru_cache(maxsize=8192)
def kind_of(text: str) -> Kind:
    return _common_of(_decode_charge(text))


_decode_charge = msgspec.json.Decoder(Charge).decode


def currencies(lines: Sequence[Charge]) -> set[str]:
    """What any charges are billed in; of a day as text its kinds tell, no line is decoded."""
    if isinstance(lines, BillDay):
        return {kind_of(text)[_CURRENCY] for text in lines.kinds}
    return {charge.currency for charge in lines}


@lru_cache(maxsize=65536)
def window(start: int, end: int) -> Window:
    return Window(start, end)
