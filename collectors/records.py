"""The records that cross from collectors to the ledger: frozen values, no I/O, no money maths.

Time is whole seconds since the Unix epoch, UTC. Every span is half-open, `[start, end)`. A **slot** is the ledger's
finest resolution, 300 s. Quantities are integers (tokens, requests) or `Decimal` (money, GPU counts); a value that is
not known is absent (`None` or a missing key), never zero.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal

from collectors.terms import CORE_TOKEN_TYPES as CORE_TOKEN_TYPES
from collectors.terms import DAY as DAY
from collectors.terms import HOUR as HOUR
from collectors.terms import OPEN as OPEN
from collectors.terms import SLOT as SLOT
from collectors.terms import ChargeCategory as ChargeCategory
from collectors.terms import Component as Component
from collectors.terms import Labels as Labels
from collectors.terms import Path as Path


@dataclass(frozen=True, slots=True, order=True)
class Window:
    """A span `[start, end)` in epoch seconds, UTC. `start == end` is the empty span at an instant."""

    start: int
    end: int

    def __post_init__(self) -> None:
        if self.end < self.start:
            raise ValueError(f"a window must not end before it starts: [{self.start}, {self.end})")

    @property
    def seconds(self) -> int:
        return self.end - self.start


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens and requests of one series in one slot.

    `tokens` holds every type the source can tell, also at 0, so that a series exists before its first token. `band` is
    the lower edge (exclusive, tokens of the whole prompt, cached included) of the prompt-length band that prices the
    request; 0 is the lowest. `band_known` is False where a record stands for many requests and the band cannot be told.
    """

    slot: int
    path: Path
    provider: str
    model: str
    tokens: Mapping[str, int]
    requests: int = 0
    service_tier: str = "default"
    region: str = ""
    band: int = 0
    band_known: bool = True
    labels: Labels = ()


@dataclass(frozen=True, slots=True)
class Charge:
    """One bill line in FOCUS terms (https://focus.finops.org, columns of the same name). Money in `currency`.

    `window` is the charge period. `component` says what of a workload's cost the line pays for; `tags` are the
    provider's resource tags. `commitment_status` is `Used`, `Unused` or empty; `charge_class` is `Correction` or empty.
    `quantity` is in `unit` (for example `Hours`). `estimated`: the provider itself says that it may still change.

    A line that bills tokens has component `tokens` and, where the provider says so, the tags `model` and `token_type`.
    """

    window: Window
    category: ChargeCategory
    currency: str
    billed_cost: Decimal
    effective_cost: Decimal
    list_cost: Decimal | None = None
    contracted_cost: Decimal | None = None
    component: Component = "other"
    provider: str = ""
    service: str = ""
    service_category: str = ""
    sku: str = ""
    resource: str = ""
    resource_type: str = ""
    region: str = ""
    account: str = ""
    quantity: Decimal | None = None
    unit: str = ""
    commitment_status: str = ""
    charge_class: str = ""
    invoice: str = ""
    description: str = ""
    tags: Labels = ()
    estimated: bool = False


@dataclass(frozen=True, slots=True)
class Reservation:
    """GPUs held for a workload over a window, used or not: the quantity that a rate card prices.

    `card` is the key of the rate (`<collector>/<key>`) that prices it; the price itself stays in the configuration, so
    a corrected price corrects the past. `count` may be a fraction (MIG, time-slicing). `while_running` means that only
    the seconds in which the workload's engine was seen up are paid for.
    """

    card: str
    workload: str
    gpu: str
    count: Decimal
    window: Window
    while_running: bool = False
    resources: tuple[str, ...] = ()
    node: str = ""


@dataclass(frozen=True, slots=True)
class Card:
    """The price of a configured rate: what one GPU (or one unit of `component`) costs per hour, in `currency`.

    Reservations refer to it by key, so cost = a reservation's count x `price_per_hour` x its hours inside
    `[start, end)` (epoch seconds, None: open). `count` is the configured count; a reservation keeps the count it was
    made with. `resources` are provider resource ids, `nodes` node names the rate speaks of; both may be empty.
    """

    collector: str
    workload: str
    component: Component
    price_per_hour: Decimal
    currency: str
    count: Decimal
    while_running: bool = False
    start: int | None = None
    end: int | None = None
    resources: tuple[str, ...] = ()
    nodes: tuple[str, ...] = ()
    gpu: str = ""


