"""From a snapshot to a report: join usage, coverage, cost and prices for every workload. Pure: values and `now` in."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal

from collectors.records import DAY, SLOT, Card, Path, Reservation, Window
from exporter.breakeven.capacity import Saturation, workload_capacity
from exporter.config import Config, DecisionSettings, Workload
from exporter.intervals import Intervals
from exporter.ledger.snapshot import BillLine, Snapshot, StreamKey, UsageSeries
from exporter.prices.book import PriceBook
from exporter.reconcile import coverage
from exporter.reconcile.alternatives import alternatives_of
from exporter.reconcile.api_costs import ApiBill, billed_days, prices_of, token_bill
from exporter.reconcile.billing import Billing, billing
from exporter.reconcile.evidence import Costs, NodeRents, self_hosted_costs
from exporter.reconcile.matching import by_workload, check_collectors, decision_of, names_of
from exporter.reconcile.memo import Memo
from exporter.reconcile.owners import Owners
from exporter.reconcile.tokens import Billed
from exporter.reconcile.workload import WorkloadView

WINDOWS = {"1h": 3600, "24h": 86400, "7d": 7 * 86400, "30d": 30 * 86400}


@dataclass(frozen=True, slots=True)
class Inputs:
    """All that a report is made of. `fx` is USD per unit by currency; `automatic` are the kept automatic alternatives;
    `memo` remembers what was made of parts that have not changed since."""

    snapshot: Snapshot
    config: Config
    cards: Mapping[str, Card]
    book: PriceBook
    automatic: Mapping[tuple[str, Path], str] = field(default_factory=dict)
    memo: Memo = field(default_factory=Memo)

    @property
    def fx(self) -> dict[str, Decimal]:
        return self.config.usd_rates

    def workload(self, name: str) -> Workload | None:
        return names_of(self.config.workloads).by_name.get(name)

    def decision(self, name: str) -> DecisionSettings:
        return decision_of(self.config, name)


def meters(snapshot: Snapshot, config: Config) -> list[UsageSeries]:
    """The usage that counts: all but that of checking collectors."""
    checks = check_collectors(config, snapshot)
    return [one for one in snapshot.series if one.key.collector not in checks]


def finders(config: Config) -> dict[str, str]:
    """By collector that reads what another one discovers, the name of that other."""
    found = {one.name: getattr(one, "discover", None) for one in config.collectors}
    return {name: finder for name, finder in found.items() if isinstance(finder, str)}


def closed_through(now: int, settle: int) -> int:
    """The end of the last slot that is closed at `now`: sources get `settle` seconds to deliver its end."""
    return (now - settle) // SLOT * SLOT


def window_starts(end: int) -> dict[str, int]:
    """The start of each published window that ends at `end`; `mtd` is the UTC calendar month."""
    last = datetime.fromtimestamp(max(0, end - 1), UTC)
    month = int(datetime(last.year, last.month, 1, tzinfo=UTC).timestamp())
    return {**{name: end - seconds for name, seconds in WINDOWS.items()}, "mtd": month}


def views(inputs: Inputs, end: int) -> list[WorkloadView]:
    """Every workload and path with what is known of it through `end` (epoch seconds).

    A workload that only a rate card or a bill names has a view without usage: its cost shows, its status is unknown.
    """
    groups = by_workload(meters(inputs.snapshot, inputs.config), inputs.config.workloads)
    held: dict[str, list[Reservation]] = {}
    for reservation in running(inputs, end):
        held.setdefault(reservation.workload, []).append(reservation)
    laid_out, billed = billing_of(inputs, end), prices_of(api_bill(inputs, end).days).of
    lines = inputs.memo.same("rent lines", (laid_out.matched,), lambda: _rent_lines(laid_out))
    for name in (*held, *lines, *laid_out.rents):
        groups.setdefault((name, "self_hosted"), [])
    for kind in ("costs", "capacity"):
        inputs.memo.keep(kind, {name for name, _ in groups})
    return [
        _view(
            inputs, name, path, series, held.get(name, []), lines.get(name, []), laid_out.rents.get(name), billed, end
        )
        for (name, path), series in groups.items()
    ]


def billing_of(inputs: Inputs, now: int) -> Billing:
    """The bill and the cluster behind the workloads' costs at `now` (epoch seconds)."""
    snapshot, config = inputs.snapshot, inputs.config
    owners = Owners()
    if snapshot.allocations:
        series = meters(snapshot, config)
        owners = inputs.memo.equal("owners", (tuple(series), config), lambda: Owners.of(series, config.workloads))
    return billing(snapshot, config, inputs.cards, owners, inputs.fx, now, inputs.memo)


def _view(
    inputs: Inputs,
    name: str,
    path: Path,
    series: Sequence[UsageSeries],
    held: Sequence[Reservation],
    lines: Sequence[BillLine],
    nodes: NodeRents | None,
    billed: Billed,
    end: int,
) -> WorkloadView:
    sources = coverage.streams_of(series)
    observed = Intervals([(0, end)])
    if sources:
        observed = coverage.observed_by_all(sources, inputs.snapshot.streams, finders(inputs.config))
    costs = Costs()
    if path == "self_hosted":
        costs = _costs(inputs, name, held, lines, nodes or NodeRents(), sources, end)
        if nodes is not None:
            costs = replace(costs, known=nodes.known(costs.known, watched(inputs, nodes.collectors)))
        observed &= costs.known
    first = coverage.first_slot(series) if series else _first_cost(costs)
    return WorkloadView(
        name=name,
        path=path,
        series=series,
        sources=frozenset(sources),
        first=first,
        covered=coverage.covered_slots(observed.clip(first or 0, end), inputs.snapshot.fine_from),
        costs=costs,
        alternatives=alternatives_of(name, path, inputs.config.workloads, inputs.automatic),
        book=inputs.book,
        max_unpriced=inputs.decision(name).max_unpriced,
        fine_from=inputs.snapshot.fine_from,
        billed=billed if path == "api" else None,
    )


