"""List prices of nodes: whole or as the sum of their parts, dated, by tier, and never one for another."""

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.records import ListPrice, Node, PriceUnit, Window
from exporter.prices.node_parts import Kind, parts
from exporter.prices.node_tables import bundled_prices, machine_type
from exporter.prices.nodes import ListPrices, node_price, price_changes

DAY = 86400
BUNDLED = int(datetime(2026, 8, 6, tzinfo=UTC).timestamp())  # of the Google rows
LATER = BUNDLED + 100 * DAY


def node(instance_type: str, **more: Any) -> Node:
    plain = {"provider": "gcp", "region": "us-central1", "tier": "on_demand"}
    known = {"gpu": "", "gpus": Decimal(1), **plain, **more}
    return Node("key", "name", Window(0, 1), instance_type=instance_type, **known)


def part(unit: PriceUnit, name: str, price: str, start: int = LATER, **more: Any) -> ListPrice:
    plain = {"provider": "gcp", "region": "us-central1", "tier": "on_demand", "currency": "USD"}
    return ListPrice(unit=unit, name=name, price_per_hour=Decimal(price), start=start, **{**plain, **more})


def alone(prices: Sequence[ListPrice]) -> ListPrices:
    """Without the bundled table."""
    return ListPrices(prices, lambda: ())


A2 = [
    part("gpu", "nvidia-tesla-a100", "2.933908"),
    part("vcpu", "a2", "0.031611"),
    part("memory_gib", "a2", "0.004237"),
]


def test_a_machine_is_the_sum_of_its_parts() -> None:
    price = node_price(node("a2-highgpu-2g"), alone(A2), LATER)
    assert price is not None
    assert price.price_per_hour == 2 * Decimal("2.933908") + 24 * Decimal("0.031611") + 170 * Decimal("0.004237")
    assert price.currency == "USD"
    assert "2 x nvidia-tesla-a100 + 24 vCPU + 170 GiB" in price.origin


@given(
    st.sampled_from(
        [*("a2-megagpu-16g", "a2-ultragpu-4g", "a3-megagpu-8g"), *("g4-standard-6", "a4-highgpu-8g", "g2-standard-24")]
    ),
    st.lists(st.decimals("0.000000001", "50", places=9), min_size=4, max_size=4),
)
def test_the_parts_sum_to_the_price_exactly(instance_type: str, prices: list[Decimal]) -> None:
    machine = node(instance_type)
    needed = parts(Kind.of(machine))
    listed = [part(one.unit, one.name, str(price)) for one, price in zip(needed, prices, strict=False)]
    found = node_price(machine, alone(listed), LATER)
    assert found is not None
    assert found.price_per_hour == sum(one.quantity * price for one, price in zip(needed, prices, strict=False))
    for missing in range(len(listed)):
        assert node_price(machine, alone(listed[:missing] + listed[missing + 1 :]), LATER) is None, "a part is unknown"


def test_an_attached_gpu_is_what_the_node_says() -> None:
    prices = alone(
        [part("gpu", "nvidia-tesla-t4", "0.35"), part("vcpu", "n1", "0.03"), part("memory_gib", "n1", "0.004")]
    )
    machine = node("n1-standard-8", gpu="Tesla-T4-SHARED", gpus=Decimal(2))
    found = node_price(machine, prices, LATER)
    assert found is not None
    assert found.price_per_hour == 2 * Decimal("0.35") + 8 * Decimal("0.03") + 30 * Decimal("0.004")
    assert node_price(node("n1-standard-8", gpu="NVIDIA-P100"), prices, LATER) is None
    assert node_price(node("n1-custom-8-30720", gpu="Tesla-T4"), prices, LATER) is None


def test_the_machine_type_knows_better_than_the_driver_which_gpu_it_is() -> None:
    mega = [part("gpu", "nvidia-h100-mega-80gb", "10"), part("gpu", "nvidia-h100-80gb", "9")]
    rest = [part("vcpu", "a3plus", "0"), part("memory_gib", "a3plus", "0"), part("local_ssd_gib", "local-ssd", "0")]
    found = node_price(node("a3-megagpu-8g", gpu="NVIDIA-H100-80GB-HBM3"), alone([*mega, *rest]), LATER)
    assert found is not None and found.price_per_hour == 80


def test_a_price_holds_from_its_date_and_the_first_one_before_it_is_flagged() -> None:
    prices = alone([*A2, part("gpu", "nvidia-tesla-a100", "3", LATER + DAY)])
    machine = node("a2-highgpu-1g")
    before, first, second = (node_price(machine, prices, at) for at in (LATER - 1, LATER, LATER + DAY))
    assert before and first and second
    assert before.price_per_hour == first.price_per_hour
    assert before.origin == f"{first.origin} (not known before 2026-11-14)"
    assert second.price_per_hour - first.price_per_hour == 3 - Decimal("2.933908")
    assert price_changes(machine, prices, 0, LATER + 2 * DAY) == [LATER, LATER + DAY]
    assert price_changes(machine, prices, LATER, LATER + DAY) == []


def test_a_part_that_is_known_later_makes_the_sum_known_later() -> None:
    prices = alone([*A2[:2], part("memory_gib", "a2", "0.004237", LATER + DAY)])
    assert price_changes(node("a2-highgpu-1g"), prices, 0, LATER + 2 * DAY) == [LATER + DAY]


def test_a_spot_node_is_never_priced_as_on_demand() -> None:
    assert node_price(node("a2-highgpu-1g", tier="spot"), alone(A2), LATER) is None
    spot_known = node_price(node("a2-highgpu-1g", tier="spot"), ListPrices.of(A2), LATER)
    assert spot_known and spot_known.price_per_hour == Decimal("1.92802"), "the bundled spot price"
    aws = node("p5.48xlarge", provider="aws", region="us-east-1", tier="spot")
    assert node_price(aws, ListPrices.of([]), LATER) is None


