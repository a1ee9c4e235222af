"""The sums of `explain`: cost, tokens, API-equivalent, coverage and capacity, each input with source and age. Pure."""

from collections.abc import Iterator, Sequence
from decimal import Decimal

from collectors.records import HOUR
from exporter.intervals import Intervals
from exporter.publish import text
from exporter.publish.explain_case import Case, amount, amounts, per_million, plain, source_name, throughput
from exporter.publish.layout import prose, table
from exporter.reconcile import coverage
from exporter.reconcile.alternatives import ApiAlternative
from exporter.reconcile.build import running_on
from exporter.reconcile.derivation import (
    REQUESTS,
    BilledLine,
    CardLine,
    PriceLine,
    SourceLine,
    billed_lines,
    card_lines,
    fixed_lines,
    price_lines,
    source_lines,
)
from exporter.reconcile.report import EVIDENCE

GAPS_SHOWN = 3
RESOURCES_SHOWN = 3


def covered(case: Case) -> Intervals:
    return case.view.covered.clip(case.figures.asked.start, case.figures.asked.end)


def cost_section(case: Case) -> Iterator[str]:
    """C over T, and where every dollar of C is from."""
    figures, total = case.figures, sum(case.figures.tokens.values())
    if figures.cost_usd is None:
        yield f"EFFECTIVE COST  not known: {_why_no_cost(case)}"
        return
    priced = total - figures.unpriced_tokens
    per_token = (
        "" if figures.usd_per_token is None else f"{per_million(figures.usd_per_token)} USD per million tokens = "
    )
    yield f"EFFECTIVE COST  {per_token}C {amount(figures.cost_usd)} USD / T {priced:,} tokens"
    if case.view.path == "api":
        yield from _priced(case, None, "C")
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
    """C by component and evidence, a line for each card, bill and fixed cost; what bills superseded below."""
    within, fx = covered(case), case.inputs.fx
    found = [
        (b.usd, b.component, b.evidence, _billed(case, b))
        for b in billed_lines(case.billed, case.inputs.cards, fx, within)
    ]
    cards = [card for card in _cards(case) if card.usd_per_unit is not None]
    found += [
        (c.usd, c.card.component, "configured", _card(case, c)) for c in cards if c.hours or not c.superseded_hours
    ]
    workload = case.inputs.workload(case.view.name)
    monthly = workload.fixed_usd_per_month if workload else {}
    for name, usd in fixed_lines(monthly, case.view.costs.known, within).items():
        found.append((usd, "fixed", "configured", f"config: {name}, {plain(monthly[name])} USD a month of 730 h"))
    shown = amounts([usd for usd, *_ in found])
    rows = [("USD", "component", "evidence", "from")]
    rows += [(usd, component, evidence, how) for usd, (_, component, evidence, how) in zip(shown, found, strict=False)]
    yield from table([*rows, (shown[-1], "= C", "", "")], "rlll")
    for card in cards:
        if card.superseded_hours:
            much = f"{amount(card.superseded_usd)} USD for {plain(round(card.superseded_hours, 2))} h"
            yield from prose(f"Not counted, as a bill says what was paid: {much} of rate card {card.key}.")


def _cards(case: Case) -> list[CardLine]:
    inputs, view = case.inputs, case.view
    streams, noted = inputs.snapshot.streams, inputs.snapshot.reservations
    running = running_on(noted, inputs.cards, case.end)
    held = [(run, was.window.end) for run, was in zip(running, noted, strict=True) if was.workload == view.name]
    up = coverage.up(view.sources, streams)
    return card_lines(view, held, inputs.cards, case.billed, up, inputs.fx, covered(case))


def _card(case: Case, line: CardLine) -> str:
    """`4 h100-80gb x 2.49 USD/h x 168 h: rate card gpus, noted through ...`."""
    card, rate = line.card, line.usd_per_unit or Decimal(1)
    exchange = "" if card.currency == "USD" else f" x {plain(rate)} USD/{card.currency}"
    paid = " with the engine up" if card.while_running else ""
    sum_ = (
        f"{plain(line.count)} {card.gpu or card.component} x {plain(card.price_per_hour)} {card.currency}/h{exchange}"
    )
    noted = f"rate card {card.collector}, noted through {case.aged(line.through)}"
    return f"{sum_} x {plain(round(line.hours, 2))} h{paid}: {noted}"