def _costs(
    inputs: Inputs,
    name: str,
    held: Sequence[Reservation],
    lines: Sequence[BillLine],
    nodes: NodeRents,
    sources: Iterable[StreamKey],
    end: int,
) -> Costs:
    """A workload's rents; the same as before while nothing that they are made of has changed."""
    workload, cards = inputs.workload(name), inputs.cards
    fixed = sum((workload.fixed_usd_per_month.values() if workload else ()), Decimal(0))
    running = any(one.card in cards and cards[one.card].while_running for one in held)
    up = coverage.up(sources, inputs.snapshot.streams).clip(0, end - end % SLOT) if running else Intervals()
    order = tuple(settings.name for settings in inputs.config.collectors)
    through, day = rents_through(end), end - end % DAY
    return inputs.memo.equal(
        ("costs", name),
        (tuple(held), cards, lines, up, inputs.fx, fixed, through, nodes, order),
        lambda: self_hosted_costs(held, cards, lines, up, inputs.fx, fixed, through, nodes, order, day),
    )


def rents_through(end: int) -> int:
    """How far rents are laid out for what is known through `end`: further, so that they need not be made again at every
    tick of a day. What is asked of them is bounded by covered time."""
    return end - end % DAY + 2 * DAY


def api_bill(inputs: Inputs, now: int) -> ApiBill:
    """What API providers billed for tokens on each closed day, and what those are worth at list price."""
    snapshot, memo = inputs.snapshot, inputs.memo
    lines = memo.same("token bill", (snapshot.bill,), lambda: token_bill(snapshot.bill))
    if not lines:
        return ApiBill()
    return memo.equal(  # views, parts and steps of a tick ask in turn
        "api bill",
        (snapshot.revision, now - now % DAY, lines, inputs.config, inputs.book),
        lambda: billed_days(snapshot, inputs.config, lines, inputs.book, inputs.fx, now, memo),
    )


def watched(inputs: Inputs, collectors: Iterable[str]) -> dict[str, Intervals]:
    """When each of these collectors, as a whole, saw what it is there to see; only those that are configured still."""
    streams, configured = inputs.snapshot.streams, {settings.name for settings in inputs.config.collectors}
    found = {name: streams.get((name, "")) for name in collectors if name in configured}
    return {name: stream.observed if stream is not None else Intervals() for name, stream in found.items()}


def capacity(inputs: Inputs, view: WorkloadView, now: int) -> tuple[Decimal | None, int | None]:
    """K of the workload in tokens per second with its sample count (0: configured), over its ready replicas.

    A configured capacity is one replica's. Replicas are the engine targets that were up in the last closed slots;
    a workload that no engine feeds counts as one replica.
    """
    engines = sorted(s for s in view.sources if s in inputs.snapshot.loads)
    streams = [inputs.snapshot.streams[s] for s in engines if s in inputs.snapshot.streams]
    ready = sum(1 for s in streams if s.retired_at is None and now - SLOT in s.up) if engines else 1
    workload = inputs.workload(view.name)
    if workload and workload.capacity_tokens_per_second != "auto":
        return workload_capacity(Decimal(workload.capacity_tokens_per_second), ready), 0
    if not engines:
        return None, None
    models = {one.key.model for one in view.series}
    loads = tuple(inputs.snapshot.loads[s] for s in engines)
    saturation = inputs.memo.equal(
        ("capacity", view.name),
        (loads, models),
        lambda: Saturation(load for some in loads for load in some if load.model in models),
    )
    replica, samples = saturation.capacity(now)
    return workload_capacity(replica, ready), samples


def running(inputs: Inputs, end: int) -> Sequence[Reservation]:
    """The reservations as they run on, through `end` (epoch seconds) and beyond; the same objects for a day."""
    noted, cards, through = inputs.snapshot.reservations, inputs.cards, rents_through(end)
    return inputs.memo.equal("running", (noted, cards, through), lambda: tuple(running_on(noted, cards, through)))


def running_on(reservations: Sequence[Reservation], cards: Mapping[str, Card], end: int) -> Iterator[Reservation]:
    """The reservations, the newest of each card that is still configured running on to `end`: rent runs whether or not
    the exporter was there to note it."""
    newest: dict[str, Reservation] = {}
    for reservation in reservations:
        if reservation.card not in newest or newest[reservation.card].window.end <= reservation.window.end:
            newest[reservation.card] = reservation
    for reservation in reservations:
        card = cards.get(reservation.card)
        until = end if card is None or card.end is None else min(end, card.end)
        if card is None or reservation is not newest[reservation.card] or until <= reservation.window.end:
            yield reservation
        else:
            yield replace(reservation, window=Window(reservation.window.start, until))


def _rent_lines(laid_out: Billing) -> dict[str, list[BillLine]]:
    """The bill lines that are a workload's cost on the self-hosted path. What an API bills for tokens is not."""
    found: dict[str, list[BillLine]] = {}
    for name, lines in laid_out.matched.claimed.items():
        rents = [line for line in lines if line.charge.component != "tokens"]
        if rents:
            found[name] = rents
    return found


def _first_cost(costs: Costs) -> int | None:
    return costs.known.spans[0][0] if costs.known else None
