"""What `explain` says of API tokens: list price, what the provider's bill made of it, and nothing that is not so."""

from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from collectors.records import DAY, HOUR
from exporter.ledger.snapshot import SeriesKey, UsageSeries
from exporter.prices.book import Rate
from exporter.publish.explain import explain
from exporter.reading import read
from exporter.reconcile.build import views
from tests.exporter.publish import chat
from tests.exporter.publish.chat import END, NOW
from tests.exporter.publish.test_explain import cells, flat, snippet
from tests.exporter.simulated import START, Simulation
from tests.exporter.test_pipeline_api_bill import cost, provider, tokens


def explained(sim: Simulation, workload: str = "bot") -> str:
    now = int(sim.now)
    found = read(sim.exporter.config, now, sim.exporter.pricer, workload)
    return explain(found.inputs, found.views, found.states, workload, now, end=found.end)


def priced(text: str) -> list[list[str]]:
    return [row for row in cells(text, "EFFECTIVE COST") if row[-1].startswith(("input", "output"))]


def test_a_billed_price_is_the_list_price_times_what_the_bill_made_of_it(tmp_path: Path) -> None:
    metered = [tokens("bot", 3), tokens("search", 1), tokens("bot", 2, START + DAY + HOUR)]
    used = [tokens("", 4), tokens("", 2, START + DAY + HOUR)]
    with provider(tmp_path, metered, used, [cost("3.20")]) as sim:
        text = explained(sim)
    assert priced(text) == [
        ["3,000,000", "1", "x 0.8", "2.400", "[1]", "input"],
        ["2,000,000", "1", "2.000", "[2]", "input"],
    ]
    said = flat(text)
    assert "[1] test, as openai/gpt-x; list price x 0.8 as billed by account for 2027-01-15." in said
    assert "[2] test, as openai/gpt-x." in said


def test_a_factor_that_varies_shows_its_mean_and_its_range(tmp_path: Path) -> None:
    metered = [tokens("bot", 3), tokens("bot", 1, START + DAY + HOUR)]
    bill = [cost("2.40"), cost("0.83", day=START + DAY)]
    with provider(tmp_path, metered, [tokens("", 3), tokens("", 1, START + DAY + HOUR)], bill) as sim:
        text = explained(sim)
    assert snippet("list price x 0.8..0.83") in text
    ((count, price, factor, usd, *_),) = priced(text)
    assert factor == "x 0.8075"
    assert Decimal(count.replace(",", "")) / 10**6 * Decimal(price) * Decimal(factor[2:]) == Decimal(usd)
    assert "list price x 0.8..0.83 (by day) as billed by account for 2027-01-15 to 2027-01-16." in flat(text)


def test_nothing_is_said_of_bills_where_there_is_none(tmp_path: Path) -> None:
    with provider(tmp_path, [tokens("bot", 3)], [], []) as sim:
        text = explained(sim)
    assert priced(text) == [["3,000,000", "1", "3.000", "[1]", "input"]]
    assert "billed" not in text


@pytest.mark.parametrize(
    ("edges", "said"),
    [
        ((), "input"),  # one price for all lengths, though the log knew the length
        ((32_000,), "input, prompts above 32,000 tokens"),  # the edge of this price, not the band of the log
        ((200_000,), "input"),
    ],
)
def test_a_prompt_length_is_named_only_where_the_price_depends_on_it(edges: tuple[int, ...], said: str) -> None:
    given = chat.inputs()
    (first,) = given.book.rates[chat.ACME]
    prices = first.bands[0][1]
    rate = Rate(((0, prices), *((edge, prices) for edge in edges)), origin="contract")
    key = SeriesKey(*chat.GATEWAY, "api", "acme", "writer-7b", band=128_000)
    long = UsageSeries(key, [(END - HOUR, 300, {"input": 1000, "output": 100}, 1)])
    given = replace(
        given, snapshot=replace(given.snapshot, series=(long,)), book=given.book.extended({chat.ACME: (rate,)})
    )
    text = explain(given, views(given, END), {}, "mail", NOW, end=END)
    assert {row[-1] for row in priced(text) if row[-1].startswith("input")} == {said}
