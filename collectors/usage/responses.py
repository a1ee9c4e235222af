"""Response objects as providers return them: OpenAI chat completions and responses, and Anthropic messages.

Token semantics: OpenAI's input includes cached and cache-write tokens, Anthropic's excludes them; both outputs include
reasoning. (OpenAI: github.com/openai/openai-openapi; Anthropic: the `usage` object of the Messages API.) An object may
be wrapped (`response`, `body`, `result`, `message`) with a time, labels and a provider beside it; that also reads the
lines of batch output files.
"""

from typing import Literal

import msgspec
from msgspec import Raw, Struct

from collectors.usage.records import Record, Reject, count, instant, labels_of

MAX_DEPTH = 4
_NOT_A_TIER = {"", "auto", "default", "standard", "on_demand", "standard_only"}
_STREAM_PARTS = {"message_start", "message_delta"}


class CacheWrites(Struct, gc=False):
    ephemeral_5m_input_tokens: int | None = None
    ephemeral_1h_input_tokens: int | None = None
    ttl_12h_tokens: int | None = None


class InputDetails(Struct, gc=False):
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    cache_creation_tokens: int | None = None
    cache_write_tokens_details: CacheWrites | None = None
    cache_creation_token_details: CacheWrites | None = None
    audio_tokens: int | None = None


class OutputDetails(Struct, gc=False):
    audio_tokens: int | None = None


class Iteration(Struct, gc=False):
    type: str = "message"
    model: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_creation: CacheWrites | None = None
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None


class UsageObject(Iteration, gc=False):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    prompt_tokens_details: InputDetails | None = None
    input_tokens_details: InputDetails | None = None
    completion_tokens_details: OutputDetails | None = None
    output_tokens_details: OutputDetails | None = None
    cached_tokens: int | None = None  # Hugging Face
    num_cached_tokens: int | None = None  # Mistral
    prompt_cache_hit_tokens: int | None = None  # DeepSeek
    service_tier: str | None = None
    speed: str | None = None
    iterations: list[Iteration] | None = None


class Layer(Struct, gc=False):
    """A response object, or a wrapper around one."""

    id: str | int | None = None
    object: str | None = None
    type: str | None = None
    model: str | None = None
    provider: str | None = None
    usage: UsageObject | None = None
    service_tier: str | None = None
    choices: list[Raw] | None = None
    created: str | int | float | None = None
    created_at: str | int | float | None = None
    ts: str | int | float | None = None
    timestamp: str | int | float | None = None
    time: str | int | float | None = None
    custom_id: str | None = None
    labels: Raw = Raw(b"null")
    response: "Layer | str | int | float | bool | list[Raw] | None" = None
    body: "Layer | str | int | float | bool | list[Raw] | None" = None
    result: "Layer | str | int | float | bool | list[Raw] | None" = None
    message: "Layer | str | int | float | bool | list[Raw] | None" = None


Family = Literal["auto", "openai", "anthropic"]
_decode = msgspec.json.Decoder(Layer).decode


def read(line: bytes, family: Family = "auto") -> list[Record]:
    """The records of a line (more than one if a message names iterations of other models); rejects it with a reason."""
    layers = _unwrap(_decode(line))
    inner = layers[-1]
    usage = inner.usage
    if usage is None:
        raise Reject("no_usage")
    _check_stream(layers[0], inner)
    anthropic = _is_anthropic(inner, usage, family)
    model = next((layer.model for layer in reversed(layers) if layer.model), None)
    if not model:
        raise Reject("no_model")
    first = Record(
        at=_time(layers),
        model=model,
        tokens=anthropic_tokens(usage) if anthropic else openai_tokens(usage),
        provider=next((layer.provider for layer in layers if layer.provider), ""),
        family="anthropic" if anthropic else "openai",
        service_tier=_tier(layers, usage),
        labels=next(filter(None, (labels_of(msgspec.json.decode(layer.labels)) for layer in layers)), ()),
        id=None if inner.id is None else str(inner.id),
    )
    return [first, *_further(first, usage)]


def _unwrap(layer: Layer) -> list[Layer]:
    layers = [layer]
    while layer.usage is None and len(layers) < MAX_DEPTH:
        nested = next(filter(None, map(_nested, (layer.response, layer.body, layer.result, layer.message))), None)
        if nested is None:
            break
        layers.append(nested)
        layer = nested
    return layers


def _nested(value: object) -> Layer | None:
    if isinstance(value, str) and value.lstrip().startswith("{"):
        try:
            return _decode(value.encode())
        except msgspec.DecodeError:
            return None
    return value if isinstance(value, Layer) else None


def _check_stream(outer: Layer, inner: Layer) -> None:
    """Of an OpenAI stream only the chunk without choices holds the final usage; earlier figures are running totals."""
    if outer.type in _STREAM_PARTS or (inner.object == "chat.completion.chunk" and inner.choices):
        raise Reject("partial_usage")


def _is_anthropic(inner: Layer, usage: UsageObject, family: Family) -> bool:
    if usage.prompt_tokens is not None or family == "openai":
        return False
    if family == "anthropic":
        return True
    return inner.object != "response" and usage.input_tokens_details is None and usage.total_tokens is None


