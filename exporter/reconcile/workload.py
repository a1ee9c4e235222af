"""One workload on one path, ready to be asked for any window: tokens, cost, alternatives, all over the same slots."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from collectors.records import HOUR, Component, Path, Window
from exporter.breakeven.formulas import break_even_ratio, usd_per_token
from exporter.intervals import Intervals
from exporter.ledger.snapshot import Evaluation, StreamKey, UsageSeries
from exporter.prices.book import PriceBook, PriceKey
from exporter.reconcile.alternatives import ApiAlternative
from exporter.reconcile.evidence import Costs
from exporter.reconcile.report import AlternativeFigures, Evidence, WindowFigures
from exporter.reconcile.tokens import Billed, Counted, Priced, Pricing, count, key_of, total

_NONE, _WHOLE = Decimal(0), Decimal(1)


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

    def window(self, start: int, end: int) -> WindowFigures:
        """The figures of `[start, end)`, see `windows`."""
        return self.windows((start,), end)[start]

    def windows(self, starts: Iterable[int], end: int) -> dict[int, WindowFigures]:
        """The figures of each window `[start, end)` by its start, clipped to the first observation (epoch seconds,
        whole slots).

        Where the ledger keeps hours only, a start or an end inside an hour moves to its end: half an hour has no token
        count, and windows that adjoin go on to.
        """
        end = self._whole(end)
        begins = {start: self._begin(start, end) for start in starts}
        asked = list(dict.fromkeys(begins.values()))  # a young workload's windows are all the same
        covered = [self.covered.clip(begin, end) for begin in asked]
        counted = list(zip(*[count(one, covered) for one in self.series], strict=True)) or [()] * len(asked)
        own = Pricing(self.series, self.book, billed=self.billed) if self.path == "api" else None
        others = [(a.label, Pricing(self.series, self.book, a.price, a.discount)) for a in self.alternatives]
        figures = {
            begin: self._figures(Window(begin, end), seconds, sums, own, others)
            for begin, seconds, sums in zip(asked, covered, counted, strict=True)
        }
        return {start: figures[begin] for start, begin in begins.items()}

    def _begin(self, start: int, end: int) -> int:
        return min(end, self._whole(max(start, self.first or start)))

    def _whole(self, at: int) -> int:
        return -(-at // HOUR) * HOUR if at < self.fine_from else at

    def _figures(
        self,
        asked: Window,
        covered: Intervals,
        counted: Sequence[Counted],
        pricing: Pricing | None,
        others: Iterable[tuple[str, Pricing]],
    ) -> WindowFigures:
        tokens, seconds = total(counted), covered.seconds
        own = pricing.of(counted, covered) if pricing else None
        cost_by = self._cost_by(covered, own)
        cost = sum(cost_by.values(), _NONE) if cost_by else None
        unpriced = own.unpriced_tokens if own else 0
        per_token = usd_per_token(cost, tokens.total - unpriced) if self._few(unpriced, tokens) else None
        return WindowFigures(
            asked=asked,
            covered_seconds=seconds,
            coverage_ratio=_share(seconds, asked.seconds),
            tokens=tokens.by_type if covered else {},
            requests=tokens.requests,
            unpriced_tokens=unpriced,
            cost_usd=cost,
            cost_by=cost_by,
            superseded_usd=self.costs.superseded_usd(covered),
            usd_per_token=per_token,
            alternatives={label: self._alternative(at, counted, covered, tokens, cost) for label, at in others},
            cost_by_type=own.by_type if own else {},
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

    def price_keys(self) -> set[PriceKey]:
        """Every price this view may ask for."""
        own = {key_of(one.key) for one in self.series} if self.path == "api" else set()
        return own | {alternative.price for alternative in self.alternatives}

    def _cost_by(self, covered: Intervals, own: Priced | None) -> dict[tuple[Component, Evidence], Decimal]:
        if own is None:
            return self.costs.by(covered) if covered else {}
        return {} if own.usd is None else {("tokens", evidence): usd for evidence, usd in own.by_evidence.items()}

    def _alternative(
        self, pricing: Pricing, counted: Sequence[Counted], covered: Intervals, tokens: Counted, cost: Decimal | None
    ) -> AlternativeFigures:
        if not self.series:
            return AlternativeFigures(None, None)  # what no source counts cannot be priced, not even at 0
        priced = pricing.of(counted, covered)
        usd, unpriced = priced.usd, priced.unpriced_tokens
        if usd is None and tokens.total == 0 and covered:
            usd = _NONE  # no tokens cost nothing anywhere, whatever the price
        ratio = break_even_ratio(usd, cost) if self._few(unpriced, tokens) else None
        return AlternativeFigures(usd, ratio, unpriced, priced.by_type)

    def _few(self, unpriced: int, tokens: Counted) -> bool:
        return not unpriced or unpriced <= self.max_unpriced * tokens.total

    def _unknown(
        self, figures: WindowFigures, other: AlternativeFigures, at: int, min_coverage: Decimal, min_age: int
    ) -> str:
        """Why a window has no verdict; empty if it has one."""
        tokens = sum(figures.tokens.values())
        checks = (
            ("too_young", self.first is None or at - self.first < min_age),
            ("no_cost", not self.costs.known.clip(figures.asked.start, figures.asked.end)),
            ("coverage", figures.coverage_ratio < min_coverage),
            ("idle", tokens == 0 and not figures.cost_usd),
            ("unpriced", Decimal(other.unpriced_tokens) > self.max_unpriced * tokens),
            ("no_cost", figures.cost_usd is None),
            ("no_price", other.cost_usd is None),
        )
        return next((reason for reason, holds in checks if holds), "")


def _share(seconds: int, asked: int) -> Decimal:
    if seconds == asked:
        return _WHOLE if asked else _NONE
    return Decimal(seconds) / asked
