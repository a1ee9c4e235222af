"""The user's price file: precedence, spans, bands, tiers, and what is said of a bad file."""

import re
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import get_args

import pytest

from collectors.usage import formats
from exporter.aside import call_aside
from exporter.prices.book import PriceBook, PriceKey, Rate
from exporter.prices.overrides import OverridesError, TokenType, load
from exporter.prices.pricing import cost
from exporter.prices.resolve import band_edges, resolve

DOCS = Path(__file__).parents[3] / "docs"
NOW = int(datetime(2026, 11, 20, tzinfo=UTC).timestamp())
CONTRACT = """
prices:
  - provider: acme
    model: "writer-*"
    from: 2026-01-01
    until: 2027-01-01
    source: contract 4711
    usd_per_mtok: {input: "0.60", cache_read: "0.06", output: "2.40"}
    bands: [{above_prompt_tokens: 250000, usd_per_mtok: {input: "1.20", output: "4.80"}}]
    service_tiers:
      batch: {multiplier: "0.5"}
      free: {multiplier: 0}
      flex: {usd_per_mtok: {input: "0.30"}, bands: [{above_prompt_tokens: 7, usd_per_mtok: {input: "0.40"}}]}
    usd_per_request: "0.002"
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "my-prices.yaml"


def rate(file: Path, key: PriceKey, at: int = NOW) -> Rate | None:
    return PriceBook(resolve([key], str(file))).rate(key, at)


def documented() -> tuple[str, str]:
    """The file of the documentation, and what follows it up to the next section."""
    text = (DOCS / "configuration.md").read_text(encoding="utf-8")
    section = text.partition("\n### The file of `overrides`: `prices[]`\n")[2].partition("\n## ")[0]
    block, _, after = section.partition("\n```yaml\n")[2].partition("\n```\n")
    return block, after


def test_the_entry_of_the_documentation(file: Path) -> None:
    file.write_text(documented()[0])
    found = rate(file, PriceKey("acme", "writer-7b"))
    assert found == Rate(
        (
            (0, {"input": Decimal("6e-7"), "cache_read": Decimal("6e-8"), "output": Decimal("24e-7")}),
            (200_000, {"input": Decimal("12e-7"), "output": Decimal("48e-7")}),
        ),
        int(datetime(2026, 1, 1, tzinfo=UTC).timestamp()),
        int(datetime(2027, 1, 1, tzinfo=UTC).timestamp()),
        per_request=Decimal(0),
        origin="override contract 4711",
    )
    assert rate(file, PriceKey("acme", "reader-7b")) is None
    batch, priority = (rate(file, PriceKey("acme", "writer-7b", tier)) for tier in ("batch", "priority"))
    assert batch and batch.prices(200_000)["input"] == found.prices(200_000)["input"] / 2
    assert priority and priority.prices(200_000) == {kind: 2 * usd for kind, usd in found.prices(0).items()}


def test_the_documented_line_of_a_log_costs_what_the_documentation_says(file: Path) -> None:
    block, after = documented()
    file.write_text(block)
    line = (DOCS / "usage-log.md").read_text(encoding="utf-8").partition("\n```json\n")[2].partition("\n")[0]
    (record,) = formats.read(line.encode(), "llmcost")
    found = rate(file, PriceKey(record.provider, record.model, record.service_tier, record.region), record.at or 0)
    assert found
    priced = cost(found, record.tokens, 0, record.requests)
    (usd,) = re.findall(r"costs USD ([0-9.]+)\.\n", after)
    assert priced.usd == Decimal(usd) and not priced.unpriced


def test_every_token_type_that_can_have_a_price_is_documented_and_the_reverse() -> None:
    text = (DOCS / "usage-log.md").read_text(encoding="utf-8")
    (table,) = re.findall(r"\n\| type \| tokens \|\n(.*?)\n\n", text, re.S)
    types = re.findall(r"^\| `(\w+)` \|", table, re.M)
    (without,) = re.findall(r"^\| `(\w+)` \|[^|]*no price of it", table, re.M)
    assert sorted(types) == sorted([*get_args(TokenType), without])


def test_from_is_inclusive_and_until_exclusive(file: Path) -> None:
    file.write_text(CONTRACT)
    key = PriceKey("acme", "writer-7b")
    starts, ends = (int(datetime(year, 1, 1, tzinfo=UTC).timestamp()) for year in (2026, 2027))
    assert [rate(file, key, at) is not None for at in (starts - 1, starts, ends - 1, ends)] == [
        False,
        True,
        True,
        False,
    ]


def test_a_tier_is_a_multiple_or_has_prices_of_its_own(file: Path) -> None:
    file.write_text(CONTRACT)
    batch, free, flex = (rate(file, PriceKey("acme", "writer-7b", tier)) for tier in ("Batch", "free", "flex"))
    assert batch and free and flex
    assert batch.prices(250_000) == {
        "input": Decimal("6e-7"),
        "cache_read": Decimal("3e-8"),
        "output": Decimal("24e-7"),
    }
    assert batch.per_request == Decimal("0.001")
    assert set(free.prices(0).values()) == {0}
    assert (flex.prices(0), flex.prices(7)) == ({"input": Decimal("3e-7")}, {"input": Decimal("4e-7")})
    assert rate(file, PriceKey("acme", "writer-7b", "priority")) is None


def test_the_edges_of_the_file_join_those_of_the_catalogue(file: Path) -> None:
    file.write_text(CONTRACT)
    assert set(band_edges(str(file))) == {7, 250_000, *band_edges()}


def test_the_first_matching_entry_wins_and_the_catalogue_fills_the_rest(file: Path) -> None:
    file.write_text("""
