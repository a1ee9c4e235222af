"""Bill lines on their way from the child process: what lines have in common, which is the same on most days, is sent
once, and a line is its number, its time and its amounts. Pure.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import fields, replace
from decimal import Decimal
from operator import itemgetter
from typing import Any, Literal, NamedTuple

from collectors.billing.cur_columns import Group
from collectors.billing.cur_lines import ZERO, category_of, charge_of, labels_of, pieces, window
from collectors.records import Charge

Line = tuple[int, int, int, str | None, str | None, str | None, str | None]
"""A bill line beside all that it has in common with others: the number of that, start, end, and its amounts."""

_common_of = itemgetter(slice(Group._fields.index("account"), Group._fields.index("rows")))


class _Kind(NamedTuple):
    """What the lines of like groups have in common: its number; what is doubtful about their rows; whether their
    quantity is kept, none, or zero."""

    number: int
    doubtful: tuple[str, ...]
    quantity: Literal["kept", "none", "zero"]


class Kinds:
    """What lines have in common, numbered: most of it is the same on every day, and sent once."""

    def __init__(self, flags: Counter[str]) -> None:
        """`flags` counts the rows that are doubtful, or of money that other rows have."""
        self._flags = flags
        self._known: dict[tuple[Any, ...], _Kind] = {}
        self._numbered = 0
        self.new: list[Charge] = []

    def __len__(self) -> int:
        return len(self._known)

    def lines(self, groups: Iterable[Group]) -> list[Line]:
        """The bill lines of some groups. What they have in common that no line before had is put to `new`."""
        known, found = self._known, list[Line]()
        for group in groups:
            kind = known.get(_common_of(group)) or self._learn(group)
            for reason in kind.doubtful:
                self._flags[reason] += group.rows
            if group.timed:
                found += [(kind.number, *piece) for piece in pieces(group)]
            elif not group.split:
                quantity = group.quantity if kind.quantity == "kept" else "0" if kind.quantity == "zero" else None
                span = (kind.number, group.start, group.end)
                found.append((*span, group.billed, group.effective, group.list, quantity))
            if group.unused and group.unused != "0" and not group.split:
                found.append((self._unused(group), group.start, group.end, None, group.unused, None, None))
        return found

    def _learn(self, group: Group) -> _Kind:
        category, known = category_of(group.line_type or "", group.usage_type or "")
        labels, readable = labels_of(group.tags or "")
        doubtful = [
            *(["unknown_line_type"] if not known else []),
            *(["no_currency"] if not group.currency else []),
            *(["bad_tags"] if not readable else []),
        ]
        discount = category == "Usage" and (group.line_type or "").endswith("Discount")
        kind = _Kind(
            -1 if group.split else self._number(charge_of(group, category, labels)),
            ("split_cost_row",) if group.split else tuple(doubtful),
            "zero" if discount else "kept" if category == "Usage" else "none",
        )
        self._known[_common_of(group)] = kind
        return kind

    def _unused(self, group: Group) -> int:
        """The part of a commitment's fee that no usage used: cost of use, billed by the fee itself."""
        key = (*_common_of(group), "unused")
        if key not in self._known:
            charge = replace(charge_of(group, "Usage", labels_of(group.tags or "")[0]), commitment_status="Unused")
            self._known[key] = _Kind(self._number(charge), (), "none")
        return self._known[key].number

    def _number(self, charge: Charge) -> int:
        self.new.append(charge)
        self._numbered += 1
        return self._numbered - 1


Common = tuple[tuple[Any, Any], ...]
"""What lines have in common: the slots of a `Charge` and their values."""
_SLOTS = {field.name: getattr(Charge, field.name).__set__ for field in fields(Charge)}
_OWN = ("window", "billed_cost", "effective_cost", "list_cost", "quantity")
_SET_WINDOW, _SET_BILLED, _SET_EFFECTIVE, _SET_LIST, _SET_QUANTITY = (_SLOTS[name] for name in _OWN)


def common(kind: Charge) -> Common:
    """What the lines of a kind have in common."""
    return tuple((put, getattr(kind, name)) for name, put in _SLOTS.items() if name not in _OWN)


def charges(lines: Iterable[Line], kinds: Sequence[Common]) -> list[Charge]:
    """The lines as charges, each of one of the `kinds`. Slot by slot: three times as fast as the constructor."""
    new, found = object.__new__, list[Charge]()
    for number, start, end, billed, effective, listed, quantity in lines:
        charge = new(Charge)
        for put, value in kinds[number]:
            put(charge, value)
        _SET_WINDOW(charge, window(start, end))
        cost = Decimal(billed) if billed is not None else ZERO
        _SET_BILLED(charge, cost)
        _SET_EFFECTIVE(charge, cost if effective == billed else Decimal(effective) if effective is not None else ZERO)
        _SET_LIST(charge, cost if listed == billed and listed is not None else _optional(listed))
        _SET_QUANTITY(charge, _optional(quantity))
        found.append(charge)
    return found


def _optional(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)
