"""The shipped rules: promtool's own tests, the runbook they point at, the metrics they rest on, the money they name."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from exporter.publish.families import BY_NAME
from tests.dashboards.promtool import DASHBOARDS, run

FILES = ("alerts.yaml", "fleet-rules.yaml")
TESTS = sorted(path.name for path in DASHBOARDS.glob("*_test.yaml"))
RULES: list[dict[str, Any]] = [
    rule
    for file in FILES
    for group in yaml.safe_load((DASHBOARDS / file).read_text())["groups"]
    for rule in group["rules"]
]
ALERTS = [rule for rule in RULES if "alert" in rule]
RECORDED = {rule["record"] for rule in RULES if "record" in rule}
RUNBOOK = (DASHBOARDS / "runbook.md").read_text()
DOCS = (DASHBOARDS.parent / "docs" / "alerts.md").read_text()
HEADINGS = set(re.findall(r"^## (.+)$", RUNBOOK, re.MULTILINE))

# What Prometheus itself adds, and prometheus_client's ProcessCollector, beside the table of families.
FOREIGN = {"up", "ALERTS", "process_start_time_seconds"}
TARGET_LABELS = {"job", "instance"}
KNOWN_VALUES = {
    "status": {"api_cheaper", "self_hosting_cheaper", "break_even", "unknown"},
    "path": {"self_hosted", "api"},
    "window": {"1h", "24h", "7d", "30d", "mtd"},
    "role": {"sidecar", "cluster"},
    "component": {"tokens", "gpu", "node", "storage", "egress", "fixed", "other"},
    "basis": {"billed", "effective"},
    "state": {"allocated", "idle"},
}


def title(rule: dict[str, Any]) -> str:
    if "record" in rule:
        return str(rule["record"])
    return "-".join((rule["alert"], *rule["labels"].values()))


def written(rule: dict[str, Any]) -> str:
    return "\n".join((rule["expr"], *rule.get("annotations", {}).values())).replace('\\"', '"')


def metrics(text: str) -> set[str]:
    return set(re.findall(r"\b(?:workload:)?llmcost_\w+(?::\w+)?|\bprocess_\w+|\bup\b(?= ==|\[)", text))


def published(name: str) -> bool:
    return name in RECORDED or name in BY_NAME or name in FOREIGN


def test_every_file_of_rules_is_tested() -> None:
    tested = {file for name in TESTS for file in yaml.safe_load((DASHBOARDS / name).read_text())["rule_files"]}
    assert tested == set(FILES)


@pytest.mark.parametrize("file", FILES)
def test_promtool_accepts_the_rules(file: str) -> None:
    run("check", "rules", file)


@pytest.mark.parametrize("file", TESTS)
def test_the_rules_do_what_their_tests_say(file: str) -> None:
    run("test", "rules", file)


@pytest.mark.parametrize("file", FILES)
def test_the_rules_need_nothing_newer_than_prometheus_2_42(file: str) -> None:
    groups = yaml.safe_load((DASHBOARDS / file).read_text())["groups"]
    assert {key for group in groups for key in group} <= {"name", "interval", "rules"}
    keys = {key for group in groups for rule in group["rules"] for key in rule}
    assert keys <= {"record", "alert", "expr", "for", "labels", "annotations"}


@pytest.mark.parametrize("rule", RULES, ids=title)
def test_a_rule_rests_on_published_metrics_only(rule: dict[str, Any]) -> None:
    found = metrics(written(rule))
    assert found and not {name for name in found if not published(name)}


@pytest.mark.parametrize("rule", RULES, ids=title)
def test_a_rule_selects_labels_that_its_metrics_have(rule: dict[str, Any]) -> None:
    for name, inside in re.findall(r"\b(llmcost_\w+)\{([^{}]*)\}", written(rule)):
        selected = set(re.findall(r"(\w+)\s*(?:=~|!=|=)", inside))
        assert selected <= {*BY_NAME[name].labels, *TARGET_LABELS}, name


@pytest.mark.parametrize("rule", RULES, ids=title)
def test_a_rule_groups_by_labels_that_exist(rule: dict[str, Any]) -> None:
    known = {label for family in BY_NAME.values() for label in family.labels} | TARGET_LABELS
    listed = re.findall(r"\b(?:by|on|ignoring|group_left|group_right|without) \(([^()]*)\)", rule["expr"])
    assert {label.strip() for inside in listed for label in inside.split(",") if label.strip()} <= known


@pytest.mark.parametrize("rule", RULES, ids=title)
def test_label_values_in_a_rule_exist(rule: dict[str, Any]) -> None:
    for label, values in KNOWN_VALUES.items():
        assert set(re.findall(rf'\b{label}="(\w+)"', written(rule))) <= values


def test_recorded_names_say_level_metric_and_operation() -> None:
    assert all(re.fullmatch(r"workload:llmcost_[a-z_]+:[a-z0-9_]+", name) for name in RECORDED)


def test_the_runbook_names_published_metrics_only() -> None:
    assert not {name for name in metrics(RUNBOOK) if not published(name)}


def test_the_docs_name_every_rule_and_no_other() -> None:
    windows = ("1h", "24h", "7d", "30d")
    named = set(re.findall(r"`(workload:[^`{]+|LLMCost\w+)`", DOCS))
    named = {name.replace("W", window) if name.endswith("W") else name for name in named for window in windows}
    assert named == RECORDED | {alert["alert"] for alert in ALERTS}


def test_every_alert_has_a_heading_in_the_runbook_and_the_reverse() -> None:
    assert {alert["alert"] for alert in ALERTS} == HEADINGS


@pytest.mark.parametrize("heading", sorted(HEADINGS))
def test_a_heading_says_what_it_means_what_to_check_and_what_to_do(heading: str) -> None:
    section = re.split(r"^## ", RUNBOOK.partition(f"## {heading}\n")[2], flags=re.MULTILINE)[0]
    for part in ("**What it means.**", "**Check first**", "**What to do.**"):
        assert part in section


@pytest.mark.parametrize("alert", ALERTS, ids=title)
def test_an_alert_says_how_bad_how_much_and_where_to_read_on(alert: dict[str, Any]) -> None:
    annotations = alert["annotations"]
    assert alert["labels"]["severity"] in ("critical", "warning", "info") and alert["for"]
    assert "USD" in annotations["summary"] and 'printf "%' in annotations["summary"]
    assert "{{" in annotations["description"]
    page, _, anchor = annotations["runbook_url"].partition("#")
    assert Path(page) == Path("dashboards/runbook.md") and anchor == alert["alert"].lower()


def test_only_a_crossing_that_is_worth_it_and_a_runaway_budget_page() -> None:
    paging = {alert["alert"] for alert in ALERTS if alert["labels"]["severity"] == "critical"}
    assert paging == {"LLMCostBreakEvenCrossed", "LLMCostBudgetBurn"}
