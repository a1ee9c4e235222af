"""`report`: cost, bills and workloads of any past period."""

import time
from pathlib import Path
from typing import Literal

import click

from collectors.records import DAY
from exporter.commands.configured import config_file, configured
from exporter.commands.types import MOMENT


@click.command()
@config_file
@click.option(
    "--from", "start", type=MOMENT, help="Start, a date or a time with a zone.  [default: a day before the end]"
)
@click.option("--to", "end", type=MOMENT, help="End, this instant not part of it.  [default: the last midnight, UTC]")
@click.option("--output", type=click.Choice(["text", "json", "csv"]), default="text", show_default=True)
def report(config_file: Path, start: int | None, end: int | None, output: Literal["text", "json", "csv"]) -> None:
    """Report the costs of [--from, --to), in source currency to the cent. An exporter may be running."""
    now = int(time.time())
    end = now - now % DAY if end is None else end
    start = end - DAY if start is None else start
    if start >= end:
        raise click.UsageError("--from must be before --to")
    from exporter.ledger.files import LedgerUnreadableError
    from exporter.publish.period_report import PeriodError, period_report, render
    from exporter.reading import read

    try:
        found = read(configured(config_file), now)
        made = period_report(found.inputs, found.views, start, end, found.end)
    except PeriodError as error:
        raise click.UsageError(str(error)) from None
    except LedgerUnreadableError as error:
        raise click.ClickException(str(error)) from None
    click.echo(render(made, output), nl=False)
