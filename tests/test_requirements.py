"""The pinned requirements: complete, hashed, and free of the address of any package index."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
WANTED = {
    "base": PROJECT["project"]["dependencies"],
    "dev": PROJECT["project"]["dependencies"] + PROJECT["project"]["optional-dependencies"]["dev"],
    "build": PROJECT["dependency-groups"]["build"] + PROJECT["build-system"]["requires"],
}
every_file = pytest.mark.parametrize("name", WANTED)


def text(name: str) -> str:
    return (ROOT / "requirements" / f"{name}.txt").read_text()


def pins(name: str) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9._-]+)==([^\s;\\]+)", text(name), re.MULTILINE))


@every_file
def test_what_the_project_asks_for_is_pinned(name: str) -> None:
    pinned = pins(name)
    for wanted in map(Requirement, WANTED[name]):
        version = pinned.get(wanted.name.lower())
        assert version, f"{wanted} is not in requirements/{name}.txt: run `make requirements`"
        assert wanted.specifier.contains(version), f"{wanted} is pinned to {version}: run `make requirements`"


@every_file
def test_every_pin_has_hashes_and_no_line_an_address(name: str) -> None:
    entries = re.split(r"^(?=\S)", re.sub(r"^#.*\n", "", text(name), flags=re.MULTILINE), flags=re.MULTILINE)
    assert len([entry for entry in entries if entry.strip()]) == len(pins(name))
    assert all("--hash=sha256:" in entry for entry in entries if entry.strip())
    assert not re.search(r"://|--(extra-)?index-url|--find-links| @ ", text(name))


def test_what_runs_is_what_is_tested() -> None:
    assert pins("base").items() <= pins("dev").items()
