"""docs/usage-log.md against the reader: its line is read, its keys, formats and reasons are those of the code."""

import ast
import json
import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, get_args

import pytest

from collectors.usage import aggregate, cold, duplicates, files, formats, litellm, llmcost, reading, records, responses
from collectors.usage.records import Format
from tests.collectors.usage.log_follower import NOW, Follower, line

DOC = (Path(__file__).parents[3] / "docs" / "usage-log.md").read_text(encoding="utf-8")
(EXAMPLE,) = re.findall(r"^```json\n(.*)\n```$", DOC, re.M)


def table(first: str) -> dict[str, str]:
    """The rows of the table whose first column is called that: what is in it -> the last column."""
    (rows,) = re.findall(rf"^\| {first} \|.*\n\|[-|]+\n((?:\|.*\n)+)", DOC, re.M)
    return {re.findall(r"`(\w+)`", row)[0]: row.rpartition(" | ")[2] for row in rows.splitlines()}


def test_the_documented_line_is_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "usage.jsonl"
    path.write_text(EXAMPLE + "\n")
    row = json.loads(EXAMPLE)
    at = int(datetime.fromisoformat(row["ts"]).timestamp())
    for declared in ("auto", "llmcost"):
        log = Follower(path, format=declared).read(at)
        (usage,) = log.usage
        assert not log.rejected and usage.slot <= at < usage.slot + 300
        named = ("provider", "model", "tokens", "requests", "service_tier", "region")
        assert {name: getattr(usage, name) for name in named} == {name: row[name] for name in named}
        assert dict(usage.labels) == row["labels"]


def test_every_key_is_documented_and_the_reverse() -> None:
    keys = set(llmcost.LooseLine.__struct_fields__)
    assert set(table("key")) == set(json.loads(EXAMPLE)) == keys == set(llmcost.FastLineWithId.__struct_fields__)


def test_a_line_needs_what_the_document_says_and_no_more() -> None:
    required = json.loads(EXAMPLE)
    for key in set(required) - {"model", "tokens"}:
        del required[key]
    (record,) = formats.read(json.dumps(required).encode(), "llmcost")
    assert (record.at, record.requests, record.service_tier) == (None, 1, "default")
    assert (record.provider, record.region, record.labels, record.id) == ("", "", (), None)
    nulls = required | dict.fromkeys(set(json.loads(EXAMPLE)) - set(required)) | {"status": "failed"}
    assert formats.read(json.dumps(nulls).encode(), "auto") == [record]
    for key in required:
        with pytest.raises(records.Reject):
            formats.read(json.dumps(required | {key: None}).encode(), "llmcost")


def test_every_form_of_a_time_is_the_same_instant() -> None:
    forms = [form for form in re.findall(r"`([^`]+)`", table("key")["ts"]) if form[-1] in '"05']
    rows = [json.loads(EXAMPLE) | {"ts": json.loads(form)} for form in forms]
    assert len(forms) == 4
    assert len({formats.read(json.dumps(row).encode(), "llmcost")[0].at for row in rows}) == 1


def test_every_format_is_documented_and_the_reverse() -> None:
    assert list(table("format")) == list(get_args(Format))


# A line of each reason. They are read as one file, after `line(1)`.
UNCOUNTED: dict[str, Any] = {
    "malformed": b"[]",
    "unknown_format": {"hello": "world"},
    "no_usage": {"object": "error", "model": "m"},
    "partial_usage": {"type": "message_delta", "model": "m", "usage": {"output_tokens": 3}},
    "no_model": line(1, model=...),
    "no_timestamp": line(1, ts=...),
    "bad_timestamp": line(1, ts=NOW * 1000),
    "future_timestamp": line(1, ts=NOW + 3700),
    "bad_tokens": line(1, tokens={"input": 1.5}),
    "bad_requests": line(1, requests=-1),
    "bad_field": line(1, region=5),
    "inconsistent_usage": {
        "created": NOW,
        "model": "m",
        "usage": {"prompt_tokens": 1, "prompt_tokens_details": {"cached_tokens": 5}},
    },
    "line_too_long": b'{"x": "%s"}' % (b"a" * 400_000),
    "gateway_cache_hit": {"litellm_call_id": "1", "model": "m", "cache_hit": True, "prompt_tokens": 1},
    "reread": {"litellm_call_id": "1", "model": "m", "call_type": "aget_responses", "prompt_tokens": 1},
    "duplicate": line(1),
    "beyond_duplicate_horizon": line(2, ts=NOW - 7 * 3600),
}


def test_every_documented_reason_is_given_by_the_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(table("reason")) == list(UNCOUNTED)
    monkeypatch.setattr(files, "MAX_LINE", 300_000)
    path = tmp_path / "usage.jsonl"
    rows = [row.strip() if isinstance(row, bytes) else json.dumps(row).encode() for row in UNCOUNTED.values()]
    path.write_bytes(b"\n".join([line(1).strip(), *rows, b""]))
    log = Follower(path, duplicates="possible").read()
    assert log.rejected == dict.fromkeys(UNCOUNTED, 1)
    # The first line, and the one of which the document says that it is counted.
    assert log.requests == 2 and "**Is counted**" in table("reason")["beyond_duplicate_horizon"]


def test_every_reason_in_the_code_is_documented() -> None:
    readers = (aggregate, cold, duplicates, formats, litellm, llmcost, reading, records, responses)
    found = {reason for module in readers for reason in reasons(ast.parse(Path(module.__file__ or "").read_text()))}
    assert found == set(table("reason"))


def reasons(tree: ast.AST) -> Iterator[str]:
    """In `Reject(reason)`, `rejected[reason]`, `reason = ...`, what `_reason` returns, and the counts of ids."""
    for node in ast.walk(tree):
        match node:
            case (
                ast.Call(func=ast.Name(id="Reject"), args=[value])
                | ast.Subscript(value=ast.Attribute(attr="rejected"), slice=value)
                | ast.Assign(targets=[ast.Name(id="reason")], value=value)
            ):
                yield from texts(value)
            case ast.FunctionDef(name="_reason", body=body):
                yield from (text for each in body for text in texts_returned(each))
            case ast.Assign(targets=[ast.Name(id="counts")], value=ast.Dict(keys=keys)):
                yield from (text for key in keys if key for text in texts(key))


def texts_returned(statement: ast.stmt) -> Iterator[str]:
    for node in ast.walk(statement):
        if isinstance(node, ast.Return) and node.value is not None:
            yield from texts(node.value)


def texts(value: ast.expr) -> Iterator[str]:
    """The texts that an expression may be."""
    if isinstance(value, ast.IfExp):
        yield from (*texts(value.body), *texts(value.orelse))
    elif isinstance(value, ast.Constant) and isinstance(value.value, str):
        yield value.value
