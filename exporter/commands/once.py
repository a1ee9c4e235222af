"""`once`: collect from every source once and print the exposition."""

from pathlib import Path

import click

from exporter.commands.configured import config_file, configured


@click.command()
@config_file
def once(config_file: Path) -> None:
    """Collect once, print the metrics page, exit. The ledger is kept, so a later run goes on from here."""
    from exporter.ledger.files import LedgerError
    from exporter.service import once as collect

    config = configured(config_file)
    try:
        click.echo(collect(config), nl=False)
    except LedgerError as error:
        raise click.ClickException(str(error)) from None
