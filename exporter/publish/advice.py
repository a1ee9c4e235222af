"""What a status means and what to do about it, in two sentences for the engineer on call. Pure."""

from dataclasses import dataclass
from decimal import Decimal

from collectors.records import Path
from exporter.publish import text
from exporter.reconcile.report import Decision, StatusName, WorkloadReport


@dataclass(frozen=True, slots=True)
class Advice:
    """`why` the status is what it is, and what `to_do`."""

    why: str
    to_do: str


_LEVEL = (Decimal("0.9"), Decimal("1.1"))  # the shipped thresholds; only the wording depends on them

# By the reason of an unknown status, as `exporter.ledger.snapshot.Evaluation` names them (and `no_usage`).
_UNKNOWN = {
    "coverage": Advice(
        "Too little of the decision window is covered: a source was not complete, or a cost not known, for part of it.",
        "Look at the collectors below: mend the failing or lagging one. The status returns by itself with coverage.",
    ),
    "unpriced": Advice(
        "Too many tokens have no known price (see llmcost_unpriced_tokens_total and "
        "llmcost_unpriced_alternative_tokens_total for the model).",
        "Add the model to your prices.overrides file, or correct the provider or model name of the alternative.",
    ),
    "no_price": Advice(
        "The alternative's price for this traffic is not known.",
        "Correct its provider or model name in the configuration, or add it to your prices.overrides file.",
    ),
    "too_young": Advice(
        "There is not enough history yet: a status needs at least a day of covered data.",
        "Nothing. Wait; the figures shown are real, only the verdict is held back.",
    ),
    "first_slot": Advice(
        "There are no figures yet: no slot of five minutes has closed in which usage was read and the cost is known.",
        "Nothing in the first minutes. If it stays so, “explain” says under COVERAGE what is missing.",
    ),
    "idle": Advice(
        "There were no tokens and no cost in the decision window.",
        "Nothing, if the workload is meant to be idle. Otherwise check that its traffic still matches it.",
    ),
    "no_cost": Advice(
        "No cost is known for this workload.",
        "Add a rate_card collector for its GPUs, or a bill whose tags match it.",
    ),
    "no_alternative": Advice(
        "There is nothing to compare with: no alternative is configured, and none is known for the model.",
        "Add an entry under “alternatives” of this workload in the configuration.",
    ),
    "catching_up": Advice(
        "The hours of a backlog are still being evaluated, oldest first, or a price is still being looked up.",
        "Nothing. The status is there in some seconds; if it is not, the log says which look-up fails.",
    ),
    "no_plan": Advice(
        "The other way would be a self-hosting plan, and this release has no figures for plans yet.",
        "Nothing. The cost per token shown is real. For a rough answer run “breakeven” with the plan's numbers.",
    ),
    "no_usage": Advice(
        "A rate card, a bill or pods with GPUs name this workload, but no source has reported usage of it.",
        "Nothing, if it serves no tokens (training, batch). If a collector is failing, mend it first. Otherwise check "
        "that the workload's name or “match” agrees with the labels of the engine or log, then run “check”.",
    ),
}


def advice(report: WorkloadReport, decision: Decision | None) -> Advice:
    """What to say of a workload against its primary alternative (`decision`, None if it has none)."""
    if decision is None:
        return _UNKNOWN["no_usage" if report.first_seen is None else "no_alternative"]
    reason = decision.status.reason if decision.status else "too_young"
    if reason == "too_young" and not _has_figures(report):
        reason = "first_slot"
    if decision.status is None or decision.status.name == "unknown":
        return _UNKNOWN.get(
            reason,
            Advice(f"The status is not known ({reason or 'no reason given'}).", "Run “explain” for the derivation."),
        )
    if decision.status.name == "break_even":
        return _break_even(report, decision)
    return _move(report.path, decision) if dearer(report.path, decision.status.name) else _stay(report)


def _has_figures(report: WorkloadReport) -> bool:
    return any(one is not None and one.covered_seconds for one in (*report.windows.values(), report.decision_window))


def compared(report: WorkloadReport, decision: Decision | None) -> bool:
    """Whether a verdict is to be had of a workload at all: not of one without usage that nobody asked to compare (GPUs
    of a training job), nor of one whose other way has no figures or is not known."""
    if decision is None:
        return False
    if unused(report, decision):
        return bool(decision.alternative)
    return decision.status is None or decision.status.reason not in ("no_plan", "no_alternative")


def unused(report: WorkloadReport, decision: Decision | None) -> bool:
    """Whether no source has reported any usage of a workload."""
    return (
        report.first_seen is None
        if decision is None
        else bool(decision.status and decision.status.reason == "no_usage")
    )


def apart(report: WorkloadReport, decision: Decision | None) -> str:
    """Why a workload is not compared, in a word; empty if it is."""
    if compared(report, decision):
        return ""
    if unused(report, decision):
        return "no usage"
    reason = decision.status.reason if decision and decision.status else "no_alternative"
    return "no plan yet" if reason == "no_plan" else "no alternative"


def dearer(path: Path, status: StatusName) -> bool:
    """Whether a workload on `path` is on the dearer side, by its status."""
    return (path, status) in (("self_hosted", "api_cheaper"), ("api", "self_hosting_cheaper"))


def _break_even(report: WorkloadReport, decision: Decision) -> Advice:
    """In break-even the newest ratio may already be far from 1: a side is entered only when it lasts."""
    figures = report.decision_window.alternatives.get(decision.alternative) if report.decision_window else None
    ratio = figures.ratio if figures else None
    if ratio is not None and not _LEVEL[0] < ratio < _LEVEL[1]:
        cheaper = "self-hosting" if ratio > 1 else "the API"
        return Advice(
            f"At the newest ratio {cheaper} is cheaper, but that has not lasted long enough to count.",
            "Nothing yet. “explain” says when the status would turn.",
        )
    return Advice("Both ways cost about the same.", "Nothing: changing sides would not pay.")


def _move(path: Path, decision: Decision) -> Advice:
    saving, missed = decision.saving_usd_per_month, decision.missed_saving_usd
    why = f"{decision.alternative} is cheaper for this traffic"
    why += "" if missed is None else f"; {text.usd(missed)} lost since the crossing"
    ways = f"plan the move to {decision.alternative}" + (", or raise utilization" if path == "self_hosted" else "")
    worth = "" if saving is None or saving <= 0 else f" Moving saves about {text.usd(saving)} a month."
    return Advice(
        f"{why}.",
        f"Check coverage and evidence first (runbook: LLMCostBreakEvenCrossed), then {ways}.{worth}",
    )


def _stay(report: WorkloadReport) -> Advice:
    way = "Self-hosting" if report.path == "self_hosted" else "The API"
    return Advice(f"{way} is the cheaper way for this traffic.", "Nothing.")