prices:
  - {provider: openai, model: gpt-4o, from: 2026-11-01, usd_per_mtok: {input: "2"}}
  - {provider: open*, model: "GPT-4?", from: 2026-10-01, usd_per_mtok: {input: "1"}}
""")
    key = PriceKey("openai", "gpt-4o")
    days = [datetime(2026, month, 15, tzinfo=UTC) for month in (9, 10, 11)]
    found = [rate(file, key, int(day.timestamp())) for day in days]
    assert [each.prices(0)["input"] * 10**6 for each in found if each] == [Decimal("2.5"), 1, 2]
    assert [each.origin for each in found if each][1:] == [
        "override my-prices.yaml prices[1]",
        "override my-prices.yaml prices[0]",
    ]
    # The entry has no price for output: it is not taken from the catalogue, of which the price may be another one.
    assert found[2] and "output" not in found[2].prices(0)


def test_a_provider_goes_by_its_own_or_the_catalogues_name(file: Path) -> None:
    file.write_text('prices: [{provider: together, model: "*", region: "eu-*", usd_per_mtok: {input: 1}}]')
    assert rate(file, PriceKey("together_ai", "m", region="eu-west-1"))
    assert rate(file, PriceKey("together", "m", region="eu-west-1"))
    assert rate(file, PriceKey("together", "m")) is None
    assert rate(file, PriceKey("groq", "m", region="eu-west-1")) is None


BAD = [
    ("", "the file: expected a mapping, got None"),
    ("[1]", "the file: expected a mapping, got [1]"),
    ("a: 1", "prices: missing\n{file}: a: unknown key"),
    ("prices: 3", "prices: expected a list, got 3"),
    ("prices: [hello]", "prices[0]: expected a mapping, got 'hello'"),
    ("prices: [{{provider: a}}]", "prices[0].model: missing\n{file}: prices[0].usd_per_mtok: missing"),
    ("{entry}, usd_per_mtok: {{}}}}]", "prices[0].model: expected a valid string, got 3", "provider: a, model: 3"),
    (
        "{entry}, usd_per_mtok: {{}}}}]",
        "prices[0]: expected model to be a glob like 'writer-*', got 'w['",
        "model: 'w['",
    ),
    ("{entry}, usd_per_mtok: {{input: '-1'}}}}]", "prices[0].usd_per_mtok.input: expected 0 or more, got '-1'"),
    (
        "{entry}, usd_per_mtok: {{input: 0.6}}}}]",
        "prices[0].usd_per_mtok.input: expected money as a quoted decimal like '2.49' or an integer, got 0.6",
    ),
    ("{entry}, usd_per_mtok: {{}}, colour: red}}]", "prices[0].colour: unknown key"),
    (
        "{entry}, usd_per_mtok: {{}}, from: soon}}]",
        "prices[0].from: expected a date like 2026-01-31 or a time with a zone, got 'soon'",
    ),
    (
        "{entry}, usd_per_mtok: {{}}, from: 2026-02-01, until: 2026-02-01}}]",
        "prices[0]: expected until to be later than from",
    ),
    (
        "{entry}, usd_per_mtok: {{}}, service_tiers: {{batch: {{}}}}}}]",
        "prices[0].service_tiers.batch: expected exactly one of multiplier and usd_per_mtok",
    ),
]


def text_of(template: str, names: str = "provider: a, model: m") -> str:
    names = names if names.startswith("provider") else f"provider: a, {names}"
    return template.format(entry=f"prices: [{{{names}")


@pytest.mark.parametrize(("template", "message", "names"), [(*case, "provider: a, model: m")[:3] for case in BAD])
def test_a_bad_file_names_path_value_and_what_was_expected(file: Path, template: str, message: str, names: str) -> None:
    file.write_text(text_of(template, names))
    with pytest.raises(OverridesError) as caught:
        load(file)
    assert str(caught.value) == f"{file}: {message.format(file=file)}"


def test_all_errors_at_once(file: Path) -> None:
    file.write_text("""
prices:
  - {provider: a, model: m, usd_per_mtok: {ouput: "1", input: 0.5}}
  - {provider: a, model: m, usd_per_mtok: {input: "1"}, service_tiers: {batch: {multiplier: "0.5", bands: []}}}
  - provider: a
    model: m
    usd_per_mtok: {input: "1"}
    bands: [{above_prompt_tokens: 10, usd_per_mtok: {}}, {above_prompt_tokens: 9, usd_per_mtok: {}}]
""")
    with pytest.raises(OverridesError) as caught:
        load(file)
    paths = [line.split(": ")[1] for line in str(caught.value).splitlines()]
    assert sorted(paths) == ["prices[0].usd_per_mtok.input", "prices[0].usd_per_mtok.ouput", "prices[2]"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("prices: []\nprices: []", ":2: not valid YAML: 'prices' is given twice"),
        ("prices: [", ":1: not valid YAML: expected the node content"),
        ("prices: [{? [1] : 2}]", ":1: not valid YAML: found unhashable key"),
        ("prices: \x01", ": not valid YAML: unacceptable character"),
    ],
)
def test_text_that_is_not_yaml(file: Path, text: str, message: str) -> None:
    file.write_text(text)
    with pytest.raises(OverridesError) as caught:
        load(file)
    assert str(caught.value).startswith(f"{file}{message}")


def test_errors_come_through_the_child_process(file: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"my-prices\.yaml"):
        call_aside("exporter.prices.resolve:resolve", [], str(file))
    file.write_text("prices: 3")
    with pytest.raises(OverridesError, match="expected a list"):
        call_aside("exporter.prices.resolve:band_edges", str(file))
