"""Every metric family this exporter publishes, in page order: the one table that page, docs, rules and tests share.

Beside these the page has the `process_*` families of prometheus_client's ProcessCollector. Labels are in the order in
which samples give their values. `unit` is the OpenMetrics unit: the end of the name (before `_total`).
"""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["counter", "gauge"]
Fold = Literal["sum", "drop"]


@dataclass(frozen=True, slots=True)
class Family:
    """One metric family. `fold` says what becomes of the workloads beyond the series budget: values that may be added
    go into the workload `other`, all else (ratios, statuses, instants) is dropped there."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    unit: str = ""
    fold: Fold = "drop"

    @property
    def base_name(self) -> str:
        """The OpenMetrics family name: without the `_total` of a counter's samples."""
        return self.name.removesuffix("_total") if self.kind == "counter" else self.name


def _counter(name: str, labels: str, unit: str, help: str, fold: Fold = "sum") -> Family:
    return Family(name, "counter", help, tuple(labels.split()), unit, fold)


def _gauge(name: str, labels: str, unit: str, help: str, fold: Fold = "drop") -> Family:
    return Family(name, "gauge", help, tuple(labels.split()), unit, fold)


_COUNTERS = (
    _counter(
        "llmcost_tokens_total",
        "workload path provider model token_type",
        "tokens",
        "Tokens served, in tokens, by disjoint token type (input excludes cached tokens, output includes reasoning).",
    ),
    _counter("llmcost_requests_total", "workload path provider model", "requests", "Requests served, in requests."),
    _counter(
        "llmcost_cost_usd_total",
        "workload path component",
        "usd",
        "Cost accrued, in USD, at the price and evidence known at the time; later corrections go to the gauges.",
    ),
    _counter(
        "llmcost_api_equivalent_usd_total",
        "workload alternative",
        "usd",
        "Cost of the self-hosted tokens at the alternative's API price, in USD; never to be summed over alternative.",
    ),
    _counter(
        "llmcost_unpriced_tokens_total",
        "workload path provider model",
        "tokens",
        "Tokens without a known price, in tokens; they are left out of cost and of ratios.",
    ),
    _counter(
        "llmcost_unpriced_alternative_tokens_total",
        "workload alternative",
        "tokens",
        "Self-hosted tokens without a known price at the alternative, in tokens.",
    ),
    _counter(
        "llmcost_late_tokens_total",
        "collector",
        "tokens",
        "Tokens first seen too late for the counters, in tokens; they are in the windowed gauges and in reports.",
    ),
    _counter(
        "llmcost_restatement_usd_total",
        "collector direction",
        "usd",
        "Difference between accrued cost and cost as restated later, in USD, up or down.",
    ),
)

_WINDOWS = (
    _gauge(
        "llmcost_effective_usd_per_token",
        "workload path window",
        "usd_per_token",
        "Effective cost divided by tokens over the covered time of the window, in USD per token.",
    ),
    _gauge(
        "llmcost_window_coverage_ratio",
        "workload path window",
        "ratio",
        "Covered share of the window, as a ratio: every source complete and cost known.",
    ),
    _gauge(
        "llmcost_effective_cost_usd",
        "workload path component window",
        "usd",
        "Effective cost over the covered time of the window, in USD.",
        "sum",
    ),
    _gauge(
        "llmcost_window_tokens",
        "workload path token_type window",
        "tokens",
        "Tokens over the covered time of the window, in tokens, unpriced tokens included.",
        "sum",
    ),
    _gauge(
        "llmcost_alternative_cost_usd",
        "workload path alternative window",
        "usd",
        "Cost of the same tokens on the alternative over the covered time of the window, in USD.",
        "sum",
    ),
    _gauge(
        "llmcost_break_even_ratio",
        "workload path alternative window",
        "ratio",
        "API cost divided by self-hosted cost, as a ratio; above 1 self-hosting is cheaper.",
    ),
)

