"""Which component of a workload's cost a bill line pays for: a small table over what the line says of itself. Pure.

Instance families are from the providers' own lists: AWS accelerated computing, Google accelerator-optimized machines,
Azure N-series, Oracle GPU shapes. The first row that fits wins.
"""

import re
from collections.abc import Mapping

from collectors.records import Component

_GPU = re.compile(
    r"""
    # AWS
      \b(?:ml\.)?(?:p[2-9]|gr?[2-9]|trn\d|inf\d|dl\d)[a-z0-9]*(?:-[a-z0-9]+)?\.(?:\d*x?large|medium|metal\S*)
    # Google Cloud: machine types, and the SKUs of their parts
    | \b[ag][2-9]-(?:high|mega|ultra|max|standard|edge)gpu | \bg[2-9]-standard-\d
    | \b[ag][2-9]\w*[ ]instance[ ](?:core|ram)
    # Azure N-series
    | \b(?:standard_)?n(?:cc|[cdgv])p?\d+\w*
    # Oracle shapes, FOCUS SkuPriceDetails, and in words
    | \b(?:vm|bm)\.gpu | "gpucount":\s*"?[1-9] | \bgpus?\b | \bnvidia\b | \btpu\b
    """,
    re.IGNORECASE | re.VERBOSE,
)
_TRAFFIC = re.compile(r"data transfer|data processed|egress|nat gateway|bandwidth", re.IGNORECASE)
_TOKENS = re.compile(r"\btokens?\b", re.IGNORECASE)

_BY_CATEGORY: Mapping[str, Component] = {"storage": "storage", "networking": "egress"}


def component_of(service_category: str, unit: str, text: str) -> Component:
    """The component of a line with FOCUS `ServiceCategory`, pricing `unit`, and `text`: its SKU, resource type,
    instance type and description, in one string."""
    category = service_category.lower()
    if category in _BY_CATEGORY:
        return _BY_CATEGORY[category]
    if category == "ai and machine learning" and _TOKENS.search(f"{unit} {text}"):
        return "tokens"
    if category in ("compute", "ai and machine learning", "") and _GPU.search(text):
        return "gpu"
    if category == "compute":
        return "egress" if _TRAFFIC.search(text) else "node"
    return "other"
