"""What the status page lays out, as text: filled by `view`, read by the template. Values only."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from exporter.publish.advice import Advice
from exporter.publish.state import ExporterHealth

Tone = Literal["bad", "unknown", "even", "good", "apart", ""]
"""What a colour stands for; the text says the same."""


@dataclass(frozen=True, slots=True)
class Tile:
    label: str
    value: str
    note: str
    tone: Tone


@dataclass(frozen=True, slots=True)
class Share:
    name: str
    percent: str
    width: str  # CSS percentage


@dataclass(frozen=True, slots=True)
class AlternativeView:
    name: str
    price: str
    ratio: str


@dataclass(frozen=True, slots=True)
class WorkloadView:
    name: str
    path: str
    tone: Tone
    status: str
    since: str
    since_age: str
    effective: str
    alternative: AlternativeView
    others: tuple[AlternativeView, ...]
    saving: str
    saving_note: str
    coverage: str
    coverage_low: bool
    evidence: tuple[Share, ...]
    advice: Advice
    facts: tuple[tuple[str, str], ...]
    cost: str
    tokens: str
    apart: str  # why it is not compared, in a word; empty if it is
    order: tuple[int, Decimal, str]


@dataclass(frozen=True, slots=True)
class CollectorView:
    name: str
    kind: str
    tone: Tone
    state: str
    last_success: str
    complete_through: str
    lag: str
    interval: str
    duration: str
    parts: str
    rejected: tuple[str, ...]
    error: str  # what fails now
    earlier: str  # what failed lately and is well again


@dataclass(frozen=True, slots=True)
class BillView:
    collector: str
    window: str
    basis: str
    total: str
    parts: tuple[tuple[str, str], ...]
    note: str = ""


@dataclass(frozen=True, slots=True)
class BillsView:
    """The bills of one window; `totals` names each collector with its bill."""

    window: str
    totals: str
    bills: tuple[BillView, ...]


@dataclass(frozen=True, slots=True)
class ApartView:
    """Workloads that are not compared, the dearest first. `notes` say what each word for why stands for. `open`: they
    are few enough not to be folded."""

    summary: str
    workloads: tuple[WorkloadView, ...]
    notes: tuple[tuple[str, Advice], ...]
    open: bool


@dataclass(frozen=True, slots=True)
class StatusView:
    exporter: ExporterHealth
    page_at: str
    uptime: str
    closed_through: str
    tiles: tuple[Tile, ...]
    workloads: tuple[WorkloadView, ...]
    apart: ApartView | None
    collectors: tuple[CollectorView, ...]
    bills: tuple[BillsView, ...]  # the first is open, the others are folded
    fleet: tuple[tuple[str, str], ...]  # (what, value): GPUs and budgets
    warnings: tuple[str, ...]
