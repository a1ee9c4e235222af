"""How sure a bill line is: provisional, settled, final. Pure.

A bill that is young still fills up, and a closed month may be corrected for two weeks (reference: the providers' own
statements on when usage and corrections arrive).
"""

from datetime import UTC, datetime
from typing import Literal

from collectors.records import DAY, HOUR, Charge
from exporter.ledger.snapshot import BillLine
from exporter.reconcile.report import Evidence

BillState = Literal["provisional", "settled", "final"]
STATES: tuple[BillState, ...] = ("provisional", "settled", "final")

SETTLED_AFTER = 72 * HOUR
FINAL_AFTER = 15 * DAY  # from the end of the calendar month (UTC) of the charge
READ_ALIKE = 2


def state_of(line: BillLine, now: int) -> BillState:
    """The state of a line at `now` (epoch seconds): `final` once it is invoiced or its month is over for 15 days,
    `settled` once it is 72 h old and two deliveries in a row said the same of its day, else `provisional`."""
    charge = line.charge
    if charge.invoice or now >= _month_end(charge) + FINAL_AFTER:
        return "final"
    if now >= charge.window.end + SETTLED_AFTER and line.alike >= READ_ALIKE:
        return "settled"
    return "provisional"


def evidence_of(line: BillLine, now: int) -> Evidence:
    """What cost from this line rests on."""
    return "invoiced" if state_of(line, now) == "final" else "billed"


def _month_end(charge: Charge) -> int:
    last = datetime.fromtimestamp(max(charge.window.start, charge.window.end - 1), UTC)
    year, month = (last.year, last.month + 1) if last.month < 12 else (last.year + 1, 1)
    return int(datetime(year, month, 1, tzinfo=UTC).timestamp())
