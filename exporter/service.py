"""The running exporter: schedule, tick, serve. The clock of the process is read here and handed on as `now`."""

import gc
import logging
import signal
import socket
import sqlite3
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import uvicorn
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler

from collectors import Context
from collectors.kinds import kind_of
from exporter import __version__
from exporter.config import Config
from exporter.ledger.files import LedgerUnusableError
from exporter.ledger.schema import NewerLedgerError
from exporter.ledger.store import Ledger, LedgerUnwritableError
from exporter.pipeline import Pipeline
from exporter.pricer import PROMPT, Pricer
from exporter.publish.page import Page, Renderer
from exporter.publish.pauses import keep_pauses_short
from exporter.publish.process import process_samples
from exporter.publish.samples import Gatherer
from exporter.publish.state import PublishState
from exporter.publish.web import App, Publication
from exporter.publish.web import config as web_config
from exporter.publishing import Publisher
from exporter.renames import moved_warnings, replaced_warnings, sources_of
from exporter.runner import Runner, discovers

log = logging.getLogger("exporter.service")

COMPACT_EVERY = 3600
STOP_WITHIN = 5
"""Seconds that a collector's run gets to end at shutdown: less than the grace period of any orchestrator."""

LOOK_FIRST = 3
"""Seconds that the collector which discovers engines gets before the one that reads them."""

COLLECT_GARBAGE_EVERY = 600  # see exporter.publish.pauses


class Clock:
    """Epoch seconds. With `speed` above 1 time passes faster from now on (the demo and its tests)."""

    def __init__(self, speed: float = 1) -> None:
        self.speed = speed
        self._start = time.time()

    def __call__(self) -> float:
        return self._start + (time.time() - self._start) * self.speed if self.speed != 1 else time.time()

    def real(self, seconds: float) -> float:
        """How many real seconds `seconds` of this clock take."""
        return seconds / self.speed


REAL = Clock()


class Exporter:
    """One exporter: its ledger, its collectors and what they come to. Use as a context manager."""

    def __init__(self, config: Config, clock: Callable[[], float] = REAL, pricer: Pricer | None = None) -> None:
        self.clock = clock
        self.config = config
        self._gather, self._render = Gatherer(), Renderer()
        self.ledger = _open(config, int(clock()))
        try:
            self.pricer = pricer or Pricer(config.prices.overrides)
            self.pipeline = Pipeline(config, self.ledger, self.pricer, clock())
            self.runner = Runner(config, self.ledger, self.pricer, self._context(), self.pipeline.automatic, clock)
            self._note_sources()
            self._retire()
        except LedgerUnwritableError as error:
            self.ledger.close()
            raise LedgerUnusableError.of(config.storage.path, error) from error
        except BaseException:
            self.ledger.close()
            raise

    def __enter__(self) -> "Exporter":
        return self

    def __exit__(self, *_: object) -> None:
        self.runner.close()
        self.ledger.close()

    def tick(self, wait: float | None = PROMPT) -> PublishState:
        """What is to be shown now. `wait`: seconds for prices that are not looked up yet, None until they are there."""
        return self.pipeline.tick(self.runner, self.clock(), wait)

    def degraded(self, last: PublishState) -> PublishState:
        """What can be shown when a tick fails: the last report, with the counters and the health of now."""
        return self.pipeline.degraded(last, self.runner, self.clock())

    def page(self, state: PublishState) -> Page:
        families = [*self._gather(state, self.config.publish.max_workloads), *process_samples()]
        return self._render(families, state.exporter.page_at)

    def compact(self) -> None:
        try:
            self.ledger.compact(int(self.clock()))
        except LedgerUnwritableError as error:
            log.error("the ledger could not be compacted: %s", error)

    def _context(self) -> Context:
        logs = any(kind_of(settings.kind).history == "log" for settings in self.config.collectors)
        edges = self.pricer.band_edges() if logs else ()
        return Context(first_start=self.ledger.first_start, band_edges=edges)

    def _note_sources(self) -> None:
        configured = sources_of(self.config)
        for warning in replaced_warnings(self.ledger.sources, configured):
            log.warning(warning)
        for warning in moved_warnings(self.ledger.note_sources(configured), configured):
            log.warning(warning)

    def _retire(self) -> None:
        """Streams that the configuration no longer names are not asked for coverage after their last word."""
        for (collector, stream), known in self.ledger.snapshot().streams.items():
            running = self.runner.running.get(collector)
            streams = running.collector.streams if running else frozenset()
            if streams is not None and stream not in streams and known.retired_at is None:
                self.ledger.retire(collector, [stream], known.observed.end or known.first_seen)


def once(config: Config, clock: Callable[[], float] = REAL) -> str:
    """Collect from every source once and return the exposition (text format 0.0.4)."""
    with Exporter(config, clock) as exporter:
        for name in exporter.runner.in_order():
            exporter.runner.collect(name)
        return exporter.page(exporter.tick(wait=None)).text.decode()


