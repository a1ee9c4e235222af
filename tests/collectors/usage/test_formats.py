import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from collectors.usage import formats
from collectors.usage.detect import Format, format_of
from collectors.usage.records import Record, Reject

FIXTURES = Path(__file__).parents[2] / "fixtures" / "usage_log"


def read(row: Any, declared: Format = "auto") -> list[Record]:
    return formats.read(row if isinstance(row, bytes) else json.dumps(row).encode(), declared)


def reason(row: Any, declared: Format = "auto") -> str:
    with pytest.raises(Reject) as error:
        read(row, declared)
    return error.value.reason


def test_llmcost_line_of_the_contract() -> None:
    row = {
        "ts": "2026-11-20T12:00:00Z",
        "id": "req-1",
        "provider": "acme",
        "model": "writer-7b",
        "tokens": {"input": 900, "cache_read": 100, "output": 50, "audio_input": 7},
        "requests": 1,
        "service_tier": "default",
        "region": "",
        "status": "ok",
        "labels": {"team": "support"},
    }
    (record,) = read(row)
    assert record.at == 1795176000 and record.id == "req-1" and record.labels == (("team", "support"),)
    assert record.tokens == {"input": 900, "cache_read": 100, "output": 50, "audio_input": 7}
    assert record.prompt == 1007


def test_the_prompt_is_all_that_is_not_output() -> None:
    tokens = {"input": 1, "cache_write_12h": 2, "image_cache_read": 4, "output": 8, "output_reasoning": 16}
    (record,) = read({"model": "m", "tokens": tokens | {"image_output": 32, "video_output": 64}})
    assert record.prompt == 7


OPENAI = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1789950000, "model": "gpt-5"}


def test_openai_input_includes_cached_tokens() -> None:
    details = {"cached_tokens": 40, "cache_write_tokens": 10}
    usage = {"prompt_tokens": 100, "completion_tokens": 7, "total_tokens": 107, "prompt_tokens_details": details}
    (record,) = read(OPENAI | {"usage": usage})
    assert record.tokens == {"input": 50, "cache_read": 40, "cache_write": 10, "output": 7}
    assert record.prompt == 100 and record.at == 1789950000 and record.family == "openai"


def test_openai_style_that_excludes_cached_tokens_is_seen_from_the_total() -> None:
    usage = {
        "prompt_tokens": 3,
        "completion_tokens": 7,
        "total_tokens": 110,
        "prompt_tokens_details": {"cached_tokens": 100},
    }
    (record,) = read(OPENAI | {"usage": usage})
    assert record.tokens == {"input": 3, "cache_read": 100, "output": 7}


def test_openai_responses_with_lifetimes_and_audio() -> None:
    written = {"ttl_30m_tokens": 20, "ttl_12h_tokens": 5}
    details = {"cached_tokens": 10, "cache_write_tokens": 25, "cache_write_tokens_details": written, "audio_tokens": 4}
    usage = {"input_tokens": 100, "output_tokens": 9, "total_tokens": 109, "input_tokens_details": details}
    usage["output_tokens_details"] = {"reasoning_tokens": 8, "audio_tokens": 2}
    (record,) = read(
        {"id": "r", "object": "response", "created_at": 5, "model": "gpt-5", "service_tier": "flex", "usage": usage}
    )
    assert record.tokens == {
        "input": 61,
        "cache_read": 10,
        "cache_write": 20,
        "cache_write_12h": 5,
        "audio_input": 4,
        "output": 7,
        "audio_output": 2,
    }
    assert record.service_tier == "flex"


