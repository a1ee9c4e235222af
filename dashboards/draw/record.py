"""Records the demo's pages, at the demo's own time, as one OpenMetrics file that promtool makes blocks of.

`record.py FILE [HOURS]`: the shipped exporter and its demo run sixty times as fast as real time, so an hour takes a
minute. Prints the instant of the last page (epoch seconds), which is ahead of the wall clock.
"""

import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from contextlib import closing
from pathlib import Path

SPEED = 60
EVERY = 0.5  # real seconds between pages: half a minute of the demo
PAGE_AT = re.compile(r"^llmcost_exporter_page_timestamp_seconds (\S+)$", re.MULTILINE)
TARGET = 'job="llm-cost-exporter",instance="demo"'
OPENMETRICS = {"Accept": "application/openmetrics-text; version=1.0.0"}

Recording = dict[str, list[str]]
"""Sample lines with their timestamps by the family's metadata, for a family's samples must stand together."""


def fetch(url: str) -> str | None:
    """The page, or None while nothing answers."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=OPENMETRICS), timeout=30) as answer:
            return str(answer.read().decode())
    except (urllib.error.URLError, ConnectionError):
        return None


def scraped(line: str) -> str:
    """The sample line with the labels that a scrape adds."""
    name, brace, rest = line.partition("{")
    if brace:
        return f"{name}{{{TARGET},{rest}"
    name, _, value = line.partition(" ")
    return f"{name}{{{TARGET}}} {value}"


def append(recording: Recording, page: str, at: str) -> None:
    family: list[str] = []
    metadata = ""
    for line in page.splitlines():
        if line.startswith("# TYPE"):
            metadata = line
            family = recording.setdefault(metadata, [])
        elif not line.startswith("#") and "_created" not in line.partition("{")[0].partition(" ")[0]:
            family.append(f"{scraped(line)} {at}")


def record(url: str, hours: float) -> tuple[Recording, str]:
    """What the demo at `url` shows over `hours` of its own time, and the instant of the last page."""
    recording: Recording = {}
    last, first = "", None
    while first is None or float(last) < first + hours * 3600:
        page = fetch(url)
        if page and (match := PAGE_AT.search(page)) and match[1] != last:
            last = match[1]
            first = float(last) if first is None else first
            append(recording, page, last)
        time.sleep(EVERY)
    return recording, last


def main() -> None:
    file, hours = Path(sys.argv[1]), float((*sys.argv[2:], "4")[0])
    with closing(socket.create_server(("127.0.0.1", 0))) as probe:
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    with tempfile.TemporaryDirectory() as directory:
        arguments = [f"--web.listen-address={address}", f"--speed={SPEED}", f"--data-dir={directory}"]
        child = subprocess.Popen([sys.executable, "-m", "exporter", "demo", *arguments], stdout=subprocess.DEVNULL)
        try:
            recording, last = record(f"http://{address}/metrics", hours)
        finally:
            child.terminate()
            child.wait(timeout=60)
    with file.open("w", encoding="utf-8") as out:
        for metadata, samples in recording.items():
            out.write("\n".join([metadata, *samples, ""]))
        out.write("# EOF\n")
    sys.stdout.write(f"{last}\n")


if __name__ == "__main__":
    main()
