"""What each kind of row becomes, and that both identities of the bill hold over a month of all kinds."""

from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path

import pytest

from collectors.billing.cur_lines import runs, service_category
from collectors.records import Charge
from exporter.config import Workload
from exporter.ledger.snapshot import BillLine
from exporter.reconcile.bill import BILLED_PARTS, EFFECTIVE_PARTS, EXACT, classify
from exporter.reconcile.bill_match import BillMatcher
from tests.collectors.billing.data_exports import WRITERS, Row, line, plain, read, storage

D = Decimal
SP = "savings_plan_savings_plan_effective_cost"


def month_of_all_kinds() -> list[Row]:
    """A Savings Plan half used, a reservation partly unused, a capacity block refunded in part, a credit larger than
    what it is for, two currencies and accounts."""
    kinds = "line_item_line_item_type"
    rows = [line("98.32", 1, hour, **{kinds: "SavingsPlanCoveredUsage", SP: "58.99"}) for hour in range(12)]
    rows += [line("-98.32", 1, hour, **{kinds: "SavingsPlanNegation"}) for hour in range(12)]
    commitment = {"savings_plan_total_commitment_to_date": "80", "savings_plan_used_commitment": "58.99"}
    rows += [line("80", 1, hour, **{kinds: "SavingsPlanRecurringFee"}, **commitment) for hour in range(12)]
    rows += [line("98.32", 1, hour, line_item_usage_amount="0.5") for hour in range(12, 24)]
    rows += [
        line("0", 2, hour, **{kinds: "DiscountedUsage", "reservation_effective_cost": "44.1"}) for hour in range(24)
    ]
    fee = {"reservation_unused_recurring_fee": "12.5", "reservation_reservation_a_r_n": "arn:x"}
    rows.append(line("32000", 1, 0, 744, **{kinds: "RIFee", "line_item_usage_type": "HeavyUsage:p5.48xlarge"}, **fee))
    rows.append(line("100000", 1, 0, 1, **{kinds: "Fee"}, reservation_reservation_a_r_n="arn:x", pricing_unit=""))
    block = {"line_item_usage_type": "USE2-CapacityBlockFee:p5.48xlarge", "pricing_unit": ""}
    rows.append(line("5000", 3, 11, 1, **{kinds: "Fee"}, **block))
    rows.append(line("-1200.5", 4, 11, 1, **{kinds: "Refund"}, **block))
    rows.append(line("-7000", 3, 0, 1, **{kinds: "Credit"}, line_item_resource_id=""))
    rows.append(line("411.17", 1, 0, 744, **{kinds: "Tax"}, line_item_resource_id="", pricing_unit=""))
    rows.append(line("-3.5", 3, 2, **{kinds: "EdpDiscount"}))
    rows.append(line("-0.75", 3, 3, **{kinds: "SomethingNew"}))
    rows += [storage("0.07", 5, hour, line_item_currency_code="EUR", bill_invoice_id="inv-1") for hour in range(24)]
    rows.append(storage("9.99", 6, line_item_usage_account_id="444455556666", resource_tags=""))
    return rows


def total(amounts: Iterable[Decimal]) -> Decimal:
    found = D(0)
    for amount in amounts:
        found = EXACT.add(found, amount)
    return found


@pytest.mark.parametrize("kind", WRITERS)
def test_every_amount_is_in_one_part_of_each_basis(tmp_path: Path, kind: str) -> None:
    rows = month_of_all_kinds()
    store = read(rows, tmp_path, kind)
    assert store.flags == {"unknown_line_type": 1}
    match = BillMatcher((Workload("chat", match={"team": "chat"}),), {})
    parts: dict[tuple[str, str, str], Decimal] = {}
    for charge in store.all():
        bill_line = BillLine("bill", "part", charge)
        billed, effective = classify(bill_line, match, lambda each: each.charge.account == "111122223333")
        for basis, place, amount in (
            ("billed", billed, charge.billed_cost),
            ("effective", effective, charge.effective_cost),
        ):
            name = f"{place.part}:{place.reason}" if place.reason else place.part
            parts[basis, charge.currency, name] = total([parts.get((basis, charge.currency, name), D(0)), amount])
    for currency in ("USD", "EUR"):
        costs = [plain(row) for row in rows if row["line_item_currency_code"] == currency]
        for basis in ("billed", "effective"):
            of_basis = [amount for (b, c, _), amount in parts.items() if (b, c) == (basis, currency)]
            assert total(of_basis) == total(cost[basis] for cost in costs)
    assert {name.partition(":")[0] for basis, _, name in parts if basis == "billed"} <= set(BILLED_PARTS)
    assert {name.partition(":")[0] for basis, _, name in parts if basis == "effective"} <= set(EFFECTIVE_PARTS)
    shown = {key: amount.normalize() for key, amount in parts.items() if key[1] == "USD" and amount}
    assert shown == {
        ("billed", "USD", "usage"): D("98.32") * 24 - D("3.5"),
        ("billed", "USD", "purchase"): D(80 * 12 + 32000 + 100000 + 5000) - D("1200.5"),
        ("billed", "USD", "adjustment"): D("-98.32") * 12 - D("0.75"),
        ("billed", "USD", "credits"): D(-7000),
        ("billed", "USD", "tax"): D("411.17"),
        ("billed", "USD", "out_of_scope"): D("9.99"),
        ("effective", "USD", "allocated"): D("58.99") * 12 + D("98.32") * 12 + D("44.1") * 24 - D("3.5"),
        ("effective", "USD", "commitment_unused"): (D(80) - D("58.99")) * 12 + D("12.5"),
        ("effective", "USD", "unallocated:purchase"): D(5000) - D("1200.5"),
        ("effective", "USD", "adjustment"): D(-7000) + D("411.17") - D("0.75"),
        ("effective", "USD", "out_of_scope"): D("9.99"),
    }


