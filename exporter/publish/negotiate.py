"""Content negotiation for the metrics page (RFC 9110, sections 12.5.1 and 12.5.3). Pure."""

from collections.abc import Iterator


def wants_openmetrics(accept: str) -> bool:
    """Whether OpenMetrics 1.0 is acceptable and at least as welcome as the text format, by an `Accept` header."""
    openmetrics, text = 0.0, 0.0
    for name, parameters, weight in _weighted(accept):
        if name == "application/openmetrics-text" and parameters.get("version", "1.0.0") == "1.0.0":
            openmetrics = max(openmetrics, weight)
        elif name == "text/plain":
            text = max(text, weight)
    return openmetrics > 0 and openmetrics >= text


def wants_gzip(accept_encoding: str) -> bool:
    """Whether gzip is acceptable, by an `Accept-Encoding` header; a word on gzip wins over one on `*`."""
    weights = {name: weight for name, _, weight in _weighted(accept_encoding)}
    return weights.get("gzip", weights.get("*", 0.0)) > 0


def _weighted(header: str) -> Iterator[tuple[str, dict[str, str], float]]:
    """(name, parameters, q) of each element; a q that is not a number counts as 0: not acceptable."""
    for element in header.lower().split(","):
        name, *rest = [part.strip() for part in element.split(";")]
        parameters = {key.strip(): value.strip(' "') for key, _, value in (part.partition("=") for part in rest)}
        yield name, parameters, _weight(parameters.pop("q", "1"))


def _weight(q: str) -> float:
    try:
        return float(q)
    except ValueError:
        return 0.0
