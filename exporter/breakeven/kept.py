"""A status state as the ledger keeps it, and under which rule it was made: what spares folding years of evaluations."""

import json
from dataclasses import fields
from decimal import Decimal

from exporter.breakeven.status import State
from exporter.config import DecisionSettings

RULE_VERSION = 1
"""Raise it with any change of what `step` makes of the same evaluations: then all are folded again, once."""

_KEPT = [field.name for field in fields(State)]


def rule(settings: DecisionSettings) -> str:
    """What the state after given evaluations depends on."""
    enter = settings.enter
    return f"{RULE_VERSION} {enter.self_hosting} {enter.api} {settings.sustain} {settings.evaluate_every}"


def encode(state: State) -> str:
    return json.dumps({name: getattr(state, name) for name in _KEPT} | {"missed_usd": str(state.missed_usd)})


def decode(text: str) -> State:
    known = json.loads(text)
    return State(**{**known, "missed_usd": Decimal(known["missed_usd"])})
