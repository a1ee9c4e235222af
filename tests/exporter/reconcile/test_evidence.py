"""One best-known cost per second: bills replace the card for what they cover, and never add to it."""

from dataclasses import replace
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from collectors.records import HOUR, Card, Charge, Reservation, Window
from exporter.intervals import Intervals
from exporter.ledger.snapshot import BillLine
from exporter.reconcile.evidence import Costs, self_hosted_costs

ALL = Intervals([(0, 240 * HOUR)])
USD = {"USD": Decimal(1)}


def card(price: str = "2.5", **more: object) -> Card:
    return Card("gpus", "chat", "gpu", Decimal(price), "USD", Decimal(2), **more)  # type: ignore[arg-type]


def held(start: int, end: int, count: str = "2") -> Reservation:
    return Reservation("k", "chat", "h100", Decimal(count), Window(start * HOUR, end * HOUR))


def line(start: int, end: int, cost: str, resource: str = "i-1", **more: object) -> BillLine:
    window = Window(start * HOUR, end * HOUR)
    charge = Charge(window, "Usage", "USD", Decimal(cost), Decimal(cost), resource=resource, component="gpu", **more)  # type: ignore[arg-type]
    return BillLine("bill", "p", charge)


def costs(cards: dict[str, Card], reservations=(), lines=(), up: Intervals = ALL, fx=USD, fixed: str = "0") -> Costs:
    return self_hosted_costs(reservations, cards, lines, up, fx, Decimal(fixed), 240 * HOUR)


@given(st.decimals("0.01", "50", places=3), st.integers(1, 16), st.integers(0, 200), st.integers(1, 40))
def test_a_card_is_count_times_rate_times_covered_time(price: Decimal, count: int, start: int, hours: int) -> None:
    found = costs({"k": card(str(price))}, [held(start, start + hours, str(count))])
    assert abs(sum(found.by(ALL).values()) - count * price * hours) < Decimal("1e-9")
    half = ALL.clip(start * HOUR, start * HOUR + 1800)
    assert abs(sum(found.by(half).values()) - count * price / 2) < Decimal("1e-9")


def test_a_bill_supersedes_the_card_where_it_is_and_both_amounts_are_kept() -> None:
    found = costs({"k": card()}, [held(0, 48)], [line(0, 24, "60")])
    assert found.by(ALL) == {("gpu", "billed"): Decimal(60), ("gpu", "configured"): Decimal(24 * 5)}
    assert found.superseded_usd(ALL) == 24 * 5


def test_an_invoiced_line_is_its_own_evidence() -> None:
    found = costs({"k": card()}, [held(0, 24)], [line(0, 24, "60", invoice="INV-1")])
    assert found.by(ALL) == {("gpu", "invoiced"): Decimal(60)}


def test_a_day_billed_half_never_lowers_the_cost() -> None:
    whole = line(0, 24, "120", quantity=Decimal(24), unit="Hours")
    half = line(0, 24, "60", quantity=Decimal(12), unit="Hours")
    assert sum(costs({"k": card()}, [held(0, 24)], [whole]).by(ALL).values()) == 120
    found = costs({"k": card()}, [held(0, 24)], [half])
    assert found.by(ALL) == {("gpu", "billed"): Decimal(60), ("gpu", "configured"): Decimal(60)}


def test_a_card_with_resources_is_replaced_resource_by_resource() -> None:
    both = {"k": card(resources=("i-1", "i-2"))}
    found = costs(both, [held(0, 24)], [line(0, 24, "40", "i-1")])
    assert found.by(ALL) == {("gpu", "billed"): Decimal(40), ("gpu", "configured"): Decimal(60)}
    assert found.superseded_usd(ALL) == 60
    found = costs(both, [held(0, 24)], [line(0, 24, "40", "i-1"), line(0, 24, "41", "i-2")])
    assert found.by(ALL) == {("gpu", "billed"): Decimal(81)}


@given(st.lists(st.tuples(st.integers(0, 47), st.integers(1, 24), st.integers(0, 99)), max_size=6))
def test_ranks_replace_and_never_add(bills: list[tuple[int, int, int]]) -> None:
    """Billed, kept and superseded rent never overlap within one evidence, and kept + superseded is the whole card."""
    lines = [line(start, start + hours, str(usd)) for start, hours, usd in bills]
    found = costs({"k": card()}, [held(0, 48)], lines)
    kept = sum((rent.usd(ALL) for rent in found.counted if rent.evidence == "configured"), Decimal(0))
    assert kept + found.superseded_usd(ALL) == 48 * 5
    billed = Intervals(s for rent in found.counted if rent.evidence == "billed" for s in rent.seconds)
    card_seconds = Intervals(s for rent in found.counted if rent.evidence == "configured" for s in rent.seconds)
    assert not billed & card_seconds
    assert sum((rent.usd(ALL) for rent in found.counted if rent.evidence == "billed"), Decimal(0)) == sum(
        Decimal(usd) for _, _, usd in bills
    )


def test_while_running_pays_only_for_seconds_seen_up() -> None:
    up = Intervals([(0, HOUR), (3 * HOUR, 4 * HOUR)])
    found = costs({"k": card(while_running=True)}, [held(0, 10)], up=up)
    assert found.by(ALL) == {("gpu", "configured"): Decimal(10)}
    assert found.known == Intervals([(0, 10 * HOUR)])


