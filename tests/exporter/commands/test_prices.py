"""`prices` of a GPU and of a machine type: the config's rates with their dates, and the bundled list prices."""

import csv
import gzip
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import exporter.prices
from exporter.__main__ import main

DATA = Path(exporter.prices.__file__).parent / "data"


def run(*args: str) -> Result:
    return CliRunner().invoke(main, ("prices", *args))


def table(**wanted: str) -> list[dict[str, str]]:
    """The rows of the bundled table that say so."""
    with gzip.open(DATA / "gpu_instance_prices.csv.gz", "rt") as file:
        return [row for row in csv.DictReader(file) if wanted.items() <= row.items()]


def machines() -> dict[str, dict[str, str]]:
    with (DATA / "machine_types.csv").open() as file:
        return {row["instance_type"]: row for row in csv.DictReader(file)}


def listed(*args: str) -> list[dict[str, Any]]:
    result = run(*args, "--output", "json")
    assert result.exit_code == 0, result.output
    found: list[dict[str, Any]] = json.loads(result.stdout)["list_prices"]
    return found


def place(row: dict[str, Any]) -> tuple[str, str, str, str]:
    return row["provider"], row["region"], row["instance_type"], row["tier"]


@pytest.mark.parametrize("name", ["p5.48xlarge", "a3-highgpu-8g", "Standard_ND96isr_H100_v5"])
def test_a_machine_type_has_all_prices_of_the_table(name: str) -> None:
    rows, found = table(instance_type=name), listed(name)
    assert rows and {place(row): row["as_of"] for row in rows} == {place(one): one["as_of"] for one in found}
    assert {place(row): Decimal(row["usd_per_hour"]) for row in rows} == {
        place(one): Decimal(one["usd_per_hour"]) for one in found
    }
    for one in found:
        machine = machines().get(name)  # the table of machines knows none of Azure
        assert (one["gpu"], one["gpus"]) == ((machine["gpu"], machine["gpus"]) if machine else (None, None))
        if machine:
            each = Decimal(one["usd_per_hour"]) / Decimal(machine["gpus"])
            assert abs(Decimal(one["usd_per_gpu_hour"]) - each) <= Decimal("1e-6")
        assert one["origin"] == f"karpenter-provider-{one['provider']}"


def test_a_machine_type_is_found_however_it_is_spelt() -> None:
    assert listed("nd96isr_h100_v5") == listed("Standard_ND96isr_H100_v5")
    assert listed("P5.48xlarge", "--region", "us-east-1") == listed("p5.48xlarge", "--region", "US-EAST-1")


def test_a_gpu_is_one_product_and_its_bare_name_the_family() -> None:
    def products(name: str) -> set[str | None]:
        return {one["gpu"] for one in listed(name)}

    assert products("nvidia-h100-80gb") == products("H100-SXM5-80GB") == {"nvidia-h100-80gb"}
    assert products("h100") == {"nvidia-h100-80gb", "nvidia-h100-mega-80gb", None}  # Azure's are told by their names
    assert products("a100") == {"nvidia-tesla-a100", "nvidia-a100-80gb", None}
    assert all("_H100_" in one["instance_type"] for one in listed("h100") if one["gpu"] is None)
    exact = {name for name, machine in machines().items() if machine["gpu"] == "nvidia-l40s"}
    assert {one["instance_type"] for one in listed("l40s")} == exact & {row["instance_type"] for row in table()}


def test_the_text_says_where_from_and_of_when() -> None:
    assert run("p5.48xlarge", "--region", "us-east-1").stdout.splitlines() == [
        "p5.48xlarge",
        "     55.0400 USD per node-hour     6.8800 per GPU-hour  aws p5.48xlarge (8 x nvidia-h100-80gb), us-east-1, "
        "on_demand (list price of 2026-07-20, karpenter-provider-aws)",
    ]
    lines = run("h100").stdout.splitlines()[1:]
    spot = table(instance_type="a3-highgpu-8g", tier="spot")
    cheapest = min(spot, key=lambda row: Decimal(row["usd_per_hour"]))
    (line,) = [line for line in lines if "gcp a3-highgpu-8g " in line and ", spot" in line]
    assert f"{Decimal(cheapest['usd_per_hour']):.4f} USD per node-hour" in line
    assert f"cheapest of {len(spot)} regions" in line
    assert len(lines) == len({(row["instance_type"], row["tier"]) for row in listed("h100")})


@pytest.mark.parametrize(("name", "near"), [("p5.48xlrge", "p5.48xlarge"), ("a3-highgpu", "a3-highgpu-8g")])
def test_an_unknown_name_is_answered_with_the_nearest(name: str, near: str) -> None:
    result = run(name)
    assert result.exit_code == 1
    first, second, nearest = result.stdout.splitlines()[:3]
    assert first == f"{name}: no price is known (a GPU or a machine type; a model is written PROVIDER/MODEL)"
    assert (second, nearest) == ("similar names:", f"  {near}")


def test_a_name_like_nothing_has_no_similar_ones() -> None:
    result = run("gpt-4o")
    assert (result.exit_code, len(result.stdout.splitlines())) == (1, 1)


def test_a_region_without_a_price_is_answered_with_those_that_have_one() -> None:
    result = run("p5.48xlarge", "--region", "eu-west-1")
    regions = ", ".join(sorted({row["region"] for row in table(instance_type="p5.48xlarge")}))
    assert result.exit_code == 1
    assert result.stdout == f"p5.48xlarge: no list price is known in this region; known in {regions}\n"


RATES = """
collectors:
  - name: gpus
    kind: rate_card
    rates:
      - {workload: a, gpu: test-gpu, price_per_hour: 2, currency: EUR, until: 2026-03-01}
      - {workload: a, gpu: test-gpu, usd_per_hour: "1.5", from: 2026-03-01, until: "2026-04-01T12:00:00Z"}
      - {workload: b, gpu: other, usd_per_hour: "9"}
fx: {EUR: "1.08"}
workloads:
  - name: a
    match: {model: a}
    alternatives: [{self_hosted: {gpu: test-gpu, usd_per_hour: 3, capacity_tokens_per_second: 1}}]
"""


def test_rate_cards_are_shown_with_the_dates_between_which_they_hold(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(RATES)
    result = run("test-gpu", "--config.file", str(config), "--at", "2026-03-15")
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[1:] == [
        "         2 EUR per GPU-hour  a (rate card gpus, from its first sight until 2026-03-01)",
        "*      1.5 USD per GPU-hour  a (rate card gpus, from 2026-03-01 until 2026-04-01T12:00:00Z)",
        "         3 USD per GPU-hour  a (alternative)",
    ]
    ended = run("test-gpu", "--config.file", str(config), "--at", "2026-05-01", "--output", "json")
    assert [rate.get("in_force") for rate in json.loads(ended.stdout)["rates"]] == [False, False, None]
    both = run("h100", "--config.file", str(config), "--output", "json")
    assert (json.loads(both.stdout)["rates"], both.exit_code) == ([], 0)
