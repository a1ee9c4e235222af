"""Samples of chosen names on a Prometheus text or OpenMetrics page. Pure.

An exporter reads some twenty of a page's several hundred samples. One regular expression finds their lines at the speed
of a search for newlines; only those lines are parsed. Formats:
https://prometheus.io/docs/instrumenting/exposition_formats/ and
https://prometheus.io/docs/specs/om/open_metrics_spec/.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import NamedTuple

_NOT_COUNTERS = frozenset({b"gauge", b"histogram", b"summary", b"gaugehistogram", b"info", b"stateset"})

# After the name: labels (quoted values may hold any character), value, optional timestamp, optional exemplar.
_REST = re.compile(
    r'\s*+(?:\{((?:[^"}]++|"(?:[^"\\]++|\\.)*+")*+)\})?'
    r"\s*+([+\-.0-9a-zA-Z]++)(?:\s++-?[0-9.eE+-]++)?\s*+(?:#\s*+\{.*)?"
)
_LABEL = re.compile(r'\s*+([a-zA-Z_][a-zA-Z0-9_]*+)\s*+=\s*+"((?:[^"\\]++|\\.)*+)"\s*+(?:,\s*+|$)')
_ESCAPE = re.compile(r"\\(.)")
_ESCAPED = {"n": "\n", '"': '"', "\\": "\\"}


class PageError(ValueError):
    """The page cannot be trusted as a whole; the text is a one-line reason."""


class Sample(NamedTuple):
    """One sample. `labels` may be shared between samples: not to be changed."""

    name: str
    labels: Mapping[str, str]
    value: float


class Names:
    """The samples to look for, compiled once: wire name -> the caller's name for it.

    `prefixed` names stand behind `prefix` in each spelling seen in the field: `vllm:x`, `vllm_x` (OpenMetrics writers)
    and `ray_vllm_x` (Ray). `plain` names stand as they are. Only exactly these samples match: `x_created`, or
    `x_bucket` of a histogram, do not.
    """

    __slots__ = ("meaning", "pattern")

    def __init__(self, prefix: str, prefixed: Mapping[str, str], plain: Mapping[str, str]) -> None:
        self.meaning = {wire.encode(): name for wire, name in (*prefixed.items(), *plain.items())}
        inner, outer = _any_of(prefixed), _any_of(plain)
        self.pattern = re.compile(
            rf"\n[ \t]*+(# TYPE )?(?:(?:ray_)?{prefix}[:_](?:({inner}))|({outer}))(?=[ \t{{])"
            r"(?:\{([^}\\\n]*+)\} ([+\-.0-9a-zA-Z]++)(?=\n)|([^\n]*+))".encode()
        )


def scan(page: bytes, names: Names) -> list[Sample]:
    """The samples of `names` in page order.

    A name in `_total` whose TYPE line says it is no counter is left out: routers re-export engine counters as gauges.
    Raises `PageError` for an empty, truncated or non-UTF-8 page and for a wanted line that cannot be parsed.
    """
    check(page)
    return list(_samples(page, names))


def check(page: bytes, *, openmetrics: bool = False) -> None:
    """Raise `PageError` unless `page` is whole as far as can be told from its bytes: UTF-8, with an end.

    An OpenMetrics page ends in `# EOF`; a text page in a newline.
    """
    if not page:
        raise PageError("empty page")
    if openmetrics and not page.endswith((b"# EOF\n", b"# EOF")):
        raise PageError(f"truncated page: no '# EOF' after {len(page)} bytes")
    if not page.endswith((b"\n", b"\n# EOF")):
        raise PageError(f"truncated page: its last line has no newline (after {len(page)} bytes)")
    if not page.isascii():
        try:
            page.decode()
        except UnicodeDecodeError as error:
            raise PageError(f"not a metrics page: byte {error.start} is not UTF-8") from None


def _any_of(names: Iterable[str]) -> str:
    return "|".join(map(re.escape, sorted(names))) or "(?!)"


def _samples(page: bytes, names: Names) -> Iterator[Sample]:
    meaning = names.meaning
    others: set[bytes] = set()
    for kind, prefixed, plain, section, value, rest in names.pattern.findall(b"\n" + page):
        name = prefixed or plain
        if kind:
            if name.endswith(b"_total") and rest.strip() in _NOT_COUNTERS:
                others.add(name)
        elif name not in others:
            try:
                yield Sample(meaning[name], _labels(section), float(value))
            except ValueError:  # no labels, a timestamp, an exemplar, escapes or a brace in a label value
                yield _sample(meaning[name], rest or b"{%b} %b" % (section, value))


def _sample(name: str, rest: bytes) -> Sample:
    parsed = _REST.fullmatch(rest.decode())
    try:
        if parsed is None:
            raise ValueError
        return Sample(name, _labels((parsed[1] or "").encode()), float(parsed[2]))
    except ValueError:
        shown = rest[:200].decode(errors="replace")
        raise PageError(f"cannot parse the line of sample {name!r}: {shown!r}") from None


# The same label sets stand on every page of a target, and on many lines of one page.
@lru_cache(maxsize=2048)
def _labels(section: bytes) -> Mapping[str, str]:
    text, at, labels = section.decode().strip(), 0, {}
    while at < len(text):
        label = _LABEL.match(text, at)
        if label is None:
            raise ValueError("bad labels")
        labels[label[1]] = _ESCAPE.sub(_unescape, label[2]) if "\\" in label[2] else label[2]
        at = label.end()
    return labels


def _unescape(escape: re.Match[str]) -> str:
    # An unknown escape stands for itself, as in prometheus_client.
    return _ESCAPED.get(escape[1], escape[0])
