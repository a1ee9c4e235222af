"""Checks that a type cannot make of one value or one entry: bounds, URLs, globs, names, alternatives. Pure."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

from collectors.records import SLOT
from collectors.settings import Money
from exporter.config import Workload
from exporter.config.paths import Document, Place, Problem

FOLDED = "other"  # what the series budget folds further workloads into
MOST_ALTERNATIVES = 4  # the primary one and three others

Leaf = tuple[Place, str, Any]  # where a value is, the key of the setting it belongs to, and the value as its type
Rule = tuple[Callable[[Any], bool], str]  # what a value must be, in code and in words

_SHARE: Rule = (lambda value: 0 <= value <= 1, "a fraction from 0 to 1")
_POSITIVE: Rule = (lambda value: value > 0, "more than 0")
_AT_LEAST_ONE: Rule = (lambda value: value >= 1, "at least 1")
_SLOTS: Rule = (lambda value: value % SLOT == 0, "a multiple of 5m, the ledger's slot")
_AMOUNT: Rule = (lambda value: value >= 0, "an amount of at least 0")
_RATE: Rule = (lambda value: value > 0, "a rate above 0, in USD per unit of the currency")
_GLOB: Rule = (lambda text: bool(text) and not open_bracket(text), "a glob like 'tiny-*', with a ] for every [")
_URL: Rule = (lambda text: _is_url(text), "an http:// or https:// URL")
_NAME: Rule = (lambda text: bool(text.strip()), "a name")
_MODEL: Rule = (lambda text: all(text.partition("/")), "'<provider>/<model>'")

RULES: dict[str, tuple[Rule, ...]] = {
    "discount": (_SHARE,),
    "min_coverage": (_SHARE,),
    "max_unpriced": (_SHARE,),
    "target_utilization": (_SHARE, _POSITIVE),
    "capacity_tokens_per_second": (_POSITIVE,),
    "count": (_POSITIVE,),
    "interval": (_POSITIVE,),
    "every": (_POSITIVE,),
    "evaluate_every": (_POSITIVE, _SLOTS),
    "ratio_window": (_POSITIVE, _SLOTS),
    "min_replicas": (_AT_LEAST_ONE,),
    "max_workloads": (_AT_LEAST_ONE,),
    "fx": (_RATE,),
    "match": (_GLOB,),
    "match_bill": (_GLOB,),
    "path": (_GLOB,),
    "scope": (_GLOB,),
    "targets": (_URL,),
    "name": (_NAME,),
}

# A side is entered beyond break-even, never before it; an alternative is written as provider and model.
RULES_IN: dict[tuple[str, str], Rule] = {
    ("enter", "self_hosting"): (lambda ratio: ratio >= 1, "a ratio of at least 1 (the API costs that much more)"),
    ("enter", "api"): (lambda ratio: 0 < ratio <= 1, "a ratio above 0 and at most 1 (the API costs that much less)"),
    ("alternatives", "api"): _MODEL,
    ("workloads", "name"): (lambda text: text != FOLDED, f"a name other than {FOLDED!r}, which folded series have"),
    ("storage", "path"): (bool, "the path of a file"),
}


def problems(
    document: Document, leaves: Iterable[Leaf], workloads: Iterable[tuple[Place, Workload]]
) -> Iterator[Problem]:
    """Everything that is wrong with single values and entries of `document`."""
    for place, key, value in leaves:
        for holds, expected in _rules(place, key, value):
            if not holds(value):
                yield Problem(place, f"expected {expected}, got {document.shown(place, document.written(place))}")
                break
    for section in ("collectors", "workloads", "budgets"):
        yield from _names(document, section)
    yield from _entries(document)
    for place, workload in workloads:
        yield from _labels((*place, "alternatives"), workload)


def _rules(place: Place, key: str, value: Any) -> Iterator[Rule]:
    if isinstance(value, bool) or not isinstance(value, Decimal | int | str) or value == "auto":
        return
    parents = [step for step in place[:-1] if isinstance(step, str)]
    special = RULES_IN.get((parents[-1], key)) if parents else None
    if special is not None:
        yield special
    if (parents[:1], key) != (["storage"], "path"):  # a file, not a glob
        yield from RULES.get(key, ())
    if isinstance(value, Money):
        yield _AMOUNT


def _is_url(text: str) -> bool:
    try:
        url = urlsplit(text)
        return url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0 and " " not in text
    except ValueError:  # a port or an address in brackets that is none
        return False


def open_bracket(glob: str) -> bool:
    """Whether a `[` starts no set: `fnmatch` would then look for the character itself, which nobody means."""
    at = glob.find("[")
    while at >= 0:
        first = at + 2 if glob[at + 1 : at + 2] == "!" else at + 1  # a ] in first place is a member
        end = glob.find("]", first + 1)
        if end < 0:
            return True
        at = glob.find("[", end + 1)
    return False


def _list(document: Document, *place: str | int) -> Iterator[tuple[Place, Mapping[str, Any]]]:
    """The mappings in the list at `place`, as they are written."""
    entries = document.written(place)
    for i, entry in enumerate(entries if isinstance(entries, tuple) else ()):
        if isinstance(entry, Mapping):
            yield (*place, i), entry


def _names(document: Document, section: str) -> Iterator[Problem]:
    """Names given twice, also by entries that are otherwise wrong."""
    first: dict[str, Place] = {}
    for place, entry in _list(document, section):
        name = entry.get("name")
        if isinstance(name, str) and first.setdefault(name, place) != place:
            at = (*place, "name")
            text = f"expected a name of its own, got {document.shown(at, name)}, which {section}[{first[name][-1]}] has"
            yield Problem(at, text)


def _entries(document: Document) -> Iterator[Problem]:
    """Workloads that match everything, and alternatives that are not one thing."""
    for place, workload in _list(document, "workloads"):
        if workload.get("match") == {}:
            yield Problem((*place, "match"), "expected at least one pattern like {model: 'tiny-*'}, got none")
        alternatives = list(_list(document, *place, "alternatives"))
        if len(alternatives) > MOST_ALTERNATIVES:
            text = f"expected at most {MOST_ALTERNATIVES}, got {len(alternatives)}"
            yield Problem((*place, "alternatives"), text)
        for at, each in alternatives:
            given = [key for key in ("api", "self_hosted") if each.get(key) is not None]
            if len(given) != 1:
                yield Problem(at, f"expected exactly one of api and self_hosted, got {'both' if given else 'neither'}")


def _labels(place: Place, workload: Workload) -> Iterator[Problem]:
    """Alternatives of one workload that would share the `alternative` label."""
    first: dict[str, int] = {}
    for i, each in enumerate(workload.alternatives):
        before = first.setdefault(each.label, i)
        if before != i:
            text = f"expected a name of its own, got {each.label!r}, which alternatives[{before}] has"
            yield Problem((*place, i), text)
