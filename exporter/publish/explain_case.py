"""What `explain` works on: one workload on one path and all that bears on it; and how it writes figures. Values."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import ROUND_FLOOR, Decimal

from collectors.records import Path
from exporter.breakeven.status import State
from exporter.config import DecisionSettings
from exporter.intervals import Intervals
from exporter.ledger.snapshot import BillLine, Evaluation
from exporter.publish import text
from exporter.reconcile.alternatives import ApiAlternative
from exporter.reconcile.build import Inputs
from exporter.reconcile.evidence import NodeRents
from exporter.reconcile.report import Decision, StatusName, WindowFigures, WorkloadReport
from exporter.reconcile.workload import WorkloadView

PATHS: dict[Path, str] = {"self_hosted": "self-hosted", "api": "API"}
STATUSES: dict[StatusName, str] = {
    "self_hosting_cheaper": "self-hosting cheaper",
    "api_cheaper": "API cheaper",
    "break_even": "break-even",
    "unknown": "unknown",
}
_USERINFO = re.compile(r"//[^/@\s]*@")


@dataclass(frozen=True, slots=True)
class Case:
    """`shown` is what the exporter publishes of `view` at `now`, over windows that end at `end` (epoch seconds).

    `evaluations` are the stored ones against the primary alternative in order of time, `state` what they lead to.
    `billed` are the bill lines allocated to the workload as a whole, `nodes` its part of the nodes it holds.
    `catalogue_at` is the date of the price catalogue.
    """

    inputs: Inputs
    view: WorkloadView
    shown: WorkloadReport
    state: State
    evaluations: Sequence[Evaluation]
    billed: Sequence[BillLine]
    now: int
    end: int
    catalogue_at: int | None = None
    nodes: NodeRents = field(default_factory=NodeRents)

    @property
    def settings(self) -> DecisionSettings:
        return self.inputs.decision(self.view.name)

    @property
    def figures(self) -> WindowFigures:
        assert self.shown.decision_window is not None  # `report` always gives one
        return self.shown.decision_window

    @property
    def primary(self) -> ApiAlternative | None:
        return self.view.alternatives[0] if self.view.alternatives else None

    @property
    def decision(self) -> Decision | None:
        return next((decision for decision in self.shown.decisions if decision.primary), None)

    @property
    def reason(self) -> str:
        """Why the status is unknown; empty if it is known."""
        status = self.decision.status if self.decision else None
        return status.reason if status else "no_alternative"

    @property
    def api_usd(self) -> Decimal | None:
        """A over the decision window."""
        primary = self.primary
        return self.figures.alternatives[primary.label].cost_usd if primary else None

    def aged(self, at: int) -> str:
        """An instant with its age."""
        return f"{text.instant(at)} ({text.ago(at, self.now)})"


def covered(case: Case) -> Intervals:
    """The time of the decision window that every figure is summed over."""
    return case.view.covered.clip(case.figures.asked.start, case.figures.asked.end)


def plain(number: Decimal) -> str:
    """A number with all its digits, without exponent or trailing zeros: `2.49`, `4`, `0.105`."""
    shown = f"{number:,f}"
    return shown.rstrip("0").rstrip(".") if "." in shown else shown


def amount(usd: Decimal) -> str:
    """An amount in USD: to the cent, or to as many digits as it needs to show four."""
    return f"{usd:,.{_places(usd)}f}"


def amounts(parts: Sequence[Decimal]) -> list[str]:
    """Amounts in USD that stand under each other, and last their sum. What is shown adds up, too."""
    total = sum(parts, Decimal(0))
    places = _places(max((abs(part) for part in (*parts, total)), default=Decimal(0)))
    return [f"{shown:,.{places}f}" for shown in (*adding_up(parts, places), round(total, places))]


def adding_up(parts: Sequence[Decimal], places: int = 2) -> list[Decimal]:
    """The parts rounded such that they add up to their rounded sum: the largest remainders are rounded up."""
    step = Decimal(1).scaleb(-places)
    floors = [part.quantize(step, ROUND_FLOOR) for part in parts]
    missing = int((round(sum(parts, Decimal(0)), places) - sum(floors, Decimal(0))) / step)
    by_remainder = sorted(range(len(parts)), key=lambda i: floors[i] - parts[i])
    return [floor + step if i in by_remainder[:missing] else floor for i, floor in enumerate(floors)]


def _places(usd: Decimal) -> int:
    return max(2, 3 - usd.adjusted()) if usd else 2


def per_million(usd_per_token: Decimal) -> str:
    """A price in USD per million tokens, with up to six decimals."""
    return plain((usd_per_token * 1_000_000).quantize(Decimal("0.000001")).normalize())


def throughput(tokens_per_second: Decimal) -> str:
    """Tokens per second to four digits."""
    if tokens_per_second >= 1000:
        return f"{tokens_per_second:,.0f}"
    return plain(Decimal(f"{tokens_per_second:.4g}"))


def source_name(source: tuple[str, str]) -> str:
    """A collector and its target, a URL without the user name and password it may hold."""
    collector, stream = source
    return f"{collector} {_USERINFO.sub('//', stream)}" if stream else collector
