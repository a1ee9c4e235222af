"""One log line -> normalised records, or a reason why not: dispatch over the formats. Pure."""

import msgspec

from collectors.usage import litellm, llmcost, responses
from collectors.usage.detect import format_of
from collectors.usage.records import Format, Record, Reject


def read(line: bytes, declared: Format) -> list[Record]:
    """The records of one line; with `declared` `auto` each line is read by its own shape. Raises `Reject`."""
    try:
        chosen = declared if declared != "auto" else format_of(line)
        if chosen is None:
            raise Reject("unknown_format")
        return _read(line, chosen, declared)
    except msgspec.ValidationError as error:
        raise Reject(_reason(str(error))) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Reject("malformed") from None


def _read(line: bytes, chosen: Format, declared: Format) -> list[Record]:
    if chosen == "llmcost":
        return llmcost.read(line)
    if chosen == "litellm":
        return litellm.read(line)
    if declared == "openai" or declared == "anthropic":
        return responses.read(line, declared)
    return responses.read(line)


def _reason(error: str) -> str:
    """msgspec names the field at the end: "Expected `int`, got `str` - at `$.usage.input_tokens`"."""
    _, _, path = error.partition(" - at `$")
    if "tokens" in path or "usage" in path:
        return "bad_tokens"
    if any(name in path for name in (".ts", "time", "Time", "created")):
        return "bad_timestamp"
    if "requests" in path:
        return "bad_requests"
    if "model" in path:
        return "no_model"
    return "bad_field" if path.strip("`") else "malformed"
