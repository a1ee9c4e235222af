"""Collectors under other names: the same source goes on, what may be the same is told, and nothing is guessed."""

from pathlib import Path

import pytest

from collectors.records import DAY, Batch, Charge, Observed, Usage, Window
from exporter.ledger.sources import Source, renamed, replaced
from exporter.ledger.store import Ledger
from tests.exporter.cluster import line
from tests.exporter.simulated import START

A, B, LOG = Source("openai", "meter", "a"), Source("openai", "check", "b"), Source("usage_log", "check", "c")


@pytest.mark.parametrize(
    ("kept", "configured", "moves", "doubts"),
    [
        ({"x": A}, {"y": A._replace(role="check")}, {"x": "y"}, []),
        ({"x": A}, {"x": A, "y": A}, {}, []),
        ({"x": A}, {"y": B}, {}, [("x", "y")]),
        ({"x": A}, {"y": LOG}, {}, []),
        ({"x": A, "w": A}, {"y": A}, {}, [("w", "y"), ("x", "y")]),
        ({"x": A}, {"y": A, "z": A}, {}, [("x", "y"), ("x", "z")]),
        ({"x": Source("openai", "meter")}, {"y": Source("openai", "meter")}, {}, [("x", "y")]),
        ({}, {"y": A}, {}, []),
    ],
)
def test_a_source_is_the_same_where_that_is_beyond_doubt(
    kept: dict[str, Source], configured: dict[str, Source], moves: dict[str, str], doubts: list[tuple[str, str]]
) -> None:
    assert renamed(kept, configured) == moves
    assert replaced(kept, configured) == doubts


def said(at: int, charge: Charge) -> Batch:
    usage = [Usage(at, "api", "openai", "m", {"input": 10}, 1)]
    window = Window(START, START + DAY)
    return Batch("day", usage=usage, charges=[charge], window=window, observed=[Observed(window)], cursor=str(at))


def test_all_that_a_source_said_goes_on_under_its_new_name(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.db", START)
    try:
        assert ledger.note_sources({"x": A}) == {}
        ledger.commit("x", said(START, line(0, 24, "5")), START + DAY)
        assert ledger.note_sources({"y": A}) == {"x": "y"}
        found = ledger.snapshot()
        assert {one.key.collector for one in found.series} == {one.collector for one in found.bill} == {"y"}
        assert (set(found.streams), ledger.cursors("y"), ledger.cursors("x")) == ({("y", "")}, {"day": str(START)}, {})
        ledger.commit("y", said(START + 300, line(0, 24, "6")), START + DAY)
        (series,) = ledger.snapshot().series
        assert (series.tokens(START, START + DAY), len(ledger.snapshot().bill)) == ({"input": 10}, 1)
    finally:
        ledger.close()


def test_a_name_under_which_something_was_said_takes_nothing_over(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.db", START)
    try:
        ledger.commit("y", said(START, line(0, 24, "5")), START + DAY)
        assert ledger.note_sources({"x": A}) == ledger.note_sources({"y": A}) == {}
        assert set(ledger.sources) == {"x", "y"}
    finally:
        ledger.close()
