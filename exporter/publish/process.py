"""The `process_*` families of this process, read from /proc by prometheus_client."""

from functools import cache

from prometheus_client.process_collector import ProcessCollector

from exporter.publish.families import Family, Kind
from exporter.publish.rows import FamilySamples, Sample


@cache
def _collector() -> ProcessCollector:
    return ProcessCollector(registry=None)  # none: the default registry would collect it a second time


def process_samples() -> list[FamilySamples]:
    """Memory, processor time, open files and start of this process; empty where there is no /proc."""
    return [
        FamilySamples.of(
            Family(
                f"{metric.name}_total" if metric.type == "counter" else metric.name,
                _kind(metric.type),
                metric.documentation,
            ),
            tuple(Sample((), sample.value) for sample in metric.samples if not sample.name.endswith("_created")),
        )
        for metric in _collector().collect()
    ]


def _kind(prometheus_type: str) -> Kind:
    return "counter" if prometheus_type == "counter" else "gauge"
