"""A sidecar with one vLLM target: cold start to the first page, and resident memory after ten minutes.

The engine is a recorded page of a real vLLM 0.32.0 behind a loopback server, its counters moving. The reference of the
same run is the smallest exporter one could write: python + prometheus_client's own HTTP server, scraped alike.
BENCH_SECONDS in the environment shortens the ten minutes (then the figure is not the one of the README).
"""

import gzip
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[2]
SECONDS = float(os.environ.get("BENCH_SECONDS", "600"))
STARTS = 7
CONFIG = """
role: sidecar
collectors:
  - {{name: engine, kind: vllm, targets: ["{url}"]}}
  - {{name: gpus, kind: rate_card, rates: [{{workload: chat, gpu: h100-80gb, count: 2, usd_per_hour: "2.49"}}]}}
workloads:
  - name: chat
    match: {{model: tiny-llama}}
    alternatives: [{{api: "together/meta-llama/Llama-3.1-8B-Instruct-Turbo"}}]
storage: {{path: {directory}/ledger.db}}
"""
BARE = """
import sys, time
from prometheus_client import start_http_server
start_http_server(int(sys.argv[1]), "127.0.0.1")
while True: time.sleep(60)
"""


def recorded_page() -> str:
    packed = (ROOT / "exporter/demo/recorded/vllm-0.32.0-series.jsonl.gz").read_bytes()
    page: str = json.loads(gzip.decompress(packed).decode().splitlines()[-1])["page"]
    return page


@contextmanager
def engine(page: str) -> Iterator[str]:
    started = time.time()

    def moving(match: re.Match[str]) -> str:
        return f"{match[1]} {float(match[2]) * (1 + (time.time() - started) / 60):.1f}"

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = re.sub(r"(?m)^(vllm:\w+_(?:total|sum|count)\{[^}]*\}) (\S+)$", moving, page).encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=1.0.0; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/metrics"
    finally:
        server.shutdown()
        server.server_close()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        return port


def first_page(command: list[str], url: str) -> tuple[subprocess.Popen[bytes], float]:
    """The started process and the seconds until it answered a scrape."""
    started = time.perf_counter()
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
    while True:
        try:
            scrape(url)
            return process, time.perf_counter() - started
        except OSError:
            if process.poll() is not None:
                raise RuntimeError(f"{command} ended with {process.returncode}") from None
            time.sleep(0.002)


def scrape(url: str) -> None:
    with urllib.request.urlopen(url, timeout=10) as response:
        response.read()


def resident_mb(process: subprocess.Popen[bytes]) -> float:
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(re.findall(r"VmRSS:\s+(\d+)", status)[0]) / 1024


def sidecar(directory: str, url: str, port: int) -> list[str]:
    config = Path(directory) / "config.yaml"
    config.write_text(CONFIG.format(url=url, directory=directory), encoding="utf-8")
    options = [f"--config.file={config}", f"--web.listen-address=127.0.0.1:{port}"]
    return [sys.executable, "-m", "exporter", "serve", *options]


def starts(url: str) -> list[float]:
    seconds = []
    for _ in range(STARTS):
        with tempfile.TemporaryDirectory() as directory:
            port = free_port()
            process, took = first_page(sidecar(directory, url, port), f"http://127.0.0.1:{port}/metrics")
            seconds.append(took)
            process.terminate()
            process.wait()
    return seconds


def memory(url: str) -> tuple[float, float]:
    """Resident MB of the sidecar and of the bare exporter after SECONDS of being scraped every 15 s."""
    with tempfile.TemporaryDirectory() as directory:
        ports = free_port(), free_port()
        pages = [f"http://127.0.0.1:{port}/metrics" for port in ports]
        ours, _ = first_page(sidecar(directory, url, ports[0]), pages[0])
        bare, _ = first_page([sys.executable, "-c", BARE, str(ports[1])], pages[1])
        try:
            end = time.monotonic() + SECONDS
            while time.monotonic() < end:
                time.sleep(min(15, max(0.0, end - time.monotonic())))
                for page in pages:
                    scrape(page)
            return resident_mb(ours), resident_mb(bare)
        finally:
            for process in (ours, bare):
                process.terminate()
                process.wait()


def main() -> None:
    with engine(recorded_page()) as url:
        seconds = median(starts(url))
        ours, bare = memory(url)
    print(json.dumps({
        "name": "sidecar", "figure": f"{ours:.1f} MB after {SECONDS:.0f} s, first page in {seconds:.2f} s",
        "reference": f"{bare:.1f} MB, python with prometheus_client's own server", "ratio": round(ours / bare, 2),
        "target": "48 MB, 0.6 s", "ok": ours <= 48 and seconds <= 0.6,
    }))  # fmt: skip


if __name__ == "__main__":
    main()
