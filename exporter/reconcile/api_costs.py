"""What API tokens really cost: the provider's own bill of a closed day, laid on the tokens that were metered. Pure.

For a provider, model and UTC day the bill says what was paid for tokens, and the meters say what those tokens are worth
at list price. Their quotient is a factor on the list price of that day: it prices every slot of the day, so that a
window inside it costs what its own tokens cost, and the whole day costs what was billed. Where the provider's own usage
shows more tokens than were metered, the rest of the bill is not a workload's (`unmetered`).
"""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import partial

from collectors.records import DAY
from exporter.config import Config
from exporter.intervals import Intervals
from exporter.ledger.snapshot import BillLine, SeriesKey, Snapshot, UsageSeries
from exporter.prices.book import PriceBook
from exporter.reconcile.bill_state import evidence_of
from exporter.reconcile.matching import accounts_of, check_collectors
from exporter.reconcile.memo import Memo
from exporter.reconcile.report import Evidence
from exporter.reconcile.token_worth import ANY, NOTHING, Typed, Value, Values, at_prices_of, by_model, part, total
from exporter.reconcile.tokens import Factor, price_tokens
from exporter.reconcile.waterfall import on_bill

_DATE = re.compile(r"-(?:\d{4}-\d{2}-\d{2}|\d{8}|\d{4}|latest)$")

MOST_UNPRICED = Decimal("0.01")
"""Share of a model's tokens without a list price up to which its bill still tells what the others cost."""


@dataclass(frozen=True, slots=True)
class BilledDay:
    """What one provider billed for the tokens of one model (ANY: of all) on one UTC day, and what they are worth.

    `metered_usd` is the list value of what the meters counted, `usage_usd` that of the provider's own usage (None: it
    was not read, or not over the whole day); `priced` is False where too many of its tokens have no list price to share
    the bill by. `alike_usd` is what was metered at the prices of the provider's own usage, if they differ: a gateway
    may log an alias of another list price. `evidence` is the least sure of its lines. Of a provider with several
    accounts (collectors) all this is of all of them together: a meter does not know which account paid for a token.
    """

    collector: str
    provider: str
    model: str
    day: int
    billed_usd: Decimal
    metered_usd: Decimal
    usage_usd: Decimal | None
    evidence: Evidence
    priced: bool = True
    alike_usd: Decimal | None = None

    @property
    def worth_usd(self) -> Decimal:
        """The list value, at the meters' prices, that the bill is for: whichever saw more."""
        usage, alike = self.usage_usd or Decimal(0), self.metered_usd if self.alike_usd is None else self.alike_usd
        if not alike or alike == self.metered_usd:
            return max(self.metered_usd, usage)
        return self.metered_usd * max(alike, usage) / alike

    @property
    def factor(self) -> Decimal | None:
        """Billed / list; None where the bill cannot be laid on what was metered."""
        known = self.priced and self.usage_usd is not None and self.metered_usd > 0
        return self.billed_usd / self.worth_usd if known else None


@dataclass(frozen=True, slots=True)
class Worth:
    """List value in USD of one provider's tokens on one day, by model without its date: of what the meters counted, and
    of the provider's own usage (None: it was not read, or not over the whole day)."""

    metered: Mapping[str, Decimal]
    usage: Mapping[str, Decimal] | None


@dataclass(frozen=True, slots=True)
class ApiBill:
    """What providers billed for tokens on closed days, by model; `worth` is by (collector, provider, day)."""

    days: tuple[BilledDay, ...] = ()
    worth: Mapping[tuple[str, str, int], Worth] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class BilledPrices:
    """The factors on list prices by (provider in lower case, model without its date), ascending and disjoint."""

    spans: Mapping[tuple[str, str], Sequence[Factor]] = field(default_factory=dict)

    def of(self, series: SeriesKey) -> Sequence[Factor]:
        provider = series.provider.casefold()
        if not on_bill(provider, series.service_tier):
            return ()
        own, of_all = self.spans.get((provider, undated(series.model)), ()), self.spans.get((provider, ANY), ())
        if not (own and of_all):
            return own or of_all
        named = {factor[0] for factor in own}  # a bill may name its models on some days only
        return tuple(sorted([*own, *(factor for factor in of_all if factor[0] not in named)]))


def undated(model: str) -> str:
    """A model's name in lower case without the date of its snapshot: bills and gateways differ in giving one."""
    return _DATE.sub("", model.casefold())


