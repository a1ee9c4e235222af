"""The other sums of `explain`: tokens, API-equivalent, coverage and capacity, each input with source and age. Pure."""

from collections.abc import Iterator
from decimal import Decimal

from collectors.records import HOUR
from exporter.intervals import Intervals
from exporter.publish import text
from exporter.publish.explain_case import Case, amount, covered, per_million, plain, source_name, throughput
from exporter.publish.explain_prices import priced
from exporter.publish.layout import prose, table
from exporter.reconcile.derivation import SourceLine, source_lines

GAPS_SHOWN = 3


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
        tokens = sum(figures.tokens.values()) - figures.alternatives[primary.label].unpriced_tokens
        each = f"{per_million(api / tokens)} USD per million tokens = " if tokens else ""
        yield f"API-EQUIVALENT COST  {each}A {amount(api)} USD / {tokens:,} tokens"
        yield from priced(case, primary, "A")
    for other in case.view.alternatives[1:]:
        found = figures.alternatives[other.label]
        if found.cost_usd is not None and found.ratio is not None:
            total = amount(found.cost_usd)
            yield from prose(f"Also compared: {other.label}, {total} USD, A / C {plain(round(found.ratio, 3))}.")
        else:
            yield from prose(f"Also compared: {other.label}, cost not known.")


def coverage_section(case: Case) -> Iterator[str]:
    """How much of the window counts, and what every source is missing of the rest."""
    figures, asked = case.figures, case.figures.asked
    within = f"{text.instant(asked.start)} to {text.instant(asked.end)}"
    share = text.percent(figures.coverage_ratio)
    yield f"COVERAGE  {share}: {text.span(figures.covered_seconds)} of {text.span(asked.seconds)}, {within}"
    yield from prose(f"Below {text.percent(case.settings.min_coverage)} the status is unknown.")
    rows = [(_missing(line.missing), source_name(line.source) + _gaps(line.missing)) for line in _sources(case)]
    if case.view.path == "self_hosted":
        unknown = _without_cost(case)
        why = f"cost: no price, card or bill of its own{_gaps(unknown)}"
        rows.append((_missing(unknown), why if unknown else "cost"))
    yield from table([("missing", "of"), *rows, *_not_missing(case)], "rl")


def uncounted(case: Case) -> Intervals:
    """The time of the decision window that is not covered, though neither a source nor the cost is missing in it."""
    found = Intervals([(case.figures.asked.start, case.figures.asked.end)]) - covered(case) - _without_cost(case)
    for line in _sources(case):
        found -= line.missing
    return found


def _not_missing(case: Case) -> Iterator[tuple[str, str]]:
    """Why time is uncounted."""
    rest, streams = uncounted(case), case.inputs.snapshot.streams
    sources = [streams[source] for source in case.view.sources if source in streams]
    first = min((one.first_seen for one in sources), default=0)
    there = Intervals()
    for one in sources:
        there |= Intervals([(one.first_seen, one.retired_at or case.end)]) - one.absent
    if early := rest.clip(0, first):
        yield _missing(early), f"(no source yet: the first was seen at {text.instant(first)})"
    if away := rest.clip(first, case.end) - there:
        yield _missing(away), f"(no source there{_gaps(away)})"
    if partly := rest.clip(first, case.end) & there:
        yield _missing(partly), "(slots covered in part: only whole ones count)"


def _sources(case: Case) -> list[SourceLine]:
    return source_lines(case.view, case.inputs.snapshot.streams, case.figures.asked, Intervals())


def _without_cost(case: Case) -> Intervals:
    asked = Intervals([(case.figures.asked.start, case.figures.asked.end)])
    return asked - case.view.costs.known if case.view.path == "self_hosted" else Intervals()


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