def serve(config: Config, listen: str, clock: Clock = REAL, started: Callable[[str], None] | None = None) -> list[str]:
    """Run until SIGTERM or SIGINT, serving on `listen` (`host:port`, `:port`). `started` is told the URL once bound.

    The ledger is closed when it returns the names of the collectors that hang all the same: their threads would keep
    the process from ending by itself. Raises OSError if the address cannot be bound, LedgerError if the ledger cannot
    be used.
    """
    keep_pauses_short()
    bound = bind(listen)
    publication = Publication()
    with bound, Exporter(config, clock) as exporter:
        server = uvicorn.Server(web_config(App(publication), fd=bound.fileno()))
        stop_on_signals(server)
        publisher = _opened(exporter, publication)
        scheduler = _schedule(exporter, publisher, clock)
        url = url_of(bound)
        sources = ", ".join(f"{name} ({one.settings.kind})" for name, one in exporter.runner.running.items())
        log.info("llm-cost-exporter %s serves %s; ledger %s; reads %s", __version__, url, config.storage.path, sources)
        if started is not None:
            started(url)
        try:
            server.run()
        finally:
            publisher.stop()
            scheduler.shutdown(wait=False)
            hanging = exporter.runner.stop(STOP_WITHIN)
    log.info("stopped; the ledger is closed")
    for name in hanging:
        log.warning("%s is still running: stopped without it, it goes on from its last commit at the next start", name)
    return hanging


def _open(config: Config, now: int) -> Ledger:
    path = config.storage.path
    try:
        phases = any(workload.split == "phase_seconds" for workload in config.workloads)
        return Ledger(path, now, config.storage.retain_fine, config.storage.retain, every_load=phases)
    except NewerLedgerError as error:
        raise LedgerUnusableError(f"{path}: {error}") from error
    except sqlite3.Error as error:
        raise LedgerUnusableError.of(path, error) from error


def stop_on_signals(server: uvicorn.Server) -> None:
    """Let SIGTERM and SIGINT end the server, and the process orderly after it: uvicorn raises the signal once more when
    it is done, which would kill the process before the ledger is closed."""

    def stop(*_: object) -> None:
        server.should_exit = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)


def bind(listen: str) -> socket.socket:
    """A listening socket for `host:port` or `:port` (all interfaces). Raises OSError naming the address."""
    host, _, port = listen.rpartition(":")
    if not port.isdigit():
        raise OSError(f"cannot listen on {listen!r}: expected HOST:PORT or :PORT (--web.listen-address)")
    try:
        return socket.create_server((host.strip("[]"), int(port)), family=_family(host), backlog=128)
    except (OSError, OverflowError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise OSError(f"cannot listen on {listen!r}: {why} (--web.listen-address)") from error


def url_of(bound: socket.socket) -> str:
    host, port = bound.getsockname()[:2]
    return f"http://{'localhost' if host in ('0.0.0.0', '::', '') else host}:{port}"


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _opened(exporter: Exporter, publication: Publication) -> Publisher:
    """The first page does not wait for a source or a price: it says that nothing has been collected yet."""
    opening = exporter.pipeline.opening(exporter.runner, exporter.clock())
    publication.publish(exporter.page(opening), opening)
    return Publisher(exporter.tick, exporter.page, exporter.degraded, publication)


def _schedule(exporter: Exporter, publish: Publisher, clock: Clock) -> BackgroundScheduler:
    """Every collector at its interval, at once first; the publish tick; compaction. Rate cards run before the rest."""
    executors = {"default": ThreadPoolExecutor(16), "tick": ThreadPoolExecutor(1)}
    defaults = {"coalesce": True, "max_instances": 1, "misfire_grace_time": None}
    scheduler = BackgroundScheduler(executors=executors, job_defaults=defaults, timezone=UTC)
    now = datetime.now(UTC)

    for name, running in exporter.runner.running.items():
        if running.settings.kind == "rate_card":
            exporter.runner.collect(name)
        seconds = clock.real(running.settings.interval)
        first = now + timedelta(seconds=clock.real(LOOK_FIRST)) if discovers(running.settings) else now
        _every(scheduler, seconds, first, partial(exporter.runner.collect, name), id=f"collect {name}")
    tick = clock.real(exporter.config.publish.every)
    _every(scheduler, tick, now, publish, id="publish", executor="tick")
    _every(scheduler, clock.real(COMPACT_EVERY), now + timedelta(seconds=60), exporter.compact, id="compact")
    _every(scheduler, COLLECT_GARBAGE_EVERY, now + timedelta(seconds=COLLECT_GARBAGE_EVERY), gc.collect, id="gc")
    scheduler.start()
    return scheduler


def _every(
    scheduler: BackgroundScheduler, seconds: float, first: datetime, job: Callable[[], Any], **options: Any
) -> None:
    scheduler.add_job(job, "interval", seconds=seconds, next_run_time=first, **options)