_DECISION = (
    _gauge(
        "llmcost_token_type_usd_per_token",
        "workload path token_type method",
        "usd_per_token",
        "Effective cost of one token type over the decision window, in USD per token, by method of splitting.",
    ),
    _gauge(
        "llmcost_evidence_ratio",
        "workload path evidence",
        "ratio",
        "Share of the decision window's cost that rests on this evidence, as a ratio; the shares sum to 1.",
    ),
    _gauge(
        "llmcost_break_even_tokens_per_second",
        "workload path alternative",
        "tokens_per_second",
        "Throughput at which self-hosting costs as much as the API, in tokens per second.",
    ),
    _gauge(
        "llmcost_break_even_utilization_ratio",
        "workload path alternative",
        "ratio",
        "Break-even throughput divided by capacity, as a ratio; above 1 break-even cannot be reached.",
    ),
    _gauge(
        "llmcost_utilization_ratio",
        "workload",
        "ratio",
        "Tokens served divided by capacity over the decision window, as a ratio.",
    ),
    _gauge(
        "llmcost_unused_capacity_cost_usd",
        "workload",
        "usd",
        "Part of the effective cost that paid for unused capacity over the decision window, in USD.",
        "sum",
    ),
    _gauge(
        "llmcost_capacity_tokens_per_second",
        "workload",
        "tokens_per_second",
        "Throughput that all replicas sustain at saturation with the present mix, in tokens per second.",
    ),
    _gauge(
        "llmcost_capacity_samples",
        "workload",
        "samples",
        "Observations behind the learned capacity, in samples; 0 for a configured capacity.",
    ),
    _gauge(
        "llmcost_break_even_status",
        "workload path alternative status",
        "",
        "Status against the primary alternative, 1 for the current status and 0 for the others.",
    ),
    _gauge(
        "llmcost_break_even_status_since_timestamp_seconds",
        "workload path alternative",
        "seconds",
        "Instant at which the current status was entered, in seconds since the epoch.",
    ),
    _gauge(
        "llmcost_saving_usd_per_month",
        "workload path alternative",
        "usd_per_month",
        "Saving from moving to the alternative, in USD per month of 730 h; negative where staying is cheaper.",
    ),
    _gauge(
        "llmcost_missed_saving_usd",
        "workload path alternative",
        "usd",
        "Amount lost on the dearer path since the crossing, in USD, at the mean rate of each evaluated window.",
    ),
    _gauge(
        "llmcost_switching_cost_usd",
        "workload path",
        "usd",
        "Configured cost of moving to the alternative, in USD, below which a crossing does not page; absent if none.",
    ),
    _gauge(
        "llmcost_fixed_usd_per_month",
        "workload",
        "usd_per_month",
        "Configured fixed cost, in USD per month of 730 h; to be joined with max by (workload).",
        "sum",
    ),
)

_RECONCILIATION = (
    _gauge(
        "llmcost_budget_usd_per_month",
        "budget",
        "usd_per_month",
        "Configured budget, in USD per month.",
        "drop",
    ),
    _gauge(
        "llmcost_billed_usd",
        "collector window",
        "usd",
        "Billed cost as the bill states it for the window, in USD; absent while a currency of it has no rate.",
    ),
    _gauge(
        "llmcost_bill_state_usd",
        "collector state window",
        "usd",
        "Effective cost on the bill for the window, in USD, by state: provisional, settled (72 h old and read alike "
        "twice) or final (invoiced, or 15 days after its month).",
    ),
    _gauge(
        "llmcost_bill_drift_ratio",
        "collector window",
        "ratio",
        "Billed cost over the estimates that the bill replaced in the window, machine by machine, less 1, as a ratio.",
    ),
    _gauge(
        "llmcost_calibration_ratio",
        "collector",
        "ratio",
        "Billed cost over list price of the nodes on this bill, learned from its settled days, as a ratio.",
    ),
    _gauge(
        "llmcost_waterfall_usd",
        "collector part window",
        "usd",
        "Step from metered tokens at list price to the provider's bill for the window, in USD; the steps sum to it.",
    ),
    _gauge(
        "llmcost_gpus",
        "collector gpu state",
        "gpus",
        "Physical GPUs of the nodes that are up, counted in gpus, by state: allocated to pods or idle.",
        "sum",
    ),
    _gauge(
        "llmcost_budget_cost_usd",
        "budget",
        "usd",
        "Cost that counts towards the budget since the start of the UTC calendar month, in USD.",
    ),
    _gauge(
        "llmcost_meter_gap_ratio",
        "collector",
        "ratio",
        "Tokens of a checking collector over those of the meters, less 1, over the last 24 hours, as a ratio.",
        "drop",
    ),
    _gauge(
        "llmcost_superseded_cost_usd",
        "collector",
        "usd",
        "Cost of the last 30 days that better evidence replaced, in USD, by the collector that had said it.",
        "sum",
    ),
    _gauge(
        "llmcost_bill_part_usd",
        "collector basis part window",
        "usd",
        "Part of the bill for the window, in USD; the parts sum to the billed or the effective cost, by basis.",
    ),
    _gauge(
        "llmcost_price_usd_per_token",
        "provider model token_type service_tier context_band region origin",
        "usd_per_token",
        "Price in use, in USD per token.",
    ),
    _gauge(
        "llmcost_price_book_timestamp_seconds",
        "",
        "seconds",
        "Date of the price catalogue in use, in seconds since the epoch.",
    ),
    _gauge(
        "llmcost_fx_usd_per_unit", "currency", "usd_per_unit", "Exchange rate in use, in USD per unit of the currency."
    ),
)

