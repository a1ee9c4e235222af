"""Expected files: compared byte for byte, written anew with UPDATE_GOLDEN=1 in the environment."""

import os
from pathlib import Path


def expect(path: Path, actual: str) -> None:
    """Assert that the file at `path` holds `actual`."""
    if os.environ.get("UPDATE_GOLDEN") == "1":
        path.write_text(actual)
    assert actual == path.read_text(), f"{path.name} differs; if that is meant, run with UPDATE_GOLDEN=1 and look at it"
