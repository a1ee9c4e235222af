"""Every bill line in its place: a workload's as a whole, a node's to be shared out, or nobody's. Pure.

Matching a bill and laying its lines on the nodes is made once for a bill and a cluster that have not changed: what a
tick asks for are sums over it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import partial

from collectors.records import DAY, Card
from exporter.config import Config
from exporter.intervals import Intervals
from exporter.ledger.snapshot import BillLine, FactKey, Snapshot
from exporter.prices.nodes import ListPrices
from exporter.reconcile.bill_match import BillMatcher, allocatable, scope_of
from exporter.reconcile.calibration import Calibration, learn
from exporter.reconcile.cluster import NodeUse, node_uses
from exporter.reconcile.evidence import NodeRents
from exporter.reconcile.memo import Memo
from exporter.reconcile.nodes import NodeCost, node_cost, uptime, workload_rents
from exporter.reconcile.owners import Owners
from exporter.reconcile.rents import resource_name


@dataclass(frozen=True, slots=True, eq=False)
class Matched:
    """The lines of a bill that pay for something: `claimed` by workload, as a whole, by a card or by globs; the others
    in `by_resource`, by the resource as clusters write it (see `resource_name`); `claimed_resources` likewise, as
    (workload, line).

    Compared by identity: what is laid out refers to the very lines of one reading of the bill.
    """

    claimed: Mapping[str, Sequence[BillLine]]
    by_resource: Mapping[str, Sequence[BillLine]]
    claimed_resources: Mapping[str, Sequence[tuple[str, BillLine]]]


@dataclass(frozen=True, slots=True)
class Billing:
    """The bill and the cluster together. `lines` are each node's lines, as (line, its part): of a resource that several
    nodes were one after the other, each has a part. `rents` are by workload."""

    matched: Matched
    uses: Mapping[FactKey, NodeUse] = field(default_factory=dict)
    lines: Mapping[FactKey, Sequence[tuple[BillLine, BillLine]]] = field(default_factory=dict)
    costs: Mapping[FactKey, NodeCost] = field(default_factory=dict)
    rents: Mapping[str, NodeRents] = field(default_factory=dict)
    calibration: Calibration = field(default_factory=Calibration)


def bill_names(resource: str) -> tuple[str, ...]:
    """The names under which a bill may list a node: its own, and that of its scale set (Azure bills the set)."""
    if not resource:
        return ()
    scale_set, instance, _ = resource.partition("/virtualmachines/")
    return (resource, scale_set) if instance and "/virtualmachinescalesets/" in scale_set else (resource,)


def matched(bill: Iterable[BillLine], config: Config, cards: Mapping[str, Card]) -> Matched:
    """Lay out the lines of `bill` that are in scope and can be somebody's cost."""
    match, in_scope = BillMatcher(config.workloads, cards), scope_of(config)
    claimed: dict[str, list[BillLine]] = {}
    by_resource: dict[str, list[BillLine]] = {}
    claimed_resources: dict[str, list[tuple[str, BillLine]]] = {}
    for line in bill:
        if not (allocatable(line.charge) and in_scope(line)):
            continue
        workload, _ = match(line)
        resource = resource_name(line.charge.resource)
        if workload is not None:
            claimed.setdefault(workload, []).append(line)
            if resource:
                claimed_resources.setdefault(resource, []).append((workload, line))
        elif resource:
            by_resource.setdefault(resource, []).append(line)
    return Matched(claimed, by_resource, claimed_resources)


def billing(
    snapshot: Snapshot,
    config: Config,
    cards: Mapping[str, Card],
    owners: Owners,
    fx: Mapping[str, Decimal],
    now: int,
    memo: Memo,
) -> Billing:
    """The bill and the cluster of `snapshot`, as far as they are not in `memo`. How sure lines are is judged at the
    start of the UTC day of `now` (epoch seconds)."""
    lines = memo.same("matched", (snapshot.bill, config, cards), lambda: matched(snapshot.bill, config, cards))
    if not snapshot.nodes:
        return memo.same("no nodes", (lines,), lambda: Billing(lines))
    uses = node_uses(snapshot, owners, memo, tuple(one.name for one in config.collectors))
    prices = memo.same("list prices", (snapshot.list_prices,), lambda: ListPrices.of(snapshot.list_prices))
    day = now - now % DAY
    return memo.equal(
        "billing",
        (lines, prices, day, tuple(uses.values())),
        lambda: _billing(lines, uses, prices, fx, day, memo),
    )


def _billing(
    lines: Matched, uses: Mapping[FactKey, NodeUse], prices: ListPrices, fx: Mapping[str, Decimal], day: int, memo: Memo
) -> Billing:
    nodes_of: dict[str, list[FactKey]] = {}
    for key, use in uses.items():
        for name in bill_names(use.node.resource):
            nodes_of.setdefault(name, []).append(key)
    own = {key: found for key, found in _lines(uses, nodes_of, lines.by_resource).items() if found}
    parts = {key: tuple(part for _, part in found) for key, found in own.items()}
    calibration = memo.equal(
        "calibration",
        (lines, prices, day, tuple(use.node for use in uses.values())),
        lambda: learn(uses.values(), parts, prices, fx, day),
    )
    costs = {}
    for key, use in uses.items():
        elsewhere = [line for name in bill_names(use.node.resource) for line in lines.claimed_resources.get(name, ())]
        args = (
            use,
            tuple(part for _, part in own.get(key, ())),
            tuple(elsewhere),
            prices,
            calibration.factor(use.node),
            fx,
            day,
        )
        costs[key] = memo.equal(("node cost", key), args, partial(node_cost, *args))
    memo.keep("node cost", set(costs))
    return Billing(lines, uses, own, costs, workload_rents(uses.values(), costs), calibration)


def _lines(
    uses: Mapping[FactKey, NodeUse],
    nodes_of: Mapping[str, Sequence[FactKey]],
    by_resource: Mapping[str, Sequence[BillLine]],
) -> dict[FactKey, list[tuple[BillLine, BillLine]]]:
    found: dict[FactKey, list[tuple[BillLine, BillLine]]] = {key: [] for key in uses}
    for resource, keys in nodes_of.items():
        for line in by_resource.get(resource, ()):
            for key, part in divided(line, [(key, uptime(uses[key].node)) for key in keys]):
                found[key].append((line, part))
    return found


def divided(line: BillLine, nodes: Sequence[tuple[FactKey, Intervals]]) -> list[tuple[FactKey, BillLine]]:
    """A line for a resource name that one or several nodes bore: to the one that was up in its period, or to each of
    those in proportion to its uptime there, the last one taking what rounding leaves; to the last one if none was."""
    charge = line.charge
    up = [
        (key, seconds)
        for key, spans in nodes
        if (seconds := spans.clip(charge.window.start, charge.window.end).seconds)
    ]
    if len(up) < 2:
        return [(up[0][0] if up else nodes[-1][0], line)]
    total, parts = sum(seconds for _, seconds in up), []
    left = charge
    for key, seconds in up[:-1]:
        share = Decimal(seconds) / total
        part = replace(
            charge,
            billed_cost=round(charge.billed_cost * share, 9),
            effective_cost=round(charge.effective_cost * share, 9),
            quantity=None if charge.quantity is None else charge.quantity * share,
        )
        left = replace(
            left,
            billed_cost=left.billed_cost - part.billed_cost,
            effective_cost=left.effective_cost - part.effective_cost,
            quantity=None if left.quantity is None or part.quantity is None else left.quantity - part.quantity,
        )
        parts.append((key, replace(line, charge=part)))
    return [*parts, (up[-1][0], replace(line, charge=left))]
