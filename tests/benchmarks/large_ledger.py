"""A ledger of 1,000 workloads over 90 days, written through the ledger's own verbs, and an exporter on simulated time.

Every workload has one vLLM target, one card of two GPUs and one API alternative; every second one also has a daily bill
line for 90 days on top of its card. Usage is hourly, 5-minutely in the newest 8 days, as compaction leaves it; so are
the loads of the engines there. The evaluations of all hours are stored.
"""

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from decimal import Decimal
from hashlib import blake2b
from pathlib import Path

from collectors.billing.focus import FocusSettings
from collectors.billing.rate_card import Rate, RateCardSettings
from collectors.engines.vllm import VllmSettings
from collectors.records import DAY, HOUR, SLOT, Batch, Charge, EngineLoad, Failure, Observed, Usage, Window
from collectors.settings import Instant, Money
from exporter.config import Alternative, Config, Publish, Storage, Workload
from exporter.ledger.snapshot import Evaluation
from exporter.ledger.store import Ledger
from exporter.pricer import Pricer
from exporter.prices.book import PriceBook, PriceKey
from exporter.prices.book import Rate as Price
from exporter.publish.page import Page
from exporter.publish.pauses import keep_pauses_short
from exporter.service import Exporter

ROOT = Path(__file__).parents[2]
NAMES = [f"team-{n % 40}/workload-{n}" for n in range(1000)]
TARGETS = [f"http://10.0.{n // 250}.{n % 250}:8000/metrics" for n in range(1000)]
DAYS = 90
END = 1_800_000_000 - 1_800_000_000 % DAY + 14 * HOUR
START = END - DAYS * DAY
FINE = END - 8 * DAY
PRICES = {"input": Decimal("6E-7"), "cache_read": Decimal("6E-8"), "output": Decimal("2.4E-6")}


def config(path: Path) -> Config:
    rates = tuple(
        Rate(name, "h100", Money("2"), Money("2.49"), from_=Instant(START), resources=(f"i-{n:05}",))
        for n, name in enumerate(NAMES)
    )
    return Config(
        collectors=(
            VllmSettings("engines", "vllm", tuple(TARGETS)),
            RateCardSettings("gpus", "rate_card", rates),
            FocusSettings("bill", "focus", "/nowhere/*.csv"),
        ),
        workloads=tuple(
            Workload(name, {"model": name}, {"resource": f"i-{n:05}"}, (Alternative(api=f"acme/{name}"),))
            for n, name in enumerate(NAMES)
        ),
        storage=Storage(str(path)),
        publish=Publish(max_workloads=len(NAMES)),
    )


class Delivering:
    """In the place of a collector of 1,000 engines: what they did since each was asked last, for those asked now."""

    late_after: int | None = None

    def __init__(self, at: int) -> None:
        self.last = dict.fromkeys(TARGETS, at)
        self.asked: Sequence[str] = TARGETS
        self.streams = frozenset(TARGETS)

    def collect(self, now: int, cursors: Mapping[str, str]) -> Iterator[Batch | Failure]:
        for index, target in enumerate(self.asked):
            seconds = now - self.last[target]
            usage = _usage(NAMES[index], now - now % SLOT, seconds, index)
            load = _load(NAMES[index], now - now % SLOT, seconds)
            yield Batch(
                target,
                usage=[usage],
                loads=[load],
                observed=[Observed(Window(self.last[target], now), target)],
                cursor=f'{{"at": {now}}}',
                stream=target,
            )
            self.last[target] = now

    def close(self) -> None:
        """Nothing is held."""


class Simulated:
    """An exporter on the large ledger at `now`, its engines replaced by `Delivering`."""

    def __init__(self, path: Path, now: float) -> None:
        self.now = now
        pricer = Pricer()
        rate = Price(((0, PRICES),), origin="benchmark")
        pricer.book = PriceBook({PriceKey("acme", name): (rate,) for name in NAMES})
        pricer.catalogue_at = START
        self.exporter = Exporter(config(path), lambda: self.now, pricer)
        running = self.exporter.runner.running["engines"]
        assert running.collector.streams == set(TARGETS)
        self.engines = Delivering(END)
        running.collector.close()
        running.collector = self.engines

    def deliver(self, seconds: float, count: int = len(NAMES)) -> None:
        """Let time pass, and the first `count` targets deliver what they did since."""
        self.now += seconds
        self.engines.asked = TARGETS[:count]
        self.exporter.runner.collect("engines")

    def page(self) -> Page:
        """One publish tick and its page."""
        return self.exporter.page(self.exporter.tick())

    def close(self) -> None:
        self.exporter.__exit__()


def first_page(path: Path) -> tuple[Simulated, Page]:
    keep_pauses_short()  # as `serve` does
    simulated = Simulated(path, END + 70)
    return simulated, simulated.page()


