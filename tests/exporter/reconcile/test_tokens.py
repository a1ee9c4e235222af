"""Pricing tokens at dated prices: each row at its own time and band; unknown stays unknown."""

from decimal import Decimal

from exporter.intervals import Intervals
from exporter.ledger.snapshot import SeriesKey, UsageSeries
from exporter.prices.book import PriceBook, PriceKey, Rate
from exporter.reconcile.tokens import price_tokens, sum_tokens

KEY = PriceKey("p", "m")
ALL = Intervals([(0, 3600)])


def series(rows: list[tuple[int, dict[str, int]]], band: int = 0, model: str = "m") -> UsageSeries:
    key = SeriesKey("c", "s", "api", "p", model, band=band)
    return UsageSeries(key, [(at, 300, tokens, 1) for at, tokens in rows])


def book(*rates: Rate, key: PriceKey = KEY) -> PriceBook:
    return PriceBook({key: rates})


def rate(start: int | None = None, end: int | None = None, origin: str = "genai-prices", **usd: str) -> Rate:
    return Rate(((0, {t: Decimal(v) for t, v in usd.items()}),), start, end, origin=origin)


def test_each_row_is_priced_at_the_price_of_its_time() -> None:
    prices = book(rate(None, 600, input="1"), rate(600, None, input="10"))
    priced = price_tokens([series([(300, {"input": 2}), (600, {"input": 3})])], ALL, prices)
    assert priced.usd == 2 * 1 + 3 * 10


def test_a_time_of_day_price_holds_only_then() -> None:
    cheap = Rate(((0, {"input": Decimal(1)}),), day=(0, 600))
    priced = price_tokens([series([(300, {"input": 2}), (600, {"input": 3})])], ALL, book(cheap, rate(input="10")))
    assert priced.usd == 2 * 1 + 3 * 10


def test_the_band_prices_the_whole_request_and_falls_back_to_the_lowest() -> None:
    banded = Rate(((0, {"input": Decimal(1), "output": Decimal(2)}), (200, {"input": Decimal(5)})))
    priced = price_tokens([series([(0, {"input": 1, "output": 1})], band=200)], ALL, book(banded))
    assert priced.usd == 5 + 2


def test_unknown_models_and_types_are_counted_never_free() -> None:
    rows = [series([(0, {"input": 4, "cache_read": 6})]), series([(0, {"input": 9})], model="new")]
    priced = price_tokens(rows, ALL, book(rate(input="1")))
    assert priced.usd == 4
    assert priced.unpriced == {"cache_read": 6, "input": 9}
    assert price_tokens(rows[1:], ALL, book(rate(input="1"))).usd is None


def test_an_alternative_without_cached_prices_bills_cached_tokens_as_prompt() -> None:
    rows = [series([(0, {"input": 4, "cache_read": 6, "output": 1})])]
    plain = book(rate(input="1", output="3"))
    assert price_tokens(rows, ALL, plain, KEY, Decimal("0.1")).usd == Decimal("0.9") * (4 + 6 + 3)
    cached = book(rate(input="1", cache_read="0.1", output="3"))
    assert price_tokens(rows, ALL, cached, KEY).usd == Decimal("7.6")


def test_overrides_are_configured_evidence_and_the_catalogue_is_list() -> None:
    own = book(rate(None, 300, origin="override: contract", input="1"), rate(300, None, input="1"))
    priced = price_tokens([series([(0, {"input": 1}), (300, {"input": 2})])], ALL, own)
    assert priced.by_evidence == {"configured": Decimal(1), "list": Decimal(2)}


def test_only_covered_rows_count() -> None:
    rows = [series([(0, {"input": 1}), (300, {"input": 2}), (600, {"input": 4})])]
    covered = Intervals([(0, 300), (600, 900)])
    assert sum_tokens(rows, covered).by_type == {"input": 5}
    assert sum_tokens(rows, covered).requests == 2
    assert price_tokens(rows, covered, book(rate(input="1"))).usd == 5
