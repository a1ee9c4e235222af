"""What a SKU's description says: plain prices of GPU machines, other offers, and what has nothing to do with them."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.billing.gcp_sku import SkippedError, Sku, item_of, price_of
from collectors.records import PriceUnit


def sku(description: str, group: str, usage_type: str = "OnDemand", **more: Any) -> Sku:
    plain = {"regions": ("us-central1",), "usage_unit": "h", "currency": "USD", "rates": ((Decimal(0), Decimal(1)),)}
    return Sku("0000-0000-0000", description, group, usage_type, **{**plain, **more})


@pytest.mark.parametrize(
    ("item", "group", "usage_type", "description"),
    [
        ("on_demand gpu nvidia-a100-80gb", "GPU", "OnDemand", "Nvidia Tesla A100 80GB GPU running in Netherlands"),
        ("on_demand gpu nvidia-h100-mega-80gb", "GPU", "OnDemand", "Nvidia H100 80GB Mega GPU running in Frankfurt"),
        ("on_demand gpu nvidia-h100-mega-80gb", "GPU", "OnDemand", "Nvidia H100 80GB Plus GPU running in Americas"),
        ("on_demand gpu nvidia-h200-141gb", "GPU", "OnDemand", "H200 141GB GPU running in Belgium"),
        ("on_demand gpu nvidia-rtx-pro-6000", "GPU", "OnDemand", "RTX 6000 96GB running in Oregon"),
        ("on_demand gpu nvidia-gb200", "GPU", "OnDemand", "A4X Nvidia GB200 (1 gpu slice) running in Iowa"),
        ("spot gpu nvidia-b200", "GPU", "OnDemand", "Spot Preemptible A4 Nvidia B200 (1 gpu slice) running in Iowa"),
        (
            "spot gpu nvidia-rtx-pro-6000",
            "GPU",
            "Preemptible",
            "RTX 6000 96GB attached to Spot Preemptible VMs running in Iowa",
        ),
        (
            "spot gpu nvidia-tesla-v100",
            "GPU",
            "Preemptible",
            "Nvidia Tesla V100 GPU attached to preemptible VMs running in Iowa",
        ),
        (
            "commit_3y gpu nvidia-b200",
            "GPU",
            "Commit3Yr",
            "Commitment v1: A4 Nvidia B200 (1 gpu slice) in Iowa for 3 Years",
        ),
        (
            "commit_1y gpu nvidia-tesla-t4",
            "GPU",
            "Commit1Yr",
            "Commitment v1: Nvidia Tesla T4 GPU running in Iowa for 1 Year",
        ),
        ("commit_3y memory_gib a2", "RAM", "Commit3Yr", "Commitment v1: A2 Ram in Americas for 3 Year"),
        ("commit_1y memory_gib n1", "RAM", "Commit1Yr", "Commitment v1: Ram in Americas for 1 Year"),
        ("spot memory_gib a3plus", "RAM", "Preemptible", "Spot Preemptible A3Plus Instance Ram running in Tokyo"),
        ("on_demand vcpu a3ultra", "CPU", "OnDemand", "A3 Ultra Instance Core running in Americas"),
        ("on_demand vcpu n1", "N1Standard", "OnDemand", "N1 Predefined Instance Core running in Americas"),
        ("on_demand local_ssd_gib local-ssd", "LocalSSD", "OnDemand", "SSD backed Local Storage in Tokyo"),
        (
            "spot local_ssd_gib local-ssd",
            "LocalSSD",
            "Preemptible",
            "SSD backed Local Storage attached to Spot Preemptible VMs",
        ),
    ],
)
def test_plain_prices(item: str, group: str, usage_type: str, description: str) -> None:
    found = item_of(sku(description, group, usage_type))
    assert found and f"{found.tier} {found.unit} {found.name}" == item


@pytest.mark.parametrize(
    ("description", "usage_type", "reason"),
    [
        ("Nvidia L4 GPU attached to DWS Defined Duration VMs running in Frankfurt", "OnDemand", "other_offer"),
        ("Reserved Nvidia H100 80GB Mega GPU in Americas in Calendar Mode", "OnDemand", "other_offer"),
        ("Nvidia Tesla T4 Virtual Workstation GPU running in Netherlands", "OnDemand", "other_offer"),
        ("Nvidia Tesla T4 GPU attached to Sole Tenancy VMs running in Americas", "OnDemand", "other_offer"),
        ("Commitment v1: Nvidia L4 GPU in Iowa for 5 Years", "Commit", "other_offer"),
        ("Commitment v1: Nvidia L4 GPU in Iowa for 1 Year", "OnDemand", "other_offer"),
        ("Commitment v1: Nvidia L4 GPU in Iowa for 3 Years", "Commit1Yr", "other_offer"),
        ("Nvidia Fermi Next GPU running in Americas", "OnDemand", "unknown_gpu"),
    ],
)
def test_gpu_skus_that_are_no_plain_price_are_left_out_and_counted(
    description: str, usage_type: str, reason: str
) -> None:
    with pytest.raises(SkippedError, match=reason):
        item_of(sku(description, "GPU", usage_type))


@pytest.mark.parametrize(
    ("description", "group"),
    [
        ("N2 Instance Core running in Americas", "CPU"),
        ("Custom Instance Core running in Americas", "CPU"),
        ("G2 Custom Instance Core running in Americas", "CPU"),
        ("DWS Defined Duration A3 Core running in Americas", "CPU"),
        ("Reserved A2 Ram in Netherlands", "RAM"),
        ("Sole Tenancy Premium for A2 Instance Core running in Iowa", "CPU"),
        ("C4D Instance Local SSD running in Americas", "LocalSSD"),
        ("Storage PD Capacity in Iowa", "PDStandard"),
        ("", ""),
    ],
)
def test_other_skus_are_not_ours(description: str, group: str) -> None:
    assert item_of(sku(description, group)) is None


@pytest.mark.parametrize(
    ("more", "unit", "reason"),
    [
        ({"usage_unit": "GBy.h"}, "memory_gib", "unit"),
        ({"usage_unit": "mo"}, "gpu", "unit"),
        ({"rates": ()}, "gpu", "no_price"),
        ({"rates": ((Decimal(0), Decimal(2)), (Decimal(100), Decimal(1)))}, "gpu", "tiered_price"),
        ({"rates": ((Decimal(1), Decimal(2)),)}, "gpu", "tiered_price"),
        ({"rates": ((Decimal(0), Decimal(0)),)}, "gpu", "zero_price"),
    ],
)
def test_a_price_that_is_none_is_never_zero(more: dict[str, Any], unit: PriceUnit, reason: str) -> None:
    with pytest.raises(SkippedError, match=reason):
        price_of(sku("any", "GPU", **more), unit)


@given(st.text(), st.sampled_from(["GPU", "CPU", ""]), st.sampled_from(["OnDemand", "Preemptible", "Commit1Yr", "x"]))
def test_any_description_is_read_or_left_out(description: str, group: str, usage_type: str) -> None:
    try:
        item_of(sku(description, group, usage_type))
    except SkippedError as reason:
        assert str(reason) in {"other_offer", "unknown_gpu"}
