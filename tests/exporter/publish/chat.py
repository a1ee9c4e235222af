"""A hand-made week of one workload, as `explain` and `report` see it: traffic falls, and the API becomes cheaper.

Everything that a figure can rest on is in it once: two engine targets (one with a gap), a gateway on the API path, a
card in USD that a bill supersedes for three days, a card in EUR, fixed cost, discounted and undiscounted alternatives,
tokens without a price, and learned capacity.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal

from collectors.records import Card, Charge, EngineLoad, Path, Reservation, Window
from collectors.settings import Duration, Money
from exporter.breakeven.status import State, fold
from exporter.config import Alternative, Config, DecisionSettings, Workload
from exporter.intervals import Intervals
from exporter.ledger.snapshot import BillLine, Evaluation, SeriesKey, Snapshot, Stream, StreamKey, UsageSeries
from exporter.prices.book import PriceBook, PriceKey, Rate
from exporter.reconcile.build import Inputs, views
from exporter.reconcile.evaluate import due, evaluate
from exporter.reconcile.reporting import StateKey
from exporter.reconcile.workload import WorkloadView

HOUR, DAY = 3600, 86400
START = 1_794_528_000  # 2026-11-13 00:00 UTC
FALLS = START + 6 * DAY + 6 * HOUR
END = START + 7 * DAY + 23 * HOUR
NOW = END + 240
GAP = (END - 20 * HOUR, END - 19 * HOUR)

A, B = ("engines", "http://10.0.0.4:8000/metrics"), ("engines", "http://user:secret@10.0.0.5:8000/metrics")
GATEWAY = ("gateway", "")
TOGETHER, ACME = PriceKey("together", "llama"), PriceKey("acme", "writer-7b")

WORKLOADS = (
    Workload(
        "chat",
        {"model": "llama"},
        match_bill={"resource": "i-0a1"},
        alternatives=(
            Alternative(api="together/llama", discount=Money("0.10")),
            Alternative(api="acme/writer-7b", name="contract"),
        ),
        fixed_usd_per_month={"engineering": Money("365")},
    ),
    Workload("mail", {"model": "writer-7b"}),
)
DECISION = DecisionSettings(ratio_window=Duration(DAY), sustain=Duration(6 * HOUR))
CARDS = {
    "gpus/chat/h100-80gb/gpu": Card("gpus", "chat", "gpu", Decimal("2.49"), "USD", Decimal(2), gpu="h100-80gb"),
    "gpus/chat/storage": Card("gpus", "chat", "storage", Decimal("0.05"), "EUR", Decimal(1)),
}


def series(
    source: StreamKey, path: Path, model: str, share: Mapping[str, int], provider: str = "vllm", start: int = START
) -> UsageSeries:
    """A row for every five minutes: `share` tokens, and a quarter from the fall of the traffic on."""
    key = SeriesKey(*source, path, provider, model)
    rows = []
    for slot in range(start, END, 300):
        if source != B or not GAP[0] <= slot < GAP[1]:
            part = 4 if slot >= FALLS else 1
            rows.append((slot, 300, {t: n // part for t, n in share.items()}, 800 // part))
    return UsageSeries(key, rows)


def stream(*gaps: tuple[int, int]) -> Stream:
    seen = Intervals([(START, END + 180)]) - Intervals(gaps)
    return Stream(START, None, seen, seen)


def bill() -> tuple[BillLine, ...]:
    """Three days of the GPUs, storage that nobody claims, and tax."""
    lines = []
    for day in range(START, START + 3 * DAY, DAY):
        span, gpus, disk = Window(day, day + DAY), Decimal("115.20"), Decimal("1.375")
        lines += [
            Charge(span, "Usage", "USD", gpus, gpus, component="gpu", resource="i-0a1", quantity=Decimal(24), unit="h"),
            Charge(span, "Usage", "USD", disk, disk, component="storage", resource="bucket-7"),
        ]
    lines.append(Charge(Window(START, START + DAY), "Tax", "USD", Decimal("65.664"), Decimal(0)))
    return tuple(BillLine("cloud-bill", "focus.csv", charge) for charge in lines)


def loads() -> dict[StreamKey, tuple[EngineLoad, ...]]:
    rates = (9_000, 9_400, 9_600, 9_700)
    found = [EngineLoad(START + i * DAY, "llama", 300, 300, rate * 300) for i, rate in enumerate(rates, 2)]
    return {A: tuple(found), B: ()}


def snapshot() -> Snapshot:
    tokens = {"input": 750_000, "cache_read": 250_000, "output": 225_000}
    held = [Reservation(key, "chat", c.gpu, c.count, Window(START, END + 180)) for key, c in CARDS.items()]
    return Snapshot(
        revision=1,
        fine_from=START,
        series=(
            series(A, "self_hosted", "llama", {**tokens, "audio_input": 400}),
            series(B, "self_hosted", "llama", tokens),
            series(GATEWAY, "api", "writer-7b", {"input": 40_000, "output": 8_000}, "acme"),
        ),
        streams={A: stream(), B: stream(GAP), GATEWAY: stream()},
        reservations=tuple(held),
        bill=bill(),
        loads=loads(),
    )


def book() -> PriceBook:
    together = {"input": Decimal("2.0E-7"), "cache_read": Decimal("5E-8"), "output": Decimal("6E-7")}
    acme = {"input": Decimal("1.5E-7"), "output": Decimal("6E-7"), "audio_input": Decimal("1E-6")}
    since = 1_790_812_800  # 2026-10-01
    return PriceBook(
        {
            TOGETHER: (Rate(((0, together),), start=since, origin="genai-prices 0.2.3 together/llama"),),
            ACME: (Rate(((0, acme),), origin="override contract 4711"),),
        }
    )


def inputs(**changes: object) -> Inputs:
    """The week; `changes` replace fields of its snapshot."""
    fx = {"EUR": Money("1.08")}
    config = Config(workloads=WORKLOADS, decision=DECISION, fx=fx)
    return Inputs(replace(snapshot(), **changes), config, CARDS, book())  # type: ignore[arg-type]


def evaluations(given: Inputs, found: Sequence[WorkloadView]) -> list[Evaluation]:
    """All that were due by NOW, in order."""
    made = []
    for view in found:
        for alternative in view.alternatives[:1]:
            settings = given.decision(view.name)
            assert view.first is not None
            instants = due(view.first, None, END, NOW, True, settings.evaluate_every)
            made += [evaluate(view, alternative, at, settings) for at in instants]
    return made


def states(given: Inputs, stored: Sequence[Evaluation]) -> dict[StateKey, State]:
    keys = dict.fromkeys((e.workload, e.path, e.alternative) for e in stored)
    return {
        key: fold([e for e in stored if (e.workload, e.path, e.alternative) == key], given.decision(key[0]))
        for key in keys
    }


def week(**changes: object) -> tuple[Inputs, list[WorkloadView], list[Evaluation], dict[StateKey, State]]:
    given = inputs(**changes)
    found = views(given, END)
    stored = evaluations(given, found)
    return given, found, stored, states(given, stored)
