"""Histories are written as one entry an hour: a ratio R with C = 100 USD, an unknown reason, or None for a missing
evaluation. `sustain` is 4 h here, so a side needs 5 evaluations, first and last included."""

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal as D
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.records import Path
from collectors.settings import Duration, Money
from exporter.breakeven.status import Side, State, fold, missed_saving, side_of, status, step
from exporter.config import DecisionSettings, EnterRatios
from exporter.ledger.snapshot import Evaluation
from exporter.reconcile.report import Status

HOUR = 3600
START = 1_795_000_000 // HOUR * HOUR
DECISION = DecisionSettings(sustain=Duration(4 * HOUR))
SELF, API, EVEN, UNKNOWN = "self_hosting_cheaper", "api_cheaper", "break_even", "unknown"

Entry = str | None


def evaluations(history: Sequence[Entry], path: Path = "self_hosted") -> list[Evaluation]:
    made = []
    for hour, entry in enumerate(history):
        if entry is None:
            continue
        known = entry[0].isdigit()
        api, cost = (D(entry) * 100, D(100)) if known else (None, None)
        made.append(
            Evaluation(
                workload="chat",
                path=path,
                alternative="api:x/y",
                at=START + hour * HOUR,
                api_usd=api,
                self_hosted_usd=cost,
                reason="" if known else entry,
                covered_seconds=10 * HOUR,
            )
        )
    return made


def after(*history: Entry, path: Path = "self_hosted") -> State:
    return fold(evaluations(history, path), DECISION)


def shown(*history: Entry) -> tuple[str, int | None, str]:
    """Name, the hour of `since`, reason."""
    now = status(after(*history))
    return now.name, None if now.since is None else (now.since - START) // HOUR, now.reason


HISTORIES: list[tuple[str, list[Entry], tuple[str, int | None, str]]] = [
    ("nothing evaluated yet", [], (UNKNOWN, None, "too_young")),
    ("young workload", ["too_young", "too_young"], (UNKNOWN, 0, "too_young")),
    ("first known evaluation", ["too_young", "1.5"], (EVEN, 1, "")),
    ("one short of sustain", ["1.5"] * 4, (EVEN, 0, "")),
    ("sustained, first and last included", ["1.5"] * 5, (SELF, 4, "")),
    ("since stays", ["1.5"] * 9, (SELF, 4, "")),
    ("exactly 1.10 enters", ["1.10"] * 5, (SELF, 4, "")),
    ("just below 1.10 does not", ["1.0999999999999999999999999"] * 9, (EVEN, 0, "")),
    ("exactly 0.90 enters", ["0.90"] * 5, (API, 4, "")),
    ("just above 0.90 does not", ["0.9000000000000000000000001"] * 9, (EVEN, 0, "")),
    ("rent without traffic is the API's side", ["0"] * 5, (API, 4, "")),
    ("one dip restarts the streak", ["1.5", "1.5", "1.5", "1.05", "1.5", "1.5", "1.5", "1.5"], (EVEN, 0, "")),
    ("and it is full again later", ["1.5", "1.5", "1.05", *["1.5"] * 5], (SELF, 7, "")),
    ("above 1 stays", [*["1.5"] * 5, "1.01", "1.05"], (SELF, 4, "")),
    ("exactly 1 stays", [*["1.5"] * 5, "1", "1"], (SELF, 4, "")),
    ("exactly 1 stays on the API's side", [*["0.5"] * 5, "1"], (API, 4, "")),
    ("below 1 leaves at once", [*["1.5"] * 5, "0.999"], (EVEN, 5, "")),
    ("above 1 leaves the API's side at once", [*["0.5"] * 5, "1.001"], (EVEN, 5, "")),
    ("break-even keeps its since", [*["1.5"] * 5, "0.999", "1.05", "0.95"], (EVEN, 5, "")),
    ("a step to the other side leaves, then enters", [*["1.5"] * 5, *["0.5"] * 4], (EVEN, 5, "")),
    ("the streak counts from the step", [*["1.5"] * 5, *["0.5"] * 5], (API, 9, "")),
    ("re-entry has a new since", [*["1.5"] * 5, "0.99", *["1.5"] * 5], (SELF, 10, "")),
    ("noise around 1", ["1.05", "0.95", "1.09", "0.91"] * 6, (EVEN, 0, "")),
    ("unknown hides the side", [*["1.5"] * 5, "coverage", "coverage"], (UNKNOWN, 5, "coverage")),
    ("the newest reason is shown", [*["1.5"] * 5, "coverage", "unpriced"], (UNKNOWN, 5, "unpriced")),
    ("the side returns with its since", [*["1.5"] * 5, "coverage", "1.01"], (SELF, 4, "")),
    ("returning on the other side of 1 leaves", [*["1.5"] * 5, "coverage", "0.99"], (EVEN, 6, "")),
    ("break-even returns with its since", ["1.05", "coverage", "1.05"], (EVEN, 0, "")),
    ("unknown resets the count", ["1.5", "1.5", "1.5", "coverage", *["1.5"] * 4], (EVEN, 0, "")),
    ("which starts again after it", ["1.5", "1.5", "1.5", "coverage", *["1.5"] * 5], (SELF, 8, "")),
    ("idle is unknown, not break-even", ["idle"] * 9, (UNKNOWN, 0, "idle")),
    ("a missing evaluation breaks the streak", ["1.5", "1.5", None, "1.5", "1.5", "1.5", "1.5"], (EVEN, 0, "")),
    ("which is full again later", ["1.5", "1.5", None, *["1.5"] * 5], (SELF, 7, "")),
    ("a missing evaluation contradicts no side", [*["1.5"] * 5, None, None, "1.01"], (SELF, 4, "")),
    ("a gap does not hide", [*["1.5"] * 5, None, None, "0.99"], (EVEN, 7, "")),
]


