"""What the `prices` command knows of a model."""

import json
from datetime import UTC, datetime
from pathlib import Path

from exporter.prices.describe import describe

NOW = int(datetime(2026, 11, 20, 5, tzinfo=UTC).timestamp())


def test_a_known_model_with_its_origin_dates_and_tiers() -> None:
    known = describe("deepseek", "deepseek-v4-pro", NOW)
    assert json.loads(json.dumps(known)) == known
    current = [rate for rate in known["rates"] if rate["in_force"]]
    assert current == [
        {
            "origin": "genai-prices 0.2.3 deepseek/deepseek-v4-pro",
            "from": "2026-08-17T00:00:00Z",
            "until": None,
            "utc_day": ["04:00", "06:00"],
            "usd_per_request": "0",
            "bands": [
                {"above_prompt_tokens": 0, "usd_per_mtok": {"input": "0.66", "cache_read": "0.022", "output": "1.98"}}
            ],
            "in_force": True,
        }
    ]
    assert known["similar"] == []
    assert describe("openai", "gpt-5", NOW)["service_tiers"] == ["batch", "flex", "priority", "fast"]


def test_an_override_comes_first(tmp_path: Path) -> None:
    file = tmp_path / "p.yaml"
    file.write_text('prices: [{provider: openai, model: gpt-4o, source: deal, usd_per_mtok: {input: "1.10"}}]')
    rates = describe("openai", "gpt-4o", NOW, str(file))["rates"]
    assert [(rate["origin"], rate["in_force"]) for rate in rates] == [
        ("override deal", True),
        ("genai-prices 0.2.3 openai/gpt-4o", False),
    ]
    assert rates[0]["bands"][0]["usd_per_mtok"] == {"input": "1.1"}


def test_an_unknown_model_gets_near_names(tmp_path: Path) -> None:
    assert describe("openai", "gpt4o", NOW)["similar"][0] == "openai/gpt-4o"
    assert describe("my-proxy", "gpt-4o-mini", NOW)["similar"][0] == "openai/gpt-4o-mini"
    file = tmp_path / "p.yaml"
    file.write_text('prices: [{provider: acme, model: "writer-7b", usd_per_mtok: {input: 1}}]')
    assert describe("acme", "writer-70b", NOW, str(file))["similar"] == ["acme/writer-7b"]
    assert describe("x", "y", NOW) | {"at": ""} == {
        "provider": "x",
        "model": "y",
        "service_tier": "default",
        "region": "",
        "at": "",
        "rates": [],
        "service_tiers": [],
        "similar": [],
    }
