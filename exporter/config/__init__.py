"""The configuration: frozen standard-library dataclasses, one field per YAML key, with the shipped defaults.

Reading and validation are `exporter.config.load.load`, which uses pydantic over these dataclasses and runs in a child
process (`load_aside`), so that pydantic does not stay in the memory of a running exporter. docs/configuration.md lists
every key; a test keeps the two alike.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal

from collectors.settings import STRICT, Duration, Money

Role = Literal["sidecar", "cluster"]
WindowName = Literal["1h", "24h", "7d", "30d", "mtd"]


class ConfigError(ValueError):
    """A config that cannot be used. `problems` holds every problem found, one line each: path, expected, got."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__(self.problems)  # one argument, so that it crosses a process boundary whole

    def __str__(self) -> str:
        return "\n".join(self.problems)


@dataclass(frozen=True, slots=True)
class SelfHostedPlan:
    """A self-hosting alternative of an API workload: replicas of `count` GPUs each."""

    __pydantic_config__ = STRICT

    gpu: str
    usd_per_hour: Money  # of one GPU
    capacity_tokens_per_second: Money  # of one replica
    count: int = 1  # GPUs in one replica
    min_replicas: int = 1
    target_utilization: Money = Money("1")


@dataclass(frozen=True, slots=True)
class Alternative:
    """The other way to serve a workload: exactly one of `api` ("<provider>/<model>") and `self_hosted`."""

    __pydantic_config__ = STRICT

    api: str | None = None
    self_hosted: SelfHostedPlan | None = None
    name: str | None = None
    discount: Money = Money("0")  # fraction off the API price, 0 to 1
    service_tier: str = "default"
    region: str = ""

    @property
    def label(self) -> str:
        if self.name:
            return self.name
        if self.self_hosted:
            return f"self_hosted:{self.self_hosted.count}x{self.self_hosted.gpu}"
        return f"api:{self.api}"


@dataclass(frozen=True, slots=True)
class EnterRatios:
    """A side is entered at R >= `self_hosting`, or at R <= `api`."""

    __pydantic_config__ = STRICT

    self_hosting: Money = Money("1.10")
    api: Money = Money("0.90")


@dataclass(frozen=True, slots=True)
class DecisionSettings:
    """When a workload's status changes (design section 5)."""

    __pydantic_config__ = STRICT

    ratio_window: Duration = Duration(7 * 86400)
    sustain: Duration = Duration(86400)
    evaluate_every: Duration = Duration(3600)
    enter: EnterRatios = EnterRatios()
    switching_cost_usd: Money = Money("0")
    min_coverage: Money = Money("0.90")
    max_unpriced: Money = Money("0.01")
    min_age: Duration = Duration(86400)


@dataclass(frozen=True, slots=True)
class Workload:
    """What a cost and a status belong to. `match` selects usage; `match_bill` selects bill lines (globs on `resource`,
    `sku`, `service`, `region`, `account`, `collector` or any tag); without it a bill line matches when every key of
    `match` is one of its tags."""

    __pydantic_config__ = STRICT

    name: str
    match: Mapping[str, str]
    match_bill: Mapping[str, str] | None = None
    alternatives: tuple[Alternative, ...] = ()
    capacity_tokens_per_second: Money | Literal["auto"] = "auto"
    fixed_usd_per_month: Mapping[str, Money] = field(default_factory=dict)
    decision: DecisionSettings | None = None  # None: the top-level `decision`
    split: Literal["price_weights", "phase_seconds"] = "price_weights"


@dataclass(frozen=True, slots=True)
class Budget:
    __pydantic_config__ = STRICT

    name: str
    usd_per_month: Money
    match: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Storage:
    """Where the ledger lives: a SQLite file. `retain_fine` and `retain` are how long 5-minute and hourly rows stay."""

    __pydantic_config__ = STRICT

    path: str = "data/ledger.db"
    retain_fine: Duration = Duration(8 * 86400)
    retain: Duration = Duration(400 * 86400)


@dataclass(frozen=True, slots=True)
class Prices:
    """`overrides` is a price file of one's own. `auto_alternatives` are the API providers among which the primary
    alternative of an open model is chosen when none is configured."""

    __pydantic_config__ = STRICT

    overrides: str | None = None
    auto_alternatives: tuple[str, ...] = ("together", "fireworks", "groq", "novita", "cerebras", "aws")


@dataclass(frozen=True, slots=True)
class Publish:
    """`every` is the publish tick. `max_workloads` is the series budget: further workloads fold into `other`.

    `windows` are the window gauges that are published. `decisions`: ratio, status, plans and the other figures of the
    decision window. `accrue_fixed_costs`: whether `fixed_usd_per_month` enters the cost counters; of the exporters that
    see one workload only one may do that, so sidecars do not.
    """

    __pydantic_config__ = STRICT

    every: Duration = Duration(5)
    max_workloads: int = 200
    windows: tuple[WindowName, ...] = ("1h", "24h", "7d", "30d", "mtd")
    decisions: bool = True
    accrue_fixed_costs: bool = True


@dataclass(frozen=True, slots=True)
class Config:
    """One exporter. `collectors` are the validated settings dataclasses of the configured kinds."""

    role: Role = "cluster"
    collectors: tuple[Any, ...] = ()
    workloads: tuple[Workload, ...] = ()
    budgets: tuple[Budget, ...] = ()
    decision: DecisionSettings = DecisionSettings()
    fx: Mapping[str, Money] = field(default_factory=dict)  # USD per unit of the currency
    prices: Prices = Prices()
    storage: Storage = Storage()
    publish: Publish = Publish()

    @property
    def usd_rates(self) -> dict[str, Decimal]:
        """USD per unit by currency code, in capitals; a currency that is missing has no configured rate."""
        return {"USD": Decimal(1), **{code.upper(): Decimal(rate) for code, rate in self.fx.items()}}


# What a role changes: defaults by section and key, in the words of the YAML file, and nothing else.
ROLE_PRESETS: Mapping[Role, Mapping[str, Mapping[str, Any]]] = {
    "cluster": {},
    "sidecar": {
        "publish": {"windows": ("1h",), "decisions": False, "accrue_fixed_costs": False},
        "storage": {"retain": "35d"},
    },
}
