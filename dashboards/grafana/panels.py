"""The kinds of panel both boards are made of, in one look: what every panel has is said once, here."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from grafana_foundation_sdk.builders import bargauge, common, dashboard, prometheus, stat, statetimeline, table, text
from grafana_foundation_sdk.builders import timeseries as series
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import common as looks
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models.prometheus import PromQueryFormat
from grafana_foundation_sdk.models.text import TextMode

DATASOURCE = model.DataSourceRef(type_val="prometheus", uid="${datasource}")

GREEN, YELLOW, RED, GREY, BLUE, ORANGE = "green", "yellow", "red", "#8e8e8e", "blue", "orange"
USD, RATIO, PERCENT, SHORT, PER_SECOND, SECONDS = "currencyUSD", "none", "percentunit", "short", "cps", "s"
SLOW = "5m"  # the step of figures per token: rent accrues by the minute, so a finer step shows teeth and not cost

Steps = Sequence[tuple[float | None, str]]
AnyPanel = Builder[model.Panel]
Panel = TypeVar("Panel", series.Panel, stat.Panel, table.Panel, bargauge.Panel, statetimeline.Panel)


@dataclass(frozen=True, slots=True)
class Query:
    """One target. `fixed` is the colour of its series, `dashed` sets what is compared against apart."""

    expr: str
    legend: str = ""
    fixed: str = ""
    dashed: bool = False
    width: int = 2


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table. `cell` is how the threshold's colour shows: auto, color-text or color-background."""

    name: str
    expr: str
    unit: str = SHORT
    decimals: int | None = None
    steps: Steps = ()
    mappings: Sequence[model.ValueMap] = ()
    cell: str = "color-text"
    width: int | None = None


@dataclass(frozen=True, slots=True)
class Labels:
    """The label columns of a table by shown name, the link of the first one, widths by shown name, and the column that
    the table is sorted by, highest first."""

    names: dict[str, str]
    url: str = ""
    widths: dict[str, int] = field(default_factory=dict)
    sort: str = ""


def thresholds(steps: Steps) -> dashboard.ThresholdsConfig:
    """Absolute steps; the first one starts at minus infinity (None)."""
    found = [model.Threshold(value, colour) for value, colour in steps]
    return dashboard.ThresholdsConfig().mode(model.ThresholdsMode.ABSOLUTE).steps(found)


def mapping(texts: dict[str, tuple[str, str]]) -> model.ValueMap:
    """What to show instead of a value, and in which colour."""
    return model.ValueMap(
        {
            value: model.ValueMappingResult(shown, colour, index=i)
            for i, (value, (shown, colour)) in enumerate(texts.items())
        }
    )


def timeseries(
    title: str, description: str, unit: str, queries: Sequence[Query], span: int = 8, height: int = 8, step: str = ""
) -> series.Panel:
    """Lines over the time range. `step` is the finest step between two points, where finer ones would mislead."""
    panel = series.Panel().unit(unit).line_width(2).fill_opacity(0).show_points(looks.VisibilityMode.NEVER)
    panel = panel.tooltip(common.VizTooltipOptions().mode(looks.TooltipDisplayMode.MULTI))
    legend = common.VizLegendOptions().show_legend(True).display_mode(looks.LegendDisplayMode.LIST)
    panel = panel.legend(legend.placement(looks.LegendPlacement.BOTTOM).calcs([]))
    panel = panel.color_scheme(dashboard.FieldColor().mode(model.FieldColorModeId.PALETTE_CLASSIC))
    for ref, query in zip(_refs(), queries, strict=False):
        if properties := _line(query):
            panel = panel.override_by_query(ref, properties)
    return _common(panel.interval(step) if step else panel, title, description, queries, span, height)


def coloured(panel: series.Panel, colours: dict[str, str]) -> series.Panel:
    """The same panel with a colour of its own for each named series."""
    for name, colour in colours.items():
        panel = panel.override_by_name(name, [_set("color", {"mode": "fixed", "fixedColor": colour})])
    return panel


def banded(panel: series.Panel, steps: Steps, lines: bool = False) -> series.Panel:
    """The same panel with its thresholds drawn, as areas or as dashed lines."""
    mode = looks.GraphTresholdsStyleMode.DASHED if lines else looks.GraphTresholdsStyleMode.AREA
    return panel.thresholds(thresholds(steps)).thresholds_style(common.GraphThresholdsStyleConfig().mode(mode))


def stacked(panel: series.Panel, percent: bool = False) -> series.Panel:
    """The same panel with its series piled up; `percent` as shares of the whole."""
    mode = looks.StackingMode.PERCENT if percent else looks.StackingMode.NORMAL
    panel = panel.stacking(common.StackingConfig().mode(mode).group("A")).axis_soft_min(0)
    return panel.fill_opacity(45).line_width(1)


def single(
    title: str, description: str, unit: str, expr: str, steps: Steps, span: int = 3, height: int = 4
) -> stat.Panel:
    """One number, coloured by its thresholds, with the course of the time range behind it."""
    panel = stat.Panel().unit(unit).graph_mode(looks.BigValueGraphMode.AREA)
    panel = panel.color_mode(looks.BigValueColorMode.VALUE).text_mode(looks.BigValueTextMode.VALUE)
    panel = panel.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]).fields("").values(False))
    panel = panel.thresholds(thresholds(steps)).color_scheme(_by_threshold()).no_value("no data")
    return _common(panel, title, description, [Query(expr)], span, height)