_HEALTH = (
    _gauge(
        "llmcost_exporter_collector_success",
        "collector",
        "",
        "Success of the collector's last run: 1 if every part succeeded, 0 otherwise and while a run takes too long.",
    ),
    _gauge(
        "llmcost_exporter_collector_duration_seconds",
        "collector",
        "seconds",
        "Duration of the collector's last run, in seconds.",
    ),
    _gauge(
        "llmcost_exporter_collector_interval_seconds",
        "collector",
        "seconds",
        "Configured time between runs of the collector, in seconds.",
    ),
    _gauge(
        "llmcost_exporter_collector_last_success_timestamp_seconds",
        "collector",
        "seconds",
        "Instant of the collector's last successful run, in seconds since the epoch; 0 before the first.",
    ),
    _gauge(
        "llmcost_exporter_collector_complete_through_timestamp_seconds",
        "collector",
        "seconds",
        "Instant up to which the collector vouches for its data, in seconds since the epoch; 0 before any.",
    ),
    _gauge(
        "llmcost_exporter_collector_parts",
        "collector state",
        "parts",
        "Parts (targets, files, objects, days) known to be good or failed in the last run, in parts, by state.",
    ),
    _counter(
        "llmcost_exporter_rejected_records_total",
        "collector reason",
        "records",
        "Records that could not be used, in records, by reason.",
    ),
    _counter(
        "llmcost_exporter_paid_requests_usd_total",
        "collector",
        "usd",
        "Price of the collector's requests to an API that charges for each request, in USD.",
    ),
    _gauge(
        "llmcost_exporter_build_info",
        "version python_version role",
        "",
        "Build of the exporter; the value is always 1.",
    ),
    _gauge(
        "llmcost_exporter_leader",
        "",
        "",
        "Leadership of this instance, 1 if it publishes the workloads and 0 if it follows.",
    ),
    _gauge(
        "llmcost_exporter_page_timestamp_seconds",
        "",
        "seconds",
        "Instant at which this page was rendered, in seconds since the epoch; at most once per publish tick.",
    ),
    _gauge(
        "llmcost_exporter_ledger_writable",
        "",
        "",
        "State of the ledger, 1 if the last write succeeded and 0 otherwise.",
    ),
    _gauge("llmcost_exporter_ledger_size_bytes", "", "bytes", "Size of the ledger on disk, in bytes."),
    _counter(
        "llmcost_exporter_ledger_quarantines_total",
        "",
        "quarantines",
        "Damaged ledgers that were set aside, in quarantines; the counters began at 0 again each time.",
    ),
    _gauge(
        "llmcost_exporter_config_last_reload_successful",
        "",
        "",
        "Success of the last load of the configuration, 1 if it is in use and 0 if it was refused.",
    ),
    _gauge(
        "llmcost_exporter_folded_series",
        "family",
        "series",
        "Series beyond the series budget, in series: added to the workload other, or dropped where values do not add.",
    ),
)

FAMILIES: tuple[Family, ...] = (*_COUNTERS, *_WINDOWS, *_DECISION, *_RECONCILIATION, *_HEALTH)

BY_NAME: dict[str, Family] = {family.name: family for family in FAMILIES}
