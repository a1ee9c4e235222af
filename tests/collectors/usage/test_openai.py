"""OpenAI's usage and costs against a stand-in that enforces the documented schema and limits."""

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from collectors.records import Window
from collectors.usage import provider_collect
from collectors.usage.openai import Result, tokens
from collectors.usage.records import Reject
from tests.collectors.usage.openai_stand_in import Call, OpenAIStandIn
from tests.collectors.usage.provider_books import DAY, MIDNIGHT, opened

NOW = MIDNIGHT + 9 * 3600 + 47 * 60 + 12
TYPES = {
    "input": lambda call: call.input - call.audio_in,
    "cache_read": lambda call: call.cached - call.audio_cached,
    "cache_write": lambda call: call.written,
    "output": lambda call: call.output - call.audio_out,
    "audio_input": lambda call: call.audio_in,
    "audio_cache_read": lambda call: call.audio_cached,
    "audio_output": lambda call: call.audio_out,
}


def calls(count: int, since: int, until: int, seed: int = 7) -> list[Call]:
    """Calls at random times in `[since, until)`, of every shape."""
    dice = random.Random(seed)
    found = []
    for _ in range(count):
        audio = dice.random() < 0.2
        embedding = dice.random() < 0.1
        sizes = {name: dice.randrange(5000) for name in ("input", "cached", "written", "output")}
        parts = {"audio_in": "input", "audio_cached": "cached", "audio_out": "output"} if audio else {}
        found.append(
            Call(
                at=dice.randrange(since, until),
                project_id=dice.choice(["proj_a", "proj_b", "proj_gone"]),
                api_key_id=dice.choice(["key_1", "key_2", None]),
                user_id=dice.choice(["user_1", "user_2"]),
                model="text-embedding-3-large" if embedding else dice.choice(["gpt-5-2025-08-07", "gpt-4o-audio"]),
                batch=not embedding and dice.random() < 0.2,
                service_tier="default" if embedding else dice.choice(["default", "flex", "priority"]),
                endpoint="embeddings" if embedding else "completions",
                **({"input": sizes["input"]} if embedding else sizes),
                **({} if embedding else {part: dice.randrange(sizes[of] + 1) for part, of in parts.items()}),
            )
        )
    return found


def truth(of: Sequence[Call], *by: str, width: int = 300) -> dict[tuple[Any, ...], int]:
    """What `Books.tokens` is to say of these calls."""
    own = {
        "model": lambda call: call.model,
        "service_tier": lambda call: "batch" if call.batch else call.service_tier,
        "project": lambda call: call.project_id,
        "key": lambda call: call.api_key_id,
    }
    found: Counter[tuple[Any, ...]] = Counter()
    for call in of:
        for token_type, amount in TYPES.items():
            found[(call.at - call.at % width, *(own[name](call) for name in by), token_type)] += amount(call)
    return dict(+found)


BY = ("model", "service_tier", "project", "key")


