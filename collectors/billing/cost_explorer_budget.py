"""What Cost Explorer has cost this month, when it was asked last, and whether it may be asked again. Pure.

Every request costs USD 0.01, each page included (https://aws.amazon.com/aws-cost-management/pricing/).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation

from collectors.records import DAY

PRICE = Decimal("0.01")
"""USD per request."""

SLACK = 60
"""Seconds by which a read may come early: a scheduler that fires each 6 h does not fire on the same second."""


REMEMBERED = 24
"""Months whose account is kept."""


@dataclass(frozen=True, slots=True)
class Requests:
    """Kept in the ledger as the cursor of the part `requests`. `month` is the UTC month that `spent` (USD) belongs to;
    `last` when a read was begun, `read` when one was begun that succeeded (epoch seconds, 0: never); `failed` why the
    last one did not, empty if it did. `before` is what was spent in months before, as far as they are remembered."""

    month: str
    spent: Decimal = Decimal(0)
    last: int = 0
    read: int = 0
    failed: str = ""
    before: Mapping[str, Decimal] = field(default_factory=dict)

    @classmethod
    def parse(cls, cursor: str | None, now: int) -> "Requests":
        """The account at `now`; a cursor that cannot be read is an empty account.

        A month that begins more than a day after `now` was a wrong clock's: what was asked in it was asked in the month
        of `now`, or before, and counts in that beside what had been spent there. A clock that is set back by less keeps
        the month.
        """
        month = f"{datetime.fromtimestamp(now, UTC):%Y-%m}"
        try:
            one = cls._parsed(cursor or "{}")
            ahead = _start(one.month) - now > DAY
        except (ValueError, KeyError, TypeError, AttributeError, InvalidOperation):
            return cls(month)
        if ahead:
            wrong = (spent for at, spent in one.before.items() if at >= month)
            earlier = {at: spent for at, spent in one.before.items() if at < month}
            return replace(one, month=month, spent=sum(wrong, one.spent), before=earlier)
        if one.month >= month:
            return one
        known = sorted({**one.before, one.month: one.spent}.items())[-REMEMBERED:]
        return replace(one, month=month, spent=Decimal(0), before=dict(known))

    @classmethod
    def _parsed(cls, cursor: str) -> "Requests":
        kept = json.loads(cursor)
        before = {str(month): Decimal(spent) for month, spent in kept.get("before", {}).items()}
        asked = (int(kept["last"]), int(kept["read"]), str(kept["failed"]))
        return cls(str(kept["month"]), Decimal(kept["spent"]), *asked, before)

    def cursor(self) -> str:
        kept = {"month": self.month, "spent": str(self.spent), "last": self.last, "read": self.read}
        before = {month: str(spent) for month, spent in self.before.items()}
        return json.dumps({**kept, "failed": self.failed, "before": before})

    def due_at(self, interval: int) -> int:
        """When it may be asked again (epoch seconds)."""
        return self.last + interval - min(SLACK, interval // 10) if self.last else 0

    def due(self, now: int, interval: int) -> bool:
        """Whether `interval` seconds have passed. A last time more than `interval` ahead was a wrong clock's."""
        return now >= self.due_at(interval) or self.last - now > interval

    def begun(self, now: int) -> "Requests":
        return replace(self, last=now)

    def paid(self, requests: int = 1) -> "Requests":
        return replace(self, spent=self.spent + requests * PRICE)

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
            f"monthly_budget_usd ({budget}) is used up: {self.spent} USD of requests in {self.month}; the bill read so "
            f"far stays in force, reading goes on at {reset}T00:00Z; raise the budget or the interval"
        )


def _start(month: str) -> int:
    return int(datetime.strptime(f"{month}-01+0000", "%Y-%m-%d%z").timestamp())


def utc(at: int) -> str:
    """An instant as an on-call engineer reads it."""
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%MZ}"
