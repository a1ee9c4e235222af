from decimal import Decimal as D
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.breakeven import formulas as f

HOUR = 3600
usd = st.decimals("0.000001", "1000000", places=6)
counts = st.integers(1, 10**12)
seconds = st.integers(300, 30 * 86400)


def close(got: D | None, want: Fraction) -> bool:
    assert got is not None
    return abs(Fraction(got) - want) <= abs(want) * Fraction(1, 10**25)


def test_a_worked_example_by_hand() -> None:
    """2 x H100 at 2.49 USD/h for 24 h, 400 M tokens, at a blended API price of 0.45 USD per million tokens."""
    cost, api, tokens, covered = D("119.52"), D("180"), 400_000_000, 24 * HOUR
    assert f.usd_per_token(cost, tokens) == D("2.988E-7")
    assert f.usd_per_token(api, tokens) == D("4.5E-7")
    assert f.break_even_ratio(api, cost) == D(180) / D("119.52")
    rate = f.break_even_tokens_per_second(cost, api, tokens, covered)
    assert rate is not None and round(rate, 3) == D("3074.074")  # 4.98 USD/h / 3600 / 0.45e-6
    assert f.utilization(tokens, covered, D(10_000)) == D(400_000_000) / (24 * HOUR * 10_000)
    assert f.break_even_utilization(rate, D(10_000)) == rate / 10_000
    assert f.unused_capacity_usd(D(100), D("0.25")) == 75
    assert f.saving_usd_per_month(cost, api, covered) == (D("119.52") - 180) / 24 * 730


def test_rent_without_traffic_has_a_ratio_of_zero_but_no_price_per_token() -> None:
    assert f.break_even_ratio(D(0), D(10)) == 0
    assert f.utilization(0, HOUR, D(100)) == 0
    assert f.unused_capacity_usd(D(10), D(0)) == 10
    assert f.usd_per_token(D(10), 0) is None
    assert f.break_even_tokens_per_second(D(10), D(0), 0, HOUR) is None


def test_neither_cost_nor_traffic_has_no_ratio() -> None:
    assert f.break_even_ratio(D(0), D(0)) is None


def test_a_free_api_has_no_break_even_rate() -> None:
    assert f.break_even_tokens_per_second(D(10), D(0), 1000, HOUR) is None
    assert f.break_even_ratio(D(0), D(10)) == 0


@pytest.mark.parametrize(
    "unknown",
    [
        f.usd_per_token(None, 1),
        f.break_even_ratio(None, D(1)),
        f.break_even_ratio(D(1), None),
        f.break_even_tokens_per_second(None, D(1), 1, HOUR),
        f.break_even_tokens_per_second(D(1), None, 1, HOUR),
        f.break_even_tokens_per_second(D(1), D(1), 1, 0),
        f.utilization(1, HOUR, None),
        f.utilization(1, HOUR, D(0)),
        f.utilization(1, 0, D(1)),
        f.break_even_utilization(None, D(1)),
        f.break_even_utilization(D(1), None),
        f.break_even_utilization(D(1), D(0)),
        f.unused_capacity_usd(None, D("0.5")),
        f.unused_capacity_usd(D(1), None),
        f.saving_usd_per_month(None, D(1), HOUR),
        f.saving_usd_per_month(D(1), None, HOUR),
        f.saving_usd_per_month(D(1), D(1), 0),
    ],
)
def test_what_the_inputs_do_not_decide_is_absent(unknown: D | None) -> None:
    assert unknown is None


def test_more_served_than_the_estimated_capacity_leaves_nothing_unused() -> None:
    assert f.utilization(7200, HOUR, D(1)) == 2
    assert f.unused_capacity_usd(D(10), D(2)) == 0


@given(usd, usd, counts, seconds)
def test_at_the_break_even_rate_both_ways_cost_the_same(cost: D, api: D, tokens: int, covered: int) -> None:
    rate = f.break_even_tokens_per_second(cost, api, tokens, covered)
    assert rate is not None
    assert close(rate * covered * api / tokens, Fraction(cost))


@given(usd, usd, counts, seconds, st.integers(2, 50))
def test_the_break_even_rate_does_not_depend_on_utilization(
    cost: D, api: D, tokens: int, covered: int, more: int
) -> None:
    rate = f.break_even_tokens_per_second(cost, api, tokens, covered)
    busier = f.break_even_tokens_per_second(cost, api * more, tokens * more, covered)
    assert rate is not None and close(busier, Fraction(rate))


