"""Options that commands share, and the config they name."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import click

from exporter.aside import call_aside
from exporter.config import Config
from exporter.config.load import load_aside

T = TypeVar("T")

config_file = click.option(
    "--config.file", "config_file", type=click.Path(path_type=Path), required=True, help="The config (YAML)."
)


def configured(path: Path) -> Config:
    """The config at `path`, validated in a child process. Raises ConfigError with every problem."""
    return _without_traceback(lambda: load_aside(path, os.environ))


def described(path: Path) -> tuple[str, list[str]]:
    """The config at `path` as YAML with every default and no secret, and warnings about it. Raises ConfigError."""
    found: tuple[str, list[str]] = _without_traceback(
        lambda: call_aside("exporter.config.dump:describe", str(path), dict(os.environ))
    )
    return found


def _without_traceback(load: Callable[[], T]) -> T:
    try:
        return load()
    except RuntimeError as error:  # the child died, or a library is missing
        raise click.ClickException(str(error)) from None
