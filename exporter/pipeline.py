"""From the ledger to the page: accrue the rent, make the evaluations that are due, reconcile, render. One tick each."""

import logging
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

from collectors.billing.rate_card import cards as rate_cards
from collectors.records import Card, Path
from exporter import __version__
from exporter.accruing import accrue, tell
from exporter.breakeven.kept import decode, encode, rule
from exporter.breakeven.status import State, step
from exporter.config import Config
from exporter.ledger.snapshot import BillLine, Evaluation, Fold, Snapshot
from exporter.ledger.store import Ledger, LedgerUnwritableError
from exporter.pricer import PROMPT, PricePendingError, Pricer
from exporter.prices.book import PriceKey
from exporter.publish.state import CounterValue, ExporterHealth, PublishState
from exporter.reconcile import coverage
from exporter.reconcile.build import Inputs, closed_through, running, views
from exporter.reconcile.evaluate import due, evaluate, was_ahead
from exporter.reconcile.matching import check_collectors, decision_of
from exporter.reconcile.memo import Memo
from exporter.reconcile.report import Report
from exporter.reconcile.reporting import StateKey, report
from exporter.reconcile.tokens import key_of
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
    _unpriced_yet: set[StateKey] = field(default_factory=set)  # not evaluated: a price is yet to be looked up
    _waits: int = 0  # the instant that counters wait for
    _ahead: set[StateKey] = field(default_factory=set)  # of these, later evaluations than the state's are void
    _tried: set[tuple[str, Path]] = field(default_factory=set)
    _memo: Memo = field(default_factory=Memo)
    _last: tuple[tuple[int, int, int], Report] | None = None

    def __post_init__(self) -> None:
        self.cards = {
            key: card
            for settings in self.config.collectors
            if settings.kind == "rate_card"
            for key, card in rate_cards(settings).items()
        }
        folded: list[Fold] = []
        for fold in self.ledger.folds():
            key = (fold.workload, fold.path, fold.alternative)
            self.states[key] = self._folded(fold)
            if fold.rule != rule(decision_of(self.config, fold.workload)):
                folded.append(self._fold(*key, self.states[key]))
        if folded and self.ledger.writable:
            self.ledger.store_evaluations([], folded)

    @property
    def settle(self) -> int:
        """Seconds after a slot's end until it counts as closed: what the slowest frequent source needs to deliver."""
        frequent = [s.interval for s in self.config.collectors if s.interval <= MAX_SETTLE]
        return min(MAX_SETTLE, max(frequent, default=0) + self.config.publish.every)

    def opening(self, runner: Runner, now: float) -> PublishState:
        """What is known before the first collection: the kept counters, and every collector not yet successful."""
        return PublishState(None, self.counters(), runner.health({}), self._health(now))

    def tick(self, runner: Runner, now: float, wait: float | None = PROMPT) -> PublishState:
        """One publish tick at `now` (epoch seconds): what is to be shown. Survives a ledger that cannot be written; one
        that cannot be read raises (see `exporter.publishing`). `wait`: seconds for prices, None until they are there.
        """
        settled = runner.settled  # before the snapshot: what these delivered must be in it
        snapshot = self.ledger.snapshot()
        found = self._accrued(snapshot, int(now), wait)
        inputs, known = self._unpriced(snapshot), self.pricer.book
        inputs = replace(inputs, book=self.pricer.ensure(self._price_keys(snapshot, found), int(now), wait))
        if inputs.book is not known:  # what a bill makes of list prices is in the views, too
            found = views(inputs, int(now))
        return PublishState(
            report=self._report(inputs, found, settled, int(now)),
            counters=self.counters(),
            collectors=runner.health(self._complete_through(snapshot, int(now))),
            exporter=self._health(now),
        )

    def degraded(self, last: PublishState, runner: Runner, now: float) -> PublishState:
        """`last` again, because a tick failed: with the counters and the health of `now`, which need no disk."""
        through = {health.name: health.complete_through for health in last.collectors}
        return replace(
            last,
            counters=self.counters(),
            collectors=runner.health({name: at for name, at in through.items() if at is not None}),
            exporter=replace(last.exporter, page_at=now, ledger_writable=False),
        )

    def inputs(self, snapshot: Snapshot, now: int) -> Inputs:
        """The snapshot with config and prices; every price that the views will ask for is looked up first."""
        bare = self._unpriced(snapshot)
        return replace(bare, book=self.pricer.ensure(self._price_keys(snapshot, views(bare, now)), now))

    def counters(self) -> list[CounterValue]:
        """The published counters, from memory."""
        return [CounterValue(f, labels, c.value, c.created) for (f, labels), c in self.ledger.counters().items()]

    def _folded(self, fold: Fold) -> State:
        """The state after all stored evaluations: those that a kept state is not made of are folded into it."""
        settings = decision_of(self.config, fold.workload)
        kept = fold.state and fold.rule == rule(settings)
        state = decode(fold.state) if kept else State()
        for evaluation in self.ledger.evaluations_of(fold, state.at or 0):
            state = step(state, evaluation, settings)
        return state

    def _unpriced(self, snapshot: Snapshot) -> Inputs:
        return Inputs(snapshot, self.config, self.cards, self.pricer.book, self.automatic, self._memo)

    def _accrued(self, snapshot: Snapshot, now: int, wait: float | None) -> list[WorkloadView]:
        """The views through `now`, after the counters have moved by what has passed. Built once for all of a tick."""
        inputs = self._unpriced(snapshot)
        found = views(inputs, now)
        try:
            if self._choose_alternatives(found, now, wait):
                found = views(inputs, now)
            rents = running(inputs, now)
            waits = accrue(self.ledger, self.config, self.cards, snapshot, rents, found, now)
            self._waits = tell(waits, self._waits)
        except LedgerUnwritableError as error:
            log.error("the ledger cannot be written, the page goes on from memory: %s", error)
        return found

    def _report(self, inputs: Inputs, found: Sequence[WorkloadView], settled: frozenset[str], now: int) -> Report:
        end = closed_through(now, self.settle)
        made = self._evaluate(found, inputs, settled, now) if self.config.publish.decisions else 0
        version = (inputs.snapshot.revision, end, len(inputs.book.rates))
        if self._last is None or self._last[0] != version or made:
            self._last = (version, report(inputs, found, self._shown_states(), now, end))
        return self._last[1]

    def _shown_states(self) -> dict[StateKey, State]:
        """The states; a workload whose backlog is not yet evaluated has none that could be shown, nor has one that was
        never evaluated because its prices are yet to be looked up."""
        shown = {key: State(reason="catching_up") for key in self._unpriced_yet} | self.states
        return {
            key: replace(state, reason="catching_up") if key[:2] in self._behind else state
            for key, state in shown.items()
        }

    def _evaluate(self, found: Sequence[WorkloadView], inputs: Inputs, settled: frozenset[str], now: int) -> int:
        fresh: list[Evaluation] = []
        self._go_back(now)
        self._behind.clear()
        self._unpriced_yet.clear()
        for view in found:
            if not view.alternatives or view.first is None or not view.series:
                continue
            if inputs.book.missing(view.price_keys()):  # not looked up is not the same as without a price: that waits
                self._unpriced_yet.add((view.name, view.path, view.alternatives[0].label))
            else:
                fresh += self._evaluations(view, inputs, settled, now, EVALUATIONS_PER_TICK - len(fresh))
        if fresh:
            states = self._stepped(fresh)
            void = [(*key, self.states[key].at or 0) for key in states.keys() & self._ahead]
            try:
                self.ledger.store_evaluations(fresh, [self._fold(*key, state) for key, state in states.items()], void)
            except LedgerUnwritableError as error:
                log.error("evaluations wait until the ledger can be written: %s", error)
                return 0
            self.states.update(states)
            self._ahead -= states.keys()
        return len(fresh)

    def _go_back(self, now: int) -> None:
        """Where a clock was ahead: back to the states that the evaluations through `now` lead to. The others are void;
        they are kept until there is one to take their place, in case it is this clock that is wrong."""
        for key, state in self.states.items():
            if was_ahead(state.at or 0, now, self.ledger.first_start):
                log.warning("%s: evaluations were made for instants that are yet to come; they are made again", key[0])
                self.states[key] = self._through(Fold(*key), now)
                self._ahead.add(key)

    def _through(self, fold: Fold, now: int) -> State:
        state, settings = State(), decision_of(self.config, fold.workload)
        for evaluation in self.ledger.evaluations_of(fold, 0):
            if evaluation.at <= now:
                state = step(state, evaluation, settings)
        return state

    def _stepped(self, fresh: Sequence[Evaluation]) -> dict[StateKey, State]:
        """The states that change with these evaluations."""
        states: dict[StateKey, State] = {}
        for one in fresh:
            key = (one.workload, one.path, one.alternative)
            state = states.get(key) or self.states.get(key, State())
            states[key] = step(state, one, decision_of(self.config, one.workload))
        return states

    def _fold(self, workload: str, path: Path, alternative: str, state: State) -> Fold:
        settings = decision_of(self.config, workload)
        return Fold(workload, path, alternative, state.at or 0, rule(settings), encode(state))

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

    def _choose_alternatives(self, found: Sequence[WorkloadView], now: int, wait: float | None) -> bool:
        """Give every self-hosted workload without a configured alternative the cheapest host of its model, for good.

        True if one was given.
        """
        configured = {workload.name for workload in self.config.workloads if workload.alternatives}
        known = len(self.automatic)
        for view in found:
            key = (view.name, view.path)
            if view.path != "self_hosted" or not view.series or view.name in configured or key in self._tried:
                continue
            choice = self.ledger.primary(*key, None)
            if choice is None:
                mix = {t: totals[-1] - totals[0] for one in view.series for t, totals in one.totals.items()}
                if not sum(mix.values()):
                    continue  # chosen on the real token mix, so not before there is one
                model, providers = view.series[0].key.model, self.config.prices.auto_alternatives
                try:
                    cheapest = self.pricer.cheapest_host(model, providers, mix, now, wait)
                except PricePendingError:
                    continue  # kept for good, so not chosen among some of the hosts
                choice = self.ledger.primary(*key, cheapest)
            self._tried.add(key)
            if choice is not None:
                self.automatic[key] = choice
        return len(self.automatic) > known

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

    def _price_keys(self, snapshot: Snapshot, found: Sequence[WorkloadView]) -> set[PriceKey]:
        """Every price that the views may ask for, and those of the API usage that only checks: its bill is measured by
        what it is worth."""
        checks = check_collectors(self.config, snapshot)
        checked = {key_of(s.key) for s in snapshot.series if s.key.path == "api" and s.key.collector in checks}
        return checked.union(*(view.price_keys() for view in found))

    def _complete_through(self, snapshot: Snapshot, now: int) -> dict[str, int]:
        """By collector: the instant through which it vouches for its data. Sources of usage: all streams that are still
        asked have delivered, whatever their bill lags behind; rate cards: accrued; bills: the newest usage delivered
        ends, at most now."""
        found: dict[str, int] = {}
        for (collector, _), stream in snapshot.streams.items():
            if stream.retired_at is None and stream.observed.end is not None:
                found[collector] = min(stream.observed.end, found.get(collector, stream.observed.end))
        for reservation in snapshot.reservations:
            if card := self.cards.get(reservation.card):
                found[card.collector] = max(reservation.window.end, found.get(card.collector, 0))
        billed = self._memo.same("billed through", (snapshot.bill,), lambda: _billed_through(snapshot.bill))
        return {collector: min(end, now) for collector, end in billed.items()} | found


def _billed_through(bill: Sequence[BillLine]) -> dict[str, int]:
    """By collector: the end of the newest charge period of usage. A purchase or a tax is for a time yet to come."""
    ends: dict[str, int] = {}
    for line in bill:
        if line.charge.category == "Usage":
            ends[line.collector] = max(line.charge.window.end, ends.get(line.collector, 0))
    return ends
