"""The Workload board: one workload and path, why it stands where it stands, and what to do."""

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.models.common import BigValueGraphMode

from dashboards.grafana import promql as q
from dashboards.grafana.course import (
    capacity,
    components,
    coverage,
    evidence,
    per_mtok,
    prices,
    ratios,
    requests,
    status,
    token_prices,
    tokens,
    unpriced,
    unused,
    utilization,
)
from dashboards.grafana.frame import OVERVIEW, RUNBOOK, WORKLOAD, board, link, query_variable
from dashboards.grafana.looks import MONEY_LOST, PLAIN, RATIO_BANDS, STATUS, TO_BE_HIGH
from dashboards.grafana.panels import (
    GREEN,
    PERCENT,
    RATIO,
    RED,
    SECONDS,
    USD,
    AnyPanel,
    markdown,
    row,
    single,
)

BY = "workload, path, alternative"
EXPLANATION = """\
**Ratio** = API cost / self-hosted cost of the same tokens: above 1 self-hosting is cheaper, whichever path it runs on.
Cost holds the whole reservation, used or not; cached tokens count at the cached price.

**Status** turns, by default, after a day of hourly ratios of at least 1.10 (or at most 0.90), and leaves its side at
the first hour beyond 1. Unknown: coverage below 90 %, unpriced tokens above 1 %, the first day.

**Why did it cross?**

1. *Coverage*, *Evidence*: are the figures whole, what do they rest on?
2. *Utilization* below its break-even: GPUs too idle for their price.
3. *Cost by component*: did rent or a fixed cost rise?
4. *Prices in use*: did the alternative's price change?

**What to do**: [runbook](${runbook}#llmcostbreakevencrossed). Each input with its source and age:
`llm-cost-exporter explain $workload`
"""


def workload() -> dashboard.Dashboard:
    made = board(WORKLOAD, "LLM cost / Workload", "Why a workload stands where it stands, and what it is worth.", q.ONE)
    seen = f'{{__name__=~"llmcost_tokens_total|llmcost_cost_usd_total",{q.ALL}'
    made = made.with_variable(query_variable("workload", "Workload", f"label_values({seen}}}, workload)"))
    made = made.with_variable(query_variable("path", "Path", f'label_values({seen},workload="$workload"}}, path)'))
    made = made.with_variable(dashboard.TextBoxVariable("runbook").label("Runbook").default_value(RUNBOOK))
    made = made.link(link("Overview", OVERVIEW))
    for panel in _figures():
        made = made.with_panel(panel)
    for title, panels in (
        ("Break-even", (per_mtok(), markdown("How to read this", EXPLANATION, 8, 11), ratios(), status())),
        ("Cost and traffic", (components(), tokens(), requests())),
        ("Capacity", (utilization(), capacity(), unused())),
        ("What the figures rest on", (evidence(), coverage(), unpriced(), prices(), token_prices())),
    ):
        made = made.with_row(row(title))
        for panel in panels:
            made = made.with_panel(panel)
    return made


def _figures() -> list[AnyPanel]:
    since = q.gauge("llmcost_break_even_status_since_timestamp_seconds", BY, q.ONE)
    saving = q.gauge("llmcost_saving_usd_per_month", BY, q.ONE)
    missed = q.gauge("llmcost_missed_saving_usd", BY, q.ONE)
    coverage = q.gauge("llmcost_window_coverage_ratio", "workload, path", q.ONE, window="7d")
    primary = f"and on ({BY}) {q.primary(q.ONE)}"
    ratio = q.ratio_over_window("7d", q.ONE)
    own, other = q.own_over_window("7d", q.ONE), q.alternative_over_window("7d", q.ONE)
    return [
        single("Status", "Against the primary alternative.", RATIO, q.status_code(q.ONE), PLAIN, 5)
        .mappings([STATUS]).graph_mode(BigValueGraphMode.NONE),
        single("For", "How long the status has lasted.", SECONDS, f"time() - {since}", PLAIN),
        single("Own $/Mtok 7d", "Effective cost / priced tokens.", USD, own, PLAIN).decimals(3),
        single("Alt. $/Mtok 7d", "The same tokens there.", USD, f"({other}) {primary}", PLAIN).decimals(3),
        single("Ratio 7d", "API / self-hosted cost. The status may rest on another ratio_window.", RATIO,
               f"({ratio}) {primary}", RATIO_BANDS, 2).decimals(2),
        single("Saving a month", "Negative: staying is cheaper.", USD, saving, ((None, GREEN), (0, RED))),
        single("Missed", "Lost since the crossing.", USD, missed, MONEY_LOST),
        single("Coverage", "Share of 7 days that every source vouches for.", PERCENT, coverage, TO_BE_HIGH, 2),
    ]  # fmt: skip
