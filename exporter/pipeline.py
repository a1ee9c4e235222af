"""From the ledger to the page: accrue the rent, make the evaluations that are due, reconcile, render. One tick each."""

import logging
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from itertools import islice

from collectors.billing.rate_card import cards as rate_cards
from collectors.records import Card, Path, Reservation
from exporter import __version__
from exporter.breakeven.status import State, step
from exporter.config import Config
from exporter.intervals import Intervals
from exporter.ledger.snapshot import Evaluation, Snapshot, UsageSeries
from exporter.ledger.store import Ledger, LedgerUnwritableError
from exporter.pricer import Pricer
from exporter.publish.state import CounterValue, ExporterHealth, PublishState
from exporter.reconcile import coverage
from exporter.reconcile.accrual import fixed_increment, rent_increments
from exporter.reconcile.build import Inputs, closed_through, meters, running_on, views
from exporter.reconcile.evaluate import due, evaluate
from exporter.reconcile.matching import by_workload
from exporter.reconcile.report import Report
from exporter.reconcile.reporting import StateKey, report
from exporter.reconcile.workload import WorkloadView
from exporter.runner import Runner

log = logging.getLogger("exporter.pipeline")

EVALUATIONS_PER_TICK = 2000
"""Bounds one tick: a backlog of a year is caught up over some ticks, and the page stays fresh meanwhile."""

MAX_SETTLE = 300


