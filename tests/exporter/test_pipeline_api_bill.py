"""A provider's bill, its own usage and a gateway's log of the same traffic: what the tokens really cost, and why."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest

from collectors.records import DAY, HOUR, Batch, Charge, Observed, Usage, Window
from collectors.usage.log import UsageLogSettings
from collectors.usage.openai import OpenAISettings
from exporter.config import Config, Storage, Workload
from exporter.prices.book import PriceBook, PriceKey, Rate
from tests.exporter.simulated import START, Simulation

MILLION = 1_000_000
PRICE = {"input": Decimal("0.000001"), "output": Decimal("0.000004")}  # USD 1 and 4 per million
BOOK = PriceBook(
    {
        PriceKey("openai", model): (Rate(((0, PRICE),), origin="test"),)
        for model in ("gpt-x", "gpt-x-2026-01-01", "gpt-y")
    }
)


def tokens(team: str, input_millions: object, slot: int = START + HOUR, model: str = "gpt-x") -> Usage:
    count = int(Decimal(str(input_millions)) * MILLION)
    return Usage(slot, "api", "openai", model, {"input": count, "output": 0}, 10, labels=(("team", team),))


def cost(usd: str, model: str | None = "gpt-x-2026-01-01", day: int = START, **more: object) -> Charge:
    tags = (("model", model), ("token_type", "input")) if model else ()
    fields: dict[str, object] = {
        "window": Window(day, day + DAY),
        "category": "Usage",
        "currency": "USD",
        "billed_cost": Decimal(usd),
        "effective_cost": Decimal(usd),
        "component": "tokens",
        "provider": "openai",
        "tags": tags,
    }
    return Charge(**{**fields, **more})  # type: ignore[arg-type]


@contextmanager
def provider(
    directory: Path, metered: list[Usage], used: list[Usage], bill: list[Charge], days: int = 2, role: str = "check"
) -> Iterator[Simulation]:
    """Two days have passed: a gateway's log, the provider's own usage and its bill are there."""
    key = directory / "key"
    key.write_text("sk-admin-test")
    log = UsageLogSettings(name="gateway", kind="usage_log", path=str(directory / "*.jsonl"), serves="api")
    api = OpenAISettings(name="account", kind="openai", admin_key_file=str(key), role=role)  # type: ignore[arg-type]
    workloads = (Workload("bot", {"team": "bot"}), Workload("search", {"team": "search"}))
    collectors = (log, api) if metered else (api,)
    config = Config(collectors=collectors, workloads=workloads, storage=Storage(path=str(directory / "ledger.db")))
    with Simulation(config, prices=BOOK) as sim:
        sim.now = float(START + days * DAY + 600)
        whole = [Observed(Window(START, START + days * DAY + 300))]
        if metered:
            sim.say("gateway", Batch("log", usage=metered, observed=whole, cursor="1"))
        if used:
            sim.say("account", Batch("usage", usage=used, window=Window(START, START + days * DAY), observed=whole))
        sim.say("account", Batch("cost", charges=bill, window=Window(START, START + days * DAY)))
        sim.tick()
        yield sim


def usd(sim: Simulation, workload: str, window: str = "7d") -> float | None:
    return sim.value("llmcost_effective_cost_usd", workload=workload, path="api", component="tokens", window=window)


def evidence(sim: Simulation, workload: str) -> Mapping[str, float | None]:
    names = ("list", "billed")
    return {e: sim.value("llmcost_evidence_ratio", workload=workload, path="api", evidence=e) for e in names}


def waterfall(sim: Simulation, window: str = "7d", collector: str = "account") -> dict[str, float]:
    parts = ("metered_at_list", "price_difference", "missing_usage", "duplicates", "non_token_lines", "unexplained")
    found = {part: sim.value("llmcost_waterfall_usd", collector=collector, part=part, window=window) for part in parts}
    return {part: value for part, value in found.items() if value}


def parts(sim: Simulation) -> dict[str, float]:
    names = ("allocated", "unallocated", "adjustment")
    found = {
        part: sim.value("llmcost_bill_part_usd", collector="account", basis="effective", part=part, window="7d")
        for part in names
    }
    return {part: value for part, value in found.items() if value}


def test_a_closed_day_costs_what_the_provider_billed_shared_out_by_list_value(tmp_path: Path) -> None:
    metered = [tokens("bot", 3), tokens("search", 1), tokens("bot", 2, START + DAY + HOUR)]
    used = [tokens("", 4), tokens("", 2, START + DAY + HOUR)]
    with provider(tmp_path, metered, used, [cost("3.20")]) as sim:  # 20 % off on the first day; no bill for the second
        assert usd(sim, "bot") == pytest.approx(2.40 + 2)
        assert usd(sim, "search") == pytest.approx(0.80)
        assert evidence(sim, "search") == {"billed": 1, "list": 0}
        assert parts(sim) == {"allocated": 3.2}


def test_what_only_the_provider_saw_is_nobodys(tmp_path: Path) -> None:
    with provider(tmp_path, [tokens("bot", 3)], [tokens("", 4)], [cost("4")]) as sim:
        assert usd(sim, "bot") == pytest.approx(3)
        assert parts(sim) == {"allocated": 3, "unallocated": 1}


def test_a_meter_that_counted_twice_is_scaled_to_the_bill(tmp_path: Path) -> None:
    with provider(tmp_path, [tokens("bot", 8)], [tokens("", 4)], [cost("4")]) as sim:
        assert usd(sim, "bot") == pytest.approx(4)
        assert parts(sim) == {"allocated": 4}


def test_a_day_that_is_not_over_or_that_the_provider_calls_an_estimate_keeps_the_list_price(tmp_path: Path) -> None:
    metered = [tokens("bot", 3), tokens("bot", 1, START + 2 * DAY)]
    bill = [cost("1", estimated=True), cost("0.10", day=START + 2 * DAY)]
    with provider(tmp_path, metered, [tokens("", 3)], bill) as sim:
        assert usd(sim, "bot") == pytest.approx(4)
        assert evidence(sim, "bot") == {"list": 1, "billed": 0}


def test_without_the_providers_own_usage_its_bill_prices_nobodys_tokens(tmp_path: Path) -> None:
    with provider(tmp_path, [tokens("bot", 3)], [], [cost("30")]) as sim:
        assert usd(sim, "bot") == pytest.approx(3)
        assert parts(sim) == {"unallocated": 30}


def test_the_provider_alone_is_meter_and_bill(tmp_path: Path) -> None:
    with provider(
        tmp_path, [], [tokens("bot", 4)], [cost("3"), cost("1", None, component="other")], role="meter"
    ) as sim:
        assert usd(sim, "bot") == pytest.approx(3)
        assert parts(sim) == {"allocated": 3, "unallocated": 1}
        assert waterfall(sim) == pytest.approx({"metered_at_list": 4, "price_difference": -1, "non_token_lines": 1})


def test_the_steps_from_list_price_to_the_bill_sum_to_it(tmp_path: Path) -> None:
    metered = [tokens("bot", 3), tokens("bot", 5, model="gpt-y")]
    used = [tokens("", 4), tokens("", 4, model="gpt-y")]
    bill = [cost("3.60"), cost("4", "gpt-y"), cost("0.25", None, component="other"), cost("0.70", "gpt-new")]
    with provider(tmp_path, metered, used, bill) as sim:
        steps = waterfall(sim)
        assert steps == pytest.approx(
            {
                "metered_at_list": 8,
                "missing_usage": 1,
                "duplicates": -1,
                "price_difference": -0.4,
                "non_token_lines": 0.25,
                "unexplained": 0.7,
            }
        )
        assert sum(steps.values()) == pytest.approx(8.55)
        assert sim.value("llmcost_billed_usd", collector="account", window="7d") == pytest.approx(8.55)


def steps_by_hand(metered: list[Usage], used: list[Usage], bill: list[Charge]) -> dict[str, Fraction]:
    """The steps of one closed day, from the records alone: what each model was metered at, used and billed."""

    def worth(usage: list[Usage], model: str) -> Fraction:
        of_model = [one.tokens for one in usage if one.model == model]
        return sum(
            (Fraction(PRICE[kind]) * count for tokens in of_model for kind, count in tokens.items()), Fraction(0)
        )

    def billed(model: str | None) -> Fraction:
        named = {None: (None,), "gpt-x": ("gpt-x", "gpt-x-2026-01-01")}.get(model, (model,))
        lines = [one for one in bill if dict(one.tags).get("model") in named]
        return sum((Fraction(one.billed_cost) for one in lines), Fraction(0))

    models = {one.model for one in (*metered, *used)}
    return {
        "metered_at_list": sum((worth(metered, model) for model in models), Fraction(0)),
        "missing_usage": sum((max(Fraction(0), worth(used, m) - worth(metered, m)) for m in models), Fraction(0)),
        "duplicates": -sum((max(Fraction(0), worth(metered, m) - worth(used, m)) for m in models), Fraction(0)),
        "price_difference": sum((billed(m) - worth(used, m) for m in models), Fraction(0)),
        "non_token_lines": billed(None),
        "unexplained": billed("gpt-new"),
    }


def test_the_steps_are_those_of_the_records(tmp_path: Path) -> None:
    """Odd amounts, teams and token types, a model of two names and one of no price: by hand, and on the page."""
    slot, mixed = START + HOUR, {"input": 1_234_567, "output": 89_123}
    metered = [
        *(tokens("bot", "3.141593"), tokens("search", "0.271829"), tokens("bot", "5.000001", model="gpt-y")),
        Usage(slot + 300, "api", "openai", "gpt-x", mixed, 3, labels=(("team", "search"),)),
    ]
    used = [
        *(tokens("", "4.444444"), tokens("", "4.2", model="gpt-y")),
        Usage(slot, "api", "openai", "gpt-x", {"input": 0, "output": 1_000_003}, 9),
    ]
    bill = [
        *(cost("3.600000001"), cost("4.017", "gpt-y"), cost("3.9", "gpt-x")),
        *(cost("0.25", None, component="other"), cost("-0.013", None, component="other"), cost("0.70", "gpt-new")),
    ]
    expected = steps_by_hand(metered, used, bill)
    assert all(expected.values())
    with provider(tmp_path, metered, used, bill) as sim:
        assert waterfall(sim) == pytest.approx({step: float(usd) for step, usd in expected.items()}, rel=1e-12)
        (report,) = [one for one in sim.state.report.bills if one.window == "7d"]  # type: ignore[union-attr]
        exact = {step: Fraction(usd) for step, usd in report.waterfall.items() if usd}
        assert exact == expected
        assert sum(exact.values()) == sum(Fraction(one.billed_cost) for one in bill) == report.billed_usd


def test_a_window_inside_a_billed_day_costs_what_its_own_tokens_cost(tmp_path: Path) -> None:
    metered = [tokens("bot", 3, START + DAY - HOUR), tokens("bot", 1, START + HOUR)]
    with provider(tmp_path, metered, [tokens("", 4)], [cost("2")], days=1) as sim:
        assert usd(sim, "bot", "24h") == pytest.approx(2)
        assert usd(sim, "bot", "7d") == pytest.approx(2)
        assert sim.value("llmcost_effective_usd_per_token", workload="bot", path="api", window="7d") == pytest.approx(
            5e-7
        )


@pytest.mark.parametrize("models", [("gpt-x", "gpt-x"), (None, None), ("gpt-x", None), (None, "gpt-x")])
def test_a_bill_may_name_its_models_on_some_days_only(tmp_path: Path, models: tuple[str | None, str | None]) -> None:
    metered = [tokens("bot", 100), tokens("bot", 100, START + DAY + HOUR)]
    used = [tokens("", 100), tokens("", 100, START + DAY + HOUR)]
    bill = [cost("50", models[0]), cost("40", models[1], START + DAY)]
    with provider(tmp_path, metered, used, bill) as sim:
        assert usd(sim, "bot") == pytest.approx(90)
        assert parts(sim) == {"allocated": 90}
