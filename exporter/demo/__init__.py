"""The demo: stand-ins for gateways, an engine and an invoice on real recorded data; what reads them is shipped code."""

from exporter.demo.scenario import Demo, prepare

__all__ = ["Demo", "prepare"]
