"""JSON schemas of the Prometheus operator's objects, for the fields that the chart may use; all else is an error.

Written by hand from the operator's API reference (monitoring.coreos.com/v1): its own schemas are not in a package.
"""

from typing import Any

Schema = dict[str, Any]

_TEXTS: Schema = {"type": "object", "additionalProperties": {"type": "string"}}
_DURATION: Schema = {"type": "string", "pattern": r"^(\d+d)?(\d+h)?(\d+m)?(\d+s)?(\d+ms)?$", "minLength": 2}
_SELECTOR: Schema = {
    "type": "object",
    "additionalProperties": False,
    "minProperties": 1,
    "properties": {"matchLabels": _TEXTS},
}


def _strict(required: list[str], **properties: Schema) -> Schema:
    return {"type": "object", "additionalProperties": False, "required": required, "properties": properties}


_METADATA = _strict(
    ["name", "namespace"],
    name={"type": "string", "pattern": r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", "maxLength": 253},
    namespace={"type": "string", "minLength": 1},
    labels=_TEXTS,
    annotations=_TEXTS,
)
_ENDPOINT = _strict(
    ["port"],
    port={"type": "string", "minLength": 1},
    path={"type": "string", "pattern": "^/"},
    scheme={"enum": ["http", "https"]},
    interval=_DURATION,
    scrapeTimeout=_DURATION,
)
_RULE: Schema = {
    **_strict(
        ["expr"],
        alert={"type": "string", "pattern": r"^[A-Z]\w+$"},
        record={"type": "string", "pattern": r"^[a-zA-Z_:][\w:]*$"},
        expr={"type": "string", "minLength": 1},
        labels=_TEXTS,
        annotations=_TEXTS,
        **{"for": _DURATION, "keep_firing_for": _DURATION},
    ),
    "oneOf": [{"required": ["alert"]}, {"required": ["record"], "not": {"required": ["for"]}}],
}
_GROUP = _strict(
    ["name", "rules"],
    name={"type": "string", "minLength": 1},
    interval=_DURATION,
    limit={"type": "integer"},
    rules={"type": "array", "minItems": 1, "items": _RULE},
)


def _kind(name: str, spec: Schema) -> Schema:
    return _strict(
        ["apiVersion", "kind", "metadata", "spec"],
        apiVersion={"const": "monitoring.coreos.com/v1"},
        kind={"const": name},
        metadata=_METADATA,
        spec=spec,
    )


_ENDPOINTS: Schema = {"type": "array", "minItems": 1, "items": _ENDPOINT}
SCHEMAS = {
    "ServiceMonitor": _kind(
        "ServiceMonitor", _strict(["selector", "endpoints"], selector=_SELECTOR, endpoints=_ENDPOINTS)
    ),
    "PodMonitor": _kind(
        "PodMonitor", _strict(["selector", "podMetricsEndpoints"], selector=_SELECTOR, podMetricsEndpoints=_ENDPOINTS)
    ),
    "PrometheusRule": _kind(
        "PrometheusRule", _strict(["groups"], groups={"type": "array", "minItems": 1, "items": _GROUP})
    ),
}
