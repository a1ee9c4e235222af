"""From what the cluster looks like to what has changed since it was last committed: batches of nodes and allocations.

A node is one part, `node/<uid>`, and its position is all that was said of it and of the pods that hold its GPUs. What
is new is told by comparing with the position, and what vanished while nobody watched is ended at the instant through
which the collector had last vouched (the position of part ""), with every label it had. It may only be out of sight (an
object that cannot be read, or one too many): for a day it is remembered, and goes on if it is seen again. Who counts a
pod's GPUs, its sidecar or this exporter, is news from now on: what was said of the past stays. Pure.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal

import msgspec

from collectors.cluster.nodes import Machine
from collectors.cluster.pods import Pod
from collectors.records import DAY, OPEN, Allocation, Batch, Failure, Labels, Node, Window

PART = "node/"
FORMAT = 1


class Position(msgspec.Struct):
    """What the ledger holds of one node, and of the pods on it that have not ended: of each its newest allocation. One
    that has ended is there as long as the pod is listed and says otherwise, and one that is out of sight until a day
    after its end: else it would be said anew, from its start and as it is now."""

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


@dataclass(frozen=True, slots=True)
class Told:
    """What of pods that are over, but still listed, has been said: what ended by the instant `through` (when the
    collector began, it had vouched for that), and since then the allocations in `ends`, with their end, by key."""

    through: int = 0
    ends: Mapping[str, int] = field(default_factory=dict)


def changes(sight: Sight, cursors: Mapping[str, str], told: Told, now: int) -> Iterator[Batch | Failure]:
    """What the ledger does not know yet, a batch for each node with news."""
    seen = min(last_seen(cursors) or now, now)
    holders = allocations(sight)
    known = {part.removeprefix(PART) for part in cursors if part.startswith(PART)}
    for uid in sorted(known | sight.machines.keys() | sight.gone_machines.keys()):
        if uid in sight.bare:
            continue  # its GPUs are not offered just now (a device plugin restarts): it is still what it was
        part = f"{PART}{uid}"
        cursor = cursors.get(part)
        held = {one.key: one for one in holders.get(uid, ())}
        if uid in sight.machines and _is_old(sight.machines[uid].node, held.values(), cursor, told):
            continue
        try:
            old = _read(cursor)
        except (msgspec.DecodeError, ValueError) as error:  # left as it is, for the version that wrote it
            yield Failure(part, f"cannot read this node's position in the ledger: {error}")
            continue
        node = _node(uid, sight, old, seen)
        batch = _batch(part, node, held, old, told, seen, now) if node is not None else None
        if batch is not None and (batch.allocations or batch.cursor != cursor):
            yield batch


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
    if old is None:
        return None
    return _ended(old.node, seen) if old.node.window.end == OPEN else old.node


def _whole(node: Node, old: Position | None) -> Node:
    """A machine that lost a few GPUs, as by a defect, still has them here: its bills, those of the past too, are shared
    out by one number. Half of them or more do not fail at once: it is divided otherwise now (MIG, time-slicing)."""
    lost = old is not None and old.node.gpu == node.gpu and node.gpus < old.node.gpus < 2 * node.gpus
    return replace(node, gpus=old.node.gpus) if old is not None and lost else node


def _ended(node: Node, at: int) -> Node:
    return replace(node, window=Window(node.window.start, max(node.window.start, at)))


def _is_old(node: Node, held: Collection[Allocation], cursor: str | None, told: Told) -> bool:
    """Whether all of this has been said, as far as is seen without reading the position."""
    running = [one for one in held if one.window.end == OPEN]
    over = (one for one in held if one.window.end != OPEN)
    return all(_told(one, told, known=True) for one in over) and _position(node, running) == cursor


def _position(node: Node, pods: Iterable[Allocation]) -> str:
    return msgspec.json.encode(Position(FORMAT, node, tuple(sorted(pods, key=_key)))).decode()


def _key(one: Allocation) -> str:
    return one.key


def _batch(
    part: str, node: Node, held: Mapping[str, Allocation], old: Position | None, told: Told, seen: int, now: int
) -> Batch:
    """The news of one node. Of one that is gone the position is forgotten with the last pod it remembers."""
    before = {one.first_key: one for one in old.pods} if old is not None else {}
    lost = [one for key, one in before.items() if key not in held]
    said = [_stopped(one, seen) if one.window.end == OPEN else one for one in lost]
    newest = [one for one in said if now - one.window.end < DAY]
    for key, one in held.items():
        spans = [_within(span, node.window) for span in _spans(one, before.get(key), now)]
        said += spans
        if spans[-1].window.end == OPEN or (spans[-1].key, spans[-1].sidecar) != (key, one.sidecar):
            newest.append(spans[-1])
    in_sight = old is not None and old.node.window.end == OPEN  # till now: it has been told what ended on it
    known = {one.key for one in said if in_sight and one.first_key not in before}
    news = [one for one in said if before.get(one.first_key) != one and not _told(one, told, one.key in known)]
    return Batch(
        part,
        nodes=[node],
        allocations=sorted(news, key=_key),
        cursor=_position(node, newest) if newest or node.window.end == OPEN else "",
        rejected={"node_without_provider_id": 1} if old is None and not node.resource else {},
    )


def _spans(one: Allocation, was: Allocation | None, now: int) -> list[Allocation]:
    """What there is to say of a pod's GPUs: what the pod says (`one`) from now on, what was said last (`was`) till now.

    One that is over stays what it was: whoever counts it now, nothing of it is left to count.
    """
    if was is None:
        return [one]
    start = one.window.start if was.key == one.key else was.window.start
    goes_on = replace(one, key=was.key, window=Window(start, max(start, one.window.end)))
    if one.window.end != OPEN:
        return [replace(goes_on, sidecar=was.sidecar)]
    if was.sidecar == one.sidecar or now <= start:
        return [goes_on]
    return [_stopped(was, now), replace(one, key=f"{one.key}#{now}", window=Window(now, OPEN))]


def _told(one: Allocation, told: Told, known: bool) -> bool:
    """Whether the end of an allocation has been said. `known`: its node is, and not as one that it runs on."""
    end = one.window.end
    return end != OPEN and (told.ends.get(one.key) == end or (known and end <= told.through))


def _stopped(one: Allocation, at: int) -> Allocation:
    return replace(one, window=Window(one.window.start, max(one.window.start, at)))


def _within(one: Allocation, up: Window) -> Allocation:
    """A pod holds a node's GPUs only while the node is there."""
    return one if one.window.end <= up.end else _stopped(one, up.end)
