"""The windows of a workload, worked out together, against adding up its rows one by one."""

from dataclasses import replace
from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.records import HOUR, SLOT
from exporter.breakeven.capacity import HORIZON, Saturation
from exporter.intervals import Intervals
from exporter.ledger.snapshot import SeriesKey, UsageSeries
from exporter.prices.book import PriceBook, PriceKey, Rate
from exporter.reconcile.alternatives import ApiAlternative
from exporter.reconcile.evidence import Costs
from exporter.reconcile.rents import Rent
from exporter.reconcile.workload import WorkloadView
from tests.exporter.breakeven.test_capacity import NOW, load

KEY, ROWS = PriceKey("acme", "m"), 48
END = ROWS * SLOT
DISCOUNT = Decimal("0.1")

slots = st.integers(0, ROWS)
rows = st.lists(st.tuples(st.integers(0, 9999), st.integers(0, 99)), min_size=ROWS, max_size=ROWS)
gaps = st.lists(st.tuples(slots, slots), max_size=4)


@st.composite
def books(draw: st.DrawFn) -> PriceBook:
    """One price at all times, or another one from some slot on; or none that is known."""
    prices = [{"input": Decimal(draw(st.integers(1, 99))) / 1_000_000, "output": Decimal("0.00001")} for _ in range(2)]
    change = draw(st.one_of(st.none(), slots.map(lambda slot: slot * SLOT)))
    always = Rate(((0, prices[0]),), per_request=Decimal("0.001"))
    dated = (replace(always, end=change), Rate(((0, prices[1]),), start=change))
    return PriceBook({KEY: () if draw(st.integers(0, 9)) == 0 else (always,) if change is None else dated})


def view(series: list[list[tuple[int, int]]], missing: list[tuple[int, int]], book: PriceBook) -> WorkloadView:
    everything = Intervals([(0, END)])
    counted = [
        UsageSeries(
            SeriesKey("c", f"s{at}", "self_hosted", "vllm", "m"),
            [(slot * SLOT, SLOT, {"input": n, "output": 3}, requests) for slot, (n, requests) in enumerate(one)],
        )
        for at, one in enumerate(series)
    ]
    rent = Rent("gpu", "configured", Decimal("2.49"), HOUR, everything)
    return WorkloadView(
        name="w",
        path="self_hosted",
        series=counted,
        sources=frozenset(one.key.source for one in counted),
        first=0,
        covered=everything - Intervals((a * SLOT, b * SLOT) for a, b in missing),
        costs=Costs((rent,), (), everything),
        alternatives=(ApiAlternative("api:acme/m", KEY, DISCOUNT),),
        book=book,
        max_unpriced=Decimal("0.01"),
    )


@given(st.lists(rows, min_size=1, max_size=2), gaps, books(), st.lists(slots, min_size=1, max_size=4), slots)
@settings(max_examples=80, deadline=None)
def test_windows_are_the_sums_of_their_rows(
    series: list[list[tuple[int, int]]],
    missing: list[tuple[int, int]],
    book: PriceBook,
    starts: list[int],
    last: int,
) -> None:
    workload, end = view(series, missing, book), last * SLOT
    found = workload.windows([start * SLOT for start in starts], end)
    for start in starts:
        covered = [at for at in range(start * SLOT, end, SLOT) if at in workload.covered]
        counted = [(at, one[at // SLOT]) for one in series for at in covered]
        figures = found[start * SLOT]
        assert figures == workload.window(start * SLOT, end)
        assert figures.covered_seconds == len(covered) * SLOT
        assert sum(figures.tokens.values()) == sum(n + 3 for _, (n, _) in counted)
        assert figures.requests == sum(requests for _, (_, requests) in counted)
        if covered:
            assert figures.cost_usd == Decimal("2.49") * len(covered) * SLOT / HOUR
        assert figures.alternatives["api:acme/m"].cost_usd == expected(book, counted, bool(covered))


def expected(book: PriceBook, counted: list[tuple[int, tuple[int, int]]], covered: bool) -> Decimal | None:
    """Every row at the price of its own time."""
    if not covered or not book.rates[KEY]:
        return None
    usd = Decimal(0)
    for at, (tokens, requests) in counted:
        rate = book.rate(KEY, at)
        assert rate
        prices = rate.prices(0)
        usd += tokens * prices["input"] + 3 * prices["output"] + requests * rate.per_request
    return usd * (1 - DISCOUNT)


@given(
    st.lists(st.tuples(st.integers(1, 2200), st.integers(0, 300), st.integers(0, 90_000)), max_size=30),
    st.lists(st.integers(-HORIZON // SLOT, HORIZON // SLOT), min_size=1, max_size=5),
)
def test_a_capacity_that_is_remembered_is_the_one_that_is_learned_anew(
    slots_before: list[tuple[int, int, int]], shifts: list[int]
) -> None:
    loads = [load(*one) for one in slots_before]
    kept = Saturation(loads)
    for shift in (*shifts, *shifts[::-1]):
        assert kept.capacity(NOW + shift * SLOT) == Saturation(loads).capacity(NOW + shift * SLOT)
