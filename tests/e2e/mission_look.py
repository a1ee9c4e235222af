"""What the exporter shows at one instant, and how to ask it."""

import json
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.running import fetch, wait_for

Labels = frozenset[tuple[str, str]]


@dataclass(frozen=True)
class Look:
    """The exporter at one instant: /metrics, /api/v1/workloads and the status page."""

    text: str
    json: Any
    html: str

    @property
    def samples(self) -> dict[tuple[str, Labels], float]:
        return {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(self.text)
            for sample in family.samples
        }

    def value(self, name: str, **labels: str) -> float | None:
        return self.samples.get((name, frozenset(labels.items())))

    def total(self, name: str, **labels: str) -> float:
        wanted = set(labels.items())
        return sum(value for (found, own), value in self.samples.items() if found == name and wanted <= own)

    @property
    def page_at(self) -> float | None:
        """When this page was made."""
        return self.value("llmcost_exporter_page_timestamp_seconds")

    def counters(self) -> dict[tuple[str, Labels], float]:
        """Those that live in the ledger."""
        own = {key: value for key, value in self.samples.items() if key[0].startswith("llmcost_")}
        return {key: value for key, value in own.items() if key[0].endswith("_total")}

    def success(self) -> dict[str, float]:
        return {
            dict(labels)["collector"]: value
            for (name, labels), value in self.samples.items()
            if name == "llmcost_exporter_collector_success"
        }

    def window(self, workload: str, name: str = "7d") -> Any:
        return next(one for one in self.json["workloads"] if one["workload"] == workload)["windows"][name]

    def cost(self, workload: str, window: str = "7d") -> dict[tuple[str, str], Decimal]:
        """USD by component and evidence."""
        rows = self.window(workload, window)["cost_by"]
        return {(row["component"], row["evidence"]): Decimal(row["usd"]) for row in rows if "usd" in row}

    def bill(self, collector: str, window: str = "7d") -> Any:
        found = (one for one in self.json["bills"] if (one["collector"], one["window"]) == (collector, window))
        return next(found, None)


def look_at(address: str) -> Look:
    """The exporter that serves at `address` (host:port), now: all of one publish tick."""

    def read() -> Look | None:
        text, body, html = (fetch(f"http://{address}{path}") for path in ("/metrics", "/api/v1/workloads", "/"))
        look = Look(text or "", json.loads(body or "{}"), html or "")
        page_at = look.value("llmcost_exporter_page_timestamp_seconds")
        again = Look(fetch(f"http://{address}/metrics") or "", None, "").value(
            "llmcost_exporter_page_timestamp_seconds"
        )
        return look if page_at is not None and page_at == again else None

    return wait_for("pages of one tick", read)


def counted(look: Look, workload: str) -> int:
    return int(look.total("llmcost_tokens_total", workload=workload))
