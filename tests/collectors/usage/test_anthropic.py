"""Anthropic's usage and cost reports against a stand-in that enforces the documented schema and limits."""

import logging
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
from collectors.usage.anthropic import CacheCreation, Result, band_of, tokens
from collectors.usage.records import Reject
from tests.collectors.usage.anthropic_stand_in import AnthropicStandIn, Call
from tests.collectors.usage.provider_books import DAY, MIDNIGHT, opened

NOW = MIDNIGHT + 9 * 3600 + 47 * 60 + 12
TYPES = {
    "input": "input",
    "cache_read": "read",
    "cache_write": "written_5m",
    "cache_write_1h": "written_1h",
    "output": "output",
}
BY = ("model", "service_tier", "region", "band", "workspace", "key")


def calls(count: int, since: int, until: int, seed: int = 7) -> list[Call]:
    """Calls at random times in `[since, until)`, of every shape."""
    dice = random.Random(seed)
    return [
        Call(
            at=dice.randrange(since, until),
            api_key_id=dice.choice(["apikey_1", "apikey_2", None]),
            workspace_id=dice.choice(["wrkspc_1", "wrkspc_2", None]),
            model=dice.choice(["claude-sonnet-4-20250514", "claude-opus-4-1"]),
            service_tier=dice.choice(["standard", "batch", "priority"]),
            context_window=dice.choice(["0-200k", "200k-1M"]),
            inference_geo=dice.choice(["global", "us"]),
            searches=dice.randrange(3),
            **{name: dice.randrange(5000) for name in TYPES.values()},
        )
        for _ in range(count)
    ]


def truth(of: Sequence[Call], width: int = 300) -> dict[tuple[Any, ...], int]:
    """What `Books.tokens(*BY)` is to say of these calls."""
    found: Counter[tuple[Any, ...]] = Counter()
    for call in of:
        tier = "default" if call.service_tier == "standard" else call.service_tier
        region = "" if call.inference_geo == "global" else call.inference_geo
        band = 200_000 if call.context_window == "200k-1M" else 0
        series = (call.model, tier, region, band, call.workspace_id or "default", call.api_key_id)
        for token_type, name in TYPES.items():
            found[(call.at - call.at % width, *series, token_type)] += getattr(call, name)
    return dict(+found)


