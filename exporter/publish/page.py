"""The metrics page as bytes: Prometheus text 0.0.4 and OpenMetrics 1.0, plain and gzip, rendered once per publish tick.

The renderer is our own because prometheus_client's takes 46 ms for 10,000 series; it is tested equal to
prometheus_client's parsers. Formats: https://prometheus.io/docs/instrumenting/exposition_formats/ and
https://prometheus.io/docs/specs/om/open_metrics_spec/.
"""

import gzip
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from exporter.publish.families import Family
from exporter.publish.rows import FamilySamples, Labels

TEXT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS_TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8"

_WORDS = {"inf": "+Inf", "-inf": "-Inf", "nan": "NaN"}
_GZIP_LEVEL = 1  # 10,000 series shrink 20-fold already; a higher level costs more than it saves


@dataclass(frozen=True, slots=True)
class Page:
    """One rendered page in its four forms, and when it was rendered (epoch seconds)."""

    text: bytes
    text_gzip: bytes
    openmetrics: bytes
    openmetrics_gzip: bytes
    at: float


class Renderer:
    """Renders page after page: a family whose samples are the very same is not spelled out again, nor are the labels of
    a series that was on the last page."""

    def __init__(self) -> None:
        self._last: dict[str, _Rendered] = {}

    def __call__(self, families: Iterable[FamilySamples], at: float) -> Page:
        """The page of `families` in their order; those without samples are left out. Takes some ms per 10,000 samples:
        not for the event loop."""
        last, self._last = self._last, {}
        for given in families:
            if given.samples:
                name = given.family.name
                self._last[name] = _family(given, last.get(name))
        # A lone surrogate in a label (possible from JSON logs) has no UTF-8 form: "?" stands for it.
        plain = "".join(one.text for one in self._last.values()).encode("utf-8", "replace")
        om = "".join([*(one.openmetrics for one in self._last.values()), "# EOF\n"]).encode("utf-8", "replace")
        return Page(plain, _compressed(plain), om, _compressed(om), at)


def render(families: Iterable[FamilySamples], at: float) -> Page:
    """One page, see `Renderer`."""
    return Renderer()(families, at)


class _Rendered(NamedTuple):
    """One family as it is on a page; `spelled` are name and labels of each of its series there."""

    given: FamilySamples
    spelled: Mapping[Labels, str]
    text: str
    openmetrics: str


def _family(given: FamilySamples, last: _Rendered | None) -> _Rendered:
    if last is not None and last.given is given:
        return last
    family, base = given.family, given.family.base_name
    spelled = _spelled(given, last.spelled if last else {})
    lines = [f"{spelled[labels]} {number(value)}\n" for labels, value, _ in given.samples]
    unit = f"# UNIT {base} {family.unit}\n" if family.unit else ""
    text = "".join([f"# HELP {family.name} {family.help}\n# TYPE {family.name} {family.kind}\n", *lines])
    body = _with_created(given, spelled, lines) if family.kind == "counter" else lines
    openmetrics = "".join([f"# HELP {base} {family.help}\n# TYPE {base} {family.kind}\n", unit, *body])
    return _Rendered(given, spelled, text, openmetrics)


def _with_created(given: FamilySamples, spelled: Mapping[Labels, str], lines: list[str]) -> list[str]:
    name, base = given.family.name, given.family.base_name
    found = []
    for line, (labels, _, created) in zip(lines, given.samples, strict=True):
        found.append(line)
        if created is not None:
            found.append(f"{base}_created{spelled[labels].removeprefix(name)} {number(created)}\n")
    return found


def _spelled(given: FamilySamples, before: Mapping[Labels, str]) -> dict[Labels, str]:
    """Name and labels of each sample as the page has them; `before` are those of the last page."""
    template = given.family.name + _template(given.family)
    return {
        labels: before.get(labels) or template % tuple([_escaped(value) for value in labels])
        for labels, _, _ in given.samples
    }


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _template(family: Family) -> str:
    return "{" + ",".join(f'{label}="%s"' for label in family.labels) + "}" if family.labels else ""


def number(value: float) -> str:
    """The shortest text that reads back as the same float."""
    text = repr(float(value))
    return _WORDS.get(text, text)


def _compressed(page: bytes) -> bytes:
    return gzip.compress(page, _GZIP_LEVEL, mtime=0)
