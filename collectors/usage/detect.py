"""Which format a line has, by the fields that only that format has. Pure."""

from collections import Counter
from collections.abc import Iterable

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from collectors.usage.records import Format


class Shape(Struct, gc=False):
    tokens: Raw | UnsetType = UNSET
    call_type: Raw | UnsetType = UNSET
    litellm_call_id: Raw | UnsetType = UNSET
    custom_llm_provider: Raw | UnsetType = UNSET
    prompt_tokens: Raw | UnsetType = UNSET
    object: Raw | UnsetType = UNSET
    usage: Raw | UnsetType = UNSET
    type: Raw | UnsetType = UNSET
    response: Raw | UnsetType = UNSET
    body: Raw | UnsetType = UNSET
    result: Raw | UnsetType = UNSET
    message: Raw | UnsetType = UNSET


_decode = msgspec.json.Decoder(Shape).decode


def format_of(line: bytes) -> Format | None:
    """The format of one line, None if it has none of them. Raises msgspec.DecodeError for what is not a JSON object.

    `openai` stands for response objects of either provider where the line does not say; they are told apart by their
    usage object.
    """
    shape = _decode(line)
    if UNSET not in (shape.call_type, shape.prompt_tokens) or shape.litellm_call_id is not UNSET:
        return "litellm"
    if shape.tokens is not UNSET and bytes(shape.tokens)[:1] == b"{":
        return "llmcost"
    if shape.usage is not UNSET:
        return "anthropic" if _is(shape.type, b'"message"') else "openai"
    wrapped = (shape.response, shape.body, shape.result, shape.message)
    return "openai" if shape.object is not UNSET or any(x is not UNSET for x in wrapped) else None


def _is(field: Raw | UnsetType, text: bytes) -> bool:
    return field is not UNSET and bytes(field) == text


def detect(lines: Iterable[bytes]) -> Format | None:
    """The most frequent format among the first lines of a file, None if no line has one."""
    seen: Counter[Format] = Counter()
    for line in lines:
        try:
            found = format_of(line)
        except msgspec.DecodeError:
            continue
        if found:
            seen[found] += 1
    return seen.most_common(1)[0][0] if seen else None
