"""Panels of the Overview board about the ground the figures stand on: evidence, bills, prices, sources, GPUs."""

from dashboards.grafana import promql as q
from dashboards.grafana.looks import EVIDENCE_COLOURS, SUCCESS
from dashboards.grafana.panels import (
    GREEN,
    PERCENT,
    RATIO,
    RED,
    SECONDS,
    SHORT,
    SLOW,
    USD,
    YELLOW,
    AnyPanel,
    Column,
    Labels,
    Query,
    bars,
    coloured,
    grid,
    stacked,
    timeseries,
)

BILL = "30d"
SIGNED: tuple[tuple[float | None, str], ...] = ((None, RED), (0, "blue"))


def evidence() -> AnyPanel:
    shares = q.gauge("llmcost_evidence_ratio", "workload, path, evidence")
    dollars = f"sum by (evidence) ({shares} * on (workload, path) group_left () ({q.window_cost('7d')}))"
    text = (
        "The cost of the last 7 days by what it rests on: a final invoice, the provider's cost data, a calibrated "
        "list price, your rate card, a catalogue. Shares are those of the decision window."
    )
    panel = timeseries("Evidence, share of cost", text, USD, [Query(f"{dollars} > 0", "{{evidence}}")])
    return stacked(coloured(panel, EVIDENCE_COLOURS), percent=True)


def bill_states() -> AnyPanel:
    states = q.gauge("llmcost_bill_state_usd", "collector, state", window=BILL)
    text = (
        "Effective cost on the bills of 30 days by state: provisional, settled (72 h old and read twice alike), final."
    )
    panel = timeseries("Bills by state, USD (30 days)", text, USD, [Query(states, "{{collector}} {{state}}")])
    return stacked(panel).no_value("no bill has a state yet")


def bill_parts() -> AnyPanel:
    parts = q.gauge("llmcost_bill_part_usd", "collector, part", window=BILL, basis="effective")
    text = (
        "Every line of the bills in exactly one part; the parts sum to the effective cost. What is unallocated has "
        "its reason in `llm-cost-exporter report`."
    )
    return bars("Bills by part, USD (30 days, effective)", text, USD, parts, "{{part}} ({{collector}})", SIGNED)


def bills() -> AnyPanel:
    restated = f"sum by (collector) (increase(llmcost_restatement_usd_total{{{q.ALL}}}[$__range]))"
    columns = [
        Column("Billed 30d", q.gauge("llmcost_billed_usd", "collector", window=BILL), USD, 2),
        Column("Drift", q.gauge("llmcost_bill_drift_ratio", "collector", window=BILL), PERCENT, 1,
               ((None, RED), (-0.1, YELLOW), (-0.02, GREEN), (0.02, YELLOW), (0.1, RED))),
        Column("Billed / list", q.gauge("llmcost_calibration_ratio", "collector"), RATIO, 3),
        Column("Restated", restated, USD, 2),
        Column("Card replaced", q.gauge("llmcost_superseded_cost_usd", "collector"), USD, 2),
    ]  # fmt: skip
    text = (
        "Drift: billed cost over the estimates it replaced, less 1. Billed / list: learned from settled days. "
        "Restated: accrued cost that later bills changed, in the time range. Card replaced: cost of this rate card "
        "that a bill stands for."
    )
    return grid("Bills against estimates", text, Labels({"collector": "collector"}), columns, span=10, height=7)


def unpriced() -> AnyPanel:
    tokens = q.total("llmcost_unpriced_tokens_total", "workload, model", q.LIVE)
    alternative = q.total("llmcost_unpriced_alternative_tokens_total", "workload, alternative", q.LIVE)
    late = q.total("llmcost_late_tokens_total", "collector", q.LIVE)
    queries = [
        Query(tokens, "{{workload}}: {{model}}"),
        Query(f"{alternative} > 0", "{{workload}}: {{alternative}}"),
        Query(f"{late} > 0", "late: {{collector}}"),
    ]
    text = (
        "Tokens without a known price, which leave cost and ratios alike (above 1 % a ratio is absent), and tokens "
        "that came too late for the counters. Should be 0."
    )
    return (
        timeseries("Tokens without a price, a second", text, SHORT, queries, span=7, height=7)
        .axis_soft_min(0)
        .axis_soft_max(1)
    )


