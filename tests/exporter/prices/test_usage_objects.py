"""1,159 real usage objects: our price of each is that of genai-prices, or it is on a closed list with the reason."""

import gzip
import json
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

from genai_prices.data_snapshot import get_snapshot
from genai_prices.decompose import compute_leaf_values
from genai_prices.types import Usage
from genai_prices.units import _get_registry

from exporter.prices.book import PriceBook, PriceKey
from exporter.prices.catalogue import TOKEN_TYPES, find
from exporter.prices.pricing import cost
from exporter.prices.resolve import band_edges, resolve

FIXTURES = Path(__file__).parents[2] / "fixtures/usage"
AT = datetime(2026, 11, 20, 12, tzinfo=UTC)
UNITS = _get_registry()
# `output` includes reasoning and citations, so only what our records keep apart is taken out of it.
APART = {
    UNITS.unit_for_price_key(price_key).usage_key: token_type
    for price_key, token_type in TOKEN_TYPES.items()
    if token_type not in ("output_reasoning", "output_citation")
}

# For the objects that do not name their model (Bedrock Converse, Cohere and some streams).
STAND_IN = {
    "anthropic": "claude-sonnet-4-5",
    "aws": "global.anthropic.claude-sonnet-4-5-20250929-v1:0",
    "cohere": "command-r-plus-08-2024",
    "google": "gemini-2.5-flash",
}


def disjoint(usage: Usage) -> dict[str, int]:
    """The library's inclusive counts as our disjoint ones, by token type."""
    reported = {key for key in usage.__dict__ if key in APART}
    leaves = compute_leaf_values(reported, usage, UNITS.units)
    return {APART[key]: int(count) for key, count in leaves.items()}


@dataclass(frozen=True)
class Case:
    """A usage object as one provider's API would have returned it: where from, what was used, what it should cost."""

    where: str
    key: PriceKey
    usage: Usage
    usd: Decimal


def cases() -> Iterator[Case]:
    providers = {provider.id: provider for provider in get_snapshot().providers}
    with gzip.open(FIXTURES / "genai_prices_usage_objects.jsonl.gz", "rt") as lines:
        for number, line in enumerate(lines, 1):
            record = json.loads(line)
            for extractor in (each for group in record["extracted"] for each in group["extractors"]):
                provider = providers[extractor["provider_id"]]
                model = record.get("model") or STAND_IN.get(provider.id, "")
                match = find(provider.id, model)
                if match is None:
                    continue
                _, usage = provider.extract_usage(record["body"], api_flavor=extractor["api_flavor"])
                priced = match.model.calc_price(usage, provider, genai_request_timestamp=AT)
                key = PriceKey(provider.id, model)
                yield Case(f"{number} {provider.id} {extractor['api_flavor']}", key, usage, priced.total_price)


# What the library charges for a type that has no price of its own.
CHARGED_AS = dict.fromkeys(("cache_read", "audio_input", "image_input", "video_input"), "input") | dict.fromkeys(
    ("image_cache_read", "video_cache_read"), "cache_read"
)
USD_PER_WEB_SEARCH = Decimal("0.01")  # Anthropic's, the only ones in the data


def difference(case: Case, book: PriceBook, edges: tuple[int, ...]) -> str:
    """Why our price is not the library's; empty where it is. A reason holds only if it explains the gap exactly."""
    tokens = disjoint(case.usage)
    prompt = sum(count for token_type, count in tokens.items() if "output" not in token_type)
    below = bisect_left(edges, prompt)
    band = edges[below - 1] if below else 0
    rate = book.rate(case.key, int(AT.timestamp()))
    if rate is None:
        return "no price" if case.usd == 0 else "unequal"
    priced = cost(rate, tokens, band, 1)
    searches = case.usage.__dict__.get("web_searches", 0) * USD_PER_WEB_SEARCH
    instead = sum(rate.prices(band)[CHARGED_AS[t]] * count for t, count in priced.unpriced.items())
    if priced.unpriced and same(priced.usd + instead, case.usd):
        return f"unpriced {' '.join(sorted(priced.unpriced))}"
    if searches and same(priced.usd + searches, case.usd):
        return "web searches are not tokens"
    return "" if same(priced.usd, case.usd) else "unequal"


def same(ours: Decimal, theirs: Decimal) -> bool:
    return abs(ours - theirs) <= theirs * Decimal("1e-9")


def test_equal_to_genai_prices_but_for_a_closed_list() -> None:
    every = list(cases())
    book = PriceBook(resolve(list({case.key for case in every})))
    edges = band_edges()
    found = {case.where: difference(case, book, edges) for case in every}
    assert "unequal" not in found.values()
    listed = (FIXTURES / "price_differences.txt").read_text().splitlines()
    assert [f"{where}: {why}" for where, why in found.items() if why] == listed
    assert Counter(bool(why) for why in found.values()) == {False: 2879, True: 100}


def test_the_conversion_keeps_every_token_of_the_prompt() -> None:
    for case in cases():
        tokens = disjoint(case.usage)
        prompt = sum(count for token_type, count in tokens.items() if "output" not in token_type)
        assert prompt == case.usage.__dict__.get("input_tokens", 0)
