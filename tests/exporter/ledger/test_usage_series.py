"""Running totals against plain sums."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.ledger.snapshot import SeriesKey, UsageSeries

KEY = SeriesKey("c", "s", "api", "p", "m")
rows = st.dictionaries(
    st.integers(0, 40),
    st.tuples(
        st.dictionaries(st.sampled_from(["input", "output", "cache_read"]), st.integers(0, 9)), st.integers(0, 3)
    ),
    max_size=20,
)


@given(rows, st.integers(0, 41), st.integers(0, 41), st.integers(0, 41))
def test_any_span_sums_like_the_rows_in_it(found, start: int, end: int, cut: int) -> None:
    series = UsageSeries(KEY, [(at, 300, tokens, requests) for at, (tokens, requests) in sorted(found.items())])
    series.truncate(cut)
    kept = {at: row for at, row in found.items() if at < cut}
    for at in sorted(set(found) - set(kept)):
        series.append(at, 300, *found[at])
    end = max(start, end)
    inside = [found[at] for at in found if start <= at < end]
    for token_type, total in series.tokens(start, end).items():
        assert total == sum(tokens.get(token_type, 0) for tokens, _ in inside)
    assert series.request_count(start, end) == sum(requests for _, requests in inside)


def test_rows_out_of_order_are_refused() -> None:
    series = UsageSeries(KEY, [(300, 300, {"input": 1}, 1)])
    with pytest.raises(ValueError, match="does not follow"):
        series.append(300, 300, {"input": 1}, 1)
