"""Hand-made states to publish: one as an installation looks after some weeks, and one of any size."""

from collections.abc import Mapping
from decimal import Decimal

from collectors.records import Component, Path, Window
from exporter.publish.state import CounterValue, ExporterHealth, PublishState
from exporter.reconcile.report import (
    AlternativeFigures,
    BillReport,
    CollectorHealth,
    Decision,
    Evidence,
    PriceInUse,
    Report,
    Status,
    WindowFigures,
    WorkloadReport,
)

NOW = 1_795_215_600  # 2026-11-20 23:00 UTC
HOUR, DAY = 3600, 86400
LLAMA = "together/meta-llama/Llama-3.1-8B-Instruct-Turbo"
MEGA = Decimal(1_000_000)

EXPORTER = ExporterHealth(
    version="0.1.0",
    python_version="3.11.2",
    role="cluster",
    started_at=NOW - 17 * DAY - 5 * HOUR,
    page_at=float(NOW + 12),
    ledger_size_bytes=84_213_760,
    price_book_at=float(NOW - 9 * DAY),
)


def figures(
    tokens: Mapping[str, int],
    cost_by: Mapping[tuple[Component, Evidence], str],
    alternatives: Mapping[str, tuple[str, str] | None],
    coverage: str = "1",
    days: Decimal = Decimal(7),
    unpriced: int = 0,
) -> WindowFigures:
    """A window of `days` up to NOW. `alternatives`: (cost in USD, ratio), None where neither is known."""
    seconds = int(days * DAY)
    cost = {key: Decimal(usd) for key, usd in cost_by.items()}
    total = sum(cost.values(), Decimal(0)) if cost else None
    count = sum(tokens.values()) - unpriced
    return WindowFigures(
        asked=Window(NOW - seconds, NOW),
        covered_seconds=int(seconds * Decimal(coverage)),
        coverage_ratio=Decimal(coverage),
        tokens=tokens,
        requests=sum(tokens.values()) // 1200,
        unpriced_tokens=unpriced,
        cost_usd=total,
        cost_by=cost,
        superseded_usd=Decimal(0),
        usd_per_token=total / count if total is not None and count else None,
        alternatives={
            name: AlternativeFigures(Decimal(known[0]), Decimal(known[1])) if known else AlternativeFigures(None, None)
            for name, known in alternatives.items()
        },
    )


def _report(
    name: str, path: Path, week: WindowFigures, primary: Decision, *, age_days: int = 40, **known: object
) -> WorkloadReport:
    return WorkloadReport(
        workload=name,
        path=path,
        first_seen=NOW - age_days * DAY,
        windows={"7d": week},
        decision_window=week,
        decisions=(primary,),
        **known,  # type: ignore[arg-type]  # the optional fields of WorkloadReport
    )


def _chat() -> WorkloadReport:
    """Self-hosted on two idle H100: the API is cheaper."""
    tokens = {"input": 1_310_442_118, "cache_read": 402_118_400, "output": 181_006_733}
    week = figures(
        tokens,
        {("gpu", "billed"): "620.11", ("gpu", "configured"): "216.53", ("fixed", "configured"): "958.88"},
        {f"api:{LLAMA}": ("340.84", "0.1898"), "api:groq/llama-3.1-8b-instant": ("118.21", "0.0658")},
        coverage="0.9821",
    )
    day = figures(
        {"input": 190_113_204, "cache_read": 61_118_400, "output": 26_440_121},
        {("gpu", "configured"): "119.52", ("fixed", "configured"): "136.98"},
        {f"api:{LLAMA}": ("49.98", "0.1949")},
        days=Decimal(1),
    )
    status = Status("api_cheaper", NOW - 2 * DAY - 4 * HOUR)
    report = _report(
        "chat",
        "self_hosted",
        week,
        Decision(
            f"api:{LLAMA}", True, status, Decimal("16483.4"), Decimal("2.7471"), Decimal("6318.20"), Decimal("451.90")
        ),
        evidence_ratio={"billed": Decimal("0.3453"), "configured": Decimal("0.6547")},
        token_type_usd_per_token={
            ("input", "price_weights"): Decimal("0.00000094"),
            ("output", "price_weights"): Decimal("0.00000094"),
        },
        capacity_tokens_per_second=Decimal("6000.5"),
        capacity_samples=212,
        utilization_ratio=Decimal("0.5219"),
        unused_capacity_usd=Decimal("858.17"),
        fixed_usd_per_month=Decimal(4287),
        switching_cost_usd=Decimal(900),
    )
    return WorkloadReport(**{**_fields(report), "windows": {"24h": day, "7d": week}})


def _fields(report: WorkloadReport) -> dict[str, object]:
    return {name: getattr(report, name) for name in report.__slots__}


