"""Rate cards: what accrues, when, at which count, and what makes a rate the same one after an edit."""

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
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
        ("gpus/chat/h100-80gb/gpu", "chat", "h100-80gb", Decimal(2))
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


def test_a_changed_count_holds_from_now_on() -> None:
    cursors: dict[str, str] = {}
    rows = accrued(settings(CHAT), JAN, FEB, cursors=cursors)
    rows += accrued(settings(replace(CHAT, count=Money("3"))), MAR, cursors=cursors)
    assert [(row.count, row.window) for row in rows] == [(Decimal(2), Window(JAN, FEB)), (Decimal(3), Window(FEB, MAR))]
    assert len({row.card for row in rows}) == 1


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
