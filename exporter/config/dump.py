"""A config as YAML with every default, and without secrets. For the child process (imports PyYAML)."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from decimal import Decimal
from typing import Any

import yaml

from collectors.settings import Duration, Instant
from exporter.config import Config
from exporter.config.cross import warnings
from exporter.config.load import load_document, read
from exporter.config.paths import HIDDEN, Document, Place, is_secret, value_without_secrets


def describe(path: str, environ: Mapping[str, str]) -> tuple[str, list[str]]:
    """The config at `path` as `dump` shows it, and the warnings about it. Raises ConfigError."""
    document = read(path, environ)
    config = load_document(document)
    return dump(config, document), warnings(config)


def dump(config: Config, document: Document) -> str:
    """`config` as YAML; what came from the environment is shown as the reference that `document` has."""
    return yaml.safe_dump(_plain(config, (), document), sort_keys=False, allow_unicode=True, width=120)


def _plain(value: Any, place: Place, document: Document) -> Any:
    if place in document.references:
        return document.references[place]
    if is_dataclass(value):
        known = {each.name.rstrip("_"): getattr(value, each.name) for each in fields(value)}
        return {key: _plain(each, (*place, key), document) for key, each in known.items() if each is not None}
    if isinstance(value, Mapping):
        return {key: _plain(each, (*place, key), document) for key, each in value.items()}
    if isinstance(value, tuple):
        return [_plain(each, (*place, i), document) for i, each in enumerate(value)]
    return HIDDEN if is_secret(place) else _scalar(value)


def _scalar(value: Any) -> Any:
    if isinstance(value, Duration):
        return value.text
    if isinstance(value, Instant):
        return value.text
    if isinstance(value, Decimal):
        return str(value)
    return value_without_secrets(value) if isinstance(value, str) else value
