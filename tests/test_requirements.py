"""The pinned requirements: complete, hashed, and free of the address of any package index."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
EXTRAS: dict[str, list[str]] = PROJECT["project"]["optional-dependencies"]
ALL = PROJECT["project"]["dependencies"] + EXTRAS["aws"] + EXTRAS["gcp"] + EXTRAS["kubernetes"]
WANTED = {
    "base": PROJECT["project"]["dependencies"],
    "all": ALL,
    "dev": ALL + [each for each in EXTRAS["dev"] if each != "llm-cost-exporter[all]"],
    "build": PROJECT["dependency-groups"]["build"] + PROJECT["build-system"]["requires"],
}
PIN = r"^([a-z0-9._-]+)==([^\s;\\]+)"
every_file = pytest.mark.parametrize("name", WANTED)


def text(name: str) -> str:
    return (ROOT / "requirements" / f"{name}.txt").read_text()


def pins(name: str) -> dict[str, str]:
    """The versions by name; where markers choose between two, the last."""
    return dict(re.findall(PIN, text(name), re.MULTILINE))


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
    assert len([entry for entry in entries if entry.strip()]) == len(re.findall(PIN, text(name), re.MULTILINE))
    assert all("--hash=sha256:" in entry for entry in entries if entry.strip())
    assert not re.search(r"://|--(extra-)?index-url|--find-links| @ ", text(name))


def test_what_runs_is_what_is_tested() -> None:
    assert pins("base").items() <= pins("all").items() <= pins("dev").items()


def test_all_is_every_extra_that_runs() -> None:
    (everything,) = EXTRAS["all"]
    assert set(re.findall(r"[a-z]+", everything.partition("[")[2])) == EXTRAS.keys() - {"all", "dev"}
