"""The break-even calculator: one month, one workload, on exact decimals. Pure; the formulas of design section 5.

A figure that the inputs do not decide is None. A month has `hours_per_month` hours (730 unless stated), a price is in
USD per 1M tokens ("Mtok"), a token is any token: input, cached or output alike.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from decimal import Decimal
from fractions import Fraction
from math import ceil
from typing import Literal

MTOK = 1_000_000
HOUR = 3600

Side = Literal["self_hosted", "api", "equal"]


@dataclass(frozen=True, slots=True)
class Inputs:
    """What is known. None: not stated.

    `tokens_per_second` is the capacity of one replica of `gpus` GPUs, `gpu_usd_per_hour` the price of one GPU,
    `utilization` the share of capacity that is served (1 if not stated; with a volume it follows from the volume).
    The API price is `api_usd_per_mtok`, or an input and an output price blended by `input_fraction` (of all tokens).
    """

    gpu_usd_per_hour: Decimal | None = None
    gpus: Decimal = Decimal(1)
    replicas: int | None = None
    tokens_per_second: Decimal | None = None
    utilization: Decimal | None = None
    hours_per_month: Decimal = Decimal(730)
    tokens_per_month: Decimal | None = None
    input_usd_per_mtok: Decimal | None = None
    output_usd_per_mtok: Decimal | None = None
    input_fraction: Decimal | None = None
    api_usd_per_mtok: Decimal | None = None
    fixed_usd_per_month: Mapping[str, Decimal] = field(default_factory=dict)
    peak_to_mean: Decimal = Decimal(1)
    target_utilization: Decimal = Decimal(1)
    min_replicas: int = 1


@dataclass(frozen=True, slots=True)
class Figures:
    """What follows, in the order and under the names of the JSON output. None: not decided by the inputs.

    The break-even figures hold for the cost of `replicas` replicas. `saving_usd_per_month` is the API's cost less the
    self-hosted cost: positive means that self-hosting saves.
    """

    blended_usd_per_mtok: Decimal | None
    self_hosted_usd_per_mtok: Decimal | None
    self_hosted_usd_per_month: Decimal | None
    api_usd_per_month: Decimal | None
    break_even_tokens_per_hour: Decimal | None
    break_even_tokens_per_month: Decimal | None
    break_even_utilization_ratio: Decimal | None
    replicas: int
    capacity_tokens_per_month: Decimal | None
    saving_usd_per_month: Decimal | None
    cheaper: Side | None

    def known(self) -> dict[str, Decimal | int | str]:
        """The figures that the inputs decide, by name."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return {name: value for name, value in values.items() if value is not None}


def contradictions(given: Inputs) -> list[str]:
    """What cannot be true at once, one line each, naming the options."""
    found = []
    split = {
        "--input-usd-per-mtok": given.input_usd_per_mtok,
        "--output-usd-per-mtok": given.output_usd_per_mtok,
        "--input-fraction": given.input_fraction,
    }
    beside = [option for option, value in split.items() if value is not None]
    if given.api_usd_per_mtok is not None and beside:
        found.append(f"--api-usd-per-mtok is the blended price: leave out {', '.join(beside)}")
    if given.replicas is not None and given.replicas < given.min_replicas:
        found.append(f"--replicas {given.replicas} is below --min-replicas {given.min_replicas}")
    return found


def calculate(given: Inputs) -> Figures:
    """The figures for `given`, which must be non-negative and free of `contradictions`."""
    price = blended_usd_per_mtok(given)
    replicas = replicas_of_plan(given)
    monthly = _self_hosted_usd_per_month(given, replicas)
    capacity = _capacity_tokens_per_month(given, replicas)
    volume = given.tokens_per_month
    api = None if price is None or volume is None else volume * price / MTOK
    per_mtok = _usd_per_mtok(monthly, _served(given, capacity))
    even = None if monthly is None or not price else monthly * MTOK / price
    return Figures(
        blended_usd_per_mtok=price,
        self_hosted_usd_per_mtok=per_mtok,
        self_hosted_usd_per_month=monthly,
        api_usd_per_month=api,
        break_even_tokens_per_hour=None if even is None else even / given.hours_per_month,
        break_even_tokens_per_month=even,
        break_even_utilization_ratio=None if even is None or not capacity else even / capacity,
        replicas=replicas,
        capacity_tokens_per_month=capacity,
        saving_usd_per_month=None if api is None or monthly is None else api - monthly,
        cheaper=_cheaper(monthly, api) or _cheaper(per_mtok, price),
    )


def blended_usd_per_mtok(given: Inputs) -> Decimal | None:
    """The API price of an average token, A / T in USD per 1M tokens; a price whose share is 0 need not be known."""
    if given.api_usd_per_mtok is not None:
        return given.api_usd_per_mtok
    share = given.input_fraction
    if share is None:
        return None
    parts = ((share, given.input_usd_per_mtok), (1 - share, given.output_usd_per_mtok))
    if any(weight and price is None for weight, price in parts):
        return None
    return sum((weight * price for weight, price in parts if price is not None), Decimal(0))


def replicas_of_plan(given: Inputs) -> int:
    """Whole replicas: as stated, else for the volume, else the minimum.

    Design section 5: max(min_replicas, ceil(p99 / (K x target)), ceil(peak / K)). A monthly volume has no p99; what
    bounds it is the peak, so p99 = peak = mean x peak_to_mean, and as target <= 1 the second term decides.
    """
    if given.replicas is not None:
        return given.replicas
    least = max(1, given.min_replicas)
    if given.tokens_per_month is None or not given.tokens_per_second:
        return least
    peak = Fraction(given.tokens_per_month) / (HOUR * Fraction(given.hours_per_month)) * Fraction(given.peak_to_mean)
    return max(least, ceil(peak / (Fraction(given.tokens_per_second) * Fraction(given.target_utilization))))


def _self_hosted_usd_per_month(given: Inputs, replicas: int) -> Decimal | None:
    """Rent and fixed costs. Not known without the price of a GPU: it may be 0, but that must be said."""
    if given.gpu_usd_per_hour is None:
        return None
    rent = given.gpu_usd_per_hour * given.gpus * replicas * given.hours_per_month
    return rent + sum(given.fixed_usd_per_month.values(), Decimal(0))


def _capacity_tokens_per_month(given: Inputs, replicas: int) -> Decimal | None:
    if given.tokens_per_second is None:
        return None
    return given.tokens_per_second * replicas * given.hours_per_month * HOUR


def _served(given: Inputs, capacity: Decimal | None) -> Decimal | None:
    """Tokens per month that share the cost: the stated volume, else capacity x utilization."""
    if given.tokens_per_month is not None:
        return given.tokens_per_month
    if capacity is None:
        return None
    return capacity if given.utilization is None else capacity * given.utilization


def _usd_per_mtok(usd: Decimal | None, tokens: Decimal | None) -> Decimal | None:
    return None if usd is None or not tokens else usd * MTOK / tokens


def _cheaper(self_hosted: Decimal | None, api: Decimal | None) -> Side | None:
    if self_hosted is None or api is None:
        return None
    if self_hosted == api:
        return "equal"
    return "self_hosted" if self_hosted < api else "api"
