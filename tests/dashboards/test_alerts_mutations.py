"""Do the rules' tests decide? Each change to an alert below must make promtool fail on the cases that name the alert.

By rule every wait is left out, and every number that an alert compares with is a tenth and ten times of itself; the
table has what that does not reach. Only the alert's own rules and cases are evaluated, so that it takes seconds.
"""

import json
import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.dashboards.promtool import DASHBOARDS, run

CASES = ("alerts_test.yaml", "alerts_days_test.yaml")

Rule = dict[str, Any]

# Alert, a pattern of its expression, what replaces each match.
TABLE = (
    ("LLMCostBreakEvenCrossed-warning", r"unless on .*\s+\(min_over_time.*", ""),
    ("LLMCostBreakEvenCrossed-critical-fleet", "86400", "864000"),
    ("LLMCostBreakEvenCrossed-critical-fleet", "86400", "8640"),
    ("LLMCostBreakEvenCrossed-warning-fleet", "86400", "864000"),
    ("LLMCostBreakEvenCrossed-warning-fleet", "86400", "8640"),
    ("LLMCostBreakEvenCrossed-warning-fleet", r"unless \(min_over_time.*", ""),
    ("LLMCostBillDrift-warning", r"abs(\(max by \(job, collector\) \(\w+\{[^}]*\}\)\)) > 0", r"\1 > 0"),
    ("LLMCostBillDrift-warning", r"(llmcost_bill_\w+\{[^}]*\})", r"last_over_time(\1[1d])"),
    ("LLMCostGPUIdle-warning", r"and\s+count_over_time.* >= 260", ""),
    ("LLMCostGPUUnderused-info", r"and\s+count_over_time.* >= 260", ""),
    ("LLMCostBudgetExceeded-warning", "> 0", "> -9000"),
    ("LLMCostBudgetExceeded-warning", "> 0", "> 9000"),
    ("LLMCostBudgetExceeded-warning", r"(llmcost_budget_\w+)", r"last_over_time(\1[1d])"),
    ("LLMCostBudgetBurn-warning", r"(llmcost_budget_\w+)", r"last_over_time(\1[1d])"),
    ("LLMCostBudgetBurn-warning", r"unless\s+max.*", ""),
    ("LLMCostBudgetBurn-critical", r"(llmcost_budget_\w+)( offset 6h)?", r"last_over_time(\1[1d]\2)"),
    ("LLMCostBudgetBurn-critical", r"5 \* 6", "1.5 * 6"),
    ("LLMCostBudgetBurn-critical", r"5 \* 6", "10 * 6"),
    ("LLMCostSourceStale-warning", "900", "300"),
    ("LLMCostSourceStale-warning", "900", "9000"),
    ("LLMCostSourceStale-warning", "21600", "2160"),
    ("LLMCostSourceStale-warning", "21600", "216000"),
    ("LLMCostSourceStale-warning", r"3 \*", "1 *"),
    ("LLMCostSourceStale-warning", r"3 \*", "30 *"),
    ("LLMCostExporterDown-warning", r"up\[5m\]", "up[1m]"),
    ("LLMCostLedgerNotWritable-warning", r"\[5m\]", "[1m]"),
    ("LLMCostLedgerNotWritable-warning", r"\[5m\]", "[30m]"),
    ("LLMCostPaidRequests-warning", r"increase\((\w+)\[1d\]\)", r"last_over_time(\1[1d])"),
)


class Literal(yaml.SafeLoader):
    """Scalars as they are written: to YAML 1.1 the series `0x30` is the number 48."""


Literal.yaml_implicit_resolvers = {"<": yaml.SafeLoader.yaml_implicit_resolvers["<"]}


def title(rule: Rule) -> str:
    return "-".join((rule["alert"], *rule["labels"].values()))


GROUPS: list[dict[str, Any]] = yaml.safe_load((DASHBOARDS / "alerts.yaml").read_text())["groups"]
ALERTS = {title(rule): rule for group in GROUPS for rule in group["rules"] if "alert" in rule}
FILES: list[dict[str, Any]] = [yaml.load((DASHBOARDS / name).read_text(), Literal) for name in CASES]


