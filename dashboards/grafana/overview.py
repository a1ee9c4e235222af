"""The Overview board: every workload of the platform on one screen, for the wall."""

from grafana_foundation_sdk.builders import dashboard

from dashboards.grafana import promql as q
from dashboards.grafana.frame import OVERVIEW, WORKLOAD, board, everything, link, query_variable
from dashboards.grafana.ground import (
    bill_parts,
    bill_states,
    bills,
    evidence,
    gpus,
    lag,
    meter_gap,
    sources,
    unpriced,
    waterfall,
)
from dashboards.grafana.looks import MONEY_LOST, NONE_IS_GOOD, PLAIN, RATIO_BANDS, STATUS, TO_BE_HIGH, TO_BE_LOW
from dashboards.grafana.money import budgets, missed, saving
from dashboards.grafana.panels import (
    BLUE,
    GREEN,
    ORANGE,
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
    folded,
    grid,
    row,
    single,
    timeseries,
)

BIGGEST = 6  # workloads with a chart of their own; the table above has all
OPEN = f"/d/{WORKLOAD}?${{__url_time_range}}&${{datasource:queryparam}}&${{job:queryparam}}"
OPEN += "&var-workload=${__data.fields.workload}&var-path=${__data.fields.path}"


def overview() -> dashboard.Dashboard:
    made = board(OVERVIEW, "LLM cost / Overview", "What tokens cost, and who is on the dearer side of break-even.")
    made = made.with_variable(_biggest()).link(link("Workload", WORKLOAD))
    for panel in (*_figures(), _workloads()):
        made = made.with_panel(panel)
    made = made.with_row(row("Own cost per million tokens against the API line")).with_panel(_cost_of_one())
    for title, panels in (
        ("Money", (saving(), missed(), budgets())),
        ("What the figures rest on", (evidence(), bill_states(), bill_parts())),
        ("Bills against estimates, tokens without a price, GPUs", (bills(), unpriced(), gpus())),
        ("Sources", (sources(), lag())),
    ):
        made = made.with_row(row(title))
        for panel in panels:
            made = made.with_panel(panel)
    return made.with_row(folded("Bills of API providers", (waterfall(), meter_gap())))


def _biggest() -> dashboard.QueryVariable:
    spent = f"sum by (workload) (increase(llmcost_cost_usd_total{{{q.ALL}}}[$__range]))"
    variable = query_variable("biggest", "Charts of", f"query_result(topk({BIGGEST}, {spent}))")
    return variable.regex('/workload="([^"]+)"/').multi(True).include_all(True).current(everything())


def _figures() -> list[AnyPanel]:
    by, crossed = "workload, path, alternative", q.crossed()
    saving = f"{q.gauge('llmcost_saving_usd_per_month', by)} * on ({by}) ({crossed})"
    unknown = q.gauge("llmcost_break_even_status", by, q.ALL + ',alternative!=""', status="unknown")
    success = f"llmcost_exporter_collector_success{{{q.ALL}}}"
    idle = q.gauge("llmcost_gpus", "collector, gpu", state="idle")
    hour = "sum(" + q.cost("1h") + f") * {q.MONTH}"
    return [
        single("Spend a month", "Cost of the last hour, carried to a month of 730 h.", USD, hour, PLAIN),
        single("Tokens a day", "Tokens of the last hour, carried to a day.", SHORT,
               f"sum(rate(llmcost_tokens_total{{{q.ALL}}}[1h])) * 86400", PLAIN),
        single("On the dearer side", "Workloads whose status says that the other path is cheaper.", SHORT,
               f"sum({crossed})", NONE_IS_GOOD),
        single("To save a month", "What moving the workloads on the dearer side would save.", USD,
               f"sum({saving})", MONEY_LOST),
        single("Missed so far", "Lost on the dearer side since each crossing.", USD,
               f"sum({q.gauge('llmcost_missed_saving_usd', by)})", MONEY_LOST),
        single("Status unknown", "Workloads without a verdict: too young, too little coverage, or idle.", SHORT,
               f"sum({unknown})", ((None, GREEN), (1, YELLOW))),
        single("Sources failing", "Collectors whose last run did not succeed in every part.", SHORT,
               f"count({success}) - sum({success})", NONE_IS_GOOD),
        single("GPUs idle", "GPUs of running nodes that no workload reserved: paid for, in nobody's cost.", SHORT,
               f"sum({idle})", NONE_IS_GOOD).no_value("no nodes"),
    ]  # fmt: skip


