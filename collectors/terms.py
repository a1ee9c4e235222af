"""Words and numbers that the records share: what even a process that makes no record needs. Pure.

Time is whole seconds since the Unix epoch, UTC. A **slot** is the ledger's finest resolution.
"""

from typing import Literal

SLOT = 300
HOUR = 3600
DAY = 86400
OPEN = 1 << 40
"""The end of a span that has not ended: it runs on for as long as its collector vouches for what it sees."""

Path = Literal["self_hosted", "api"]
Component = Literal["tokens", "gpu", "node", "storage", "egress", "fixed", "other"]
ChargeCategory = Literal["Usage", "Purchase", "Tax", "Credit", "Adjustment"]

# Disjoint: a token is counted under exactly one type. `input` excludes cached tokens, `output` includes reasoning.
CORE_TOKEN_TYPES = ("input", "cache_read", "cache_write", "cache_write_1h", "output")

Labels = tuple[tuple[str, str], ...]
