"""YAML to plain values: the safe loader, strict about keys, with the line of every value and environment references.

Imports PyYAML: only for the child process that loads a config (`exporter.config.load`).
"""

import re
from collections.abc import Mapping
from typing import Any

import yaml

from exporter.config import ConfigError
from exporter.config.paths import Document, Place, Problem, shown

_REFERENCE = re.compile(r"(\$?)\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_MERGE = "tag:yaml.org,2002:merge"


def parse(text: str, name: str, environ: Mapping[str, str]) -> Document:
    """The document in `text`; `${NAME}` in a string is replaced from `environ`, `$${NAME}` stands for itself.

    `name` is the file's name in errors. Raises ConfigError if it is not YAML at all; what is wrong inside it (a key
    given twice, a variable that is not set) is collected in `problems`.
    """
    try:
        return _read(yaml.SafeLoader(text), environ)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
        said = ", ".join(filter(None, (error.context, error.problem)))
        raise ConfigError([f"{name}{where}: not valid YAML: {said}"]) from None
    except yaml.YAMLError as error:
        raise ConfigError([f"{name}: not valid YAML: {str(error).splitlines()[0]}"]) from None


def _read(loader: yaml.SafeLoader, environ: Mapping[str, str]) -> Document:
    reader = _Reader(loader, environ)
    try:
        node = loader.get_single_node()
        if node is not None:
            reader.document.tree = reader.value(node, ())
    finally:
        loader.dispose()
    return reader.document


class _Reader:
    """Walks the nodes of one document."""

    def __init__(self, loader: yaml.SafeLoader, environ: Mapping[str, str]) -> None:
        self._loader = loader
        self._environ = environ
        self._flattened: set[int] = set()
        self.document = Document({})

    def value(self, node: Any, place: Place, above: tuple[int, ...] = ()) -> Any:
        self.document.lines[place] = node.start_mark.line + 1
        if id(node) in above:
            self._problem(place, "expected a value, got an alias of what it is part of")
            return None
        above = (*above, id(node))
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, place, above)
        if isinstance(node, yaml.SequenceNode):
            return tuple(self.value(child, (*place, i), above) for i, child in enumerate(node.value))
        return self._scalar(node, place)

    def _mapping(self, node: yaml.MappingNode, place: Place, above: tuple[int, ...]) -> dict[str, Any]:
        if id(node) not in self._flattened:
            self._report_twice(node, place)
            self._loader.flatten_mapping(node)  # `<<: *defaults`
            self._flattened.add(id(node))
        values = {}
        for key_node, child in node.value:
            key = self._loader.construct_object(key_node) if isinstance(key_node, yaml.ScalarNode) else ()
            if isinstance(key, str):
                values[key] = self.value(child, (*place, key), above)
            else:
                at = (*place, str(key_node.value)) if isinstance(key_node, yaml.ScalarNode) else place
                self._problem(at, f"expected text as a key (put it in quotes), got {shown((), key)}")
        return values

    def _report_twice(self, node: yaml.MappingNode, place: Place) -> None:
        seen: dict[str, int] = {}
        for key_node, _ in node.value:
            key, line = str(key_node.value), key_node.start_mark.line + 1
            if key in seen and key_node.tag != _MERGE:
                self._problem((*place, key), f"expected the key once, got it in line {seen[key]} and in line {line}")
            seen.setdefault(key, line)

    def _scalar(self, node: yaml.ScalarNode, place: Place) -> Any:
        try:
            value = self._loader.construct_object(node)
        except ValueError:  # a date that does not exist: left as text, for a message that says what a date looks like
            return str(node.value)
        except yaml.constructor.ConstructorError:
            self._problem(place, f"expected a plain value, got the YAML tag {node.tag!r}")
            return None
        return self._expanded(value, place) if isinstance(value, str) else value

    def _expanded(self, text: str, place: Place) -> str:
        def replaced(match: re.Match[str]) -> str:
            escaped, name = match.groups()
            if escaped:
                return match[0][1:]
            if name not in self._environ:
                self._problem(place, f"environment variable {name} is not set")
            return self._environ.get(name, match[0])

        value = _REFERENCE.sub(replaced, text)
        if value != text:
            self.document.references[place] = text
        return value

    def _problem(self, place: Place, text: str) -> None:
        self.document.problems.append(Problem(place, text))
