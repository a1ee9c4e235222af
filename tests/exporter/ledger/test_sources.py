"""Collectors under other names: the same source goes on, and what is not the same is kept apart."""

from collections.abc import Iterator
from itertools import permutations
from pathlib import Path

import pytest

from collectors.records import DAY, Batch, Charge, Observed, Usage, Window
from exporter.ledger.sources import Source, goes_on
from exporter.ledger.store import Ledger
from tests.exporter.cluster import line
from tests.exporter.simulated import START


def source(reads: str, kind: str = "openai", role: str = "meter") -> Source:
    """One that reads as many sources as `reads` has letters."""
    return Source(kind, role, frozenset(reads))


A, B, C, AB, BC = (source(reads) for reads in ("a", "b", "c", "ab", "bc"))
UNKNOWN, CHECK = source(""), source("b", role="check")
LOG = source("l", kind="usage_log")


@pytest.mark.parametrize(
    ("kept", "configured", "found"),
    [
        ({}, {"y": A}, {}),
        ({"x": A}, {}, {}),
        ({"x": A}, {"x": A}, {"x": "x"}),
        ({"x": A}, {"y": A._replace(role="check")}, {"y": "x"}),
        ({"x": A}, {"y": B}, {}),
        ({"x": A}, {"y": LOG}, {}),
        ({"x": A}, {"x": LOG}, {}),
        ({"x": A, "y": B}, {"x": B, "y": A}, {"x": "y", "y": "x"}),
        ({"x": A, "y": B, "z": C}, {"x": B, "y": C, "z": A}, {"x": "y", "y": "z", "z": "x"}),
        ({"x": A, "y": B}, {"y": A}, {"y": "x"}),
        ({"x": A}, {"x": B, "y": A}, {"y": "x"}),
        ({"x": A}, {"x": B}, {"x": "x"}),  # the same under another path, for all one knows
        ({"x": A, "y": B}, {"x": C, "y": A}, {"y": "x"}),  # x has lost its past to y
        ({"x": A}, {"y": AB}, {"y": "x"}),
        ({"x": AB}, {"y": A}, {"y": "x"}),
        ({"x": AB}, {"x": A, "y": B}, {"x": "x"}),
        ({"x": AB, "y": C}, {"x": A, "y": BC}, {"x": "x", "y": "y"}),
        ({"x": AB}, {"y": A, "z": B}, {}),
        ({"x": A, "w": A}, {"y": A}, {}),
        ({"x": A, "y": B}, {"z": AB}, {}),
        ({"x": B, "c": CHECK}, {"y": B}, {"y": "x"}),
        ({"x": B, "c": CHECK}, {"y": B, "d": CHECK}, {"y": "x", "d": "c"}),
        ({"x": B, "c": CHECK}, {"d": CHECK}, {"d": "c"}),
        ({"x": UNKNOWN}, {"y": A}, {}),
        ({"x": UNKNOWN}, {"x": A}, {"x": "x"}),
    ],
)
def test_a_source_is_the_same_where_that_is_beyond_doubt(
    kept: dict[str, Source], configured: dict[str, Source], found: dict[str, str]
) -> None:
    assert goes_on(kept, configured) == found


def said(at: int, charge: Charge, tokens: int = 10) -> Batch:
    usage = [Usage(at, "api", "openai", "m", {"input": tokens}, 1)]
    window = Window(START, START + DAY)
    return Batch("day", usage=usage, charges=[charge], window=window, observed=[Observed(window)], cursor=str(at))


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    opened = Ledger(tmp_path / "ledger.db", START)
    yield opened
    opened.close()


def tokens(ledger: Ledger) -> dict[str, int]:
    series = ledger.snapshot().series
    return {one.key.collector: sum(one.tokens(START, START + DAY).values()) for one in series}


def test_all_that_a_source_said_goes_on_under_its_new_name(ledger: Ledger) -> None:
    assert ledger.note_sources({"x": A}) == {}
    ledger.commit("x", said(START, line(0, 24, "5")), START + DAY)
    assert ledger.note_sources({"y": A}) == {"x": "y"}
    found = ledger.snapshot()
    assert {one.key.collector for one in found.series} == {one.collector for one in found.bill} == {"y"}
    assert (set(found.streams), ledger.cursors("y"), ledger.cursors("x")) == ({("y", "")}, {"day": str(START)}, {})
    ledger.commit("y", said(START + 300, line(0, 24, "6")), START + DAY)
    assert (tokens(ledger), len(ledger.snapshot().bill)) == ({"y": 10}, 1)


