"""Places in a config and how problems there are worded: the path, what was expected, what was found, no secret."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from collectors.settings import SECRET_WORDS, sounds_secret

Place = tuple[str | int, ...]  # keys and indexes from the root of the YAML document

HIDDEN = "<hidden>"
# User information ends at the last @ of a URL's authority. Behind a colon the authority may seem to end too early, at
# a bare / or ? of a password: then at the last @ there is. In a text a URL ends at a blank; a value is one URL.
_USERINFO = re.compile(r"(?<=://)(?:[^/?#\s]*:\S*@|[^/?#\s]*@)")
_USERINFO_OF_VALUE = re.compile(r"(?<=://)(?:[^/?#]*:.*@|[^/?#]*@)", re.DOTALL)
_QUERY = re.compile(r"([?&;#](?P<key>[^=?&;#\s]+)=)[^&\s]*?(?=['\"](?:\W|$)|[&\s]|$)")
_QUERY_OF_VALUE = re.compile(r"([?&;#](?P<key>[^=?&;#]+)=)[^&]*")
_WORD = re.compile(r"[A-Z]?[a-z0-9]+|[A-Z]+")  # of snake_case, kebab-case, camelCase and SHOUTING
_PLAIN_KEY = re.compile(r"[\w-]+")
_LONGEST = 80


@dataclass(frozen=True, slots=True)
class Problem:
    """One line for the user: `text` says what was expected at `place`, and what was found.

    A `whole` problem is about an entry as such; one inside the entry is the better word for the same thing.
    """

    place: Place
    text: str
    whole: bool = False

    def __str__(self) -> str:
        return f"{dotted(self.place)}: {without_secrets(self.text)}"


@dataclass(slots=True)
class Document:
    """A YAML document as plain values (sequences are tuples), with what is needed to report problems in it.

    `tree` has environment references replaced; `references` holds the text as written where that was done, and
    `lines` the line (from 1) of every place.
    """

    tree: Any
    references: dict[Place, str] = field(default_factory=dict)
    lines: dict[Place, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def shown(self, place: Place, value: Any) -> str:
        """`value` at `place` as a message may show it."""
        return shown(place, self.references.get(place, value))

    def written(self, place: Place) -> Any:
        """The value at `place` as it stands in the document; None if it is not written there."""
        value = self.tree
        for step in place:
            value = child(value, step)
        return value

    def in_order(self, problems: list[Problem]) -> list[Problem]:
        """`problems` in the order of the document, the first one only where several are at one place."""
        first = {problem.place: problem for problem in reversed(problems)}
        inner = {place[:depth] for place in first for depth in range(len(place))}
        kept = [problem for problem in first.values() if not (problem.whole and problem.place in inner)]
        return sorted(kept, key=lambda problem: (self._line(problem.place), str(problem)))

    def _line(self, place: Place) -> int:
        while place and place not in self.lines:
            place = place[:-1]
        return self.lines.get(place, 0)


def child(value: Any, step: str | int) -> Any:
    """What a mapping has under a key or a list at an index; None if nothing."""
    if isinstance(value, Mapping):
        return value.get(step)
    return value[step] if isinstance(value, tuple) and isinstance(step, int) and step < len(value) else None


def dotted(place: Place) -> str:
    """`collectors[1].interval`; a key that is not a plain word is quoted: `match['app.kubernetes.io/name']`."""
    text = ""
    for step in place:
        if isinstance(step, str) and _PLAIN_KEY.fullmatch(step):
            text += f".{step}" if text else step
        else:
            text += f"[{step!r}]"
    return text or "config"


def is_secret(place: Place) -> bool:
    """Whether the key at `place` looks like the name of a secret. A `..._file` key names a file, which is none."""
    keys = [step for step in place if isinstance(step, str)]
    words = _WORD.findall(keys[-1]) if keys else []
    return bool(words) and words[-1].lower() in SECRET_WORDS


def shown(place: Place, value: Any) -> str:
    """A value in the words of a message: containers by their kind, secrets hidden, long text cut."""
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, tuple | list):
        return "a list"
    if value is None:
        return "nothing"
    if is_secret(place):
        return HIDDEN
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, date):
        return value.isoformat()
    text = repr(value_without_secrets(value) if isinstance(value, str) else value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def without_secrets(text: str) -> str:
    """`text` with the secrets that URLs in it may carry hidden: user and password, and query values that sound secret.

    Where it cannot be told how far they go, rather too much is hidden.
    """
    return _QUERY.sub(_hidden, _USERINFO.sub(f"{HIDDEN}@", text))


def value_without_secrets(value: str) -> str:
    """The same of a whole value, which is one URL if any, whatever blanks and quotes a password in it holds."""
    return _QUERY_OF_VALUE.sub(_hidden, _USERINFO_OF_VALUE.sub(f"{HIDDEN}@", value))


def _hidden(query: re.Match[str]) -> str:
    if sounds_secret(query["key"]):
        return f"{query[1]}{HIDDEN}"
    return query[1] + _QUERY_OF_VALUE.sub(_hidden, query[0][len(query[1]) :])  # `a=1;sig=x`
