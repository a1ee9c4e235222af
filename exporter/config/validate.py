"""A YAML document to typed values, section by section, so that one wrong value does not hide the others.

Imports pydantic: only for the child process that loads a config (`exporter.config.load`).
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from difflib import get_close_matches
from functools import cache, reduce
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from collectors import collector_class
from collectors.kinds import COLLECTORS
from exporter.config import ROLE_PRESETS, Config, DecisionSettings
from exporter.config.checks import Leaf
from exporter.config.paths import Document, Place, Problem, child

_EXPECTED = {
    "string_type": "text (in quotes)",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "dict_type": "a mapping",
    "mapping_type": "a mapping",
    "dataclass_type": "a mapping",
    "tuple_type": "a list",
    "list_type": "a list",
}
_GOT = re.compile(r"expected (.*), got .*", re.DOTALL)

_FIELD = re.compile(r"(?P<field>\w+)(?:\[(?P<index>\d+)\])?: ")

_adapter = cache(TypeAdapter)


@dataclass(slots=True)
class Pieces:
    """What could be validated: `sections` whole, `items` of list sections with their place, and as `leaves` every
    single value that is of its type. A piece with a problem is missing, but its sound values are among the leaves."""

    sections: dict[str, Any] = field(default_factory=dict)
    items: dict[str, list[tuple[Place, Any]]] = field(default_factory=dict)
    leaves: list[Leaf] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def config(self) -> Config:
        """The config made of the pieces, once there are no problems."""
        lists = {name: tuple(value for _, value in items) for name, items in self.items.items()}
        return Config(**{**self.sections, **lists})


def validate(document: Document) -> Pieces:
    """The document's sections as the types of `Config`."""
    pieces = Pieces()
    if not isinstance(document.tree, Mapping):
        pieces.problems.append(Problem((), f"expected a mapping, got {document.shown((), document.tree)}"))
        return pieces
    tree = _inherited(_with_presets(document.tree), document)
    hints = get_type_hints(Config)
    for name, value in tree.items():
        if name not in hints:
            pieces.problems.append(Problem((name,), _unknown_key(name, list(hints))))
        elif name in ("collectors", "workloads", "budgets"):
            item = Any if name == "collectors" else get_args(hints[name])[0]
            _add_items(pieces, document, name, value, item)
        else:
            _add_section(pieces, document, name, value, hints[name])
    if not tree.get("collectors"):
        pieces.problems.append(Problem(("collectors",), "expected a list of at least one collector, got none"))
    return pieces


def _with_presets(tree: Mapping[str, Any]) -> dict[str, Any]:
    """The role's defaults under what is written."""
    role = tree.get("role", Config().role)
    presets: Mapping[str, Mapping[str, Any]] = ROLE_PRESETS[role] if role in ("sidecar", "cluster") else {}
    filled = dict(tree)
    for section, defaults in presets.items():
        written = tree.get(section, {})
        if isinstance(written, Mapping):
            filled[section] = {**defaults, **written}
    return filled


def _inherited(tree: dict[str, Any], document: Document) -> dict[str, Any]:
    """A workload's `decision` names only what differs from the top-level one (which must be sound, or its problems
    would be reported again for every workload)."""
    common, workloads = tree.get("decision"), tree.get("workloads")
    sound = isinstance(common, Mapping) and not list(problems_of(DecisionSettings, common, (), document))
    if isinstance(common, Mapping) and sound and isinstance(workloads, tuple):
        tree["workloads"] = tuple(
            {**each, "decision": _merged(common, each["decision"])}
            if isinstance(each, Mapping) and isinstance(each.get("decision"), Mapping)
            else each
            for each in workloads
        )
    return tree


def _merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    both = {key: (under[key], over[key]) for key in under.keys() & over.keys()}
    nested = {key: _merged(*pair) for key, pair in both.items() if all(isinstance(one, Mapping) for one in pair)}
    return {**under, **over, **nested}


