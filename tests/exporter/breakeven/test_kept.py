"""A status that the ledger keeps is the one that folding the evaluations gives."""

from dataclasses import replace
from decimal import Decimal

import pytest

from collectors.settings import Duration, Money
from exporter.breakeven.kept import decode, encode, rule
from exporter.breakeven.status import State
from exporter.config import DecisionSettings, EnterRatios


@pytest.mark.parametrize(
    "state",
    [
        State(),
        State(7200, "break_even", 3600, "api_cheaper", 3600, None, "", Decimal("1234.567890123456789012345678")),
        State(7200, "self_hosting_cheaper", 3600, None, 0, 7200, "coverage", Decimal("1E-12")),
    ],
)
def test_a_state_reads_back_as_it_was(state: State) -> None:
    assert decode(encode(state)) == state


def test_a_rule_tells_all_settings_that_a_fold_depends_on() -> None:
    settings = DecisionSettings()
    others = [
        replace(settings, sustain=Duration(7200)),
        replace(settings, evaluate_every=Duration(7200)),
        replace(settings, enter=EnterRatios(Money("1.20"), Money("0.90"))),
        replace(settings, enter=EnterRatios(Money("1.10"), Money("0.80"))),
    ]
    assert len({rule(one) for one in (settings, *others)}) == 5
    assert rule(replace(settings, switching_cost_usd=Money("5"))) == rule(settings)
