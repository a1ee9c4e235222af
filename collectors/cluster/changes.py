"""From what the cluster looks like to what has changed since it was last committed: batches of nodes and allocations.

A node is one part, `node/<uid>`, and its position is all that was said of it and of the pods that hold its GPUs. What
is new is told by comparing with the position, and what vanished while nobody watched is ended at the instant through
which the collector had last vouched (the position of part ""), with every label it had. Pure.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal

import msgspec

from collectors.cluster.nodes import Machine
from collectors.cluster.pods import Pod
from collectors.records import OPEN, Allocation, Batch, Failure, Labels, Node, Window

PART = "node/"
FORMAT = 1


class Position(msgspec.Struct):
    """What the ledger holds of one node, and of the pods on it that have not ended."""

    v: int
    node: Node
    pods: tuple[Allocation, ...] = ()


class Vouched(msgspec.Struct):
    """The position of part "": through when the whole cluster was last seen (epoch seconds)."""

    v: int
    seen: int


_POSITION = msgspec.json.Decoder(Position)
_VOUCHED = msgspec.json.Decoder(Vouched)


@dataclass(frozen=True, slots=True)
class Sight:
    """The cluster at one instant. `machines` and `pods` are there; those `gone` went at the instant given with them
    (epoch seconds), by uid. `bare` are the uids of nodes without GPUs. `namespaces`: labels by namespace."""

    machines: Mapping[str, Machine] = field(default_factory=dict)
    bare: frozenset[str] = frozenset()
    pods: Mapping[str, Pod] = field(default_factory=dict)
    gone_machines: Mapping[str, tuple[Machine, int]] = field(default_factory=dict)
    gone_pods: Mapping[str, tuple[Pod, int]] = field(default_factory=dict)
    namespaces: Mapping[str, Labels] = field(default_factory=dict)


def changes(sight: Sight, cursors: Mapping[str, str], told: Mapping[str, int], now: int) -> Iterator[Batch | Failure]:
    """What the ledger does not know yet, a batch for each node with news. `told`: ends of allocations already told, of
    pods that are over but still listed, by key."""
    seen = min(last_seen(cursors) or now, now)
    holders = allocations(sight)
    known = {part.removeprefix(PART) for part in cursors if part.startswith(PART)}
    for uid in sorted(known | sight.machines.keys() | sight.gone_machines.keys()):
        if uid in sight.bare:
            continue  # its GPUs are not offered just now (a device plugin restarts): it is still what it was
        part = f"{PART}{uid}"
        held = {one.key: one for one in holders.get(uid, ())}
        if uid in sight.machines and _is_old(sight.machines[uid].node, held, cursors.get(part), told):
            continue
        try:
            old = _read(cursors.get(part))
        except (msgspec.DecodeError, ValueError) as error:  # left as it is, for the version that wrote it
            yield Failure(part, f"cannot read this node's position in the ledger: {error}")
            continue
        node = _node(uid, sight, old, seen)
        if node is None or (uid in sight.machines and _is_old(node, held, cursors.get(part), told)):
            continue
        yield _batch(part, node, held, old, told, seen)


def last_seen(cursors: Mapping[str, str]) -> int | None:
    """Through when the whole cluster was vouched for, None if it never was."""
    try:
        return _VOUCHED.decode(cursors[""]).seen
    except (KeyError, msgspec.DecodeError):
        return None


def vouched(now: int) -> str:
    """The position of part "" at `now`."""
    return msgspec.json.encode(Vouched(FORMAT, now)).decode()


def allocations(sight: Sight) -> dict[str, list[Allocation]]:
    """What each pod holds, by the uid of its node; ended ones too, as long as the API server or `gone` knows them."""
    by_name: dict[str, list[tuple[Machine, int]]] = {}
    for machine in sight.machines.values():
        by_name.setdefault(machine.node.name, []).append((machine, OPEN))
    for machine, end in sight.gone_machines.values():
        by_name.setdefault(machine.node.name, []).append((machine, end))
    found: dict[str, list[Allocation]] = {}
    everyone = [(pod, pod.end) for pod in sight.pods.values()]
    everyone += [(pod, _end(pod, at)) for pod, at in sight.gone_pods.values()]
    for pod, end in everyone:
        named = by_name.get(pod.node)
        if named and pod.requests:
            machine, gone_at = max(named, key=lambda one: (one[0].node.window.start <= pod.start, one[1]))
            allocation = _allocation(pod, min(end, gone_at), machine, sight.namespaces)
            found.setdefault(machine.key, []).append(allocation)
    return found


def _end(pod: Pod, gone_at: int) -> int:
    """When a pod that is gone let go of its GPUs: when it was over, or its last container ended, else when it went."""
    return max(pod.start, min(pod.end, pod.stopped, gone_at))


def _allocation(pod: Pod, end: int, machine: Machine, namespaces: Mapping[str, Labels]) -> Allocation:
    start = max(pod.start, machine.node.window.start)
    gpus = sum((units * machine.shares.get(name, Decimal(1)) for name, units in pod.requests), Decimal(0))
    return Allocation(
        key=f"{pod.key}@{machine.key}",
        node=machine.key,
        gpus=gpus.normalize() if gpus % 1 else gpus.quantize(Decimal(1)),
        window=Window(start, max(start, end)),
        labels=(*pod.labels, *namespaces.get(pod.namespace, ())),
        sidecar=pod.sidecar,
    )


def _read(cursor: str | None) -> Position | None:
    if not cursor:
        return None
    position = _POSITION.decode(cursor)
    if position.v != FORMAT:
        raise ValueError(f"version {position.v}, expected {FORMAT}")
    return position


def _node(uid: str, sight: Sight, old: Position | None, seen: int) -> Node | None:
    """The node as it is now: there, gone at a known instant, or gone while nobody watched."""
    if uid in sight.machines:
        return _whole(sight.machines[uid].node, old)
    if uid in sight.gone_machines:
        machine, at = sight.gone_machines[uid]
        return _ended(_whole(machine.node, old), at)
    return _ended(old.node, seen) if old is not None else None


def _whole(node: Node, old: Position | None) -> Node:
    """A machine that lost a few GPUs, as by a defect, still has them here: its bills, those of the past too, are shared
    out by one number. Half of them or more do not fail at once: it is divided otherwise now (MIG, time-slicing)."""
    lost = old is not None and old.node.gpu == node.gpu and node.gpus < old.node.gpus < 2 * node.gpus
    return replace(node, gpus=old.node.gpus) if old is not None and lost else node


def _ended(node: Node, at: int) -> Node:
    return replace(node, window=Window(node.window.start, max(node.window.start, at)))


def _is_old(node: Node, held: Mapping[str, Allocation], cursor: str | None, told: Mapping[str, int]) -> bool:
    """Whether all of this has been said."""
    return all(_told(one, told) for one in held.values() if one.window.end != OPEN) and _position(node, held) == cursor


def _position(node: Node, held: Mapping[str, Allocation]) -> str:
    running = tuple(one for _, one in sorted(held.items()) if one.window.end == OPEN)
    return msgspec.json.encode(Position(FORMAT, node, running)).decode()


def _batch(
    part: str,
    node: Node,
    held: Mapping[str, Allocation],
    old: Position | None,
    told: Mapping[str, int],
    seen: int,
) -> Batch:
    """The news of one node. Of one that is gone the position is forgotten: its uid does not come back."""
    before = {one.key: one for one in old.pods} if old is not None else {}
    current = {key: _stopped(one, seen) for key, one in before.items() if key not in held}
    current = {key: _within(one, node.window) for key, one in sorted({**current, **held}.items())}
    return Batch(
        part,
        nodes=[node],
        allocations=[one for key, one in current.items() if before.get(key) != one and not _told(one, told)],
        cursor=_position(node, current) if node.window.end == OPEN else "",
        rejected={"node_without_provider_id": 1} if old is None and not node.resource else {},
    )


def _told(one: Allocation, told: Mapping[str, int]) -> bool:
    return one.window.end != OPEN and told.get(one.key) == one.window.end


def _stopped(one: Allocation, at: int) -> Allocation:
    return replace(one, window=Window(one.window.start, max(one.window.start, at)))


def _within(one: Allocation, up: Window) -> Allocation:
    """A pod holds a node's GPUs only while the node is there."""
    return one if one.window.end <= up.end else _stopped(one, up.end)
