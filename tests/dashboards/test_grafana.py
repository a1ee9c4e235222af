"""The committed Grafana boards: as generated, resting on published families only, and sound as Grafana reads them."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from grafana_foundation_sdk.models import units

from dashboards.grafana.generate import boards
from exporter.publish.families import BY_NAME, FAMILIES
from tests.dashboards.boards import FOLDER, NAMES, asked, filled, load, panels, series

every_board = pytest.mark.parametrize("name", NAMES)
UNITS = {value for value in vars(units).values() if isinstance(value, str)}
SELECTOR = re.compile(r"(?P<metric>[a-zA-Z_:][\w:]*)?\{(?P<matchers>[^{}]*)\}")
MATCHER = re.compile(r'(\w+)\s*(?:=~|!~|!=|=)\s*"(?:[^"\\]|\\.)*"')
GROUPED = re.compile(r"\b(?:by|on|group_left|group_right)\s*\(([^()]*)\)")
TEXT = re.compile(r'"(?:[^"\\]|\\.)*"')

SCRAPED = {"job", "instance"}  # what the scrape adds
ALERTS = {"alertname", "severity", "alertstate", "workload", "path"}  # of Prometheus' own series of alerts
JOBS = "llmcost_exporter_build_info"  # the variable `job`: the one query that is not limited to jobs
LABELS = {label for family in FAMILIES for label in family.labels}


def queries() -> list[Any]:
    found = [(f"{name}:{one.place}", one.expr) for name in NAMES for one in asked(name)]
    return [pytest.param(expr, id=place) for place, expr in found if expr != JOBS]


def selectors(expr: str) -> Iterator[tuple[str, set[str]]]:
    """Each selector of the query: the metric's name and the labels that it matches on."""
    for found in SELECTOR.finditer(re.sub(r"\$\{?\w+\}?", "x", expr)):
        labels = set(MATCHER.findall(found["matchers"]))
        if "__name__" in labels:
            names = re.search(r'__name__=~"([^"]*)"', found["matchers"])
            assert names
            yield from ((name, labels - {"__name__"}) for name in names[1].split("|"))
        else:
            yield found["metric"], labels


def test_the_committed_boards_are_what_the_generator_writes() -> None:
    committed = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.json")}
    assert set(committed) == set(NAMES)
    stale = [name for name, text in boards().items() if text != committed[name]]
    assert not stale, "write them anew: python -m dashboards.grafana.generate"


@pytest.mark.parametrize("expr", queries())
def test_a_query_reads_published_families_by_labels_they_have(expr: str) -> None:
    found = list(selectors(expr))
    assert found
    for name, labels in found:
        if name == "ALERTS":
            assert labels <= SCRAPED | ALERTS
            continue
        assert name in BY_NAME, f"{name} is not in the table of families"
        assert labels <= {*BY_NAME[name].labels} | SCRAPED, f"{name} has no {labels - {*BY_NAME[name].labels}}"


@pytest.mark.parametrize("expr", queries())
def test_every_metric_stands_with_a_selector_on_the_job(expr: str) -> None:
    bare = re.findall(r"\b(?:llmcost_\w+|ALERTS)\b(?!\{)", TEXT.sub('""', expr))
    assert not bare
    assert all("job" in labels for _, labels in selectors(expr))


@pytest.mark.parametrize("expr", queries())
def test_a_query_groups_by_labels_that_exist(expr: str) -> None:
    grouped = {label for found in GROUPED.findall(TEXT.sub('""', expr)) for label in re.findall(r"\w+", found)}
    assert grouped <= LABELS | SCRAPED | ALERTS


@pytest.mark.parametrize("expr", queries())
def test_ratios_and_prices_per_token_are_never_averaged(expr: str) -> None:
    assert not re.search(r"\b(?:avg|avg_over_time|quantile)\b", expr)
    per_token = [name for name in BY_NAME if name.endswith(("_ratio", "_per_token"))]
    summed = re.findall(r"sum by \([^)]*\) \((\w+)\{", expr)
    assert not set(summed) & set(per_token)


