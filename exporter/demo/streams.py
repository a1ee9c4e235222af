"""Which recorded load plays which workload in the demo. Values only."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from collectors.slots import slot_of

MINUTE = 60
LLAMA_70B = "meta-llama/Llama-3.3-70B-Instruct"
LLAMA_8B = "meta-llama/Llama-3.1-8B-Instruct"
ASSISTANT_TEAMS = {"chunk-20": "search", "chunk-48": "mobile", "chunk-78": "web"}


@dataclass(frozen=True, slots=True)
class Share:
    """The share (0 to 1) of the live trace that a workload receives: `quiet` for `quiet_seconds`, then `busy` for
    `busy_seconds`, over and over, from `since` (epoch seconds) on."""

    quiet: float
    busy: float
    since: int
    quiet_seconds: int = 35 * MINUTE
    busy_seconds: int = 40 * MINUTE

    def at(self, instant: float) -> float:
        in_cycle = (instant - self.since) % (self.quiet_seconds + self.busy_seconds)
        return self.quiet if in_cycle < self.quiet_seconds else self.busy


@dataclass(frozen=True, slots=True)
class Stream:
    """One workload's traffic: recorded clients as history until `handover` (epoch seconds), the live trace from then.

    `clients` maps a ServeGen client to the team it plays. `trace_offset` is where in the trace (seconds) the workload
    is at `handover`, so that workloads do not move in step.
    """

    workload: str
    provider: str
    model: str
    clients: Mapping[str, str]
    handover: int
    share: Share
    trace_offset: int = 0
    labels: Mapping[str, str] = field(default_factory=dict)


def self_hosted_streams(started: int) -> tuple[Stream, ...]:
    """The workloads on rented GPUs of a demo started at `started` (epoch seconds).

    `support` loses its load 20 minutes before the first 5-minute mark after the start, gets it back 15 minutes after
    that mark, and goes on in that rhythm. With its decision settings (window 15m, sustain 10m) that makes the first
    mark after the start the third evaluation in a row at which the API is cheaper: the crossing.
    """
    now, mark = slot_of(started), slot_of(started) + 5 * MINUTE
    fall = mark - 20 * MINUTE
    return (
        Stream("assistant", "vllm", LLAMA_70B, ASSISTANT_TEAMS, now, _always(1.0), labels={"app": "assistant"}),
        Stream(
            "summaries", "vllm", LLAMA_8B, {"chunk-56": "docs"}, now, _always(0.06), 20 * MINUTE, {"app": "summaries"}
        ),
        Stream(
            "support",
            "vllm",
            LLAMA_70B,
            {"chunk-147": "support"},
            fall,
            Share(0.3, 1.0, since=fall),
            40 * MINUTE,
            {"app": "support"},
        ),
    )


def api_streams(started: int) -> tuple[Stream, ...]:
    """The workload that pays an API per token."""
    return (
        Stream(
            "batch-mail", "openai", "gpt-4o-mini", {"chunk-34": "mail"}, slot_of(started), _always(0.1), 10 * MINUTE
        ),
    )


def _always(share: float) -> Share:
    return Share(share, share, since=0)
