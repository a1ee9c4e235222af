"""A large installation as values: a snapshot of many self-hosted workloads over 30 days, and what prices it."""

from decimal import Decimal

from collectors.records import Card, Reservation, Window
from exporter.config import Alternative, Config, Workload
from exporter.intervals import Intervals
from exporter.ledger.snapshot import SeriesKey, Snapshot, Stream, UsageSeries
from exporter.prices.book import PriceBook, PriceKey, Rate
from exporter.reconcile.build import Inputs

END = 1_800_000_000 - 1_800_000_000 % 3600
FINE = END - 8 * 86400
START = END - 30 * 86400


def fleet(workloads: int) -> Inputs:
    """Inputs of `workloads` workloads with one engine each: hourly rows for 22 days, 300 s rows for 8."""
    names = [f"workload-{n}" for n in range(workloads)]
    configured = tuple(Workload(n, {"model": n}, alternatives=(Alternative(api=f"acme/{n}"),)) for n in names)
    always = Intervals([(START, END)])
    prices = {"input": Decimal("6E-7"), "cache_read": Decimal("6E-8"), "output": Decimal("2.4E-6")}
    rate = Rate(((0, prices),), origin="benchmark")
    return Inputs(
        snapshot=Snapshot(
            revision=1,
            fine_from=FINE,
            series=tuple(_series(name, index) for index, name in enumerate(names)),
            streams={("engines", name): Stream(START, None, always, always) for name in names},
            reservations=tuple(Reservation(n, n, "h100", Decimal(2), Window(START, END)) for n in names),
        ),
        config=Config(workloads=configured),
        cards={n: Card("gpus", n, "gpu", Decimal("2.49"), "USD", Decimal(2)) for n in names},
        book=PriceBook({PriceKey("acme", name): (rate,) for name in names}),
    )


def _series(name: str, index: int) -> UsageSeries:
    series = UsageSeries(SeriesKey("engines", name, "self_hosted", "vllm", name))
    for start in range(START, FINE, 3600):
        series.append(start, 3600, {"input": 7_000_000 + index, "cache_read": start % 977, "output": 900_000}, 7000)
    for start in range(FINE, END, 300):
        series.append(start, 300, {"input": 600_000 + index, "cache_read": start % 977, "output": 75_000}, 600)
    return series
