"""Where a workload's figures come from, line by line: the sums of `WorkloadView.window`, not yet added up. Pure."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from collectors.records import HOUR, Card, Component, Reservation, Window
from exporter.breakeven.formulas import HOURS_PER_MONTH
from exporter.breakeven.status import State, step
from exporter.config import DecisionSettings
from exporter.intervals import Intervals
from exporter.ledger.snapshot import BillLine, Evaluation, Stream, StreamKey
from exporter.prices.book import PriceKey, Rate
from exporter.prices.pricing import cost
from exporter.reconcile.alternatives import ApiAlternative
from exporter.reconcile.coverage import FOREVER
from exporter.reconcile.evaluate import evaluate
from exporter.reconcile.evidence import Costs, Rent, self_hosted_costs
from exporter.reconcile.report import Evidence
from exporter.reconcile.tokens import cut, key_of
from exporter.reconcile.workload import WorkloadView

REQUESTS = "requests"
"""The `token_type` of a price line that stands for a price per request."""


@dataclass(frozen=True, slots=True)
class CardLine:
    """What one rate card adds to C: `usd` = count x price x hours, of the hours that count.

    `superseded_hours` were paid for by a bill instead. `through` is how far the ledger has noted the reservation
    (epoch seconds); the rent runs on from there. `usd_per_unit` is the rate of `currency`, None where there is none.
    """

    key: str
    card: Card
    count: Decimal
    usd_per_unit: Decimal | None
    hours: Decimal
    usd: Decimal
    superseded_hours: Decimal
    superseded_usd: Decimal
    through: int


@dataclass(frozen=True, slots=True)
class BilledLine:
    """What the lines of one bill add to C. `through` is the end of the newest charge period (epoch seconds)."""

    collector: str
    component: Component
    evidence: Evidence
    lines: int
    resources: tuple[str, ...]
    usd: Decimal
    through: int


@dataclass(slots=True)
class PriceLine:
    """Tokens of one type at one price: `usd` = tokens x price, before any discount. Without a price, `usd` is None.

    `as_input`: the host has no price for cached tokens, so these pay the input price. `since` is when the price came
    into force (epoch seconds, None: it was always so).
    """

    key: PriceKey
    band: int
    token_type: str
    origin: str
    since: int | None
    as_input: bool
    tokens: int = 0
    usd: Decimal | None = None

    @property
    def usd_per_token(self) -> Decimal | None:
        return None if self.usd is None or not self.tokens else self.usd / self.tokens


@dataclass(slots=True)
class SourceLine:
    """One source of a workload's usage over the covered time of a window.

    `through` is the instant up to which it has delivered (epoch seconds), `missing` the time of the window it was asked
    for and did not vouch for. `down`: when last seen, it was not there.
    """

    source: StreamKey
    through: int | None
    retired_at: int | None
    down: bool
    missing: Intervals
    models: set[str] = field(default_factory=set)
    tokens: int = 0
    requests: int = 0


def card_lines(
    view: WorkloadView,
    held: Iterable[tuple[Reservation, int]],
    cards: Mapping[str, Card],
    billed: Sequence[BillLine],
    up: Intervals,
    fx: Mapping[str, Decimal],
    covered: Intervals,
) -> list[CardLine]:
    """The rate cards behind C over `covered`. `held` are the workload's reservations, run on to the end of closed time,
    each with the instant through which the ledger has noted it; `billed` the bill lines allocated to the workload."""
    found = []
    for reservation, through in held:
        card = cards.get(reservation.card)
        if card is None:
            continue
        costs = self_hosted_costs([reservation], cards, billed, up, fx, Decimal(0), 0)
        shares = max(1, len(card.resources))
        kept = [rent for rent in costs.counted if rent.evidence == "configured"]
        found.append(
            CardLine(
                key=reservation.card,
                card=card,
                count=reservation.count,
                usd_per_unit=fx.get(card.currency),
                hours=_hours(kept, covered, shares),
                usd=sum((rent.usd(covered) for rent in kept), Decimal(0)),
                superseded_hours=_hours(costs.superseded, covered, shares),
                superseded_usd=costs.superseded_usd(covered),
                through=through,
            )
        )
    return found


def _hours(rents: Iterable[Rent], covered: Intervals, shares: int) -> Decimal:
    return Decimal(sum((rent.seconds & covered).seconds for rent in rents)) / (shares * HOUR)


def billed_lines(
    billed: Sequence[BillLine], cards: Mapping[str, Card], fx: Mapping[str, Decimal], covered: Intervals
) -> list[BilledLine]:
    """The bills behind C over `covered`: the lines allocated to the workload, by collector, component and evidence."""
    groups: dict[tuple[str, Component, Evidence], list[tuple[BillLine, Decimal]]] = {}
    for line in billed:
        costs: Costs = self_hosted_costs((), cards, [line], Intervals(), fx, Decimal(0), 0)
        for rent in costs.counted:
            if rent.seconds & covered:
                group = groups.setdefault((line.collector, rent.component, rent.evidence), [])
                group.append((line, rent.usd(covered)))
    return [
        BilledLine(
            collector=collector,
            component=component,
            evidence=evidence,
            lines=len(lines),
            resources=tuple(sorted({line.charge.resource for line, _ in lines if line.charge.resource})),
            usd=sum((usd for _, usd in lines), Decimal(0)),
            through=max(line.charge.window.end for line, _ in lines),
        )
        for (collector, component, evidence), lines in groups.items()
    ]


def fixed_lines(monthly: Mapping[str, Decimal], known: Intervals, covered: Intervals) -> dict[str, Decimal]:
    """The fixed costs behind C over `covered` in USD by name, prorated by second of a 730 h month (see `evidence`)."""
    seconds = (known & covered).seconds
    return {name: usd * seconds / (HOURS_PER_MONTH * HOUR) for name, usd in monthly.items()}


def price_lines(view: WorkloadView, alternative: ApiAlternative | None, covered: Intervals) -> list[PriceLine]:
    """The tokens of `covered` and their prices at `alternative`, or (None) at their own API, largest amounts first."""
    found: dict[tuple[object, ...], PriceLine] = {}

    def line(key: PriceKey, band: int, token_type: str, rate: Rate | None, as_input: bool) -> PriceLine:
        origin, since = (rate.origin, rate.start) if rate else ("", None)
        day = rate.day if rate else None
        wanted = (key, band, token_type, origin, since, day, as_input)
        return found.setdefault(wanted, PriceLine(key, band, token_type, origin, since, as_input))

    for one in view.series:
        key = alternative.price if alternative else key_of(one.key)
        for start, end in cut(covered, view.book, key):
            tokens = {t: n for t, n in one.tokens(start, end).items() if n}
            rate, requests = view.book.rate(key, start), one.request_count(start, end)
            _add_prices(line, key, one.key.band, tokens, requests, rate, alternative is not None)
    return sorted(found.values(), key=lambda each: (each.usd is None, -(each.usd or 0), each.token_type))


def _add_prices(
    line: Callable[..., PriceLine],
    key: PriceKey,
    band: int,
    tokens: Mapping[str, int],
    requests: int,
    rate: Rate | None,
    counterfactual: bool,
) -> None:
    """Lay the tokens of one stretch at one rate onto their lines; tokens without a price onto lines without one."""
    priced = cost(rate, tokens, band, requests, cached_as_input=counterfactual) if rate else None
    for token_type, count in tokens.items():
        if rate is None or priced is None or token_type in priced.unpriced:
            line(key, band, token_type, None, False).tokens += count
            continue
        into = line(key, band, token_type, rate, token_type not in rate.prices(band))
        into.tokens += count
        into.usd = (into.usd or Decimal(0)) + priced.by_type[token_type]
    if rate is not None and rate.per_request and requests:
        into = line(key, band, REQUESTS, rate, False)
        into.tokens += requests
        into.usd = (into.usd or Decimal(0)) + rate.per_request * requests


def source_lines(
    view: WorkloadView, streams: Mapping[StreamKey, Stream], asked: Window, covered: Intervals
) -> list[SourceLine]:
    """Every source that feeds the workload, the largest first, with what it is missing of `asked`."""
    found = {source: _source(source, streams.get(source), asked) for source in sorted(view.sources)}
    for one in view.series:
        line = found[one.key.source]
        line.models.add(one.key.model)
        for start, end in covered:
            line.tokens += sum(one.tokens(start, end).values())
            line.requests += one.request_count(start, end)
    return sorted(found.values(), key=lambda line: (-line.tokens, line.source))


def _source(source: StreamKey, stream: Stream | None, asked: Window) -> SourceLine:
    if stream is None:
        return SourceLine(source, None, None, False, Intervals([(asked.start, asked.end)]))
    until = min(asked.end, stream.retired_at or FOREVER)
    missing = Intervals([(max(asked.start, stream.first_seen), until)]) - stream.observed
    down = stream.observed.end is not None and stream.observed.end != stream.up.end
    return SourceLine(source, stream.observed.end, stream.retired_at, down, missing)


def evaluated_again(
    view: WorkloadView,
    alternative: ApiAlternative,
    stored: Iterable[Evaluation],
    settings: DecisionSettings,
    since: int,
    end: int,
) -> State:
    """The state that the stored evaluations would lead to if those in `(since, end]` were made on today's data.

    Stored evaluations are never changed; this says what a later bill, price or late usage would have changed.
    """
    state = State()
    for evaluation in stored:
        again = since < evaluation.at <= end
        state = step(state, evaluate(view, alternative, evaluation.at, settings) if again else evaluation, settings)
    return state
