"""What is shown of the bills: parts, states, and how far they were from the estimates they replaced. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from functools import partial

from collectors.records import DAY, Charge, Window
from exporter.reconcile.api_costs import lines_of, undated
from exporter.reconcile.bill import Gathered, bill_reports, gathered, share, states_of, touches
from exporter.reconcile.bill_match import BillMatcher, scope_of
from exporter.reconcile.bill_shares import splitter
from exporter.reconcile.build import Inputs, api_bill, billing_of
from exporter.reconcile.drift import compared, replaced_usd
from exporter.reconcile.matching import accounts_of
from exporter.reconcile.memo import Memo
from exporter.reconcile.report import BillReport
from exporter.reconcile.waterfall import provider_bill, waterfall
from exporter.reconcile.workload import WorkloadView


def bills(inputs: Inputs, views: Sequence[WorkloadView], starts: Mapping[str, int], end: int) -> tuple[BillReport, ...]:
    """Every collector's bill over the windows `[starts[name], end)` (epoch seconds)."""
    lines, day = bill_lines(inputs, end), end - end % DAY
    snapshot, memo = inputs.snapshot, inputs.memo
    states = memo.equal("bill states", (snapshot.bill, day), lambda: states_of(snapshot.bill, day))
    spans = tuple(starts.items())
    made = memo.equal(
        "bill reports", (lines, states, spans, end), lambda: bill_reports(lines, states, inputs.fx, starts, end)
    )
    steps = waterfalls(inputs, end)
    moved = drifts(views, starts, end, memo)
    return tuple(
        replace(
            one,
            drift_ratio=moved.get((one.collector, one.window)),
            waterfall=within(steps.get(one.collector, {}), Window(starts[one.window], end), one.billed_usd),
        )
        for one in made
    )


def waterfalls(inputs: Inputs, now: int) -> dict[str, dict[int, dict[str, Decimal]]]:
    """By collector of a provider's API and closed UTC day: the steps from metered tokens at list price to its bill."""
    api, providers = api_bill(inputs, now), accounts_of(inputs.config)
    found: dict[str, dict[int, dict[str, Decimal]]] = {}
    charges: dict[tuple[str, int], list[Charge]] = {}
    for line in inputs.snapshot.bill if api.worth else ():
        if line.collector in providers and line.charge.currency in inputs.fx:
            usd = replace(line.charge, billed_cost=line.charge.billed_cost * inputs.fx[line.charge.currency])
            charges.setdefault((line.collector, usd.window.start - usd.window.start % DAY), []).append(usd)
    for (collector, _, day), worth in api.worth.items():
        if collector in providers:
            bill = provider_bill(charges.get((collector, day), ()), undated)
            found.setdefault(collector, {})[day] = waterfall(bill, worth.metered, worth.usage)
    return found


def within(days: Mapping[int, Mapping[str, Decimal]], window: Window, billed_usd: Decimal | None) -> dict[str, Decimal]:
    """The steps of a window, a day that reaches beyond it in proportion; they sum to `billed_usd`. What is billed on
    days that are not closed is `open_days`."""
    if not days or billed_usd is None:
        return {}
    sums: dict[str, Decimal] = {}
    for day, steps in days.items():
        if touches(Window(day, day + DAY), window):
            for step, usd in steps.items():
                sums[step] = sums.get(step, Decimal(0)) + share(usd, Window(day, day + DAY), window)
    return {**sums, "open_days": billed_usd - sum(sums.values(), Decimal(0))}


def bill_lines(inputs: Inputs, now: int) -> Gathered:
    """The whole bill, every line in its parts."""
    laid_out, days, snapshot = billing_of(inputs, now), api_bill(inputs, now).days, inputs.snapshot

    def lay_out() -> Gathered:
        match = BillMatcher(inputs.config.workloads, inputs.cards)
        split = splitter(laid_out, lines_of(days, snapshot.bill, accounts_of(inputs.config)))
        return gathered(snapshot.bill, match, scope_of(inputs.config), split)

    return inputs.memo.equal("gathered", (snapshot.bill, laid_out, days, inputs.config), lay_out)


def drifts(
    views: Iterable[WorkloadView], starts: Mapping[str, int], end: int, memo: Memo
) -> dict[tuple[str, str], Decimal]:
    """By collector and window: (billed - estimated) / estimated, over the seconds in which a bill of the collector
    replaced an estimate of the same component and machine; absent where it replaced none."""
    sums: dict[tuple[str, str], tuple[Decimal, Decimal]] = {}
    for view in views:
        costs, covered = view.costs, view.covered.clip(0, end)
        if not costs.superseded:
            continue
        args = (costs.counted, costs.superseded, covered, tuple(starts.items()), end)
        name = (view.name, view.path)
        pairs = memo.same(("compared", name), args[:2], partial(compared, costs))
        found = memo.equal(("drift", name), args, partial(replaced_usd, pairs, covered, starts, end))
        for key, (billed, estimated) in found.items():
            before = sums.get(key, (Decimal(0), Decimal(0)))
            sums[key] = before[0] + billed, before[1] + estimated
    return {key: (billed - estimated) / estimated for key, (billed, estimated) in sums.items() if estimated}
