"""The lines of a self-hosted workload's cost are the published sums, not yet added up."""

from collections import defaultdict
from dataclasses import replace
from decimal import Decimal

import pytest

from exporter.reconcile import coverage
from exporter.reconcile.billing import matched
from exporter.reconcile.build import Inputs, running_on, views
from exporter.reconcile.derived_costs import billed_lines, card_lines, fixed_lines
from exporter.reconcile.workload import WorkloadView
from tests.exporter.publish import chat
from tests.exporter.publish.chat import DAY, END, HOUR

SPANS = [(0, 7 * DAY), (0, HOUR), (2 * DAY, 4 * DAY + 7 * HOUR), (6 * DAY, 7 * DAY + 23 * HOUR)]


def chat_view(given: Inputs) -> WorkloadView:
    return next(view for view in views(given, END) if view.name == "chat")


def split_cards(given: Inputs) -> Inputs:
    """The GPU card names two resources, of which the bill knows one; storage is paid only while the engine is up."""
    gpu, storage = chat.CARDS
    cards = {
        gpu: replace(chat.CARDS[gpu], resources=("i-0a1", "i-0a2")),
        storage: replace(chat.CARDS[storage], while_running=True),
    }
    return replace(given, cards=cards)


@pytest.mark.parametrize("given", [chat.inputs(), split_cards(chat.inputs())], ids=["plain", "split"])
@pytest.mark.parametrize(("start", "end"), SPANS)
def test_the_lines_of_a_cost_add_up_to_it(given: Inputs, start: int, end: int) -> None:
    view = chat_view(given)
    figures = view.window(chat.START + start, chat.START + end)
    covered = view.covered.clip(figures.asked.start, figures.asked.end)
    lines = matched(given.snapshot.bill, given.config, given.cards).claimed["chat"]
    held = [(one, one.window.end) for one in running_on(given.snapshot.reservations, given.cards, END)]
    up = coverage.up(view.sources, given.snapshot.streams)
    sums: defaultdict[tuple[str, str], Decimal] = defaultdict(Decimal)
    cards = card_lines(held, given.cards, lines, up, given.fx, covered)
    for card in cards:
        sums[card.card.component, "configured"] += card.usd
        rate = card.count * card.card.price_per_hour * (card.usd_per_unit or 0)
        assert card.usd == pytest.approx(rate * card.hours, rel=Decimal("1e-20"))
    for bill in billed_lines(view.costs.counted, covered):
        sums[bill.component, bill.evidence] += bill.usd
    sums["fixed", "configured"] += sum(
        fixed_lines(given.config.workloads[0].fixed_usd_per_month, view.costs.known, covered).values(), Decimal(0)
    )
    assert {k: v for k, v in sums.items() if v} == {
        k: pytest.approx(v, rel=Decimal("1e-20")) for k, v in figures.cost_by.items() if v
    }
    superseded = sum((card.superseded_usd for card in cards), Decimal(0))
    assert superseded == pytest.approx(figures.superseded_usd, rel=Decimal("1e-20"))
