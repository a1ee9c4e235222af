"""Reading a config: `load` in this process, `load_aside` in a child so that its libraries do not stay here."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from exporter.aside import call_aside
from exporter.config import Config, ConfigError
from exporter.config.paths import Document, Problem

NO_ENVIRONMENT: Mapping[str, str] = MappingProxyType({})


def load(path: str | Path, environ: Mapping[str, str] = NO_ENVIRONMENT) -> Config:
    """The config in the YAML file at `path`; `${NAME}` in its strings is taken from `environ`.

    Raises ConfigError with every problem of the file at once, or of the price file that it names. Imports pydantic and
    PyYAML.
    """
    config = load_document(read(path, environ))
    if config.prices.overrides is not None:
        _check_prices(config.prices.overrides)
    return config


def _check_prices(path: str) -> None:
    from exporter.prices import overrides  # for the child

    try:
        overrides.load(Path(path))
    except OSError as error:
        raise ConfigError([f"prices.overrides: {path} cannot be read: {error.strerror}"]) from None
    except overrides.OverridesError as error:
        raise ConfigError(str(error).splitlines()) from None


def load_aside(path: str | Path, environ: Mapping[str, str] = NO_ENVIRONMENT) -> Config:
    """As `load`, in a child process."""
    config: Config = call_aside("exporter.config.load:load", str(path), dict(environ))
    return config


def load_tree_aside(tree: Any) -> Config:
    """As `load_tree`, in a child process."""
    config: Config = call_aside("exporter.config.load:load_tree", tree)
    return config


def load_tree(tree: Any) -> Config:
    """The config that a YAML file with these values would give; sequences are tuples. Raises ConfigError."""
    return load_document(Document(tree))


def read(path: str | Path, environ: Mapping[str, str] = NO_ENVIRONMENT) -> Document:
    """The YAML document at `path`. Raises ConfigError if it cannot be read or is not YAML."""
    from exporter.config.yaml import parse  # PyYAML is for the child

    try:
        text = Path(path).read_text("utf-8")
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read: {error.strerror}"]) from None
    except UnicodeDecodeError as error:
        raise ConfigError([f"{path}: expected UTF-8 text, got something else at byte {error.start}"]) from None
    return parse(text, str(path), environ)


def load_document(document: Document) -> Config:
    """The config in `document`. Raises ConfigError with every problem at once."""
    from exporter.config.checks import problems
    from exporter.config.cross import contradictions
    from exporter.config.validate import validate  # pydantic is for the child

    pieces = validate(document)
    found: list[Problem] = [*document.problems]  # of several at one place the first is reported
    found += problems(document, pieces.leaves, pieces.items.get("workloads", ()))
    found += pieces.problems
    found += contradictions(document, pieces.sections, pieces.items)
    if found:
        raise ConfigError(map(str, document.in_order(found)))
    return pieces.config()
