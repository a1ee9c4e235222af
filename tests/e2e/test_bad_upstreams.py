"""One sick source in the running exporter: it says so, with a reason; all other sources and the page go on."""

import socket
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.running import Running, exporter, fetch, free_port, wait_for
from tests.exporter.simulated import QuietServer, engine

Answer = Callable[[BaseHTTPRequestHandler], None]


def answer(status: int, body: bytes, content_type: str = "text/plain") -> Answer:
    def respond(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        handler.send_header("Content-Type", content_type)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return respond


def endless(handler: BaseHTTPRequestHandler) -> None:
    """A gigabyte, if anybody read it."""
    handler.send_response(200)
    handler.end_headers()
    for _ in range(1024):
        handler.wfile.write(b"# filler\n" * (1 << 17))


def trickle(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.end_headers()
    released = threading.Event()
    while not released.wait(0.2):
        handler.wfile.write(b"#\n")


SICK: dict[str, tuple[Answer, str]] = {
    "answers 500": (answer(500, b"oops\n"), "500"),
    "html": (answer(200, b"<html><body>login</body></html>\n", "text/html"), "HTML"),
    "a gigabyte": (endless, "larger than"),
    "trickles": (trickle, "timed out"),
    "not utf-8": (answer(200, b'vllm:prompt_tokens_total{model_name="\xff\xfe"} 1\n'), "UTF-8"),
}


@contextmanager
def serving(respond: Answer) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            respond(self)

        def log_message(self, *args: object) -> None:
            """Quiet."""

    server = QuietServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/metrics"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def config(directory: Path, sick: str, healthy: str) -> Path:
    path = directory / "config.yaml"
    path.write_text(
        f"""
role: sidecar
collectors:
  - {{name: sick, kind: vllm, targets: ["{sick}"], interval: 1s, timeout: 2s, max_page_bytes: 1000000}}
  - {{name: healthy, kind: vllm, targets: ["{healthy}"], interval: 1s}}
  - {{name: gpus, kind: rate_card, rates: [{{workload: tiny, usd_per_hour: "2"}}]}}
storage: {{path: {directory / "ledger.db"}}}
publish: {{every: 1s}}
""",
        encoding="utf-8",
    )
    return path


def success(page: str) -> dict[str, float]:
    return {
        sample.labels["collector"]: sample.value
        for family in text_string_to_metric_families(page)
        if family.name == "llmcost_exporter_collector_success"
        for sample in family.samples
    }


@pytest.mark.parametrize("case", [*SICK, "is down"])
def test_the_others_go_on(case: str, tmp_path: Path) -> None:
    with engine(lambda now: (700, 300, 100)) as vllm:
        if case == "is down":
            with socket.create_server(("127.0.0.1", 0)) as taken:
                url = f"http://127.0.0.1:{taken.getsockname()[1]}/metrics"
            check(config(tmp_path, url, vllm.url), tmp_path, "refused")
        else:
            respond, reason = SICK[case]
            with serving(respond) as url:
                check(config(tmp_path, url, vllm.url), tmp_path, reason)


def check(path: Path, directory: Path, reason: str) -> None:
    address, log = f"127.0.0.1:{free_port()}", directory / "exporter.log"
    child = Running(exporter("serve", f"--config.file={path}", f"--web.listen-address={address}"), log)
    try:
        child.page(f"http://{address}/metrics")
        wait_for("the reason in the log", lambda: "sick" in log.read_text() and reason in log.read_text())
        wait_for("the healthy one", lambda: success(child.page(f"http://{address}/metrics")).get("healthy") == 1)
        assert success(child.page(f"http://{address}/metrics")) == {"sick": 0, "healthy": 1, "gpus": 1}
        for endpoint in ("/-/ready", "/-/healthy", "/", "/api/v1/workloads"):
            with urllib.request.urlopen(f"http://{address}{endpoint}", timeout=30) as response:
                assert response.status == 200
        wait_for("the reason on the status page", lambda: reason in (fetch(f"http://{address}/") or ""))
    finally:
        assert child.stop() == 0