def _billed(case: Case, line: BilledLine) -> str:
    named = ", ".join(line.resources[:RESOURCES_SHOWN])
    more = len(line.resources) - RESOURCES_SHOWN
    what = f" for {named}{f' and {more} more' if more > 0 else ''}" if named else ""
    count = "1 line" if line.lines == 1 else f"{line.lines:,} lines"
    return f"bill {line.collector}: {count}{what}, charged through {case.aged(line.through)}"


def tokens_section(case: Case) -> Iterator[str]:
    """Tokens by type, and the sources they were read from."""
    figures, total = case.figures, sum(case.figures.tokens.values())
    rate = ""
    if figures.covered_seconds:
        rate = f": {throughput(Decimal(total) / figures.covered_seconds)} tokens/s on average"
    much = f"{total:,} in {figures.requests:,} requests"
    yield f"TOKENS  {much} over {text.span(figures.covered_seconds)} covered{rate}"
    rows = [("tokens", "share", "token type")]
    rows += [(f"{n:,}", text.percent(Decimal(n) / total) if total else "", t) for t, n in figures.tokens.items()]
    yield from table(rows, "rrl") if figures.tokens else ()
    lines = source_lines(case.view, case.inputs.snapshot.streams, figures.asked, covered(case))
    if lines:
        yield ""
        sources = [("tokens", "requests", "complete through", "source")]
        sources += [(f"{one.tokens:,}", f"{one.requests:,}", _through(case, one), _source(one)) for one in lines]
        yield from table(sources, "rrll")


def _through(case: Case, line: SourceLine) -> str:
    return "never" if line.through is None else case.aged(line.through)


def _source(line: SourceLine) -> str:
    state = ", down when last seen" if line.down else ""
    state = f", gone since {text.instant(line.retired_at)}" if line.retired_at is not None else state
    return f"{source_name(line.source)}: {', '.join(sorted(line.models))}{state}"


def api_section(case: Case) -> Iterator[str]:
    """A: what the same tokens would cost at the primary alternative, and the totals of the others."""
    primary = case.primary
    if primary is None:
        return
    api, figures = case.api_usd, case.figures
    if api is None:
        why = f"no price for {primary.label}" if figures.covered_seconds else "no closed slot is covered yet"
        yield f"API-EQUIVALENT COST  not known: {why}"
    else:
        priced = sum(figures.tokens.values()) - figures.alternatives[primary.label].unpriced_tokens
        each = f"{per_million(api / priced)} USD per million tokens = " if priced else ""
        yield f"API-EQUIVALENT COST  {each}A {amount(api)} USD / {priced:,} tokens"
        yield from _priced(case, primary, "A")
    for other in case.view.alternatives[1:]:
        found = figures.alternatives[other.label]
        if found.cost_usd is not None and found.ratio is not None:
            total = amount(found.cost_usd)
            yield from prose(f"Also compared: {other.label}, {total} USD, A / C {plain(round(found.ratio, 3))}.")
        else:
            yield from prose(f"Also compared: {other.label}, cost not known.")


def _priced(case: Case, alternative: ApiAlternative | None, symbol: str) -> Iterator[str]:
    """Tokens x price for each type and price; the origins of the prices are numbered and listed below."""
    lines = price_lines(case.view, alternative, covered(case))
    origins = list(dict.fromkeys((one.key, one.origin, one.since) for one in lines if one.usd is not None))
    shown = amounts([one.usd or Decimal(0) for one in lines])
    rows: list[tuple[str, ...]] = [("tokens", "USD/Mtok", "USD", "price", "token type")]
    for one, usd in zip(lines, shown, strict=False):
        price, known = one.usd_per_token, one.usd is not None
        number = f"[{origins.index((one.key, one.origin, one.since)) + 1}]" if known else "none"
        each = text.DASH if price is None else per_million(price)
        rows.append((f"{one.tokens:,}", each, usd if known else text.DASH, number, _type(one)))
    rows += _totals(alternative, lines, shown[-1], symbol)
    yield from table(rows, "rrrll")
    for i, (key, origin, since) in enumerate(origins, 1):
        named = origin if origin.endswith(f"{key.provider}/{key.model}") else f"{origin}, as {key.provider}/{key.model}"
        force = "" if since is None else f", in force since {text.instant(since)}"
        dated = "" if case.catalogue_at is None or origin.startswith("override") else _catalogue(case.catalogue_at)
        yield from prose(f"[{i}] {named}{force}{dated}.", hanging=4)


