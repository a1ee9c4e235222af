"""What Cost Explorer has cost this month, when it was asked last, and whether it may be asked again. Pure.

Every request costs USD 0.01, each page included (https://aws.amazon.com/aws-cost-management/pricing/).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation

PRICE = Decimal("0.01")
"""USD per request."""

SLACK = 60
"""Seconds by which a read may come early: a scheduler that fires each 6 h does not fire on the same second."""

REMEMBERED = 24
"""Other months whose account is kept."""


@dataclass(frozen=True, slots=True)
class Requests:
    """Kept in the ledger as the cursor of the part `requests`. `spent` (USD) counts for the UTC month `month`; `last`
    is when a read was begun, `read` when one was begun that succeeded (epoch seconds, 0: never); `failed` why the last
    one did not, empty if it did.

    A clock that jumps was wrong before or is wrong now. So `others`, the months it has said as far as they are
    remembered, are charged with every request too: back in one of them, all that was spent since it first came counts.
    But months after `newest`, the last that the clock came on to, were those of a clock that was ahead: they keep what
    they had.
    """

    month: str
    spent: Decimal = Decimal(0)
    last: int = 0
    read: int = 0
    failed: str = ""
    newest: str = ""
    others: Mapping[str, Decimal] = field(default_factory=dict)

    @classmethod
    def parse(cls, cursor: str | None, now: int) -> "Requests":
        """The account at `now`; a cursor that cannot be read is an empty account."""
        month = f"{datetime.fromtimestamp(now, UTC):%Y-%m}"
        try:
            one = cls._parsed(cursor or "{}")
        except (ValueError, KeyError, TypeError, AttributeError, InvalidOperation):
            return cls(month)
        return one if one.month == month else one._moved(month)

    @classmethod
    def _parsed(cls, cursor: str) -> "Requests":
        kept = json.loads(cursor)
        others = {_month(one): Decimal(usd) for one, usd in kept.get("others", {}).items()}
        asked = (int(kept["last"]), int(kept["read"]), str(kept["failed"]))
        return cls(_month(kept["month"]), Decimal(kept["spent"]), *asked, str(kept.get("newest", "")), others)

    def _moved(self, month: str) -> "Requests":
        """The account when the clock says another month than before."""
        known = {**self.others, self.month: self.spent}
        newest = max(self.newest, self.month)
        if month in known:
            spent = known.pop(month)
        elif month > self.month:
            spent, newest = Decimal(0), month
        else:  # never said: nobody knows since when it is this month
            spent = max(usd for one, usd in known.items() if one > month)
        others = dict(sorted(known.items())[-REMEMBERED:])
        return replace(self, month=month, spent=spent, newest=newest, others=others)

    def cursor(self) -> str:
        kept = {"month": self.month, "spent": str(self.spent), "last": self.last, "read": self.read}
        others = {month: str(usd) for month, usd in self.others.items()}
        return json.dumps({**kept, "failed": self.failed, "newest": self.newest, "others": others})

    def due_at(self, interval: int) -> int:
        """When it may be asked again (epoch seconds)."""
        return self.last + interval - min(SLACK, interval // 10) if self.last else 0

    def due(self, now: int, interval: int) -> bool:
        """Whether `interval` seconds have passed. A last time more than `interval` ahead was a wrong clock's."""
        return now >= self.due_at(interval) or self.last - now > interval

    def begun(self, now: int) -> "Requests":
        return replace(self, last=now)

    def paid(self, requests: int = 1) -> "Requests":
        usd = requests * PRICE
        others = {month: spent + (usd if month <= self.newest else 0) for month, spent in self.others.items()}
        return replace(self, spent=self.spent + usd, others=others)

    def ended(self, failed: str = "") -> "Requests":
        """The read that was begun has come to its end."""
        return replace(self, failed=failed, read=self.read if failed else self.last)

    def affordable(self, budget: Decimal) -> int:
        """How many requests are left in this month's `budget` (USD)."""
        return max(0, int((budget - self.spent) // PRICE))

    def exhausted(self, budget: Decimal) -> str:
        """Why no request may be made, and until when."""
        year, month = map(int, self.month.split("-"))
        reset = f"{year + month // 12}-{month % 12 + 1:02d}-01"
        return (
            f"monthly_budget_usd ({budget}) is used up: {self.spent} USD of requests count for {self.month}; the bill "
            f"read so far stays in force, reading goes on at {reset}T00:00Z; raise the budget or the interval"
        )


def _month(text: object) -> str:
    """A month as `2026-11`; raises ValueError."""
    return f"{datetime.strptime(str(text), '%Y-%m'):%Y-%m}"


def utc(at: int) -> str:
    """An instant as an on-call engineer reads it."""
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%MZ}"
