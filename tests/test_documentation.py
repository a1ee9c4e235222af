"""What the documents list is what the code has: reasons of what no workload pays for, kinds of sources."""

import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from collectors.kinds import COLLECTORS

ROOT = Path(__file__).parents[1]
RECONCILE = ROOT / "exporter" / "reconcile"


def texts(node: ast.AST) -> Iterator[str]:
    """The texts that an expression may be, but those that it compares."""
    if isinstance(node, ast.IfExp):
        yield from (*texts(node.body), *texts(node.orelse))
    elif isinstance(node, ast.BoolOp):
        yield from (text for value in node.values for text in texts(value))
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value


def nodes(name: str) -> Iterable[ast.AST]:
    return ast.walk(ast.parse((RECONCILE / name).read_text(encoding="utf-8")))


def placed() -> Iterator[str]:
    """The reasons in calls `Place("unallocated", reason)`."""
    for path in RECONCILE.glob("*.py"):
        for node in nodes(path.name):
            match node:
                case ast.Call(func=ast.Name(id="Place"), args=[ast.Constant(value="unallocated"), reason]):
                    yield from texts(reason)


def unmatched() -> Iterator[str]:
    """The reasons that a bill line is nobody's, as whoever is asked for its workload returns them: (None, reason)."""
    for node in nodes("bill_match.py"):
        match node:
            case ast.Return(value=ast.Tuple(elts=[ast.Constant(value=None), reason])):
                yield from texts(reason)


def of_token_lines() -> Iterator[str]:
    """The reasons that stand for the day of a token line: (line, day or reason)."""
    for node in nodes("api_costs.py"):
        match node:
            case ast.Yield(value=ast.Tuple(elts=[_, day])):
                yield from texts(day)


def test_every_reason_of_what_no_workload_pays_for_is_documented_and_the_reverse() -> None:
    assert set(placed()) >= {"purchase", "no_k8s_data", "unmetered"}
    assert set(unmatched()) >= {"missing_tag", "not_usage"}
    assert set(of_token_lines()) >= {"open_day"}
    # `not_usage` is never asked for: `classify` knows where a tax, a credit, a purchase goes.
    reasons = {*placed(), *unmatched(), *of_token_lines()} - {"not_usage"}
    document = (ROOT / "docs" / "reconciliation.md").read_text(encoding="utf-8")
    (listed,) = re.findall(r"`unallocated` has a reason\s+\(`report`\):(.*?)\n\n", document, re.S)
    assert set(re.findall(r"`(\w+)`", listed)) == reasons


def test_every_kind_of_source_is_in_the_readme_and_the_reverse() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (table,) = re.findall(r"^## Sources\n(.*?)^## ", readme, re.S | re.M)
    rows = re.findall(r"^\| (`[^|]+) \|", table, re.M)
    assert sorted(kind for row in rows for kind in re.findall(r"`(\w+)`", row)) == sorted(COLLECTORS)