def token_bill(lines: Iterable[BillLine]) -> dict[tuple[str, str, int], dict[str, list[BillLine]]]:
    """The token lines of usage by (collector, provider, UTC day), then by model; only lines of one whole day, and not
    those that the provider itself calls an estimate."""
    found: dict[tuple[str, str, int], dict[str, list[BillLine]]] = {}
    for line in lines:
        charge = line.charge
        day = charge.window.start - charge.window.start % DAY
        if charge.component == "tokens" and charge.category == "Usage" and charge.window.end <= day + DAY:
            key = (line.collector, charge.provider.casefold(), day)
            model = undated(dict(charge.tags).get("model", ANY))
            found.setdefault(key, {}).setdefault(model, []).append(line)
    estimated = {
        key for key, models in found.items() if any(x.charge.estimated for one in models.values() for x in one)
    }
    return {key: models for key, models in found.items() if key not in estimated}


def billed_days(
    snapshot: Snapshot,
    config: Config,
    bill: Mapping[tuple[str, str, int], Mapping[str, Sequence[BillLine]]],
    book: PriceBook,
    fx: Mapping[str, Decimal],
    now: int,
    memo: Memo,
) -> ApiBill:
    """Every day of the token bill before the UTC day of `now`, with what its tokens are worth at list price."""
    found: list[BilledDay] = []
    worths: dict[tuple[str, str, int], Worth] = {}
    by_provider = _api_series(snapshot.series)
    checks = check_collectors(config, snapshot)
    for key, models in bill.items():
        collector, provider, day = key
        if day >= now - now % DAY:
            continue
        accounts = accounts_of(config, provider)
        read = {name for name in accounts if not Intervals([(day, day + DAY)]) - _observed(snapshot, name)}
        values = _values_of(("worth", key), by_provider.get(provider, ()), day, book, memo)
        worths[key], sums = _measured(key, values, accounts, read, checks, {*models}, memo)
        bills = _together(collector, provider, day, accounts, bill)
        used = {name for (name, _), value in values.items() if name in accounts and value.tokens}
        whole = bool(accounts) and accounts <= read and (collector not in accounts or used <= bills.keys())
        for model in models:
            lines = [line for one in bills.values() for line in one.get(model, ())]
            alone = model != ANY or all(one.keys() <= {ANY} for one in bills.values())
            if alone and all(line.charge.currency in fx for line in lines):
                mine, usage, alike_usd = sums[model]
                one = _day((collector, provider, model, day), lines, mine, usage if whole else None, fx, now)
                found.append(replace(one, alike_usd=alike_usd))
    for kind in ("worth", "alike", "measure", "sums"):
        memo.keep(kind, set(bill))
    return ApiBill(tuple(found), worths)


def _measured(
    key: tuple[str, str, int],
    values: Values,
    accounts: set[str],
    read: set[str],
    checks: Collection[str],
    models: set[str],
    memo: Memo,
) -> tuple[Worth, Mapping[str, tuple[Value, Value, Decimal]]]:
    """What the bill of that collector, provider and day is measured by, and its sums by model; the same as before while
    the tokens of the day, and their prices, are."""
    metered, own = {name for name, _ in values}.difference(checks), {key[0]} & accounts or accounts
    alike = memo.same(("alike", key), (values,), partial(at_prices_of, values, accounts))
    worth_of = (alike, metered, accounts, own, read)
    sums_of = (values, alike, metered, accounts, models)
    return (
        memo.equal(("measure", key), worth_of, partial(_worth, *worth_of)),
        memo.equal(("sums", key), sums_of, partial(_sums, *sums_of)),
    )


def _sums(
    values: Values, alike: Values, metered: Collection[str], accounts: Collection[str], models: Iterable[str]
) -> dict[str, tuple[Value, Value, Decimal]]:
    """By model: what was metered, what the accounts say was used, and the first at the prices of the second."""
    return {
        model: (total(values, metered, model), total(values, accounts, model), total(alike, metered, model).usd)
        for model in models
    }


def _worth(
    values: Values, metered: Collection[str], accounts: Collection[str], own: Collection[str], read: Collection[str]
) -> Worth:
    """What the bill of the accounts `own` is measured by. A meter that is none does not know which account paid for a
    token: of several, each has its part by its own usage of the model; none, while that of one of them is not known."""
    mine = by_model(values, set(metered) & set(own))
    shared = by_model(values, set(metered) - set(accounts))
    if shared and own != accounts and not set(accounts) <= set(read):
        return Worth(mine, None)
    for model, usd in shared.items():
        share = part(values, own, accounts, model) if own != accounts else 1
        mine[model] = mine.get(model, Decimal(0)) + usd * share
    return Worth(mine, by_model(values, own) if own and set(own) <= set(read) else None)


