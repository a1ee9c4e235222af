"""Capacity learned live from what an engine did while requests queued (design section 5, engines). Pure.

Only the queue is the gate: in a recorded overload KV-cache use never passed 0.55, because the number of sequences was
the limit. A high quantile instead of the maximum or the last value: preemption thrash lowers the rate, and a lumpy
prompt counter raises single samples. Never saturated means no estimate.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from decimal import Decimal

from collectors.records import DAY, EngineLoad

HORIZON = 7 * DAY
MIN_SATURATED_SECONDS = 60  # shorter spans are lumpy: the prompt counter jumps when a prefill ends
MIN_SAMPLES = 3


class Saturation:
    """What the replicas of one workload did at saturation, by slot. A sample is a slot with at least 60 saturated
    seconds: saturated tokens (all types) / saturated seconds; each slot of each replica is one sample."""

    def __init__(self, loads: Iterable[EngineLoad]) -> None:
        found = sorted((load.slot, _rate(load)) for load in loads if _is_sample(load))
        self._slots, self._rates = [slot for slot, _ in found], [rate for _, rate in found]
        self._last: tuple[tuple[int, int], tuple[Decimal | None, int]] | None = None

    def capacity(self, now: int) -> tuple[Decimal | None, int]:
        """Tokens per second that one replica sustains, and the number of samples it rests on, those in `[now - 7 d,
        now)`: their 90th percentile by nearest rank, None below 3 samples."""
        span = bisect_left(self._slots, now - HORIZON), bisect_left(self._slots, now)
        if self._last is None or self._last[0] != span:
            self._last = span, _percentile(sorted(self._rates[slice(*span)]))
        return self._last[1]


def _percentile(rates: Sequence[Decimal]) -> tuple[Decimal | None, int]:
    if len(rates) < MIN_SAMPLES:
        return None, len(rates)
    return rates[-(-9 * len(rates) // 10) - 1], len(rates)


def workload_capacity(replica: Decimal | None, ready_replicas: int | None) -> Decimal | None:
    """K of the workload in tokens per second: one replica's x the ready replicas; None if either is unknown."""
    if replica is None or ready_replicas is None:
        return None
    return replica * ready_replicas


def _is_sample(load: EngineLoad) -> bool:
    """A queue without a single token is a stuck engine, not a capacity."""
    return load.saturated_seconds >= MIN_SATURATED_SECONDS and load.saturated_tokens > 0


def _rate(load: EngineLoad) -> Decimal:
    return Decimal(load.saturated_tokens) / load.saturated_seconds
