"""`explain`: one workload's current number as a readable derivation."""

import time
from pathlib import Path

import click

from exporter.commands.configured import config_file, configured


@click.command()
@click.argument("workload")
@config_file
def explain(workload: str, config_file: Path) -> None:
    """Derive the current figures of WORKLOAD, every input with its source and age. An exporter may be running."""
    from exporter.ledger.files import LedgerUnreadableError
    from exporter.publish import explain as derivation
    from exporter.reading import read

    now = int(time.time())
    try:
        found = read(configured(config_file), now, workload=workload)
        text = derivation.explain(
            found.inputs,
            found.views,
            found.states,
            workload,
            now,
            end=found.end,
            evaluations=found.evaluations,
            catalogue_at=found.catalogue_at,
        )
    except (LedgerUnreadableError, derivation.UnknownWorkloadError) as error:
        raise click.ClickException(str(error)) from None
    click.echo(text, nl=False)
