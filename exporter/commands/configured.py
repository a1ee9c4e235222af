"""Options that commands share, and the config they name."""

import os
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TypeVar

import click

from collectors.kinds import kind_of
from exporter.aside import call_aside
from exporter.config import Config, ConfigError
from exporter.config.load import load_aside

T = TypeVar("T")

config_file = click.option(
    "--config.file", "config_file", type=click.Path(path_type=Path), required=True, help="The config (YAML)."
)


def configured(path: Path) -> Config:
    """The config at `path`, validated in a child process. Raises ConfigError with every problem."""
    config: Config = _without_traceback(lambda: load_aside(path, os.environ))
    if problems := list(_not_installed(config)):
        raise ConfigError(problems)
    return config


def _not_installed(config: Config) -> Iterator[str]:
    """The collectors whose library is not there: better known now than at their first run."""
    for i, settings in enumerate(config.collectors):
        kind = kind_of(settings.kind)
        missing = [name for name in kind.modules if not _there(name)]
        if missing:
            how = f"pip install 'llm-cost-exporter[{kind.extra}]', or requirements/all.txt in a checkout"
            yield f"collectors[{i}].kind: {settings.kind} needs {' and '.join(missing)}, not installed here: {how}"


def _there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # not even its parent package
        return False


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
