"""PublishState -> what the status page shows, as text ready to be laid out. Pure: `now` is the page's own instant."""

from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import TypeVar

from collectors.records import Path
from exporter.publish import text
from exporter.publish.advice import advice, apart, dearer
from exporter.publish.bill_view import bills_views, fleet_view
from exporter.publish.collector_view import collector_view
from exporter.publish.state import ExporterHealth, PublishState
from exporter.publish.views import (
    AlternativeView,
    ApartView,
    CollectorView,
    Share,
    StatusView,
    Tile,
    Tone,
    WorkloadView,
)
from exporter.reconcile.report import (
    EVIDENCE,
    AlternativeFigures,
    Decision,
    Report,
    StatusName,
    WindowFigures,
    WorkloadReport,
)

T = TypeVar("T")

_PATHS: dict[Path, str] = {"self_hosted": "self-hosted", "api": "API"}
_STATUSES: dict[StatusName, str] = {
    "self_hosting_cheaper": "Self-hosting cheaper",
    "api_cheaper": "API cheaper",
    "break_even": "Break-even",
    "unknown": "Unknown",
}
_ORDER: tuple[Tone, ...] = ("bad", "unknown", "even", "good", "apart")
_UNKNOWN: StatusName = "unknown"
_NOT_COMPARED = "Not compared"

MOST_APART = 10
"""Workloads that are not compared, up to which they are shown at once; more are folded."""


def status_view(state: PublishState) -> StatusView:
    """The status page's content: workloads on the dearer side first, then unknown ones, then the others, and last those
    that nothing can be decided about."""
    now, report = state.exporter.page_at, state.report
    workloads = tuple(sorted((_workload(w, now) for w in (report.workloads if report else ())), key=lambda w: w.order))
    collectors = tuple(collector_view(collector, now) for collector in state.collectors)
    return StatusView(
        exporter=state.exporter,
        page_at=text.instant(now),
        uptime=text.span(now - state.exporter.started_at),
        closed_through=text.instant(report.closed_through if report else None),
        tiles=_tiles(workloads, report, collectors),
        workloads=tuple(workload for workload in workloads if not workload.apart),
        apart=_apart(workloads, report),
        collectors=collectors,
        bills=bills_views(report.bills if report else ()),
        fleet=fleet_view(report),
        warnings=_warnings(state.exporter),
    )


def _tiles(
    workloads: Iterable[WorkloadView], report: Report | None, collectors: Iterable[CollectorView]
) -> tuple[Tile, ...]:
    by_tone = {tone: [w for w in workloads if w.tone == tone] for tone in _ORDER}
    bad, good = len(by_tone["bad"]), len(by_tone["good"])
    even, unknown = len(by_tone["even"]), len(by_tone["unknown"])
    states = [collector.tone for collector in collectors]
    failing, others = states.count("bad"), len(by_tone["apart"])
    tiles = (
        Tile("On the dearer side", str(bad), _worth(report), "bad" if bad else ""),
        Tile("On the cheaper side", str(good), "nothing to do", "good" if good else ""),
        Tile("Break-even", str(even), "both ways cost about the same", "even" if even else ""),
        Tile(
            "Unknown", str(unknown), "see why below" if unknown else "all have a verdict", "unknown" if unknown else ""
        ),
        Tile(_NOT_COMPARED, str(others), "no usage, or no other way known", ""),
        Tile("Collectors", f"{len(states) - failing} / {len(states)}", _failing(failing), "bad" if failing else "good"),
    )
    return tuple(tile for tile in tiles if others or tile.label != _NOT_COMPARED)


def _apart(workloads: Iterable[WorkloadView], report: Report | None) -> ApartView | None:
    """Those that are not compared, if there are any."""
    found = tuple(workload for workload in workloads if workload.apart)
    if not found:
        return None
    notes = {workload.apart: workload.advice for workload in found}
    counts = [f"{sum(1 for one in found if one.apart == why)} {why}" for why in notes]
    figures = [w.decision_window for w in (report.workloads if report else ()) if apart(w, _primary(w))]
    costs = [one.cost_usd for one in figures if one and one.cost_usd is not None]
    together = f"; {text.usd(sum(costs, Decimal(0)))} together" if costs else ""
    noun = "workload is" if len(found) == 1 else "workloads are"
    summary = f"{len(found)} {noun} not compared ({', '.join(counts)}){together}"
    return ApartView(summary, found, tuple(notes.items()), len(found) <= MOST_APART)


def _primary(report: WorkloadReport) -> Decision | None:
    return next((decision for decision in report.decisions if decision.primary), None)


def _failing(failing: int) -> str:
    return f"{failing} not working" if failing else "all working"


def _worth(report: Report | None) -> str:
    savings = [
        decision.saving_usd_per_month
        for workload in (report.workloads if report else ())
        for decision in workload.decisions
        if decision.primary and decision.status and dearer(workload.path, decision.status.name)
        if decision.saving_usd_per_month is not None
    ]
    return f"up to {text.usd(sum(savings, Decimal(0)))} a month to save" if savings else "nothing to save by moving"