@dataclass(slots=True)
class Pipeline:
    """What one exporter derives from its ledger, tick by tick. `automatic` is shared with the runner."""

    config: Config
    ledger: Ledger
    pricer: Pricer
    started_at: float
    automatic: dict[tuple[str, Path], str] = field(default_factory=dict)
    states: dict[StateKey, State] = field(default_factory=dict)
    cards: Mapping[str, Card] = field(default_factory=dict)
    _behind: set[tuple[str, Path]] = field(default_factory=set)  # workloads whose backlog is not yet evaluated
    _tried: set[tuple[str, Path]] = field(default_factory=set)
    _last: tuple[tuple[int, int, int], Report] | None = None

    def __post_init__(self) -> None:
        self.cards = {
            key: card
            for settings in self.config.collectors
            if settings.kind == "rate_card"
            for key, card in rate_cards(settings).items()
        }
        decision = Inputs(self.ledger.snapshot(), self.config, self.cards, self.pricer.book).decision
        for evaluation in self.ledger.evaluations():
            key = (evaluation.workload, evaluation.path, evaluation.alternative)
            self.states[key] = step(self.states.get(key, State()), evaluation, decision(evaluation.workload))

    @property
    def settle(self) -> int:
        """Seconds after a slot's end until it counts as closed: what the slowest frequent source needs to deliver."""
        frequent = [s.interval for s in self.config.collectors if s.interval <= MAX_SETTLE]
        return min(MAX_SETTLE, max(frequent, default=0) + self.config.publish.every)

    def opening(self, runner: Runner, now: float) -> PublishState:
        """What is known before the first collection: the kept counters, and every collector not yet successful."""
        return PublishState(None, self._counters(), runner.health({}), self._health(now))

    def tick(self, runner: Runner, now: float) -> PublishState:
        """One publish tick at `now` (epoch seconds): what is to be shown. Survives a ledger that cannot be written."""
        settled = runner.settled  # before the snapshot: what these delivered must be in it
        try:
            snapshot = self.ledger.snapshot()
            self._choose_alternatives(snapshot, int(now))
            self._accrue(snapshot, int(now))
        except LedgerUnwritableError as error:
            log.error("the ledger cannot be written, the page goes on from memory: %s", error)
        shown = self._report(snapshot, settled, int(now))
        return PublishState(
            report=shown,
            counters=self._counters(),
            collectors=runner.health(_complete_through(snapshot)),
            exporter=self._health(now),
        )

    def inputs(self, snapshot: Snapshot, now: int) -> Inputs:
        """The snapshot with config and prices; every price that the views will ask for is looked up first."""
        bare = Inputs(snapshot, self.config, self.cards, self.pricer.book, self.automatic)
        keys = {key for view in views(bare, now) for key in view.price_keys()}
        return Inputs(snapshot, self.config, self.cards, self.pricer.ensure(keys, now), self.automatic)

    def _counters(self) -> list[CounterValue]:
        return [CounterValue(f, labels, c.value, c.created) for (f, labels), c in self.ledger.counters().items()]

    def _report(self, snapshot: Snapshot, settled: frozenset[str], now: int) -> Report:
        end = closed_through(now, self.settle)
        inputs = self.inputs(snapshot, now)
        made = self._evaluate(views(inputs, now), inputs, settled, now) if self.config.publish.decisions else 0
        version = (snapshot.revision, end, len(inputs.book.rates))
        if self._last is None or self._last[0] != version or made:
            self._last = (version, report(inputs, views(inputs, end), self._shown_states(), now, end))
        return self._last[1]

    def _shown_states(self) -> dict[StateKey, State]:
        """The states; a workload whose backlog is not yet evaluated has none that could be shown."""
        return {
            key: replace(state, reason="catching_up") if key[:2] in self._behind else state
            for key, state in self.states.items()
        }

    def _evaluate(self, found: Sequence[WorkloadView], inputs: Inputs, settled: frozenset[str], now: int) -> int:
        fresh: list[Evaluation] = []
        self._behind.clear()
        for view in found:
            if view.alternatives and view.first is not None and view.series:
                fresh += self._evaluations(view, inputs, settled, now, EVALUATIONS_PER_TICK - len(fresh))
        if fresh:
            try:
                self.ledger.store_evaluations(fresh)
            except LedgerUnwritableError as error:
                log.error("evaluations wait until the ledger can be written: %s", error)
                return 0
            for evaluation in fresh:
                key = (evaluation.workload, evaluation.path, evaluation.alternative)
                state = self.states.get(key, State())
                self.states[key] = step(state, evaluation, inputs.decision(evaluation.workload))
        return len(fresh)

    def _evaluations(
        self, view: WorkloadView, inputs: Inputs, settled: frozenset[str], now: int, limit: int
    ) -> list[Evaluation]:
        settings, primary = inputs.decision(view.name), view.alternatives[0]
        last = self.states.get((view.name, view.path, primary.label), State()).at
        complete = coverage.complete_through(view.sources, inputs.snapshot.streams)
        configured = {collector for collector, _ in view.sources} & {s.name for s in self.config.collectors}
        assert view.first is not None
        instants = due(view.first, last, complete, now, configured <= settled, settings.evaluate_every)
        made = [evaluate(view, primary, at, settings) for at in islice(instants, max(0, limit))]
        if next(instants, None) is not None:
            self._behind.add((view.name, view.path))
        return made

    def _accrue(self, snapshot: Snapshot, now: int) -> None:
        """Move the cost counters by the rent that has passed since the last tick."""
        held: dict[str, list[Reservation]] = {}
        for reservation in running_on(snapshot.reservations, self.cards, now):
            held.setdefault(reservation.card, []).append(reservation)
        groups = self._groups(snapshot)
        for key, card in self.cards.items():
            rate = self.config.usd_per_unit(card.currency)
            if rate is None or key not in held:
                continue
            sources = coverage.sources_of(groups.get((card.workload, "self_hosted"), ()))
            through = now
            if card.while_running:
                through = coverage.complete_through(sources, snapshot.streams) or 0
            up = coverage.up(sources, snapshot.streams)
            self._accrue_card(key, card, held[key], up, through, now, rate)
        if self.config.publish.accrue_fixed_costs:
            self._accrue_fixed({card.workload for key, card in self.cards.items() if key in held}, now)

    def _groups(self, snapshot: Snapshot) -> dict[tuple[str, Path], list[UsageSeries]]:
        """The metered usage of each workload and path."""
        return by_workload(meters(snapshot, self.config), self.config.workloads)

    def _accrue_card(
        self, key: str, card: Card, held: Sequence[Reservation], up: Intervals, through: int, now: int, rate: Decimal
    ) -> None:
        since = self.ledger.accrued_through(f"card:{key}")
        if since is not None and through <= since:
            return
        increment = rent_increments(card.workload, held, card, up, through if since is None else since, through, rate)
        self.ledger.accrue(f"card:{key}", through, now, [increment])

    def _accrue_fixed(self, workloads: set[str], now: int) -> None:
        for workload in self.config.workloads:
            monthly = sum(workload.fixed_usd_per_month.values(), Decimal(0))
            if not monthly or workload.name not in workloads:
                continue
            since = self.ledger.accrued_through(f"fixed:{workload.name}")
            if since is None or now > since:
                increment = fixed_increment(workload.name, monthly, now if since is None else since, now)
                self.ledger.accrue(f"fixed:{workload.name}", now, now, [increment])

    def _choose_alternatives(self, snapshot: Snapshot, now: int) -> None:
        """Give every self-hosted workload without a configured alternative the cheapest host of its model, for good."""
        configured = {workload.name for workload in self.config.workloads if workload.alternatives}
        for (name, path), series in self._groups(snapshot).items():
            if path != "self_hosted" or name in configured or (name, path) in self._tried:
                continue
            choice = self.ledger.primary(name, path, None)
            if choice is None:
                mix = {t: totals[-1] for one in series for t, totals in one.totals.items()}
                if not sum(mix.values()):
                    continue  # chosen on the real token mix, so not before there is one
                model, providers = series[0].key.model, self.config.prices.auto_alternatives
                choice = self.ledger.primary(name, path, self.pricer.cheapest_host(model, providers, mix, now))
            self._tried.add((name, path))
            if choice is not None:
                self.automatic[name, path] = choice

    def _health(self, now: float) -> ExporterHealth:
        return ExporterHealth(
            version=__version__,
            python_version=platform.python_version(),
            role=self.config.role,
            started_at=self.started_at,
            page_at=now,
            ledger_writable=self.ledger.writable,
            ledger_size_bytes=self.ledger.size_bytes,
            ledger_quarantines=self.ledger.quarantines,
            price_book_at=self.pricer.catalogue_at,
        )


def _complete_through(snapshot: Snapshot) -> dict[str, int]:
    """By collector: the instant through which all its streams that are still asked have delivered."""
    found: dict[str, int] = {}
    for (collector, _), stream in snapshot.streams.items():
        if stream.retired_at is None and stream.observed.end is not None:
            found[collector] = min(stream.observed.end, found.get(collector, stream.observed.end))
    return found