def other_numbers(rule: Rule) -> Iterator[tuple[str, Rule]]:
    """The rule with a tenth and with ten times of each number that it compares with, one at a time."""
    expr = rule["expr"]
    for found in re.finditer(r"[<>]=? +(\d[\d.]*)(?! *[*(\d])", expr):
        for factor in (0.1, 10) if float(found[1]) else ():
            number = f"{float(found[1]) * factor:g}"
            yield f"{found[0]} to {number}", rule | {"expr": expr[: found.start(1)] + number + expr[found.end(1) :]}


def changes(alert: str) -> Iterator[tuple[str, dict[str, Rule]]]:
    """What is changed, and the changed rule by its title."""
    for name, rule in ALERTS.items():
        if rule["alert"] == alert:
            yield f"{name}: no wait", {name: rule | {"for": "0m"}}
            yield from ((f"{name}: {what}", {name: changed}) for what, changed in other_numbers(rule))
    for name, pattern, replacement in TABLE:
        if ALERTS[name]["alert"] == alert:
            expr, count = re.subn(pattern, replacement, ALERTS[name]["expr"])
            assert count, f"{name} no longer contains {pattern}"
            yield f"{name}: {pattern} to {replacement}", {name: ALERTS[name] | {"expr": expr}}


def rules(alert: str, changed: dict[str, Rule]) -> dict[str, Any]:
    """The alert's group with the rules it needs: all of its name, and what is recorded for them."""
    (group,) = (each for each in GROUPS if any(rule.get("alert") == alert for rule in each["rules"]))
    kept = [rule for rule in group["rules"] if rule.get("alert", alert) == alert]
    return {"groups": [group | {"rules": [changed.get(title(r), r) if "alert" in r else r for r in kept]}]}


def cases(alert: str) -> list[dict[str, Any]]:
    """One file for each case that looks at the alert, quick ones first: a change need only fail one."""
    kept = []
    for file in FILES:
        for case in file["tests"]:
            looks = [look for look in case.get("alert_rule_test", ()) if look["alertname"] == alert]
            if looks:
                kept.append(file | {"tests": [case | {"alert_rule_test": looks, "promql_expr_test": []}]})
    return sorted(kept, key=evaluations)


def evaluations(file: dict[str, Any]) -> float:
    looks = file["tests"][0]["alert_rule_test"]
    return max(seconds(look["eval_time"]) for look in looks) / seconds(file["evaluation_interval"])


def seconds(duration: str) -> int:
    units = {"d": 86400, "h": 3600, "m": 60}
    return sum(int(number) * units[unit] for number, unit in re.findall(r"(\d+)([dhm])", duration))


def complaint(directory: Path, alert: str, changed: dict[str, Rule]) -> str:
    """What promtool says of the first case that fails; nothing if none does."""
    directory.mkdir()
    (directory / "alerts.yaml").write_text(json.dumps(rules(alert, changed)))
    for number, file in enumerate(cases(alert)):
        written = directory / f"{number}_test.yaml"
        written.write_text(json.dumps(file))
        try:
            run("test", "rules", str(written))
        except AssertionError as failed:
            return str(failed)
    return ""


@pytest.mark.parametrize("alert", sorted({rule["alert"] for rule in ALERTS.values()}))
def test_the_tests_of_an_alert_pass_as_it_is_and_fail_once_it_is_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, alert: str
) -> None:
    monkeypatch.setenv("GOMAXPROCS", "1")  # one promtool per core, with fewer garbage collections: a fifth less time
    monkeypatch.setenv("GOGC", "400")
    what, changed = zip(("nothing", {}), *changes(alert), strict=True)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        directories = (tmp_path / str(number) for number in range(len(what)))
        shipped, *said = pool.map(complaint, directories, (alert for _ in what), changed)
    assert not shipped
    assert not [each for each, says in zip(what[1:], said, strict=True) if f"alertname: {alert}, time" not in says]