@dataclass(frozen=True, slots=True)
class Node:
    """A machine with GPUs that was up over `window` (`end` is `OPEN` while it is): what a bill or a list price prices.

    `key` is unique and lasting in its collector (a name may come back on another machine). `resource` is the machine
    as bills name it, "" if unknown: an AWS instance id, `<project>/<zone>/<name>` on Google Cloud, an Azure resource id
    in lower case. `provider` is `aws`, `gcp`, `azure` or "". `tier` is `on_demand`, `spot` or "" (not told). `gpus` are
    physical GPUs of the product `gpu`, whatever slices or replicas of them the cluster offers.
    """

    key: str
    name: str
    window: Window
    gpu: str
    gpus: Decimal
    resource: str = ""
    provider: str = ""
    instance_type: str = ""
    region: str = ""
    zone: str = ""
    tier: str = ""
    vcpus: Decimal | None = None
    memory_gib: Decimal | None = None
    labels: Labels = ()


@dataclass(frozen=True, slots=True)
class Allocation:
    """GPUs of one node that a pod holds, used or not, over `window` (`end` is `OPEN` while it does).

    `key` is unique and lasting in its collector; `node` is the node's key. `gpus` is in physical GPUs of the node: a
    fraction for a MIG slice or a time-slicing replica. `labels` are those of matching: `namespace`, `owner`,
    `owner_kind`, `pod`, `node` and the pod's own. `sidecar`: an exporter in the pod itself reads its engine and counts
    its rent, so here it is part of the bill and of no workload's cost. Where that changes, the allocation ends and
    another one, with the key `<first key>#<its start>`, goes on.
    """

    key: str
    node: str
    gpus: Decimal
    window: Window
    labels: Labels = ()
    sidecar: bool = False

    @property
    def first_key(self) -> str:
        """The key of the first of the allocations that follow one another for one pod on one node."""
        return self.key.partition("#")[0]


PriceUnit = Literal["node", "gpu", "vcpu", "memory_gib", "local_ssd_gib"]


@dataclass(frozen=True, slots=True)
class ListPrice:
    """A catalogue price per hour, valid from `start` (epoch seconds) until the next one of the same kind.

    `unit` says of what: a whole `node` (then `name` is the instance type), or one `gpu` (`name` is the product), `vcpu`
    or `memory_gib` (`name` is the machine family, such as `a2`) or `local_ssd_gib` (`name` is `local-ssd`). `tier` is
    `on_demand`, `spot`, `commit_1y`, `commit_3y`. `provider` as in `Node`.
    """

    provider: str
    region: str
    tier: str
    unit: PriceUnit
    name: str
    price_per_hour: Decimal
    currency: str
    start: int
    sku: str = ""


@dataclass(frozen=True, slots=True)
class EngineLoad:
    """What one model on one engine target did in one slot: the evidence capacity is learned from.

    Deltas (add up within a slot): `seconds` observed; `saturated_seconds` and `saturated_tokens` of those scrape
    intervals in which requests queued at both ends; `prefill_seconds` and `decode_seconds` of request residency.
    Levels at the last scrape: `running`, `waiting`, `kv_cache_usage` (0 to 1).
    """

    slot: int
    model: str
    seconds: int = 0
    saturated_seconds: int = 0
    saturated_tokens: int = 0
    prefill_seconds: float | None = None
    decode_seconds: float | None = None
    running: float | None = None
    waiting: float | None = None
    kv_cache_usage: float | None = None


@dataclass(frozen=True, slots=True)
class Observed:
    """Time a source vouches for: it has delivered everything that happened in `window`.

    `stream` is what completeness is tracked for: an engine target, or "" for a collector as a whole (logs). `up` is
    False where the source was seen to be down (connection refused, pod gone): known to have served nothing.
    """

    window: Window
    stream: str = ""
    up: bool = True


@dataclass(frozen=True, slots=True)
class Batch:
    """What one part (a target, file, object, day) delivered: committed to the ledger whole or not at all.

    An append-only source gives `cursor`: the ledger adds `usage` and moves the part's cursor in one transaction. A
    restatable source gives `window`: the ledger replaces all that this part said of that window before. `stream`
    names the source of `usage` for coverage (see `Observed`). `rejected` counts unusable records by reason.

    `nodes`, `allocations` and `list_prices` are facts with a key of their own (a list price: all but its price): the
    ledger keeps the newest word on each, whatever the batch's window. `paid_usd` is what the requests behind this batch
    cost at the provider's request price; a source that pays yields it before it makes the request, so that a crash
    cannot hide it.
    """

    part: str
    usage: Sequence[Usage] = ()
    charges: Sequence[Charge] = ()
    reservations: Sequence[Reservation] = ()
    loads: Sequence[EngineLoad] = ()
    observed: Sequence[Observed] = ()
    nodes: Sequence[Node] = ()
    allocations: Sequence[Allocation] = ()
    list_prices: Sequence[ListPrice] = ()
    paid_usd: Decimal = Decimal(0)
    cursor: str | None = None
    window: Window | None = None
    stream: str = ""
    rejected: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Failure:
    """A part that could not be read this time. `reason` is one line for the on-call engineer, free of secrets."""

    part: str
    reason: str
