"""The config that the chart ships passes the exporter's own `check`, with the environment that the chart gives it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from deploy.generate import MANIFESTS
from tests.deploy.cases import CASES, exporters, of

ROOT = Path(__file__).parents[2]
SIDECAR = {"WORKLOAD": "chat", "GPU": "h100-80gb", "GPUS": "2", "GPU_USD_PER_HOUR": "2.49"}


def config(case: str) -> str:
    """The config file of the case."""
    (found,) = (each["data"]["config.yaml"] for each in of(case, "ConfigMap") if "config.yaml" in each["data"])
    return str(found)


def environment(case: str) -> dict[str, str]:
    """The variables that the case sets on the exporter; without one, those that the README has users set."""
    given = {entry["name"]: entry["value"] for container in exporters(case) for entry in container.get("env", ())}
    return given or SIDECAR


def check(path: Path, environ: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "exporter", "check", "--config.file", str(path)]
    environ = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", **environ}
    return subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=120)


def different_configs() -> list[str]:
    """The first case of each config and environment."""
    return list({(config(case), *environment(case).items()): case for case in reversed(CASES)}.values())


@pytest.mark.parametrize("case", different_configs())
def test_the_exporter_accepts_the_rendered_config(case: str, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(config(case))
    done = check(path, environment(case))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("case", CASES)
def test_the_ledger_is_on_the_volume(case: str) -> None:
    read = yaml.safe_load(config(case))
    if case != "config-as-text":
        assert read["storage"]["path"] == "/data/ledger.db"
        assert read["role"] == CASES[case].get("role", "cluster")


def test_a_number_stays_what_was_written() -> None:
    """Helm turns numbers into floats on some ways; money and large numbers come through quoted."""
    (each,) = yaml.safe_load(config("engine"))["collectors"][1]["rates"]
    assert each["usd_per_hour"] == "${GPU_USD_PER_HOUR}" and each["count"] == "${GPUS}"
    given = environment("engine-with-everything")
    assert given["GPUS"] == "0.5" and given["GPU_USD_PER_HOUR"] == "1.29" and given["WORKLOAD"] == "chat-eu"


def test_the_patch_sets_every_variable_of_the_config() -> None:
    patch = yaml.safe_load((MANIFESTS / "sidecar-patch.yaml").read_text())
    (sidecar,) = patch["spec"]["template"]["spec"]["initContainers"]
    assert {entry["name"] for entry in sidecar["env"]} == set(SIDECAR)
    assert all(f"${{{name}}}" in config("sidecar") for name in SIDECAR)