def _add_section(pieces: Pieces, document: Document, name: str, value: Any, hint: Any) -> None:
    found = _checked(pieces, hint, value, (name,), document)
    if found is not None:
        pieces.sections[name] = found


def _add_items(pieces: Pieces, document: Document, name: str, value: Any, hint: Any) -> None:
    if not isinstance(value, tuple):
        pieces.problems.append(Problem((name,), f"expected a list, got {document.shown((name,), value)}"))
        return
    items = pieces.items.setdefault(name, [])
    for i, each in enumerate(value):
        place: Place = (name, i)
        unknown = list(_collector_problems(each, place, document)) if hint is Any else []
        pieces.problems += unknown
        if not unknown:
            found = _checked(pieces, _settings(each["kind"]) if hint is Any else hint, each, place, document)
            items += [] if found is None else [(place, found)]


def _checked(pieces: Pieces, hint: Any, value: Any, place: Place, document: Document) -> Any:
    """`value` as a `hint`, or None with the problems noted in `pieces`; its sound values go to the leaves."""
    found = list(problems_of(hint, value, place, document))
    pieces.problems += found
    pieces.leaves += _leaves(hint, document.written(place), place, str(place[-1]))
    return None if found else _adapter(hint).validate_python(value)


def _leaves(hint: Any, value: Any, place: Place, key: str) -> Iterator[Leaf]:
    """Every plain value under `value` that is of its type; `key` is that of the setting it belongs to."""
    if isinstance(value, Mapping | tuple):
        for step, each in value.items() if isinstance(value, Mapping) else enumerate(value):
            named = step if step in list(keys_at(hint, ())) else key
            yield from _leaves(_hint_at(hint, step), each, (*place, step), str(named))
    elif hint is not None:
        try:
            yield place, key, _adapter(hint).validate_python(value)
        except ValidationError:
            return  # `problems_of` has said so


def _settings(kind: str) -> Any:
    return collector_class(kind).Settings


