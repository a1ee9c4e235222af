"""The parts of a bill line that is shared out by the GPUs of a node: exact, in nano-units of its currency. Pure."""

from collections.abc import Iterable, Sequence
from decimal import ROUND_FLOOR, Decimal

from exporter.ledger.snapshot import BillLine
from exporter.reconcile.api_costs import BilledDay
from exporter.reconcile.bill import EXACT, Place, Split
from exporter.reconcile.billing import Billing
from exporter.reconcile.cluster import NodeUse, Share
from exporter.reconcile.nodes import billed_uptime, known_share, line_hours, uptime
from exporter.reconcile.rents import whole_period

NANO = Decimal("1e-9")
NOT_SEEN = Place("unallocated", "no_k8s_data")


def node_pieces(line: BillLine, use: NodeUse, hours: Decimal | None) -> list[tuple[Place, Decimal]]:
    """Where the effective cost of a node's line goes: `allocated` and `starting` to what pods held, `idle` what none
    did, `unallocated` (`no_k8s_data`) what was billed beyond the time in which the node was seen up, or before anybody
    watched who holds what. `hours`: see `exporter.reconcile.nodes.line_hours`.

    The pieces sum to the line's effective cost: each is rounded down to a nano-unit, and what that leaves goes to the
    largest remainders.
    """
    cost, up = line.charge.effective_cost, uptime(use.node)
    run = billed_uptime(line.charge, up, hours) or whole_period(line.charge) & up
    known = known_share(line.charge, up, hours) if run else Decimal(0)
    exact: dict[Place, Decimal] = {}
    for share in use.shares:
        seconds = (share.seconds & run).seconds
        if seconds:
            place = _place(share)
            exact[place] = exact.get(place, Decimal(0)) + cost * known * share.fraction * seconds / run.seconds
    if known < 1:
        exact[NOT_SEEN] = exact.get(NOT_SEEN, Decimal(0)) + cost * (1 - known)
    return largest_remainder(cost, list(exact.items()))


def largest_remainder(total: Decimal, parts: Sequence[tuple[Place, Decimal]]) -> list[tuple[Place, Decimal]]:
    """`parts` in whole nano-units that sum to `total` exactly; what is finer than a nano-unit in `total` stays with the
    largest remainder."""
    floors = [amount.quantize(NANO, ROUND_FLOOR) for _, amount in parts]
    order = sorted(range(len(parts)), key=lambda i: floors[i] - parts[i][1])
    left = EXACT.subtract(total, sum(floors, Decimal(0)))
    for i in order:
        step = min(NANO, left) if left > 0 else Decimal(0)
        floors[i] = EXACT.add(floors[i], step)
        left = EXACT.subtract(left, step)
    if left and order:
        floors[order[0]] = EXACT.add(floors[order[0]], left)
    return [(place, amount) for (place, _), amount in zip(parts, floors, strict=True) if amount]


def _place(share: Share) -> Place:
    if share.holder is None:
        return Place("idle") if share.watched else NOT_SEEN
    return Place("starting" if share.holder.starting else "allocated")


def splitter(billing: Billing, token_lines: Iterable[tuple[BillLine, BilledDay | str]]) -> Split:
    """What `exporter.reconcile.bill` asks where a line that no workload claims as a whole goes: the pieces of a line
    for a node, or for the tokens of a closed day; None for any other."""
    pieces: dict[int, list[tuple[Place, Decimal]]] = {}
    for key, lines in billing.lines.items():
        parts = [part for _, part in lines]
        for (whole, part), hours in zip(lines, line_hours(parts), strict=True):
            pieces.setdefault(id(whole), []).extend(node_pieces(part, billing.uses[key], hours))
    for line, one in token_lines:
        pieces[id(line)] = token_pieces(line, one)
    return lambda line: pieces.get(id(line))


def token_pieces(line: BillLine, day: BilledDay | str) -> list[tuple[Place, Decimal]]:
    """Where the effective cost of a token line goes: `allocated` to the workloads whose tokens were metered, the rest
    `unallocated`: for the reason that stands for `day` where it has none; `unmetered` is for tokens that only the
    provider saw, `usage_not_read` where its own usage is not known, so that its bill prices nobody's tokens; `no_price`
    where the tokens have no list prices to go by."""
    cost = line.charge.effective_cost
    if isinstance(day, str):
        return [(Place("unallocated", day), cost)]
    if day.usage_usd is None:
        return [(Place("unallocated", "usage_not_read"), cost)]
    if not (day.worth_usd and day.priced):
        return [(Place("unallocated", "no_price"), cost)]
    allocated = cost * day.metered_usd / day.worth_usd
    parts = [(Place("allocated"), allocated), (Place("unallocated", "unmetered"), cost - allocated)]
    return largest_remainder(cost, [part for part in parts if part[1]])
