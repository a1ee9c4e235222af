"""The files that a config names for keys, tokens, certificates and credentials: are they there? For `check`."""

from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

from exporter.config import Config

_MOUNT = "check the path and, in a pod, the mounted secret"


def file_warnings(config: Config) -> Iterator[str]:
    """A line for every such file that could not be used here and now: its key in the config, the file, what to do.
    Nothing of what is in a file is looked at."""
    for i, settings in enumerate(config.collectors):
        for key, name in _named(settings):
            if reason := _unusable(Path(name).expanduser() if key == "kubeconfig" else Path(name)):
                shown = name if "/" in name else "the file"  # it may be the secret itself, by a slip
                yield f"collectors[{i}].{key}: {shown} {reason}"


def _named(settings: Any) -> Iterator[tuple[str, str]]:
    for each in fields(settings):
        value = getattr(settings, each.name)
        if value and isinstance(value, str) and (each.name.endswith("_file") or each.name == "kubeconfig"):
            yield each.name, value


def _unusable(path: Path) -> str:
    """Why a file cannot be used; empty if it can."""
    try:
        if not path.is_file():
            return f"is not a file: {_MOUNT}" if path.exists() else f"is not there: {_MOUNT}"
        with path.open("rb") as file:
            return "" if file.read(1) else "is empty: write the secret into it"
    except PermissionError:
        return "may not be read by this user: change its owner or mode (a pod: fsGroup, defaultMode)"
    except OSError as error:
        return f"cannot be read ({error.strerror}): {_MOUNT}"
