"""The Dockerfile's own steps, run without an engine in clean directories (see image.py), and what they make."""

import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from exporter import __version__
from tests.deploy.image import UID, Builder, assignments, exec_form, stages

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text()
BUILD, FINAL = stages(DOCKERFILE)
OTHER_USER = UID if os.geteuid() == 0 else None
CONFIG = """\
collectors:
  - {name: gateway, kind: usage_log, path: LOGS, serves: api}
  - {name: gpus, kind: rate_card, rates: [{workload: chat, usd_per_hour: "2.49"}]}
workloads: [{name: chat, match: {collector: gateway}}]
"""
LINE = '{"ts": %d, "id": "a", "provider": "openai", "model": "gpt-4o", "tokens": {"input": 900, "output": 50}}\n'


def base_python() -> str:
    """A Python 3.11 that makes environments and that the image's user may run, as in the base image."""
    candidates = ("/usr/bin/python3.11", "/usr/local/bin/python3.11", sys._base_executable)  # type: ignore[attr-defined]  # has no public name
    for python in candidates:
        if Path(python).exists():
            probe = [python, "-c", "import ensurepip, venv"]
            try:
                if subprocess.run(probe, cwd="/", user=OTHER_USER, capture_output=True).returncode == 0:
                    return str(python)
            except PermissionError:
                continue
    pytest.skip("no python3.11 with venv that another user may run (Debian: apt-get install python3.11-venv)")


@pytest.fixture(scope="module")
def image() -> Iterator[Builder]:
    """The final stage, built."""
    python = base_python()
    with tempfile.TemporaryDirectory(prefix="image-") as name:
        directory = Path(name)
        directory.chmod(0o755)  # the image's user has to get in
        builder = Builder(ROOT, directory, python)
        builder.build(BUILD)
        builder.keep(BUILD)
        builder.build(FINAL)
        yield builder


@pytest.fixture(scope="module")
def config(image: Builder) -> Path:
    """A config with a log, beside the image's root."""
    mounted = image.root.with_name("mounted")
    mounted.mkdir()
    (mounted / "log.jsonl").write_text(LINE % int(time.time()))
    (mounted / "config.yaml").write_text(CONFIG.replace("LOGS", str(mounted / "log.jsonl")))
    return mounted / "config.yaml"


def files(image: Builder) -> set[Path]:
    return {path for path in image.root.rglob("*") if path.relative_to(image.root).parts[0] != "data"}


def said(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_what_is_installed_is_pinned_and_hashed() -> None:
    commands = [each for keyword, rest in BUILD.steps if keyword == "RUN" for each in rest.split("&&")]
    installs = [command for command in commands if "pip install" in command]
    assert len(installs) == 3
    assert all("--require-hashes" in each or "--no-deps" in each for each in installs)
    assert not [rest for keyword, rest in FINAL.steps if keyword == "RUN" and "pip" in rest]


def test_the_image_says_what_it_is_and_runs_as_nobody() -> None:
    assert FINAL.last("USER") == f"{UID}:{UID}"
    assert FINAL.last("EXPOSE") == "9482" and FINAL.last("VOLUME") == "/data" and FINAL.last("WORKDIR") == "/"
    assert exec_form(FINAL.last("ENTRYPOINT")) == ["llm-cost-exporter"]
    assert f"ARG VERSION={__version__}\n" in DOCKERFILE
    labels = assignments(FINAL.last("LABEL"))
    assert {name.rpartition(".")[2] for name in labels} >= {"title", "description", "licenses", "version", "revision"}
    assert re.search(r"^ARG PYTHON_IMAGE=python:3\.11-slim-\w+$", DOCKERFILE, re.M)


def test_the_builder_gets_nothing_that_it_does_not_copy() -> None:
    copied = {word.partition("/")[0] for key, rest in BUILD.steps if key == "COPY" for word in rest.split()[:-1]}
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    assert {line[1:] for line in lines if line.startswith("!")} == copied and "*" in lines


def test_the_final_stage_holds_the_environment_and_no_tool_of_the_build(image: Builder) -> None:
    assert {path.name for path in image.root.iterdir()} == {"opt", "data"}
    programs = {path.name for path in (image.root / "opt/llm-cost-exporter/bin").iterdir()}
    assert "llm-cost-exporter" in programs and not {"pip", "uv", "hatchling"} & programs


def test_it_answers_from_the_installed_tree_only(image: Builder) -> None:
    where = said(image.start("python", "-c", "import exporter, collectors; print(exporter.__file__)", user=OTHER_USER))
    assert where.startswith(f"{image.root}/opt/llm-cost-exporter/")
    assert "breakeven" in said(image.start("llm-cost-exporter", "--help", user=OTHER_USER))
    assert __version__ in said(image.start("llm-cost-exporter", "--version", user=OTHER_USER))


def test_every_optional_source_has_its_library(image: Builder) -> None:
    script = "import boto3, duckdb, kubernetes, google.cloud.billing_v1"
    said(image.start("python", "-W", "ignore", "-c", script, user=OTHER_USER))


def test_it_checks_and_collects_as_its_user_and_writes_to_the_volume_only(image: Builder, config: Path) -> None:
    before = files(image)
    option = f"--config.file={config}"
    assert "ok" in said(image.start("llm-cost-exporter", "check", option, user=OTHER_USER))
    page = said(image.start("llm-cost-exporter", "once", option, user=OTHER_USER))
    assert 'llmcost_tokens_total{workload="chat"' in page
    assert files(image) == before
    ledger = image.root / "data" / "ledger.db"
    assert ledger.is_file() and (OTHER_USER is None or ledger.stat().st_uid == UID)


class Health(BaseHTTPRequestHandler):
    """Healthy only where the exporter says so."""

    status = 200

    def do_GET(self) -> None:
        self.send_response(self.status if self.path == "/-/healthy" else 404)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


def test_the_health_check_tells_healthy_from_unhealthy_and_absent(image: Builder) -> None:
    python, option, script = exec_form(FINAL.last("HEALTHCHECK"))
    assert (python, option) == ("python", "-c") and FINAL.last("EXPOSE") in script

    def probe() -> int:
        return image.start(python, option, script.replace("9482", str(port)), user=OTHER_USER).returncode

    with ThreadingHTTPServer(("127.0.0.1", 0), Health) as server:
        port = server.server_port
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        healthy = probe()
        Health.status = 500
        unhealthy = probe()
        server.shutdown()
        thread.join()
    assert (healthy, unhealthy, probe()) == (0, 1, 1)