def test_anthropic_input_excludes_cached_tokens_and_iterations_of_other_models_are_kept() -> None:
    usage = {
        "input_tokens": 10,
        "cache_read_input_tokens": 1000,
        "cache_creation_input_tokens": 300,
        "cache_creation": {"ephemeral_5m_input_tokens": 200, "ephemeral_1h_input_tokens": 100},
        "output_tokens": 5,
        "service_tier": "standard",
        "iterations": [
            {"type": "message", "input_tokens": 10, "output_tokens": 5},
            {"type": "advisor_message", "model": "claude-opus-4-8", "input_tokens": 70, "output_tokens": 3},
        ],
    }
    message = {"id": "msg_1", "type": "message", "model": "claude-sonnet-5", "usage": usage}
    record, advisor = read({"timestamp": "2026-09-21T00:20:00+00:00", "labels": {"team": "a"}, "response": message})
    assert record.tokens == {"input": 10, "cache_read": 1000, "cache_write": 200, "cache_write_1h": 100, "output": 5}
    assert record.prompt == 1310 and record.at == 1789950000 and record.labels == (("team", "a"),)
    assert (advisor.model, advisor.tokens, advisor.requests) == ("claude-opus-4-8", {"input": 70, "output": 3}, 0)
    assert advisor.at == record.at and advisor.labels == record.labels


def test_batch_output_lines_have_the_batch_tier() -> None:
    body = OPENAI | {"usage": {"prompt_tokens": 1, "completion_tokens": 2}, "service_tier": "default"}
    (record,) = read({"id": "b", "custom_id": "1", "response": {"status_code": 200, "body": body}, "error": None})
    assert record.service_tier == "batch" and record.tokens == {"input": 1, "output": 2} and record.id == "chatcmpl-1"
    message = {"id": "msg_1", "type": "message", "model": "c", "usage": {"input_tokens": 1, "output_tokens": 2}}
    (record,) = read({"custom_id": "1", "result": {"type": "succeeded", "message": message}})
    assert record.service_tier == "batch" and record.family == "anthropic"