@pytest.mark.parametrize("most", [{60: 1440, 3600: 168}, {60: 61, 3600: 5}, {60: 999, 3600: 24}])
def test_tokens_by_type_are_exact_whatever_the_paging(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: dict[int, int]
) -> None:
    monkeypatch.setattr(provider_collect, "MOST_BUCKETS", most)
    given = calls(300, MIDNIGHT - 40 * DAY, NOW + 3600)
    with OpenAIStandIn(NOW, given) as stand_in, opened("openai", stand_in, tmp_path) as books:
        assert books.collect(NOW) == {}
        seen = [call for call in given if MIDNIGHT - 31 * DAY <= call.at < NOW - NOW % 60]
        fine = [call for call in seen if call.at >= MIDNIGHT - 8 * DAY]
        by_slot = {key: n for key, n in books.tokens(*BY).items() if key[0] >= MIDNIGHT - 8 * DAY}
        assert by_slot == truth(fine, *BY)
        assert books.tokens(*BY, width=3600) == truth(seen, *BY, width=3600)
        assert books.requests == len(seen)
        assert books.rejected["hourly_bucket"] > 0
        assert books.observed == set(range(MIDNIGHT - 31 * DAY, (NOW - 600) // 300 * 300, 300))


def test_what_is_told_of_a_series(tmp_path: Path) -> None:
    call = Call(at=MIDNIGHT + 60, input=700, cached=200, written=100, output=50)
    other = replace(call, project_id="proj_gone", api_key_id=None, batch=True)
    edges = (200_000, 272_000)
    with OpenAIStandIn(NOW, [call, other]) as stand_in, opened("openai", stand_in, tmp_path, edges) as books:
        books.collect(NOW)
        named, bare = sorted(books.usage, key=lambda one: one.service_tier, reverse=True)
        assert named.labels == (("key", "key_1"), ("project", "proj_a"), ("project_name", "Alpha"))
        assert (named.provider, named.model, named.service_tier) == ("openai", "gpt-5-2025-08-07", "default")
        assert (named.path, named.slot, named.requests) == ("api", MIDNIGHT, 1)
        assert named.tokens == {"input": 700, "cache_read": 200, "cache_write": 100, "output": 50}
        assert (named.band, named.band_known) == (0, False)
        assert bare.labels == (("project", "proj_gone"),)
        assert bare.service_tier == "batch"
    with OpenAIStandIn(NOW, [call]) as stand_in, opened("openai", stand_in, tmp_path) as books:
        books.collect(NOW)
        assert books.usage[0].band_known  # no known price has bands


def test_the_provider_revises_yesterday(tmp_path: Path) -> None:
    given = calls(60, MIDNIGHT - DAY, NOW)
    with OpenAIStandIn(NOW, given) as stand_in, opened("openai", stand_in, tmp_path) as books:
        books.collect(NOW)
        for revised in (
            [replace(call, input=call.input + 1000) for call in given],
            [replace(call, output=call.output // 2, audio_out=0) for call in given[::2]],
            [],
        ):
            stand_in.calls = list(revised)
            stand_in.now += 300
            assert books.collect(stand_in.now) == {}
            assert books.tokens(*BY) == truth(revised, *BY)


def test_trailing_days_are_read_again_once_a_day_and_older_ones_never(tmp_path: Path) -> None:
    given = calls(80, MIDNIGHT - 30 * DAY, NOW)
    with OpenAIStandIn(NOW, given) as stand_in, opened("openai", stand_in, tmp_path) as books:
        books.collect(NOW)
        first = len(stand_in.asked)
        stand_in.calls = [replace(call, input=call.input + 1) for call in given]
        books.collect(NOW + 300)
        assert len(stand_in.asked) - first == 4  # yesterday and today, of two endpoints
        assert {(b.window.start - MIDNIGHT) // DAY for b in books.batches if b.window} == {-1, 0}
        stand_in.now = NOW + 300 + DAY
        books.collect(stand_in.now)
        again = {(b.window.start - MIDNIGHT) // DAY for b in books.batches if b.window and b.part == "usage"}
        assert again == {-4, -3, -2, -1, 0, 1}
        old = [call for call in given if call.at < MIDNIGHT - 4 * DAY]
        new = [call for call in stand_in.calls if call.at >= MIDNIGHT - 4 * DAY]
        assert sum(books.tokens().values()) == sum(truth([*old, *new]).values())


def test_a_restart_reads_on(tmp_path: Path) -> None:
    given = calls(40, MIDNIGHT - 20 * DAY, NOW + DAY)
    with OpenAIStandIn(NOW, given) as stand_in:
        with opened("openai", stand_in, tmp_path) as books:
            books.collect(NOW)
        stand_in.now = NOW + 7 * DAY  # it was down for a week
        with opened("openai", stand_in, tmp_path) as later:
            later.usage, later.cursors = books.usage, books.cursors
            later.collect(stand_in.now)
            seen = [call for call in given if call.at >= MIDNIGHT - 24 * DAY]
            assert later.tokens(*BY, width=3600) == truth(seen, *BY, width=3600)
            days = {(b.window.start - MIDNIGHT) // DAY for b in later.batches if b.window and b.part == "usage"}
            assert days == set(range(8))


def test_costs_are_the_bill_line_by_line(tmp_path: Path) -> None:
    given = [replace(call, audio_in=0, audio_cached=0, audio_out=0) for call in calls(60, MIDNIGHT - 9 * DAY, NOW)]
    with OpenAIStandIn(NOW, given) as stand_in, opened("openai", stand_in, tmp_path) as books:
        searches = {"line_item": "web search tool calls", "amount": {"value": "0.05", "currency": "usd"}}
        odd = {"line_item": "gpt-9, thoughts", "amount": {"value": 1.25, "currency": "usd"}, "quantity_unit": "tokens"}
        bare = {"line_item": "gift", "amount": None}
        stand_in.further_costs = [{"at": MIDNIGHT - DAY, **line} for line in (searches, odd, bare)]
        assert books.collect(NOW) == {}
        expected = {
            (day, project, item): amount
            for day in range(MIDNIGHT - 31 * DAY, NOW, DAY)
            for (project, item), (amount, _) in stand_in.lines(day).items()
        }
        billed = {
            (c.window.start, c.account, c.sku): c.billed_cost
            for c in books.charges
            if c.sku not in ("gift", odd["line_item"])
        }
        assert billed == expected | {(MIDNIGHT - DAY, "", "web search tool calls"): Decimal("0.05")}
        assert books.rejected["no_amount"] == 1
        for charge in books.charges:
            assert charge.effective_cost == charge.billed_cost
            assert (charge.provider, charge.currency, charge.category) == ("openai", "USD", "Usage")
            assert charge.window == Window(charge.window.start, charge.window.start + DAY)
            assert charge.estimated == (charge.window.end + 2 * DAY > NOW)
        kinds = {charge.sku: (charge.component, dict(charge.tags)) for charge in books.charges}
        assert kinds["web search tool calls"] == ("other", {})
        assert kinds["gpt-9, thoughts"] == ("tokens", {})
        one = next(c for c in books.charges if c.sku == "gpt-5-2025-08-07, cached input" and c.account == "proj_b")
        told = {"model": "gpt-5-2025-08-07", "token_type": "cache_read", "project": "proj_b", "project_name": "Beta"}
        assert (one.component, dict(one.tags), one.unit) == ("tokens", told, "tokens")
        assert one.quantity == stand_in.lines(one.window.start)["proj_b", one.sku][1]


def test_a_bill_with_a_short_past_is_read_again_as_long_as_it_may_change(tmp_path: Path) -> None:
    with OpenAIStandIn(NOW, []) as stand_in, opened("openai", stand_in, tmp_path, since=DAY) as books:
        for day in range(9):
            stand_in.now = NOW + day * DAY
            books.collect(stand_in.now)
            [window] = [batch.window for batch in books.batches if batch.part == "cost"]
            assert window is not None and window.start == MIDNIGHT + max(-1, day - 6) * DAY


def test_costs_are_asked_for_seldom_and_the_trailing_days_again(tmp_path: Path) -> None:
    given = calls(60, MIDNIGHT - 9 * DAY, NOW)
    with OpenAIStandIn(NOW, given) as stand_in, opened("openai", stand_in, tmp_path) as books:
        books.collect(NOW)
        before = sum(charge.billed_cost for charge in books.charges)
        stand_in.calls = []
        books.collect(NOW + 6 * 3600 - 1)
        assert sum(charge.billed_cost for charge in books.charges) == before
        books.collect(NOW + 6 * 3600)
        assert {charge.window.start for charge in books.charges} <= set(
            range(MIDNIGHT - 31 * DAY, MIDNIGHT - 5 * DAY, DAY)
        )
        [cost] = [batch for batch in books.batches if batch.part == "cost"]
        assert cost.window == Window(MIDNIGHT - 5 * DAY, MIDNIGHT + DAY)
    with OpenAIStandIn(NOW, given) as stand_in, opened("openai", stand_in, tmp_path, since=60 * DAY) as longer:
        longer.cursors = books.cursors
        longer.collect(NOW + 300)  # `since` was set further back
        [cost] = [batch for batch in longer.batches if batch.part == "cost"]
        assert cost.window == Window(MIDNIGHT - 60 * DAY, MIDNIGHT + DAY)


@pytest.mark.parametrize(
    ("result", "told"),
    [
        (Result(input_tokens=10), {"input": 10, "cache_read": 0, "output": 0}),
        (
            Result(input_tokens=100, input_cached_tokens=60, output_tokens=5, input_cache_write_tokens=0),
            {"input": 40, "cache_read": 60, "output": 5, "cache_write": 0},
        ),
        (
            Result(input_tokens=100, input_cache_write_tokens=70, input_cache_write_12h_tokens=20),
            {"input": 30, "cache_read": 0, "output": 0, "cache_write": 50, "cache_write_12h": 20},
        ),
        (  # before cached audio had a field of its own, audio included it
            Result(
                input_tokens=100, input_cached_tokens=90, input_audio_tokens=50, output_tokens=9, output_audio_tokens=4
            ),
            {"input": 0, "audio_input": 10, "cache_read": 90, "output": 5, "audio_output": 4},
        ),
        (
            Result(input_tokens=100, input_cached_tokens=90, input_audio_tokens=5, input_cached_audio_tokens=45),
            {"input": 5, "audio_input": 5, "cache_read": 45, "audio_cache_read": 45, "output": 0},
        ),
    ],
)
def test_token_semantics(result: Result, told: dict[str, int]) -> None:
    assert tokens(result) == told


@pytest.mark.parametrize(
    ("result", "reason"),
    [
        (Result(input_tokens=10, input_cached_tokens=11), "inconsistent_usage"),
        (Result(input_tokens=-1), "bad_tokens"),
        (Result(input_tokens=10**12), "bad_tokens"),
        (Result(input_tokens=9, input_cache_write_tokens=1, input_cache_write_12h_tokens=2), "inconsistent_usage"),
    ],
)
def test_impossible_tokens(result: Result, reason: str) -> None:
    with pytest.raises(Reject, match=reason):
        tokens(result)
