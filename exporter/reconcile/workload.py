"""One workload on one path, ready to be asked for any window: tokens, cost, alternatives, all over the same slots."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from collectors.records import HOUR, Component, Path, Window
from exporter.breakeven.formulas import break_even_ratio, usd_per_token
from exporter.intervals import Intervals
from exporter.ledger.snapshot import Evaluation, StreamKey, UsageSeries
from exporter.prices.book import PriceBook, PriceKey
from exporter.reconcile.alternatives import ApiAlternative
from exporter.reconcile.evidence import Costs
from exporter.reconcile.report import AlternativeFigures, Evidence, WindowFigures
from exporter.reconcile.tokens import Billed, Priced, Tokens, key_of, price_tokens, sum_tokens


@dataclass(frozen=True, slots=True)
class WorkloadView:
    """What the ledger knows of one workload and path. `covered` are its covered slots, `first` its first observation.

    `costs` are its rents (self-hosted path; empty for an API workload, whose cost is its priced tokens).
    `max_unpriced` is the share of unpriced tokens above which a ratio is absent. Before `fine_from` rows are hourly.
    `billed` says what the provider's bill made of the list price of an API workload's tokens.
    """

    name: str
    path: Path
    series: Sequence[UsageSeries]
    sources: frozenset[StreamKey]
    first: int | None
    covered: Intervals
    costs: Costs
    alternatives: tuple[ApiAlternative, ...]
    book: PriceBook
    max_unpriced: Decimal
    fine_from: int = 0
    billed: Billed | None = None
    at_alternatives: dict[tuple[PriceKey, Decimal, Intervals], Priced] = field(
        default_factory=dict, repr=False, compare=False
    )  # what was priced before: a view is of one instant

    def window(self, start: int, end: int) -> WindowFigures:
        """The figures of `[start, end)`, clipped to the first observation (epoch seconds, whole slots).

        Where the ledger keeps hours only, a start inside an hour moves to the next: half an hour has no token count.
        """
        start = max(start, self.first or start)
        if start < self.fine_from:
            start = -(-start // HOUR) * HOUR
        asked = Window(min(end, start), end)
        covered = self.covered.clip(asked.start, asked.end)
        tokens = sum_tokens(self.series, covered)
        own = self._own(covered) if self.path == "api" else None
        cost_by = self._cost_by(covered, own)
        cost = sum(cost_by.values(), Decimal(0)) if cost_by else None
        unpriced = own.unpriced_tokens if own else 0
        per_token = usd_per_token(cost, tokens.total - unpriced) if self._few(unpriced, tokens) else None
        return WindowFigures(
            asked=asked,
            covered_seconds=covered.seconds,
            coverage_ratio=Decimal(covered.seconds) / asked.seconds if asked.seconds else Decimal(0),
            tokens=tokens.by_type if covered else {},
            requests=tokens.requests,
            unpriced_tokens=unpriced,
            cost_usd=cost,
            cost_by=cost_by,
            superseded_usd=self.costs.superseded_usd(covered),
            usd_per_token=per_token,
            alternatives={a.label: self._alternative(a, covered, tokens, cost) for a in self.alternatives},
        )

    def basis(self, end: int) -> tuple[object, ...]:
        """All that the figures of windows ending at `end` are made of: equal to an earlier one, so are the figures."""
        series = tuple((one, one.fingerprint(end)) for one in self.series)
        factors = tuple(self.billed(one.key) for one in self.series) if self.billed is not None else ()
        rents = (self.costs.counted, self.costs.superseded)
        settings = (self.alternatives, self.book, self.max_unpriced, self.fine_from)
        return end, series, self.covered.clip(0, end), self.first, rents, settings, factors

    def evaluation(
        self, alternative: ApiAlternative, at: int, start: int, min_coverage: Decimal, min_age: int
    ) -> Evaluation:
        """The stored verdict of the window `[start, at)`: A, C, or why they cannot be compared."""
        figures = self.window(start, at)
        other = figures.alternatives[alternative.label]
        reason = self._unknown(figures, other, at, min_coverage, min_age)
        return Evaluation(
            workload=self.name,
            path=self.path,
            alternative=alternative.label,
            at=at,
            api_usd=other.cost_usd,
            self_hosted_usd=figures.cost_usd,
            reason=reason,
            covered_seconds=figures.covered_seconds,
        )

    def price_weights(self, alternative: ApiAlternative | None, start: int, end: int) -> Priced:
        """What the tokens of `[start, end)` would cost at `alternative` (None: at their own API price), by type."""
        covered = self.covered.clip(start, end)
        if alternative is None:
            return self._own(covered)
        return self._priced(alternative, covered)

    def price_keys(self) -> set[PriceKey]:
        """Every price this view may ask for."""
        own = {key_of(one.key) for one in self.series} if self.path == "api" else set()
        return own | {alternative.price for alternative in self.alternatives}

    def _own(self, covered: Intervals) -> Priced:
        return price_tokens(self.series, covered, self.book, billed=self.billed)

    def _cost_by(self, covered: Intervals, own: Priced | None) -> dict[tuple[Component, Evidence], Decimal]:
        if own is None:
            return self.costs.by(covered) if covered else {}
        return {} if own.usd is None else {("tokens", evidence): usd for evidence, usd in own.by_evidence.items()}

    def _alternative(
        self, alternative: ApiAlternative, covered: Intervals, tokens: Tokens, cost: Decimal | None
    ) -> AlternativeFigures:
        if not self.series:
            return AlternativeFigures(None, None)  # what no source counts cannot be priced, not even at 0
        priced = self._priced(alternative, covered)
        usd = priced.usd
        if usd is None and tokens.total == 0 and covered:
            usd = Decimal(0)  # no tokens cost nothing anywhere, whatever the price
        ratio = break_even_ratio(usd, cost) if self._few(priced.unpriced_tokens, tokens) else None
        return AlternativeFigures(usd, ratio, priced.unpriced_tokens)

    def _priced(self, alternative: ApiAlternative, covered: Intervals) -> Priced:
        """The tokens in `covered` at `alternative`; several figures of the decision window rest on that."""
        key = (alternative.price, alternative.discount, covered)
        if key not in self.at_alternatives:
            self.at_alternatives[key] = price_tokens(
                self.series, covered, self.book, alternative.price, alternative.discount
            )
        return self.at_alternatives[key]

    def _few(self, unpriced: int, tokens: Tokens) -> bool:
        return Decimal(unpriced) <= self.max_unpriced * tokens.total

    def _unknown(
        self, figures: WindowFigures, other: AlternativeFigures, at: int, min_coverage: Decimal, min_age: int
    ) -> str:
        """Why a window has no verdict; empty if it has one."""
        total = sum(figures.tokens.values())
        checks = (
            ("too_young", self.first is None or at - self.first < min_age),
            ("no_cost", not self.costs.known.clip(figures.asked.start, figures.asked.end)),
            ("coverage", figures.coverage_ratio < min_coverage),
            ("idle", total == 0 and not figures.cost_usd),
            ("unpriced", Decimal(other.unpriced_tokens) > self.max_unpriced * total),
            ("no_cost", figures.cost_usd is None),
            ("no_price", other.cost_usd is None),
        )
        return next((reason for reason, holds in checks if holds), "")
