"""The catalogue's rates against genai_prices.calc_price: every model, around every edge, date and hour of change."""

from bisect import bisect_left
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import get_args

import pytest
from genai_prices import Usage, __version__, calc_price
from genai_prices.data_snapshot import get_snapshot

from exporter.prices import catalogue
from exporter.prices.book import PriceBook, PriceKey, Rate
from exporter.prices.overrides import TokenType
from exporter.prices.pricing import cost
from exporter.prices.resolve import band_edges, newest_price, resolve

EDGES = band_edges()
NOW = int(datetime(2026, 11, 20, 12, tzinfo=UTC).timestamp())


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp())


def band(prompt_tokens: int) -> int:
    below = bisect_left(EDGES, prompt_tokens)
    return EDGES[below - 1] if below else 0


def rate(key: PriceKey, when: int = NOW) -> Rate | None:
    return PriceBook(resolve([key])).rate(key, when)


def known(key: PriceKey, when: int = NOW) -> Rate:
    found = rate(key, when)
    assert found is not None
    return found


def instants(rates: tuple[Rate, ...]) -> set[int]:
    """Now, and the seconds around each change of price."""
    found = {NOW}
    for each in rates:
        found.update(edge + shift for edge in (each.start, each.end) if edge is not None for shift in (-1, 0))
        if each.day:
            found.update(NOW - NOW % 86400 + second + shift for second in each.day for shift in (-1, 0))
    return found


def library_usd(match: catalogue.Match, tokens: dict[str, int], when: int, tier: str) -> Decimal:
    usage = Usage(
        input_tokens=sum(count for token_type, count in tokens.items() if token_type != "output"),
        cache_read_tokens=tokens.get("cache_read", 0),
        cache_write_tokens=tokens.get("cache_write", 0) + tokens.get("cache_write_1h", 0),
        cache_write_1h_tokens=tokens.get("cache_write_1h", 0),
        output_tokens=tokens["output"],
    )
    moment = datetime.fromtimestamp(when, UTC)
    context = {"processing": tier, "service_tier": tier, "speed": tier} if tier else None
    priced = match.model.calc_price(usage, match.provider, genai_request_timestamp=moment, price_context=context)
    return priced.total_price


def matches() -> Iterator[tuple[str, catalogue.Match]]:
    for provider in get_snapshot().providers:
        for model in provider.models:
            for tier in ("", "batch", "flex", "priority", "fast"):
                yield tier, catalogue.Match(provider, model)


def test_every_model_tier_date_hour_and_band_costs_what_the_library_says() -> None:
    compared = 0
    for tier, match in matches():
        rates = catalogue.rates(match, tier)
        book = PriceBook({PriceKey("p", "m"): rates})
        edges = {edge for each in rates for edge, _ in each.bands}
        for when in instants(rates):
            current = book.rate(PriceKey("p", "m"), when)
            if current is None or not {"input", "output"} <= set(current.prices(0)):
                continue
            # A type that the library knows no price for is unpriced here, and costs the input price there.
            cached = {t: 100 for t in ("cache_read", "cache_write", "cache_write_1h") if t in current.prices(0)}
            for prompt in {1000, *(edge + shift for edge in edges if edge for shift in (0, 1))}:
                tokens = {"input": prompt - sum(cached.values()), "output": 77, **cached}
                ours = cost(current, tokens, band(prompt), 1)
                assert not ours.unpriced
                theirs = library_usd(match, tokens, when, tier)
                assert abs(ours.usd - theirs) <= theirs * Decimal("1e-9"), (match.origin, tier, when, prompt)
                compared += 1
    assert compared > 3000


@pytest.mark.parametrize(("prompt", "usd_per_mtok"), [(272_000, ("5", "25")), (272_001, ("10", "37.5"))])
def test_a_band_begins_strictly_above_its_edge_and_prices_the_whole_request(
    prompt: int, usd_per_mtok: tuple[str, str]
) -> None:
    prices = known(PriceKey("openai", "gpt-5.6-sol", "default"), at("2026-10-01T00:00:00Z")).prices(band(prompt))
    usage = Usage(input_tokens=prompt, output_tokens=1000)
    theirs = calc_price(
        usage, "gpt-5.6-sol", provider_id="openai", genai_request_timestamp=datetime(2026, 10, 1, tzinfo=UTC)
    )
    assert prices["input"] * prompt == theirs.input_price
    assert prices["output"] * 1000 == theirs.output_price


def test_cached_tokens_count_towards_the_band() -> None:
    prices = known(PriceKey("anthropic", "claude-sonnet-4-5"))
    tokens = {"input": 1, "cache_read": 200_000, "output": 10}
    assert cost(prices, tokens, band(sum(tokens.values()) - 10), 1).by_type["output"] == Decimal("22.5") * 10 / 10**6


def test_the_edges_are_numbers_in_order() -> None:
    assert tuple(sorted(EDGES)) == EDGES
    assert {128_000, 200_000, 272_000} <= set(EDGES)
    assert 0 not in EDGES


def test_a_tier_multiplies_the_long_band_too() -> None:
    flex, standard = (known(PriceKey("openai", "gpt-5.6-sol", tier)) for tier in ("flex", "default"))
    for edge in (0, 272_000):
        for token_type, price in flex.prices(edge).items():
            assert price * 2 == standard.prices(edge)[token_type]


