"""Lines decoded with what was learned from the lines before are the lines decoded without."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.usage import vocabulary
from collectors.usage.aggregate import LineReader, raw_labels
from collectors.usage.jobs import Job
from collectors.usage.llmcost import FastLine
from collectors.usage.vocabulary import KnownLabels, Vocabulary
from tests.collectors.usage.log_follower import EDGES, NOW

TEXTS = st.sampled_from(["a", "b", 'q"\\', "é\n", "\u2028", "", "c" * 300])
NAMES = st.sampled_from(["team", "a-b", "x y", 'bad"name', "", "é"])
VALUES = st.one_of(TEXTS, TEXTS, TEXTS, st.none(), st.integers(0, 3), st.booleans(), st.just(1.5), st.just([1]))
LABELS = st.one_of(st.dictionaries(NAMES, VALUES, max_size=3), st.dictionaries(st.just("team"), TEXTS), st.none())
ROWS = st.fixed_dictionaries(
    {"ts": st.just(NOW), "model": TEXTS, "tokens": st.just({"input": 1})},
    optional={"provider": TEXTS | st.none(), "service_tier": TEXTS, "region": TEXTS, "labels": LABELS},
)
REPEATED_KEYS = st.sampled_from(
    [
        b'{"ts":1,"model":"a","model":"b","tokens":{"input":1}}',
        b'{"ts":1,"model":"a","tokens":{"input":1},"labels":{"team":"a","team":"z"}}',
        b'{"ts":1,"model":"\\u0061","tokens":{"input":1},"labels":{"te\\u0061m":"\\u0061"}}',
        b'{"ts":1,"model":"a","tokens":{"input":1e3,"output":2.0},"labels":[]}',
    ]
)
LINES = st.one_of(ROWS.map(lambda row: json.dumps(row).encode()), REPEATED_KEYS)
BLOCKS = st.lists(st.lists(LINES, min_size=1, max_size=6).map(lambda lines: b"\n".join(lines) + b"\n"), max_size=6)


def seen_through(row: Any) -> tuple[Any, ...]:
    labels = row.labels
    if not isinstance(labels, KnownLabels):
        labels = raw_labels(b"null" if labels is None else bytes(labels))
    else:
        labels = labels.labels()
    return row.ts, row.model, row.provider, row.service_tier, row.region, row.requests, row.tokens, labels


@settings(max_examples=300)
@given(BLOCKS)
def test_what_was_learned_changes_nothing(blocks: list[bytes]) -> None:
    vocabulary, plain = Vocabulary(with_id=False), msgspec.json.Decoder(FastLine)
    for block in blocks:
        try:
            expected = [seen_through(row) for row in plain.decode_lines(block)]
        except msgspec.DecodeError:
            with pytest.raises(msgspec.DecodeError):
                vocabulary.rows(block)
            continue
        rows = vocabulary.rows(block)
        assert [seen_through(row) for row in rows] == expected
        assert len({row.labels for row in rows}) <= len(rows)


def test_more_texts_than_are_worth_learning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vocabulary, "MAX_TEXTS", 3)
    reader = LineReader(Job("auto", "llmcost", NOW, band_edges=EDGES))
    for block in range(40):
        rows = [
            {"ts": NOW, "model": f"m{block % 5}{i % 2}", "tokens": {"input": 1}, "labels": {"team": f"t{block}{i}"}}
            for i in range(4)
        ]
        reader.read("".join(json.dumps(row) + "\n" for row in rows).encode(), 1, 4)
    sums = reader.result().sums
    assert len(sums) == 160 and sum(requests for _, requests, _ in sums) == 160
    assert {key[2] for key, _, _ in sums} == {f"m{n}{i}" for n in range(5) for i in range(2)}
