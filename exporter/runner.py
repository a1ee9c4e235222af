"""Running collectors: the place that forgives a failing one, and turns every outcome into its health."""

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from time import monotonic, sleep
from typing import Any

from collectors import Collector, Context, build
from collectors.bill_days import currencies
from collectors.kinds import kind_of
from collectors.records import DAY, Batch, Failure, Path
from exporter.config import Config
from exporter.ledger.counted import Growth
from exporter.ledger.snapshot import Increment
from exporter.ledger.store import Ledger, LedgerUnwritableError
from exporter.pricer import Pricer
from exporter.reconcile.accrual import price_keys, rejected_increments, restatement, usage_increments
from exporter.reconcile.bill_match import scope_of
from exporter.reconcile.evaluate import PATIENCE
from exporter.reconcile.matching import check_collectors
from exporter.reconcile.report import CollectorHealth

log = logging.getLogger("exporter.collectors")

OVERDUE = 60
"""Seconds that any run may take before it counts as failing; with a longer interval, twice the interval."""


@dataclass(slots=True)
class Running:
    """One collector and how its last runs went."""

    settings: Any
    collector: Collector
    runs: int = 0
    began: float | None = None  # while a run is under way
    success: bool = False
    duration_seconds: float = 0.0
    last_success: float | None = None
    failures: dict[str, str] = field(default_factory=dict)
    parts: set[str] = field(default_factory=set)  # all that have delivered, in this run or before
    last_error: str = ""
    last_error_at: float | None = None
    no_exchange_rate: set[str] = field(default_factory=set)  # currencies of what it bills that have none, once logged


