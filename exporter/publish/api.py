"""The report as JSON (`/api/v1/workloads`). Pure.

Every decimal (money, prices, ratios) is a JSON string, exact to the last digit; counts and instants (epoch seconds)
are JSON numbers. What is not known has no key.
"""

import json
from decimal import Decimal
from typing import Any

from exporter.publish.state import PublishState
from exporter.reconcile.report import (
    AlternativeFigures,
    BillReport,
    CollectorHealth,
    Decision,
    Status,
    WindowFigures,
    WorkloadReport,
)


def workloads_json(state: PublishState) -> bytes:
    """All workloads and bills of the report, none folded, and the collectors; before the first reconciliation only the
    latter."""
    report = state.report
    body: dict[str, Any] = {"version": state.exporter.version, "page_at": int(state.exporter.page_at)}
    body["collectors"] = [_collector(collector) for collector in state.collectors]
    if report is not None:
        body["at"] = report.at
        body["closed_through"] = report.closed_through
        body["workloads"] = [_workload(workload) for workload in report.workloads]
        body["bills"] = [_bill(bill) for bill in report.bills]
        body["gpus"] = [
            {"collector": collector, "gpu": gpu, "state": state, "gpus": _plain(count)}
            for (collector, gpu, state), count in report.gpus.items()
        ]
        body["budgets"] = [
            _known(budget=name, usd_per_month=limit, usd=report.budgets_usd.get(name))
            for name, limit in report.budgets_usd_per_month.items()
        ]
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def _known(**values: Any) -> dict[str, Any]:
    return {key: _plain(value) for key, value in values.items() if value is not None}


def _plain(value: Any) -> Any:
    """An amount as text, exactly, one text for one value: without an exponent and without zeros at the end."""
    if not isinstance(value, Decimal):
        return value
    digits = format(value, "f") if value else "0"
    return digits.rstrip("0").rstrip(".") if "." in digits else digits


def _workload(report: WorkloadReport) -> dict[str, Any]:
    return _known(
        workload=report.workload,
        path=report.path,
        first_seen=report.first_seen,
        windows={name: _window(figures) for name, figures in report.windows.items()},
        decision_window=None if report.decision_window is None else _window(report.decision_window),
        decisions=[_decision(decision) for decision in report.decisions],
        evidence_ratio={evidence: _plain(share) for evidence, share in report.evidence_ratio.items()},
        token_type_usd_per_token=[
            _known(token_type=token_type, method=method, usd_per_token=usd)
            for (token_type, method), usd in report.token_type_usd_per_token.items()
        ],
        capacity_tokens_per_second=report.capacity_tokens_per_second,
        capacity_samples=report.capacity_samples,
        utilization_ratio=report.utilization_ratio,
        unused_capacity_usd=report.unused_capacity_usd,
        fixed_usd_per_month=report.fixed_usd_per_month,
    )


def _window(figures: WindowFigures) -> dict[str, Any]:
    return _known(
        start=figures.asked.start,
        end=figures.asked.end,
        covered_seconds=figures.covered_seconds,
        coverage_ratio=figures.coverage_ratio,
        tokens=dict(figures.tokens),
        requests=figures.requests,
        unpriced_tokens=figures.unpriced_tokens,
        cost_usd=figures.cost_usd,
        cost_by=[
            _known(component=component, evidence=evidence, usd=usd)
            for (component, evidence), usd in figures.cost_by.items()
        ],
        superseded_usd=figures.superseded_usd,
        usd_per_token=figures.usd_per_token,
        alternatives={name: _alternative(figure) for name, figure in figures.alternatives.items()},
    )


def _alternative(figures: AlternativeFigures) -> dict[str, Any]:
    return _known(cost_usd=figures.cost_usd, ratio=figures.ratio, unpriced_tokens=figures.unpriced_tokens)


def _decision(decision: Decision) -> dict[str, Any]:
    return _known(
        alternative=decision.alternative,
        primary=decision.primary,
        status=None if decision.status is None else _status(decision.status),
        break_even_tokens_per_second=decision.break_even_tokens_per_second,
        break_even_utilization_ratio=decision.break_even_utilization_ratio,
        saving_usd_per_month=decision.saving_usd_per_month,
        missed_saving_usd=decision.missed_saving_usd,
    )


def _status(status: Status) -> dict[str, Any]:
    return _known(name=status.name, since=status.since, reason=status.reason or None)


def _collector(health: CollectorHealth) -> dict[str, Any]:
    return _known(
        name=health.name,
        kind=health.kind,
        success=health.success,
        last_success=_whole(health.last_success),
        complete_through=health.complete_through,
        parts=dict(health.parts),
        rejected=dict(health.rejected),
        last_error=health.last_error or None,
        last_error_at=_whole(health.last_error_at),
    )


def _whole(at: float | None) -> int | None:
    return None if at is None else int(at)


def _bill(bill: BillReport) -> dict[str, Any]:
    return _known(
        collector=bill.collector,
        window=bill.window,
        billed_usd=bill.billed_usd,
        parts={basis: {part: _plain(usd) for part, usd in parts.items()} for basis, parts in bill.parts.items()},
        states={state: _plain(usd) for state, usd in bill.states.items()},
        drift_ratio=bill.drift_ratio,
        waterfall={part: _plain(usd) for part, usd in bill.waterfall.items()},
        no_exchange_rate=list(bill.no_exchange_rate) or None,
    )
