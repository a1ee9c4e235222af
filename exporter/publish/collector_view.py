"""Collectors' health as the status page shows it. Pure."""

from exporter.publish import text
from exporter.publish.views import CollectorView, Tone
from exporter.reconcile.report import CollectorHealth

LATELY = 86400
"""Seconds for which the last error of a collector that is well again is still told."""


def collector_view(health: CollectorHealth, now: float) -> CollectorView:
    tone, state = _state(health)
    failed = health.parts.get("failed", 0)
    return CollectorView(
        name=health.name,
        kind=health.kind,
        tone=tone,
        state=state,
        last_success=text.ago(health.last_success, now),
        complete_through=text.instant(health.complete_through),
        lag="" if health.complete_through is None else text.ago(health.complete_through, now),
        interval=text.span(health.interval),
        duration=text.duration(health.duration_seconds),
        parts=f"{sum(health.parts.values()) - failed} ok, {failed} failed" if health.parts else text.DASH,
        rejected=tuple(f"{text.count(n)} {reason}" for reason, n in sorted(health.rejected.items()) if n),
        error=_error(health, now) if tone == "bad" else "",
        earlier=_earlier(health, now) if tone != "bad" else "",
    )


def _state(health: CollectorHealth) -> tuple[Tone, str]:
    if health.success:
        return "good", "OK"
    if health.last_success is None and not health.last_error:
        return "unknown", "Starting"
    return "bad", "Failing"


def _error(health: CollectorHealth, now: float) -> str:
    if not health.last_error or health.last_error_at is None:
        return health.last_error
    return f"{text.ago(health.last_error_at, now)}: {health.last_error}"


def _earlier(health: CollectorHealth, now: float) -> str:
    """The error of a collector that works again; nothing after a day."""
    at = health.last_error_at
    if not health.last_error or at is None or now - at >= LATELY:
        return ""
    return f"before: {health.last_error}, {text.ago(at, now)}"
