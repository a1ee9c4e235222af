"""What has been spent of each budget since the start of the calendar month. Pure."""

from collections.abc import Sequence
from decimal import Decimal

from exporter.config import Budget, Config
from exporter.reconcile.matching import matches
from exporter.reconcile.tokens import price_tokens
from exporter.reconcile.workload import WorkloadView


def budget_costs(config: Config, views: Sequence[WorkloadView], start: int, end: int) -> dict[str, Decimal]:
    """USD by budget over the covered part of `[start, end)` (epoch seconds); absent where nothing it covers has a cost.

    A budget covers the usage that its `match` fits: on the API path exactly that usage, at its price; a self-hosted
    workload whole if any of its usage fits, as its rent cannot be told apart by tokens. `workload` may be matched, too.
    """
    found: dict[str, Decimal] = {}
    for budget in config.budgets:
        costs = [cost for view in views if (cost := _cost(budget, view, start, end)) is not None]
        if costs:
            found[budget.name] = sum(costs, Decimal(0))
    return found


def _cost(budget: Budget, view: WorkloadView, start: int, end: int) -> Decimal | None:
    series = []
    for one in view.series:
        key = one.key
        fields = {"provider": key.provider, "model": key.model, "collector": key.collector, "workload": view.name}
        if matches(budget.match, fields | dict(key.labels)):
            series.append(one)
    if not view.series and matches(budget.match, {"workload": view.name}):
        return view.window(start, end).cost_usd
    if not series:
        return None
    if view.path == "self_hosted" or len(series) == len(view.series):
        return view.window(start, end).cost_usd
    covered = view.covered.clip(start, end)
    return price_tokens(series, covered, view.book, billed=view.billed).usd