def _workload(report: WorkloadReport, now: float) -> WorkloadView:
    primary = _primary(report)
    status = primary.status if primary else None
    figures, name = report.decision_window, status.name if status else _UNKNOWN
    why_apart = apart(report, primary)
    tone = "apart" if why_apart else _tone(report.path, name)
    saving = primary.saving_usd_per_month if primary else None
    coverage, cost = (figures.coverage_ratio, figures.cost_usd) if figures else (None, None)
    return WorkloadView(
        name=report.workload,
        path=_PATHS[report.path],
        tone=tone,
        status=_NOT_COMPARED if tone == "apart" else _STATUSES[name],
        since=text.instant(status.since) if status and status.since is not None else "",
        since_age=text.span(now - status.since) if status and status.since is not None else "",
        effective=text.usd_per_million(figures.usd_per_token if figures else None),
        alternative=_alternative(figures, primary.alternative if primary else ""),
        others=_others(figures, primary),
        saving=text.usd(abs(saving)) if saving is not None else text.DASH,
        saving_note="" if saving is None else "by moving" if saving > 0 else "by staying",
        coverage=text.percent(coverage),
        coverage_low=status is not None and status.reason == "coverage",
        evidence=_evidence(report),
        advice=advice(report, primary),
        facts=_facts(report, primary),
        cost=text.usd(cost),
        tokens=text.count(sum(figures.tokens.values()) if figures and figures.tokens else None),
        apart=why_apart,
        order=(
            _ORDER.index(tone),
            -((cost if tone == "apart" else saving) or Decimal(0)),
            f"{report.workload} {report.path}",
        ),
    )


def _tone(path: Path, name: StatusName) -> Tone:
    if name == "unknown":
        return "unknown"
    if name == "break_even":
        return "even"
    return "bad" if dearer(path, name) else "good"


def _alternative(figures: WindowFigures | None, name: str) -> AlternativeView:
    found = figures.alternatives.get(name) if figures else None
    if figures is None or found is None:
        return AlternativeView(name, text.DASH, text.DASH)
    return AlternativeView(name, text.usd_per_million(_price(figures, found)), text.ratio(found.ratio))


def _price(figures: WindowFigures, alternative: AlternativeFigures) -> Decimal | None:
    """USD per token of the alternative over the tokens that have a price there (A / T)."""
    priced = sum(figures.tokens.values()) - max(figures.unpriced_tokens, alternative.unpriced_tokens)
    return None if alternative.cost_usd is None or priced <= 0 else alternative.cost_usd / priced


def _others(figures: WindowFigures | None, primary: Decision | None) -> tuple[AlternativeView, ...]:
    chosen = primary.alternative if primary else None
    names = [name for name in (figures.alternatives if figures else ()) if name != chosen]
    return tuple(_alternative(figures, name) for name in names)


def _evidence(report: WorkloadReport) -> tuple[Share, ...]:
    shares = [(name, report.evidence_ratio[name]) for name in EVIDENCE if report.evidence_ratio.get(name)]
    return tuple(Share(name, text.percent(share), f"{share * 100:.2f}%") for name, share in shares)


def _facts(report: WorkloadReport, primary: Decision | None) -> tuple[tuple[str, str], ...]:
    """Further figures, as (what, value); those that are not known are left out."""
    facts: list[tuple[str, str | None]] = []
    if (figures := report.decision_window) is not None:
        window = f"{text.instant(figures.asked.start)} to {text.instant(figures.asked.end)}"
        facts += [("Window", window), ("Effective cost", _known(figures.cost_usd, text.usd))]
        facts += [("Tokens", text.count(sum(figures.tokens.values())))]
        facts += [("Unpriced tokens", _known(figures.unpriced_tokens or None, text.count))]
    facts += [("Utilization", _known(report.utilization_ratio, text.percent))]
    if primary is not None:
        facts += [("Break-even utilization", _known(primary.break_even_utilization_ratio, text.percent))]
        facts += [("Break-even throughput", _known(primary.break_even_tokens_per_second, _throughput))]
    facts += [
        ("Capacity", _known(report.capacity_tokens_per_second, _throughput)),
        ("Unused capacity", _known(report.unused_capacity_usd, text.usd)),
        ("Fixed cost", _known(report.fixed_usd_per_month, lambda amount: f"{text.usd(amount)} a month")),
    ]
    return tuple((what, value) for what, value in facts if value is not None)


def _known(value: T | None, show: Callable[[T], str]) -> str | None:
    return None if value is None else show(value)


def _throughput(tokens_per_second: Decimal) -> str:
    return f"{text.count(tokens_per_second)} tokens/s"


def _warnings(health: ExporterHealth) -> tuple[str, ...]:
    """What is wrong with the exporter itself, worst first."""
    warnings = []
    if not health.ledger_writable:
        warnings.append("The ledger cannot be written: nothing new is counted. Check the disk and the volume's mount.")
    if not health.config_reload_successful:
        warnings.append("The last configuration was refused and the one before is in use. Run “check”.")
    if health.ledger_quarantines:
        warnings.append("A damaged ledger was set aside and a new one begun: counters and history start there.")
    if not health.leader:
        warnings.append("This instance follows another one and publishes only its own health.")
    return tuple(warnings)
