"""Real programs on free loopback ports, started for a test and stopped by their own process id."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TypeVar
from urllib.error import URLError
from urllib.request import urlopen

import pytest
import yaml

ALERTS = Path(__file__).parents[2] / "dashboards" / "alerts.yaml"

T = TypeVar("T")


def wait_for(what: str, get: Callable[[], T | None], seconds: float = 60) -> T:
    """What `get` gives, once it gives something true. Fails, saying `what`, after a generous `seconds`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := get():
            return value
        time.sleep(0.05)
    raise AssertionError(f"waited {seconds:g} s in vain for {what}")


def fetch(url: str) -> str | None:
    """The body at `url`, or None while nothing answers there."""
    try:
        with urlopen(url, timeout=10) as answer:
            return str(answer.read().decode())
    except (URLError, ConnectionError, TimeoutError):
        return None


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def program(name: str) -> str:
    """The path of an installed program; without it the test cannot run (which fails in CI, see tests/conftest.py)."""
    if found := shutil.which(name):
        return found
    pytest.skip(f"{name} is not installed: run `make system` (Debian packages prometheus, prometheus-alertmanager)")


class Running:
    """A child process whose output goes to a file; `stop` ends it and waits for it."""

    def __init__(self, command: list[str], log: Path, **environment: str) -> None:
        self.log = log
        with log.open("ab") as out:
            variables = {**os.environ, **environment}
            self.process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env=variables)

    def kill(self) -> None:
        """SIGKILL: no chance to tidy up."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> int:
        """SIGTERM, and SIGKILL if that does not help; the exit status."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            return self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"did not stop on SIGTERM; its output:\n{self.output()}") from None

    def output(self) -> str:
        return self.log.read_text(errors="replace")[-4000:]

    def page(self, url: str, seconds: float = 60) -> str:
        """The body at `url` once it answers; fails at once with the output if the process has ended."""

        def get() -> str | None:
            if self.process.poll() is not None:
                raise AssertionError(f"ended with status {self.process.returncode}; its output:\n{self.output()}")
            return fetch(url)

        return wait_for(f"{url} to answer; output:\n{self.output()}", get, seconds)


@contextmanager
def running(command: list[str], log: Path) -> Iterator[Running]:
    child = Running(command, log)
    try:
        yield child
    finally:
        child.stop()


def exporter(*arguments: str) -> list[str]:
    """The command line of this checkout's exporter."""
    return [sys.executable, "-m", "exporter", *arguments]


@dataclass
class Webhook:
    """Receives what Alertmanager sends; `alerts` in order of arrival."""

    url: str = ""
    alerts: list[dict] = field(default_factory=list)

    def first(self, status: str, **labels: str) -> dict | None:
        """The first alert of that status (`firing`, `resolved`) that carries these labels."""
        found = (
            alert for alert in self.alerts if alert["status"] == status and labels.items() <= alert["labels"].items()
        )
        return next(found, None)


@contextmanager
def webhook() -> Iterator[Webhook]:
    received = Webhook()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            received.alerts.extend(body["alerts"])
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """The test asserts on `alerts`; a line per request would hide its output."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    received.url = f"http://127.0.0.1:{server.server_port}/"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield received
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def alertmanager(directory: Path, receiver: str) -> Iterator[str]:
    """A real Alertmanager that passes every alert on to `receiver` at once; gives its address (host:port)."""
    config, address = directory / "alertmanager.json", f"127.0.0.1:{free_port()}"
    route = {
        "receiver": "test",
        "group_by": ["..."],
        "group_wait": "0s",
        "group_interval": "1s",
        "repeat_interval": "1h",
    }
    hook = {"name": "test", "webhook_configs": [{"url": receiver, "send_resolved": True}]}
    config.write_text(json.dumps({"route": route, "receivers": [hook]}))  # JSON is YAML
    command = [program("prometheus-alertmanager"), f"--config.file={config}", f"--web.listen-address={address}",
               f"--storage.path={directory / 'alertmanager'}", "--cluster.listen-address="]  # fmt: skip
    with running(command, directory / "alertmanager.log") as child:
        child.page(f"http://{address}/-/ready")
        yield address


@contextmanager
def prometheus(directory: Path, targets: list[str], rules: list[Path], alerts_to: str | None = None) -> Iterator[str]:
    """A real Prometheus that scrapes and evaluates every second; gives its address as a URL."""
    config, address = directory / "prometheus.json", f"127.0.0.1:{free_port()}"
    settings = {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(path) for path in rules],
        "scrape_configs": [{"job_name": "llm-cost-exporter", "static_configs": [{"targets": targets}]}],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": [alerts_to]}]}] if alerts_to else []},
    }
    config.write_text(json.dumps(settings))
    command = [program("prometheus"), f"--config.file={config}", f"--web.listen-address={address}",
               f"--storage.tsdb.path={directory / 'prometheus'}"]  # fmt: skip
    with running(command, directory / "prometheus.log") as child:
        child.page(f"http://{address}/-/ready")
        yield f"http://{address}"


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
