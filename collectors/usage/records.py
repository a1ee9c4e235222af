"""One usage record of a log line, normalised: what every format is mapped onto. Pure."""

from datetime import UTC, datetime
from typing import Literal

import msgspec

from collectors.terms import Labels

Format = Literal["auto", "llmcost", "openai", "anthropic", "litellm"]

COUNT_LIMIT = 10**12  # exclusive; no line is that many tokens, and sums of such nonsense would not fit the ledger
LATEST = 4_102_444_800  # exclusive: 2100-01-01. Catches epoch milliseconds and microseconds
MAX_LABELS = 16
MAX_LABEL_LENGTH = 256


class Reject(ValueError):
    """A line that is not a usable record. `reason` is a label value: few, stable, free of content."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Record(msgspec.Struct, gc=False):
    """`at` is epoch seconds, None if the line does not say. `tokens` are disjoint types. `id` is the request id."""

    at: int | None
    model: str
    tokens: dict[str, int]
    provider: str = ""
    requests: int = 1
    service_tier: str = "default"
    region: str = ""
    labels: Labels = ()
    id: str | None = None
    family: str = ""  # the provider that a record of this shape comes from if neither the line nor the settings say

    @property
    def prompt(self) -> int:
        """Tokens of the whole prompt, whose length decides the price band: uncached, cached and cache writes."""
        return sum(n for token_type, n in self.tokens.items() if "output" not in token_type)


def instant(value: str | float | None, naive_is_utc: bool = False) -> int | None:
    """Epoch seconds (rounded down) of ISO 8601 with a zone, or of a number of epoch seconds; None stays None.

    Rejects `bad_timestamp`: unreadable, without a zone (unless `naive_is_utc`), before 1970 or after 2099.
    """
    if value is None:
        return None
    if isinstance(value, str):
        value = _parsed(value, naive_is_utc).timestamp()
    if not 0 <= value < LATEST:
        raise Reject("bad_timestamp")
    return int(value)


def _parsed(text: str, naive_is_utc: bool) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise Reject("bad_timestamp") from None
    if moment.tzinfo is None:
        if not naive_is_utc:
            raise Reject("bad_timestamp")
        moment = moment.replace(tzinfo=UTC)
    return moment


def count(value: int | None) -> int:
    """`value` as a token count, None as 0. Rejects `bad_tokens`: negative, or not below 10^12."""
    if value is None:
        return 0
    if not 0 <= value < COUNT_LIMIT:
        raise Reject("bad_tokens")
    return value


def labels_of(raw: object) -> Labels:
    """Labels from a JSON object: at most 16 texts, numbers and booleans, cut at 256 characters; others are left out."""
    if not isinstance(raw, dict):
        return ()
    kept = (
        (str(k), _text(v)) for k, v in sorted(raw.items()) if k and v is not None and isinstance(v, str | int | float)
    )
    return tuple(pair for pair in kept if pair[1])[:MAX_LABELS]


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)[:MAX_LABEL_LENGTH]