def test_names_move_in_any_order(ledger: Ledger) -> None:
    """Each source has the same part, stream and series: on the way no two may meet under one name."""
    sources = dict(zip("abcd", (source(reads) for reads in "abcd"), strict=True))
    ledger.note_sources(sources)
    for n, name in enumerate(sources, 1):
        ledger.commit(name, said(START, line(0, 24, str(n)), 10 * n), START + DAY)
    for names in permutations("abce", 4):
        ledger.note_sources(dict(zip(names, sources.values(), strict=True)))
        assert tokens(ledger) == {name: 10 * n for n, name in enumerate(names, 1)}
        bill = {one.collector: int(one.charge.billed_cost) for one in ledger.snapshot().bill}
        assert bill == {name: n for n, name in enumerate(names, 1)}
        assert set(ledger.sources) == set(names)


def test_what_was_cached_under_a_name_is_void_when_the_name_is_another_sources(ledger: Ledger) -> None:
    ledger.note_sources({"x": A, "y": B})
    for name, n in (("x", 10), ("y", 100)):
        ledger.commit(name, said(START, line(0, 24, "5"), n), START + DAY)
    assert ledger.note_sources({"x": B, "y": A}) == {"x": "y", "y": "x"}
    ledger.commit("x", said(START, line(0, 24, "5"), 101), START + DAY)
    assert tokens(ledger) == {"x": 101, "y": 10}


def test_a_name_that_is_taken_leaves_what_was_said_under_it_apart(ledger: Ledger) -> None:
    ledger.note_sources({"x": A, "y": CHECK})
    for name, n in (("x", 10), ("y", 100)):
        ledger.commit(name, said(START, line(0, 24, "5"), n), START + DAY)
    assert ledger.note_sources({"y": A}) == {"x": "y", "y": "y~1"}
    assert (tokens(ledger), ledger.snapshot().checks) == ({"y": 10, "y~1": 100}, {"y~1"})
    assert ledger.note_sources({"y": A, "z": CHECK}) == {"y~1": "z"}
    assert tokens(ledger) == {"y": 10, "z": 100}


def test_a_name_under_which_somebody_spoke_before_sources_were_noted_is_free_too(ledger: Ledger) -> None:
    ledger.commit("y", said(START, line(0, 24, "5"), 100), START + DAY)
    assert ledger.note_sources({"x": A}) == {}
    ledger.commit("x", said(START, line(0, 24, "5"), 10), START + DAY)
    assert ledger.note_sources({"y": A}) == {"x": "y", "y": "y~1"}
    assert tokens(ledger) == {"y": 10, "y~1": 100}


def test_a_name_goes_to_another_kind_without_its_past(ledger: Ledger) -> None:
    """The positions of one kind are no positions of another."""
    ledger.note_sources({"x": A})
    ledger.commit("x", said(START, line(0, 24, "5")), START + DAY)
    assert ledger.note_sources({"x": LOG}) == {"x": "x~1"}
    assert (ledger.cursors("x"), ledger.note_sources({"x": LOG, "y": A})) == ({}, {"x~1": "y"})


def test_a_source_is_known_under_the_name_that_read_it_last(ledger: Ledger) -> None:
    ledger.note_sources({"x": AB})
    ledger.commit("x", said(START, line(0, 24, "5")), START + DAY)
    ledger.note_sources({"x": A})
    assert ledger.sources["x"].reads == {"a", "b"}  # its past is still here
    ledger.note_sources({"x": A, "y": B})
    assert (ledger.sources["x"].reads, ledger.sources["y"].reads) == ({"a"}, {"b"})
    assert ledger.note_sources({"x": A, "z": B}) == {"y": "z"}


def test_a_check_leaves_its_source_to_the_meter_of_it(ledger: Ledger) -> None:
    ledger.note_sources({"x": B, "y": CHECK})
    assert ledger.sources["x"].reads == ledger.sources["y"].reads == {"b"}
    ledger.note_sources({"y": CHECK})
    assert ledger.sources["x"].reads == {"b"}


def test_what_a_source_reads_is_kept(tmp_path: Path) -> None:
    for _ in range(2):
        ledger = Ledger(tmp_path / "ledger.db", START)
        try:
            ledger.note_sources({"x": AB})
            assert ledger.sources == {"x": AB}
        finally:
            ledger.close()


def test_a_note_of_before_says_kind_and_role(tmp_path: Path) -> None:
    """A digest of all settings says nothing of what is read."""
    ledger = Ledger(tmp_path / "ledger.db", START)
    try:
        note = '{"x": ["openai", "check", "0f5e"], "y": ["usage_log", "meter"]}'
        ledger._db.execute("INSERT INTO meta VALUES ('sources', ?)", (note,))
    finally:
        ledger.close()
    ledger = Ledger(tmp_path / "ledger.db", START)
    try:
        assert ledger.sources == {"x": Source("openai", "check"), "y": Source("usage_log", "meter")}
        assert ledger.note_sources({"x": A}) == {}
        assert ledger.sources["x"].reads == {"a"}
    finally:
        ledger.close()
