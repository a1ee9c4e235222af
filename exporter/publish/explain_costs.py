"""The cost section of `explain`: C and every amount in it as a sum that can be made again, with its source. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal

from exporter.prices.nodes import NodePrice
from exporter.publish import text
from exporter.publish.explain_case import Case, amount, amounts, covered, per_million, plain
from exporter.publish.explain_prices import priced
from exporter.publish.layout import prose, table
from exporter.reconcile import coverage
from exporter.reconcile.build import running_on
from exporter.reconcile.derived_costs import (
    BilledLine,
    CardLine,
    NodeLine,
    Said,
    SupersededLine,
    billed_lines,
    card_lines,
    fixed_lines,
    node_lines,
    superseded_lines,
)
from exporter.reconcile.evidence import BILLED
from exporter.reconcile.report import EVIDENCE

NAMES_SHOWN = 3

_Row = tuple[Decimal, str, str, str]
"""USD, component, evidence, and how it comes about."""


def cost_section(case: Case) -> Iterator[str]:
    """C over T, and where every dollar of C is from."""
    figures, total = case.figures, sum(case.figures.tokens.values())
    if figures.cost_usd is None:
        yield f"EFFECTIVE COST  not known: {_why_no_cost(case)}"
        return
    tokens = total - figures.unpriced_tokens
    per_token = (
        "" if figures.usd_per_token is None else f"{per_million(figures.usd_per_token)} USD per million tokens = "
    )
    yield f"EFFECTIVE COST  {per_token}C {amount(figures.cost_usd)} USD / T {tokens:,} tokens"
    if case.view.path == "api":
        yield from priced(case, None, "C")
    else:
        yield from _rents(case)
    shares = (f"{text.percent(case.shown.evidence_ratio[e])} {e}" for e in EVIDENCE if case.shown.evidence_ratio.get(e))
    if any(case.shown.evidence_ratio.values()):
        yield from prose(f"Evidence, by dollars: {', '.join(shares)}.")


def _why_no_cost(case: Case) -> str:
    if case.view.path == "api":
        return "no token has a price" if case.figures.covered_seconds else "no closed slot is covered yet"
    asked = case.figures.asked
    known = case.view.costs.known.clip(asked.start, asked.end)
    if known or case.view.costs.known:
        return "no closed slot is covered yet"
    return "no rate card and no bill is for this workload"


def _rents(case: Case) -> Iterator[str]:
    """C by component and evidence, a line for each card, bill, kind of node and fixed cost; what was replaced below."""
    within, costs = covered(case), case.view.costs
    nodes = node_lines(costs.counted, within)
    prices = {price: i for i, price in enumerate(dict.fromkeys(node.price for node in nodes), 1)}
    cards = [card for card in _cards(case) if card.usd_per_unit is not None]
    found: list[_Row] = [
        (b.usd, b.component, b.evidence, _billed(case, b)) for b in billed_lines(costs.counted, within)
    ]
    found += [(n.usd, "gpu", n.evidence, _nodes(case, n, prices)) for n in nodes]
    found += [
        (c.usd, c.card.component, "configured", _card(case, c)) for c in cards if c.hours or not c.superseded_hours
    ]
    found += _fixed(case)
    shown = amounts([usd for usd, *_ in found])
    rows = [("USD", "component", "evidence", "from")]
    rows += [(usd, component, evidence, how) for usd, (_, component, evidence, how) in zip(shown, found, strict=False)]
    yield from table([*rows, (shown[-1], "= C", "", "")], "rlll")
    yield from _notes(nodes, prices)
    for card in cards:
        if card.superseded_hours:
            much = f"{amount(card.superseded_usd)} USD for {_hours(card.superseded_hours)} of rate card {card.key}"
            yield from prose(f"Not counted, as {_because(card.by)}: {much}.", hanging=2)
    for line in superseded_lines(costs.superseded, costs.counted, within):
        yield from prose(f"Not counted, as {_because(line.by)}: {_replaced(line)}.", hanging=2)


def _cards(case: Case) -> list[CardLine]:
    inputs, view = case.inputs, case.view
    streams, noted = inputs.snapshot.streams, inputs.snapshot.reservations
    running = running_on(noted, inputs.cards, case.end)
    held = [(run, was.window.end) for run, was in zip(running, noted, strict=True) if was.workload == view.name]
    up = coverage.up(view.sources, streams)
    return card_lines(held, inputs.cards, case.billed, up, inputs.fx, covered(case), case.nodes)


def _fixed(case: Case) -> list[_Row]:
    workload = case.inputs.workload(case.view.name)
    monthly = workload.fixed_usd_per_month if workload else {}
    lines = fixed_lines(monthly, case.view.costs.known, covered(case))
    return [
        (usd, "fixed", "configured", f"config: {name}, {plain(monthly[name])} USD a month of 730 h")
        for name, usd in lines.items()
    ]


def _card(case: Case, line: CardLine) -> str:
    """`4 h100-80gb x 2.49 USD/h x 168 h: rate card gpus, noted through ...`."""
    card = line.card
    rate = f"{plain(line.count)} {card.gpu or card.component} x {_rate(case, card.price_per_hour, card.currency)}"
    paid = " with the engine up" if card.while_running else ""
    noted = f"rate card {card.collector}, noted through {case.aged(line.through)}"
    return f"{rate} x {_hours(line.hours)}{paid}: {noted}"


def _rate(case: Case, per_hour: Decimal, currency: str, note: str = "") -> str:
    """`2.49 USD/h`, `2.49 EUR/h x 1.08 USD/EUR`."""
    exchange = "" if currency == "USD" else f" x {plain(case.inputs.fx[currency])} USD/{currency}"
    return f"{plain(per_hour)} {currency}/h{note}{exchange}"


def _hours(hours: Decimal) -> str:
    """With as many digits as leave an amount right to the cent."""
    return f"{plain(round(hours, 4))} h"


def _nodes(case: Case, line: NodeLine, prices: Mapping[NodePrice, int]) -> str:
    """`aws-1: 55.04 USD/h [1] x 0.62 as billed x 4 of 8 GPUs x 60.25 h`."""
    several = len(line.nodes) > 1
    who = f"{len(line.nodes)} nodes ({_some(line.nodes)})" if several else _some(line.nodes)
    rate = _rate(case, line.price.price_per_hour, line.price.currency, f" [{prices[line.price]}]")
    learned = "" if line.factor is None else f" x {_factor(line.factor)} as billed"
    share = _share(line.gpus, line.share)
    return f"{who}: {rate}{learned}{share and f' x {share}'} x {_hours(line.hours)}{' in all' if several else ''}"


def _factor(factor: Decimal) -> str:
    return plain(round(factor, 6))


def _share(gpus: Decimal | None, share: Decimal) -> str:
    """`4 of 8 GPUs`; nothing where it is not by GPUs."""
    if gpus is None:
        return ""
    return f"{plain(round(gpus * share, 4))} of {plain(gpus)} GPU{'' if gpus == 1 else 's'}"


def _notes(nodes: Sequence[NodeLine], prices: Mapping[NodePrice, int]) -> Iterator[str]:
    """Where the list prices of nodes are from, and what their factors are."""
    for price, number in prices.items():
        seen = sorted({node.collector for node in nodes if node.price == price})
        yield from prose(f"[{number}] {price.origin}; seen by {', '.join(seen)}.", hanging=4)
    if any(node.factor is not None for node in nodes):
        yield from prose(
            "As billed: what bills for such nodes came to over the last 7 settled days, by the list price of the same "
            "node-hours. Time that is not billed yet is estimated so.",
            hanging=2,
        )


def _some(names: Sequence[str]) -> str:
    """The first few names, and how many more there are."""
    more = len(names) - NAMES_SHOWN
    return f"{', '.join(names[:NAMES_SHOWN])}{f' and {more} more' if more > 0 else ''}"


def _billed(case: Case, line: BilledLine) -> str:
    what = f" for {_some(line.resources)}" if line.resources else ""
    count = "1 line" if line.lines == 1 else f"{line.lines:,} lines"
    share = _share(line.gpus, line.share)
    whose = "its" if len(line.resources) == 1 else "on each"
    part = f", {amount(line.usd / line.share)} USD x {whose} {share}" if share and line.share else ""
    return f"bill {line.collector}: {count}{what}{part}, charged through {case.aged(line.through)}"


def _because(by: Sequence[Said]) -> str:
    """Who said better, as in `Not counted, as ...`."""
    if not by:
        return "the bill for it is claimed as a whole by a rate card or a tag"
    bills = sorted({collector for evidence, collector in by if evidence in BILLED})
    reasons = [f"bill {bills[0]} says what was paid"] if len(bills) == 1 else []
    reasons += [f"bills {' and '.join(bills)} say what was paid"] if len(bills) > 1 else []
    reasons += [_SAYS[evidence].format(collector) for evidence, collector in by if evidence in _SAYS]
    return " and ".join(reasons)


_SAYS = {
    "calibrated": "the list price times what bills made of it is better evidence (nodes seen by {})",
    "configured": "rate card {} says what is paid",
}


def _replaced(line: SupersededLine) -> str:
    """What of a bill, or of list prices, does not count."""
    names = f" for {_some(line.names)}" if line.names else ""
    if line.evidence in BILLED:
        return f"{amount(line.usd)} USD of bill {line.collector}{names}, the same charge"
    learned = " x what bills made of it" if line.evidence == "calibrated" else ""
    return f"{amount(line.usd)} USD of list price{learned} for {_hours(line.hours)} of {_some(line.names)}"
