"""The alerts' runbook is a link once the chart, or the file itself, is told where the repository is read."""

import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.generate import objects, render, values

ROOT = Path(__file__).parents[2]
README = (ROOT / "deploy" / "README.md").read_text()
BASE = "https://git.example.com/platform/llm-cost-exporter/blob/main"
PLAIN = yaml.safe_load((ROOT / "dashboards" / "alerts.yaml").read_text())


def urls(groups: list[dict[str, Any]]) -> list[str]:
    return [rule["annotations"]["runbook_url"] for group in groups for rule in group["rules"] if "alert" in rule]


def rendered(base: str) -> list[dict[str, Any]]:
    """The groups of all rules that the chart renders with this base."""
    chosen = values("cluster") | {"prometheusRule": {"enabled": True, "runbookBaseUrl": base}}
    found = [each for each in objects(render(chosen, "monitoring")) if each["kind"] == "PrometheusRule"]
    return [group for each in found for group in each["spec"]["groups"]]


@pytest.mark.parametrize("base", [BASE, f"{BASE}/"])
def test_the_chart_puts_the_base_in_front(base: str) -> None:
    plain = urls(PLAIN["groups"])
    assert urls(rendered(base)) == [f"{BASE}/{url}" for url in plain]
    assert len(plain) > 10 and all((ROOT / url.partition("#")[0]).exists() for url in plain)


def test_without_a_base_the_rules_are_the_files() -> None:
    assert urls(rendered("")) == urls(PLAIN["groups"])


def test_nothing_else_of_the_rules_changes() -> None:
    assert str(rendered(BASE)).replace(f"{BASE}/", "") == str(rendered(""))


def test_the_readmes_sed_does_the_same_to_the_plain_file(tmp_path: Path) -> None:
    (line,) = re.findall(r"^sed -i .*", README, re.M)
    *command, path = shlex.split(line)
    copy = tmp_path / "alerts.yaml"
    copy.write_text((ROOT / path).read_text())
    subprocess.run([*command, str(copy)], check=True, timeout=60)
    assert urls(yaml.safe_load(copy.read_text())["groups"]) == urls(rendered(BASE))
