"""Provider bills that are easy to lay on the wrong tokens: several accounts, lines and tokens that name nothing."""

from pathlib import Path

import pytest

from collectors.records import DAY, Batch, Observed, Usage, Window
from collectors.usage.anthropic import AnthropicSettings
from collectors.usage.log import UsageLogSettings
from collectors.usage.openai import OpenAISettings
from exporter.config import Config, Storage, Workload
from exporter.prices.book import PriceBook, PriceKey, Rate
from tests.exporter.simulated import START, Simulation
from tests.exporter.test_pipeline_api_bill import BOOK, MILLION, cost, evidence, parts, provider, tokens, usd, waterfall

WHOLE = [Observed(Window(START, START + 2 * DAY + 300))]
TWO_DAYS = Window(START, START + 2 * DAY)


def accounts(directory: Path, *settings: object) -> Simulation:
    key = directory / "key"
    key.write_text("sk-admin-test")
    log = UsageLogSettings(name="gateway", kind="usage_log", path=str(directory / "*.jsonl"), serves="api")
    collectors = (log, *(one(str(key)) for one in settings))  # type: ignore[operator]
    workloads = (Workload("bot", {"team": "bot"}),)
    config = Config(collectors=collectors, workloads=workloads, storage=Storage(path=str(directory / "ledger.db")))
    sim = Simulation(config, prices=BOOK)
    sim.now = float(START + 2 * DAY + 600)
    return sim


def openai(name: str) -> object:
    return lambda key: OpenAISettings(name=name, kind="openai", admin_key_file=key, role="check")


def anthropic(name: str) -> object:
    return lambda key: AnthropicSettings(name=name, kind="anthropic", admin_key_file=key, role="check")


def test_another_providers_usage_is_not_this_ones(tmp_path: Path) -> None:
    with accounts(tmp_path, openai("account"), anthropic("other")) as sim:
        sim.say("gateway", Batch("log", usage=[tokens("bot", 3)], observed=WHOLE, cursor="1"))
        sim.say("other", Batch("usage", window=TWO_DAYS, observed=WHOLE))
        sim.say("account", Batch("cost", charges=[cost("30")], window=TWO_DAYS))
        sim.tick()
        assert usd(sim, "bot") == pytest.approx(3)
        assert parts(sim) == {"unallocated": 30}


def test_two_accounts_of_one_provider_share_the_tokens_of_a_gateway(tmp_path: Path) -> None:
    with accounts(tmp_path, openai("account"), openai("second")) as sim:
        sim.say("gateway", Batch("log", usage=[tokens("bot", 4)], observed=WHOLE, cursor="1"))
        for name, used, billed in (("account", 3, "1.50"), ("second", 1, "0.50")):
            sim.say(name, Batch("usage", usage=[tokens("", used)], window=TWO_DAYS, observed=WHOLE))
            sim.say(name, Batch("cost", charges=[cost(billed)], window=TWO_DAYS))
        sim.tick()
        assert usd(sim, "bot") == pytest.approx(2)


def test_the_waterfalls_of_two_accounts_share_what_was_metered(tmp_path: Path) -> None:
    with accounts(tmp_path, openai("account"), openai("second")) as sim:
        logged = [tokens("bot", 4), tokens("bot", 2, model="gpt-y")]
        sim.say("gateway", Batch("log", usage=logged, observed=WHOLE, cursor="1"))
        bills = {"account": (3, "2.50"), "second": (1, "1.25")}
        for name, (used, billed) in bills.items():
            sim.say(name, Batch("usage", usage=[tokens("", used)], window=TWO_DAYS, observed=WHOLE))
            sim.say(name, Batch("cost", charges=[cost(billed)], window=TWO_DAYS))
        sim.tick()
        first, second = (waterfall(sim, collector=name) for name in bills)
        assert first == pytest.approx({"metered_at_list": 3 + 1, "duplicates": -1, "price_difference": -0.5})
        assert second == pytest.approx({"metered_at_list": 1 + 1, "duplicates": -1, "price_difference": 0.25})


def test_of_accounts_that_are_not_all_read_none_has_the_tokens_of_a_gateway(tmp_path: Path) -> None:
    with accounts(tmp_path, openai("account"), openai("second")) as sim:
        sim.say("gateway", Batch("log", usage=[tokens("bot", 4)], observed=WHOLE, cursor="1"))
        sim.say("account", Batch("usage", usage=[tokens("", 3)], window=TWO_DAYS, observed=WHOLE))
        sim.say("account", Batch("cost", charges=[cost("2.50")], window=TWO_DAYS))
        sim.tick()
        assert waterfall(sim) == {"unexplained": 2.5}