def course() -> Iterator[tuple[str, Callable[[Simulated], None]]]:
    """What happens before each tick, by kind. It begins 70 s after an hour."""
    yield "slot", lambda one: one.deliver(300)  # the first one: the sources had not delivered since the start
    for _ in range(12):
        yield "tick", lambda one: one.deliver(15)
    yield "slot", lambda one: one.deliver(120)
    for _ in range(12):
        yield "few", lambda one: one.deliver(5, 30)
    for _ in range(4):
        yield "slot", lambda one: one.deliver(300)
    for _ in range(12):
        yield "quiet", lambda one: one.deliver(5, 0)
    for _ in range(3):  # the slot before the hour closes; the hour is evaluated; the slot that ends with it closes
        yield "slot", lambda one: one.deliver(3600 - (one.now - END) % 3600 - 200)
        yield "hour", lambda one: one.deliver(3600 - (one.now - END) % 3600 + 1)
        yield "slot", lambda one: one.deliver(70)


@contextmanager
def copied(path: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as directory:
        yield Path(shutil.copy(path, directory))


def built(bills: bool) -> Path:
    """The ledger, from the temporary directory if an earlier run has left it there."""
    sources = (Path(__file__), *(ROOT / "exporter/ledger" / name for name in ("schema.py", "writer.py")))
    digest = blake2b(b"".join(one.read_bytes() for one in sources), digest_size=8).hexdigest()
    path = Path(tempfile.gettempdir()) / f"llm-cost-exporter-large-{digest}{'' if bills else '-cards'}.db"
    if not path.exists():
        with tempfile.TemporaryDirectory(dir=path.parent) as directory:
            made = Path(directory) / "ledger.db"
            _build(made, bills)
            made.rename(path)
    return path


def _build(path: Path, bills: bool) -> None:
    ledger = Ledger(path, START)
    ledger._db.execute("PRAGMA synchronous = OFF")  # only while it is being made
    ledger.compact(END)  # what is older than 8 days is kept hourly from the start
    for day in range(START, END, DAY):
        step = HOUR if day < FINE else SLOT
        for index, stream in enumerate(TARGETS):
            usage = [_usage(NAMES[index], at, step, index) for at in range(day, day + DAY, step)]
            observed = [Observed(Window(day, day + DAY), stream)]
            loads = [_load(NAMES[index], at, step) for at in range(day, day + DAY, step)] if step == SLOT else []
            batch = Batch(stream, usage=usage, loads=loads, observed=observed, stream=stream)
            ledger.commit("engines", batch, END)
        for at in range(day + HOUR, day + DAY + 1, HOUR):
            ledger.store_evaluations([_evaluation(name, at) for name in NAMES])
    if bills:
        for first in range(0, DAYS, 30):
            month = Window(START + first * DAY, START + (first + 30) * DAY)
            ledger.commit("bill", Batch(f"month {first}", charges=list(_charges(month)), window=month), END)
    ledger.close()
    simulated = Simulated(path, END)
    simulated.exporter.runner.collect("gpus")
    simulated.deliver(0)
    simulated.page()
    simulated.exporter.ledger._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    simulated.close()


def _usage(model: str, at: int, seconds: int, index: int) -> Usage:
    tokens = {
        "input": seconds * (1900 + index % 97),
        "cache_read": seconds * (at // SLOT % 977),
        "output": seconds * 250,
    }
    return Usage(at, "self_hosted", "vllm", model, tokens, 2 * seconds)


def _load(model: str, at: int, seconds: int) -> EngineLoad:
    """One slot in 50 with a queue for half of it."""
    queued = seconds // 2 if at // SLOT % 50 == 0 else 0
    return EngineLoad(at, model, seconds, queued, queued * 2600, seconds * 0.37, seconds * 3.1, 12.0, 0.0, 0.4)


def _charges(month: Window) -> Iterator[Charge]:
    for day in range(month.start, month.end, DAY):
        for n in range(0, len(NAMES), 2):
            yield Charge(
                window=Window(day, day + DAY),
                category="Usage",
                currency="USD",
                billed_cost=Decimal("118.4392"),
                effective_cost=Decimal("112.0071") + n % 7,
                component="gpu",
                provider="aws",
                service="Amazon Elastic Compute Cloud",
                resource=f"i-{n:05}",
                region="us-east-1",
                account="123456789012",
                quantity=Decimal(24),
                unit="Hours",
                tags=(("team", f"team-{n % 40}"),),
            )


def _evaluation(name: str, at: int) -> Evaluation:
    hours = min(168, (at - START) // HOUR)
    if hours < 24:
        return Evaluation(name, "self_hosted", f"api:acme/{name}", at, None, None, "too_young", hours * HOUR)
    api = Decimal(hours) * Decimal("5.91237648123791") * (100 + at // DAY % 40) / 100
    own = Decimal(hours) * Decimal("4.98") / 7 * 7
    return Evaluation(name, "self_hosted", f"api:acme/{name}", at, api, own, "", hours * HOUR)
