"""Who holds which GPUs of which node when: the key by which a node's bill, or its list price, is shared out. Pure.

A pod is charged for what it holds, used or not, for as long as it holds it. What no pod holds while the node is up is
`idle`: nobody's cost, but part of the bill. A pod that holds GPUs before its engine was first seen up is `starting`:
its workload pays for that, and the bill shows it apart. What a pod with a sidecar of this exporter holds is allocated,
and no workload's cost here: the sidecar counts it, from the instant at which that was seen.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import partial
from itertools import pairwise
from typing import NamedTuple, TypeVar

from collectors.records import OPEN, Allocation, Node, Window
from exporter.intervals import Intervals
from exporter.ledger.snapshot import FactKey, Snapshot
from exporter.reconcile.memo import Memo
from exporter.reconcile.owners import Owners

Fact = TypeVar("Fact", Node, Allocation)


ELSEWHERE = ""
"""The workload of GPUs that are somebody's cost, but nobody's here: a sidecar in their pod counts them."""


class Holder(NamedTuple):
    """A workload, or `ELSEWHERE`; `starting` while its pod's engine has not been seen up yet."""

    workload: str
    starting: bool = False


@dataclass(frozen=True, slots=True)
class Share:
    """`fraction` of a node's GPUs over `seconds`, which are open-ended where it goes on. `holder` None: idle, or, where
    not `watched`, before anybody looked: who held them then is not known."""

    holder: Holder | None
    fraction: Decimal
    seconds: Intervals
    watched: bool = True


@dataclass(frozen=True, slots=True)
class NodeUse:
    """One node and its shares: at every second it is up their fractions sum to 1. `overheld`: more GPUs were held than
    it has (clocks that differ, or a scheduler that overcommits), so the shares were scaled down."""

    key: FactKey
    node: Node
    shares: tuple[Share, ...]
    overheld: bool = False


def node_uses(snapshot: Snapshot, owners: Owners, memo: Memo, configured: Sequence[str]) -> dict[FactKey, NodeUse]:
    """Every node that the ledger knows, with its shares. What a collector that is no longer `configured` saw ends where
    it last looked."""
    last = {name: snapshot.seen_through(name) for name in {name for name, _ in snapshot.nodes} - set(configured)}
    on_node: dict[FactKey, list[Allocation]] = {}
    for (collector, _), allocation in snapshot.allocations.items():
        on_node.setdefault((collector, allocation.node), []).append(_ended(allocation, last.get(collector)))
    first_up = {name: stream.up for (_, name), stream in snapshot.streams.items() if "/" in name}
    begun = {name: stream.first_seen for (name, part), stream in snapshot.streams.items() if not part}
    found: dict[FactKey, NodeUse] = {}
    nodes = {key: _ended(known, last.get(key[0])) for key, known in snapshot.nodes.items()}
    collectors = sorted({name for name, _ in nodes})
    for key, node in nodes_once(nodes, configured).items():
        seen_by = [key, *((name, key[1]) for name in collectors if name != key[0] and (name, key[1]) in nodes)]
        watched = min(begun.get(name, OPEN) for name, _ in seen_by)
        held = [_held(one, owners, first_up, watched) for one in _of_all(on_node.get(by, ()) for by in seen_by)]
        found[key] = memo.equal(("node", key), (node, held, watched), partial(node_use, key, node, held, watched))
    memo.keep("node", set(found))
    return found


def _of_all(known: Iterable[Sequence[Allocation]]) -> Iterable[Allocation]:
    """What several collectors know of one node: all of a pod as the first of them says that knows it. One that is
    renamed, and later gets its name back, knows of pods that the other one never saw."""
    found: list[Allocation] = []
    pods: set[str] = set()
    for by in known:
        found += (one for one in by if one.first_key not in pods)
        pods.update(one.first_key for one in by)
    return found


def nodes_once(nodes: Mapping[FactKey, Node], configured: Sequence[str]) -> dict[FactKey, Node]:
    """`nodes` (by collector and key) without what another collector says of the same machine at the same time, such as
    two that watch one cluster. First comes one that is no longer `configured`, as what it saw was counted then; of the
    others the one that is configured first. A machine is told by its provider id, else by its key."""
    machines: dict[str, dict[str, list[FactKey]]] = {}
    for key, node in nodes.items():
        machines.setdefault(node.resource or node.key, {}).setdefault(key[0], []).append(key)
    rank = {name: at for at, name in enumerate(configured)}
    kept = dict(nodes)
    for seen_by in machines.values() if len({collector for collector, _ in nodes}) > 1 else ():
        taken = Intervals()
        for name in sorted(seen_by, key=lambda name: (rank.get(name, -1), name)):
            spans = {key: Intervals([(nodes[key].window.start, nodes[key].window.end)]) for key in seen_by[name]}
            for key, left in ((key, span - taken) for key, span in spans.items()):
                if left:
                    kept[key] = replace(nodes[key], window=Window(*left.spans[-1]))
                else:
                    del kept[key]
            taken |= Intervals(part for span in spans.values() for part in span)
    return kept