@pytest.mark.parametrize(("history", "want"), [h[1:] for h in HISTORIES], ids=[h[0] for h in HISTORIES])
def test_histories(history: list[Entry], want: tuple[str, int | None, str]) -> None:
    assert shown(*history) == want


def test_the_shipped_rule_needs_twenty_five_hourly_evaluations() -> None:
    made = evaluations(["1.1"] * 25)
    assert status(fold(made[:24], DecisionSettings())) == Status(EVEN, START)
    assert status(fold(made, DecisionSettings())) == Status(SELF, START + 24 * HOUR)


def test_without_sustain_one_evaluation_enters_and_one_changes_sides() -> None:
    at_once = replace(DECISION, sustain=Duration(0))
    assert status(fold(evaluations(["1.5"]), at_once)) == Status(SELF, START)
    assert status(fold(evaluations(["1.5", "0.5"]), at_once)) == Status(API, START + HOUR)


def test_thresholds_are_configurable() -> None:
    eager = replace(DECISION, enter=EnterRatios(self_hosting=Money("1.02"), api=Money("0.98")))
    assert status(fold(evaluations(["1.02"] * 5), eager)).name == SELF
    assert status(fold(evaluations(["0.98"] * 5), eager)).name == API


def test_sides_are_decided_on_exact_products() -> None:
    """1.10 x cost = 10.0358024679135802467913580094: the default 28 digits round it up, beyond the third cost."""
    cost = D("9.123456789012345678901234554")
    assert cost * D("1.10") == D("10.03580246791358024679135801")
    assert side_of(D("10.035802467913580246791358009"), cost, DECISION) is None
    assert side_of(D("10.0358024679135802467913580094"), cost, DECISION) == SELF
    assert side_of(D("10.0358024679135802467913580095"), cost, DECISION) == SELF


@pytest.mark.parametrize("usd", [D(0), D(5)])
def test_equal_costs_are_no_side(usd: D) -> None:
    assert side_of(usd, usd, DECISION) is None


def test_an_explicit_price_of_zero_decides_by_products() -> None:
    assert side_of(D(0), D(1), DECISION) == API
    assert side_of(D(1), D(0), DECISION) == SELF


def test_a_missing_cost_is_unknown_even_without_a_reason() -> None:
    made = replace(evaluations(["1"])[0], api_usd=None)
    assert status(fold([made], DECISION)) == Status(UNKNOWN, START, "no_cost")


def test_evaluations_out_of_order_or_twice_are_an_error() -> None:
    first, second = evaluations(["1", "1"])
    for wrong in ([second, first], [first, first]):
        with pytest.raises(ValueError, match="does not follow"):
            fold(wrong, DECISION)


# Missed saving. C = 100 USD over 10 covered hours; R = 0.5: the self-hosted path loses 5 USD an hour.


