"""A past period as text of at most 100 columns. Pure."""

from collections.abc import Iterator, Mapping
from decimal import ROUND_FLOOR, Decimal

from exporter.publish import text
from exporter.publish.explain_case import PATHS, amounts, hours, per_million, plain
from exporter.publish.layout import prose, table
from exporter.reconcile.period import PeriodBill, PeriodReport, PeriodWorkload

_CENT = Decimal("0.01")


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
    known = [one.figures.cost_usd for one in report.workloads if one.figures.cost_usd is not None]
    costs = iter(amounts(known))
    rows = [("tokens", "USD", "USD/Mtok", "covered", "workload")]
    for one in report.workloads:
        figures, each = one.figures, one.figures.usd_per_token
        total = f"{sum(figures.tokens.values()):,}"
        cost = text.DASH if figures.cost_usd is None else next(costs)
        price = text.DASH if each is None else per_million(each)
        name = f"{one.workload}, {PATHS[one.path]}"
        rows.append((total, cost, price, text.percent(figures.coverage_ratio), name))
    return table(rows, "rrrrl")


def _workload(one: PeriodWorkload) -> Iterator[str]:
    figures, asked = one.figures, one.figures.asked
    yield from prose(f"{one.workload}, {PATHS[one.path]}", indent=0)
    covered = f"{hours(figures.covered_seconds)} of {hours(asked.seconds)} covered"
    yield from prose(
        f"{text.instant(asked.start)} to {text.instant(asked.end)}, {covered}, {figures.requests:,} requests"
    )
    types = [(f"{tokens:,}", token_type) for token_type, tokens in figures.tokens.items()]
    yield from table([("tokens", "token type"), *types], "rl") if types else ()
    if figures.cost_usd is not None:
        shown = amounts([*figures.cost_by.values(), figures.cost_usd])
        rows = [("USD", "component", "evidence")]
        rows += [(usd, component, evidence) for usd, (component, evidence) in zip(shown, figures.cost_by, strict=False)]
        yield from table([*rows, (shown[-1], "= cost", "")], "rll")
    if figures.superseded_usd:
        yield from prose(f"Beside it, {amounts([figures.superseded_usd])[0]} USD of rate cards that bills superseded.")
    if figures.unpriced_tokens:
        yield from prose(f"{figures.unpriced_tokens:,} tokens have no price and are left out of the cost.")
    for name, other in figures.alternatives.items():
        cost = "cost not known" if other.cost_usd is None else f"{amounts([other.cost_usd])[0]} USD"
        ratio = "" if other.ratio is None else f", break-even ratio {plain(round(other.ratio, 3))}"
        left = f", {other.unpriced_tokens:,} tokens without a price left out" if other.unpriced_tokens else ""
        yield from prose(f"At {name}: {cost}{ratio}{left}.")


def _bill(bill: PeriodBill) -> Iterator[str]:
    yield from prose(f"BILL {bill.collector}, {bill.basis} basis, {bill.currency}", indent=0)
    shown = to_cents(bill.parts)
    rows = [(f"{amount:,.2f}", part.replace("_", " ")) for part, amount in shown.items()]
    yield from table([*rows, (f"{sum(shown.values(), Decimal(0)):,.2f}", "= total")], "rl")
    if any(bill.unallocated.values()):
        reasons = to_cents(bill.unallocated)
        yield from prose("Unallocated: " + ", ".join(f"{amount:,.2f} {why}" for why, amount in reasons.items()) + ".")


def to_cents(parts: Mapping[str, Decimal]) -> dict[str, Decimal]:
    """The parts in whole cents that add up to their sum in cents: the largest remainders are rounded up."""
    floors = {name: amount.quantize(_CENT, ROUND_FLOOR) for name, amount in parts.items()}
    total = sum(parts.values(), Decimal(0)).quantize(_CENT)
    missing = int((total - sum(floors.values(), Decimal(0))) / _CENT)
    by_remainder = sorted(parts, key=lambda name: floors[name] - parts[name])
    return {name: low + (_CENT if name in by_remainder[:missing] else 0) for name, low in floors.items()}