def _totals(
    alternative: ApiAlternative | None, lines: Sequence[PriceLine], total: str, symbol: str
) -> list[tuple[str, ...]]:
    """The sum of a price table, and the discount on it."""
    if alternative is None or not alternative.discount:
        return [("", "", total, "", f"= {symbol}")]
    listed = sum((one.usd or Decimal(0) for one in lines), Decimal(0))
    _, less, left = amounts([listed, -listed * alternative.discount])
    label = f"discount {plain(alternative.discount * 100)} %"
    return [("", "", total, "", "= sum"), ("", "", less, "", label), ("", "", left, "", f"= {symbol}")]


def _catalogue(at: int) -> str:
    return f", catalogue of {text.instant(at)[:10]}"


def _type(line: PriceLine) -> str:
    """`cache_read (no cache price: as input), prompts above 200,000`."""
    name = "requests, USD per million" if line.token_type == REQUESTS else line.token_type
    name += " (no cache price: as input)" if line.as_input else ""
    name += f", prompts above {line.band:,} tokens" if line.band else ""
    tier = line.key.service_tier
    return name + ("" if tier in ("", "default") else f", tier {tier}") + ("" if line.usd is not None else ": unpriced")


def coverage_section(case: Case) -> Iterator[str]:
    """How much of the window counts, and what every source is missing of the rest."""
    figures, asked = case.figures, case.figures.asked
    within = f"{text.instant(asked.start)} to {text.instant(asked.end)}"
    share = text.percent(figures.coverage_ratio)
    yield f"COVERAGE  {share}: {text.span(figures.covered_seconds)} of {text.span(asked.seconds)}, {within}"
    yield from prose(f"Below {text.percent(case.settings.min_coverage)} the status is unknown.")
    rows = []
    for line in source_lines(case.view, case.inputs.snapshot.streams, asked, Intervals()):
        rows.append((_missing(line.missing), source_name(line.source) + _gaps(line.missing)))
    if case.view.path == "self_hosted":
        unknown = Intervals([(asked.start, asked.end)]) - case.view.costs.known
        rows.append((_missing(unknown), f"cost: no card and no bill{_gaps(unknown)}" if unknown else "cost"))
    yield from table([("missing", "of"), *rows], "rl")


def _missing(gaps: Intervals) -> str:
    return text.span(gaps.seconds) if gaps else "nothing"


def _gaps(gaps: Intervals) -> str:
    """The newest gaps, as `: 2026-11-18 03:00 UTC for 2 h`."""
    if not gaps:
        return ""
    newest = list(gaps)[-GAPS_SHOWN:]
    older = len(gaps.spans) - len(newest)
    shown = [f"{text.instant(start)} for {text.span(end - start)}" for start, end in newest]
    return ": " + ", ".join([*([f"{older} older gaps"] if older else []), *shown])


def capacity_section(case: Case) -> Iterator[str]:
    """Utilization against break-even utilization, and what the unused part costs."""
    shown, decision = case.shown, case.decision
    if case.view.path != "self_hosted":
        return
    if shown.capacity_tokens_per_second is None:
        yield "CAPACITY  not known"
        return
    origin = "configured" if not shown.capacity_samples else f"learned from {shown.capacity_samples} slots with a queue"
    used = "" if shown.utilization_ratio is None else f", {text.percent(shown.utilization_ratio)} of it used"
    yield f"CAPACITY  {throughput(shown.capacity_tokens_per_second)} tokens/s, all ready replicas ({origin}){used}"
    least = decision.break_even_utilization_ratio if decision else None
    if least is not None:
        beyond = ": these replicas cannot break even at this price" if least > 1 else ""
        yield from prose(f"Break-even is at {text.percent(least)} utilization{beyond}.")
    if shown.unused_capacity_usd is not None and case.figures.cost_of("gpu"):
        per_hour = shown.unused_capacity_usd * HOUR / case.figures.covered_seconds
        yield from prose(
            f"Unused capacity cost {amount(shown.unused_capacity_usd)} USD of C ({text.usd(per_hour)} an hour)."
        )
