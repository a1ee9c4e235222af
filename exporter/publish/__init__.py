"""What the exporter shows: the metrics page, the status page and the JSON of the same report.

One direction: `PublishState` -> `samples` (Decimal becomes float here, once) -> `Page` (bytes) -> `web` (HTTP).
"""
