"""A whole exporter on simulated time: real collectors, ledger, pipeline, page; only clock and engine are made.

The engine is a real HTTP server whose counters are functions of the simulated time.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from collectors.billing.rate_card import Rate, RateCardSettings
from collectors.engines.vllm import VllmSettings
from collectors.records import Batch
from collectors.settings import Instant, Money
from exporter.config import Alternative, Config, DecisionSettings, Storage, Workload
from exporter.prices.book import PriceBook, PriceKey
from exporter.prices.book import Rate as Price
from exporter.publish.state import PublishState
from exporter.service import Exporter

START = 1_800_000_000 - 1_800_000_000 % 86400  # midnight UTC
PAGE = """\
# TYPE process_start_time_seconds gauge
process_start_time_seconds {started}
# TYPE vllm:prompt_tokens_total counter
vllm:prompt_tokens_total{{engine="0",model_name="tiny"}} {prompt}
# TYPE vllm:prompt_tokens_by_source_total counter
vllm:prompt_tokens_by_source_total{{engine="0",model_name="tiny",source="local_compute"}} {computed}
vllm:prompt_tokens_by_source_total{{engine="0",model_name="tiny",source="local_cache_hit"}} {cached}
# TYPE vllm:generation_tokens_total counter
vllm:generation_tokens_total{{engine="0",model_name="tiny"}} {generated}
# TYPE vllm:request_success_total counter
vllm:request_success_total{{engine="0",model_name="tiny",finished_reason="stop"}} {requests}
"""


class QuietServer(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """A client that was killed is no error of the server."""


class Engine:
    """A served page. `served(now)` is (computed, cached, generated) tokens since `started`; None: answer 500."""

    def __init__(self, served: Callable[[float], tuple[int, int, int] | None]) -> None:
        self.served, self.started, self.now = served, float(START - 10), float(START)
        engine = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                tokens = engine.served(engine.now)
                body = engine.page(*tokens) if tokens else b"broken\n"
                self.send_response(200 if tokens else 500)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: object) -> None:
                """Quiet."""

        self.server = QuietServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}/metrics"

    def page(self, computed: int, cached: int, generated: int) -> bytes:
        return PAGE.format(
            started=self.started,
            prompt=computed + cached,
            computed=computed,
            cached=cached,
            generated=generated,
            requests=generated // 100,
        ).encode()

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@contextmanager
def engine(served: Callable[[float], tuple[int, int, int] | None]) -> Iterator[Engine]:
    running = Engine(served)
    try:
        yield running
    finally:
        running.close()


API_PRICE = PriceKey("acme", "tiny")


def book(input_usd: str = "0.000001", cached_usd: str = "0.0000001", output_usd: str = "0.000002") -> PriceBook:
    prices = {"input": Decimal(input_usd), "cache_read": Decimal(cached_usd), "output": Decimal(output_usd)}
    return PriceBook({API_PRICE: (Price(((0, prices),), origin="test"),)})


def config(directory: Path, engine: Engine, usd_per_hour: str = "3.60", **more: object) -> Config:
    """One vLLM target, one card of two GPUs, one API alternative; `more` replaces fields of Config."""
    fields: dict[str, object] = {
        "role": "cluster",
        "collectors": (
            VllmSettings(name="engine", kind="vllm", targets=(engine.url,)),
            RateCardSettings(
                name="gpus",
                kind="rate_card",
                rates=(
                    Rate(
                        workload="chat",
                        gpu="h100",
                        count=Money("2"),
                        usd_per_hour=Money(usd_per_hour),
                        from_=Instant(START - 86400),
                    ),
                ),
            ),
        ),
        "workloads": (Workload("chat", {"model": "tiny"}, alternatives=(Alternative(api="acme/tiny"),)),),
        "decision": DecisionSettings(),
        "storage": Storage(path=str(directory / "ledger.db")),
    }
    return Config(**{**fields, **more})  # type: ignore[arg-type]


class Simulation:
    """Drives an Exporter: `until(now, every)` moves the clock, collecting and ticking as the service would."""

    def __init__(self, config: Config, engine: Engine | None = None, prices: PriceBook | None = None) -> None:
        self.now = float(START)
        self.engine = engine
        self.exporter = Exporter(config, lambda: self.now)
        self.exporter.pricer.book = prices or book()
        self.state: PublishState | None = None

    def __enter__(self) -> "Simulation":
        return self

    def __exit__(self, *error: object) -> None:
        self.exporter.__exit__(*error)

    def at(self, now: float, *names: str) -> PublishState:
        """Move to `now`, collect (`names`, or everything) and tick."""
        self.now = float(now)
        if self.engine is not None:
            self.engine.now = self.now
        for name in names or self.exporter.runner.running:
            self.exporter.runner.collect(name)
        self.state = self.exporter.tick()
        return self.state

    def tick(self) -> PublishState:
        """Tick without collecting."""
        self.state = self.exporter.tick()
        return self.state

    def say(self, collector: str, batch: Batch) -> None:
        """Commit what a collector might have delivered now."""
        self.exporter.ledger.commit(collector, batch, int(self.now))

    def until(self, end: float, every: float) -> PublishState:
        """Collect and tick every `every` seconds through `end`."""
        while self.now + every <= end:
            self.at(self.now + every)
        assert self.state is not None
        return self.state

    def samples(self) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        """The published page, parsed by prometheus_client."""
        assert self.state is not None
        text = self.exporter.page(self.state).text.decode()
        return {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    def value(self, name: str, **labels: str) -> float | None:
        """One sample of the page, None if it is absent."""
        return self.samples().get((name, frozenset(labels.items())))

    def sum(self, name: str, **labels: str) -> float:
        """The sum over the samples of a family that carry `labels`."""
        wanted = set(labels.items())
        return sum(value for (found, own), value in self.samples().items() if found == name and wanted <= own)
