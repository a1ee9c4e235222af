"""PublishState -> samples per family. Pure. What is not known is absent; what may not be published twice raises."""

from collections.abc import Iterable, Sequence
from decimal import Decimal
from math import inf
from operator import is_

from exporter.publish.families import BY_NAME
from exporter.publish.rows import OTHER, FamilySamples, Rows, in_order, merged
from exporter.publish.sheets import Adding, Sheets
from exporter.publish.state import CounterValue, ExporterHealth, PublishState
from exporter.reconcile.report import (
    STATUSES,
    BillReport,
    CollectorHealth,
    Decision,
    Report,
    WindowFigures,
    WorkloadReport,
)


class Gatherer:
    """Gathers the samples of state after state: those of the workloads anew only when something changed."""

    def __init__(self) -> None:
        self._sheets = Sheets(_workload)
        self._of: tuple[Sequence[WorkloadReport], set[str]] | None = None
        self._gauges: list[FamilySamples] = []
        self._beyond: dict[str, int] = {}

    def __call__(self, state: PublishState, max_workloads: int) -> list[FamilySamples]:
        """The samples of `state` by family, in the table's order. At most `max_workloads` workloads keep their names;
        the further ones are folded into `other`. Raises SampleError for a sample that is malformed or there twice."""
        folded = beyond_budget(state, max_workloads)
        rows = Rows(folded)
        for counter in state.counters:
            rows.add(counter.family, counter.labels, counter.value, counter.created)
        if state.report is not None:
            self._gather(state.report.workloads, folded)
            _report(rows, state.report)
        for collector in state.collectors:
            _collector(rows, collector)
        _exporter(rows, state.exporter)
        gauges, beyond = (self._gauges, self._beyond) if state.report is not None else ([], {})
        for family, series in (rows.beyond_budget() | beyond).items():
            rows.add("llmcost_exporter_folded_series", (family,), series)
        return in_order([*rows.families(), *gauges])

    def _gather(self, workloads: Sequence[WorkloadReport], folded: set[str]) -> None:
        if self._of is not None and _same(self._of[0], workloads) and self._of[1] == folded:
            return
        rows, self._of = Rows(folded), None
        for report in workloads:
            if report.workload in folded:
                _workload(rows, report)
        _fixed(rows, workloads)
        named = self._sheets(report for report in workloads if report.workload not in folded)
        self._gauges = merged([*named, *rows.families()])
        self._beyond = {one.family.name: 0 for one in named} | rows.beyond_budget()
        self._of = workloads, folded


def samples(state: PublishState, max_workloads: int) -> list[FamilySamples]:
    """The samples of one state, see `Gatherer`."""
    return Gatherer()(state, max_workloads)


def _same(some: Sequence[WorkloadReport], others: Sequence[WorkloadReport]) -> bool:
    """Whether these are the very same reports: comparing what is in them would take as long as gathering it."""
    return len(some) == len(others) and all(map(is_, some, others))


def beyond_budget(state: PublishState, max_workloads: int) -> set[str]:
    """The workloads that lose their names: all but the first `max_workloads` in order of first sight, then name.

    First sight is the creation of a workload's first counter, which never changes: so a workload that has a name keeps
    it, and no counter falls because another workload came. Workloads without a counter come after those with one, in
    order of their first usage. A workload that is itself called `other` cannot be told apart once there is folding.
    """
    created = _created(state.counters)
    seen: dict[str, float] = dict.fromkeys(created, inf)
    for workload in state.report.workloads if state.report else ():
        first = inf if workload.first_seen is None else workload.first_seen
        seen[workload.workload] = min(first, seen.get(workload.workload, inf))
    order = sorted(seen, key=lambda name: (created.get(name, inf), seen[name], name))
    folded = set(order[max_workloads:])
    return folded | {OTHER} if folded else folded


def _created(counters: Iterable[CounterValue]) -> dict[str, float]:
    created: dict[str, float] = {}
    for counter in counters:
        family = BY_NAME.get(counter.family)
        if family is not None and family.labels[:1] == ("workload",) and counter.labels:
            name = counter.labels[0]
            created[name] = min(counter.created, created.get(name, inf))
    return created


def _report(rows: Rows, report: Report) -> None:
    """All of the report but the workloads."""
    for bill in report.bills:
        _bill(rows, bill)
    for price in report.prices:
        labels = (
            price.provider,
            price.model,
            price.token_type,
            price.service_tier,
            str(price.context_band),
            price.region,
            price.origin,
        )
        rows.add("llmcost_price_usd_per_token", labels, price.usd_per_token)
    for budget, usd in report.budgets_usd_per_month.items():
        rows.add("llmcost_budget_usd_per_month", (budget,), usd)
    for budget, usd in report.budgets_usd.items():
        rows.add("llmcost_budget_cost_usd", (budget,), usd)
    for collector, ratio in report.calibration_ratio.items():
        rows.add("llmcost_calibration_ratio", (collector,), ratio)
    for held, gpus in report.gpus.items():
        rows.add("llmcost_gpus", held, gpus)
    for collector, gap in report.meter_gap_ratio.items():
        rows.add("llmcost_meter_gap_ratio", (collector,), gap)
    for collector, usd in report.superseded_usd.items():
        rows.add("llmcost_superseded_cost_usd", (collector,), usd)
    for currency, usd in report.fx_usd_per_unit.items():
        rows.add("llmcost_fx_usd_per_unit", (currency,), usd)