def bars(
    title: str, description: str, unit: str, expr: str, legend: str, steps: Steps, span: int = 8, height: int = 8
) -> bargauge.Panel:
    """One horizontal bar for each series, at its present value."""
    panel = bargauge.Panel().unit(unit).orientation(looks.VizOrientation.HORIZONTAL).thresholds(thresholds(steps))
    panel = (
        panel.color_scheme(_by_threshold())
        .display_mode(looks.BarGaugeDisplayMode.BASIC)
        .value_mode(looks.BarGaugeValueMode.COLOR)
    )
    panel = panel.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]).fields("").values(False))
    return _common(panel, title, description, [Query(expr, legend)], span, height, instant=True)


def timeline(
    title: str, description: str, query: Query, states: model.ValueMap, span: int = 24, height: int = 4
) -> statetimeline.Panel:
    """States over time, one bar for each series."""
    panel = statetimeline.Panel().mappings([states]).show_value(looks.VisibilityMode.AUTO).merge_values(True)
    panel = panel.row_height(0.8).line_width(0).fill_opacity(80)
    return _common(panel, title, description, [query], span, height)


def grid(
    title: str, description: str, labels: Labels, columns: Sequence[Column], span: int = 24, height: int = 8
) -> table.Panel:
    """A table: one row for each set of labels, one column for each query, joined on the labels."""
    panel = table.Panel().show_header(True).cell_height(looks.TableCellHeight.SM)
    panel = panel.override_by_regexp("/.*/", [_set("custom.minWidth", 60)])
    if labels.sort:
        panel = panel.sort_by([common.TableSortByFieldState().display_name(labels.sort).desc(True)])
    refs = dict(zip(_refs(), columns, strict=False))
    names = {**labels.names, **{f"Value #{ref}": column.name for ref, column in refs.items()}}
    if len(columns) == 1:
        names["Value"] = columns[0].name  # Grafana numbers the values of several queries only
    order = {name: place for place, name in enumerate(names)}
    panel = panel.transformations([
        model.DataTransformerConfig("merge", options={}),
        model.DataTransformerConfig(
            "organize", options={"excludeByName": {"Time": True}, "indexByName": order, "renameByName": names}
        ),
    ])  # fmt: skip
    for column in columns:
        panel = panel.override_by_name(column.name, _cell(column))
    for name, width in labels.widths.items():
        panel = panel.override_by_name(name, [_set("custom.width", width)])
    if labels.url:
        link = {"title": "Open this workload", "url": labels.url, "targetBlank": False}
        panel = panel.override_by_name(next(iter(labels.names.values())), [_set("links", [link])])
    return _common(panel, title, description, [Query(one.expr) for one in columns], span, height, instant=True)


def markdown(title: str, content: str, span: int = 8, height: int = 8) -> text.Panel:
    return text.Panel().title(title).mode(TextMode.MARKDOWN).content(content).span(span).height(height)


def row(title: str) -> dashboard.Row:
    return dashboard.Row(title)


def folded(title: str, panels: Sequence[AnyPanel]) -> dashboard.Row:
    """A row that is closed until somebody opens it; it must be the last one."""
    made = dashboard.Row(title).collapsed(True)
    for panel in panels:
        made = made.with_panel(panel)
    return made


def _common(
    panel: Panel, title: str, description: str, queries: Sequence[Query], span: int, height: int, instant: bool = False
) -> Panel:
    panel = panel.title(title).description(description).datasource(DATASOURCE).span(span).height(height)
    for ref, query in zip(_refs(), queries, strict=False):
        panel = panel.with_target(_target(ref, query, isinstance(panel, table.Panel), instant))
    return panel


def _target(ref: str, query: Query, as_table: bool, instant: bool) -> prometheus.Dataquery:
    target = prometheus.Dataquery().ref_id(ref).expr(query.expr).datasource(DATASOURCE)
    target = target.format(PromQueryFormat.TABLE if as_table else PromQueryFormat.TIME_SERIES)
    target = target.legend_format(query.legend) if query.legend else target
    return target.instant() if instant else target.range()


def _by_threshold() -> dashboard.FieldColor:
    return dashboard.FieldColor().mode(model.FieldColorModeId.THRESHOLDS)


def _refs() -> list[str]:
    return [chr(code) for code in range(ord("A"), ord("Z") + 1)]


def _line(query: Query) -> list[model.DynamicConfigValue]:
    found = [_set("custom.lineWidth", query.width)] if query.width != 2 else []
    if query.fixed:
        found.append(_set("color", {"mode": "fixed", "fixedColor": query.fixed}))
    if query.dashed:
        found.append(_set("custom.lineStyle", {"fill": "dash", "dash": [8, 6]}))
    return found


def _cell(column: Column) -> list[model.DynamicConfigValue]:
    found = [_set("unit", column.unit)]
    if column.decimals is not None:
        found.append(_set("decimals", column.decimals))
    if column.width is not None:
        found.append(_set("custom.width", column.width))
    if column.mappings:
        found.append(_set("mappings", list(column.mappings)))
    if column.steps or column.mappings:
        found.append(_set("custom.cellOptions", {"type": column.cell, "mode": "basic"}))
        found.append(_set("color", {"mode": "thresholds"}))
    if column.steps:
        found.append(_set("thresholds", thresholds(column.steps).build()))
    return found


def _set(name: str, value: object) -> model.DynamicConfigValue:
    return model.DynamicConfigValue(name, value)
