"""Anthropic's Admin API as its documentation describes it (platform.claude.com/docs, Usage and Cost API)."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
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

USAGE = "/v1/organizations/usage_report/messages"
COST = "/v1/organizations/cost_report"
BY = (
    *("api_key_id", "workspace_id", "model", "service_tier", "context_window", "inference_geo"),
    *("account_id", "service_account_id"),
)
TIERS = ("standard", "batch", "priority", "priority_on_demand", "flex", "flex_discount")
BILLED_TIERS = ("standard", "batch")
RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)")
# Field of a call -> (name in both reports, USD per million tokens).
TYPES = {
    "input": ("uncached_input_tokens", "3"),
    "read": ("cache_read_input_tokens", "0.30"),
    "written_5m": ("cache_creation.ephemeral_5m_input_tokens", "3.75"),
    "written_1h": ("cache_creation.ephemeral_1h_input_tokens", "6"),
    "output": ("output_tokens", "15"),
}


@dataclass(frozen=True)
class Call:
    at: int
    api_key_id: str | None = "apikey_1"
    workspace_id: str | None = "wrkspc_1"
    model: str = "claude-sonnet-4-20250514"
    service_tier: str = "standard"
    context_window: str = "0-200k"
    inference_geo: str = "global"
    account_id: str | None = None
    service_account_id: str | None = None
    input: int = 0
    read: int = 0
    written_5m: int = 0
    written_1h: int = 0
    output: int = 0
    searches: int = 0


def instant(text: str) -> int:
    if not RFC3339.fullmatch(text):
        raise RefusedError(400, f"expected an RFC 3339 timestamp, got {text}")
    return int(datetime.fromisoformat(text).timestamp())


def written(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class AnthropicStandIn(StandIn):
    key = "sk-ant-admin01-standin-44e1d2"

    def __init__(self, now: int, calls: Sequence[Call]) -> None:
        self.calls = list(calls)
        self.workspaces = {"wrkspc_1": "Research", "wrkspc_2": "Support"}
        self.keys = {"apikey_1": "ci"}
        super().__init__(now)

    def authorize(self, headers: Any) -> None:
        if headers.get("x-api-key") != self.key or headers.get("Authorization"):
            raise RefusedError(401, f"invalid x-api-key {headers.get('x-api-key')}")
        if headers.get("anthropic-version") != "2023-06-01":
            raise RefusedError(400, "anthropic-version: header is required")

    def error(self, refused: RefusedError) -> Any:
        return {"type": "error", "error": {"type": "invalid_request_error", "message": str(refused)}}

    def report(self, query: Query) -> Any:
        if query.path == USAGE:
            return self._usage(query)
        if query.path == COST:
            return self._cost(query)
        for kind, named in (("workspaces", self.workspaces), ("api_keys", self.keys)):
            if query.path == f"/v1/organizations/{kind}":
                query.check(["limit", "after_id", "before_id"] + ["include_archived"] * (kind == "workspaces"), [])
                return self._named(query, named)
        raise RefusedError(404, "not found")

    def _range(self, query: Query) -> tuple[int, int]:
        start, end = instant(query.one("starting_at")), instant(query.one("ending_at", written(self.now)))
        if end <= start:
            raise RefusedError(400, "ending_at must be after starting_at")
        return start, end

    def _usage(self, query: Query) -> Any:
        query.check(
            ["starting_at", "ending_at", "bucket_width", "limit", "page"],
            *[["group_by[]", "models[]", "workspace_ids[]", "api_key_ids[]", "service_tiers[]", "context_window[]"]],
        )
        width, by = query.width(), query.many("group_by[]", BY)
        by_bucket = bucketed([call for call in self.calls if call.at < self.now], WIDTHS[width])
        chunk, following = self.page(
            query, starts(*self._range(query), self.now, WIDTHS[width]), query.limit(*LIMITS[width])
        )
        return self._page(
            [
                self._bucket(start, WIDTHS[width], [self._result(by, *group) for group in grouped(inside, by)])
                for start in chunk
                for inside in [by_bucket.get(start, [])]
            ],
            following,
        )

    def _page(self, data: list[Any], following: str | None) -> Any:
        return {"data": data, "has_more": following is not None, "next_page": following}

    def _bucket(self, start: int, width: int, results: list[Any]) -> Any:
        return {"starting_at": written(start), "ending_at": written(start + width), "results": results}

    def _result(self, by: Sequence[str], values: tuple[Any, ...], calls: list[Call]) -> Any:
        assert all(call.service_tier in TIERS for call in calls)
        total = {name: sum(getattr(call, name) for call in calls) for name in (*TYPES, "searches")}
        return {
            "uncached_input_tokens": total["input"],
            "cache_creation": {
                "ephemeral_5m_input_tokens": total["written_5m"],
                "ephemeral_1h_input_tokens": total["written_1h"],
            },
            "cache_read_input_tokens": total["read"],
            "output_tokens": total["output"],
            "server_tool_use": {"web_search_requests": total["searches"]},
            **dict.fromkeys(BY),
            **dict(zip(by, values, strict=True)),
        }

    def _cost(self, query: Query) -> Any:
        query.check(["starting_at", "ending_at", "bucket_width", "limit", "page"], ["group_by[]"])
        query.width(["1d"])
        by = query.many("group_by[]", ["workspace_id", "description"])
        assert set(by) == {"workspace_id", "description"}, "what the stand-in can group by"
        chunk, following = self.page(query, starts(*self._range(query), self.now, DAY), query.limit(7, 31))
        return self._page([self._bucket(day, DAY, list(self._lines(day))) for day in chunk], following)

    def lines(self, day: int) -> dict[tuple[Any, ...], Decimal]:
        """USD of a day by workspace, model, tier, context window and token type; None where the line is no token's."""
        found: dict[tuple[Any, ...], Decimal] = {}

        def add(key: tuple[Any, ...], amount: Decimal) -> None:
            if amount:
                found[key] = found.get(key, Decimal(0)) + amount

        for call in self.calls:
            if day <= call.at < min(day + DAY, self.now):
                for name, (token_type, per_mtok) in TYPES.items():
                    if call.service_tier in BILLED_TIERS:  # what the priority tier costs is not in this report
                        half = 2 if call.service_tier == "batch" else 1
                        of = call.workspace_id, call.model, call.service_tier, call.context_window, token_type
                        add(of, usd(getattr(call, name), per_mtok) / half)
                add((call.workspace_id, None, None, None, None), call.searches * Decimal("0.01"))
        return found

    def _lines(self, day: int) -> Any:
        for (workspace, model, tier, window, token_type), amount in self.lines(day).items():
            yield {
                "currency": "USD",
                "amount": str(amount * 100),
                "workspace_id": workspace,
                "description": f"{model} usage - {token_type}" if model else "Web Search Usage",
                "cost_type": "tokens" if model else "web_search",
                "model": model,
                "token_type": token_type,
                "service_tier": tier,
                "context_window": window,
                "inference_geo": None,
            }

    def _named(self, query: Query, named: dict[str, str]) -> Any:
        ids = sorted(named)
        after = query.one("after_id", "")
        rest = ids[ids.index(after) + 1 :] if after else ids
        chunk = rest[: min(query.limit(20, 100), 1)]  # one a page: the real limit is only an upper bound
        ends = {"first_id": chunk[0] if chunk else None, "last_id": chunk[-1] if chunk else None}
        return {"data": [{"id": one, "name": named[one]} for one in chunk], "has_more": len(rest) > 1, **ends}
