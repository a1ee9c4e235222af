"""The API side of the mission: calls to two providers, their bills, and the gateway's log of most of one's calls."""

import json
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from collectors.records import DAY, HOUR
from tests.collectors.usage import anthropic_stand_in, openai_stand_in
from tests.collectors.usage.provider_stand_in import Answer, Query
from tests.e2e.mission_look import Look

DAYS = 5
"""Whole days with calls, before today. Bills of the first three are no estimate any more."""

TOKENS = {"input": 100_000, "cached": 50_000, "output": 20_000}
TOKENS_A_CALL = sum(TOKENS.values())
TEAMS = ("support", "support", "search")  # of the calls that the gateway saw, each day
WITHOUT_PRICE = ("acme", "in-house-7b")
"""Provider and model of the calls of team `pilot`, which no price is known for."""
CALLS_A_DAY = len(TEAMS) + 1  # and one that went past it
CALLED_AT = 23 * HOUR + HOUR // 2  # of the day: the last calls are no 24 h ago until shortly before midnight


class RealTime:
    """A stand-in whose now is the real one."""

    now = property(lambda self: int(time.time()), lambda self, value: None)


class OpenAI(RealTime, openai_stand_in.OpenAIStandIn):
    pass


class Anthropic(RealTime, anthropic_stand_in.AnthropicStandIn):
    pass


def days(midnight: int) -> list[int]:
    return [midnight - back * DAY for back in range(DAYS, 0, -1)]


def openai_calls(midnight: int) -> list[openai_stand_in.Call]:
    return [
        openai_stand_in.Call(day + CALLED_AT + 60 * number, **TOKENS)
        for day in days(midnight)
        for number in range(CALLS_A_DAY)
    ]


def anthropic_calls(midnight: int) -> list[anthropic_stand_in.Call]:
    tokens = {"input": 200_000, "read": 400_000, "written_5m": 30_000, "written_1h": 10_000, "output": 50_000}
    return [anthropic_stand_in.Call(day + 11 * HOUR, **tokens) for day in days(midnight)]


def anthropic_usd_a_day(calls: Sequence[anthropic_stand_in.Call]) -> Decimal:
    """At the list price, which is what is billed."""
    (first, *_) = calls
    prices = anthropic_stand_in.TYPES.items()
    return sum((Decimal(getattr(first, name)) * Decimal(usd) / 10**6 for name, (_, usd) in prices), Decimal(0))


def gateway_line(at: float, team: str) -> str:
    provider, model = WITHOUT_PRICE if team == "pilot" else ("openai", "gpt-5")
    written = {
        "ts": datetime.fromtimestamp(at, UTC).isoformat(),
        "provider": provider,
        "model": model,
        "tokens": {"input": TOKENS["input"], "cache_read": TOKENS["cached"], "output": TOKENS["output"]},
        "labels": {"team": team},
    }
    return json.dumps(written) + "\n"


def late_tokens(look: Look) -> float:
    """Tokens of the gateway's log that were too late for the counters."""
    return look.total("llmcost_late_tokens_total", collector="gateway")


def write_history(log: Path, midnight: int) -> None:
    """What the gateway wrote before the exporter was started."""
    log.parent.mkdir()
    with log.open("w") as out:
        for day in days(midnight):
            for number, team in enumerate(TEAMS):
                out.write(gateway_line(day + CALLED_AT + 60 * number, team))


def throttled(query: Query) -> Answer | None:
    """429, with a wait that no collector should sit out."""
    return Answer(429, b"{}", (("Content-Type", "application/json"), ("Retry-After", "900")))


def nothing(query: Query) -> Answer | None:
    return None


def billed_a_day() -> Decimal:
    """What OpenAI bills for a day of these calls."""
    prices: dict[str, Any] = openai_stand_in.PRICES
    one = sum((Decimal(tokens) * Decimal(prices[name]) / 10**6 for name, tokens in TOKENS.items()), Decimal(0))
    return CALLS_A_DAY * one
