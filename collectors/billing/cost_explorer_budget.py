"""What Cost Explorer has cost this month, when it was asked last, and whether it may be asked again. Pure.

Every request costs USD 0.01, each page included (https://aws.amazon.com/aws-cost-management/pricing/).
"""

import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation

PRICE = Decimal("0.01")
"""USD per request."""

SLACK = 60
"""Seconds by which a read may come early: a scheduler that fires each 6 h does not fire on the same second."""


@dataclass(frozen=True, slots=True)
class Requests:
    """Kept in the ledger as the cursor of the part `requests`. `month` is the UTC month that `spent` (USD) belongs to;
    `last` when a read was begun, `read` when one was begun that succeeded (epoch seconds, 0: never); `failed` why the
    last one did not, empty if it did."""

    month: str
    spent: Decimal = Decimal(0)
    last: int = 0
    read: int = 0
    failed: str = ""

    @classmethod
    def parse(cls, cursor: str | None, now: int) -> "Requests":
        """The account at `now`; a cursor that cannot be read is an empty account. A month before the one in the cursor
        (a clock that was set back) keeps what was spent."""
        month = f"{datetime.fromtimestamp(now, UTC):%Y-%m}"
        try:
            kept = json.loads(cursor or "{}")
            one = cls(
                str(kept["month"]), Decimal(kept["spent"]), int(kept["last"]), int(kept["read"]), str(kept["failed"])
            )
        except (ValueError, KeyError, TypeError, InvalidOperation):
            return cls(month)
        return one if one.month >= month else replace(one, month=month, spent=Decimal(0))

    def cursor(self) -> str:
        kept = {"month": self.month, "spent": str(self.spent), "last": self.last, "read": self.read}
        return json.dumps({**kept, "failed": self.failed})

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


def utc(at: int) -> str:
    """An instant as an on-call engineer reads it."""
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%MZ}"
