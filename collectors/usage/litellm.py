"""LiteLLM's logs: StandardLoggingPayload objects, and rows of the LiteLLM_SpendLogs table as JSON.

Field names: litellm/types/utils.py (StandardLoggingPayload) and schema.prisma (LiteLLM_SpendLogs) of
github.com/BerriAI/litellm. `prompt_tokens` includes cache reads and writes; rows of before mid-2025 may exclude them,
which `total_tokens` shows. Times without a zone are UTC.
"""

import msgspec
from msgspec import Struct

from collectors.records import Labels
from collectors.usage.records import Record, Reject, count, instant, labels_of
from collectors.usage.responses import InputDetails, UsageObject, split, tier_name

# LiteLLM's provider names -> the ids of the price book (genai-prices). Others are the same.
_PROVIDERS = {
    "fireworks_ai": "fireworks",
    "together_ai": "together",
    "bedrock": "aws",
    "bedrock_converse": "aws",
    "vertex_ai": "google",
    "vertex_ai_beta": "google",
    "gemini": "google",
    "azure_ai": "azure",
    "azure_text": "azure",
    "xai": "x-ai",
    "text-completion-openai": "openai",
}

# Calls that read a stored response or batch again and repeat its usage (github.com/BerriAI/litellm/issues/17814).
_REREADS = {"get_responses", "aget_responses", "retrieve_batch", "aretrieve_batch"}


class Metadata(Struct, gc=False):
    usage_object: UsageObject | None = None
    user_api_key_alias: str | None = None
    user_api_key_team_alias: str | None = None
    user_api_key_team_id: str | None = None
    user_api_key_project_alias: str | None = None
    user_api_key_project_id: str | None = None


class Breakdown(Struct, gc=False):
    service_tier: str | None = None


class Line(Struct, gc=False):
    id: str | None = None
    request_id: str | None = None
    litellm_call_id: str | None = None
    call_type: str | None = None
    cache_hit: bool | str | None = None
    startTime: str | int | float | None = None
    endTime: str | int | float | None = None
    model: str | None = None
    custom_llm_provider: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    metadata: Metadata | str | None = None
    team_id: str | None = None
    cost_breakdown: Breakdown | None = None


_decode = msgspec.json.Decoder(Line).decode
_decode_metadata = msgspec.json.Decoder(Metadata).decode


def read(line: bytes) -> list[Record]:
    """The record of a line; rejects it with a reason (`gateway_cache_hit`, `reread`: no provider bills it)."""
    row = _decode(line)
    if str(row.cache_hit).lower() == "true":
        raise Reject("gateway_cache_hit")
    if row.call_type in _REREADS:
        raise Reject("reread")
    if not row.model:
        raise Reject("no_model")
    metadata = _decode_metadata(row.metadata) if isinstance(row.metadata, str) else row.metadata or Metadata()
    provider = row.custom_llm_provider or ""
    return [
        Record(
            at=instant(row.endTime if row.endTime is not None else row.startTime, naive_is_utc=True),
            model=row.model.removeprefix(f"{provider}/"),
            tokens=_tokens(row, metadata.usage_object or UsageObject()),
            provider=_PROVIDERS.get(provider, provider),
            service_tier=tier_name(row.cost_breakdown.service_tier if row.cost_breakdown else None),
            labels=_labels(row, metadata),
            id=row.id or row.request_id or row.litellm_call_id,
        )
    ]


def _tokens(row: Line, usage: UsageObject) -> dict[str, int]:
    prompt = row.prompt_tokens if row.prompt_tokens is not None else usage.prompt_tokens
    out = row.completion_tokens if row.completion_tokens is not None else usage.completion_tokens
    if prompt is None and out is None:
        raise Reject("no_usage")
    if row.total_tokens is not None:
        usage.total_tokens = row.total_tokens
    details = usage.prompt_tokens_details or InputDetails()
    if details.cache_creation_token_details is None:
        details.cache_creation_token_details = usage.cache_creation
    return split(usage, details, count(prompt), count(out))


def _labels(row: Line, metadata: Metadata) -> Labels:
    """Bounded sets only: end users, sessions and request tags would make a series each."""
    return labels_of(
        {
            "team": metadata.user_api_key_team_alias or metadata.user_api_key_team_id or row.team_id,
            "key_alias": metadata.user_api_key_alias,
            "project": metadata.user_api_key_project_alias or metadata.user_api_key_project_id,
        }
    )
