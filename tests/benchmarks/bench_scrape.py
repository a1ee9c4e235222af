"""p99 of scraping a 10,000-series page while a thread of the same process reconciles 200 workloads over and over.

The scraper is a process of its own that asks as Prometheus does (OpenMetrics, gzip, one kept connection). The
interpreter is set up as the exporter's (exporter/publish/pauses.py). Reference: the same page, from the same server,
with nothing else to do.
"""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from exporter.publish.page import render  # noqa: E402  # found through the path above
from exporter.publish.pauses import keep_pauses_short  # noqa: E402
from exporter.publish.samples import samples  # noqa: E402
from exporter.publish.web import Publication  # noqa: E402
from exporter.reconcile.build import Inputs, views  # noqa: E402
from exporter.reconcile.memo import Memo  # noqa: E402
from exporter.reconcile.reporting import report  # noqa: E402
from tests.benchmarks.fleet import END, fleet  # noqa: E402
from tests.exporter.publish.serving import serving  # noqa: E402
from tests.exporter.publish.states import many  # noqa: E402

SERIES, SCRAPES, TARGET_MS = 10_000, 1000, 10.0

SCRAPER = """
import http.client, sys, time
port, scrapes = int(sys.argv[1]), int(sys.argv[2])
connection = http.client.HTTPConnection("127.0.0.1", port)
headers = {"Accept": "application/openmetrics-text;version=1.0.0,text/plain;q=0.5", "Accept-Encoding": "gzip"}
for i in range(scrapes + 20):
    started = time.perf_counter()
    connection.request("GET", "/metrics", headers=headers)
    body = connection.getresponse().read()
    if i >= 20:
        print(time.perf_counter() - started)
    time.sleep(0.002)
"""


def p99_ms(port: int) -> float:
    command = [sys.executable, "-c", SCRAPER, str(port), str(SCRAPES)]
    output = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300).stdout
    seconds = sorted(map(float, output.split()))
    return seconds[len(seconds) * 99 // 100 - 1] * 1000


def work(inputs: Inputs, stop: threading.Event) -> None:
    """What a full tick of a large installation does, without a pause: every window of every workload, then the page."""
    state = many(200)
    while not stop.is_set():
        inputs = replace(inputs, memo=Memo())  # nothing is remembered: all of it, every time
        shown = report(inputs, views(inputs, END), {}, END, END)
        render(samples(replace(state, report=shown, counters=()), 200), 0.0)


@contextmanager
def busy(inputs: Inputs) -> Iterator[None]:
    stop = threading.Event()
    thread = threading.Thread(target=work, args=(inputs, stop))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def main() -> None:
    keep_pauses_short()
    inputs = fleet(200)
    state = many(200)
    gathered = samples(state, 200)
    assert sum(len(family.samples) for family in gathered) >= SERIES
    publication = Publication()
    publication.publish(render(gathered, 0.0), state)
    with serving(publication) as port:
        reference = p99_ms(port)
        with busy(inputs):
            time.sleep(0.2)
            figure = p99_ms(port)
    result = {
        "name": "scrape_p99_ms",
        "figure": round(figure, 2),
        "reference": round(reference, 2),
        "ratio": round(figure / reference, 2),
        "target": TARGET_MS,
        "ok": figure <= TARGET_MS,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