def _others() -> tuple[WorkloadReport, ...]:
    assistant = figures(
        {"input": 9_100_000_000, "cache_read": 3_000_000_000, "output": 2_200_000_000},
        {("gpu", "invoiced"): "2110.40", ("gpu", "billed"): "410.08", ("node", "list"): "61.3"},
        {"api:fireworks/deepseek-v3": ("9120.55", "3.5332")},
    )
    summaries = figures(
        {"input": 4_020_000_000, "cache_write": 19_000_000, "output": 310_000_000},
        {("tokens", "billed"): "1802.77", ("tokens", "list"): "290.18"},
        {"self_hosted:1xa100-80gb": ("433.44", "4.8287")},
        coverage="0.9973",
        unpriced=120_000,
    )
    support = figures(
        {"input": 88_000_000, "output": 9_300_000},
        {("tokens", "list"): "19.30"},
        {"self_hosted:1xl4": ("120.4", "0.16")},
    )
    batch = figures(
        {"input": 700_000_000, "output": 90_000_000},
        {("gpu", "configured"): "142.91"},
        {"api:groq/x": ("146.02", "1.0218")},
    )
    ragged = figures(
        {"input": 51_000_000, "output": 4_000_000},
        {("gpu", "list"): "171.36"},
        {"api:aws/nova": ("3.9", "0.0228")},
        "0.8214",
    )
    return (
        _report(
            "assistant", "self_hosted", assistant,
            Decision("api:fireworks/deepseek-v3", True, Status("self_hosting_cheaper", NOW - 31 * DAY),
                     Decimal("6663.9"), Decimal("0.2221"), Decimal("-28415.11"), Decimal(0)),
            evidence_ratio={"invoiced": Decimal("0.8174"), "billed": Decimal("0.1589"), "list": Decimal("0.0237")},
            capacity_tokens_per_second=Decimal(30000), capacity_samples=0, utilization_ratio=Decimal("0.7881"),
        ),
        _report(
            "summaries", "api", summaries,
            Decision("self_hosted:1xa100-80gb", True, Status("self_hosting_cheaper", NOW - 5 * HOUR), None, None,
                     Decimal("7212.08"), Decimal("49.2")),
            evidence_ratio={"billed": Decimal("0.8613"), "list": Decimal("0.1387")},
        ),
        _report(
            "support-bot", "api", support,
            Decision("self_hosted:1xl4", True, Status("api_cheaper", NOW - 12 * DAY), None, None, Decimal("-439.4")),
            evidence_ratio={"list": Decimal(1)},
        ),
        _report(
            "batch-mail", "self_hosted", batch,
            Decision("api:groq/x", True, Status("break_even", NOW - 3 * DAY), Decimal("1278.4"), None,
                     Decimal("-13.52")),
            evidence_ratio={"configured": Decimal(1)},
        ),
        _report(
            "llm-prod/reranker", "self_hosted", ragged,
            Decision("api:aws/nova", True, Status("unknown", NOW - 26 * HOUR, "coverage")),
            evidence_ratio={"list": Decimal(1)},
        ),
        WorkloadReport("qwen3-coder", "self_hosted", None, {}, None),
    )  # fmt: skip


def _counters() -> tuple[CounterValue, ...]:
    began = float(NOW - 17 * DAY)
    totals = {"input": 3_310_442_118, "cache_read": 1_402_118_400, "output": 481_006_733}
    chat = ("chat", "self_hosted", "vllm", "meta-llama/Llama-3.1-8B-Instruct")
    return (
        *(CounterValue("llmcost_tokens_total", (*chat, kind), n, began) for kind, n in totals.items()),
        CounterValue("llmcost_requests_total", chat, 4_201_113, began),
        CounterValue("llmcost_cost_usd_total", ("chat", "self_hosted", "gpu"), Decimal("2031.8400000000000001"), began),
        CounterValue("llmcost_cost_usd_total", ("chat", "self_hosted", "fixed"), Decimal("2396.63"), began + 300),
        CounterValue("llmcost_cost_usd_total", ("summaries", "api", "tokens"), Decimal("5102.20"), began + 600),
        CounterValue("llmcost_api_equivalent_usd_total", ("chat", f"api:{LLAMA}"), Decimal("935.06"), began),
        CounterValue("llmcost_unpriced_tokens_total", ("summaries", "api", "acme", "writer-7b"), 120_000, began),
        CounterValue("llmcost_unpriced_alternative_tokens_total", ("chat", f"api:{LLAMA}"), 0, began),
        CounterValue("llmcost_late_tokens_total", ("gateway",), 12_411, began),
        CounterValue("llmcost_restatement_usd_total", ("cloud-bill", "up"), Decimal("12.40"), began),
        CounterValue("llmcost_restatement_usd_total", ("cloud-bill", "down"), Decimal("101.02"), began),
        CounterValue("llmcost_exporter_rejected_records_total", ("gateway", "no_timestamp"), 3, began),
        CounterValue("llmcost_exporter_paid_requests_usd_total", ("cloud-bill",), Decimal("0.31"), began),
    )


