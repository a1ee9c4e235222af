"""Identities of the calculator, and what it says where the inputs decide nothing or contradict each other."""

import json
import shlex
from dataclasses import replace
from decimal import Decimal

import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.breakeven.calculator import Inputs, calculate
from exporter.breakeven.calculator_text import plain
from exporter.commands.breakeven import breakeven

amounts = st.decimals("0.01", "1000000", places=2)
shares = st.decimals("0.01", "1", places=2)

plans = st.builds(
    Inputs,
    gpu_usd_per_hour=amounts,
    gpus=st.integers(1, 16).map(Decimal),
    tokens_per_second=amounts,
    hours_per_month=st.sampled_from([Decimal(720), Decimal(730), Decimal("730.5")]),
    tokens_per_month=st.integers(1, 10**12).map(Decimal),
    api_usd_per_mtok=amounts,
    fixed_usd_per_month=st.dictionaries(st.sampled_from(["egress", "engineering"]), amounts),
    peak_to_mean=st.decimals("1", "20", places=1),
    target_utilization=shares,
    min_replicas=st.integers(1, 4),
)


def close(left: Decimal | None, right: Decimal | None) -> bool:
    assert left is not None
    assert right is not None
    return abs(left - right) <= abs(right) * Decimal("1e-20")


@given(plans)
@settings(max_examples=100, deadline=None)
def test_at_the_break_even_volume_both_cost_the_same(plan: Inputs) -> None:
    figures = calculate(plan)
    there = replace(plan, replicas=figures.replicas, tokens_per_month=figures.break_even_tokens_per_month)
    even = calculate(there)
    assert close(even.api_usd_per_month, even.self_hosted_usd_per_month)
    assert close(even.self_hosted_usd_per_mtok, even.blended_usd_per_mtok)


@given(plans, st.decimals("0.5", "2", places=3).filter(lambda factor: factor != 1))
@settings(max_examples=100, deadline=None)
def test_the_cheaper_side_changes_at_the_break_even_volume(plan: Inputs, factor: Decimal) -> None:
    figures = calculate(plan)
    assert figures.break_even_tokens_per_month is not None
    volume = figures.break_even_tokens_per_month * factor
    moved = calculate(replace(plan, replicas=figures.replicas, tokens_per_month=volume))
    assert moved.cheaper == ("self_hosted" if factor > 1 else "api")
    assert moved.saving_usd_per_month is not None
    assert (moved.saving_usd_per_month > 0) == (factor > 1)


@given(plans)
@settings(max_examples=100, deadline=None)
def test_at_break_even_utilization_a_token_costs_the_api_price(plan: Inputs) -> None:
    figures = calculate(replace(plan, tokens_per_month=None))
    there = replace(plan, tokens_per_month=None, utilization=figures.break_even_utilization_ratio)
    assert close(calculate(there).self_hosted_usd_per_mtok, plan.api_usd_per_mtok)


@given(plans)
@settings(max_examples=100, deadline=None)
def test_replicas_are_the_fewest_that_hold_the_peak_at_target(plan: Inputs) -> None:
    replicas = calculate(plan).replicas
    assert plan.tokens_per_month is not None
    assert plan.tokens_per_second is not None
    peak = plan.tokens_per_month * plan.peak_to_mean
    one = plan.tokens_per_second * plan.target_utilization * plan.hours_per_month * 3600
    assert replicas * one >= peak
    assert replicas == plan.min_replicas or (replicas - 1) * one < peak


@given(st.integers(1, 10**9), st.integers(1, 10**4))
def test_a_volume_that_fills_whole_replicas_needs_no_further_one(replicas: int, rate: int) -> None:
    full = Decimal(rate) * replicas * 730 * 3600
    plan = Inputs(tokens_per_second=Decimal(rate), tokens_per_month=full)
    assert calculate(plan).replicas == replicas
    assert calculate(replace(plan, tokens_per_month=full + 1)).replicas == replicas + 1


def invoke(options: str) -> Result:
    return CliRunner().invoke(breakeven, shlex.split(options))


def figures(options: str) -> dict[str, object]:
    result = invoke(f"{options} --output json")
    assert result.exit_code == 0, result.output
    known: dict[str, object] = json.loads(result.stdout)
    return known


