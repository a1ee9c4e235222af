"""The project's own log line (`format: llmcost`, docs/usage-log.md).

`FastLine` is what is decoded by the block: plainly good lines only. Anything else about a line (a further token type,
a null, a wrong type) fails there and is read again with `LooseLine`, which tells what is wrong.
"""

import re
from datetime import datetime
from typing import Annotated

import msgspec
from msgspec import Meta, Raw, Struct

from collectors.usage.records import COUNT_LIMIT, Record, Reject, count, instant, labels_of

Count = Annotated[int, Meta(ge=0, lt=COUNT_LIMIT)]
When = Annotated[datetime, Meta(tz=True)] | int | float | None

_TOKEN_TYPE = re.compile(r"[a-z][a-z0-9_]{0,39}")
_MAX_TYPES = 16


class FastTokens(Struct, gc=False, forbid_unknown_fields=True):
    """`False` is a 0 that was not written: the sums need no test, and absent can still be told from 0."""

    input: Count = 0
    cache_read: Count = False
    cache_write: Count = False
    cache_write_1h: Count = False
    output: Count = 0


class FastLine(Struct, gc=False):
    model: Annotated[str, Meta(min_length=1)]
    tokens: FastTokens
    ts: When = None
    provider: str | None = None
    requests: Count = 1
    service_tier: str | None = None
    region: str | None = None
    labels: Raw = Raw(b"null")


class FastLineWithId(FastLine, gc=False):
    id: str | int | None = None


class LooseLine(Struct, gc=False):
    model: str | None = None
    tokens: dict[str, int | None] | None = None
    ts: str | int | float | None = None
    provider: str | None = None
    requests: int | None = None
    service_tier: str | None = None
    region: str | None = None
    labels: Raw = Raw(b"null")
    id: str | int | None = None


_decode = msgspec.json.Decoder(LooseLine).decode


def read(line: bytes) -> list[Record]:
    """The record of a line; rejects it with a reason."""
    row = _decode(line)
    if row.tokens is None:
        raise Reject("no_usage")
    if not row.model:
        raise Reject("no_model")
    requests = 1 if row.requests is None else row.requests
    if not 0 <= requests < COUNT_LIMIT:
        raise Reject("bad_requests")
    return [
        Record(
            at=instant(row.ts),
            model=row.model,
            tokens=_tokens(row.tokens),
            provider=row.provider or "",
            requests=requests,
            service_tier=row.service_tier or "default",
            region=row.region or "",
            labels=labels_of(msgspec.json.decode(row.labels)),
            id=None if row.id is None else str(row.id),
        )
    ]


def _tokens(tokens: dict[str, int | None]) -> dict[str, int]:
    if len(tokens) > _MAX_TYPES or not all(_TOKEN_TYPE.fullmatch(token_type) for token_type in tokens):
        raise Reject("bad_tokens")
    known = {token_type: count(n) for token_type, n in tokens.items() if n is not None}
    return {"input": 0, "output": 0} | known