def _workload(rows: Adding, report: WorkloadReport) -> None:
    key = report.workload, report.path
    for window, figures in report.windows.items():
        _window(rows, key, window, figures)
    rows.add("llmcost_switching_cost_usd", key, report.switching_cost_usd)
    for evidence, share in report.evidence_ratio.items():
        rows.add("llmcost_evidence_ratio", (*key, evidence), share)
    for (token_type, method), usd in report.token_type_usd_per_token.items():
        rows.add("llmcost_token_type_usd_per_token", (*key, token_type, method), usd)
    for decision in report.decisions:
        _decision(rows, key, decision)
    if report.path == "self_hosted":
        labels = (report.workload,)
        rows.add("llmcost_utilization_ratio", labels, report.utilization_ratio)
        rows.add("llmcost_unused_capacity_cost_usd", labels, report.unused_capacity_usd)
        rows.add("llmcost_capacity_tokens_per_second", labels, report.capacity_tokens_per_second)
        rows.add("llmcost_capacity_samples", labels, report.capacity_samples)


def _window(rows: Adding, key: tuple[str, str], window: str, figures: WindowFigures) -> None:
    rows.add("llmcost_effective_usd_per_token", (*key, window), figures.usd_per_token)
    rows.add("llmcost_window_coverage_ratio", (*key, window), figures.coverage_ratio)
    for component, usd in figures.cost_by_component().items() if figures.cost_usd is not None else ():
        rows.add("llmcost_effective_cost_usd", (*key, component, window), usd)
    for token_type, tokens in figures.tokens.items():
        rows.add("llmcost_window_tokens", (*key, token_type, window), tokens)
    for name, alternative in figures.alternatives.items():
        rows.add("llmcost_alternative_cost_usd", (*key, name, window), alternative.cost_usd)
        rows.add("llmcost_break_even_ratio", (*key, name, window), alternative.ratio)


def _decision(rows: Adding, key: tuple[str, str], decision: Decision) -> None:
    labels = *key, decision.alternative
    rows.add("llmcost_break_even_tokens_per_second", labels, decision.break_even_tokens_per_second)
    rows.add("llmcost_break_even_utilization_ratio", labels, decision.break_even_utilization_ratio)
    rows.add("llmcost_saving_usd_per_month", labels, decision.saving_usd_per_month)
    rows.add("llmcost_missed_saving_usd", labels, decision.missed_saving_usd)
    if decision.status is None:
        return
    for name in STATUSES:
        rows.add("llmcost_break_even_status", (*labels, name), int(name == decision.status.name))
    rows.add("llmcost_break_even_status_since_timestamp_seconds", labels, decision.status.since)


def _fixed(rows: Rows, reports: Iterable[WorkloadReport]) -> None:
    """A fixed cost may stand on both paths, and is counted once."""
    fixed: dict[str, Decimal] = {}
    for report in reports:
        if report.fixed_usd_per_month is not None:
            fixed[report.workload] = max(report.fixed_usd_per_month, fixed.get(report.workload, Decimal(0)))
    for workload, usd in fixed.items():
        rows.add("llmcost_fixed_usd_per_month", (workload,), usd)


def _bill(rows: Rows, bill: BillReport) -> None:
    rows.add("llmcost_billed_usd", (bill.collector, bill.window), bill.billed_usd)
    for basis, parts in bill.parts.items():
        for part, usd in parts.items():
            rows.add("llmcost_bill_part_usd", (bill.collector, basis, part, bill.window), usd)
    for state, usd in bill.states.items():
        rows.add("llmcost_bill_state_usd", (bill.collector, state, bill.window), usd)
    for part, usd in bill.waterfall.items():
        rows.add("llmcost_waterfall_usd", (bill.collector, part, bill.window), usd)
    rows.add("llmcost_bill_drift_ratio", (bill.collector, bill.window), bill.drift_ratio)


def _collector(rows: Rows, health: CollectorHealth) -> None:
    """Health is there from the start: what has not happened yet is at 0, so that alerts on it can fire."""
    labels = (health.name,)
    rows.add("llmcost_exporter_collector_success", labels, int(health.success))
    rows.add("llmcost_exporter_collector_duration_seconds", labels, health.duration_seconds)
    rows.add("llmcost_exporter_collector_interval_seconds", labels, health.interval)
    rows.add("llmcost_exporter_collector_last_success_timestamp_seconds", labels, health.last_success or 0)
    rows.add("llmcost_exporter_collector_complete_through_timestamp_seconds", labels, health.complete_through or 0)
    for state, parts in health.parts.items():
        rows.add("llmcost_exporter_collector_parts", (health.name, state), parts)


def _exporter(rows: Rows, health: ExporterHealth) -> None:
    rows.add("llmcost_exporter_build_info", (health.version, health.python_version, health.role), 1)
    rows.add("llmcost_exporter_leader", (), int(health.leader))
    rows.add("llmcost_exporter_page_timestamp_seconds", (), health.page_at)
    rows.add("llmcost_exporter_ledger_writable", (), int(health.ledger_writable))
    rows.add("llmcost_exporter_ledger_size_bytes", (), health.ledger_size_bytes)
    rows.add("llmcost_exporter_ledger_quarantines_total", (), health.ledger_quarantines)
    rows.add("llmcost_exporter_config_last_reload_successful", (), int(health.config_reload_successful))
    rows.add("llmcost_price_book_timestamp_seconds", (), health.price_book_at)