@pytest.mark.parametrize(
    ("options", "keys"),
    [
        ("", "replicas"),
        ("--input-usd-per-mtok 1 --output-usd-per-mtok 2", "replicas"),
        ("--fixed-usd-per-month egress=120", "replicas"),  # the price of the GPUs is not known, and not 0
        ("--input-usd-per-mtok 1 --input-fraction 1", "blended_usd_per_mtok replicas"),
        ("--api-usd-per-mtok 1 --tokens-per-month 1e6", "blended_usd_per_mtok api_usd_per_month replicas"),
        ("--gpu-usd-per-hour 1", "self_hosted_usd_per_month replicas"),
        (
            "--gpu-usd-per-hour 1 --tokens-per-second 9 --tokens-per-month 0",
            "self_hosted_usd_per_month replicas capacity_tokens_per_month",
        ),
        ("--gpu-usd-per-hour 1 --api-usd-per-mtok 0", "blended_usd_per_mtok self_hosted_usd_per_month replicas"),
        (
            "--gpu-usd-per-hour 1 --tokens-per-second 1 --api-usd-per-mtok 1",
            "blended_usd_per_mtok self_hosted_usd_per_mtok self_hosted_usd_per_month break_even_tokens_per_hour "
            "break_even_tokens_per_month break_even_utilization_ratio replicas capacity_tokens_per_month cheaper",
        ),
    ],
)
def test_what_the_inputs_do_not_decide_is_absent(options: str, keys: str) -> None:
    assert list(figures(options)) == keys.split()


def test_an_explicit_price_of_zero_is_a_price() -> None:
    both = figures("--gpu-usd-per-hour 0 --api-usd-per-mtok 0 --tokens-per-month 1e6 --tokens-per-second 10")
    assert both["cheaper"] == "equal"
    assert both["self_hosted_usd_per_mtok"] == 0


def test_no_traffic_makes_the_api_cheaper() -> None:
    idle = figures("--gpu-usd-per-hour 2 --api-usd-per-mtok 1 --tokens-per-month 0")
    assert (idle["cheaper"], idle["saving_usd_per_month"]) == ("api", -1460)


@pytest.mark.parametrize("form", ["a=1 --fixed-usd-per-month b=2.5", "a=1 b=2.5", "a=1,b=2.5"])
def test_fixed_costs_can_be_written_in_three_ways(form: str) -> None:
    assert figures(f"--gpu-usd-per-hour 0 --fixed-usd-per-month {form}")["self_hosted_usd_per_month"] == 3.5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--utilization 1.2", "'--utilization': expected a number from 0 to 1, got 1.2"),
        ("--input-fraction 70", "'--input-fraction': expected a number from 0 to 1, got 70"),
        ("--target-utilization 0", "expected a number above 0 and up to 1, got 0"),
        ("--gpu-usd-per-hour -1", "expected a number from 0 to 1e18, got -1"),
        ("--gpu-usd-per-hour two", "expected a number like 2.49 or 5e9, got 'two'"),
        ("--tokens-per-month nan", "expected a number from 0 to 1e18, got nan"),
        ("--tokens-per-month 1e400", "expected a number from 0 to 1e18, got 1e400"),
        ("--replicas 1.5", "expected a whole number, got 1.5"),
        ("--peak-to-mean 0.5", "expected a number from 1 to 1e18, got 0.5"),
        ("--hours-per-month 0", "expected a number above 0 and up to 1e18, got 0"),
        ("--api-usd-per-mtok 1 --input-fraction 0.5", "leave out --input-fraction"),
        ("--replicas 1 --min-replicas 2", "--replicas 1 is below --min-replicas 2"),
        ("--fixed-usd-per-month 120", "expected NAME=USD, got '120'"),
        ("--fixed-usd-per-month a=1 --fixed-usd-per-month a=2", "'a' is named twice"),
        ("--fixed-usd-per-month a=-1", "a: expected a number from 0 to 1e18, got -1"),
        ("a=1", "unexpected argument 'a=1'"),
    ],
)
def test_inputs_that_cannot_be_are_named(options: str, message: str) -> None:
    result = invoke(options)
    assert result.exit_code == 2
    assert message in result.stderr


def test_the_text_shows_inputs_gaps_and_warnings() -> None:
    text = invoke("--replicas 2 --tokens-per-second 50 --tokens-per-month 3e8 --utilization 0.5").stdout
    assert "2 x 50 tokens/s x 3600 x 730 h" in text
    assert "not decided: self-hosted cost: give --gpu-usd-per-hour" in text
    assert "note: 2 replicas serve at most 262,800,000 tokens/month, less than this volume" in text
    assert "note: --utilization is not used" in text
    assert (
        "note: break-even utilization is above 1"
        in invoke("--gpu-usd-per-hour 2 --tokens-per-second 50 --api-usd-per-mtok 0.1").stdout
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [("1E+9", "1000000000"), ("2.490", "2.49"), ("0E-5", "0"), ("1e-7", "0.0000001"), ("100", "100")],
)
def test_numbers_are_written_without_exponent(value: str, text: str) -> None:
    assert plain(Decimal(value)) == text