def gpus() -> AnyPanel:
    query = Query(f"sum by (gpu, state) ({q.gauge('llmcost_gpus', 'collector, gpu, state')})", "{{gpu}} {{state}}")
    text = "GPUs of the nodes that are up: reserved by pods, or idle. Idle GPUs are paid for and in no workload's cost."
    return stacked(timeseries("GPUs", text, SHORT, [query], span=7, height=7)).no_value("no nodes read (Kubernetes)")


def sources() -> AnyPanel:
    def health(name: str) -> str:
        return q.gauge(f"llmcost_exporter_collector_{name}", "collector")

    rejected = f"sum by (collector) (increase(llmcost_exporter_rejected_records_total{{{q.ALL}}}[$__range]))"
    paid = f"sum by (collector) (increase(llmcost_exporter_paid_requests_usd_total{{{q.ALL}}}[$__range]))"
    failed = q.gauge("llmcost_exporter_collector_parts", "collector", state="failed")
    worst = f"min by (collector) (llmcost_exporter_collector_success{{{q.ALL}}})"
    columns = [
        Column("Last run", worst, mappings=[SUCCESS], cell="color-background", width=90),
        Column("Since success", f"time() - ({health('last_success_timestamp_seconds')} > 0)", SECONDS, 0),
        Column("Complete through", f"time() - ({health('complete_through_timestamp_seconds')} > 0)", SECONDS, 0),
        Column("Interval", health("interval_seconds"), SECONDS, 0),
        Column("Duration", health("duration_seconds"), SECONDS, 1),
        Column("Parts failed", failed, SHORT, 0, ((None, "text"), (1, RED))),
        Column("Rejected", rejected, SHORT, 0, ((None, "text"), (1, YELLOW))),
        Column("Paid", paid, USD, 2),
    ]
    text = (
        "Since success and complete through are ages. Rejected records and the price of paid requests are those of "
        "the time range."
    )
    return grid("Sources", text, Labels({"collector": "collector"}), columns, span=15)


def lag() -> AnyPanel:
    through = q.gauge("llmcost_exporter_collector_complete_through_timestamp_seconds", "collector")
    query = Query(f"(time() - ({through} > 0)) / {q.gauge('llmcost_exporter_collector_interval_seconds', 'collector')}",
                  "{{collector}}")  # fmt: skip
    text = "Age of what each source vouches for, in its own intervals. A live source stays near 1; bills are days old."
    return timeseries("Age of complete data, in intervals", text, RATIO, [query], span=9, step=SLOW).axis_soft_min(0)


def waterfall() -> AnyPanel:
    steps = q.gauge("llmcost_waterfall_usd", "collector, part", window=BILL)
    text = (
        "From metered tokens at list price to the provider's bill: price difference, missing usage, duplicates, lines"
        " that are not tokens, and what stays unexplained. The steps sum to the bill."
    )
    title = "From metered tokens to the bill, USD (30 days)"
    panel = bars(title, text, USD, steps, "{{part}} ({{collector}})", SIGNED, span=12)
    return panel.no_value("no provider's cost data")


def meter_gap() -> AnyPanel:
    gap = Query(q.gauge("llmcost_meter_gap_ratio", "collector"), "{{collector}}")
    text = "Tokens of a checking source over those of the meters, less 1, in the last day. 0 is agreement."
    panel = timeseries("Check against meter, difference", text, PERCENT, [gap], span=12)
    return panel.axis_soft_min(-0.05).axis_soft_max(0.05).no_value("no source checks another")