def test_a_dated_price_changes_at_midnight_utc() -> None:
    key = PriceKey("deepseek", "deepseek-v4-pro")
    noon = known(key, at("2026-08-16T12:00:00Z")).prices(0)["output"]
    assert noon == Decimal("0.87") / 10**6
    assert known(key, at("2026-08-16T23:59:59Z")).prices(0)["output"] == noon
    assert known(key, at("2026-08-17T00:00:00Z")).prices(0)["output"] == Decimal("1.98") / 10**6


@pytest.mark.parametrize(
    ("clock", "output"),
    [("00:59:59", "1.98"), ("01:00:00", "3.96"), ("03:59:59", "3.96"), ("04:00:00", "1.98"), ("06:00:00", "3.96")],
)
def test_a_price_by_time_of_day(clock: str, output: str) -> None:
    now = known(PriceKey("deepseek", "deepseek-v4-pro"), at(f"2026-11-20T{clock}Z"))
    assert now.prices(0)["output"] == Decimal(output) / 10**6


def test_the_book_knows_when_a_time_of_day_price_changes() -> None:
    key = PriceKey("deepseek", "deepseek-v4-pro")
    day = at("2026-11-20T00:00:00Z")
    hours = [(change - day) // 3600 for change in PriceBook(resolve([key])).changes(key, day, day + 86400)]
    assert hours == [1, 4, 6, 10]


def test_a_tier_without_a_price_is_unknown_never_the_standard_price() -> None:
    assert rate(PriceKey("together", "openai/gpt-oss-120b", "batch")) is None
    assert rate(PriceKey("openai", "gpt-4o", "no-such-tier")) is None
    batch = PriceKey("openai", "gpt-5", "batch")  # its batch price is known from 2026-10-14 only
    assert rate(batch, at("2026-10-13T23:59:59Z")) is None
    assert known(batch, at("2026-10-14T00:00:00Z")).prices(0)["input"] == Decimal("0.625") / 10**6


@pytest.mark.parametrize("tier", ["", "default", "standard", "auto", "Default", "on_demand"])
def test_the_standard_tier_goes_by_many_names(tier: str) -> None:
    assert known(PriceKey("openai", "gpt-4o", tier)) == known(PriceKey("openai", "gpt-4o"))


def test_a_type_without_a_price_is_left_out() -> None:
    assert set(known(PriceKey("fireworks", "accounts/fireworks/models/llama-v3p1-8b-instruct")).prices(0)) == {
        "input",
        "output",
    }
    assert known(PriceKey("groq", "llama-3.1-8b-instant")).prices(0).get("cache_read") is None


def test_a_price_per_request() -> None:
    assert known(PriceKey("perplexity", "sonar-pro")).per_request == Decimal("0.014")


@pytest.mark.parametrize(
    ("provider", "model", "matched"),
    [
        ("fireworks_ai", "llama-v3p1-8b-instruct", "fireworks/llama-v3p1-8b-instruct"),
        ("fireworks_ai", "accounts/fireworks/models/llama-v3p1-8b-instruct", "fireworks/llama-v3p1-8b-instruct"),
        ("bedrock", "meta.llama3-1-8b-instruct-v1:0", "aws/meta.llama3-1-8b-instruct-v1:0"),
        (
            "aws.bedrock",
            "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-sonnet-4-5-20250929-v1:0",
            "aws/regional.anthropic.claude-sonnet-4-5-20250929-v1:0",
        ),
        (
            "bedrock_converse",
            "global.anthropic.claude-sonnet-4-5-20250929-v1:0",
            "aws/global.anthropic.claude-sonnet-4-5-20250929-v1:0",
        ),
        ("vertex_ai", "publishers/google/models/gemini-2.5-flash", "google/gemini-2.5-flash"),
        ("gemini", "gemini/gemini-2.5-flash", "google/gemini-2.5-flash"),
        (
            "together_ai",
            "meta-llama/Meta-Llama-3.1-8B-Instruct-Turbo",
            "together/meta-llama/Meta-Llama-3.1-8B-Instruct-Turbo",
        ),
        ("azure", "azure/gpt-4o", "azure/gpt-4o"),
        ("xai", "grok-4.20", "x-ai/grok-4.20"),
        ("litellm", "groq/llama-3.1-8b-instant", "groq/llama-3.1-8b-instant"),
        ("", "anthropic/claude-sonnet-4-5", "anthropic/claude-sonnet-4-5"),
        ("openai", "gpt-4o-2024-08-06", "openai/gpt-4o"),
    ],
)
def test_names_of_other_sources_and_the_matched_id_in_the_origin(provider: str, model: str, matched: str) -> None:
    assert known(PriceKey(provider, model)).origin == f"genai-prices {__version__} {matched}"


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("openai-compatible", "gpt-4o"),  # not OpenAI, whatever its name contains
        ("vllm", "meta-llama/Llama-3.1-8B-Instruct"),
        ("", "gpt-4o"),
        ("openai", "writer-7b"),
        ("cerebras", "qwen-3-coder-480b"),  # listed without a price: unknown, not free
    ],
)
def test_unknown_is_unknown(provider: str, model: str) -> None:
    assert resolve([PriceKey(provider, model)]) == {PriceKey(provider, model): ()}


def test_the_newest_price_is_not_in_the_future() -> None:
    assert at("2026-10-01T00:00:00Z") < newest_price(NOW) <= NOW
    assert newest_price(0) == 0


def test_the_price_file_knows_the_same_token_types() -> None:
    assert set(get_args(TokenType)) == set(catalogue.TOKEN_TYPES.values())
