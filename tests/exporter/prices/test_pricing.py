"""Tokens times price: what is priced, what leaves as unpriced, and the counterfactual."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.prices.book import Rate
from exporter.prices.pricing import blended, cost

D = Decimal
CACHED = Rate(
    ((0, {"input": D("3e-6"), "cache_read": D("3e-7"), "output": D("15e-6")}), (200_000, {"input": D("6e-6")}))
)
PLAIN = Rate(((0, {"input": D("1e-7"), "output": D("2e-7")}), (100, {"input": D("4e-7")})))


def test_each_type_at_its_own_price() -> None:
    priced = cost(CACHED, {"input": 1000, "cache_read": 10_000, "output": 100}, 0, 1)
    assert priced.usd == D("0.0075")
    assert priced.by_type == {"input": D("0.003"), "cache_read": D("0.003"), "output": D("0.0015")}
    assert priced.unpriced == {}


def test_a_price_missing_in_a_band_is_that_of_the_band_below_never_0() -> None:
    priced = cost(CACHED, {"input": 1000, "cache_read": 1000, "output": 1000}, 200_000, 1)
    assert priced.by_type == {"input": D("0.006"), "cache_read": D("0.0003"), "output": D("0.015")}


def test_cached_tokens_without_a_price_are_unpriced_and_no_token_never_is() -> None:
    priced = cost(PLAIN, {"input": 100, "cache_read": 50, "cache_write": 0, "output": 10}, 0, 1)
    assert priced.usd == D("0.000012")
    assert priced.unpriced == {"cache_read": 50}


def test_a_type_that_is_not_one_is_never_priced() -> None:
    assert cost(PLAIN, {"total": 15}, 0, 1).unpriced == {"total": 15}  # a sum beside its parts


def test_requests_may_cost_too() -> None:
    rate = Rate(((0, {"input": D("1e-6")}),), per_request=D("0.005"))
    assert cost(rate, {"input": 1000}, 0, 3).usd == D("0.016")


def test_a_host_without_any_cached_price_bills_cached_tokens_as_prompt_in_the_counterfactual() -> None:
    tokens = {"input": 100, "cache_read": 50, "cache_write": 5, "output": 10}
    assert cost(PLAIN, tokens, 0, 1, cached_as_input=True).usd == D("0.0000175")
    assert cost(PLAIN, tokens, 100, 1, cached_as_input=True).usd == D("0.000064")


@pytest.mark.parametrize("edge", [0, 200_000])
def test_a_host_with_a_cached_price_in_any_band_knows_caching(edge: int) -> None:
    rate = Rate(((0, {"input": D("3e-6")}), (200_000, {"cache_read": D("6e-7")})))
    assert cost(rate, {"cache_write": 7}, edge, 1, cached_as_input=True).unpriced == {"cache_write": 7}


def test_the_counterfactual_prices_nothing_but_cached_types() -> None:
    assert cost(PLAIN, {"audio_input": 7}, 0, 1, cached_as_input=True).unpriced == {"audio_input": 7}
    output_only = Rate(((0, {"output": D("1e-6")}),))
    assert cost(output_only, {"cache_read": 7}, 0, 1, cached_as_input=True).unpriced == {"cache_read": 7}


def test_the_blended_price_is_weighted_by_the_mix() -> None:
    assert blended(PLAIN, {"input": 3, "cache_read": 0, "output": 1}) == D("1.25e-7")
    assert blended(PLAIN, {"input": 2, "cache_read": 1, "output": 1}) == D("1.25e-7")
    assert blended(CACHED, {"input": 1, "cache_read": 1}) == D("1.65e-6")


def test_no_blended_price_of_nothing_or_of_what_has_no_price() -> None:
    assert blended(PLAIN, {}) is None
    assert blended(PLAIN, {"input": 0}) is None
    assert blended(CACHED, {"input": 1, "cache_write": 1}) is None


counts = st.dictionaries(
    st.sampled_from(["input", "cache_read", "cache_write", "output", "audio_input"]), st.integers(0, 10**12)
)


@given(counts, counts, st.sampled_from([0, 200_000]))
def test_cost_is_additive_and_every_token_is_priced_or_unpriced(
    one: dict[str, int], other: dict[str, int], edge: int
) -> None:
    both = {token_type: one.get(token_type, 0) + other.get(token_type, 0) for token_type in {*one, *other}}
    apart, together = [cost(CACHED, tokens, edge, 1) for tokens in (one, other)], cost(CACHED, both, edge, 2)
    assert together.usd == apart[0].usd + apart[1].usd == sum(together.by_type.values())
    for token_type, count in both.items():
        assert (token_type in together.by_type) != (together.unpriced.get(token_type, 0) == count > 0) or count == 0
