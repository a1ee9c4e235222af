"""`explain`: the current figures of one workload as a derivation, every input with its source and age. Pure.

The figures are those that the exporter publishes (`exporter.reconcile.reporting`), and the lines under each of them
(`exporter.reconcile.derivation`) sum to it.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import SequenceMatcher

from exporter.breakeven.status import State
from exporter.intervals import Intervals
from exporter.ledger.snapshot import Evaluation
from exporter.publish import text
from exporter.publish.advice import advice
from exporter.publish.explain_case import PATHS, STATUSES, Case, source_name
from exporter.publish.explain_costs import cost_section
from exporter.publish.explain_figures import api_section, capacity_section, coverage_section, tokens_section, uncounted
from exporter.publish.explain_status import status_section
from exporter.publish.layout import prose
from exporter.reconcile.build import Inputs, billing_of
from exporter.reconcile.derivation import source_lines
from exporter.reconcile.evidence import NodeRents
from exporter.reconcile.reporting import StateKey, report
from exporter.reconcile.workload import WorkloadView

NAMES_SHOWN = 20


class UnknownWorkloadError(LookupError):
    """No workload has this name. The message lists the known ones, the nearest first."""


def explain(
    inputs: Inputs,
    views: Sequence[WorkloadView],
    states: Mapping[StateKey, State],
    workload: str,
    now: int,
    *,
    end: int,
    evaluations: Iterable[Evaluation] = (),
    catalogue_at: int | None = None,
) -> str:
    """How the current figures of `workload` come about, on each of its paths: text of at most 100 columns.

    `views` reach to `end`, the end of the last closed slot at `now` (epoch seconds). `states` are what the stored
    `evaluations` of all workloads lead to. `catalogue_at` is the date of the price catalogue (epoch seconds).
    Raises UnknownWorkloadError.
    """
    found = [view for view in views if view.name == workload]
    if not found:
        raise UnknownWorkloadError(_unknown_name(workload, {view.name for view in views}))
    laid_out, stored = billing_of(inputs, end), list(evaluations)
    texts = []
    for view in found:
        primary = view.alternatives[0].label if view.alternatives else ""
        key = (view.name, view.path, primary)
        case = Case(
            inputs=inputs,
            view=view,
            shown=report(inputs, [view], states, now, end).workloads[0],
            state=states.get(key, State()),
            evaluations=[e for e in stored if (e.workload, e.path, e.alternative) == key],
            billed=laid_out.matched.claimed.get(workload, ()) if view.path == "self_hosted" else (),
            nodes=laid_out.rents.get(workload, NodeRents()),
            now=now,
            end=end,
            catalogue_at=catalogue_at,
        )
        texts.append("\n".join(_derivation(case)) + "\n")
    return "\n\n".join(texts)


def _derivation(case: Case) -> Iterator[str]:
    name = case.decision.status.name if case.decision and case.decision.status else "unknown"
    yield from prose(f"{case.view.name}, {PATHS[case.view.path]}: {STATUSES[name]}", indent=0)
    yield f"at {text.instant(case.now)}, on closed time through {case.aged(case.end)}"
    sections = (
        status_section,
        _to_do_section,
        cost_section,
        tokens_section,
        api_section,
        coverage_section,
        capacity_section,
    )
    for section in sections:
        lines = list(section(case))
        if lines:
            yield ""
            yield from (line for start in lines[:1] for line in prose(start, indent=0, hanging=8))
            yield from lines[1:]


def _to_do_section(case: Case) -> Iterator[str]:
    """What is not known, and what to do about it and about the status."""
    yield "WHAT TO DO"
    yield from prose(f"- {_advice(case)}", hanging=2)
    for line in _gaps_in_knowledge(case):
        yield from prose(f"- {line}", hanging=2)


def _advice(case: Case) -> str:
    state = case.state
    if case.reason == "coverage" and _will_be_covered(case):
        return _WAIT
    if case.reason in _ON_REASON:
        return _ON_REASON[case.reason]
    if not case.reason and state.shown == "break_even" and state.streak is not None:
        return (
            f"Nothing yet: traffic is on the “{STATUSES[state.streak]}” side, but not for long enough. It is time to "
            "act when the status says so too."
        )
    said = advice(case.shown, case.decision)
    return f"{said.why} {said.to_do}"


def _will_be_covered(case: Case) -> bool:
    """Whether too little is covered only because there was nothing to cover, such as before a first source."""
    figures = case.figures
    return figures.covered_seconds + uncounted(case).seconds >= case.settings.min_coverage * figures.asked.seconds


_WAIT = (
    "Nothing is missing: for part of the decision window it had no source that could be read (see COVERAGE). Wait: the "
    "status comes when the window holds enough of the time since."
)
_ON_REASON = {
    "coverage": "Too little of the decision window is covered: mend the source, or add the cost, that COVERAGE says is "
    "missing. The status returns by itself with coverage.",
    "no_price": "The alternative has no known price: correct its provider or model name (try the “prices” command), or "
    "give it a price in your prices.overrides file.",
}


def _gaps_in_knowledge(case: Case) -> Iterator[str]:
    figures, primary = case.figures, case.primary
    for code in sorted(case.view.costs.no_exchange_rate):
        yield f"Cost in {code} is left out, as no exchange rate is configured: set fx.{code} (USD per unit)."
    if figures.unpriced_tokens:
        yield f"{figures.unpriced_tokens:,} tokens have no price and are left out of C / T: see prices.overrides."
    unpriced = figures.alternatives[primary.label].unpriced_tokens if primary else 0
    if unpriced and primary and case.reason != "no_price":
        yield f"{unpriced:,} tokens have no price at {primary.label} and are left out of A: see prices.overrides."
    if case.view.path == "self_hosted" and case.view.series and case.shown.capacity_tokens_per_second is None:
        engines = any(source in case.inputs.snapshot.loads for source in case.view.sources)
        learned = "it is learned while requests queue (3 slots of 5 minutes in 7 days), or " if engines else ""
        yield f"Capacity is not known: {learned}set capacity_tokens_per_second of one replica."
    yield from _stale(case)


def _stale(case: Case) -> Iterator[str]:
    """Sources that have stopped delivering, though nobody retired them."""
    for line in source_lines(case.view, case.inputs.snapshot.streams, case.figures.asked, Intervals()):
        if line.retired_at is not None or (line.through is not None and line.through >= case.end):
            continue
        since = (
            "has never delivered" if line.through is None else f"has delivered nothing since {case.aged(line.through)}"
        )
        yield f"{source_name(line.source)} {since}: see its state on the status page."


def _unknown_name(workload: str, known: set[str]) -> str:
    if not known:
        return f"no workload {workload!r}: none is known yet, no source has reported usage and no rate card names one"
    nearest = sorted(known, key=lambda name: (-SequenceMatcher(None, workload, name).ratio(), name))
    more = f" and {len(nearest) - NAMES_SHOWN} more" if len(nearest) > NAMES_SHOWN else ""
    return f"no workload {workload!r}; known are: {', '.join(nearest[:NAMES_SHOWN])}{more}"
