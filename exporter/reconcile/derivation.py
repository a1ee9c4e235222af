"""Where a workload's tokens and their prices come from, line by line: the sums of `WorkloadView.window`, not yet added
up (those of its rents: `derived_costs`). Pure.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import NamedTuple

from collectors.records import DAY, Window
from exporter.breakeven.status import State, step
from exporter.config import DecisionSettings
from exporter.intervals import Intervals
from exporter.ledger.snapshot import Evaluation, Stream, StreamKey
from exporter.prices.book import PriceKey, Rate
from exporter.prices.pricing import cost
from exporter.reconcile.alternatives import ApiAlternative
from exporter.reconcile.api_costs import BilledDay, undated
from exporter.reconcile.coverage import FOREVER
from exporter.reconcile.evaluate import evaluate
from exporter.reconcile.token_worth import ANY
from exporter.reconcile.tokens import cut, factored, key_of
from exporter.reconcile.workload import WorkloadView

REQUESTS = "requests"
"""The `token_type` of a price line that stands for a price per request."""


@dataclass(slots=True)
class PriceLine:
    """Tokens of one type at one price: `usd` = `listed_usd` = tokens x price, before any discount. Without a price,
    both are None.

    `band` is the edge of the prompt length above which that price holds, 0 where it holds for all. `as_input`: the host
    has no price for cached tokens, so these pay the input price. `since` is when the price came into force (epoch
    seconds, None: it was always so). `factors` are what the provider's bill made of the list price, by UTC day (its
    start): `usd` is then `listed_usd` times these, each day by its own.
    """

    key: PriceKey
    band: int
    token_type: str
    origin: str
    since: int | None
    as_input: bool
    tokens: int = 0
    listed_usd: Decimal | None = None
    usd: Decimal | None = None
    factors: dict[int, Decimal] = field(default_factory=dict)

    def add(self, tokens: int, listed_usd: Decimal, factor: Decimal) -> None:
        self.tokens += tokens
        self.listed_usd = (self.listed_usd or Decimal(0)) + listed_usd
        self.usd = (self.usd or Decimal(0)) + listed_usd * factor

    @property
    def usd_per_token(self) -> Decimal | None:
        """The list price."""
        return None if self.listed_usd is None or not self.tokens else self.listed_usd / self.tokens

    @property
    def factor(self) -> Decimal | None:
        """What was billed of the list price over all days; None where nothing was."""
        return self.usd / self.listed_usd if self.factors and self.usd is not None and self.listed_usd else None


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


def price_lines(view: WorkloadView, alternative: ApiAlternative | None, covered: Intervals) -> list[PriceLine]:
    """The tokens of `covered` and their prices at `alternative`, or (None) at their own API, largest amounts first."""
    found: dict[tuple[object, ...], PriceLine] = {}
    for one in view.series:
        key = alternative.price if alternative else key_of(one.key)
        factors = view.billed(one.key) if view.billed is not None and alternative is None else ()
        for start, end, factor, evidence in factored(cut(covered, view.book, key), factors):
            billed = None if evidence is None else (start - start % DAY, factor)
            at = _Stretch(key, one.key.band, view.book.rate(key, start), billed)
            tokens = {t: n for t, n in one.tokens(start, end).items() if n}
            _add_prices(found, at, tokens, one.request_count(start, end), alternative is not None)
    return sorted(found.values(), key=lambda each: (each.usd is None, -(each.usd or 0), each.token_type))


class _Stretch(NamedTuple):
    """Some time in which prices stand still. `billed`: its UTC day and what the bill made of the list price then."""

    key: PriceKey
    band: int
    rate: Rate | None
    billed: tuple[int, Decimal] | None

    def line(
        self, found: dict[tuple[object, ...], PriceLine], token_type: str, rate: Rate | None, as_input: bool = False
    ) -> PriceLine:
        """The line among `found`, made where there is none, that tokens of this stretch belong to."""
        origin, since, hours, edge = (
            (rate.origin, rate.start, rate.day, self.edge(rate)) if rate else ("", None, None, 0)
        )
        wanted = (self.key, edge, token_type, origin, since, hours, as_input, self.billed is not None)
        line = found.setdefault(wanted, PriceLine(self.key, edge, token_type, origin, since, as_input))
        if self.billed is not None:
            line.factors[self.billed[0]] = self.billed[1]
        return line

    def edge(self, rate: Rate) -> int:
        """The prompt length above which its price holds: 0 of a model with one price for all lengths."""
        return max((edge for edge, _ in rate.bands if edge <= self.band), default=0)


def _add_prices(
    found: dict[tuple[object, ...], PriceLine],
    at: _Stretch,
    tokens: Mapping[str, int],
    requests: int,
    counterfactual: bool,
) -> None:
    """Lay the tokens of one stretch at one rate onto their lines; tokens without a price onto lines without one."""
    rate, factor = at.rate, at.billed[1] if at.billed else Decimal(1)
    priced = cost(rate, tokens, at.band, requests, cached_as_input=counterfactual) if rate else None
    for token_type, count in tokens.items():
        if rate is None or priced is None or token_type in priced.unpriced:
            at.line(found, token_type, None).tokens += count
        else:
            as_input = token_type not in rate.prices(at.band)
            at.line(found, token_type, rate, as_input).add(count, priced.by_type[token_type], factor)
    if rate is not None and rate.per_request and requests:
        at.line(found, REQUESTS, rate).add(requests, rate.per_request * requests, factor)


def billed_by(line: PriceLine, days: Iterable[BilledDay]) -> tuple[str, ...]:
    """The collectors whose bill made the factors of `line`. `days` are those of all bills."""
    provider, model = line.key.provider.casefold(), undated(line.key.model)
    of_line = (one for one in days if one.provider == provider and one.model in (model, ANY))
    return tuple(sorted({one.collector for one in of_line if line.factors.get(one.day) == one.factor is not None}))


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
