"""The command line: `llm-cost-exporter COMMAND`; without a command it serves. Exit status 2: wrong options or config.

A command's module is imported when the command is used, so that a sidecar loads what serving needs and no more.
"""

from difflib import get_close_matches
from importlib import import_module

import click

from exporter import __version__
from exporter.config import ConfigError

COMMANDS = ("serve", "once", "check", "demo", "breakeven", "prices", "explain", "report")
DEFAULT = "serve"
_OWN_OPTIONS = ("--help", "--version")


class Commands(click.Group):
    """The commands of `exporter.commands`, one module each, and what their errors look like."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(import_module(f"exporter.commands.{cmd_name}"), cmd_name)
        return command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args or (args[0].startswith("-") and args[0] not in _OWN_OPTIONS):
            args = [DEFAULT, *args]
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in COMMANDS:
            near = get_close_matches(args[0], COMMANDS, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(COMMANDS)}"
            raise click.UsageError(f"no command {args[0]!r}; {hint}", ctx)
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except ConfigError as error:
            for problem in error.problems:
                click.echo(problem, err=True)
            ctx.exit(2)
        except OSError as error:  # an address in use, a directory that cannot be written
            click.echo(f"error: {error}", err=True)
            ctx.exit(1)


@click.command(cls=Commands)
@click.version_option(__version__, prog_name="llm-cost-exporter")
def main() -> None:
    """Effective cost per token, and live break-even between rented GPUs and pay-per-token APIs."""


if __name__ == "__main__":
    main(prog_name="llm-cost-exporter")