def _time(layers: list[Layer]) -> int | None:
    """The object's own time, else the nearest wrapper's."""
    inner = layers[-1]
    own = inner.created if inner.created is not None else inner.created_at
    if own is not None:
        return instant(own)
    for layer in reversed(layers):
        for value in (layer.ts, layer.timestamp, layer.time):
            if value is not None:
                return instant(value)
    return None


def _tier(layers: list[Layer], usage: UsageObject) -> str:
    """The response's own tier. A line with a `custom_id` is the output of a batch, whatever the object in it says."""
    if any(layer.custom_id is not None for layer in layers):
        return "batch"
    if usage.speed == "fast":
        return "fast"
    return tier_name(usage.service_tier or layers[-1].service_tier)


def tier_name(tier: str | None) -> str:
    return "default" if tier is None or tier in _NOT_A_TIER else tier


def openai_tokens(usage: UsageObject) -> dict[str, int]:
    """Disjoint tokens of an OpenAI-style usage object. Rejects `no_usage`, `bad_tokens`, `inconsistent_usage`."""
    whole = usage.prompt_tokens if usage.prompt_tokens is not None else usage.input_tokens
    out = usage.completion_tokens if usage.completion_tokens is not None else usage.output_tokens
    if whole is None and out is None:
        raise Reject("no_usage")
    details = usage.prompt_tokens_details or usage.input_tokens_details or InputDetails()
    return split(usage, details, count(whole), count(out))


def split(usage: UsageObject, details: InputDetails, whole: int, out: int) -> dict[str, int]:
    """Tokens by type, from a prompt that includes its cached part, or, where `total_tokens` says so, excludes it."""
    read, written = _cache_read(usage, details), _cache_written(usage, details)
    cached = count(read) + count(written)
    excluded = cached > 0 and usage.total_tokens == whole + cached + out
    uncached = whole if excluded else whole - cached
    if uncached < 0:
        raise Reject("inconsistent_usage")
    out_details = usage.completion_tokens_details or usage.output_tokens_details or OutputDetails()
    tokens = {"input": uncached, "output": out}
    if read is not None:
        tokens["cache_read"] = read
    if written is not None:
        tokens |= _lifetimes(written, details.cache_write_tokens_details or details.cache_creation_token_details)
    _move_audio(tokens, details, out_details)
    return tokens


def _cache_read(usage: UsageObject, details: InputDetails) -> int | None:
    names = (details.cached_tokens, usage.cache_read_input_tokens, usage.prompt_cache_hit_tokens)
    return _first((*names, usage.cached_tokens, usage.num_cached_tokens))


def _cache_written(usage: UsageObject, details: InputDetails) -> int | None:
    return _first((details.cache_write_tokens, details.cache_creation_tokens, usage.cache_creation_input_tokens))


def _first(values: tuple[int | None, ...]) -> int | None:
    """The first that is not zero (the same figure stands under several names), else 0 if any is given, else None."""
    given = [count(value) for value in values if value is not None]
    return next(filter(None, given), 0) if given else None


def _lifetimes(written: int, by_lifetime: CacheWrites | None) -> dict[str, int]:
    """Cache writes by lifetime: `cache_write` is the default one and takes what the split does not name."""
    hour = count(by_lifetime.ephemeral_1h_input_tokens) if by_lifetime else 0
    half_day = count(by_lifetime.ttl_12h_tokens) if by_lifetime else 0
    if hour + half_day > written:
        raise Reject("inconsistent_usage")
    tokens = {"cache_write": written - hour - half_day}
    if by_lifetime and by_lifetime.ephemeral_1h_input_tokens is not None:
        tokens["cache_write_1h"] = hour
    return tokens | ({"cache_write_12h": half_day} if half_day else {})


def _move_audio(tokens: dict[str, int], details: InputDetails, out: OutputDetails) -> None:
    """Audio has its own price. Audio that was cached is counted as cached."""
    heard = min(count(details.audio_tokens), tokens["input"])
    spoken = min(count(out.audio_tokens), tokens["output"])
    if heard:
        tokens |= {"input": tokens["input"] - heard, "audio_input": heard}
    if spoken:
        tokens |= {"output": tokens["output"] - spoken, "audio_output": spoken}


def anthropic_tokens(usage: Iteration) -> dict[str, int]:
    """Disjoint tokens of an Anthropic usage object, as it gives them. Rejects `no_usage`, `inconsistent_usage`."""
    if usage.input_tokens is None and usage.output_tokens is None:
        raise Reject("no_usage")
    tokens = {"input": count(usage.input_tokens), "output": count(usage.output_tokens)}
    if usage.cache_read_input_tokens is not None:
        tokens["cache_read"] = count(usage.cache_read_input_tokens)
    split_by = usage.cache_creation
    if usage.cache_creation_input_tokens is not None or split_by is not None:
        parts = split_by or CacheWrites()
        total = count(parts.ephemeral_5m_input_tokens) + count(parts.ephemeral_1h_input_tokens)
        tokens |= _lifetimes(max(total, count(usage.cache_creation_input_tokens)), split_by)
    return tokens


def _further(first: Record, usage: UsageObject) -> list[Record]:
    """Iterations outside the top-level figures (compaction, advisor): of the same request, at their own model."""
    extra = [step for step in usage.iterations or () if step.type != "message"]
    return [
        msgspec.structs.replace(
            first, model=step.model or first.model, tokens=anthropic_tokens(step), requests=0, id=None
        )
        for step in extra
    ]
