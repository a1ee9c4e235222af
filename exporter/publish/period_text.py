"""A past period as text of at most 100 columns. Pure."""

from collections.abc import Iterator, Mapping
from decimal import Decimal

from exporter.publish import text
from exporter.publish.explain_case import PATHS, adding_up, amount, amounts, per_million, plain
from exporter.publish.layout import prose, table
from exporter.reconcile.period import PeriodBill, PeriodReport, PeriodWorkload


def as_text(report: PeriodReport) -> str:
    """First every workload on a line, then each in detail, then the bills."""
    lines = [f"{text.instant(report.window.start)} to {text.instant(report.window.end)}"]
    if report.through < report.window.end:
        lines += prose(f"Workloads are known through {text.instant(report.through)} so far.", indent=0)
    lines += ["", "WORKLOADS", *_overview(report)]
    for one in report.workloads:
        lines += ["", *_workload(one)]
    for bill in report.bills:
        lines += ["", *_bill(bill)]
    return "\n".join(lines) + "\n"


def _overview(report: PeriodReport) -> list[str]:
    if not report.workloads:
        return prose("None was known in this period.")
    rows = [("tokens", "USD", "USD/Mtok", "covered", "workload")]
    for one in report.workloads:
        figures, each = one.figures, one.figures.usd_per_token
        total = f"{sum(figures.tokens.values()):,}"
        cost = text.DASH if figures.cost_usd is None else amount(figures.cost_usd)
        price = text.DASH if each is None else per_million(each)
        name = f"{one.workload}, {PATHS[one.path]}"
        rows.append((total, cost, price, text.percent(figures.coverage_ratio), name))
    return table(rows, "rrrrl")


def _workload(one: PeriodWorkload) -> Iterator[str]:
    figures, asked = one.figures, one.figures.asked
    yield from prose(f"{one.workload}, {PATHS[one.path]}", indent=0)
    covered = f"{text.span(figures.covered_seconds)} of {text.span(asked.seconds)} covered"
    yield from prose(
        f"{text.instant(asked.start)} to {text.instant(asked.end)}, {covered}, {figures.requests:,} requests"
    )
    types = [(f"{tokens:,}", token_type) for token_type, tokens in figures.tokens.items()]
    yield from table([("tokens", "token type"), *types], "rl") if types else ()
    if figures.cost_usd is not None:
        parts = {what: usd for what, usd in figures.cost_by.items() if usd}
        shown = amounts(list(parts.values()))
        rows = [("USD", "component", "evidence")]
        rows += [(usd, component, evidence) for usd, (component, evidence) in zip(shown, parts, strict=False)]
        yield from table([*rows, (shown[-1], "= cost", "")], "rll")
    if figures.superseded_usd:
        yield from prose(f"Beside it, {amount(figures.superseded_usd)} USD of rate cards that bills superseded.")
    if figures.unpriced_tokens:
        yield from prose(f"{figures.unpriced_tokens:,} tokens have no price and are left out of the cost.")
    for name, other in figures.alternatives.items():
        cost = "cost not known" if other.cost_usd is None else f"{amount(other.cost_usd)} USD"
        ratio = "" if other.ratio is None else f", break-even ratio {plain(round(other.ratio, 3))}"
        left = f", {other.unpriced_tokens:,} tokens without a price left out" if other.unpriced_tokens else ""
        yield from prose(f"At {name}: {cost}{ratio}{left}.")


def _bill(bill: PeriodBill) -> Iterator[str]:
    yield from prose(f"BILL {bill.collector}, {bill.basis} basis, {bill.currency}", indent=0)
    shown = _cents(bill.parts)
    rows = [(f"{cents:,.2f}", part.replace("_", " ")) for part, cents in shown.items()]
    yield from table([*rows, (f"{sum(shown.values(), Decimal(0)):,.2f}", "= total")], "rl")
    if any(bill.unallocated.values()):
        reasons = _cents(bill.unallocated)
        yield from prose("Unallocated: " + ", ".join(f"{cents:,.2f} {why}" for why, cents in reasons.items()) + ".")


def _cents(parts: Mapping[str, Decimal]) -> dict[str, Decimal]:
    return dict(zip(parts, adding_up(list(parts.values())), strict=True))
