"""Bills, GPUs and budgets as the status page shows them. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal

from exporter.publish import text
from exporter.publish.views import BillsView, BillView
from exporter.reconcile.report import BillReport, Report

WATERFALL = "from list price to the bill"

WINDOWS = ("mtd", "30d", "7d", "24h", "1h")
"""Those that are shown first, first."""


def bills_views(bills: Iterable[BillReport]) -> tuple[BillsView, ...]:
    """All bills by window, the month first."""
    by_window: dict[str, list[BillReport]] = {}
    for bill in bills:
        by_window.setdefault(bill.window, []).append(bill)
    rank = {window: i for i, window in enumerate(WINDOWS)}
    return tuple(
        BillsView(
            window=window,
            totals=", ".join(f"{bill.collector} {_total(bill)}" for bill in by_window[window]),
            bills=tuple(view for bill in by_window[window] for view in bill_views(bill)),
        )
        for window in sorted(by_window, key=lambda window: (rank.get(window, len(rank)), window))
    )


def _total(bill: BillReport) -> str:
    total = text.DASH if bill.billed_usd is None else text.usd_cents(bill.billed_usd)
    return f"{total} (no rate in fx: {', '.join(bill.no_exchange_rate)})" if bill.no_exchange_rate else total


def bill_views(bill: BillReport) -> Iterator[BillView]:
    """A bill's parts by basis, and the steps from the metered tokens to it, where it bills tokens."""
    for basis, parts in bill.parts.items():
        note = _note(bill) if basis == "effective" else ""
        yield _view(bill, f"{basis} basis", parts, ordered=False, note=note)
    if bill.waterfall:
        steps = {step: usd for step, usd in bill.waterfall.items() if round(usd, 2)}
        yield _view(bill, WATERFALL, steps, ordered=True)


def _view(bill: BillReport, basis: str, parts: Mapping[str, Decimal], ordered: bool, note: str = "") -> BillView:
    rows = list(parts.items()) if ordered else sorted(parts.items(), key=lambda part: (-part[1], part[0]))
    shown = tuple((part.replace("_", " "), text.usd_cents(usd)) for part, usd in rows)
    return BillView(bill.collector, bill.window, basis, text.usd_cents(sum(parts.values(), Decimal(0))), shown, note)


def _note(bill: BillReport) -> str:
    """How sure the bill is, and how far it was from the estimates it replaced."""
    total = sum(bill.states.values(), Decimal(0))
    says = [f"{text.percent(usd / total)} {state}" for state, usd in bill.states.items() if total > 0 and usd > 0]
    if bill.drift_ratio is not None:
        way = "above" if bill.drift_ratio > 0 else "below"
        by = round(abs(bill.drift_ratio), 3)
        says.append(f"{text.percent(by)} {way} the estimates it replaced" if by else "as estimated before")
    return ", ".join(says)


def fleet_view(report: Report | None) -> tuple[tuple[str, str], ...]:
    """GPUs by product and budgets by name."""
    if report is None:
        return ()
    products: dict[tuple[str, str], dict[str, Decimal]] = {}
    for (collector, gpu, state), count in report.gpus.items():
        products.setdefault((collector, gpu), {})[state] = count
    rows = [
        (
            f"{gpu or 'GPUs'} ({collector})",
            f"{_plain(held.get('allocated'))} allocated, {_plain(held.get('idle'))} idle",
        )
        for (collector, gpu), held in sorted(products.items())
    ]
    for name, limit in sorted(report.budgets_usd_per_month.items()):
        spent = report.budgets_usd.get(name)
        so_far = "not known" if spent is None else text.usd(spent)
        rows.append((f"Budget {name}", f"{so_far} of {text.usd(limit)} this month"))
    return tuple(rows)


def _plain(count: Decimal | None) -> str:
    return text.DASH if count is None else f"{count.normalize():f}" if count else "0"