def test_a_currency_without_a_rate_is_absent_not_zero() -> None:
    euro = {"k": Card("gpus", "chat", "gpu", Decimal(1), "EUR", Decimal(1))}
    found = costs(euro, [held(0, 10)])
    assert not found.counted
    assert not found.known
    assert found.no_exchange_rate == {"EUR"}
    found = costs(euro, [held(0, 10)], fx={"USD": Decimal(1), "EUR": Decimal("1.08")})
    assert found.by(ALL) == {("gpu", "configured"): Decimal("21.6")}


def test_fixed_costs_run_by_the_second_while_cost_is_known() -> None:
    found = costs({"k": card()}, [held(0, 73)], fixed="7300")
    assert found.by(ALL)["fixed", "configured"] == 730


def test_a_price_ends_where_the_card_says() -> None:
    found = costs({"k": card(start=2 * HOUR, end=4 * HOUR)}, [held(0, 10)])
    assert found.by(ALL) == {("gpu", "configured"): Decimal(10)}


def test_a_bill_for_the_disk_alone_does_not_make_the_gpus_free() -> None:
    """The GPU bill lags behind the storage line of the month: from there on the cost is not known, not tiny."""
    storage = line(0, 240, "3", "disk")
    storage = BillLine("bill", "p", replace(storage.charge, component="storage"))
    found = costs({}, lines=[line(0, 6, "43.2"), storage])
    assert found.known == Intervals([(0, 6 * HOUR)])
    ended = costs({"k": card(end=6 * HOUR), "disk": replace(card("0.02"), component="storage")}, [held(0, 48)])
    assert ended.known == Intervals([(0, 6 * HOUR)])


def test_a_bill_without_an_exchange_rate_neither_costs_nor_supersedes() -> None:
    euro = line(0, 24, "60")
    euro = BillLine("bill", "p", replace(euro.charge, currency="EUR"))
    found = costs({"k": card()}, [held(0, 48)], [euro])
    assert found.by(ALL) == {("gpu", "configured"): Decimal(48 * 5)}
    assert found.no_exchange_rate == {"EUR"}


def test_a_correction_and_an_instant_charge_reach_the_workload_but_price_no_time() -> None:
    fix = line(0, 4, "-14.40", charge_class="Correction", quantity=Decimal(-2), unit="Hours")
    instant = BillLine("bill", "p", replace(line(5, 5, "0.30").charge))
    found = costs({"k": card()}, [held(0, 8)], [line(0, 4, "28.80"), fix, instant])
    assert found.by(ALL) == {("gpu", "billed"): Decimal("14.70"), ("gpu", "configured"): Decimal(4 * 5)}
    assert found.superseded_usd(ALL) == 4 * 5


def test_a_line_of_a_card_s_own_resource_pays_for_what_the_card_pays_for() -> None:
    odd = line(0, 24, "140", "i-1")
    odd = BillLine("bill", "p", replace(odd.charge, component="node", sku="8x H100 SXM5"))
    found = costs({"k": card(resources=("i-1",))}, [held(0, 24)], [odd])
    assert found.by(ALL) == {("gpu", "billed"): Decimal(140)}
    assert found.superseded_usd(ALL) == 24 * 5


def test_a_line_that_costs_nothing_leaves_the_card() -> None:
    """Instances in a capacity block are on the bill at 0: the block was paid for at once."""
    for one in (card(resources=("i-1",)), card()):
        found = costs({"k": one}, [held(0, 24)], [line(0, 24, "0", quantity=Decimal(24), unit="Hours")])
        assert found.by(ALL) == {("gpu", "configured"): Decimal(24 * 5)}
        assert not found.superseded_usd(ALL)
    assert not costs({}, lines=[line(0, 24, "0")]).known


def test_traffic_of_a_card_s_resource_leaves_the_card() -> None:
    half = line(0, 24, "60", quantity=Decimal(12), unit="Hours")
    traffic = line(0, 24, "0.45", quantity=Decimal(5), unit="GB")
    traffic = BillLine("bill", "p", replace(traffic.charge, component="egress"))
    found = costs({"k": card(resources=("i-1",))}, [held(0, 24)], [half, traffic])
    assert found.by(ALL) == {
        ("gpu", "billed"): Decimal(60),
        ("gpu", "configured"): Decimal(60),
        ("egress", "billed"): Decimal("0.45"),
    }


def test_a_card_that_names_machines_is_not_added_to_a_bill_that_names_none() -> None:
    for named in ({}, {"resources": ("i-1", "i-2")}, {"nodes": ("node-1",)}):
        found = costs({"k": card(**named)}, [held(0, 48)], [line(0, 24, "60", "")])
        assert found.by(ALL) == {("gpu", "billed"): Decimal(60), ("gpu", "configured"): Decimal(24 * 5)}
        assert found.superseded_usd(ALL) == 24 * 5


def test_one_disk_that_two_bills_write_differently_counts_once() -> None:
    arn = "arn:aws:ec2:us-east-1:123456789012:volume/vol-1a"
    disks = {"a": line(0, 24, "10", "vol-1a", provider="AWS"), "b": line(0, 24, "10", arn, provider="AWS")}
    lines = [BillLine(name, "p", replace(one.charge, component="storage")) for name, one in disks.items()]
    assert costs({}, lines=lines).by(ALL) == {("storage", "billed"): Decimal(10)}