@every_board
def test_statuses_and_windows_in_the_queries_exist(name: str) -> None:
    text = " ".join(one.expr for one in asked(name))
    statuses = {"self_hosting_cheaper", "api_cheaper", "break_even", "unknown"}
    assert set(re.findall(r'status="(\w+)"', text)) <= statuses
    assert set(re.findall(r'window="(\w+)"', text)) <= {"1h", "24h", "7d", "30d", "mtd"}


@every_board
def test_panels_have_numbers_of_their_own_and_do_not_overlap(name: str) -> None:
    shown = load(name)["panels"]
    every = [one for panel in shown for one in (panel, *panel.get("panels", ()))]
    assert len({panel["id"] for panel in every}) == len(every)
    cells: set[tuple[int, int]] = set()
    for panel in every:
        at = panel["gridPos"]
        mine = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not mine & cells, panel["title"]
        assert at["x"] + at["w"] <= 24 and at["h"] > 0
        cells |= mine


@every_board
def test_the_data_source_is_the_variable_everywhere(name: str) -> None:
    board = load(name)
    assert board["templating"]["list"][0]["type"] == "datasource"
    places = [*panels(board), *board["annotations"]["list"]]
    places += [target for panel in panels(board) for target in panel.get("targets", ())]
    places += [one for one in board["templating"]["list"] if one["type"] == "query"]
    for place in places:
        if place.get("type") != "text":
            assert place["datasource"] == {"type": "prometheus", "uid": "${datasource}"}


@every_board
def test_every_unit_is_one_of_grafanas(name: str) -> None:
    for panel in panels(load(name)):
        config = panel.get("fieldConfig", {"defaults": {}, "overrides": []})
        found = {config["defaults"].get("unit")} - {None}
        found |= {one["value"] for each in config["overrides"] for one in each["properties"] if one["id"] == "unit"}
        assert found <= UNITS, panel["title"]


@every_board
def test_every_panel_says_what_it_means(name: str) -> None:
    for panel in panels(load(name)):
        assert panel["title"]
        assert panel["type"] == "text" or panel["description"].endswith("."), panel["title"]


@every_board
def test_targets_have_letters_of_their_own(name: str) -> None:
    for panel in panels(load(name)):
        refs = [target["refId"] for target in panel.get("targets", ())]
        assert len(set(refs)) == len(refs)


@every_board
def test_every_variable_in_a_query_is_defined_before_it_is_used(name: str) -> None:
    variables = load(name)["templating"]["list"]
    known = {one["name"]: "x" for one in variables} | {"__rate_interval": "1m", "__range": "1h"}
    for one in asked(name):
        filled(one.expr, known)
    for place, one in enumerate(variables):
        if one["type"] == "query":
            earlier = {each["name"]: "x" for each in variables[:place]} | {"__range": "1h"}
            filled(series(one["query"]), earlier)


@every_board
def test_a_column_that_an_override_names_exists(name: str) -> None:
    """A misspelt override does nothing, silently."""
    for panel in panels(load(name)):
        if panel["type"] == "table":
            shown = set(panel["transformations"][1]["options"]["renameByName"].values())
            named = {
                one["matcher"]["options"]
                for one in panel["fieldConfig"]["overrides"]
                if one["matcher"]["id"] == "byName"
            }
            assert named <= shown, panel["title"]


def test_the_runbook_heading_that_the_board_links_to_exists() -> None:
    text = next(panel for panel in panels(load("llmcost-workload.json")) if panel["type"] == "text")
    (anchor,) = re.findall(r"\$\{runbook\}#(\w+)", text["options"]["content"])
    headings = re.findall(r"^## (.+)$", (FOLDER.parent / "runbook.md").read_text(), re.MULTILINE)
    assert anchor in {heading.lower() for heading in headings}


def test_links_between_the_boards_name_their_uids() -> None:
    uids = {load(name)["uid"] for name in NAMES}
    assert {name.removesuffix(".json") for name in NAMES} == uids
    for name in NAMES:
        text = (FOLDER / name).read_text(encoding="utf-8")
        assert set(re.findall(r'"/d/([\w-]+)', text)) <= uids
