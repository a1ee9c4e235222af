"""A window of a workload: cost and tokens of the same time, whatever rows the ledger keeps."""

from decimal import Decimal

import pytest

from collectors.billing.rate_card import Rate, RateCardSettings, cards
from collectors.records import DAY, HOUR, Reservation, Window
from collectors.settings import Instant, Money
from exporter.config import Alternative, Config, Workload
from exporter.intervals import Intervals
from exporter.ledger.snapshot import SeriesKey, Snapshot, Stream, UsageSeries
from exporter.prices.book import PriceBook, PriceKey
from exporter.prices.book import Rate as Price
from exporter.reconcile.build import Inputs, views
from tests.exporter.simulated import START

RENT = RateCardSettings(
    "gpus",
    "rate_card",
    rates=(Rate(workload="chat", gpu="g", count=Money("1"), usd_per_hour=Money("10"), from_=Instant(START)),),
)
END = START + 2 * DAY


@pytest.mark.parametrize(("start", "end"), [(0, 24), (0, 24.5), (24, 24.5), (0.5, 24), (24.5, 30.25)])
def test_of_rows_of_an_hour_a_window_has_all_or_nothing(start: float, end: float) -> None:
    """An hour costs USD 10 here, and its tokens USD 10 at the API."""
    usage = UsageSeries(SeriesKey("engine", "", "self_hosted", "vllm", "tiny"))
    for at in range(START, END, HOUR):
        usage.append(at, HOUR, {"input": 10**6}, 1)
    seen = Intervals([(START, END)])
    held = tuple(Reservation(key, "chat", "g", Decimal(1), Window(START, END)) for key in [*cards(RENT)][:1])
    snapshot = Snapshot(1, END, (usage,), {("engine", ""): Stream(START, None, seen, seen)}, held)
    workload = Workload("chat", {"model": "tiny"}, alternatives=(Alternative(api="acme/tiny"),))
    price = Price(((0, {"input": Decimal("0.00001")}),))
    book = PriceBook({PriceKey("acme", "tiny"): (price,)})
    inputs = Inputs(snapshot, Config(collectors=(RENT,), workloads=(workload,)), cards(RENT), book)
    (view,) = views(inputs, END)
    figures = view.window(START + int(start * HOUR), START + int(end * HOUR))
    assert figures.alternatives["api:acme/tiny"].ratio == 1
    assert figures.coverage_ratio == 1
    assert sum(figures.tokens.values()) * 3600 == figures.covered_seconds * 10**6
