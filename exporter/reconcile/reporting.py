"""The report of one moment: every published figure of every workload, from its view and its status. Pure."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from functools import partial

from collectors.records import DAY, HOUR, Path
from exporter.breakeven import formulas
from exporter.breakeven.status import State, missed_saving, status
from exporter.config import Workload
from exporter.ledger.snapshot import UsageSeries
from exporter.prices.book import PriceKey
from exporter.reconcile.alternatives import ApiAlternative
from exporter.reconcile.bill_reporting import bills
from exporter.reconcile.budgets import budget_costs
from exporter.reconcile.build import Inputs, billing_of, capacity, window_starts
from exporter.reconcile.cluster import gpus_now
from exporter.reconcile.coverage import observed_by_all
from exporter.reconcile.matching import accounts_of, check_collectors, workload_of
from exporter.reconcile.report import (
    EVIDENCE,
    Decision,
    Evidence,
    PriceInUse,
    Report,
    Status,
    WindowFigures,
    WorkloadReport,
)
from exporter.reconcile.tokens import key_of, sum_tokens
from exporter.reconcile.workload import WorkloadView

StateKey = tuple[str, Path, str]
"""(workload, path, alternative)."""

Checked = dict[tuple[str, Path], list[UsageSeries]]
"""The usage of a checking collector by workload and path."""


def report(
    inputs: Inputs, views: Sequence[WorkloadView], states: Mapping[StateKey, State], now: int, end: int
) -> Report:
    """Everything that is shown at `now`, over windows that end at `end` (the end of the last closed slot)."""
    laid_out = billing_of(inputs, end)
    return Report(
        at=now,
        closed_through=end,
        workloads=_workloads(inputs, views, states, end),
        bills=bills(inputs, views, _published(inputs, end), end),
        prices=tuple(_prices(views, end)),
        fx_usd_per_unit={code: rate for code, rate in inputs.fx.items() if code != "USD"},
        budgets_usd_per_month={budget.name: Decimal(budget.usd_per_month) for budget in inputs.config.budgets},
        budgets_usd=budget_costs(inputs.config, views, window_starts(end)["mtd"], end),
        calibration_ratio=dict(laid_out.calibration.by_collector),
        gpus=gpus_now(use for use in laid_out.uses.values() if inputs.snapshot.seen_through(use.key[0]) > now - HOUR),
        meter_gap_ratio=_meter_gaps(inputs, views, end),
        superseded_usd=_superseded(views, window_starts(end)["30d"], end),
    )


def _published(inputs: Inputs, end: int) -> dict[str, int]:
    """The start of each window that this role publishes."""
    return {name: start for name, start in window_starts(end).items() if name in inputs.config.publish.windows}


def _meter_gaps(inputs: Inputs, views: Sequence[WorkloadView], end: int) -> dict[str, Decimal]:
    """By checking collector: (its tokens - the meters') / the meters', over what both covered in the last 24 h.

    Above 0 the meter misses traffic, below 0 the check does. Absent where the meters have no tokens.
    """
    checked: dict[str, Checked] = {}
    configured = check_collectors(inputs.config)
    for one in inputs.snapshot.series:
        if one.key.collector in configured:
            key = (workload_of(one.key, inputs.config.workloads), one.key.path)
            checked.setdefault(one.key.collector, {}).setdefault(key, []).append(one)
    accounts = accounts_of(inputs.config)
    gaps: dict[str, Decimal] = {}
    for collector, groups in checked.items():
        count = _account_tokens if collector in accounts else _workload_tokens
        metered, check = count(inputs, views, groups, end)
        if metered:
            gaps[collector] = Decimal(check - metered) / metered
    return gaps


def _workload_tokens(inputs: Inputs, views: Sequence[WorkloadView], groups: Checked, end: int) -> tuple[int, int]:
    """Tokens of the meters and of a check of them, over what both covered of each workload in the last 24 h."""
    metered = check = 0
    for view in views:
        series = groups.get((view.name, view.path), [])
        both = view.covered.clip(end - DAY, end)
        both &= observed_by_all({one.key.source for one in series}, inputs.snapshot.streams)
        if series and both:
            metered += sum_tokens(view.series, both).total
            check += sum_tokens(series, both).total
    return metered, check


def _account_tokens(inputs: Inputs, views: Sequence[WorkloadView], groups: Checked, end: int) -> tuple[int, int]:
    """Tokens of the meters and of a provider's own account, over what all covered in the last 24 h: of the provider as
    a whole, as its account does not know whose the traffic is."""
    account = [one for found in groups.values() for one in found]
    providers = {one.key.provider.casefold() for one in account}
    metered = [
        one for view in views if view.path == "api" for one in view.series if one.key.provider.casefold() in providers
    ]
    sources = {one.key.source for one in (*metered, *account)}
    both = observed_by_all(sources, inputs.snapshot.streams).clip(end - DAY, end)
    return sum_tokens(metered, both).total, sum_tokens(account, both).total


def _superseded(views: Sequence[WorkloadView], start: int, end: int) -> dict[str, Decimal]:
    """Rent that bills replaced over the covered part of `[start, end)`, by rate card collector, all workloads."""
    sums: dict[str, Decimal] = {}
    for view in views:
        if not view.costs.superseded:
            continue
        for collector, usd in view.costs.superseded_by(view.covered.clip(start, end)).items():
            sums[collector] = sums.get(collector, Decimal(0)) + usd
    return sums


def _workloads(
    inputs: Inputs, views: Sequence[WorkloadView], states: Mapping[StateKey, State], end: int
) -> tuple[WorkloadReport, ...]:
    """The workloads; the same report as before of one that nothing has changed for since."""
    found, published = [], _published(inputs, end)
    for kind in ("windows", "report"):
        inputs.memo.keep(kind, {(view.name, view.path) for view in views})
    for view in views:
        shown = tuple(states.get((view.name, view.path, one.label)) for one in view.alternatives)
        kept = capacity(inputs, view, end)
        starts = {*published.values(), end - inputs.decision(view.name).ratio_window}
        windows = inputs.memo.equal(
            ("windows", (view.name, view.path)), (view.basis(end), starts), partial(view.windows, starts, end)
        )
        phases = _phases(inputs, view, end)
        args = (windows, view.first, view.alternatives, shown, kept, phases, inputs.config, published)
        make = partial(_workload, inputs, view, states, published, windows, end, kept)
        found.append(inputs.memo.equal(("report", (view.name, view.path)), args, make))
    return tuple(found)


def _workload(
    inputs: Inputs,
    view: WorkloadView,
    states: Mapping[StateKey, State],
    starts: Mapping[str, int],
    windows: Mapping[int, WindowFigures],
    end: int,
    known_capacity: tuple[Decimal | None, int | None],
) -> WorkloadReport:
    settings = inputs.decision(view.name)
    start = end - settings.ratio_window
    figures = windows[start]
    total, samples = known_capacity
    used = formulas.utilization(sum(figures.tokens.values()), figures.covered_seconds, total)
    workload = inputs.workload(view.name)
    fixed = sum((workload.fixed_usd_per_month.values() if workload else ()), Decimal(0))
    return WorkloadReport(
        workload=view.name,
        path=view.path,
        first_seen=view.first,
        windows={name: windows[since] for name, since in starts.items()},
        decision_window=figures,
        decisions=_decisions(view, workload, figures, total, states) if inputs.config.publish.decisions else (),
        evidence_ratio=_evidence(figures),
        token_type_usd_per_token=_token_types(inputs, view, figures, end),
        capacity_tokens_per_second=total,
        capacity_samples=samples,
        utilization_ratio=used,
        unused_capacity_usd=formulas.unused_capacity_usd(figures.cost_of("gpu"), used),
        fixed_usd_per_month=fixed if view.path == "self_hosted" and fixed else None,
        switching_cost_usd=Decimal(settings.switching_cost_usd) or None,
    )


def _decisions(
    view: WorkloadView,
    workload: Workload | None,
    figures: WindowFigures,
    total: Decimal | None,
    states: Mapping[StateKey, State],
) -> tuple[Decision, ...]:
    if not view.alternatives:
        label, reason = _without_alternative(view, workload)
        return (Decision(label, primary=True, status=Status("unknown", None, reason)),)
    found = []
    for index, alternative in enumerate(view.alternatives):
        state = states.get((view.name, view.path, alternative.label))
        found.append(_decision(view, figures, alternative, total, state or State(), primary=index == 0))
    return tuple(found)


def _without_alternative(view: WorkloadView, workload: Workload | None) -> tuple[str, str]:
    """The label and reason of a workload that nothing can be compared with: no usage, no alternative, or, on the API
    path, one that only a self-hosting plan could price (plans have no figures yet)."""
    label = workload.alternatives[0].label if workload and workload.alternatives else ""
    if not view.series:
        return label, "no_usage"
    return label, "no_plan" if view.path == "api" else "no_alternative"


def _decision(
    view: WorkloadView,
    figures: WindowFigures,
    alternative: ApiAlternative,
    total: Decimal | None,
    state: State,
    primary: bool,
) -> Decision:
    other = figures.alternatives[alternative.label]
    priced = sum(figures.tokens.values()) - other.unpriced_tokens
    comparable = other.ratio is not None
    rate = formulas.break_even_tokens_per_second(figures.cost_usd, other.cost_usd, priced, figures.covered_seconds)
    shown = status(state) if view.series else Status("unknown", None, "no_usage")
    return Decision(
        alternative=alternative.label,
        primary=primary,
        status=shown if primary else None,
        break_even_tokens_per_second=rate if comparable else None,
        break_even_utilization_ratio=formulas.break_even_utilization(rate, total) if comparable else None,
        saving_usd_per_month=formulas.saving_usd_per_month(figures.cost_usd, other.cost_usd, figures.covered_seconds)
        if primary and comparable
        else None,
        missed_saving_usd=missed_saving(state) if primary else None,
    )


def _evidence(figures: WindowFigures) -> dict[Evidence, Decimal]:
    """The share of dollars by evidence; empty where there is no cost."""
    if not figures.cost_usd:
        return {}
    sums = {evidence: Decimal(0) for evidence in EVIDENCE}
    for (_, evidence), usd in figures.cost_by.items():
        sums[evidence] += usd
    return {evidence: usd / figures.cost_usd for evidence, usd in sums.items()}


def _token_types(
    inputs: Inputs, view: WorkloadView, figures: WindowFigures, end: int
) -> dict[tuple[str, str], Decimal]:
    """USD per token of each type: the cost split by the primary alternative's weights, or by phase seconds."""
    if figures.cost_usd is None or not view.series:
        return {}
    if view.path == "api":
        own = formulas.usd_per_token_by_type(figures.cost_by_type, figures.tokens)
        return {(token_type, "price"): usd for token_type, usd in own.items()}
    workload = inputs.workload(view.name)
    method = workload.split if workload else "price_weights"
    parts = None
    if method == "phase_seconds":
        prefill, decode = _phases(inputs, view, end) or (0.0, 0.0)
        parts = formulas.split_by_phases(figures.cost_usd, figures.tokens, prefill, decode)
    elif view.alternatives:
        primary = figures.alternatives[view.alternatives[0].label]
        if not primary.unpriced_tokens:
            parts = formulas.split_by_weights(figures.cost_usd, primary.cost_by_type)
    if parts is None:
        return {}
    return {(t, method): usd for t, usd in formulas.usd_per_token_by_type(parts, figures.tokens).items()}


def _phases(inputs: Inputs, view: WorkloadView, end: int) -> tuple[float, float] | None:
    """Prefill and decode seconds (request residency) of the workload's engines over the decision window that ends at
    `end`; None where its cost is not split by them."""
    workload = inputs.workload(view.name)
    if workload is None or workload.split != "phase_seconds":
        return None
    start = end - inputs.decision(view.name).ratio_window
    models = {one.key.model for one in view.series}
    loads = [
        load
        for source in view.sources
        for load in inputs.snapshot.loads.get(source, ())
        if load.model in models and start <= load.slot < end
    ]
    return sum(load.prefill_seconds or 0 for load in loads), sum(load.decode_seconds or 0 for load in loads)


def _prices(views: Sequence[WorkloadView], end: int) -> list[PriceInUse]:
    """The prices that some figure of the last hours rests on: of API series, and of all alternatives."""
    keys: dict[tuple[PriceKey, int], set[str]] = {}
    for view in views:
        types = {t for one in view.series for t, totals in one.totals.items() if totals[-1] > totals[0]}
        for one in view.series if view.path == "api" else ():
            keys.setdefault((key_of(one.key), one.key.band), set()).update(types)
        for alternative in view.alternatives:
            keys.setdefault((alternative.price, 0), set()).update(types)
    found = []
    for (key, band), types in keys.items():
        rate = views[0].book.rate(key, end - HOUR)
        prices = rate.prices(band) if rate else {}
        found += [
            PriceInUse(key.provider, key.model, t, key.service_tier, band, key.region, rate.origin, prices[t])
            for t in sorted(types)
            if rate and t in prices
        ]
    return found
