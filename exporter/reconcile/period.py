"""A past period: what the workloads used and cost, and how the bills are made up, in source currency. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal

from collectors.records import HOUR, SLOT, Path, Window
from exporter.intervals import Intervals
from exporter.reconcile import coverage
from exporter.reconcile.bill import BASES, Basis, window_parts
from exporter.reconcile.bill_reporting import bill_lines
from exporter.reconcile.build import Inputs, finders
from exporter.reconcile.report import WindowFigures
from exporter.reconcile.workload import WorkloadView


class PeriodError(ValueError):
    """A period that cannot be reported: empty, or not of whole rows of the ledger. The message says what can be."""


@dataclass(frozen=True, slots=True)
class PeriodWorkload:
    """One workload on one path. `figures.asked` is the period from its first observation or rent on."""

    workload: str
    path: Path
    figures: WindowFigures


@dataclass(frozen=True, slots=True)
class PeriodBill:
    """One collector's bill on one basis, in the bill's currency: `total` is the sum of `parts`, to the last digit.

    `unallocated` splits the part of that name by reason.
    """

    collector: str
    currency: str
    basis: Basis
    total: Decimal
    parts: Mapping[str, Decimal]
    unallocated: Mapping[str, Decimal]


@dataclass(frozen=True, slots=True)
class PeriodReport:
    """What is known of `window`. Workloads are known through `through` at most (epoch seconds), bills as delivered."""

    window: Window
    through: int
    workloads: tuple[PeriodWorkload, ...]
    bills: tuple[PeriodBill, ...]


def period_report(
    inputs: Inputs, views: Sequence[WorkloadView], start: int, end: int, through: int | None = None
) -> PeriodReport:
    """The period `[start, end)` (epoch seconds, whole slots; whole hours where the ledger keeps hours).

    `views` reach to `through`, the end of closed time (None: to `end`). Unlike a live window, which starts with a
    workload's first usage, the period goes back to the first second of its rent; what an alternative would have
    cost, the ratio, and the cost per token are of the time from the first usage on. Raises PeriodError.
    """
    _check(start, end, inputs.snapshot.fine_from)
    through = end if through is None else through
    return PeriodReport(
        window=Window(start, end),
        through=through,
        workloads=tuple(_workloads(inputs, views, start, min(end, through))),
        bills=tuple(_bills(inputs, Window(start, end))),
    )


def _check(start: int, end: int, fine_from: int) -> None:
    if start >= end:
        raise PeriodError(f"the period is empty: it starts at {_iso(start)} and ends at {_iso(end)}")
    for at in (start, end):
        step, where = (HOUR, f" before {_iso(fine_from)}") if at < fine_from else (SLOT, "")
        if at % step:
            near = at - at % step
            raise PeriodError(
                f"{_iso(at)} is inside a row of the ledger, which keeps {step // 60} minutes as one{where}: "
                f"try {_iso(near)} or {_iso(near + step)}"
            )


def _workloads(inputs: Inputs, views: Sequence[WorkloadView], start: int, end: int) -> list[PeriodWorkload]:
    found = []
    for view in views:
        whole = _with_all_rent(inputs, view, end)
        if start < end and whole.first is not None and whole.first < end:
            figures = whole.window(start, end)
            if whole is not view:  # tokens of the time before anybody counted are not known: nothing to compare there
                counted = view.window(start, end)
                figures = figures._replace(alternatives=counted.alternatives, usd_per_token=counted.usd_per_token)
            found.append(PeriodWorkload(view.name, view.path, figures))
    return sorted(found, key=lambda each: (each.workload, each.path))


def _with_all_rent(inputs: Inputs, view: WorkloadView, end: int) -> WorkloadView:
    """The view from its first second of known cost on, if that was before its first usage."""
    if not view.costs.known:
        return view
    rented = view.costs.known.spans[0][0]
    if view.first is not None and view.first <= rented:
        return view
    found = coverage.observed_by_all(view.sources, inputs.snapshot.streams, finders(inputs.config))
    observed = found if view.sources else Intervals()
    observed |= Intervals([(0, end if view.first is None or not view.sources else view.first)])  # rent without usage
    seconds = (observed & view.costs.known).clip(rented, end)
    return replace(view, first=rented, covered=coverage.covered_slots(seconds, inputs.snapshot.fine_from))


def _bills(inputs: Inputs, window: Window) -> list[PeriodBill]:
    sums = window_parts(bill_lines(inputs, window.end), window)
    return [
        PeriodBill(collector, currency, basis, found.totals[basis], found.parts[basis], found.unallocated[basis])
        for (collector, currency), found in sorted(sums.items())
        for basis in BASES
    ]


def _iso(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
