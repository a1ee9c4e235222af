"""docs/configuration.md lists every key with its default: read off the dataclasses, so that the two cannot drift."""

import re
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest

from collectors import collector_class
from collectors.billing.rate_card import Rate
from collectors.cluster.discovery import Discover
from collectors.kinds import COLLECTORS
from collectors.settings import Duration
from exporter.config import (
    ROLE_PRESETS,
    Alternative,
    Budget,
    Config,
    DecisionSettings,
    EnterRatios,
    Prices,
    Publish,
    SelfHostedPlan,
    Storage,
    Workload,
)
from exporter.prices.overrides import Band, Entry, Tier

DOC = Path(__file__).parents[3] / "docs" / "configuration.md"
HEADING = re.compile(r"^#+ .*`([^`]+)`\s*$")
ROW = re.compile(r"^\| `([^`]+)` \| (.+?) \|")

SECTIONS: dict[str, Any] = {
    "config": Config,
    "workloads[]": Workload,
    "alternatives[]": Alternative,
    "self_hosted": SelfHostedPlan,
    "budgets[]": Budget,
    "decision": DecisionSettings,
    "enter": EnterRatios,
    "prices": Prices,
    "storage": Storage,
    "publish": Publish,
    "rates[]": Rate,
    "discover": Discover,
    "prices[]": Entry,
    "bands[]": Band,
    "service_tiers": Tier,
    **{f"kind: {kind}": kind for kind in COLLECTORS},
}


def documented() -> dict[str, dict[str, str]]:
    """Key -> default as written in the tables, by the name in the heading above."""
    tables: dict[str, dict[str, str]] = {}
    section = ""
    for line in DOC.read_text().splitlines():
        if match := HEADING.match(line):
            section = match[1]
        elif match := ROW.match(line):
            assert match[1] not in tables.setdefault(section, {}), line
            tables[section][match[1]] = match[2]
    return tables


def expected(section: str) -> dict[str, str]:
    kind = SECTIONS[section]
    settings = collector_class(kind).Settings if isinstance(kind, str) else kind
    return {key(each, section): default(each, section) for each in fields(settings)}


def key(each: Field[Any], section: str) -> str:
    return "from" if (section, each.name) == ("prices[]", "since") else each.name.rstrip("_")


def default(each: Field[Any], section: str) -> str:
    if each.name == "kind" and section.startswith("kind: "):
        return f"`{section.removeprefix('kind: ')}`"
    value = each.default_factory() if each.default_factory is not MISSING else each.default
    if section == "config" and each.name == "collectors":
        return "required"  # an exporter without any has nothing to do
    text = "required" if value is MISSING else written(value)
    preset = ROLE_PRESETS["sidecar"].get(section, {}).get(each.name)
    return text if preset is None else f"{text} (sidecar: {written(preset)})"


def written(value: Any) -> str:
    """A default as the document writes it."""
    if value is None:
        return "none"
    if is_dataclass(value):
        return "see below"
    if isinstance(value, Duration):
        return f"`{value.text}`"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple):
        return f"`[{', '.join(map(str, value))}]`"
    if isinstance(value, Mapping):
        return "`{}`"
    return f"`{value}`" if str(value) else "empty"


def test_every_section_is_documented_and_no_other() -> None:
    assert set(documented()) == set(SECTIONS)


@pytest.mark.parametrize("section", SECTIONS)
def test_keys_and_defaults_are_those_of_the_code(section: str) -> None:
    assert documented()[section] == expected(section)
