"""The calculator's figures as JSON and as an aligned table that shows the inputs of every formula."""

from collections.abc import Iterator, Mapping
from decimal import Context, Decimal

from exporter.breakeven.calculator import Figures, Inputs

_SIGNIFICANT = Context(prec=17)  # more than a double holds, so a reader's rounding is the only one

Row = tuple[str, str, str, str]  # name, value, unit, how


def as_json(figures: Figures) -> str:
    """One JSON object; the numbers are written from the exact decimals, without a float between."""
    pairs = (
        f'"{name}": "{value}"' if isinstance(value, str) else f'"{name}": {plain(value)}'
        for name, value in figures.known().items()
    )
    return "{" + ", ".join(pairs) + "}"


def plain(value: Decimal | int) -> str:
    """A number without exponent or trailing zeros, at most 17 significant digits."""
    number = _SIGNIFICANT.create_decimal(value)
    text = format(number, "f")
    return (text.rstrip("0").rstrip(".") or "0") if "." in text else text


def as_text(given: Inputs, figures: Figures) -> str:
    """A table of what is decided, then what to give for the rest, then what to beware of."""
    rows = list(_rows(given, figures))
    names, values, units = (max(len(row[i]) for row in rows) for i in range(3))
    lines = [f"{name:<{names}}  {value:>{values}}  {unit:<{units}}  {how}" for name, value, unit, how in rows]
    lines += ["", *(f"not decided: {line}" for line in missing(given, figures))]
    lines += (f"note: {line}" for line in notes(given, figures))
    return "\n".join(line.rstrip() for line in lines).rstrip() + "\n"


def _rows(given: Inputs, figures: Figures) -> Iterator[Row]:
    known = figures.known()
    for name, (label, unit) in _LABELS.items():
        if name not in known:
            continue
        value = known[name]
        yield label, value if isinstance(value, str) else _grouped(Decimal(value)), unit, _HOW[name](given, figures)


_LABELS = {
    "blended_usd_per_mtok": ("API price, blended", "USD/Mtok"),
    "api_usd_per_month": ("API cost", "USD/month"),
    "replicas": ("replicas", ""),
    "self_hosted_usd_per_month": ("self-hosted cost", "USD/month"),
    "self_hosted_usd_per_mtok": ("self-hosted cost", "USD/Mtok"),
    "capacity_tokens_per_month": ("capacity", "tokens/month"),
    "break_even_tokens_per_hour": ("break-even volume", "tokens/hour"),
    "break_even_tokens_per_month": ("break-even volume", "tokens/month"),
    "break_even_utilization_ratio": ("break-even utilization", ""),
    "saving_usd_per_month": ("saving by self-hosting", "USD/month"),
    "cheaper": ("cheaper", ""),
}


def _grouped(value: Decimal) -> str:
    """Thousands apart; money-sized numbers to the cent, small ones to four significant digits."""
    if value == value.to_integral_value():
        return f"{value:,.0f}"
    return f"{value:,.2f}" if abs(value) >= 100 else f"{Context(prec=4).create_decimal(value):f}"


def _how_price(given: Inputs, figures: Figures) -> str:
    if given.api_usd_per_mtok is not None:
        return "as given"
    share = given.input_fraction or Decimal(0)
    parts = [(share, given.input_usd_per_mtok, "input"), (1 - share, given.output_usd_per_mtok, "output")]
    return " + ".join(f"{plain(part)} {name} x {plain(usd)}" for part, usd, name in parts if part and usd is not None)


def _how_replicas(given: Inputs, figures: Figures) -> str:
    if given.replicas is not None:
        return "as given"
    if given.tokens_per_month is None or not given.tokens_per_second:
        return "the minimum"
    mean = f"{_grouped(given.tokens_per_month)} tokens / ({plain(given.hours_per_month)} h x 3600)"
    each = f"({plain(given.tokens_per_second)} tokens/s x {plain(given.target_utilization)} target)"
    return f"max({given.min_replicas}, ceil({mean} x {plain(given.peak_to_mean)} peak / {each}))"


def _how_rent(given: Inputs, figures: Figures) -> str:
    rate = plain(given.gpu_usd_per_hour or Decimal(0))
    rent = f"{figures.replicas} x {plain(given.gpus)} GPU x {rate} USD/h x {plain(given.hours_per_month)} h"
    return " + ".join([rent, *(f"{name} {plain(usd)}" for name, usd in given.fixed_usd_per_month.items())])


def _how_per_mtok(given: Inputs, figures: Figures) -> str:
    if given.tokens_per_month is not None:
        return f"cost / {_grouped(given.tokens_per_month)} tokens"
    stated = "" if given.utilization is not None else " (not stated)"
    return f"cost / (capacity x {plain(given.utilization or Decimal(1))} utilization{stated})"


def _how_capacity(given: Inputs, figures: Figures) -> str:
    rate = plain(given.tokens_per_second or Decimal(0))
    return f"{figures.replicas} x {rate} tokens/s x 3600 x {plain(given.hours_per_month)} h"


def _how_api(given: Inputs, figures: Figures) -> str:
    return f"{_grouped(given.tokens_per_month or Decimal(0))} tokens x API price"


def _how_cheaper(given: Inputs, figures: Figures) -> str:
    return "by cost per month" if figures.api_usd_per_month is not None else "by cost per token, at that utilization"


_HOW = {
    "blended_usd_per_mtok": _how_price,
    "api_usd_per_month": _how_api,
    "replicas": _how_replicas,
    "self_hosted_usd_per_month": _how_rent,
    "self_hosted_usd_per_mtok": _how_per_mtok,
    "capacity_tokens_per_month": _how_capacity,
    "break_even_tokens_per_hour": lambda given, figures: f"break-even volume / {plain(given.hours_per_month)} h",
    "break_even_tokens_per_month": lambda given, figures: "self-hosted cost / API price",
    "break_even_utilization_ratio": lambda given, figures: "break-even volume / capacity",
    "saving_usd_per_month": lambda given, figures: "API cost - self-hosted cost",
    "cheaper": _how_cheaper,
}


def missing(given: Inputs, figures: Figures) -> list[str]:
    """What to give for the figures that are absent."""
    wanted: Mapping[str, bool] = {
        "API price: give --api-usd-per-mtok, or --input-usd-per-mtok, --output-usd-per-mtok and --input-fraction": (
            figures.blended_usd_per_mtok is None
        ),
        "self-hosted cost: give --gpu-usd-per-hour (0 if the rent is among the fixed costs)": (
            figures.self_hosted_usd_per_month is None
        ),
        "capacity: give --tokens-per-second": figures.capacity_tokens_per_month is None,
        "costs per month: give --tokens-per-month": given.tokens_per_month is None,
    }
    return [line for line, absent in wanted.items() if absent]


def notes(given: Inputs, figures: Figures) -> list[str]:
    """What a reader would otherwise take for granted."""
    found = []
    volume, capacity = given.tokens_per_month, figures.capacity_tokens_per_month
    if volume is not None and capacity is not None and volume > capacity:
        found.append(
            f"{figures.replicas} replicas serve at most {_grouped(capacity)} tokens/month, less than this volume"
        )
    if volume is not None and given.utilization is not None:
        found.append("--utilization is not used: with --tokens-per-month the volume decides the utilization")
    ratio = figures.break_even_utilization_ratio
    if ratio is not None and ratio > 1:
        found.append("break-even utilization is above 1: these replicas cannot break even at this API price")
    return found
