"""The result of reconciling: what is published, shown and exported. Values only; money is Decimal USD.

A figure that is not known is None or missing from its mapping; nothing here is zero for want of knowledge.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from types import MappingProxyType
from typing import Literal, NamedTuple

from collectors.records import Component, Path, Window

Evidence = Literal["invoiced", "billed", "calibrated", "configured", "list"]
EVIDENCE: tuple[Evidence, ...] = ("invoiced", "billed", "calibrated", "configured", "list")  # best first

StatusName = Literal["self_hosting_cheaper", "api_cheaper", "break_even", "unknown"]
STATUSES: tuple[StatusName, ...] = ("self_hosting_cheaper", "api_cheaper", "break_even", "unknown")


class AlternativeFigures(NamedTuple):
    """One alternative's figures over the covered time of one window.

    `cost_usd` is what the alternative would have cost for the priced tokens (A for an API alternative, the plan's cost
    for a self-hosting one); `cost_by_type` splits it by token type, but for a price per request. `ratio` = API cost /
    self-hosted cost, whichever is the actual one.
    """

    cost_usd: Decimal | None
    ratio: Decimal | None
    unpriced_tokens: int = 0
    cost_by_type: Mapping[str, Decimal] = MappingProxyType({})


class WindowFigures(NamedTuple):
    """One window of one workload and path. All sums are over the same covered slots.

    `asked` is the window after clipping to the workload's first observation; `covered_seconds` of it count.
    `cost_usd` sums over components; `cost_by` splits it by component and evidence, `cost_by_type` that of an API's
    tokens by token type. `tokens` includes unpriced ones.
    """

    asked: Window
    covered_seconds: int
    coverage_ratio: Decimal
    tokens: Mapping[str, int]
    requests: int
    unpriced_tokens: int
    cost_usd: Decimal | None
    cost_by: Mapping[tuple[Component, Evidence], Decimal]
    superseded_usd: Decimal
    usd_per_token: Decimal | None
    alternatives: Mapping[str, AlternativeFigures] = MappingProxyType({})
    cost_by_type: Mapping[str, Decimal] = MappingProxyType({})

    def cost_by_component(self) -> dict[Component, Decimal]:
        sums: dict[Component, Decimal] = {}
        for (component, _), usd in self.cost_by.items():
            sums[component] = sums[component] + usd if component in sums else usd
        return sums

    def cost_of(self, component: Component) -> Decimal | None:
        return self.cost_by_component().get(component)


@dataclass(frozen=True, slots=True)
class Status:
    """Where a workload stands against its primary alternative. `since` is when the shown side was entered.

    `reason` is empty unless `name` is `unknown`.
    """

    name: StatusName
    since: int | None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Decision:
    """The figures of the decision window against one alternative (section 5 of the design)."""

    alternative: str
    primary: bool
    status: Status | None
    break_even_tokens_per_second: Decimal | None = None
    break_even_utilization_ratio: Decimal | None = None
    saving_usd_per_month: Decimal | None = None
    missed_saving_usd: Decimal | None = None


@dataclass(frozen=True, slots=True)
class WorkloadReport:
    """Everything known of one workload on one path."""

    workload: str
    path: Path
    first_seen: int | None
    windows: Mapping[str, WindowFigures]
    decision_window: WindowFigures | None
    decisions: tuple[Decision, ...] = ()
    evidence_ratio: Mapping[Evidence, Decimal] = field(default_factory=dict)
    token_type_usd_per_token: Mapping[tuple[str, str], Decimal] = field(default_factory=dict)  # (token type, method)
    capacity_tokens_per_second: Decimal | None = None
    capacity_samples: int | None = None
    utilization_ratio: Decimal | None = None
    unused_capacity_usd: Decimal | None = None
    fixed_usd_per_month: Decimal | None = None
    switching_cost_usd: Decimal | None = None


@dataclass(frozen=True, slots=True)
class BillReport:
    """One collector's bill over one window: every line in exactly one part per basis, in USD (`parts[basis][part]`).

    `states` is the effective cost by how sure it is. `drift_ratio` is billed cost over the estimates that the bill
    replaced, less 1. `waterfall` are the steps from metered tokens at list price to the bill of an API provider.
    `no_exchange_rate` are currencies without a rate: what is billed in them is in none of these figures.
    """

    collector: str
    window: str
    billed_usd: Decimal | None
    parts: Mapping[str, Mapping[str, Decimal]]
    states: Mapping[str, Decimal] = field(default_factory=dict)
    drift_ratio: Decimal | None = None
    waterfall: Mapping[str, Decimal] = field(default_factory=dict)
    no_exchange_rate: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PriceInUse:
    """A price that some published figure rests on, USD per token."""

    provider: str
    model: str
    token_type: str
    service_tier: str
    context_band: int
    region: str
    origin: str
    usd_per_token: Decimal


@dataclass(frozen=True, slots=True)
class CollectorHealth:
    """How one collector is doing. `parts` counts parts by state (`ok`, `failed`); `last_error` is one line."""

    name: str
    kind: str
    success: bool
    interval: int
    duration_seconds: float = 0.0
    last_success: float | None = None
    complete_through: int | None = None
    parts: Mapping[str, int] = field(default_factory=dict)
    rejected: Mapping[str, int] = field(default_factory=dict)
    last_error: str = ""
    last_error_at: float | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """One reconciled moment: `at` is when, `closed_through` the end of the last closed slot (epoch seconds)."""

    at: int
    closed_through: int
    workloads: tuple[WorkloadReport, ...]
    bills: tuple[BillReport, ...] = ()
    prices: tuple[PriceInUse, ...] = ()
    fx_usd_per_unit: Mapping[str, Decimal] = field(default_factory=dict)
    superseded_usd: Mapping[str, Decimal] = field(default_factory=dict)  # last 30 days, by collector
    calibration_ratio: Mapping[str, Decimal] = field(default_factory=dict)  # by bill collector
    gpus: Mapping[tuple[str, str, str], Decimal] = field(default_factory=dict)  # (collector, product, state)
    budgets_usd_per_month: Mapping[str, Decimal] = field(default_factory=dict)
    budgets_usd: Mapping[str, Decimal] = field(default_factory=dict)  # cost since the start of the calendar month
    meter_gap_ratio: Mapping[str, Decimal] = field(default_factory=dict)  # last 24 h, by checking collector
