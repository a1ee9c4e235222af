"""The lines of a derivation are the published sums, not yet added up."""

from collections import defaultdict
from dataclasses import replace
from decimal import Decimal

import pytest

from collectors.records import Charge, Window
from exporter.breakeven.status import status
from exporter.intervals import Intervals
from exporter.ledger.snapshot import BillLine
from exporter.prices.book import Rate
from exporter.reconcile.build import Inputs, views
from exporter.reconcile.derivation import (
    REQUESTS,
    evaluated_again,
    price_lines,
    source_lines,
)
from exporter.reconcile.workload import WorkloadView
from tests.exporter.publish import chat
from tests.exporter.publish.chat import DAY, END, HOUR

SPANS = [(0, 7 * DAY), (0, HOUR), (2 * DAY, 4 * DAY + 7 * HOUR), (6 * DAY, 7 * DAY + 23 * HOUR)]


def chat_view(given: Inputs) -> WorkloadView:
    return next(view for view in views(given, END) if view.name == "chat")


@pytest.mark.parametrize(("start", "end"), SPANS)
def test_the_lines_of_a_price_table_add_up_to_the_api_equivalent_cost(start: int, end: int) -> None:
    given = chat.inputs()
    (rate,) = given.book.rates[chat.TOGETHER]
    dated = (replace(rate, end=chat.START + 3 * DAY), replace(rate, start=chat.START + 3 * DAY, per_request=Decimal(1)))
    day = Rate(rate.bands, day=(6 * HOUR, 20 * HOUR), origin="night")
    given = replace(
        given, book=given.book.extended({chat.TOGETHER: dated, chat.ACME: (day, *given.book.rates[chat.ACME])})
    )
    view = chat_view(given)
    figures = view.window(chat.START + start, chat.START + end)
    covered = view.covered.clip(figures.asked.start, figures.asked.end)
    for alternative in view.alternatives:
        lines = price_lines(view, alternative, covered)
        listed = sum((line.usd for line in lines if line.usd is not None), Decimal(0))
        other = figures.alternatives[alternative.label]
        assert listed * (1 - alternative.discount) == other.cost_usd
        assert sum(line.tokens for line in lines if line.usd is None) == other.unpriced_tokens
        types: defaultdict[str, int] = defaultdict(int)
        for line in lines:
            types[line.token_type] += line.tokens
        requests = types.pop(REQUESTS, None)
        assert types == {t: n for t, n in figures.tokens.items() if n}
        assert requests is None or 0 < requests <= figures.requests


def test_the_sources_of_a_workload_add_up_to_its_tokens() -> None:
    given = chat.inputs()
    view = chat_view(given)
    figures = view.window(END - DAY, END)
    lines = source_lines(view, given.snapshot.streams, figures.asked, view.covered.clip(END - DAY, END))
    assert sum(line.tokens for line in lines) == sum(figures.tokens.values())
    assert sum(line.requests for line in lines) == figures.requests
    assert {line.source: line.missing for line in lines} == {chat.A: Intervals(), chat.B: Intervals([chat.GAP])}


def test_a_source_is_missing_nothing_before_it_was_there_and_after_it_went() -> None:
    seen = Intervals([(END - 6 * HOUR, END - 3 * HOUR)])
    came_and_went = replace(chat.stream(), first_seen=END - 6 * HOUR, retired_at=END - 2 * HOUR, observed=seen, up=seen)
    given = chat.inputs()
    streams = {**given.snapshot.streams, chat.B: came_and_went}
    lines = source_lines(chat_view(given), streams, Window(END - DAY, END), Intervals())
    (line,) = [line for line in lines if line.source == chat.B]
    assert line.missing == Intervals([(END - 3 * HOUR, END - 2 * HOUR)])
    assert (line.through, line.retired_at, line.down) == (END - 3 * HOUR, END - 2 * HOUR, False)
    lost = {source: stream for source, stream in streams.items() if source != chat.B}
    (line,) = [x for x in source_lines(chat_view(given), lost, Window(0, 60), Intervals()) if x.source == chat.B]
    assert (line.through, line.missing) == (None, Intervals([(0, 60)]))


def test_evaluations_made_again_on_the_same_data_lead_to_the_same_status() -> None:
    given, _, stored, states = chat.week()
    view, own = chat_view(given), [e for e in stored if e.workload == "chat"]
    again = evaluated_again(view, view.alternatives[0], own, given.decision("chat"), 0, END)
    assert status(again) == status(states["chat", "self_hosted", "api:together/llama"])


def test_evaluations_made_again_see_a_later_bill() -> None:
    """A bill of a tenth of the card for the last two days: what was dearer than the API is cheaper."""
    given, _, stored, _ = chat.week()
    cheap = [
        BillLine(
            "b", "p", Charge(Window(at, at + HOUR), "Usage", "USD", Decimal("0.1"), Decimal("0.1"), resource="i-0a1")
        )
        for at in range(END - 3 * DAY, END, HOUR)
    ]
    gpus = tuple(replace(line, charge=replace(line.charge, component="gpu")) for line in cheap)
    later = replace(given, snapshot=replace(given.snapshot, bill=gpus))
    view, own = chat_view(later), [e for e in stored if e.workload == "chat"]
    settings = given.decision("chat")
    assert status(evaluated_again(view, view.alternatives[0], own, settings, END - 2 * DAY, END)).name != "api_cheaper"
    assert status(evaluated_again(view, view.alternatives[0], own, settings, END, END)).name == "api_cheaper"