@pytest.mark.parametrize("most", [{60: 1440, 3600: 168}, {60: 61, 3600: 5}, {60: 999, 3600: 24}])
def test_tokens_by_type_are_exact_whatever_the_paging(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: dict[int, int]
) -> None:
    monkeypatch.setattr(provider_collect, "MOST_BUCKETS", most)
    given = calls(300, MIDNIGHT - 40 * DAY, NOW + 3600)
    with AnthropicStandIn(NOW, given) as stand_in, opened("anthropic", stand_in, tmp_path) as books:
        assert books.collect(NOW) == {}
        seen = [call for call in given if MIDNIGHT - 31 * DAY <= call.at < NOW - NOW % 60]
        fine = [call for call in seen if call.at >= MIDNIGHT - 8 * DAY]
        by_slot = {key: n for key, n in books.tokens(*BY).items() if key[0] >= MIDNIGHT - 8 * DAY}
        assert by_slot == truth(fine)
        assert books.tokens(*BY, width=3600) == truth(seen, width=3600)
        assert books.observed == set(range(MIDNIGHT - 31 * DAY, (NOW - 600) // 300 * 300, 300))


def test_what_is_told_of_a_series(tmp_path: Path) -> None:
    call = Call(at=MIDNIGHT + 60, input=700, read=200, written_5m=30, written_1h=70, output=50)
    other = replace(call, api_key_id=None, workspace_id=None, context_window="200k-1M", inference_geo="us")
    with AnthropicStandIn(NOW, [call, other]) as stand_in, opened("anthropic", stand_in, tmp_path) as books:
        books.collect(NOW)
        one, long = sorted(books.usage, key=lambda usage: usage.band)
        names = (("key", "apikey_1"), ("key_name", "ci"), ("workspace", "wrkspc_1"), ("workspace_name", "Research"))
        assert (one.provider, one.path, one.slot, one.labels) == ("anthropic", "api", MIDNIGHT, names)
        assert one.tokens == {"input": 700, "cache_read": 200, "cache_write": 30, "cache_write_1h": 70, "output": 50}
        assert (one.service_tier, one.region, one.band, one.band_known) == ("default", "", 0, True)
        assert (long.region, long.band, long.band_known) == ("us", 200_000, True)
        assert long.labels == (("workspace", "default"),)


def test_the_provider_revises_yesterday(tmp_path: Path) -> None:
    given = calls(60, MIDNIGHT - DAY, NOW)
    with AnthropicStandIn(NOW, given) as stand_in, opened("anthropic", stand_in, tmp_path) as books:
        books.collect(NOW)
        for revised in ([replace(c, input=c.input + 1000) for c in given], given[::2], []):
            stand_in.calls = list(revised)
            stand_in.now += 300
            assert books.collect(stand_in.now) == {}
            assert books.tokens(*BY) == truth(revised)


def test_costs_are_the_bill_line_by_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    given = calls(80, MIDNIGHT - 9 * DAY, NOW)
    with (
        caplog.at_level(logging.WARNING),
        AnthropicStandIn(NOW, given) as stand_in,
        opened("anthropic", stand_in, tmp_path) as books,
    ):
        assert books.collect(NOW) == {}
        expected = [
            (day, workspace or "", amount)
            for day in range(MIDNIGHT - 31 * DAY, NOW, DAY)
            for (workspace, *_), amount in stand_in.lines(day).items()
        ]
        assert Counter((c.window.start, c.account, c.billed_cost) for c in books.charges) == Counter(expected)
        assert all(c.window == Window(c.window.start, c.window.start + DAY) for c in books.charges)
        assert all(c.estimated == (c.window.end + 2 * DAY > NOW) for c in books.charges)
        searches = next(c for c in books.charges if c.component == "other")
        assert dict(searches.tags)["cost_type"] == "web_search"
        one = next(
            c
            for c in books.charges
            if dict(c.tags).get("token_type") == "cache_write_1h" and c.account == "wrkspc_1" and "batch" in str(c.tags)
        )
        told = dict(one.tags)
        assert (one.component, one.provider, one.currency) == ("tokens", "anthropic", "USD")
        assert (told["service_tier"], told["workspace_name"]) == ("batch", "Research")
        assert told["model"] in {call.model for call in given}
    # The priority tier has usage, but no cost: that is said once.
    assert {u.service_tier for u in books.usage} == {"default", "batch", "priority"}
    assert not any(dict(c.tags).get("service_tier") == "priority" for c in books.charges)
    assert caplog.text.count("cost report does not say what it costs") == 1


def test_cents_are_dollars_to_the_last_digit(tmp_path: Path) -> None:
    with (
        AnthropicStandIn(NOW, [Call(at=NOW - 60, input=1)]) as stand_in,
        opened("anthropic", stand_in, tmp_path) as books,
    ):
        books.collect(NOW)
        assert [charge.billed_cost for charge in books.charges] == [Decimal("0.000003")]


def test_a_longer_past_is_paged(tmp_path: Path) -> None:
    given = calls(60, MIDNIGHT - 90 * DAY, NOW)
    with AnthropicStandIn(NOW, given) as stand_in, opened("anthropic", stand_in, tmp_path, since=90 * DAY) as books:
        assert books.collect(NOW) == {}
        assert len([query for query in stand_in.asked if query.path.endswith("cost_report")]) == 3
        total = sum(sum(stand_in.lines(day).values()) for day in range(MIDNIGHT - 90 * DAY, NOW, DAY))
        assert sum(charge.billed_cost for charge in books.charges) == total
        assert books.tokens(*BY, width=3600) == truth(given, width=3600)


@pytest.mark.parametrize(
    ("window", "edge"),
    [("0-200k", 0), ("200k-1M", 200_000), ("1M-2M", 1_000_000), ("0-272000", 0), (None, None), ("long", None)],
)
def test_context_windows_are_bands(window: str | None, edge: int | None) -> None:
    assert band_of(window) == edge


def test_absent_counts_are_none() -> None:
    assert sum(tokens(Result()).values()) == 0
    with pytest.raises(Reject, match="bad_tokens"):
        tokens(Result(cache_creation=CacheCreation(ephemeral_1h_input_tokens=-1)))
