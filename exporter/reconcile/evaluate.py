"""Which break-even evaluations are due, and making them: once per closed hour, in order, each only once."""

from collections.abc import Iterator

from collectors.records import DAY
from exporter.config import DecisionSettings
from exporter.ledger.snapshot import Evaluation
from exporter.reconcile.alternatives import ApiAlternative
from exporter.reconcile.workload import WorkloadView

PATIENCE = 900
"""Seconds an instant waits for a source that does not deliver, before it is evaluated with the coverage there is."""

WAITS = 7 * DAY


def was_ahead(at: int, now: int, first_start: int) -> bool:
    """Whether the clock was wrong when something was done for the instant `at`, rather than being wrong at `now`.

    Up to 7 days what was done stands, and what follows waits for the clock: doing it again would count it twice where
    it is this clock that is behind. So is one before the ledger's `first_start`: a machine that does not know the time
    yet."""
    return at - now > WAITS and now >= first_start


def due(
    first: int, last: int | None, complete_through: int | None, now: int, settled: bool, every: int
) -> Iterator[int]:
    """The instants to evaluate now, in order: multiples of `every` (s) after `last`, or after the first observation;
    where `every` was changed after `last`, the first one is the next on the new grid.

    An instant is due when all sources have delivered through it, or, once every source had its chance since the start
    of this process (`settled`), when it is PATIENCE old: so a backlog is evaluated whole, and the scrape times of the
    exporter do not matter.
    """
    after = first if last is None else last
    at = after - after % every + every
    limit = max(complete_through or 0, now - PATIENCE if settled else 0)
    while at <= min(limit, now):
        yield at
        at += every


def evaluate(view: WorkloadView, alternative: ApiAlternative, at: int, settings: DecisionSettings) -> Evaluation:
    """The evaluation of one instant over the ratio window that ends there."""
    return view.evaluation(alternative, at, at - settings.ratio_window, settings.min_coverage, settings.min_age)
