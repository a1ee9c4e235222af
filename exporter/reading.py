"""The ledger of an exporter, read for one question while the exporter goes on: what `explain` and `report` look at."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from collectors.records import Path
from exporter.breakeven.status import State
from exporter.config import Config
from exporter.ledger.snapshot import Evaluation, Snapshot
from exporter.ledger.store import Ledger
from exporter.pipeline import Pipeline
from exporter.pricer import Pricer
from exporter.reconcile.build import Inputs, closed_through, meters, views
from exporter.reconcile.matching import by_workload
from exporter.reconcile.reporting import StateKey
from exporter.reconcile.workload import WorkloadView


@dataclass(frozen=True, slots=True)
class Reading:
    """One instant of a ledger, with config and prices. `views` reach to `end`, the end of the last closed slot (epoch
    seconds). `states` are what all stored evaluations lead to, `evaluations` those of one workload. `catalogue_at` is
    the date of the price catalogue, if any."""

    inputs: Inputs
    views: Sequence[WorkloadView]
    states: Mapping[StateKey, State]
    evaluations: Sequence[Evaluation]
    end: int
    catalogue_at: int | None


def read(config: Config, now: int, pricer: Pricer | None = None, workload: str | None = None) -> Reading:
    """Read the ledger that `config` names at `now` (epoch seconds). Nothing is changed, and no exporter is disturbed.

    The evaluations are those of `workload`: nobody asks for all of them, and they are kept for good. Raises
    LedgerUnreadableError.
    """
    prices = pricer or Pricer(config.prices.overrides)
    ledger = Ledger.read_only(config.storage.path, now)
    try:
        snapshot = ledger.snapshot()
        pipeline = Pipeline(config, ledger, prices, now, _chosen(ledger, snapshot, config))
        inputs, end = pipeline.inputs(snapshot, now), closed_through(now, pipeline.settle)
        made = [one for fold in ledger.folds() if fold.workload == workload for one in ledger.evaluations_of(fold, 0)]
        evaluations = sorted(made, key=lambda one: one.at)
        return Reading(inputs, views(inputs, end), pipeline.states, evaluations, end, prices.catalogue_at)
    finally:
        ledger.close()


def _chosen(ledger: Ledger, snapshot: Snapshot, config: Config) -> dict[tuple[str, Path], str]:
    """The automatic alternatives that the exporter has chosen so far, for workloads that configure none."""
    configured = {workload.name for workload in config.workloads if workload.alternatives}
    keys = [key for key in by_workload(meters(snapshot, config), config.workloads) if key[0] not in configured]
    found = {key: ledger.primary(*key, None) for key in keys if key[1] == "self_hosted"}
    return {key: choice for key, choice in found.items() if choice is not None}
