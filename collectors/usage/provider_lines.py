"""What a line of OpenAI's costs is about. Pure.

`line_item` is free text. Seen: `[priority | ]<model>, (input|output|cached input|cache writes)[, long context]`, where
the model may end in a modality (`gpt-audio audio, input`), and names of what is not billed by token
(`web search tool calls`). What does not fit is kept whole, as a line that bills no known token type.
"""

from dataclasses import dataclass

# The words of a line -> token type (text); another modality has types of its own: `audio_input`, `audio_cache_read`.
TOKEN_WORDS = {
    "input": "input",
    "output": "output",
    "cached input": "cache_read",
    "cache writes": "cache_write",
    "cache write": "cache_write",
    "input_tokens": "input",
    "output_tokens": "output",
    "cached_input_tokens": "cache_read",
    "input_cached_tokens": "cache_read",
    "input_cache_write_tokens": "cache_write",
}
MODALITIES = ("text", "audio", "image")
SERVICE_TIERS = frozenset({"priority", "batch", "flex", "scale"})
TOKEN_UNITS = frozenset({"tokens", "1000_tokens"})


@dataclass(frozen=True, slots=True)
class Line:
    """A line that bills tokens of `model`. `qualifiers` are further words as they stand, such as `long context`."""

    model: str
    token_type: str
    service_tier: str = ""
    qualifiers: tuple[str, ...] = ()


def parse(line_item: str) -> Line | None:
    """The tokens that a line bills, or None if it cannot be told that it bills any."""
    head, bar, rest = line_item.partition(" | ")
    tier = head.strip().lower() if bar else ""
    model, *words = (word.strip() for word in (rest if bar else head).split(", "))
    token_type = TOKEN_WORDS.get(words[0].lower()) if words else None
    if token_type is None or not model or (bar and tier not in SERVICE_TIERS):
        return None
    stem, _, modality = model.rpartition(" ")
    if stem and modality in MODALITIES:
        model = stem
        token_type = token_type if modality == "text" else f"{modality}_{token_type}"
    tiers = [word.lower() for word in words[1:] if word.lower() in SERVICE_TIERS]
    qualifiers = tuple(word for word in words[1:] if word.lower() not in SERVICE_TIERS)
    return Line(model, token_type, tier or next(iter(tiers), ""), qualifiers)
