"""What is to be published at one tick, as values: the report, the counters and the exporter's own health."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from exporter.reconcile.report import CollectorHealth, Report


@dataclass(frozen=True, slots=True)
class CounterValue:
    """One counter series as the ledger holds it.

    `labels` are the label values in the family's order. `created` is when the ledger first saw the series (epoch
    seconds): with a series budget it also decides who keeps a name, so it must not change.
    """

    family: str
    labels: tuple[str, ...]
    value: Decimal | int
    created: float


@dataclass(frozen=True, slots=True)
class ExporterHealth:
    """How the exporter itself is doing. Instants in epoch seconds; `page_at` is now, the instant of this tick.

    `ledger_quarantines` counts damaged ledgers set aside. `price_book_at` is the date of the price catalogue.
    """

    version: str
    python_version: str
    role: str
    started_at: float
    page_at: float
    leader: bool = True
    ledger_writable: bool = True
    ledger_size_bytes: int | None = None
    ledger_quarantines: int = 0
    config_reload_successful: bool = True
    price_book_at: float | None = None


@dataclass(frozen=True, slots=True)
class PublishState:
    """Everything one tick publishes. `report` is None until the first reconciliation.

    Rejected records are published from `counters`; `CollectorHealth.rejected` is only shown on the status page.
    """

    report: Report | None
    counters: Sequence[CounterValue]
    collectors: Sequence[CollectorHealth]
    exporter: ExporterHealth
