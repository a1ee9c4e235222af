"""llm-cost-exporter: what a token really costs, and which side of break-even a workload is on."""

__version__ = "0.1.0"