def test_an_account_whose_bill_is_still_to_come_leaves_the_list_price(tmp_path: Path) -> None:
    with accounts(tmp_path, openai("account"), openai("second")) as sim:
        sim.say("gateway", Batch("log", usage=[tokens("bot", 4)], observed=WHOLE, cursor="1"))
        for name, used in (("account", 3), ("second", 1)):
            sim.say(name, Batch("usage", usage=[tokens("", used)], window=TWO_DAYS, observed=WHOLE))
        sim.say("account", Batch("cost", charges=[cost("1.50")], window=TWO_DAYS))
        sim.tick()
        assert usd(sim, "bot") == pytest.approx(4)


def test_a_line_without_a_model_prices_no_model_beside_lines_with_one(tmp_path: Path) -> None:
    metered = [tokens("bot", 3), tokens("search", 5, model="gpt-y")]
    bill = [cost("3"), cost("0.10", None)]
    with provider(tmp_path, metered, metered, bill) as sim:
        assert usd(sim, "search") == pytest.approx(5)
        assert parts(sim) == pytest.approx({"allocated": 3, "unallocated": 0.1})


def test_tokens_without_a_list_price_do_not_make_the_others_dearer(tmp_path: Path) -> None:
    audio = Usage(START, "api", "openai", "gpt-x", {"audio_input": MILLION}, 1)
    with provider(tmp_path, [tokens("bot", 3)], [tokens("", 3), audio], [cost("103")]) as sim:
        assert usd(sim, "bot") == pytest.approx(3)
        assert parts(sim) == {"unallocated": 103}


@pytest.mark.parametrize("logged", ["gpt-x", "gpt-x-latest", "gpt-x-0613", "gpt-x-20260101"])
def test_a_bill_finds_the_tokens_whatever_the_gateway_calls_the_model(tmp_path: Path, logged: str) -> None:
    book = dict(BOOK.rates)
    for key in list(book):
        book[type(key)(key.provider, logged)] = book[key]
    with accounts(tmp_path, openai("account")) as sim:
        sim.exporter.pricer.book = type(BOOK)(book)
        sim.say("gateway", Batch("log", usage=[tokens("bot", 4, model=logged)], observed=WHOLE, cursor="1"))
        sim.say("account", Batch("usage", usage=[tokens("", 4)], window=TWO_DAYS, observed=WHOLE))
        sim.say("account", Batch("cost", charges=[cost("2")], window=TWO_DAYS))
        sim.tick()
        assert usd(sim, "bot") == pytest.approx(2)
        assert evidence(sim, "bot") == {"billed": 1, "list": 0}


@pytest.mark.parametrize(("logged", "paid"), [(4, 4), (3, 3)])
def test_an_alias_of_another_list_price_costs_what_was_billed_for_its_tokens(
    tmp_path: Path, logged: int, paid: float
) -> None:
    """The gateway logs an alias that is listed at half the price of the snapshot that the provider bills."""
    half = {kind: price / 2 for kind, price in BOOK.rates[PriceKey("openai", "gpt-x")][0].prices(0).items()}
    with accounts(tmp_path, openai("account")) as sim:
        sim.exporter.pricer.book = PriceBook({**BOOK.rates, PriceKey("openai", "gpt-x"): (Rate(((0, half),)),)})
        sim.say("gateway", Batch("log", usage=[tokens("bot", logged)], observed=WHOLE, cursor="1"))
        used = [tokens("", 4, model="gpt-x-2026-01-01")]
        sim.say("account", Batch("usage", usage=used, window=TWO_DAYS, observed=WHOLE))
        sim.say("account", Batch("cost", charges=[cost("4")], window=TWO_DAYS))
        sim.tick()
        assert usd(sim, "bot") == pytest.approx(paid)
        assert parts(sim) == {part: value for part, value in (("allocated", paid), ("unallocated", 4 - paid)) if value}
        missing = {"missing_usage": 4 - paid} if logged < 4 else {}
        assert waterfall(sim) == pytest.approx({"metered_at_list": paid, **missing})