def _collector_problems(entry: Any, place: Place, document: Document) -> Iterator[Problem]:
    """What keeps the kind of a collector entry from being known."""
    kinds = ", ".join(sorted(COLLECTORS))
    if not isinstance(entry, Mapping):
        yield Problem(place, f"expected a mapping, got {document.shown(place, entry)}")
    elif "kind" not in entry:
        yield Problem((*place, "kind"), f"expected one of {kinds}, but the key is missing")
    elif entry["kind"] not in COLLECTORS:
        got = document.shown((*place, "kind"), entry["kind"])
        near = get_close_matches(str(entry["kind"]), COLLECTORS, 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        yield Problem((*place, "kind"), f"expected one of {kinds}, got {got}{hint}")


def problems_of(hint: Any, value: Any, place: Place, document: Document) -> Iterator[Problem]:
    """What is wrong with `value` as a `hint`, one problem for each place at or under `place`."""
    yield from _flags_for_numbers(hint, value, place)
    try:
        _adapter(hint).validate_python(value)
    except ValidationError as error:
        expected: dict[Place, list[str]] = {}  # several at one place: the members of a union
        for detail in error.errors(include_url=False):
            steps = _steps(value, detail["loc"], last_is_new=detail["type"] == "missing")
            text = _text(hint, steps, detail)
            match = _GOT.fullmatch(text)
            if match and not (detail["type"] == "value_error" and list(keys_at(hint, steps))):
                expected.setdefault(steps, []).append(match[1])
            else:
                inside, text = _said_of_a_field(text, list(keys_at(hint, steps)))
                whole = detail["type"] == "value_error" and not inside  # what a dataclass says of itself
                yield Problem((*place, *steps, *inside), text, whole)
        for steps, texts in expected.items():
            got = document.shown((*place, *steps), _at(value, steps))
            yield Problem((*place, *steps), f"expected {' or '.join(dict.fromkeys(texts))}, got {got}")


def _text(hint: Any, steps: Place, detail: ErrorDetails) -> str:
    """What an error of pydantic says, in this project's words."""
    kind = detail["type"]
    if kind == "missing":
        return "required, but missing"
    if kind == "unexpected_keyword_argument":
        return _unknown_key(str(steps[-1]), list(keys_at(hint, steps[:-1])))
    if kind == "value_error":
        return str(detail["ctx"]["error"])
    if kind == "literal_error":
        return f"expected {detail['ctx']['expected']}, got ..."
    said = detail["msg"].removeprefix("Input should be ")
    return f"expected {_EXPECTED.get(kind, said)}, got ..."


def _said_of_a_field(text: str, keys: list[str]) -> tuple[Place, str]:
    """A dataclass's own message as the place of the field it is about, and the rest: it begins with the field
    (`targets[1]: ...`), or is about the first one that it names (`expected bucket to be a name, ...`)."""
    match = _FIELD.match(text)
    if match is not None and match["field"] in keys:
        index = (int(match["index"]),) if match["index"] else ()
        return (match["field"], *index), text[match.end() :]
    named = next((word for word in re.findall(r"\w+", text.partition(", got ")[0]) if word in keys), None)
    if named is None:
        return (), text
    return (named,), re.sub(rf"^expected (?:an? )?{named} (?:to be|of) ", "expected ", text)


def _steps(value: Any, loc: tuple[int | str, ...], last_is_new: bool) -> Place:
    """The keys and indexes of pydantic's `loc` without the names of union members that it puts between."""
    steps: Place = ()
    for number, step in enumerate(loc):
        here = (isinstance(value, tuple) and isinstance(step, int)) or (isinstance(value, Mapping) and step in value)
        if here or (last_is_new and number == len(loc) - 1):
            steps = (*steps, step)
            value = child(value, step)
    return steps


def _at(value: Any, steps: Place) -> Any:
    return reduce(child, steps, value)


def _flags_for_numbers(hint: Any, value: Any, place: Place) -> Iterator[Problem]:
    """`count: true`, which pydantic would take for 1."""
    if isinstance(value, bool) and hint is int:
        yield Problem(place, f"expected a whole number, got {str(value).lower()}")
    elif isinstance(value, Mapping | tuple):
        for step, each in value.items() if isinstance(value, Mapping) else enumerate(value):
            yield from _flags_for_numbers(_hint_at(hint, step), each, (*place, step))


def keys_at(hint: Any, steps: Place) -> Iterator[str]:
    """The YAML keys that a `hint` has at `steps` under it; none where the keys are free."""
    for step in steps:
        hint = _hint_at(hint, step)
    for member in _members(hint):
        if is_dataclass(member):
            yield from (yaml_key(each.name) for each in fields(member))


def yaml_key(name: str) -> str:
    """The YAML key of a dataclass field: `from_` is `from`, which Python keeps for itself."""
    return name.rstrip("_")


def _hint_at(hint: Any, step: str | int) -> Any:
    """The type under one key or index of `hint`; None if it has none."""
    for member in _members(hint):
        if is_dataclass(member):
            hints = {yaml_key(name): each for name, each in get_type_hints(member).items()}
            if step in hints:
                return hints[str(step)]
        elif get_origin(member) is (tuple if isinstance(step, int) else Mapping):
            return get_args(member)[0 if isinstance(step, int) else -1]
    return None


def _members(hint: Any) -> list[Any]:
    """The members of a union, else the type itself."""
    union = get_origin(hint) in (Union, UnionType)
    return [each for each in get_args(hint) if each is not NoneType] if union else [hint]


def _unknown_key(key: str, known: list[str]) -> str:
    near = get_close_matches(key, known, 1, cutoff=0.5)
    return f"unknown key, did you mean {near[0]!r}?" if near else f"unknown key, expected one of {', '.join(known)}"