def _collectors() -> tuple[CollectorHealth, ...]:
    return (
        CollectorHealth(
            "chat-engine", "vllm", True, 15, 0.0183, NOW + 4.2, NOW + 4, parts={"ok": 2, "failed": 0}
        ),
        CollectorHealth(
            "gateway", "usage_log", True, 10, 0.41, NOW + 8.0, NOW + 7, {"ok": 14}, {"no_timestamp": 3},
            "/var/log/llm/gw-3.jsonl:18812: expected a JSON object, got 'null'", NOW - 2 * DAY,
        ),
        CollectorHealth(
            "cloud-bill", "focus", False, 6 * HOUR, 12.7, NOW - 14 * HOUR, NOW - 38 * HOUR, {"ok": 30, "failed": 1}, {},
            "/exports/focus/2026-11.csv.gz: truncated gzip stream after 4,194,304 bytes; is it still being uploaded?",
            NOW - 1900.0,
        ),
        CollectorHealth("gpus", "rate_card", True, 300, 0.0009, NOW + 0.5, NOW, {"ok": 1}),
        CollectorHealth("reranker-engine", "vllm", False, 15),
    )  # fmt: skip


def installation() -> PublishState:
    """Some weeks in: every status, every path, a failing collector, a bill that closes."""
    effective = {
        "allocated": "2893.14",
        "starting": "12.80",
        "idle": "418.32",
        "unallocated": "31.07",
        "credits": "-20",
    }
    billed = {"usage": "3301.92", "credits": "-66.59", "unallocated": "100.00"}
    parts = {
        basis: {part: Decimal(usd) for part, usd in by.items()}
        for basis, by in (("billed", billed), ("effective", effective))
    }
    report = Report(
        at=NOW + 10,
        closed_through=NOW,
        workloads=(_chat(), *_others()),
        bills=(BillReport("cloud-bill", "7d", sum(parts["billed"].values(), Decimal(0)), parts,
                          {"provisional": Decimal("311.04"), "settled": Decimal("1673.28")}, Decimal("0.032"),
                          {"metered_at_list": Decimal("120.50"), "price_difference": Decimal("-20.25")}),),
        prices=(
            PriceInUse("together", "meta-llama/Llama-3.1-8B-Instruct-Turbo", "input", "default", 0, "", "genai-prices",
                       Decimal("0.00000018")),
            PriceInUse("acme", "writer-7b", "output", "batch", 200_000, "eu", "override: contract 4711",
                       Decimal("2.4") / MEGA),
        ),
        fx_usd_per_unit={"EUR": Decimal("1.08")},
        superseded_usd={"gpus": Decimal("1673.28")},
        calibration_ratio={"cloud-bill": Decimal("0.62")},
        gpus={("pods", "nvidia-h100-80gb", "allocated"): Decimal(6), ("pods", "nvidia-h100-80gb", "idle"): Decimal(2)},
        budgets_usd_per_month={"support": Decimal(5000)},
        budgets_usd={"support": Decimal("3120.75")},
        meter_gap_ratio={"gateway": Decimal("-0.013")},
    )  # fmt: skip
    return PublishState(report, _counters(), _collectors(), EXPORTER)


def many(workloads: int, windows: tuple[str, ...] = ("1h", "24h", "7d", "30d", "mtd")) -> PublishState:
    """A state with about 60 series for each of `workloads` workloads."""
    reports = []
    for i in range(workloads):
        tokens = {"input": 10**9 + i, "cache_read": 10**8 + 3 * i, "output": 10**7 + 7 * i}
        week = figures(tokens, {("gpu", "configured"): f"{100 + i}.37"}, {"api:together/x": (f"{90 + i}.1", "0.91")})
        decision = Decision("api:together/x", True, Status("api_cheaper", NOW - DAY), Decimal(i), None, Decimal(i))
        report = _report(f"team-{i % 37}/workload-{i}", "self_hosted", week, decision, age_days=1 + i)
        reports.append(WorkloadReport(**{**_fields(report), "windows": dict.fromkeys(windows, week)}))
    counters = [
        CounterValue(
            "llmcost_tokens_total", (r.workload, r.path, "vllm", "model", token_type), 10**9 + i, NOW - DAY - i
        )
        for i, r in enumerate(reports)
        for token_type in ("input", "cache_read", "output")
    ]
    return PublishState(Report(NOW, NOW, tuple(reports)), counters, (), EXPORTER)