def test_missed_saving_counts_from_the_crossing_on_the_dearer_path() -> None:
    assert missed_saving(after(*["0.5"] * 5)) == 0
    assert missed_saving(after(*["0.5"] * 7)) == 10
    assert missed_saving(after(*["0.5"] * 5, "0.9", "0.5")) == 6


def test_missed_saving_on_the_api_path_is_what_self_hosting_would_have_saved() -> None:
    assert missed_saving(after(*["1.5"] * 7, path="api")) == 10
    assert missed_saving(after(*["0.5"] * 7, path="api")) == 0


def test_nothing_is_missed_on_the_cheaper_path_or_in_break_even() -> None:
    assert missed_saving(after(*["1.5"] * 9)) == 0
    assert missed_saving(after(*["0.95"] * 9)) == 0


def test_leaving_ends_the_missed_saving() -> None:
    assert missed_saving(after(*["0.5"] * 7, "1.01")) == 0


def test_time_that_nobody_vouches_for_is_not_missed() -> None:
    assert missed_saving(after(*["0.5"] * 7, "coverage")) is None
    assert missed_saving(after(*["0.5"] * 7, "coverage", "coverage", "0.5")) == 15
    assert missed_saving(after(*["0.5"] * 7, None, None, None, "0.5")) == 15
    assert missed_saving(State()) is None


def test_missed_saving_uses_the_covered_hours_of_the_ratio_window() -> None:
    *before, last = evaluations(["0.5"] * 6)
    assert missed_saving(fold([*before, replace(last, covered_seconds=5 * HOUR)], DECISION)) == 10
    assert missed_saving(fold([*before, replace(last, covered_seconds=0)], DECISION)) == 0


# Properties

entries = st.one_of(
    st.sampled_from(["0.5", "0.9", "0.95", "1", "1.05", "1.1", "1.5"]), st.sampled_from(["coverage", None])
)
runs = st.lists(st.tuples(entries, st.integers(1, 8)), max_size=12)
histories = runs.map(lambda pairs: [entry for entry, count in pairs for _ in range(count)])


@settings(max_examples=200)
@given(histories, st.lists(st.integers(0, 60)))
def test_any_batching_and_any_restart_give_the_same_state(history: list[Entry], cuts: list[int]) -> None:
    made = evaluations(history)
    state = State()
    edges = sorted({0, len(made), *(cut for cut in cuts if cut < len(made))})
    for start, end in pairwise(edges):
        for evaluation in made[start:end]:
            state = step(state, evaluation, DECISION)
        assert state == fold(made[:end], DECISION)
    assert state == fold(made, DECISION)


@given(st.lists(st.decimals("0.9001", "1.0999", places=4), max_size=100))
def test_noise_between_the_thresholds_never_enters_a_side(ratios: list[D]) -> None:
    made = evaluations([str(ratio) for ratio in ratios])
    for end in range(len(made) + 1):
        assert status(fold(made[:end], DECISION)).name in (EVEN, UNKNOWN)


def sustained(made: list[Evaluation], at: int) -> Side | None:
    """The rule read backwards from `at`: on one side at every hour of the last `sustain`, first and last included."""
    by_hour = {evaluation.at: evaluation for evaluation in made}
    sides = set()
    for hour in range(at - DECISION.sustain, at + 1, HOUR):
        evaluation = by_hour.get(hour)
        if evaluation is None or evaluation.api_usd is None or evaluation.self_hosted_usd is None:
            return None
        sides.add(side_of(evaluation.api_usd, evaluation.self_hosted_usd, DECISION))
    return sides.pop() if len(sides) == 1 else None


@settings(max_examples=200)
@given(histories)
def test_a_side_is_entered_exactly_when_the_rule_holds_read_backwards(history: list[Entry]) -> None:
    made = evaluations(history)
    state, side, since = State(), None, None
    for evaluation in made:
        state = step(state, evaluation, DECISION)
        if evaluation.api_usd is not None and evaluation.self_hosted_usd is not None:
            api, cost = evaluation.api_usd, evaluation.self_hosted_usd
            if side is None or (side == SELF and api < cost) or (side == API and api > cost):
                side, since = EVEN, evaluation.at
            held = sustained(made, evaluation.at)
            if held and held != side:
                side, since = held, evaluation.at
            assert status(state) == Status(side, since)
        else:
            assert status(state).name == UNKNOWN