def _ended(fact: Fact, last: int | None) -> Fact:
    """A node or an allocation that still runs, ended at the instant `last`."""
    if last is None or fact.window.end != OPEN:
        return fact
    return replace(fact, window=Window(fact.window.start, max(fact.window.start, last)))


class Held(NamedTuple):
    """One pod's GPUs on a node: its workload, from `start` to `end`, serving from `up` on."""

    workload: str
    gpus: Decimal
    start: int
    end: int
    up: int


def _held(allocation: Allocation, owners: Owners, up: Mapping[str, Intervals], watched: int) -> Held:
    """Of a pod that was there before its cluster was first `watched`, or that has or had a sidecar, it is not known
    when it began to serve: it was never `starting`."""
    labels = dict(allocation.labels)
    start, end = allocation.window.start, allocation.window.end
    seen = up.get(f"{labels.get('namespace', '')}/{labels.get('pod', '')}")
    own = None if seen is None else seen.clip(start, end)  # its name may have been another pod's before
    unknown = start < watched or allocation.sidecar or allocation.key != allocation.first_key
    serving = start if own is None or unknown else own.spans[0][0] if own else end
    workload = ELSEWHERE if allocation.sidecar else owners.workload(allocation.labels, allocation.window)
    return Held(workload, allocation.gpus, start, end, min(max(serving, start), end))


def node_use(key: FactKey, node: Node, held: Sequence[Held], watched: int = 0) -> NodeUse:
    """The shares of one node, which is `watched` from that instant on: a sweep over the instants at which something
    begins or ends."""
    start, end = node.window.start, node.window.end
    parts = [
        (Holder(one.workload, starting), one.gpus, max(a, start), min(b, end))
        for one in held
        for starting, a, b in ((True, one.start, one.up), (False, one.up, one.end))
    ]
    parts = [part for part in parts if part[2] < part[3]]
    edges = sorted({start, end, min(max(start, watched), end), *(at for part in parts for at in part[2:])})
    spans: dict[tuple[Holder | None, Decimal, bool], list[tuple[int, int]]] = {}
    overheld = False
    begins = sorted(parts, key=lambda part: part[2])
    active: list[tuple[Holder, Decimal, int, int]] = []
    at = 0
    for a, b in pairwise(edges):
        active = [part for part in active if part[3] > a]
        while at < len(begins) and begins[at][2] <= a:
            active.append(begins[at])
            at += 1
        fractions, too_many = _fractions(node.gpus, active)
        overheld |= too_many
        for holder, fraction in fractions.items():
            spans.setdefault((holder, fraction, holder is not None or a >= watched), []).append((a, b))
    shares = tuple(Share(holder, part, Intervals(found), seen) for (holder, part, seen), found in spans.items())
    return NodeUse(key, node, shares, overheld)


def _fractions(
    gpus: Decimal, active: Iterable[tuple[Holder, Decimal, int, int]]
) -> tuple[dict[Holder | None, Decimal], bool]:
    """What share of the node each holder has, idle included, and whether more was held than there is."""
    sums: dict[Holder, Decimal] = {}
    for holder, count, _, _ in active:
        sums[holder] = sums.get(holder, Decimal(0)) + count
    total = sum(sums.values(), Decimal(0))
    whole = max(gpus, total)
    fractions: dict[Holder | None, Decimal] = {holder: count / whole for holder, count in sums.items() if count}
    if total < whole or not whole:
        fractions[None] = (whole - total) / whole if whole else Decimal(1)
    return fractions, total > gpus


def gpus_now(uses: Iterable[NodeUse]) -> dict[tuple[str, str, str], Decimal]:
    """Physical GPUs of the nodes that are up, by (collector, GPU product, `allocated` or `idle`)."""
    sums: dict[tuple[str, str, str], Decimal] = {}
    for use in uses:
        if use.node.window.end != OPEN:
            continue
        idle = sum((s.fraction for s in use.shares if s.holder is None and s.seconds.end == OPEN), Decimal(0))
        for state, fraction in (("allocated", 1 - idle), ("idle", idle)):
            key = (use.key[0], use.node.gpu, state)
            sums[key] = sums.get(key, Decimal(0)) + use.node.gpus * fraction
    return sums
