"""`report`: a past period as text, JSON or CSV. Pure.

JSON and CSV are exact: every amount, price and ratio has all its digits (in JSON as a string, so that no reader makes a
float of it), tokens, requests and seconds are whole numbers, instants ISO 8601. What is not known has no key and
no row. The text is rounded for people, bills to the cent, such that the parts shown still add up to the total shown.
"""

import csv
import io
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Literal

from exporter.publish.period_text import as_text
from exporter.reconcile.period import PeriodBill, PeriodError, PeriodReport, PeriodWorkload, period_report

__all__ = ["COLUMNS", "PeriodError", "as_csv", "as_json", "as_text", "period_report", "render"]

Output = Literal["text", "json", "csv"]

COLUMNS = ("from", "to", "record", "name", "scope", "measure", "item", "evidence", "unit", "value")
"""Of the CSV. `record` is `workload` (`scope`: its path) or `bill` (`name`: the collector, `scope`: the basis)."""

Measure = tuple[str, str, str, str, Decimal | int]  # measure, item, evidence, unit, value


def render(report: PeriodReport, output: Output) -> str:
    return {"text": as_text, "json": as_json, "csv": as_csv}[output](report)


def as_json(report: PeriodReport) -> str:
    """One object: `from`, `to`, `closed_through`, `workloads`, `bills`."""
    body = {
        "from": _iso(report.window.start),
        "to": _iso(report.window.end),
        "closed_through": _iso(report.through),
        "workloads": [_workload(one) for one in report.workloads],
        "bills": [_bill(one) for one in report.bills],
    }
    return json.dumps(body, ensure_ascii=False, indent=2) + "\n"


def _workload(one: PeriodWorkload) -> dict[str, Any]:
    figures, per_token = one.figures, one.figures.usd_per_token
    known = {
        "workload": one.workload,
        "path": one.path,
        "from": _iso(figures.asked.start),
        "to": _iso(figures.asked.end),
        "covered_seconds": figures.covered_seconds,
        "coverage_ratio": figures.coverage_ratio,
        "tokens": dict(figures.tokens),
        "requests": figures.requests,
        "unpriced_tokens": figures.unpriced_tokens,
        "cost_usd": figures.cost_usd,
        "cost_by": [{"component": c, "evidence": e, "usd": _exact(usd)} for (c, e), usd in figures.cost_by.items()],
        "superseded_usd": figures.superseded_usd,
        "usd_per_mtok": None if per_token is None else per_token * 1_000_000,
        "alternatives": {
            name: _known({"cost_usd": a.cost_usd, "ratio": a.ratio, "unpriced_tokens": a.unpriced_tokens})
            for name, a in figures.alternatives.items()
        },
    }
    return _known(known)


def _bill(one: PeriodBill) -> dict[str, Any]:
    known = {
        "collector": one.collector,
        "currency": one.currency,
        "basis": one.basis,
        "total": one.total,
        "parts": {part: _exact(amount) for part, amount in one.parts.items()},
        "unallocated": {reason: _exact(amount) for reason, amount in one.unallocated.items()} or None,
    }
    return _known(known)


def _known(values: dict[str, Any]) -> dict[str, Any]:
    return {key: _exact(value) for key, value in values.items() if value is not None}


def _exact(value: Any) -> Any:
    """A decimal as a string with all its digits, never with an exponent."""
    return f"{value:f}" if isinstance(value, Decimal) else value


def as_csv(report: PeriodReport) -> str:
    """One figure per row (`COLUMNS`), so that it can be filtered and pivoted."""
    out = io.StringIO()
    rows = csv.writer(out, lineterminator="\n")
    rows.writerow(COLUMNS)
    span = (_iso(report.window.start), _iso(report.window.end))
    for one in report.workloads:
        for *what, value in _measures(one):
            rows.writerow((*span, "workload", one.workload, one.path, *what, _exact(value)))
    for bill in report.bills:
        about = (*span, "bill", bill.collector, bill.basis)
        for part, amount in bill.parts.items():
            rows.writerow((*about, "part", part, "", bill.currency, _exact(amount)))
        rows.writerow((*about, "total", "", "", bill.currency, _exact(bill.total)))
    return out.getvalue()


def _measures(one: PeriodWorkload) -> Iterator[Measure]:
    figures = one.figures
    for token_type, tokens in figures.tokens.items():
        yield "tokens", token_type, "", "tokens", tokens
    yield "requests", "", "", "requests", figures.requests
    yield "unpriced_tokens", "", "", "tokens", figures.unpriced_tokens
    for (component, evidence), usd in figures.cost_by.items():
        yield "cost", component, evidence, "USD", usd
    yield "superseded_cost", "", "", "USD", figures.superseded_usd
    if figures.usd_per_token is not None:
        yield "effective_cost_per_mtok", "", "", "USD", figures.usd_per_token * 1_000_000
    for name, other in figures.alternatives.items():
        if other.cost_usd is not None:
            yield "alternative_cost", name, "", "USD", other.cost_usd
        if other.ratio is not None:
            yield "break_even_ratio", name, "", "ratio", other.ratio
        yield "unpriced_alternative_tokens", name, "", "tokens", other.unpriced_tokens
    yield "coverage", "", "", "ratio", figures.coverage_ratio
    yield "covered_time", "", "", "seconds", figures.covered_seconds


def _iso(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
