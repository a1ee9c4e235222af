"""The status of a workload as a fold over its stored evaluations (design section 5, "Status"). Pure.

`step` takes one evaluation after the other, in order of time, so the status depends on the evaluations alone: not on
when or in how many batches they arrived. All rules of the machine are in this file:

- A side is decided on products of exact decimals: A >= 1.10 C is self-hosting, A <= 0.90 C is the API (configurable;
  and A must differ from C that way round, so two costs of 0 are no side).
- A side is entered at the first evaluation that ends a streak of at least `sustain` seconds on it, counted from the
  first evaluation of the streak to this one, both included. `since` is that evaluation's instant.
- It is left for `break_even` at the first evaluation strictly on the other side of 1; exactly equal stays. `since` of
  `break_even` is that instant, or the first known evaluation's if no side was entered before.
- An unknown evaluation hides the side and ends the streak. The first known one brings the side and its `since` back
  (or leaves it, if it is on the other side of 1). While hidden, `since` is when it became unknown.
- A missing evaluation (more than `evaluate_every` between two) is a time nobody vouches for: it ends the streak, as an
  unknown one would, and counts nothing to the missed saving. The side stays, because nothing has contradicted it.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from decimal import Context, Decimal
from typing import Literal

from exporter.config import DecisionSettings
from exporter.ledger.snapshot import Evaluation
from exporter.reconcile.report import Status

Side = Literal["self_hosting_cheaper", "api_cheaper"]

_EXACT = Context(prec=200)  # products of two money values never round


@dataclass(frozen=True, slots=True)
class State:
    """All that the next evaluation needs to know of those before it. Instants in epoch seconds.

    `shown` is what is shown while known: None before the first known evaluation, and `since` when it was entered.
    `streak` is the side that all evaluations from `streak_since` to `at` are on. `unknown_since` and `reason` are set
    while the newest evaluation is unknown. `missed_usd` is lost since `since` (see `missed_saving`).
    """

    at: int | None = None
    shown: Side | Literal["break_even"] | None = None
    since: int | None = None
    streak: Side | None = None
    streak_since: int = 0
    unknown_since: int | None = None
    reason: str = "too_young"
    missed_usd: Decimal = Decimal(0)


def step(state: State, evaluation: Evaluation, settings: DecisionSettings) -> State:
    """The state after one more evaluation of the same workload, path and alternative.

    Raises ValueError if it is not later than the one before: evaluations are made, and folded, in order.
    """
    if state.at is not None and evaluation.at <= state.at:
        raise ValueError(f"evaluation at {evaluation.at} of {evaluation.workload!r} does not follow {state.at}")
    reason = _unknown(evaluation)
    if reason:
        return _hide(state, evaluation.at, reason)
    state = _lose(state, evaluation, settings)
    return _enter(_leave(_count(state, evaluation, settings), evaluation), evaluation.at, settings)


def fold(evaluations: Iterable[Evaluation], settings: DecisionSettings) -> State:
    """The state after `evaluations` of one workload, path and alternative, in ascending order of `at`."""
    state = State()
    for evaluation in evaluations:
        state = step(state, evaluation, settings)
    return state


def status(state: State) -> Status:
    """What is shown: the side with its `since`, or `unknown` with its reason (`too_young` before any evaluation)."""
    if state.reason or state.shown is None:
        return Status("unknown", state.unknown_since, state.reason)
    return Status(state.shown, state.since)


def missed_saving(state: State) -> Decimal | None:
    """USD lost since the crossing, for not being on the cheaper path; None while the status is unknown.

    The crossing is the instant at which the shown side was entered. Every known evaluation after it stands for the
    time since the one before (at most `evaluate_every`), at its ratio window's mean rate (actual - alternative) /
    covered seconds. 0 on the cheaper path and in break-even.
    """
    return None if status(state).name == "unknown" else state.missed_usd


def side_of(api_usd: Decimal, self_hosted_usd: Decimal, settings: DecisionSettings) -> Side | None:
    """The side one evaluation is on: A >= enter.self_hosting x C, or A <= enter.api x C, on exact products (USD)."""
    if api_usd > self_hosted_usd and api_usd >= _EXACT.multiply(self_hosted_usd, settings.enter.self_hosting):
        return "self_hosting_cheaper"
    if api_usd < self_hosted_usd and api_usd <= _EXACT.multiply(self_hosted_usd, settings.enter.api):
        return "api_cheaper"
    return None


def _costs(evaluation: Evaluation) -> tuple[Decimal, Decimal]:
    """A and C of a known evaluation."""
    assert evaluation.api_usd is not None and evaluation.self_hosted_usd is not None
    return evaluation.api_usd, evaluation.self_hosted_usd


def _unknown(evaluation: Evaluation) -> str:
    if not evaluation.reason and (evaluation.api_usd is None or evaluation.self_hosted_usd is None):
        return "no_cost"
    return evaluation.reason


def _hide(state: State, at: int, reason: str) -> State:
    since = at if state.unknown_since is None else state.unknown_since
    return replace(state, at=at, streak=None, unknown_since=since, reason=reason)


def _lose(state: State, evaluation: Evaluation, settings: DecisionSettings) -> State:
    """Add what the time up to this evaluation cost on the dearer path."""
    dearer = "api_cheaper" if evaluation.path == "self_hosted" else "self_hosting_cheaper"
    if state.shown != dearer or state.at is None or evaluation.covered_seconds <= 0:
        return state
    api, self_hosted = _costs(evaluation)
    seconds = min(evaluation.at - state.at, settings.evaluate_every)
    usd = max(Decimal(0), self_hosted - api if dearer == "api_cheaper" else api - self_hosted)
    return replace(state, missed_usd=state.missed_usd + usd * seconds / evaluation.covered_seconds)


def _count(state: State, evaluation: Evaluation, settings: DecisionSettings) -> State:
    """Go on with the streak, or start one. An unknown evaluation before has already ended it."""
    at, side = evaluation.at, side_of(*_costs(evaluation), settings)
    unbroken = side == state.streak and state.at is not None and at - state.at <= settings.evaluate_every
    streak_since = state.streak_since if unbroken else at
    return replace(state, at=at, streak=side, streak_since=streak_since, unknown_since=None, reason="")


def _leave(state: State, evaluation: Evaluation) -> State:
    api, self_hosted = _costs(evaluation)
    crossed = (state.shown == "self_hosting_cheaper" and api < self_hosted) or (
        state.shown == "api_cheaper" and api > self_hosted
    )
    if state.shown is None or crossed:
        return replace(state, shown="break_even", since=evaluation.at, missed_usd=Decimal(0))
    return state


def _enter(state: State, at: int, settings: DecisionSettings) -> State:
    if state.streak is None or state.streak == state.shown or at - state.streak_since < settings.sustain:
        return state
    return replace(state, shown=state.streak, since=at, missed_usd=Decimal(0))
