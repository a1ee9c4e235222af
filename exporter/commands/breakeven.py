"""`breakeven`: the calculator on the command line. No config, no network."""

from collections.abc import Iterable
from decimal import Decimal

import click

from exporter.breakeven.calculator import Inputs, calculate, contradictions
from exporter.breakeven.calculator_text import as_json, as_text
from exporter.commands.types import AMOUNT, AT_LEAST_ONE, FRACTION, POSITIVE, SHARE, WHOLE


@click.command()
@click.option("--gpu-usd-per-hour", type=AMOUNT, help="Price of one GPU-hour, USD.")
@click.option("--gpus", type=POSITIVE, default="1", show_default=True, help="GPUs in one replica.")
@click.option("--replicas", type=WHOLE, help="Replicas; computed from volume and capacity if not given, else 1.")
@click.option("--tokens-per-second", type=POSITIVE, help="Capacity of one replica, all tokens.")
@click.option("--utilization", type=FRACTION, help="Share of the capacity that is served.  [default: 1]")
@click.option("--hours-per-month", type=POSITIVE, default="730", show_default=True, help="Hours in the month.")
@click.option("--tokens-per-month", type=AMOUNT, help="Volume, all tokens.")
@click.option("--input-usd-per-mtok", type=AMOUNT, help="API price of 1M input tokens, USD.")
@click.option("--output-usd-per-mtok", type=AMOUNT, help="API price of 1M output tokens, USD.")
@click.option("--input-fraction", type=FRACTION, help="Input tokens as a share of all tokens, 0 to 1.")
@click.option("--api-usd-per-mtok", type=AMOUNT, help="Blended API price of 1M tokens, USD, instead.")
@click.option("--fixed-usd-per-month", metavar="NAME=USD", multiple=True, help="A fixed cost; may be repeated.")
@click.option("--peak-to-mean", type=AT_LEAST_ONE, default="1", show_default=True, help="Peak rate over mean rate.")
@click.option(
    "--target-utilization", type=SHARE, default="1", show_default=True, help="Utilization replicas are sized for."
)
@click.option("--min-replicas", type=WHOLE, default="1", show_default=True, help="Fewest replicas of a plan.")
@click.option("--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.argument("more", metavar="", nargs=-1)
def breakeven(output: str, fixed_usd_per_month: tuple[str, ...], more: tuple[str, ...], **values: object) -> None:
    """Is renting GPUs or paying an API per token cheaper, and from which volume on?

    Numbers may have an exponent (5e9). A figure that the inputs do not decide is left out.
    """
    if more and not fixed_usd_per_month:
        raise click.UsageError(f"unexpected argument {more[0]!r}")
    given = Inputs(**values, fixed_usd_per_month=_fixed((*fixed_usd_per_month, *more)))  # type: ignore[arg-type]  # click has converted each by its option's type
    if problems := contradictions(given):
        raise click.UsageError("; ".join(problems))
    figures = calculate(given)
    click.echo(as_json(figures) if output == "json" else as_text(given, figures), nl=output == "json")


def _fixed(groups: Iterable[str]) -> dict[str, Decimal]:
    """`NAME=USD` entries, as words or separated by commas."""
    costs: dict[str, Decimal] = {}
    for entry in (entry for group in groups for entry in group.split(",")):
        name, equals, usd = entry.partition("=")
        if not (name and equals):
            raise click.UsageError(f"--fixed-usd-per-month: expected NAME=USD, got {entry!r}")
        if name in costs:
            raise click.UsageError(f"--fixed-usd-per-month: {name!r} is named twice")
        try:
            costs[name] = AMOUNT.convert(usd, None, None)
        except click.BadParameter as error:
            raise click.UsageError(f"--fixed-usd-per-month: {name}: {error.message}") from None
    return costs
