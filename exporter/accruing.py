"""What the cost counters gain as time passes: the rent of the cards, and fixed costs. Each in its own transaction."""

from collections.abc import Collection, Mapping, Sequence
from decimal import Decimal

from collectors.records import Card, Reservation
from exporter.config import Config
from exporter.intervals import Intervals
from exporter.ledger.snapshot import Snapshot, Stream, StreamKey
from exporter.ledger.store import Ledger
from exporter.reconcile import coverage
from exporter.reconcile.accrual import fixed_increment, rent_increments
from exporter.reconcile.build import running_on
from exporter.reconcile.evaluate import PATIENCE
from exporter.reconcile.workload import WorkloadView


def accrue(
    ledger: Ledger,
    config: Config,
    cards: Mapping[str, Card],
    snapshot: Snapshot,
    views: Sequence[WorkloadView],
    now: int,
) -> None:
    """Move the cost counters by the rent and the fixed costs of the time through `now` (epoch seconds) that no earlier
    call has counted. `views` reach to `now`. Raises LedgerUnwritableError: what was not counted is, the next time."""
    self_hosted = {view.name: view for view in views if view.path == "self_hosted"}
    held: dict[str, list[Reservation]] = {}
    for reservation in running_on(snapshot.reservations, cards, now):
        held.setdefault(reservation.card, []).append(reservation)
    rates = config.usd_rates
    for key, card in cards.items():
        rate = rates.get(card.currency)
        if rate is not None and key in held:
            view = self_hosted.get(card.workload)
            _accrue_card(ledger, key, card, held[key], view.sources if view else (), snapshot.streams, now, rate)
    if config.publish.accrue_fixed_costs:
        for workload in config.workloads:
            monthly = sum(workload.fixed_usd_per_month.values(), Decimal(0))
            if monthly and workload.name in self_hosted:
                _accrue_fixed(ledger, workload.name, monthly, self_hosted[workload.name].costs.known, now)


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
    ledger: Ledger,
    key: str,
    card: Card,
    held: Sequence[Reservation],
    sources: Collection[StreamKey],
    streams: Mapping[StreamKey, Stream],
    now: int,
    rate: Decimal,
) -> None:
    since = ledger.accrued_through(f"card:{key}")
    up = coverage.up(sources, streams)
    through = (paid_through(sources, streams, up, since or 0) or 0) if card.while_running else now
    if since is None or through > since:
        increment = rent_increments(card.workload, held, card, up, through if since is None else since, through, rate)
        ledger.accrue(f"card:{key}", through, now, [increment])


def _accrue_fixed(ledger: Ledger, name: str, monthly: Decimal, known: Intervals, now: int) -> None:
    """Fixed costs run while the workload's cost is known, as in the windows.

    They are counted through the newest second whose cost is known: where only a bill knows it, when that is delivered.
    """
    known = known.clip(0, now)
    since, through = ledger.accrued_through(f"fixed:{name}"), known.end
    if through is None or (since is not None and through <= since):
        return
    begin = through if since is None else since
    increments = [fixed_increment(name, monthly, start, end) for start, end in known.clip(begin, through)]
    ledger.accrue(f"fixed:{name}", through, now, [fixed_increment(name, monthly, begin, begin), *increments])
