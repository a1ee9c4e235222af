"""What holds for every cluster and every bill: shares, both identities, money that is neither lost nor made, and that
nothing depends on the order of things or on what was remembered."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.billing.focus import FocusSettings
from collectors.records import DAY, HOUR, OPEN, Allocation, Batch, Charge, Node, Usage, Window
from exporter.config import Config, Workload
from exporter.intervals import Intervals
from exporter.ledger.snapshot import BillLine, Snapshot, Stream
from exporter.ledger.store import Ledger
from exporter.prices.book import PriceBook
from exporter.reconcile.bill import BASES, Gathered, bill_parts, gathered, window_parts
from exporter.reconcile.bill_match import BillMatcher, scope_of
from exporter.reconcile.bill_reporting import bills
from exporter.reconcile.bill_shares import splitter
from exporter.reconcile.billing import Billing, billing
from exporter.reconcile.build import Inputs, views
from exporter.reconcile.cluster import ELSEWHERE
from exporter.reconcile.memo import Memo
from exporter.reconcile.owners import Owners
from tests.exporter.cluster import PODS, bill, handed_over, line, listed, node, pod, seen
from tests.exporter.simulated import START

HOURS = 48
NOW = START + HOURS * HOUR
EVER = Intervals([(0, OPEN)])
FX = {"USD": Decimal(1), "EUR": Decimal("1.25")}
CONFIG = Config(
    collectors=(*(FocusSettings(name=name, kind="focus", path="*") for name in ("bill", "second")), PODS),
    workloads=(Workload("llm/tagged", {"team": "tagged"}),),
    fx={"EUR": FX["EUR"]},
)

instants = st.integers(0, HOURS * 6).map(lambda tenths: START + tenths * 600)
ends = st.one_of(instants, st.just(OPEN))
money = st.decimals(Decimal("-50"), Decimal("500"), places=4)


@st.composite
def nodes(draw: st.DrawFn, key: str) -> Node:
    start, end = draw(instants), draw(ends)
    start, end = min(start, end), max(start, end)
    gpus = Decimal(draw(st.sampled_from((0, 1, 4, 8))))
    kind = draw(st.sampled_from(("t9.8gpu", "unheard-of")))
    resource = draw(st.sampled_from((f"i-{key}", "p/z/shared")))
    return node(key, resource, start, end, gpus=gpus, instance_type=kind)


@st.composite
def pods(draw: st.DrawFn, at: int, on: Sequence[str]) -> Allocation:
    start, end = sorted((draw(instants), draw(ends)))
    gpus = draw(st.sampled_from(("0", "0.142857142857", "0.5", "1", "3", "8")))
    owner = draw(st.sampled_from(("chat", "embed", "apart")))  # the last has a sidecar that counts it
    found = pod(f"{owner}-{at}", gpus, start, end, on=draw(st.sampled_from(on)), sidecar=owner == "apart")
    return replace(found, key=f"pod-{at}")


@st.composite
def handed(draw: st.DrawFn, held: Allocation) -> list[Allocation]:
    """A pod that may get a sidecar while it runs, and lose it again."""
    found = [held]
    for at in sorted(draw(st.lists(instants, max_size=2))):
        if not held.sidecar and found[-1].window.start < at < found[-1].window.end:
            found[-1:] = handed_over(found[-1], at)
    return found


@st.composite
def charges(draw: st.DrawFn) -> Charge:
    start, hours = draw(st.integers(0, HOURS)), draw(st.sampled_from((0, 1, 5, 24, 72)))
    cost = draw(money)
    more: dict[str, object] = {
        "sku": draw(st.sampled_from(("machine", "other"))),
        "component": draw(st.sampled_from(("gpu", "gpu", "node", "egress"))),
        "quantity": draw(st.sampled_from((None, Decimal(hours), Decimal(hours) / 2, Decimal(0)))),
        "unit": draw(st.sampled_from(("Hours", "GB"))),
        "category": draw(st.sampled_from(("Usage",) * 6 + ("Tax", "Credit", "Purchase"))),
        "charge_class": draw(st.sampled_from(("", "", "", "Correction"))),
        "commitment_status": draw(st.sampled_from(("", "", "Used", "Unused"))),
        "currency": draw(st.sampled_from(("USD", "EUR"))),
        "provider": draw(st.sampled_from(("AWS", "Google Cloud"))),
        "tags": draw(st.sampled_from(((), (), (), (("team", "tagged"),)))),
        "billed_cost": draw(money),
    }
    resource = draw(st.sampled_from(("i-a", "i-b", "projects/p/zones/z/instances/shared", "i-unknown", "")))
    return line(start, hours, str(cost), resource, **more)


@st.composite
def lines(draw: st.DrawFn) -> tuple[BillLine, ...]:
    found = draw(st.lists(st.tuples(st.sampled_from(("bill", "second")), charges(), st.integers(1, 3)), max_size=8))
    return tuple(BillLine(collector, "month", charge, alike) for collector, charge, alike in found)


@st.composite
def snapshots(draw: st.DrawFn) -> Snapshot:
    machines = [draw(nodes(key)) for key in ("a", "b")]
    held = [one for at in range(draw(st.integers(0, 5))) for one in draw(handed(draw(pods(at, ["a", "b"]))))]
    since = draw(st.integers(0, 24)) * HOUR + START
    watched = Stream(since, None, Intervals([(since, NOW)]), Intervals([(since, NOW)]))
    return Snapshot(
        revision=1,
        fine_from=0,
        streams={("pods", ""): watched},
        bill=draw(lines()),
        nodes={("pods", one.key): one for one in machines},
        allocations={("pods", one.key): one for one in held},
        list_prices=(listed(),),
    )


def laid_out(snapshot: Snapshot) -> Billing:
    return billing(snapshot, CONFIG, {}, Owners(CONFIG.workloads), FX, NOW, Memo())


def in_parts(snapshot: Snapshot) -> Gathered:
    match = BillMatcher(CONFIG.workloads, {})
    return gathered(snapshot.bill, match, scope_of(CONFIG), splitter(laid_out(snapshot), ()))


@settings(max_examples=60, deadline=None)
@given(snapshots())
def test_at_every_second_a_node_is_shared_out_once(snapshot: Snapshot) -> None:
    for use in laid_out(snapshot).uses.values():
        edges = {at for share in use.shares for span in share.seconds for at in span if at < use.node.window.end}
        for at in edges:
            assert abs(sum(share.fraction for share in use.shares if at in share.seconds) - 1) < Decimal("1e-20")
        spans = Intervals(span for share in use.shares for span in share.seconds)
        assert spans == Intervals([(use.node.window.start, use.node.window.end)])


@settings(max_examples=60, deadline=None)
@given(snapshots(), instants, instants)
def test_both_identities_are_exact_for_every_collector_and_window(snapshot: Snapshot, one: int, other: int) -> None:
    parts, window = in_parts(snapshot), Window(min(one, other), max(one, other))
    whole = window_parts(parts, Window(0, OPEN))
    for (collector, currency), sums in whole.items():
        own = [x.charge for x in snapshot.bill if (x.collector, x.charge.currency) == (collector, currency)]
        assert sum(sums.parts["billed"].values()) == sum(charge.billed_cost for charge in own)
        assert sum(sums.parts["effective"].values()) == sum(charge.effective_cost for charge in own)
    pieces = [window_parts(parts, w) for w in (Window(0, window.start), window, Window(window.end, OPEN))]
    for key, sums in whole.items():
        for basis in BASES:
            for part, amount in sums.parts[basis].items():
                assert sum(x[key].parts[basis].get(part, Decimal(0)) for x in pieces if key in x) == amount
    by_day = bill_parts(snapshot.bill, BillMatcher(CONFIG.workloads, {}))
    for basis in BASES:
        assert sum(x.totals.get(basis, 0) for x in by_day.values()) == sum(x.totals[basis] for x in whole.values())


@settings(max_examples=60, deadline=None)
@given(snapshots())
def test_what_workloads_sidecars_and_nobody_pay_is_what_the_nodes_lines_cost(snapshot: Snapshot) -> None:
    found = laid_out(snapshot)
    assert not any("apart" in name for name in found.rents)
    paid = sum((rent.usd(EVER) for rents in found.rents.values() for rent in rents.billed), Decimal(0))
    whole = [(rent, found.uses[key]) for key, cost in found.costs.items() for rent in cost.billed]
    apart = [
        part.usd(EVER)
        for rent, use in whole
        for share in use.shares
        if share.holder and share.holder.workload == ELSEWHERE
        if (part := rent.part(share.fraction, share.seconds)) is not None
    ]
    paid += sum(apart, Decimal(0))
    split = splitter(found, ())
    nobody = total = Decimal(0)
    for one in {id(whole): whole for lines in found.lines.values() for whole, _ in lines}.values():
        rate = FX[one.charge.currency]
        total += one.charge.effective_cost * rate
        for place, amount in split(one) or ():
            nobody += amount * rate if place.part in ("idle", "unallocated") else 0
    assert abs(paid + nobody - total) < Decimal("1e-6")  # a nano-unit for each part of each line


@settings(max_examples=40, deadline=None)
@given(st.lists(st.decimals(1, 40, places=2), min_size=24, max_size=24), st.sets(st.integers(0, 23)), st.booleans())
def test_what_a_bill_does_not_cover_keeps_its_estimate(rates: list[Decimal], told: set[int], daily: bool) -> None:
    """A bill of some hours, in lines of an hour, or of a day that bills as many hours as have passed."""
    if daily:
        hours = len(told)
        said = [line(0, 24, str(rates[0] * hours), quantity=Decimal(hours))] if hours else []
        expected = rates[0] * hours + 16 * (24 - hours)
    else:
        said = [line(hour, 1, str(rates[hour])) for hour in told]
        expected = sum((rates[hour] if hour in told else Decimal(16) for hour in range(24)), Decimal(0))
    lines = tuple(BillLine("bill", "month", charge) for charge in said)
    held = pod("chat-1", 4)
    snapshot = Snapshot(1, 0, bill=lines, nodes={("pods", "n1"): node()}, allocations={("pods", held.key): held})
    rents = laid_out(replace(snapshot, list_prices=(listed(),))).rents["llm/chat"]
    day = Intervals([(START, START + DAY)])
    assert sum(rent.usd(day) for rent in (*rents.billed, *rents.estimated)) == pytest.approx(expected / 2)


def costs(snapshot: Snapshot) -> tuple[dict[object, float], dict[object, float]]:
    inputs = Inputs(snapshot, CONFIG, {}, PriceBook({}))
    found = {
        (view.name, component, evidence): float(usd)
        for view in views(inputs, NOW)
        for (component, evidence), usd in view.costs.by(view.covered).items()
        if usd
    }
    parts: dict[object, float] = {}
    for (*key, _, basis, place), amount in in_parts(snapshot).items():
        parts[*key, basis, place] = parts.get((*key, basis, place), 0.0) + float(amount)
    return found, {key: amount for key, amount in parts.items() if abs(amount) > 1e-7}


@settings(max_examples=40, deadline=None)
@given(snapshots(), st.randoms(use_true_random=False))
def test_the_order_of_lines_pods_and_nodes_changes_nothing(snapshot: Snapshot, random: object) -> None:
    def shuffled(items: Sequence[object]) -> list[object]:
        found = list(items)
        random.shuffle(found)  # type: ignore[attr-defined]
        return found

    other = replace(
        snapshot,
        bill=tuple(shuffled(snapshot.bill)),
        allocations=dict(shuffled(list(snapshot.allocations.items()))),  # type: ignore[arg-type]
    )
    for one, again in zip(costs(snapshot), costs(other), strict=True):
        assert again == pytest.approx(one, abs=1e-6)


said = st.one_of(
    st.tuples(st.just("pods"), st.sampled_from(("a", "b")).flatmap(nodes)),
    st.tuples(st.just("pods"), st.integers(0, 3).flatmap(lambda at: pods(at, ["a", "b"]))),
    st.tuples(st.just("pods"), st.sampled_from(("16", "20", "12.5")).map(listed)),
    st.tuples(st.sampled_from(("bill", "second")), st.lists(charges(), max_size=3)),
    st.tuples(st.just("gateway"), st.sampled_from(("chat", "embed"))),
)


def batch(what: object) -> Batch:
    if isinstance(what, list):
        return bill(what)
    if isinstance(what, str):
        labels = (("namespace", "llm"), ("owner", what), ("pod", f"{what}-1"))
        usage = Usage(START, "self_hosted", "vllm", "llama", {"input": 1}, labels=labels)
        return Batch(what, usage=[usage], cursor="x", stream=f"llm/{what}-1")
    return seen(NOW, what)  # type: ignore[arg-type]


def shown(inputs: Inputs) -> Mapping[str, object]:
    found = views(inputs, NOW)
    starts = {"24h": NOW - DAY, "7d": NOW - 7 * DAY}
    return {
        "costs": {view.name: (view.covered, view.costs.by(view.covered), view.costs.superseded) for view in found},
        "bills": bills(inputs, found, starts, NOW),
    }


@settings(max_examples=15, deadline=None)
@given(st.lists(said, min_size=2, max_size=8))
def test_what_is_remembered_is_never_out_of_date(
    tmp_path_factory: pytest.TempPathFactory, story: list[tuple[str, object]]
) -> None:
    ledger = Ledger(tmp_path_factory.mktemp("ledger") / "ledger.db", NOW)
    try:
        memo = Memo()
        for collector, what in story:
            ledger.commit(collector, batch(what), NOW)
            inputs = Inputs(ledger.snapshot(), CONFIG, {}, PriceBook({}), memo=memo)
            assert shown(inputs) == shown(replace(inputs, memo=Memo()))
    finally:
        ledger.close()
