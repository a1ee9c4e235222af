"""Panels of the Workload board: the course of one workload's cost, traffic, capacity and certainty."""

from dashboards.grafana import promql as q
from dashboards.grafana.looks import EVIDENCE_COLOURS, RATIO_BANDS, STATUS
from dashboards.grafana.panels import (
    BLUE,
    GREEN,
    ORANGE,
    PERCENT,
    RATIO,
    RED,
    SHORT,
    SLOW,
    USD,
    AnyPanel,
    Column,
    Labels,
    Query,
    banded,
    coloured,
    grid,
    stacked,
    timeline,
    timeseries,
)

BY = "workload, path, alternative"
UNKNOWN = "capacity unknown: see capacity_tokens_per_second"


def per_mtok() -> AnyPanel:
    queries = [
        Query(q.own_per_mtok(q.LIVE, q.ONE), "own, live", BLUE, width=1),
        Query(q.own_over_window("24h", q.ONE), "own, 24h", BLUE, width=3),
        Query(q.api_per_mtok(q.LIVE, q.ONE), "{{alternative}}, live", ORANGE, dashed=True, width=1),
        Query(q.alternative_over_window("24h", q.ONE), "{{alternative}}, 24h", ORANGE, dashed=True, width=3),
    ]
    text = (
        "Own cost (solid) against the alternative's price for the same tokens (dashed). Where solid is above dashed, "
        "the workload is dearer than its alternative."
    )
    panel = timeseries("USD per million tokens, own against the alternative", text, USD, queries, 16, 11, SLOW)
    return panel.axis_soft_min(0)


def ratios() -> AnyPanel:
    one_hour = Query(q.window_ratio("1h", q.ONE), "1h {{alternative}}", width=1)
    longer = f'max by (workload, path, alternative, window) (llmcost_break_even_ratio{{{q.ONE},window!~"1h|mtd"}})'
    text = (
        "API cost / self-hosted cost over each window. Red: the API is cheaper; green: self-hosting is. The status "
        "moves at 0.90 and 1.10, over the decision window."
    )
    panel = timeseries(
        "Break-even ratio by window", text, RATIO, [one_hour, Query(longer, "{{window}} {{alternative}}")], 16
    )
    return banded(panel, RATIO_BANDS).axis_soft_min(0).axis_soft_max(2).decimals(2)


def status() -> AnyPanel:
    query = Query(q.status_code(q.ONE), "{{alternative}}")
    return timeline("Status", "Green on the cheaper side, red on the dearer one.", query, STATUS, 8, 8)


def components() -> AnyPanel:
    hourly = f"3600 * sum by (component) ({q.cost_by_component(q.LIVE, q.ONE)})"
    text = "Cost by component, USD an hour. Rent runs whether or not anything is served."
    return stacked(timeseries("Cost by component, USD an hour", text, USD, [Query(hourly, "{{component}}")], step=SLOW))


def tokens() -> AnyPanel:
    query = Query(q.total("llmcost_tokens_total", "token_type", q.LIVE, q.ONE), "{{token_type}}")
    text = "Tokens a second by disjoint type: input is without cached tokens, output holds reasoning."
    return stacked(timeseries("Tokens by type, a second", text, SHORT, [query]))


def requests() -> AnyPanel:
    query = Query(q.total("llmcost_requests_total", "provider, model", q.LIVE, q.ONE), "{{provider}} {{model}}")
    return stacked(timeseries("Requests, a second", "Requests served, by model.", SHORT, [query]))


def utilization() -> AnyPanel:
    queries = [
        Query(q.gauge("llmcost_utilization_ratio", "workload", q.WORKLOAD), "utilization", BLUE),
        Query(q.gauge("llmcost_break_even_utilization_ratio", BY, q.ONE), "break-even: {{alternative}}", ORANGE, True),
    ]
    text = (
        "Tokens served / capacity, and the utilization at which self-hosting costs as much as the API. A break-even "
        "above 100 % cannot be reached at this price. Absent while capacity is unknown."
    )
    return (
        timeseries("Utilization against its break-even", text, PERCENT, queries)
        .axis_soft_min(0)
        .axis_soft_max(1)
        .no_value(UNKNOWN)
    )