class Runner:
    """Collects from every configured source into the ledger."""

    def __init__(
        self,
        config: Config,
        ledger: Ledger,
        pricer: Pricer,
        context: Context,
        automatic: Mapping[tuple[str, Path], str],
        clock: Callable[[], float],
    ) -> None:
        """`automatic` is read at every batch: the chosen alternatives of workloads that configure none."""
        self._config, self._ledger, self._clock = config, ledger, clock
        self._pricer, self._automatic, self._fx = pricer, automatic, config.usd_rates
        self._checks, self._in_scope = check_collectors(config), scope_of(config)
        self._started, self._closing = clock(), False
        self._read: dict[str, frozenset[str]] = {}  # the streams each collector read last
        self.running = {settings.name: Running(settings, build(settings, context)) for settings in config.collectors}

    def stop(self, seconds: float) -> list[str]:
        """Wait for the runs under way, at most `seconds` of real time; the collectors that still run. What they do from
        now on fails quietly: after it the ledger may be closed."""
        self._closing = True
        deadline = monotonic() + seconds
        while (still := [name for name, one in self.running.items() if one.began is not None]) and (
            monotonic() < deadline
        ):
            sleep(0.02)
        return still

    def close(self) -> None:
        """Release what the collectors hold, but for one that hangs: closing it could hang too."""
        self._closing = True
        for running in self.running.values():
            if running.began is None:
                running.collector.close()

    @property
    def settled(self) -> frozenset[str]:
        """The collectors that had their chance since this process started: one run, or PATIENCE seconds if the first
        does not end. Ask before the snapshot that it is about."""
        patient = self._clock() - self._started < PATIENCE
        return frozenset(name for name, running in self.running.items() if running.runs or not patient)

    def in_order(self) -> list[str]:
        """The collectors in the order for running each once: those that read what others discover come last."""
        return sorted(self.running, key=lambda name: discovers(self.running[name].settings))

    def collect(self, name: str) -> bool:
        """Run one collector once; True if every part succeeded. Never raises: a failure is this collector's alone."""
        running = self.running[name]
        if self._closing:
            return False
        running.began = self._clock()
        try:
            return self._collect(name, running, running.began)
        finally:
            running.began = None

    def _collect(self, name: str, running: Running, now: float) -> bool:
        failures: dict[str, str] = {}
        delivered = running.parts
        try:
            cursors = self._ledger.cursors(name)
            delivered = _still_asked(cursors, running.collector)
            for outcome in running.collector.collect(int(now), cursors):
                if isinstance(outcome, Failure):
                    failures[outcome.part] = outcome.reason
                else:
                    self._commit(name, running, outcome, int(now))
                    (delivered.discard if outcome.cursor == "" else delivered.add)(outcome.part)
            self._retire(name, running.collector.streams)
        except LedgerUnwritableError as error:
            failures[""] = f"the ledger cannot be written: {error}; nothing is lost, it is read again later"
        except Exception as error:  # isolation: whatever one source does, the others go on
            if not self._closing:
                log.exception("collector %s failed", name)
            failures[""] = f"{type(error).__name__}: {error}"
        running.parts = delivered
        if not self._closing:  # else the ledger may be closed: not this collector's failure
            self._note(name, running, failures, self._clock() - now, now)
        return not failures

    def _retire(self, name: str, streams: frozenset[str] | None) -> None:
        """Streams that the collector no longer reads (a pod that is gone) are not asked for coverage after their last
        word."""
        if streams is None or self._read.get(name) == streams:
            return
        for stream, last in self._ledger.asked(name).items():
            if stream not in streams:
                self._ledger.retire(name, [stream], last)
        self._read[name] = streams

    def health(self, complete_through: Mapping[str, int]) -> tuple[CollectorHealth, ...]:
        """How every collector is doing; `complete_through` by collector name, in epoch seconds."""
        rejected = self._rejected()
        return tuple(
            self._health(name, running, complete_through.get(name), rejected.get(name, {}))
            for name, running in self.running.items()
        )

    def _commit(self, name: str, running: Running, batch: Batch, now: int) -> None:
        late_after = running.collector.late_after
        growth = None
        no_exchange_rate = currencies(batch.charges) - self._fx.keys()
        self._warn_of_rates(name, running, no_exchange_rate)
        if batch.window is not None and late_after is not None and name not in self._checks:
            growth = self._ledger.growth(name, batch, now, late_after)
        rejected = rejected_increments(name, batch, no_exchange_rate)
        increments = (*rejected, *self._increments(name, late_after, batch, growth, now))
        by_day = batch.window is not None and batch.window.seconds <= DAY
        newest = self._ledger.newest_bill_day(name, now) if by_day else 0

        def restated(old: Any, new: Any) -> Iterator[Increment]:
            return restatement(name, old, new, self._fx, self._in_scope, newest)

        self._ledger.commit(name, batch, now, increments, restated if batch.window is not None else None, growth)

    def _warn_of_rates(self, name: str, running: Running, no_exchange_rate: set[str]) -> None:
        """Say once of each currency that what is billed in it cannot be converted."""
        for code in sorted(no_exchange_rate - running.no_exchange_rate):
            running.no_exchange_rate.add(code)
            how = f'add fx: {{{code}: "<USD per unit>"}}'
            log.warning("%s: what it bills in %s is in no figure, no rate is known; %s", name, code, how)

    def _increments(
        self, name: str, late_after: int | None, batch: Batch, growth: Growth | None, now: int
    ) -> Iterator[Increment]:
        """How what one batch brings moves the counters. A collector that only checks moves none but what it pays. Of
        usage that replaces, only its growth is counted."""
        if batch.paid_usd:
            yield Increment("llmcost_exporter_paid_requests_usd_total", (name,), batch.paid_usd)
        if name in self._checks:
            return
        if growth is not None:
            batch = replace(batch, usage=growth.usage)
            yield Increment("llmcost_late_tokens_total", (name,), growth.late_tokens)
            late_after = None
        workloads = self._config.workloads
        book = self._pricer.ensure(price_keys(name, batch, workloads, self._automatic), now)
        yield from usage_increments(name, batch, late_after, now, workloads, self._automatic, book)

    def _note(self, name: str, running: Running, failures: dict[str, str], seconds: float, now: float) -> None:
        new = {part: reason for part, reason in failures.items() if running.failures.get(part) != reason}
        for line in _told_once(new):
            log.warning("%s%s", name, line)
        if running.failures and not failures:
            log.info("%s: all parts are read again", name)
        running.runs += 1
        running.success, running.duration_seconds = not failures, seconds
        running.failures = failures
        if failures:
            part, reason = next(iter(failures.items()))
            running.last_error, running.last_error_at = f"{part}: {reason}" if part else reason, now
        else:
            running.last_success = now

    def _rejected(self) -> dict[str, dict[str, int]]:
        """Unusable records by collector and reason, since the ledger began: the page and the counter say the same."""
        found: dict[str, dict[str, int]] = {}
        for (family, labels), counter in self._ledger.counters().items():
            if family == "llmcost_exporter_rejected_records_total" and counter.value:
                found.setdefault(labels[0], {})[labels[1]] = int(counter.value)
        return found

    def _health(
        self, name: str, running: Running, complete_through: int | None, rejected: Mapping[str, int]
    ) -> CollectorHealth:
        now = self._clock()
        overdue = _overdue(running, now)
        return CollectorHealth(
            name=name,
            kind=running.settings.kind,
            success=running.success and not overdue,
            interval=running.settings.interval,
            duration_seconds=running.duration_seconds,
            last_success=running.last_success,
            complete_through=complete_through,
            parts={"ok": len(running.parts - set(running.failures)), "failed": len(running.failures)},
            rejected=rejected,
            last_error=overdue or running.last_error,
            last_error_at=now if overdue else running.last_error_at,
        )


def discovers(settings: Any) -> bool:
    """Whether a collector reads what another one discovers."""
    return getattr(settings, "discover", None) is not None and not kind_of(settings.kind).cluster


def _overdue(running: Running, now: float) -> str:
    """What is wrong with a run that is under way for too long; empty if nothing is."""
    began = running.began
    if began is None or now - began <= max(2 * running.settings.interval, OVERDUE):
        return ""
    return f"running for {now - began:.0f} s, longer than its interval"


def _told_once(failures: Mapping[str, str]) -> Iterator[str]:
    """A line for each reason, in the name of the first part that it is true of."""
    parts: dict[str, list[str]] = {}
    for part, reason in failures.items():
        parts.setdefault(reason, []).append(part)
    for reason, (first, *others) in parts.items():
        more = f" (and {len(others)} more of this read, the last {others[-1]})" if others else ""
        yield f"{f' ({first})' if first else ''}: {reason}{more}"


def _still_asked(cursors: Mapping[str, str], collector: Collector) -> set[str]:
    """The parts that have delivered. The position of a stream that left the configuration stays in the ledger."""
    return set(cursors) if collector.streams is None else set(cursors) & collector.streams