def only(rows: list[Row], folder: Path, **more: str) -> Charge:
    (charge,) = read([{**row, **more} for row in rows], folder).all()
    return charge


def test_a_discount_lowers_the_cost_of_its_resource_and_prices_no_time(tmp_path: Path) -> None:
    charge = only([line("-3.5")], tmp_path, line_item_line_item_type="PrivateRateDiscount")
    assert (charge.category, charge.quantity, charge.effective_cost) == ("Usage", D(0), D("-3.5"))


def test_net_columns_count_where_they_have_a_value(tmp_path: Path) -> None:
    rows = [line("98.32", 1, 0), line("98.32", 1, 5), line("98.32", 2, 0)]
    net = ("80.1", "", "81")
    covered = {"line_item_line_item_type": "SavingsPlanCoveredUsage", SP: "58.99"}
    nets = {"savings_plan_net_savings_plan_effective_cost": "51.5", "line_item_net_unblended_cost": "78"}
    plain_rows = [{**row, "line_item_net_unblended_cost": cost} for row, cost in zip(rows, net, strict=True)]
    empty = {"savings_plan_net_savings_plan_effective_cost": ""}
    store = read([{**row, **empty} for row in plain_rows] + [{**line("98.32", 3), **covered, **nets}], tmp_path)
    assert store.costs() == ["78", "80.1", "81", "98.32"]
    assert sorted(str(charge.effective_cost) for charge in store.all()) == ["51.5", "80.1", "81", "98.32"]


def test_split_cost_rows_are_counted_and_their_node_keeps_its_money(tmp_path: Path) -> None:
    """EKS split cost allocation divides the node's row among pods; who holds GPUs is told by Kubernetes here."""
    pods = [
        line("49.16", 1, hour, line_item_resource_id=f"arn:pod-{pod}", split_line_item_parent_resource_id="i-0a")
        for hour in range(24)
        for pod in range(3)
    ]
    for kind in WRITERS:
        store = read([line("98.32", 1, hour) for hour in range(24)] + pods, tmp_path / kind, kind)
        assert (store.costs(), store.flags) == (["2359.68"], {"split_cost_row": 72})


def test_tags_of_users_have_their_own_names(tmp_path: Path) -> None:
    tags = '{"user_team": "chat", "team": "not it", "aws_eks_cluster_name": "prod", "user_": ""}'
    for kind in WRITERS:
        (charge,) = read([line("1", resource_tags=tags)], tmp_path / kind, kind).all()
        assert charge.tags == (("", ""), ("aws_eks_cluster_name", "prod"), ("team", "chat"))


def test_tags_that_are_not_readable_are_flagged(tmp_path: Path) -> None:
    store = read([line("1", resource_tags="{team")], tmp_path)
    assert (store.flags, store.all()[0].tags) == ({"bad_tags": 1}, ())


def test_an_export_of_the_required_columns_alone_is_a_bill(tmp_path: Path) -> None:
    from collectors.billing.cur_columns import REQUIRED

    for kind in WRITERS:
        store = read([line("2", 1, hour) for hour in range(24)], tmp_path / kind, kind, columns=REQUIRED)
        (charge,) = store.all()
        assert (charge.billed_cost.normalize(), charge.unit, charge.component) == (D(48), "Hours", "gpu")


def test_a_bill_by_days_keeps_its_days(tmp_path: Path) -> None:
    (charge,) = read([line("2359.68", 2, 0, 24, line_item_usage_amount="24")], tmp_path).all()
    assert (charge.window.seconds, charge.quantity, charge.unit) == (86400, D(24), "Hrs")


@pytest.mark.parametrize(
    ("product", "usage_type", "family", "expected"),
    [
        ("AmazonEC2", "BoxUsage:p5.48xlarge", "Compute Instance", "Compute"),
        ("AmazonEC2", "USE1-EBS:VolumeUsage.gp3", "Storage", "Storage"),
        ("AmazonEC2", "EUW1-EBS:SnapshotUsage", "", "Storage"),
        ("AmazonEC2", "USE1-DataTransfer-Out-Bytes", "Data Transfer", "Networking"),
        ("AmazonEC2", "NatGateway-Hours", "NAT Gateway", "Networking"),
        ("AmazonSageMaker", "USE1-Host:ml.p5.48xlarge", "ML Instance", "AI and Machine Learning"),
        ("AmazonS3", "Requests-Tier1", "API Request", "Storage"),
        ("AmazonVPC", "PublicIPv4:InUseAddress", "", "Networking"),
        ("AWSSupportBusiness", "", "", "Other"),
    ],
)
def test_service_categories(product: str, usage_type: str, family: str, expected: str) -> None:
    assert service_category(product, usage_type, family) == expected


def test_runs_of_hours() -> None:
    whole_day = sum(1 << 5 * hour for hour in range(24))
    assert runs(whole_day, 24, True) == ((0, 24, 1),)
    assert runs(1 << 5 * 3 | 2 << 5 * 4 | 2 << 5 * 5 | 1 << 5 * 7, 6, True) == ((3, 1, 1), (4, 2, 2), (7, 1, 1))
    assert runs(1 << 15 | 1 << 20, 2, False) == ((3, 1, 1), (4, 1, 1))
    assert runs(32, 32, True) == ()  # 32 rows of hour 0 look like one of hour 1
    assert runs(32 << 5 * 23, 32, True) == ()