def capacity() -> AnyPanel:
    capacity = q.gauge("llmcost_capacity_tokens_per_second", "workload", q.WORKLOAD)
    fleet = "sum by (workload) (llmcost_capacity_tokens_per_second{" + q.WORKLOAD + "})"
    served = q.total("llmcost_tokens_total", "workload", q.LIVE, q.ONE)
    queries = [
        Query(served, "served", BLUE),
        Query(q.gauge("llmcost_break_even_tokens_per_second", BY, q.ONE), "break-even: {{alternative}}", ORANGE, True),
        Query(f"{fleet} > {capacity} or {capacity}", "capacity", GREEN),
    ]
    text = "Tokens a second: served, at break-even, and what all replicas sustain with this mix."
    return timeseries("Throughput against break-even, tokens a second", text, SHORT, queries, step=SLOW).axis_soft_min(
        0
    )


def unused() -> AnyPanel:
    queries = [
        Query(q.gauge("llmcost_unused_capacity_cost_usd", "workload", q.WORKLOAD), "unused capacity", RED),
        Query(q.gauge("llmcost_missed_saving_usd", BY, q.ONE), "missed: {{alternative}}", ORANGE),
    ]
    text = "What unused capacity cost over the decision window, and what the dearer path has cost since the crossing."
    return timeseries("Money for nothing, USD", text, USD, queries).axis_soft_min(0)


def evidence() -> AnyPanel:
    query = Query(f"{q.gauge('llmcost_evidence_ratio', 'evidence', q.ONE)} > 0", "{{evidence}}")
    text = "Share of the cost by what it rests on. Below `billed` a discount may be missing."
    panel = timeseries("Evidence, share of cost", text, PERCENT, [query])
    return stacked(coloured(panel, EVIDENCE_COLOURS)).max(1)


def coverage() -> AnyPanel:
    share = f"min by (window) (llmcost_window_coverage_ratio{{{q.ONE}}})"
    text = (
        "Share of each window that every source vouches for and whose cost is known. Below 90 % the status is unknown."
    )
    panel = timeseries("Coverage by window", text, PERCENT, [Query(share, "{{window}}")]).min(0).max(1)
    return banded(panel, ((None, RED), (0.9, "transparent")))


def unpriced() -> AnyPanel:
    served = f"({q.total('llmcost_tokens_total', 'workload', q.LIVE, q.ONE)} > 0)"
    own = q.total("llmcost_unpriced_tokens_total", "workload, model", q.LIVE, q.ONE)
    other = q.total("llmcost_unpriced_alternative_tokens_total", "workload, alternative", q.LIVE, q.WORKLOAD)
    queries = [
        Query(f"{own} / on (workload) group_left () {served}", "{{model}}"),
        Query(f"{other} / on (workload) group_left () {served}", "{{alternative}}"),
    ]
    text = (
        "Share of tokens without a known price: own (API path), and at the alternative. Above 1 % the ratio is absent."
    )
    panel = timeseries("Unpriced tokens, share", text, PERCENT, queries).min(0).axis_soft_max(0.02)
    return banded(panel, ((None, "transparent"), (0.01, RED)))


def prices() -> AnyPanel:
    labels = "provider, model, token_type, service_tier, context_band, region, origin"
    price = f"max by ({labels}) (llmcost_price_usd_per_token{{{q.ALL}}})"
    name = f'label_join({price}, "alternative", "/", "provider", "model")'
    named = f'label_replace({name}, "alternative", "api:$1", "alternative", "(.*)")'
    compared = f"{named} and on (alternative) llmcost_break_even_ratio{{{q.ONE}}}"
    paid = f"{price} and on (provider, model) llmcost_tokens_total{{{q.ONE}}}"
    columns = [Column("$/Mtok", f"{q.PER_MTOK} * max by ({labels}) ({compared} or {paid})", USD, 3)]
    shown = {name: name.removeprefix("context_").replace("_", " ") for name in labels.split(", ")}
    text = (
        "Prices behind this workload: its own on an API, and those of alternatives that go by their provider and model."
    )
    return grid("Prices in use", text, Labels(shown, widths={"model": 200, "origin": 310}), columns, span=16, height=6)


def token_prices() -> AnyPanel:
    expr = q.gauge("llmcost_token_type_usd_per_token", "token_type, method", q.ONE)
    columns = [Column("$/Mtok", f"{q.PER_MTOK} * {expr}", USD, 3)]
    text = (
        "Effective cost by token type over the decision window. The method says how cost was split; the blended price"
        " is the exact number."
    )
    return grid("Effective cost by token type", text, Labels({"token_type": "token type", "method": "method"}), columns,
                span=8, height=6)  # fmt: skip
