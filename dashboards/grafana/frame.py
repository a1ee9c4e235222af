"""What both boards share around their panels: variables, annotations, links."""

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import dashboard as model

from dashboards.grafana.panels import DATASOURCE, ORANGE, RED
from dashboards.grafana.promql import ALL, DEARER

OVERVIEW, WORKLOAD = "llmcost-overview", "llmcost-workload"
RUNBOOK = "dashboards/runbook.md"
"""Default of the variable `runbook`: where the alerts' runbook_url points, too."""


class Annotation(Builder[model.AnnotationQuery]):
    """Events from a query. Grafana's Prometheus settings for them are not in the SDK's model: see `_Query`."""

    def __init__(self, name: str, expr: str, title: str, colour: str, by_value: bool = False) -> None:
        self._query = _Query(name=name, datasource=DATASOURCE, enable=True, icon_color=colour, expr=expr)
        self._query.prometheus = {"titleFormat": title, "textFormat": "", "step": "60s"}
        if by_value:  # the value is the instant, in milliseconds
            self._query.prometheus["useValueForTime"] = "on"

    def build(self) -> model.AnnotationQuery:
        return self._query


class _Query(model.AnnotationQuery):
    prometheus: dict[str, str]

    def to_json(self) -> dict[str, object]:
        return {**super().to_json(), **self.prometheus}


def board(uid: str, title: str, description: str, match: str = ALL) -> dashboard.Dashboard:
    """An empty board: the last day, refreshed every half minute, one cross-hair, the datasource and the annotations."""
    made = dashboard.Dashboard(title).uid(uid).description(description).tags(["llm-cost-exporter", "finops"])
    made = made.timezone("browser").time("now-24h", "now").refresh("30s").editable()
    made = made.tooltip(model.DashboardCursorSync.CROSSHAIR)
    made = made.with_variable(dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus"))
    jobs = query_variable("job", "Job", "label_values(llmcost_exporter_build_info, job)")
    made = made.with_variable(jobs.multi(True).include_all(True).all_value(".*").current(everything()))
    return made.annotation(_crossings(match)).annotation(_alerts(match))


def query_variable(name: str, label: str, query: str) -> dashboard.QueryVariable:
    variable = dashboard.QueryVariable(name).label(label).datasource(DATASOURCE).query(query)
    return variable.refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED).sort(model.VariableSort.ALPHABETICAL_ASC)


def link(title: str, uid: str) -> dashboard.DashboardLink:
    made = dashboard.DashboardLink(title).type(model.DashboardLinkType.LINK).icon("dashboard").url(f"/d/{uid}")
    return made.keep_time(True).include_vars(True)


def everything() -> model.VariableOption:
    """The choice of all values."""
    return model.VariableOption(selected=True, text=["All"], value=["$__all"])


def _crossings(match: str) -> Annotation:
    """The instant since which a workload has been on the dearer side."""
    name, by = "llmcost_break_even_status", "job, workload, path, alternative"
    sides = " or ".join(f'{name}{{{match},path="{path}",status="{status}"}} == 1' for path, status in DEARER)
    since = f"max by ({by}) ({name}_since_timestamp_seconds{{{match}}})"
    title = "{{workload}} ({{path}}) is dearer than {{alternative}}"
    return Annotation("Crossings", f"1000 * {since} and on ({by}) ({sides})", title, RED, by_value=True)


def _alerts(match: str) -> Annotation:
    labels = match.replace('"$workload"', '~"$workload|"').replace('"$path"', '~"$path|"').replace('"$job"', '"$job|"')
    expr = f'max by (alertname, severity, workload) (ALERTS{{{labels},alertname=~"LLMCost.*",alertstate="firing"}})'
    return Annotation("Alerts", expr, "{{alertname}} ({{severity}}) {{workload}}", ORANGE)
