"""What the status page lays out, as text: filled by `view`, read by the template. Values only."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from exporter.publish.advice import Advice
from exporter.publish.state import ExporterHealth

Tone = Literal["bad", "unknown", "even", "good", ""]
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
    last_error: str


@dataclass(frozen=True, slots=True)
class BillView:
    collector: str
    window: str
    basis: str
    total: str
    parts: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class StatusView:
    exporter: ExporterHealth
    page_at: str
    uptime: str
    closed_through: str
    tiles: tuple[Tile, ...]
    workloads: tuple[WorkloadView, ...]
    collectors: tuple[CollectorView, ...]
    bills: tuple[BillView, ...]
    warnings: tuple[str, ...]
