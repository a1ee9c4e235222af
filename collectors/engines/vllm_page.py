"""What the samples of a vLLM page mean. Pure.

Measured on real servers, vLLM 0.9 to 0.33: `prompt_tokens_total` includes cached tokens; aborted requests are in the
token counters; a request with n choices counts its prompt n times. A model has one series per engine (data-parallel
rank), all on one page.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from math import isfinite
from typing import Literal

from collectors.engines.counters import Series
from collectors.engines.page import Names, PageError, Sample

Phase = Literal["", "prefill", "decode"]

# fmt: off
COUNTERS = {
    "prompt_tokens_total": "prompt",                    # cached tokens included
    "prompt_tokens_by_source_total": "source",          # the parts of prompt
    "prompt_tokens_cached_total": "cached",             # a part of prompt
    "prefix_cache_hits_total": "hits",                  # tokens; V1 engine
    "gpu_prefix_cache_hits_total": "gpu_hits",          # its older name; some versions show both
    "external_prefix_cache_hits_total": "transferred",  # tokens from another engine's cache
    "generation_tokens_total": "generation",            # reasoning and accepted speculative tokens included
    "request_success_total": "requests",                # by finished_reason
    "request_prefill_time_seconds_sum": "prefill_seconds",
    "request_decode_time_seconds_sum": "decode_seconds",
}
GAUGES = {
    "num_requests_running": "running",
    "num_requests_waiting": "waiting",
    "num_requests_waiting_by_reason": "waiting_by_reason",
    "kv_cache_usage_perc": "kv",                        # a fraction, whatever its name says
    "gpu_cache_usage_perc": "kv",                       # its older name
    "engine_sleep_state": "sleep_state",
}
# fmt: on
NAMES = Names("vllm", COUNTERS | GAUGES, {"process_start_time_seconds": "start"})
SECONDS = frozenset({"prefill_seconds", "decode_seconds"})
OPTIONAL = SECONDS | {"requests"}  # a page can be believed without them

_COUNTED = frozenset(COUNTERS.values())
_TOKEN_SERIES = frozenset({"prompt", "generation"})
_LOCAL_COMPUTE, _TRANSFER = "source:local_compute", "source:external_kv_transfer"
_CACHED = ("cached", "hits", "gpu_hits")  # best first: they are the same tokens, never to be added


@dataclass(slots=True)
class Levels:
    """A model's gauges, its engines together: sums, and the highest KV-cache use (0 to 1). None: not on the page."""

    running: float | None = None
    waiting: float | None = None
    waiting_for_capacity: float | None = None
    kv_cache_usage: float | None = None
    asleep: bool = False

    @property
    def queued(self) -> bool:
        """Whether requests wait because the engine is full; other waits (LoRA limit, KV transfer) do not count."""
        waiting = self.waiting if self.waiting_for_capacity is None else self.waiting_for_capacity
        return not self.asleep and bool(waiting)


@dataclass(frozen=True, slots=True)
class VllmPage:
    """`start`: the process's start time (epoch seconds), if said. `levels` are by model."""

    start: float | None
    counters: Mapping[Series, float]
    levels: Mapping[str, Levels] = field(default_factory=dict)

    @property
    def models(self) -> list[str]:
        """The models with token series."""
        return sorted({key.model for key in self.counters if key.quantity in _TOKEN_SERIES})


def read(samples: Iterable[Sample]) -> VllmPage:
    """The page behind `samples` of `NAMES`.

    Raises PageError if a counter is not a finite number from 0 up, and if a model has prompt or generated tokens only:
    every version shows both, so the page is not whole.
    """
    start: float | None = None
    counters: dict[Series, float] = {}
    levels: dict[str, Levels] = {}
    for sample in samples:
        if sample.name == "start":
            start = sample.value if isfinite(sample.value) else None
        elif sample.name in _COUNTED:
            counters[_series(sample)] = _count(sample)
        else:
            _level(levels.setdefault(sample.labels.get("model_name", ""), Levels()), sample)
    for model in {key.model for key in counters}:
        shown = _TOKEN_SERIES & {key.quantity for key in counters if key.model == model}
        if len(shown) == 1:
            raise PageError(f"truncated page: model {model!r} has no series of {min(_TOKEN_SERIES - shown)} tokens")
    return VllmPage(start, _without_doubles(counters), levels)


