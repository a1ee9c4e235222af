"""The break-even formulas of design section 5, one function each, on exact values.

C is the effective self-hosted cost, A the API-equivalent cost, T the priced tokens, all summed over the same covered
seconds of one window before anything is divided: an average of ratios is wrong. Money is Decimal USD, capacity K is
tokens per second. Where the inputs do not decide a figure it is None: never infinite, never zero for want of knowledge.
Each formula multiplies first and divides once, at the end.
"""

from collections.abc import Mapping
from decimal import ROUND_DOWN, Decimal

from collectors.records import HOUR

HOURS_PER_MONTH = 730
_SPLIT_DIGITS = 24  # significant digits of a part; with the remainder still exact in a 28-digit sum


def usd_per_token(cost_usd: Decimal | None, tokens: int) -> Decimal | None:
    """Effective cost per token C / T, or blended API price A / T, in USD per token (section 5, rows 1 and 3).

    None without tokens or cost: a rent that served nothing has a cost, but no cost per token.
    """
    if cost_usd is None or tokens <= 0:
        return None
    return cost_usd / tokens


def break_even_ratio(api_usd: Decimal | None, self_hosted_usd: Decimal | None) -> Decimal | None:
    """Break-even ratio R = A / C (section 5). R > 1: self-hosting is cheaper. For display: decide on products.

    None if a cost is unknown or C is 0; 0 where nothing was served and the rent ran (T = 0, C > 0).
    """
    if api_usd is None or self_hosted_usd is None or self_hosted_usd <= 0:
        return None
    return api_usd / self_hosted_usd


def break_even_tokens_per_second(
    self_hosted_usd: Decimal | None, api_usd: Decimal | None, tokens: int, covered_seconds: int
) -> Decimal | None:
    """V* = (C / H / 3600) / (A / T) in tokens per second: the traffic at which both cost the same (section 5).

    `covered_seconds` = 3600 H. Does not depend on utilization. None without covered time, tokens or an API price.
    """
    if self_hosted_usd is None or api_usd is None or api_usd <= 0 or tokens <= 0 or covered_seconds <= 0:
        return None
    return self_hosted_usd * tokens / (api_usd * covered_seconds)


def utilization(tokens: int, covered_seconds: int, capacity: Decimal | None) -> Decimal | None:
    """u = T / (3600 H K), a ratio (section 5). `capacity` K is the workload's, all replicas, in tokens per second.

    0 where nothing was served. Above 1 is possible, as a learned capacity is an estimate. None if K is unknown or 0.
    """
    if capacity is None or capacity <= 0 or covered_seconds <= 0:
        return None
    return tokens / (covered_seconds * capacity)


def break_even_utilization(break_even_rate: Decimal | None, capacity: Decimal | None) -> Decimal | None:
    """u* = V* / K, a ratio (section 5). Above 1: cannot break even at this price. None if K is unknown."""
    if break_even_rate is None or capacity is None or capacity <= 0:
        return None
    return break_even_rate / capacity


def unused_capacity_usd(gpu_usd: Decimal | None, utilization_ratio: Decimal | None) -> Decimal | None:
    """Unused capacity cost C_gpu x (1 - u) in USD over the window of `gpu_usd` (section 4: part of C, and shown).

    0 from u = 1 upwards: more served than the estimated capacity leaves nothing unused. None if either is unknown.
    """
    if gpu_usd is None or utilization_ratio is None:
        return None
    return gpu_usd * max(Decimal(0), 1 - utilization_ratio)


def saving_usd_per_month(
    actual_usd: Decimal | None, alternative_usd: Decimal | None, covered_seconds: int
) -> Decimal | None:
    """(actual - alternative) / H x 730 h in USD per month (section 6): positive = moving to the alternative saves.

    On the self-hosted path the actual cost is C and the alternative A; on the API path the other way round.
    """
    if actual_usd is None or alternative_usd is None or covered_seconds <= 0:
        return None
    return (actual_usd - alternative_usd) * (HOURS_PER_MONTH * HOUR) / covered_seconds


def is_output(token_type: str) -> bool:
    """Whether tokens of this type are produced while decoding (`output`, `audio_output`); all others are read."""
    return token_type == "output" or token_type.endswith("_output")


def split_by_weights(cost_usd: Decimal, weights: Mapping[str, Decimal]) -> dict[str, Decimal] | None:
    """`cost_usd` split over the token types in proportion to `weights`, in USD; the parts sum to it exactly.

    Method `price_weights` (section 5): the weight of a type is what the primary alternative would charge for its
    tokens (tokens x price, summed over bands and dates). A type of weight 0 gets 0, parts are cut to 24 digits, and
    the last type with a weight takes the remainder. None if all weights are 0: nothing to split by.
    """
    total = sum(weights.values(), Decimal(0))
    if total <= 0:
        return None
    quantum = Decimal(1).scaleb(cost_usd.adjusted() - _SPLIT_DIGITS + 1)
    parts = {kind: (cost_usd * w / total).quantize(quantum, ROUND_DOWN) for kind, w in weights.items()}
    last = [kind for kind, weight in weights.items() if weight][-1]
    parts[last] = cost_usd - sum((usd for kind, usd in parts.items() if kind != last), Decimal(0))
    return parts


def split_by_phases(
    cost_usd: Decimal, tokens: Mapping[str, int], prefill_seconds: float, decode_seconds: float
) -> dict[str, Decimal] | None:
    """`cost_usd` split by time spent: prefill pays for the input types, decode for the output types; sums exactly.

    Method `phase_seconds` (section 5): seconds of request residency, not GPU time. Within a phase by tokens. A phase
    whose types saw no tokens weighs nothing. None without tokens or without seconds for them.
    """
    prefill = sum(count for kind, count in tokens.items() if not is_output(kind))
    decode = sum(count for kind, count in tokens.items() if is_output(kind))
    weights = {}
    for kind, count in tokens.items():
        seconds, of = (decode_seconds, decode) if is_output(kind) else (prefill_seconds, prefill)
        weights[kind] = Decimal(seconds) * count / of if of else Decimal(0)
    return split_by_weights(cost_usd, weights)


def usd_per_token_by_type(parts_usd: Mapping[str, Decimal], tokens: Mapping[str, int]) -> dict[str, Decimal]:
    """USD per token of each type from the parts of a split (section 5); a type without tokens is absent."""
    return {kind: usd / tokens[kind] for kind, usd in parts_usd.items() if tokens.get(kind)}
