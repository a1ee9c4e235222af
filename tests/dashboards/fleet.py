"""A fleet on simulated time: pods with an engine and a sidecar exporter each, and one exporter that sees all engines.

Everything but the clock and the engines is the shipped code. The one exporter is what the fleet rules must agree with.
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from math import sin
from pathlib import Path

from collectors.billing.rate_card import Rate, RateCardSettings
from collectors.engines.vllm import VllmSettings
from collectors.settings import Instant, Money
from exporter.config import Alternative, Config, Publish, Storage, Workload
from tests.dashboards.promtool import Labels, Recording
from tests.exporter.simulated import PAGE, START, QuietServer, Simulation

USD_PER_HOUR = "3.60"
LOADING = 90
CHAT = Workload(
    "chat", {"model": "tiny"}, alternatives=(Alternative(api="acme/tiny"),), fixed_usd_per_month={"team": Money("7300")}
)
SIDECAR = Publish(windows=("1h",), decisions=False, accrue_fixed_costs=False)
"""What `role: sidecar` makes of the defaults (exporter.config.ROLE_PRESETS)."""


@dataclass
class Pod:
    """A pod over `[start, stop)` (seconds since START): its sidecar is there at once, its engine after LOADING seconds.

    Until then and afterwards the engine's connections are refused. `tokens_per_second` are (computed, cached,
    generated); the traffic swings around them.
    """

    name: str
    start: int
    stop: int
    tokens_per_second: tuple[float, float, float]
    now: float = START
    server: QuietServer = field(init=False)
    thread: threading.Thread | None = None

    def __post_init__(self) -> None:
        pod = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = pod.page()
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: object) -> None:
                """Quiet."""

        self.server = QuietServer(("127.0.0.1", 0), Handler, bind_and_activate=False)
        self.server.daemon_threads = True
        self.server.server_bind()  # the port is taken, but refuses until the server is activated

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}/metrics"

    def up(self, second: float) -> bool:
        return self.start <= second < self.stop

    def page(self) -> bytes:
        served = self.now - START - self.start - LOADING
        swing = served + 600 * sin(served / 700) * sin(self.start + 1)
        computed, cached, generated = (int(rate * max(0.0, swing)) for rate in self.tokens_per_second)
        return PAGE.format(
            started=START + self.start + LOADING // 2,
            prompt=computed + cached,
            computed=computed,
            cached=cached,
            generated=generated,
            requests=generated // 100,
        ).encode()

    def move(self, second: float) -> None:
        """Be up or down as at `second` since START."""
        self.now = START + second
        if self.up(second - LOADING) and self.up(second) and self.thread is None:
            self.server.server_activate()
            self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
            self.thread.start()
        elif self.thread is not None and not self.up(second):
            self.close()

    def close(self) -> None:
        if self.thread is not None:
            self.server.shutdown()
            self.thread.join()
            self.thread = None
        self.server.server_close()


def engines(name: str, pods: Sequence[Pod]) -> VllmSettings:
    return VllmSettings(name=name, kind="vllm", targets=tuple(pod.url for pod in pods))


def rents(pods: Sequence[Pod]) -> RateCardSettings:
    rates = tuple(
        Rate(
            workload="chat",
            gpu=pod.name,
            usd_per_hour=Money(USD_PER_HOUR),
            from_=Instant(START + pod.start),
            until=Instant(START + pod.stop),
        )
        for pod in pods
    )
    return RateCardSettings(name="gpus", kind="rate_card", rates=rates)


class Fleet:
    """Moves pods, sidecars and the one exporter together; records what a Prometheus would scrape of the sidecars."""

    def __init__(self, directory: Path, pods: Sequence[Pod], scrape_interval: int, stack: ExitStack) -> None:
        self.directory, self.pods, self.stack = directory, pods, stack
        self.recording = Recording(scrape_interval)
        self.sidecars: dict[str, Simulation] = {}
        cluster = Config(
            collectors=(engines("engines", pods), rents(pods)),
            workloads=(CHAT,),
            storage=Storage(path=str(directory / "cluster.db")),
        )
        self.cluster = stack.enter_context(Simulation(cluster))

    def until(self, end: int, every: int) -> None:
        """From the start through `end` (seconds): everybody collects and ticks `every` seconds."""
        for second in range(0, end + 1, every):
            self.at(second)
            if second % self.recording.interval == 0:
                self.recording.scrape({key: value for pod in self.pods for key, value in self._page(pod, second)})

    def at(self, second: int) -> None:
        for pod in self.pods:
            pod.move(second)
        self.cluster.at(START + second)
        for pod in self.pods:
            if pod.up(second):
                self._sidecar(pod).at(START + second)

    def _sidecar(self, pod: Pod) -> Simulation:
        if pod.name not in self.sidecars:
            settings = Config(
                role="sidecar",
                collectors=(engines("engine", [pod]), rents([pod])),
                workloads=(CHAT,),
                storage=Storage(path=str(self.directory / f"{pod.name}.db")),
                publish=SIDECAR,
            )
            simulation = Simulation(settings)
            simulation.now = float(START + pod.start)
            self.sidecars[pod.name] = self.stack.enter_context(simulation)
        return self.sidecars[pod.name]

    def _page(self, pod: Pod, second: int) -> Iterator[tuple[tuple[str, Labels], float]]:
        """One scrape of a pod's sidecar: its own families and `up`."""
        if not pod.up(second):
            return
        target = {("job", "sidecars"), ("instance", pod.name)}
        for (name, labels), value in self.sidecars[pod.name].samples().items():
            if name.startswith("llmcost_"):
                yield (name, frozenset(labels | target)), value
        yield ("up", frozenset(target)), 1.0


@contextmanager
def fleet(directory: Path, pods: Sequence[Pod], scrape_interval: int) -> Iterator[Fleet]:
    with ExitStack() as stack:
        for pod in pods:
            stack.callback(pod.close)
        yield Fleet(directory, pods, scrape_interval, stack)
