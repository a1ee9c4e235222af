"""OpenAI's organization API as its OpenAPI document describes it (github.com/openai/openai-openapi, 2.3.0)."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from tests.collectors.usage.provider_stand_in import (
    DAY,
    LIMITS,
    WIDTHS,
    Query,
    RefusedError,
    StandIn,
    bucketed,
    grouped,
    starts,
    usd,
)

USAGE = "/v1/organization/usage/"
BY = {
    "completions": ("project_id", "user_id", "api_key_id", "model", "batch", "service_tier"),
    "embeddings": ("project_id", "user_id", "api_key_id", "model"),
}
# USD per million tokens, and what they are called on the bill.
PRICES = {"input": "2.50", "cached": "1.25", "written": "3.125", "output": "10"}
WORDS = {"input": "input", "cached": "cached input", "written": "cache writes", "output": "output"}


@dataclass(frozen=True)
class Call:
    """`input` is uncached; `audio_*` are parts of `input`, `cached` and `output`."""

    at: int
    project_id: str = "proj_a"
    api_key_id: str | None = "key_1"
    user_id: str = "user_1"
    model: str = "gpt-5-2025-08-07"
    batch: bool = False
    service_tier: str = "default"
    endpoint: str = "completions"
    input: int = 0
    cached: int = 0
    written: int = 0
    output: int = 0
    audio_in: int = 0
    audio_cached: int = 0
    audio_out: int = 0


class OpenAIStandIn(StandIn):
    key = "sk-admin-standin-7f3a9c0e5b"

    def __init__(self, now: int, calls: Sequence[Call]) -> None:
        self.calls = list(calls)
        self.projects = {"proj_a": "Alpha", "proj_b": "Beta"}
        self.further_costs: list[dict[str, Any]] = []  # {"at", "line_item", "amount", ...}
        super().__init__(now)

    def authorize(self, headers: Any) -> None:
        if headers.get("Authorization") != f"Bearer {self.key}":
            raise RefusedError(401, f"Incorrect API key provided: {headers.get('Authorization')}")

    def report(self, query: Query) -> Any:
        if query.path == "/v1/organization/costs":
            return self._costs(query)
        if query.path == "/v1/organization/projects":
            return self._projects(query)
        endpoint = query.path.removeprefix(USAGE)
        if not query.path.startswith(USAGE) or endpoint not in BY:
            raise RefusedError(404, "unknown endpoint")
        return self._usage(query, endpoint)

    def _usage(self, query: Query, endpoint: str) -> Any:
        filters = ["project_ids[]", "user_ids[]", "api_key_ids[]", "models[]"]
        single = ["start_time", "end_time", "bucket_width", "limit", "page"] + ["batch"] * (endpoint == "completions")
        query.check(single, ["group_by[]", *filters])
        width = query.width()
        by = query.many("group_by[]", BY[endpoint])
        calls = [call for call in self.calls if call.endpoint == endpoint and call.at < self.now]
        by_bucket = bucketed(calls, WIDTHS[width])
        first, end = self._range(query)
        chunk, following = self.page(query, starts(first, end, self.now, WIDTHS[width]), query.limit(*LIMITS[width]))
        return self._page(
            [
                self._bucket(
                    start, WIDTHS[width], [self._result(endpoint, by, *group) for group in grouped(inside, by)]
                )
                for start in chunk
                for inside in [by_bucket.get(start, [])]
            ],
            following,
        )

    def _range(self, query: Query) -> tuple[int, int]:
        start, end = query.one("start_time"), query.one("end_time", str(self.now))
        if not (start.isdecimal() and end.isdecimal()) or int(end) <= int(start):
            raise RefusedError(400, "start_time and end_time are Unix seconds, in this order")
        return int(start), int(end)

    def _page(self, data: list[Any], following: str | None) -> Any:
        return {"object": "page", "data": data, "has_more": following is not None, "next_page": following}

    def _bucket(self, start: int, width: int, results: list[Any]) -> Any:
        return {"object": "bucket", "start_time": start, "end_time": start + width, "results": results}

    def _result(self, endpoint: str, by: Sequence[str], values: tuple[Any, ...], calls: list[Call]) -> Any:
        total = {name: sum(getattr(call, name) for call in calls) for name in ("input", "cached", "written", "output")}
        audio = {n: sum(getattr(call, n) for call in calls) for n in ("audio_in", "audio_cached", "audio_out")}
        whole = total["input"] + total["cached"] + total["written"]
        result = {
            "object": f"organization.usage.{endpoint}.result",
            "input_tokens": whole,
            "num_model_requests": len(calls),
            **dict.fromkeys(BY[endpoint]),
            **dict(zip(by, values, strict=True)),
        }
        if endpoint == "embeddings":
            return result
        return result | {
            "input_cached_tokens": total["cached"],
            "input_cache_write_tokens": total["written"],
            "input_uncached_tokens": total["input"],
            "output_tokens": total["output"],
            "input_text_tokens": total["input"] - audio["audio_in"],
            "input_cached_text_tokens": total["cached"] - audio["audio_cached"],
            "output_text_tokens": total["output"] - audio["audio_out"],
            "input_audio_tokens": audio["audio_in"],
            "input_cached_audio_tokens": audio["audio_cached"],
            "output_audio_tokens": audio["audio_out"],
            "input_image_tokens": 0,
            "input_cached_image_tokens": 0,
            "output_image_tokens": 0,
        }

    def _costs(self, query: Query) -> Any:
        query.check(
            ["start_time", "end_time", "bucket_width", "limit", "page"],
            ["group_by[]", "project_ids[]", "api_key_ids[]", "line_items[]"],
        )
        query.width(["1d"])
        by = query.many("group_by[]", ["project_id", "line_item", "api_key_id"])
        first, end = self._range(query)
        chunk, following = self.page(query, starts(first, end, self.now, DAY), query.limit(7, 180))
        return self._page([self._bucket(day, DAY, list(self._lines(day, by))) for day in chunk], following)

    def lines(self, day: int) -> dict[tuple[str, str], tuple[Decimal, int]]:
        """The bill of a day: (amount, tokens) by project and line item."""
        found: dict[tuple[str, str], tuple[Decimal, int]] = {}
        for call in self.calls:
            if day <= call.at < min(day + DAY, self.now):
                for name, per_mtok in PRICES.items():
                    tokens = getattr(call, name)
                    tier = "priority | " if call.service_tier == "priority" else ""
                    key = call.project_id, f"{tier}{call.model}, {WORDS[name]}"
                    amount, count = found.get(key, (Decimal(0), 0))
                    if tokens:
                        found[key] = amount + usd(tokens, per_mtok), count + tokens
        return found

    def _lines(self, day: int, by: Sequence[str]) -> Any:
        assert set(by) == {"project_id", "line_item"}, "what the stand-in can group by"
        empty = {"object": "organization.costs.result", "api_key_id": None, "quantity": None, "quantity_unit": None}
        for (project, item), (amount, tokens) in self.lines(day).items():
            told = {"project_id": project, "line_item": item, "quantity": tokens, "quantity_unit": "tokens"}
            yield {**empty, **told, "amount": {"value": amount, "currency": "usd"}}
        for line in self.further_costs:
            if line["at"] == day:
                yield {**empty, "project_id": None, **{key: value for key, value in line.items() if key != "at"}}

    def _projects(self, query: Query) -> Any:
        query.check(["limit", "after", "include_archived"], [])
        ids = sorted(self.projects)
        after = query.one("after", "")
        rest = ids[ids.index(after) + 1 :] if after else ids
        chunk = rest[: min(query.limit(20, 100), 1)]  # one a page: the real limit is only an upper bound
        data = [{"id": one, "object": "organization.project", "name": self.projects[one]} for one in chunk]
        return {"object": "list", "data": data, "last_id": chunk[-1] if chunk else None, "has_more": len(rest) > 1}