def token_types(
    sums: Mapping[str, float], owed: tuple[int, int], phase: Phase
) -> tuple[dict[str, int], tuple[int, int]]:
    """Tokens by disjoint type out of the increases `sums` (quantity -> increase; absent: not on the page).

    Cached and transferred tokens are parts of the prompt counter, but some versions count them when a request is
    scheduled and its prompt only at the first token. Until the prompt counter has moved they are `owed` (transferred,
    cached), so that no type ever falls and input + cache_read is the prompt counter at all times.
    """
    tokens: dict[str, int] = {}
    if "prompt" in sums:
        prompt = int(sums["prompt"])
        dropped, owed_dropped = _part(prompt, owed[0] + (_transferred(sums) if phase == "decode" else 0))
        cached = _cached(sums, phase)
        read, owed_read = _part(prompt - dropped, owed[1] + (cached or 0))
        owed = owed_dropped, owed_read
        tokens["input"] = prompt - dropped - read
        if cached is not None:
            tokens["cache_read"] = read
    if "generation" in sums:
        tokens["output"] = int(sums["generation"])
    return tokens, owed


def _part(whole: int, wanted: int) -> tuple[int, int]:
    """How much of `wanted` fits into `whole`, and what is left."""
    part = min(whole, wanted)
    return part, wanted - part


def _cached(sums: Mapping[str, float], phase: Phase) -> int | None:
    sources = [name for name in sums if name.startswith("source:")]
    if sources:
        computed = (_LOCAL_COMPUTE, _TRANSFER) if phase == "decode" else (_LOCAL_COMPUTE,)
        return int(sum(sums[name] for name in sources if name not in computed))
    return next((int(sums[name]) for name in _CACHED if name in sums), None)


def _transferred(sums: Mapping[str, float]) -> int:
    return int(sums.get(_TRANSFER, sums.get("transferred", 0)))


def _series(sample: Sample) -> Series:
    labels = sample.labels
    quantity = f"source:{labels.get('source', '')}" if sample.name == "source" else sample.name
    rest = ",".join(f"{key}={value}" for key, value in sorted(labels.items()) if key not in ("model_name", "source"))
    return Series(labels.get("model_name", ""), quantity, rest)


def _count(sample: Sample) -> float:
    if not isfinite(sample.value) or sample.value < 0:
        raise PageError(f"{sample.name} is {sample.value}: not a counter")
    return sample.value if sample.name in SECONDS else int(sample.value)


def _level(levels: Levels, sample: Sample) -> None:
    value = sample.value
    if not isfinite(value):
        return
    match sample.name, sample.labels.get("reason"), sample.labels.get("sleep_state"):
        case "running", _, _:
            levels.running = (levels.running or 0) + value
        case "waiting", _, _:
            levels.waiting = (levels.waiting or 0) + value
        case "waiting_by_reason", "capacity", _:
            levels.waiting_for_capacity = (levels.waiting_for_capacity or 0) + value
        case "kv", _, _:
            levels.kv_cache_usage = max(levels.kv_cache_usage or 0, value)
        case "sleep_state", _, "awake":
            levels.asleep = levels.asleep or value == 0


def _without_doubles(counters: Mapping[Series, float]) -> dict[Series, float]:
    """Of the series that say the same in several ways, the best: fewer to remember, and none added twice."""
    quantities: dict[str, set[str]] = {}
    for key in counters:
        quantities.setdefault(key.model, set()).add(key.quantity)
    spare = {model: frozenset(_spare(names)) for model, names in quantities.items()}
    return {key: value for key, value in counters.items() if key.quantity not in spare[key.model]}


def _spare(quantities: set[str]) -> Iterator[str]:
    if _LOCAL_COMPUTE in quantities:
        yield from (*_CACHED, "transferred")
    else:
        best = next((name for name in _CACHED if name in quantities), None)
        yield from (name for name in _CACHED if name != best)
