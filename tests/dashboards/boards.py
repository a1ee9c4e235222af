"""The committed boards as the tests see them: panels, and queries with Grafana's variables filled in."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[2] / "dashboards" / "grafana"
NAMES = ("llmcost-overview.json", "llmcost-workload.json")
LABEL_VALUES = re.compile(r"^label_values\((?P<series>.+), *(?P<label>\w+)\)$", re.DOTALL)
QUERY_RESULT = re.compile(r"^query_result\((?P<expr>.+)\)$", re.DOTALL)


@dataclass(frozen=True)
class Asked:
    """One query of a board: where it stands, its PromQL as written, and how Grafana asks it."""

    place: str
    expr: str
    instant: bool


def load(name: str) -> dict[str, Any]:
    board: dict[str, Any] = json.loads((FOLDER / name).read_text(encoding="utf-8"))
    return board


def panels(board: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Every panel that shows something: rows are left out, what is in a collapsed row is not."""
    for panel in board["panels"]:
        if panel["type"] != "row":
            yield panel
        yield from panel.get("panels", ())


def asked(name: str) -> list[Asked]:
    """Every query of the board: targets, annotations, variables (a label_values as the selector it reads)."""
    board = load(name)
    found = [
        Asked(f"{panel['title']}/{target['refId']}", target["expr"], bool(target.get("instant")))
        for panel in panels(board)
        for target in panel.get("targets", ())
    ]
    found += [Asked(f"annotation {one['name']}", one["expr"], False) for one in board["annotations"]["list"]]
    queries = [one for one in board["templating"]["list"] if one["type"] == "query"]
    return found + [Asked(f"variable {one['name']}", series(one["query"]), True) for one in queries]


def series(query: str) -> str:
    """The PromQL behind a variable's query."""
    match = LABEL_VALUES.match(query) or QUERY_RESULT.match(query)
    assert match, f"neither label_values nor query_result: {query}"
    return match[1]


def filled(expr: str, values: Mapping[str, str]) -> str:
    """The query with $name and ${name} replaced; a variable that has no value fails."""

    def value(match: re.Match[str]) -> str:
        return values[match[1] or match[2]]

    return re.sub(r"\$(?:([a-z_]\w*)|\{(\w+)\})", value, expr)
