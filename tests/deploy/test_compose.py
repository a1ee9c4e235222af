"""The compose file: what it mounts exists, and Prometheus and Alertmanager accept their configurations."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from exporter import __version__

COMPOSE = Path(__file__).parents[2] / "deploy" / "compose"
DASHBOARDS = COMPOSE.parents[1] / "dashboards"
PROJECT: dict[str, Any] = yaml.safe_load((COMPOSE / "docker-compose.yaml").read_text())
SERVICES: dict[str, Any] = PROJECT["services"]
every_service = pytest.mark.parametrize("name", SERVICES)


def tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed (Debian: apt-get install prometheus prometheus-alertmanager)")
    return found


def run(*command: str | Path) -> str:
    done = subprocess.run([str(each) for each in command], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@every_service
def test_images_are_pinned_and_ports_are_on_loopback(name: str) -> None:
    assert re.search(r":v?\d+\.\d+\.\d+$", SERVICES[name]["image"])
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[name]["ports"])


@every_service
def test_what_is_mounted_exists(name: str) -> None:
    for mount in SERVICES[name]["volumes"]:
        source = mount.split(":")[0]
        assert (COMPOSE / source).exists() if source.startswith(".") else source in PROJECT["volumes"], mount
    assert set(SERVICES[name].get("depends_on", ())) <= set(SERVICES)


def test_the_exporter_is_built_from_this_repository() -> None:
    exporter = SERVICES["exporter"]
    context = (COMPOSE / exporter["build"]["context"]).resolve()
    assert (context / exporter["build"]["dockerfile"]).is_file() and (context / ".dockerignore").is_file()
    assert exporter["image"].endswith(f":{__version__}")
    assert exporter["read_only"] and exporter["cap_drop"] == ["ALL"]


def test_prometheus_accepts_its_configuration(tmp_path: Path) -> None:
    shutil.copy(COMPOSE / "prometheus.yml", tmp_path)
    assert "../../dashboards:/etc/prometheus/rules:ro" in SERVICES["prometheus"]["volumes"]
    (tmp_path / "rules").symlink_to(DASHBOARDS)
    said = run(tool("promtool"), "check", "config", tmp_path / "prometheus.yml")
    assert "is valid" in said
    rules = {Path(path).name for path in yaml.safe_load((tmp_path / "prometheus.yml").read_text())["rule_files"]}
    assert rules == {path.name for path in DASHBOARDS.glob("*.yaml") if not path.stem.endswith("_test")}


def test_alertmanager_accepts_its_configuration_and_pages_only_for_critical() -> None:
    config, amtool = COMPOSE / "alertmanager.yml", tool("amtool")
    run(amtool, "check-config", config)
    for severity, receiver in (("critical", "page"), ("warning", "ticket"), ("info", "ticket")):
        said = run(amtool, "config", "routes", "test", f"--config.file={config}", f"severity={severity}")
        assert said.strip() == receiver


def test_addresses_are_those_of_services() -> None:
    prometheus = yaml.safe_load((COMPOSE / "prometheus.yml").read_text())
    targets = [t for job in prometheus["scrape_configs"] for each in job["static_configs"] for t in each["targets"]]
    targets += [
        t for each in prometheus["alerting"]["alertmanagers"] for s in each["static_configs"] for t in s["targets"]
    ]
    (source,) = yaml.safe_load((COMPOSE / "grafana/datasources/prometheus.yaml").read_text())["datasources"]
    targets.append(source["url"].removeprefix("http://"))
    for target in targets:
        service, _, port = target.partition(":")
        assert any(published.endswith(f":{port}") for published in SERVICES[service]["ports"]), target


def test_grafana_reads_dashboards_where_they_are_mounted() -> None:
    (provider,) = yaml.safe_load((COMPOSE / "grafana/dashboards/llm-cost-exporter.yaml").read_text())["providers"]
    mounts = dict(mount.split(":")[:2] for mount in SERVICES["grafana"]["volumes"])
    assert mounts["../../dashboards/grafana"] == provider["options"]["path"]
    assert mounts["./grafana/datasources"] == "/etc/grafana/provisioning/datasources"
    assert mounts["./grafana/dashboards"] == "/etc/grafana/provisioning/dashboards"