def _together(
    collector: str,
    provider: str,
    day: int,
    accounts: Iterable[str],
    bill: Mapping[tuple[str, str, int], Mapping[str, Sequence[BillLine]]],
) -> dict[str, Mapping[str, Sequence[BillLine]]]:
    """The bills of a day by collector that stand for the provider's tokens together: those of all its accounts, or,
    where `collector` is none of them, its own."""
    names = accounts if collector in accounts else [collector]
    return {name: bill[name, provider, day] for name in names if (name, provider, day) in bill}


def lines_of(
    days: Iterable[BilledDay], bill: Iterable[BillLine], providers: Collection[str]
) -> Iterator[tuple[BillLine, BilledDay | str]]:
    """The token lines of `bill`, each with its closed day; of the collectors `providers` also the others, with why they
    have none: `open_day`, or `no_model` beside lines that name one."""
    by_key = {(one.collector, one.provider, one.day, one.model): one for one in days}
    closed = {key[:3] for key in by_key}
    for line in bill:
        charge = line.charge
        if charge.component == "tokens" and charge.category == "Usage":
            day, model = charge.window.start - charge.window.start % DAY, undated(dict(charge.tags).get("model", ANY))
            of_day = (line.collector, charge.provider.casefold(), day)
            one = by_key.get((*of_day, model)) if not charge.estimated else None
            if one is not None or line.collector in providers:
                yield line, one or ("no_model" if of_day in closed and not charge.estimated else "open_day")


def prices_of(days: Iterable[BilledDay]) -> BilledPrices:
    """The factors of `days`. A day whose provider's usage was not read has none: what of its bill is for traffic that
    no meter saw cannot be told. Of two bills for the same day the first counts."""
    spans: dict[tuple[str, str], dict[int, Factor]] = {}
    for one in days:
        factor = one.factor
        if factor is not None and factor >= 0:
            of_model = spans.setdefault((one.provider, one.model), {})
            of_model.setdefault(one.day, (one.day, one.day + DAY, factor, one.evidence))
    return BilledPrices({key: tuple(found[day] for day in sorted(found)) for key, found in spans.items()})


def _day(
    key: tuple[str, str, str, int],
    lines: Sequence[BillLine],
    metered: Value,
    usage: Value | None,
    fx: Mapping[str, Decimal],
    now: int,
) -> BilledDay:
    evidence: Evidence = "invoiced" if all(evidence_of(line, now) == "invoiced" for line in lines) else "billed"
    billed = sum((line.charge.effective_cost * fx[line.charge.currency] for line in lines), Decimal(0))
    priced = usage is None or usage.unpriced <= MOST_UNPRICED * usage.tokens
    return BilledDay(*key, billed, metered.usd, None if usage is None else usage.usd, evidence, priced)


def _values_of(
    name: tuple[str, tuple[str, str, int]], series: Sequence[UsageSeries], day: int, book: PriceBook, memo: Memo
) -> Values:
    """The list value of one day by collector and model; made again only when the day's tokens, or a price, changed."""
    tokens = tuple((one.key, tuple(one.tokens(day, day + DAY).items())) for one in series)
    return memo.equal(name, (tokens, book), lambda: _values(series, day, book))


def _values(series: Iterable[UsageSeries], day: int, book: PriceBook) -> dict[tuple[str, str], Value]:
    found: dict[tuple[str, str], Value] = {}
    for one in series:
        whole_day = Intervals([(day, day + DAY)])
        priced, tokens = price_tokens([one], whole_day, book), one.tokens(day, day + DAY)
        types = {t: Typed(usd, tokens[t] - priced.unpriced.get(t, 0)) for t, usd in priced.by_type.items()}
        key = (one.key.collector, undated(one.key.model))
        value = Value(priced.usd or Decimal(0), sum(tokens.values()), priced.unpriced_tokens, types)
        found[key] = found.get(key, NOTHING).plus(value)
    return found


def _api_series(series: Iterable[UsageSeries]) -> dict[str, list[UsageSeries]]:
    found: dict[str, list[UsageSeries]] = {}
    for one in series:
        provider = one.key.provider.casefold()
        if one.key.path == "api" and on_bill(provider, one.key.service_tier):
            found.setdefault(provider, []).append(one)
    return found


def _observed(snapshot: Snapshot, collector: str) -> Intervals:
    stream = snapshot.streams.get((collector, ""))
    return stream.observed if stream else Intervals()
