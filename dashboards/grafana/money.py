"""Panels of the Overview board about money: what moving would save, what staying has cost, the budgets."""

from dashboards.grafana import promql as q
from dashboards.grafana.panels import (
    GREEN,
    PERCENT,
    RED,
    USD,
    YELLOW,
    AnyPanel,
    Column,
    Labels,
    Query,
    banded,
    grid,
    stacked,
    timeseries,
)

BY = "workload, path, alternative"
MONTH_GONE = "(day_of_month() - 1 + hour() / 24 + minute() / 1440) / days_in_month()"


def saving() -> AnyPanel:
    query = Query(q.gauge("llmcost_saving_usd_per_month", BY), "{{workload}} ({{path}})")
    text = "Saving from moving to the alternative, a month of 730 h. Above 0 the workload is on the dearer side."
    panel = timeseries("Saving by moving, USD a month", text, USD, [query])
    return banded(panel, ((None, "transparent"), (0, RED)), lines=True)


def missed() -> AnyPanel:
    query = Query(f"{q.gauge('llmcost_missed_saving_usd', BY)} > 0", "{{workload}} ({{path}})")
    text = "Lost on the dearer path since the crossing, at the mean rate of each evaluated window."
    return stacked(timeseries("Missed saving, USD", text, USD, [query]))


def budgets() -> AnyPanel:
    spent, budget = q.gauge("llmcost_budget_cost_usd", "budget"), q.gauge("llmcost_budget_usd_per_month", "budget")
    columns = [
        Column("This month", spent, USD, 2),
        Column("Budget", budget, USD, 2),
        Column("Used", f"{spent} / {budget}", PERCENT, 0, ((None, GREEN), (0.8, YELLOW), (1, RED))),
        Column("At this pace", f"{spent} / scalar({MONTH_GONE}) / {budget}", PERCENT, 0, ((None, GREEN), (1, RED))),
    ]
    text = "Cost since the start of the UTC month against the budget. At this pace: carried to the end of the month."
    return grid("Budgets", text, Labels({"budget": "budget"}), columns, span=8).no_value("no budgets configured")
