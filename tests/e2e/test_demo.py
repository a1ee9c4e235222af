"""The demo as a user starts it, scraped by a real Prometheus with the shipped alerts, into a real Alertmanager."""

import re
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from exporter.publish.families import FAMILIES
from tests.e2e.running import (
    Running,
    Webhook,
    alertmanager,
    exporter,
    fetch,
    free_port,
    program,
    prometheus,
    running,
    wait_for,
    webhook,
)

ALERTS = Path(__file__).parents[2] / "dashboards" / "alerts.yaml"
SPEED = 60  # one minute of the demo in a second


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, str]]:
    """The demo, sixty times as fast, and its address."""
    directory, address = tmp_path_factory.mktemp("demo"), f"127.0.0.1:{free_port()}"
    command = exporter("demo", f"--web.listen-address={address}", f"--speed={SPEED}", f"--data-dir={directory}")
    with running(command, directory / "demo.log") as child:
        child.page(f"http://{address}/metrics")
        yield child, address


def sped_up(directory: Path) -> Path:
    """A copy of the shipped alerts whose waits are seconds."""
    rules = yaml.safe_load(ALERTS.read_text())
    for group in rules["groups"]:
        group["interval"] = "1s"
        for rule in group["rules"]:
            rule.update({key: "1s" for key in ("for", "keep_firing_for") if key in rule})
    copy = directory / "alerts.json"
    copy.write_text(yaml.safe_dump(rules))
    return copy


@pytest.fixture(scope="module")
def alerts(demo: tuple[Running, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Webhook]:
    """What the demo's alerts send through a real Prometheus and a real Alertmanager."""
    directory = tmp_path_factory.mktemp("monitoring")
    with ExitStack() as stack:
        received = stack.enter_context(webhook())
        manager = stack.enter_context(alertmanager(directory, received.url))
        stack.enter_context(prometheus(directory, [demo[1]], [sped_up(directory)], manager))
        yield received


def test_the_crossing_of_support_is_alerted_and_resolved(demo: tuple[Running, str], alerts: Webhook) -> None:
    crossed = {"alertname": "LLMCostBreakEvenCrossed", "workload": "support"}
    fired = wait_for("the crossing to reach the webhook", lambda: alerts.first("firing", **crossed), 180)
    assert fired["annotations"]["summary"]
    assert fired["annotations"]["runbook_url"]
    wait_for("the traffic's return to resolve it", lambda: alerts.first("resolved", **crossed), 180)


def test_who_is_on_the_cheaper_side_is_not_alerted(alerts: Webhook) -> None:
    crossed = {alert["labels"]["workload"] for alert in alerts.alerts if "Crossed" in alert["labels"]["alertname"]}
    assert crossed == {"support", "summaries"}


def test_every_family_on_the_page_is_in_the_table(demo: tuple[Running, str]) -> None:
    page = fetch(f"http://{demo[1]}/metrics")
    assert page
    shown = set(re.findall(r"^# TYPE (\S+)", page, re.MULTILINE))
    assert {name for name in shown if name.startswith("llmcost_")} <= {family.name for family in FAMILIES}


def test_promtool_finds_nothing_wrong_with_the_page(demo: tuple[Running, str]) -> None:
    page = fetch(f"http://{demo[1]}/metrics")
    assert page
    checked = subprocess.run(
        [program("promtool"), "check", "metrics"], input=page, capture_output=True, text=True, timeout=60, check=False
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


def test_each_workload_stands_where_the_demo_says(demo: tuple[Running, str]) -> None:
    page = fetch(f"http://{demo[1]}/metrics")
    assert page
    status = {
        sample.labels["workload"]: sample.labels["status"]
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if sample.name == "llmcost_break_even_status" and sample.value == 1
    }
    assert status["assistant"] == "self_hosting_cheaper"
    assert status["summaries"] == "api_cheaper"
    assert status["support"] in ("api_cheaper", "break_even", "self_hosting_cheaper")
    assert status["tiny-llama"] in ("unknown", "self_hosting_cheaper", "break_even")


def test_the_status_page_names_every_workload(demo: tuple[Running, str]) -> None:
    page = fetch(f"http://{demo[1]}/")
    assert page
    for workload in ("assistant", "summaries", "support", "tiny-llama", "batch-mail"):
        assert workload in page


def test_it_prints_where_to_look(demo: tuple[Running, str]) -> None:
    output = demo[0].log.read_text()
    assert f"http://{demo[1]}/\n" in output or f"http://{demo[1]}/ " in output
    assert f"http://{demo[1]}/metrics" in output


def test_ended_it_leaves_nothing_behind(tmp_path: Path) -> None:
    """Without --data-dir its files are in a directory of their own, which goes when it goes."""
    address, temporary = f"127.0.0.1:{free_port()}", tmp_path / "temporary"
    temporary.mkdir()
    child = Running(exporter("demo", f"--web.listen-address={address}"), tmp_path / "demo.log", TMPDIR=str(temporary))
    try:
        child.page(f"http://{address}/metrics")
        assert list(temporary.iterdir())
    finally:
        status = child.stop()
    assert (status, list(temporary.iterdir())) == (0, [])
