"""Rate cards: what accrues, when, at which count, and what makes a rate the same one after an edit."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from collectors import Context
from collectors.billing.rate_card import Rate, RateCard, RateCardSettings, cards
from collectors.records import Batch, Failure, Reservation, Window
from collectors.settings import Instant, Money

JAN, FEB, MAR = 1767225600, 1769904000, 1772323200
CHAT = Rate("chat", gpu="h100-80gb", count=Money("2"), usd_per_hour=Money("2.49"))


def settings(*rates: Rate) -> RateCardSettings:
    return RateCardSettings("gpus", "rate_card", rates)


def collected(one: RateCardSettings, now: int, cursors: Mapping[str, str]) -> list[Batch]:
    found: list[Batch | Failure] = list(RateCard(one, Context(first_start=0)).collect(now, cursors))
    return [batch for batch in found if isinstance(batch, Batch)]


def accrued(one: RateCardSettings, *times: int, cursors: dict[str, str] | None = None) -> list[Reservation]:
    """What was reserved after collecting at each of `times`; `cursors` are moved along."""
    cursors = {} if cursors is None else cursors
    found: list[Reservation] = []
    for now in times:
        for batch in collected(one, now, cursors):
            assert batch.cursor is not None
            assert batch.window is None
            cursors[batch.part] = batch.cursor
            found += [row for row in batch.reservations if row.window.seconds]
    return found


def test_a_rate_accrues_from_when_it_is_first_seen() -> None:
    (batch,) = collected(settings(CHAT), JAN, {})
    assert [row.window for row in batch.reservations] == [Window(JAN, JAN)]  # known from here on, nothing accrued
    rows = accrued(settings(CHAT), JAN, JAN + 60, JAN + 3600)
    assert [row.window for row in rows] == [Window(JAN, JAN + 60), Window(JAN + 60, JAN + 3600)]
    assert {(row.card, row.workload, row.gpu, row.count) for row in rows} == {
        ("gpus/chat/gpu", "chat", "h100-80gb", Decimal(2))
    }


def test_a_start_in_the_past_accrues_from_there_and_a_later_one_from_then() -> None:
    since = settings(replace(CHAT, from_=Instant(JAN)))
    assert [row.window for row in accrued(since, FEB)] == [Window(JAN, FEB)]
    later = settings(replace(CHAT, from_=Instant(FEB)))
    assert [row.window for row in accrued(later, JAN, JAN + 60, FEB, FEB + 60)] == [Window(FEB, FEB + 60)]


def test_a_rate_ends_where_it_is_said_to() -> None:
    one = settings(replace(CHAT, from_=Instant(JAN), until=Instant(FEB)))
    assert [row.window for row in accrued(one, JAN + 60, MAR, MAR + 60)] == [
        Window(JAN, JAN + 60),
        Window(JAN + 60, FEB),
    ]


def test_an_end_set_later_keeps_the_rate_the_same_one() -> None:
    cursors: dict[str, str] = {}
    accrued(settings(replace(CHAT, from_=Instant(JAN))), FEB, cursors=cursors)
    ended = settings(replace(CHAT, from_=Instant(JAN), until=Instant(JAN + 60)))
    assert accrued(ended, MAR, cursors=cursors) == []
    assert {card.end for card in cards(ended).values()} == {JAN + 60}


def test_time_without_the_exporter_is_accrued_at_the_next_collect() -> None:
    assert [row.window for row in accrued(settings(CHAT), JAN, MAR)] == [Window(JAN, MAR)]


def test_a_clock_that_goes_back_accrues_nothing() -> None:
    assert accrued(settings(CHAT), JAN, JAN - 3600) == []


def test_a_changed_count_holds_from_now_on_not_for_the_outage_before() -> None:
    cursors: dict[str, str] = {}
    rows = accrued(settings(CHAT), JAN, FEB, cursors=cursors)
    rows += accrued(settings(replace(CHAT, count=Money("3"))), MAR, MAR + 60, cursors=cursors)
    assert [(row.count, row.window) for row in rows] == [
        (Decimal(2), Window(JAN, FEB)),
        (Decimal(2), Window(FEB, MAR)),
        (Decimal(3), Window(MAR, MAR + 60)),
    ]
    assert len({row.card for row in rows}) == 1


def test_a_count_changed_twice_within_a_second_is_the_last_one() -> None:
    cursors: dict[str, str] = {}
    accrued(settings(CHAT), JAN, FEB, cursors=cursors)
    accrued(settings(replace(CHAT, count=Money("3"))), FEB, cursors=cursors)
    (row,) = accrued(settings(replace(CHAT, count=Money("5"))), MAR, cursors=cursors)
    assert (row.count, row.window) == (Decimal(3), Window(FEB, MAR))


def test_a_count_changed_after_the_end_changes_nothing() -> None:
    cursors: dict[str, str] = {}
    ended = replace(CHAT, until=Instant(FEB))
    accrued(settings(ended), JAN, cursors=cursors)
    rows = accrued(settings(replace(ended, count=Money("3"))), MAR, MAR + 60, cursors=cursors)
    assert [(row.count, row.window) for row in rows] == [(Decimal(2), Window(JAN, FEB))]


def test_the_cursor_of_the_first_release_is_read() -> None:
    (row,) = accrued(settings(CHAT), FEB, cursors={"chat/gpu": str(JAN)})
    assert (row.count, row.window) == (Decimal(2), Window(JAN, FEB))


OTHER = Rate("other", usd_per_hour=Money("1"))


def held(rows: Sequence[Reservation], workload: str = "chat") -> list[tuple[Decimal, Window]]:
    return [(row.count, row.window) for row in rows if row.workload == workload]


@pytest.mark.parametrize("old", [False, True], ids=["cursor", "cursor of the first release"])
def test_a_rate_taken_out_and_put_back_is_not_charged_for_the_time_between(old: bool) -> None:
    cursors: dict[str, str] = {"chat/gpu": str(JAN)} if old else {}
    rows = accrued(settings(OTHER), JAN, FEB, cursors=cursors)
    if not old:
        rows = accrued(settings(CHAT, OTHER), FEB, FEB + 60, cursors=cursors)
    assert accrued(settings(OTHER), FEB + 120, FEB + 180, cursors=cursors)
    rows = accrued(settings(CHAT, OTHER), MAR, MAR + 60, cursors=cursors)
    assert held(rows) == [(Decimal(2), Window(MAR, MAR + 60))]


def test_a_rate_put_back_with_a_start_is_charged_for_its_period_once() -> None:
    since = replace(CHAT, from_=Instant(JAN))
    cursors: dict[str, str] = {}
    assert held(accrued(settings(since, OTHER), FEB, cursors=cursors)) == [(Decimal(2), Window(JAN, FEB))]
    accrued(settings(OTHER), FEB + 60, FEB + 120, cursors=cursors)
    again = accrued(settings(replace(since, count=Money("3")), OTHER), MAR, MAR + 60, cursors=cursors)
    assert held(again) == [(Decimal(3), Window(FEB, MAR)), (Decimal(3), Window(MAR, MAR + 60))]


def test_a_rate_taken_out_ends_in_the_ledger() -> None:
    """What is not noted runs on to now: nothing of a rate that is gone may, not even while it is being put back."""
    cursors: dict[str, str] = {}
    accrued(settings(CHAT, OTHER), JAN, FEB, cursors=cursors)
    assert len(collected(settings(OTHER), FEB, cursors)) == 0  # not later than its last second: next time
    (batch, _) = sorted(collected(settings(OTHER), FEB + 60, cursors), key=lambda batch: batch.part)
    (end,) = batch.reservations
    assert (end.card, end.workload, end.count, end.window) == (
        "gpus/chat/gpu",
        "chat",
        Decimal(0),
        Window(FEB + 60, FEB + 60),
    )


def test_another_gpu_name_keeps_the_rate_the_same_one() -> None:
    cursors: dict[str, str] = {}
    rows = accrued(settings(CHAT), JAN, FEB, cursors=cursors)
    rows += accrued(settings(replace(CHAT, gpu="h100")), MAR, cursors=cursors)
    assert [row.window for row in rows] == [Window(JAN, FEB), Window(FEB, MAR)]
    assert {row.card for row in rows} <= set(cards(settings(CHAT))) & set(cards(settings(replace(CHAT, gpu="h100"))))


def test_a_part_named_after_its_gpu_goes_on() -> None:
    cursors = {"chat/h100-80gb/gpu": str(JAN)}
    (row,) = accrued(settings(CHAT), FEB, cursors=cursors)
    assert (row.card, row.window) == ("gpus/chat/h100-80gb/gpu", Window(JAN, FEB))
    assert cards(settings(CHAT))[row.card] == cards(settings(CHAT))["gpus/chat/gpu"]
    assert list(cursors) == ["chat/h100-80gb/gpu"]


def test_a_second_gpu_listed_below_leaves_the_first_rate_what_it_was() -> None:
    a100 = replace(CHAT, gpu="a100-80gb", usd_per_hour=Money("1.29"))
    cursors: dict[str, str] = {}
    first = accrued(settings(CHAT), JAN, FEB, cursors=cursors)
    both = accrued(settings(CHAT, a100), MAR, MAR + 60, cursors=cursors)
    assert {row.card for row in first} == {row.card for row in both if row.gpu == CHAT.gpu}
    assert [row.window for row in both if row.gpu == "a100-80gb"] == [Window(MAR, MAR + 60)]
    (alone, *_) = accrued(settings(a100), MAR + 120, cursors=cursors)  # the first one ended: the second stays itself
    assert {alone.card} == {row.card for row in both if row.gpu == "a100-80gb"}
    assert cards(settings(a100))[alone.card].price_per_hour == Decimal("1.29")


RATES = st.lists(
    st.builds(
        Rate,
        st.sampled_from(["a", "a/b"]),
        gpu=st.sampled_from(["", "b", "c"]),
        usd_per_hour=st.just(Money("1")),
        from_=st.sampled_from([None, Instant(JAN)]),
        component=st.sampled_from(["gpu", "node"]),
    ),
    min_size=1,
    max_size=6,
)


@given(RATES)
def test_every_rate_has_a_name_of_its_own(rates: list[Rate]) -> None:
    one = settings(*rates)
    rows = accrued(one, FEB, FEB + 60)
    assert len({row.card for row in rows}) == len(rates)
    assert all(cards(one)[row.card].workload == row.workload for row in rows)


@given(st.lists(st.tuples(RATES, st.integers(1, 5)), min_size=1, max_size=6))
def test_no_edit_of_the_config_reserves_a_second_twice(edits: list[tuple[list[Rate], int]]) -> None:
    cursors: dict[str, str] = {}
    rows: list[Reservation] = []
    now = FEB
    for rates, looks in edits:
        for _ in range(looks):
            now += 60
            rows += accrued(settings(*rates), now, cursors=cursors)
    for card in {row.card for row in rows}:
        spans = sorted(row.window for row in rows if row.card == card)
        assert all(one.end <= other.start for one, other in itertools.pairwise(spans))


def test_a_changed_price_prices_the_same_reservations() -> None:
    (row,) = accrued(settings(CHAT), JAN, FEB)
    dearer = cards(settings(replace(CHAT, usd_per_hour=Money("3.00"))))
    assert dearer[row.card].price_per_hour == Decimal("3.00")


def test_rates_that_are_alike_are_told_apart() -> None:
    spot = replace(CHAT, usd_per_hour=Money("1.10"), count=Money("1"))
    one = settings(CHAT, spot)
    rows = accrued(one, JAN, FEB)
    assert [cards(one)[row.card].price_per_hour for row in rows] == [Decimal("2.49"), Decimal("1.10")]


def test_the_card_says_all_of_the_price() -> None:
    rate = Rate(
        "chat",
        price_per_hour=Money("2.10"),
        currency="eur",
        billing="while_running",
        resources=("i-1",),
        nodes=("node-1",),
        from_=Instant(JAN),
    )
    (card,) = cards(settings(rate)).values()
    assert (card.price_per_hour, card.currency, card.while_running) == (Decimal("2.10"), "EUR", True)
    assert (card.start, card.end, card.resources, card.nodes, card.collector) == (
        JAN,
        None,
        ("i-1",),
        ("node-1",),
        "gpus",
    )
    (row,) = accrued(settings(rate), FEB)
    assert (row.while_running, row.resources, row.node) == (True, ("i-1",), "node-1")


def load(rate: dict[str, Any]) -> RateCardSettings:
    return TypeAdapter(RateCardSettings).validate_python({"name": "gpus", "kind": "rate_card", "rates": [rate]})


def test_the_yaml_keys_are_from_and_until() -> None:
    read = load({"workload": "chat", "usd_per_hour": "2.49", "from": "2026-01-01", "until": "2026-02-01T00:00:00Z"})
    assert (read.rates[0].from_, read.rates[0].until, read.interval) == (JAN, FEB, 60)


@pytest.mark.parametrize(
    ("rate", "where", "expected"),
    [
        ({}, (), "exactly one of usd_per_hour"),
        ({"usd_per_hour": "1", "price_per_hour": "1", "currency": "EUR"}, (), "exactly one of usd_per_hour"),
        ({"price_per_hour": "1"}, (), "currency beside price_per_hour"),
        ({"usd_per_hour": "1", "currency": "EUR"}, (), "currency beside price_per_hour"),
        ({"usd_per_hour": "-1"}, (), "at least 0"),
        ({"usd_per_hour": "1", "count": 0}, (), "count above 0"),
        ({"usd_per_hour": 2.49}, ("usd_per_hour",), "quoted decimal"),
        ({"usd_per_hour": "1", "from": "soon"}, ("from",), "expected a date"),
        ({"usd_per_hour": "1", "from_": "2026-01-01"}, ("from_",), "Unexpected keyword"),
        ({"usd_per_hour": "1", "from": "2026-02-01", "until": "2026-01-01"}, (), "until (2026-01-01T00:00:00Z) after"),
        ({"usd_per_hour": "1", "component": "fixed"}, ("component",), "'gpu'"),
        ({"usd_per_hour": "1", "workload": ""}, (), "name of the workload"),
    ],
)
def test_a_wrong_rate_names_its_path_and_what_was_expected(
    rate: dict[str, Any], where: tuple[str, ...], expected: str
) -> None:
    with pytest.raises(ValidationError) as caught:
        load({"workload": "chat", **rate})
    (error,) = caught.value.errors()
    assert error["loc"] == ("rates", 0, *where)
    assert expected in error["msg"]


def test_a_card_without_rates_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least one rate"):
        settings()
