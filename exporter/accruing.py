"""What the cost counters gain as time passes: cards, parts of nodes, fixed costs. In one transaction."""

import logging
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal

from collectors.records import HOUR, Card, Reservation
from exporter.config import Config
from exporter.intervals import Intervals
from exporter.ledger.snapshot import Increment, Snapshot, Stream, StreamKey
from exporter.ledger.store import Ledger
from exporter.reconcile import coverage
from exporter.reconcile.accrual import fixed_increment, node_increments, rent_increments
from exporter.reconcile.evaluate import PATIENCE, was_ahead
from exporter.reconcile.workload import WorkloadView

log = logging.getLogger(__name__)

Accrual = tuple[str, int, Iterable[Increment]]
"""(key, the instant it is accrued through then, what the counters gain)."""


def accrue(
    ledger: Ledger,
    config: Config,
    cards: Mapping[str, Card],
    snapshot: Snapshot,
    running: Iterable[Reservation],
    views: Sequence[WorkloadView],
    now: int,
) -> int:
    """Move the cost counters by the rent and the fixed costs of the time through `now` (epoch seconds) that no earlier
    call has counted. `running` are the reservations as they run on, `views` reach to `now`. Raises
    LedgerUnwritableError: what was not counted is, the next time.

    What was counted while the clock was ahead cannot be taken back; from `now` on, the counters go on as before. Gives
    the instant that they wait for where it is not known whether the clock was ahead or is behind, else 0."""
    done = ledger.accruals()
    ahead = {key: now for key, through in done.items() if was_ahead(through, now, ledger.first_start)}
    again: list[Accrual] = [(key, now, ()) for key in ahead]
    ledger.accrue_all([*again, *_accruals(done | ahead, config, cards, snapshot, running, views, now)], now)
    return max((at for key, at in done.items() if key not in ahead and at > now + HOUR), default=0)


def tell(waits: int, before: int) -> int:
    """Log once that counters wait until `waits`; `before` is what was given the last time."""
    if waits and not before:
        until = datetime.fromtimestamp(waits, UTC).strftime("%Y-%m-%d %H:%M UTC")
        log.warning("costs are counted through %s already and wait until then: is this machine's clock behind?", until)
    return waits


def _accruals(
    done: Mapping[str, int],
    config: Config,
    cards: Mapping[str, Card],
    snapshot: Snapshot,
    running: Iterable[Reservation],
    views: Sequence[WorkloadView],
    now: int,
) -> Iterator[Accrual]:
    """What is to be accrued at `now`. `done` are the instants through which that was done before, by key."""
    self_hosted = {view.name: view for view in views if view.path == "self_hosted"}
    held: dict[str, list[Reservation]] = {}
    for reservation in running:
        held.setdefault(reservation.card, []).append(reservation)
    rates = config.usd_rates
    for name, card in cards.items():
        rate = rates.get(card.currency)
        if rate is not None and name in held:
            view, key = self_hosted.get(card.workload), f"card:{name}"
            yield from _accrue_card(key, done.get(key), card, held[name], view, snapshot.streams, now, rate)
    for view in self_hosted.values():
        key = f"nodes:{view.name}"
        yield from _accrue_nodes(key, done.get(key), view, now)
    holding = {f"nodes:{view.name}" for view in self_hosted.values() if _on_nodes(view)}
    for key, through in done.items():  # what it held is another's now, and counted there: if it comes back, from then
        if key.startswith("nodes:") and key not in holding and through < now:
            yield key, now, ()
    if config.publish.accrue_fixed_costs:
        for workload in config.workloads:
            monthly, key = sum(workload.fixed_usd_per_month.values(), Decimal(0)), f"fixed:{workload.name}"
            if monthly and workload.name in self_hosted:
                known = self_hosted[workload.name].costs.known
                yield from _accrue_fixed(key, done.get(key), workload.name, monthly, known, now)


def paid_through(
    sources: Collection[StreamKey], streams: Mapping[StreamKey, Stream], up: Intervals, since: int
) -> int | None:
    """The instant through which it is settled which seconds a `while_running` card pays for; None before any source
    has delivered.

    A second is settled once any source saw the workload up in it (it is paid, whatever another replica says), or once
    every source that is still asked has delivered beyond it. So a replica that fails does not stop the counter while
    another is up. A second that no source saw up waits for the sources that fail, at most PATIENCE behind the newest
    one: if a replica bridges that time as up later still, the windowed gauges have it and the counter does not.
    """
    ends = {source: streams[source].observed.end or 0 if source in streams else 0 for source in sources}
    if not any(ends.values()):
        return None
    newest = max(ends.values())
    asked = [end for source, end in ends.items() if source not in streams or streams[source].retired_at is None]
    least = max(min(asked, default=newest), newest - PATIENCE, since)
    return next(iter(up | Intervals([(0, least)])))[1]


def _accrue_card(
    key: str,
    since: int | None,
    card: Card,
    held: Sequence[Reservation],
    view: WorkloadView | None,
    streams: Mapping[StreamKey, Stream],
    now: int,
    rate: Decimal,
) -> Iterator[Accrual]:
    """A card's rent, as far as no node of its workload is counted instead: see `_accrue_nodes`. Where one may be, it is
    counted through what the cluster vouches for: only then is it known whether the node was still held."""
    sources = view.sources if view else ()
    nodes = [rent for rent in view.costs.on_nodes() if rent.evidence != "list"] if view else []
    up = coverage.up(sources, streams) if card.while_running else Intervals()
    through = (paid_through(sources, streams, up, since or 0) or 0) if card.while_running else now
    if view and nodes:
        vouched = view.costs.known.clip(0, now).end
        if vouched is None:
            return
        through = min(through, vouched)
    if since is None or through > since:
        begin = through if since is None else since
        yield key, through, [rent_increments(card.workload, held, card, up, begin, through, rate, nodes)]


def _accrue_nodes(key: str, since: int | None, view: WorkloadView, now: int) -> Iterator[Accrual]:
    """A workload's part of the nodes it holds, at the best price known now: through the newest second that the cluster
    was seen and priced. What a rate card replaces is counted there, and not again once the card is gone."""
    nodes = view.costs.on_nodes()
    if not _on_nodes(view):
        return
    through = view.costs.known.clip(0, now).end
    if through is None or (since is not None and through <= since):
        return
    begin = through if since is None else since
    yield key, through, list(node_increments(view.name, nodes, begin, through))


def _on_nodes(view: WorkloadView) -> bool:
    """Whether the workload ever held a node, as it is matched now."""
    return bool(view.costs.on_nodes()) or any(rent.node for rent in view.costs.superseded)


def _accrue_fixed(
    key: str, since: int | None, name: str, monthly: Decimal, known: Intervals, now: int
) -> Iterator[Accrual]:
    """Fixed costs run while the workload's cost is known, as in the windows.

    They are counted through the newest second whose cost is known: where only a bill knows it, when that is delivered.
    """
    known = known.clip(0, now)
    through = known.end
    if through is None or (since is not None and through <= since):
        return
    begin = through if since is None else since
    increments = [fixed_increment(name, monthly, start, end) for start, end in known.clip(begin, through)]
    yield key, through, [fixed_increment(name, monthly, begin, begin), *increments]