def test_a_tier_that_is_not_told_is_on_demand_and_flagged() -> None:
    told, untold = (node_price(node("a2-highgpu-1g", tier=tier), alone(A2), LATER) for tier in ("on_demand", ""))
    assert told and untold
    assert untold.price_per_hour == told.price_per_hour
    assert untold.origin == f"{told.origin} (tier not told, taken as on_demand)"


def test_the_bundled_table_counts_until_something_better_is_known() -> None:
    machine = node("a2-highgpu-1g")
    prices = ListPrices.of([part("gpu", "nvidia-tesla-a100", "5"), *A2[1:]])
    bundled, collected = node_price(machine, prices, LATER - 1), node_price(machine, prices, LATER)
    assert bundled and bundled.price_per_hour == Decimal("3.673385")
    assert "(bundled: karpenter-provider-gcp)" in bundled.origin
    assert collected and collected.price_per_hour == Decimal("5.739477")
    whole = ListPrices.of([*A2, part("node", "a2-highgpu-1g", "4", LATER)])
    contract = node_price(machine, whole, LATER)
    assert contract and contract.price_per_hour == 4
    assert price_changes(machine, prices, 0, LATER + 1) == [BUNDLED, LATER]


@pytest.mark.parametrize(
    ("provider", "region", "instance_type", "usd"),
    [
        ("aws", "us-east-1", "p5.48xlarge", "55.04"),
        ("aws", "us-gov-east-1", "g4dn.xlarge", "0.663"),
        ("azure", "eastus", "Standard_NC24ads_A100_v4", "3.673"),
        ("gcp", "us-central1", "g2-standard-4", "0.706832255"),
    ],
)
def test_nodes_of_three_clouds_have_a_dated_price_out_of_the_box(
    provider: str, region: str, instance_type: str, usd: str
) -> None:
    found = node_price(node(instance_type, provider=provider, region=region), ListPrices.of([]), LATER)
    assert found is not None
    assert (found.price_per_hour, found.currency) == (Decimal(usd), "USD")
    assert "list price of 2026-" in found.origin and "bundled" in found.origin and "not known" not in found.origin


@pytest.mark.parametrize(
    "unknown",
    [
        {"region": "eu-nowhere-1"},
        {"provider": ""},
        {"provider": "aws"},
        {"tier": "reserved"},
        {"region": ""},
    ],
)
def test_what_is_not_known_has_no_price(unknown: dict[str, str]) -> None:
    assert node_price(node("g2-standard-4", **unknown), ListPrices.of([]), LATER) is None
    assert node_price(node("n2-standard-4", **unknown), ListPrices.of([]), LATER) is None
    assert price_changes(node("g2-standard-4", **unknown), ListPrices.of([]), 0, LATER) == []


def test_parts_are_summed_in_one_currency_and_usd_comes_first() -> None:
    euros = [part(p.unit, p.name, "1", currency="EUR") for p in A2]
    machine = node("a2-highgpu-1g")
    mixed = node_price(machine, alone([*A2[:1], *euros[1:]]), LATER)
    assert mixed is None
    only = node_price(machine, alone(euros), LATER)
    assert only and (only.price_per_hour, only.currency) == (98, "EUR")
    both = node_price(machine, alone([*euros, *A2]), LATER)
    assert both and (both.price_per_hour, both.currency) == (Decimal("3.673385"), "USD")


def test_the_table_is_read_when_a_price_is_first_asked_for() -> None:
    asked: list[int] = []

    def table() -> Sequence[ListPrice]:
        asked.append(1)
        return ()

    prices = ListPrices(A2, table)
    assert not asked
    for at in (0, LATER, LATER + 1):
        node_price(node("a2-highgpu-1g"), prices, at)
    assert asked == [1]


def test_the_bundled_tables_are_sound() -> None:
    prices = bundled_prices()
    keys = [(p.provider, p.region, p.tier, p.name) for p in prices]
    assert len(keys) == len(set(keys)) == 1778
    assert {p.provider for p in prices} == {"aws", "azure", "gcp"}
    assert {p.tier for p in prices} == {"on_demand", "spot"}
    assert all(p.price_per_hour > 0 and p.currency == "USD" and p.unit == "node" for p in prices)
    google = {p.name for p in prices if p.provider == "gcp"}
    assert all(machine_type("gcp", name) for name in google), "every Google type has a specification"
    gpu = machine_type("aws", "g6f.xlarge")
    assert gpu and (gpu.gpu, gpu.gpus) == ("nvidia-l4", Decimal("0.125"))


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 20), st.integers(1, 9)), max_size=12), st.integers(-1, 21))
def test_between_its_changes_a_price_is_one(known: list[tuple[int, int, int]], at: int) -> None:
    """Also `price_changes` misses none: the price at an instant is that at the last change before it."""
    kinds: list[tuple[PriceUnit, str]] = [
        *[("gpu", "nvidia-tesla-a100"), ("vcpu", "a2"), ("memory_gib", "a2")],
        *[("node", "a2-highgpu-1g"), ("gpu", "nvidia-l4")],
    ]
    prices = alone([part(*kinds[kind], str(price), start) for kind, start, price in known])
    machine = node("a2-highgpu-1g")
    edges = [edge for edge in price_changes(machine, prices, -2, 22) if edge <= at]
    if edges:
        assert node_price(machine, prices, at) == node_price(machine, prices, edges[-1])
    else:
        assert node_price(machine, prices, at) == node_price(machine, prices, -2)