def _workloads() -> AnyPanel:
    by = "workload, path, alternative"
    firm = f'sum by (workload, path) (max by (workload, path, evidence) (llmcost_evidence_ratio{{{q.ALL},' \
           'evidence=~"invoiced|billed|calibrated"}))'  # fmt: skip
    since = q.gauge("llmcost_break_even_status_since_timestamp_seconds", by)
    columns = [
        Column("Status", q.status_code(), mappings=[STATUS], cell="color-background", width=155),
        Column("For", f"time() - {since}", SECONDS, 0),
        Column("Own $/Mtok", q.of_primary(q.own_over_window("7d")), USD, 3),
        Column("Alt. $/Mtok", f"({q.alternative_over_window('7d')}) and on ({by}) {q.primary()}", USD, 3),
        Column("Ratio 7d", f"({q.ratio_over_window('7d')}) and on ({by}) {q.primary()}", RATIO, 2, RATIO_BANDS),
        Column("Ratio 1h", f"({q.window_ratio('1h')}) and on ({by}) {q.primary()}", RATIO, 2, RATIO_BANDS),
        Column("Saving/mo", q.gauge("llmcost_saving_usd_per_month", by), USD, 2, ((None, "text"), (1, RED))),
        Column("Missed", q.gauge("llmcost_missed_saving_usd", by), USD, 2, ((None, "text"), (1, RED))),
        Column("Coverage", q.of_primary(q.gauge("llmcost_window_coverage_ratio", "workload, path", window="7d")),
               PERCENT, 0, TO_BE_HIGH),
        Column("Billed", q.of_primary(firm), PERCENT, 0),
        Column("Unpriced", _unpriced_share(), PERCENT, 1, TO_BE_LOW),
    ]  # fmt: skip
    names = {"workload": "workload", "path": "path", "alternative": "alternative"}
    labels = Labels(names, OPEN, {"workload": 110, "path": 85, "alternative": 255}, sort="Saving/mo")
    text = (
        "Status against the primary alternative: green on the cheaper side, red on the dearer one. Ratio = API cost /"
        " self-hosted cost. Saving: by moving; negative where staying is cheaper. Billed: the share of cost that rests"
        " on a bill, not on a rate card or a catalogue."
    )
    return grid("Every workload against its alternative", text, labels, columns, height=8)


def _unpriced_share() -> str:
    """Share of the range's tokens without a price: the workload's own on an API, else at the primary alternative."""
    served = f"({q.total('llmcost_tokens_total', 'workload, path', '$__range')} > 0)"
    own = q.total("llmcost_unpriced_tokens_total", "workload, path", "$__range")
    other = q.total("llmcost_unpriced_alternative_tokens_total", "workload, alternative", "$__range")
    compared = f"{q.as_self_hosted(other)} / on (workload, path) group_left () {served}"
    by = "on (workload, path, alternative)"
    return f"{compared} and {by} {q.primary()} or {q.of_primary(f'{own} / {served}')}"


def _cost_of_one() -> AnyPanel:
    match = f'{q.ALL},workload=~"$biggest"'
    queries = [
        Query(q.own_per_mtok(q.LIVE, match), "own, {{path}}", BLUE),
        Query(q.api_per_mtok(q.LIVE, match), "{{alternative}}", ORANGE, dashed=True),
    ]
    text = (
        "USD per million tokens, live: own cost (from the counters, rent of unused capacity included) and the same "
        "tokens on the API. Above the dashed line the workload is dearer than the API."
    )
    panel = timeseries("$biggest", text, USD, queries, span=6, height=7, step=SLOW)
    return panel.repeat("biggest").repeat_direction("h").axis_soft_min(0)
