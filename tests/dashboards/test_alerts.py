"""The shipped alerts: promtool's own tests, the runbook they point at, and the metrics they rest on."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from exporter.publish.families import BY_NAME

ROOT = Path(__file__).parents[2]
DASHBOARDS = ROOT / "dashboards"
GROUPS: list[dict[str, Any]] = yaml.safe_load((DASHBOARDS / "alerts.yaml").read_text())["groups"]
RULES = [rule for group in GROUPS for rule in group["rules"]]
ALERTS = [rule for rule in RULES if "alert" in rule]
RUNBOOK = (DASHBOARDS / "runbook.md").read_text()
RECORDED = {rule["record"] for rule in RULES if "record" in rule}


def metrics(expression: str) -> set[str]:
    return set(re.findall(r"(?:\w+:)?llmcost_\w+(?::\w+)?", expression))


def published(name: str) -> bool:
    return name in RECORDED or name in BY_NAME


@pytest.mark.parametrize("check", [("check", "rules", "alerts.yaml"), ("test", "rules", "alerts_test.yaml")])
def test_promtool_accepts_and_tests_the_rules(check: tuple[str, ...]) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian: apt-get install prometheus)")
    done = subprocess.run([promtool, *check], cwd=DASHBOARDS, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.get("record") or rule["alert"])
def test_a_rule_rests_on_published_metrics_only(rule: dict[str, Any]) -> None:
    written = rule["expr"] + " ".join(rule.get("annotations", {}).values())
    assert metrics(written) and not {name for name in metrics(written) if not published(name)}


def test_the_runbook_names_published_metrics_only() -> None:
    assert not {name for name in metrics(RUNBOOK) if not published(name)}


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: f"{alert['alert']}-{alert['labels']['severity']}")
def test_an_alert_says_what_how_bad_and_where_to_read_on(alert: dict[str, Any]) -> None:
    annotations = alert["annotations"]
    assert alert["labels"]["severity"] in ("critical", "warning", "info") and alert["for"]
    assert "{{" not in annotations["summary"] and annotations["summary"].endswith(".")
    assert "{{" in annotations["description"]
    page, _, anchor = annotations["runbook_url"].partition("#")
    headings = re.findall(r"^## (.+)$", (ROOT / page).read_text(), re.MULTILINE)
    assert anchor in {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_status_labels_in_the_rules_exist() -> None:
    written = " ".join(rule["expr"] for rule in RULES)
    known = {"api_cheaper", "self_hosting_cheaper", "break_even", "unknown"}
    assert set(re.findall(r'status="(\w+)"', written)) <= known
    assert set(re.findall(r'path="(\w+)"', written)) == {"self_hosted", "api"}
