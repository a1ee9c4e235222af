"""The rendered page: read back by prometheus_client's parsers, by promtool, and compared with an expected file."""

import gzip
import math
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from exporter.publish.families import BY_NAME, FAMILIES, Family
from exporter.publish.page import Page, number, render
from exporter.publish.process import process_samples
from exporter.publish.rows import FamilySamples, Sample
from exporter.publish.samples import samples
from tests.exporter.publish.states import EXPORTER, installation, many
from tests.golden import expect

GOLDEN = Path(__file__).parent / "golden.prom"

nasty = st.text(st.sampled_from(list('\\"\n\r\t n{}=,#\u2028é\U0001f4b8 ')) | st.characters(codec="utf-8"), max_size=8)
floats = st.floats(allow_nan=False)  # NaN is compared by a test of its own


@st.composite
def family_samples(draw: st.DrawFn, family: Family) -> FamilySamples:
    labels = st.tuples(*(nasty for _ in family.labels))
    counter = family.kind == "counter"
    value = st.floats(0, 1e15) if counter else floats
    created = st.floats(1, 2e9) if counter else st.none()
    rows = draw(st.dictionaries(labels, st.tuples(value, created), max_size=4))
    return FamilySamples.of(family, tuple(Sample(key, *row) for key, row in sorted(rows.items())))


pages = st.lists(st.sampled_from(FAMILIES), unique=True, max_size=4).flatmap(
    lambda families: st.tuples(*(family_samples(family) for family in families))
)

Flat = dict[tuple[str, frozenset[tuple[str, str]]], float]


def flat(given: tuple[FamilySamples, ...]) -> Flat:
    return {
        (f.family.name, frozenset(zip(f.family.labels, s.labels, strict=True))): s.value
        for f in given
        for s in f.samples
    }


def parsed(families: object) -> Flat:
    return {
        (s.name, frozenset(s.labels.items())): s.value
        for family in families  # type: ignore[attr-defined]  # an iterator of either parser's families
        for s in family.samples
        if not s.name.endswith("_created")
    }


@given(pages)
@settings(max_examples=150)
def test_both_formats_read_back_as_what_was_given(given: tuple[FamilySamples, ...]) -> None:
    page = render(given, 0.0)
    assert parsed(parse_text(page.text.decode())) == flat(given)
    assert parsed(parse_openmetrics(page.openmetrics.decode())) == flat(given)


@given(pages)
@settings(max_examples=50)
def test_openmetrics_carries_type_help_unit_and_creation(given: tuple[FamilySamples, ...]) -> None:
    families = {family.name: family for family in parse_openmetrics(render(given, 0.0).openmetrics.decode())}
    shown = [f for f in given if f.samples]
    assert set(families) == {f.family.base_name for f in shown}
    for f in shown:
        read = families[f.family.base_name]
        assert (read.type, read.documentation, read.unit) == (f.family.kind, f.family.help, f.family.unit)
        created = [s.value for s in read.samples if s.name.endswith("_created")]
        assert created == [s.created for s in f.samples if s.created is not None]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0.0"),
        (1.5, "1.5"),
        (1e22, "1e+22"),
        (1.8e-7, "1.8e-07"),
        (math.inf, "+Inf"),
        (-math.inf, "-Inf"),
        (math.nan, "NaN"),
    ],
)
def test_numbers_are_the_shortest_that_read_back(value: float, text: str) -> None:
    assert number(value) == text


def test_gzip_forms_hold_the_same_bytes() -> None:
    page = render(samples(many(5), 9), 7.0)
    assert (gzip.decompress(page.text_gzip), gzip.decompress(page.openmetrics_gzip)) == (page.text, page.openmetrics)
    assert page.at == 7.0
    assert render(samples(many(5), 9), 7.0) == page


def test_a_family_without_samples_is_not_mentioned() -> None:
    page = render([FamilySamples(FAMILIES[0], ())], 0.0)
    assert (page.text, page.openmetrics) == (b"", b"# EOF\n")
    assert (gzip.decompress(page.text_gzip), gzip.decompress(page.openmetrics_gzip)) == (page.text, page.openmetrics)


def test_a_lone_surrogate_does_not_stop_the_page() -> None:
    late = BY_NAME["llmcost_late_tokens_total"]
    assert b'{collector="a?b"} 1.0\n' in render([FamilySamples.of(late, (Sample(("a\ud800b",), 1.0),))], 0.0).text


def installation_page() -> Page:
    return render(samples(installation(), 200), EXPORTER.page_at)


def test_the_page_of_an_installation_is_as_expected() -> None:
    expect(GOLDEN, installation_page().text.decode())


def test_the_process_families_are_those_of_prometheus_client() -> None:
    found = {f.family.name: f for f in process_samples()}
    assert {"process_cpu_seconds_total", "process_resident_memory_bytes", "process_start_time_seconds"} <= set(found)
    assert found["process_resident_memory_bytes"].samples[0].value > 1e6


def test_promtool_finds_nothing_wrong_with_the_page() -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian: apt-get install prometheus)")
    page = render([*samples(installation(), 200), *process_samples()], EXPORTER.page_at)
    checked = subprocess.run(
        [promtool, "check", "metrics"], input=page.text, capture_output=True, timeout=60, check=False
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")
