"""Which break-even evaluations are due, and making them: once per closed hour, in order, each only once."""

from collections.abc import Iterator, Mapping

from exporter.config import DecisionSettings
from exporter.ledger.snapshot import Evaluation
from exporter.reconcile.alternatives import ApiAlternative
from exporter.reconcile.workload import WorkloadView

PATIENCE = 900
"""Seconds an instant waits for a source that does not deliver, before it is evaluated with the coverage there is."""


def due(
    first: int, last: int | None, complete_through: int | None, now: int, settled: bool, every: int
) -> Iterator[int]:
    """The instants to evaluate now, in order: multiples of `every` (s) after `last`, or after the first observation.

    An instant is due when all sources have delivered through it, or, once every source had its chance since the start
    of this process (`settled`), when it is PATIENCE old: so a backlog is evaluated whole, and the scrape times of the
    exporter do not matter.
    """
    at = last + every if last is not None else first - first % every + every
    limit = max(complete_through or 0, now - PATIENCE if settled else 0)
    while at <= min(limit, now):
        yield at
        at += every


def evaluate(view: WorkloadView, alternative: ApiAlternative, at: int, settings: DecisionSettings) -> Evaluation:
    """The evaluation of one instant over the ratio window that ends there."""
    return view.evaluation(alternative, at, at - settings.ratio_window, settings.min_coverage, settings.min_age)


def settings_by_workload(
    default: DecisionSettings, own: Mapping[str, DecisionSettings | None], workload: str
) -> DecisionSettings:
    """A workload's own `decision`, else the top-level one."""
    return own.get(workload) or default