@given(usd, usd, counts, seconds, st.decimals("0.1", "100000", places=3))
def test_utilization_over_its_break_even_is_the_ratio(cost: D, api: D, tokens: int, covered: int, capacity: D) -> None:
    """u / u* = R: the three figures tell one story."""
    used = f.utilization(tokens, covered, capacity)
    needed = f.break_even_utilization(f.break_even_tokens_per_second(cost, api, tokens, covered), capacity)
    ratio = f.break_even_ratio(api, cost)
    assert used is not None and needed is not None and ratio is not None
    assert close(used / needed, Fraction(ratio))


@given(usd, usd, seconds)
def test_the_saving_changes_sign_with_the_point_of_view(cost: D, api: D, covered: int) -> None:
    there, back = f.saving_usd_per_month(cost, api, covered), f.saving_usd_per_month(api, cost, covered)
    assert there is not None and back is not None
    assert there == -back
    assert close(there, (Fraction(cost) - Fraction(api)) * 730 * 3600 / covered)


TYPES = ("input", "cache_read", "cache_write", "audio_input", "output", "audio_output")
mixes = st.dictionaries(st.sampled_from(TYPES), st.integers(0, 10**12), min_size=1)


@given(st.decimals("0", "10000000", places=9), st.dictionaries(st.sampled_from(TYPES), usd | st.just(D(0)), min_size=1))
def test_parts_by_price_weights_sum_to_the_cost_exactly(cost: D, weights: dict[str, D]) -> None:
    parts = f.split_by_weights(cost, weights)
    if not any(weights.values()):
        assert parts is None
        return
    assert parts is not None
    assert sum(map(Fraction, parts.values())) == Fraction(cost)
    assert sum(parts.values()) == cost
    assert set(parts) == set(weights)
    total = Fraction(sum(weights.values()))
    for kind, part in parts.items():
        assert abs(Fraction(part) - Fraction(cost) * Fraction(weights[kind]) / total) <= Fraction(cost) / 10**22
        assert weights[kind] or part == 0


@given(usd, mixes, st.floats(0, 1e6), st.floats(0, 1e6))
def test_parts_by_phase_seconds_sum_to_the_cost_exactly(
    cost: D, tokens: dict[str, int], prefill: float, decode: float
) -> None:
    parts = f.split_by_phases(cost, tokens, prefill, decode)
    if parts is not None:
        assert sum(map(Fraction, parts.values())) == Fraction(cost)
        assert all(tokens[kind] or part == 0 for kind, part in parts.items())


def test_a_quotient_that_never_ends_loses_nothing() -> None:
    parts = f.split_by_weights(D(1), {"input": D(1), "cache_read": D(1), "output": D(1)})
    assert parts is not None
    assert sum(parts.values()) == 1
    assert parts["input"] == parts["cache_read"] < parts["output"]


def test_prefill_pays_for_input_types_and_decode_for_output() -> None:
    tokens = {"input": 300, "cache_read": 100, "output": 100}
    parts = f.split_by_phases(D(10), tokens, prefill_seconds=20.0, decode_seconds=60.0)
    assert parts == {"input": D("1.875"), "cache_read": D("0.625"), "output": D("7.5")}
    assert f.usd_per_token_by_type(parts, tokens) == {
        "input": D("0.00625"),
        "cache_read": D("0.00625"),
        "output": D("0.075"),
    }


def test_a_split_without_anything_to_split_by_is_unknown() -> None:
    assert f.split_by_weights(D(10), {"input": D(0), "output": D(0)}) is None
    assert f.split_by_weights(D(10), {}) is None
    assert f.split_by_phases(D(10), {"input": 0, "output": 0}, 1.0, 1.0) is None
    assert f.split_by_phases(D(10), {"input": 5, "output": 5}, 0.0, 0.0) is None


def test_a_type_without_tokens_has_no_price() -> None:
    parts = f.split_by_phases(D(10), {"input": 5, "cache_write": 0}, 1.0, 1.0)
    assert parts == {"input": 10, "cache_write": 0}
    assert f.usd_per_token_by_type(parts, {"input": 5, "cache_write": 0}) == {"input": 2}