def test_streams_count_only_the_final_usage() -> None:
    chunk = OPENAI | {"object": "chat.completion.chunk", "choices": [{"delta": {"content": "x"}}]}
    assert reason(chunk | {"usage": None}) == "no_usage"
    assert reason(chunk | {"usage": {"prompt_tokens": 1, "completion_tokens": 1}}) == "partial_usage"
    (record,) = read(chunk | {"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 4}})
    assert record.tokens["output"] == 4
    start = {"type": "message_start", "message": {"model": "c", "usage": {"input_tokens": 9, "output_tokens": 1}}}
    assert reason(start) == "partial_usage"


def test_litellm_spend_log_rows() -> None:
    rows = (FIXTURES / "litellm_spend_logs.jsonl").read_bytes().splitlines()
    assert {format_of(row) for row in rows} == {"litellm"}
    (first,) = read(rows[0])
    assert first.tokens == {"input": 120, "cache_read": 4000, "cache_write": 0, "output": 350}
    assert first.at == 1789948803 and first.provider == "anthropic" and first.id == "chatcmpl-1"
    assert first.labels == (("team", "search"),)
    (failed,) = read(rows[1])
    assert failed.tokens == {"input": 0, "output": 0} and failed.requests == 1
    assert reason(rows[2]) == "gateway_cache_hit"


def test_litellm_payload() -> None:
    usage = {"cache_read_input_tokens": 50, "cache_creation_input_tokens": 30}
    usage["cache_creation"] = {"ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 20}  # type: ignore[assignment]
    row = {
        "id": "x",
        "litellm_call_id": "c",
        "call_type": "acompletion",
        "startTime": 1789949990.0,
        "endTime": 1789950000.9,
        "model": "together_ai/meta-llama/Llama-3.1-8B",
        "custom_llm_provider": "together_ai",
        "prompt_tokens": 100,
        "completion_tokens": 5,
        "total_tokens": 105,
        "end_user": "somebody",
        "metadata": {"usage_object": usage, "user_api_key_alias": "key-1", "user_api_key_project_id": "p"},
    }
    (record,) = read(row)
    assert record.tokens == {"input": 20, "cache_read": 50, "cache_write": 10, "cache_write_1h": 20, "output": 5}
    assert (record.provider, record.model, record.at) == ("together", "meta-llama/Llama-3.1-8B", 1789950000)
    assert record.labels == (("key_alias", "key-1"), ("project", "p"))
    assert reason(row | {"call_type": "aget_responses"}) == "reread"
    older = row | {"prompt_tokens": 20}  # an older row: cached tokens are not in the prompt, which the total shows
    (record,) = read(older | {"total_tokens": 105})
    assert record.tokens["input"] == 20


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (b"not json", "malformed"),
        (b'{"model": "m", "tokens": {"input": 1}', "malformed"),
        (b"[1, 2]", "malformed"),
        ({"hello": "world"}, "unknown_format"),
        ({"ts": 1, "tokens": {"input": 1}}, "no_model"),
        ({"ts": 1, "model": "m", "tokens": {"input": -1}}, "bad_tokens"),
        ({"ts": 1, "model": "m", "tokens": {"input": 10**12}}, "bad_tokens"),
        ({"ts": 1, "model": "m", "tokens": {"input": 1.5}}, "bad_tokens"),
        ({"ts": 1, "model": "m", "tokens": {"input": "1"}}, "bad_tokens"),
        ({"ts": 1, "model": "m", "tokens": {"Input tokens": 1}}, "bad_tokens"),
        ({"ts": 1, "model": "m", "tokens": {"input": 1}, "requests": -1}, "bad_requests"),
        ({"ts": "2026-09-21T00:00:00", "model": "m", "tokens": {"input": 1}}, "bad_timestamp"),
        ({"ts": "yesterday", "model": "m", "tokens": {"input": 1}}, "bad_timestamp"),
        ({"ts": 1789950000000, "model": "m", "tokens": {"input": 1}}, "bad_timestamp"),
        ({"ts": 1, "model": "m", "tokens": {"input": 1}, "region": 5}, "bad_field"),
        (OPENAI | {"usage": {"prompt_tokens": -1}}, "bad_tokens"),
        (OPENAI | {"usage": {"prompt_tokens": 1, "prompt_tokens_details": {"cached_tokens": 5}}}, "inconsistent_usage"),
        (OPENAI | {"usage": {}}, "no_usage"),
        ({"usage": {"prompt_tokens": 1}}, "no_model"),
    ],
)
def test_unusable_lines_have_a_reason(row: Any, expected: str) -> None:
    assert reason(row) == expected


def test_real_usage_objects_agree_with_genai_prices() -> None:
    """Our disjoint types add up to the inclusive figures of one of the extractors that genai-prices tries on the object
    (which one fits depends on the provider, which the object does not name)."""
    families: Counter[str] = Counter()
    with gzip.open(FIXTURES / "usage_objects.jsonl.gz") as rows:
        for row in map(json.loads, rows):
            if row["body"]["usage"].get("speed") is None and (
                expected := {_sums(e["usage"]) for e in row["extracted"]}
            ):
                record = read(row["body"])[0]
                families[record.family] += 1
                out = record.tokens["output"] + record.tokens.get("audio_output", 0)
                written = sum(n for kind, n in record.tokens.items() if kind.startswith("cache_write"))
                assert (record.prompt, out, record.tokens.get("cache_read", 0), written) in expected, row
    assert families["openai"] > 400 and families["anthropic"] > 150, families


def _sums(usage: dict[str, int]) -> tuple[int, ...]:
    return tuple(
        usage.get(name, 0) for name in ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens")
    )


def test_reasoning_is_part_of_the_output_in_every_recorded_object() -> None:
    """The identity the parser rests on, checked on recorded objects: total = prompt + output, reasoning inside."""
    checked = 0
    with gzip.open(FIXTURES / "usage_objects.jsonl.gz") as rows:
        for usage in (json.loads(row)["body"]["usage"] for row in rows):
            details = usage.get("completion_tokens_details") or usage.get("output_tokens_details") or {}
            if details.get("reasoning_tokens") and "total_tokens" in usage:
                prompt = usage.get("prompt_tokens", usage.get("input_tokens"))
                assert usage["total_tokens"] == prompt + usage.get("completion_tokens", usage.get("output_tokens"))
                checked += 1
    assert checked > 100


def test_recorded_iterations_outside_the_top_level_are_those_that_are_not_messages() -> None:
    seen = 0
    with gzip.open(FIXTURES / "usage_objects.jsonl.gz") as rows:
        for usage in (json.loads(row)["body"]["usage"] for row in rows):
            messages = [step for step in usage.get("iterations", ()) if step["type"] == "message"]
            if messages:
                seen += 1
                for name in ("input_tokens", "output_tokens"):
                    assert sum(step[name] for step in messages) == usage[name]
    assert seen == 6
