"""Anthropic's Admin API: tokens by minute and daily cost.

Fields and limits: platform.claude.com/docs, Usage and Cost API (`usage_report/messages` and `cost_report`). Token
counts are disjoint as they come; `output` includes thinking. There is no count of requests. Amounts are decimal
strings in cents. What the priority tier costs is not in the cost report, though its tokens are in the usage report.
"""

import logging
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from time import sleep
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from collectors import Context
from collectors.kinds import COLLECTORS
from collectors.records import DAY, HOUR, Charge, Labels, Window
from collectors.usage.provider_collect import (
    EXACT,
    ProviderCollector,
    ProviderSettings,
    Reading,
    Series,
    is_money,
    labels_of,
)
from collectors.usage.provider_days import Span, day_start
from collectors.usage.provider_http import AdminApi
from collectors.usage.provider_pages import BucketPage, decoded, named, pages, within
from collectors.usage.records import Reject, count
from collectors.usage.responses import tier_name

BASE_URL = "https://api.anthropic.com"
VERSION = "2023-06-01"
USAGE_PATH = "/v1/organizations/usage_report/messages"
COST_PATH = "/v1/organizations/cost_report"
# List of names -> how it is asked for.
NAME_LISTS = {
    "/v1/organizations/workspaces": [("limit", "100"), ("include_archived", "true")],
    "/v1/organizations/api_keys": [("limit", "100")],
}
DIMENSIONS = ("api_key_id", "workspace_id", "model", "service_tier", "context_window", "inference_geo")
PERMISSION = "an Admin API key (sk-ant-admin...) of the organization; individual accounts have none"
SETTLED_AFTER = 2 * DAY
"""Data appears within minutes, but may be revised for days: two UTC days are taken as still open."""
MOST_COST_DAYS = 31
NO_WORKSPACE = "default"
"""What the default workspace, which has no id, is called in labels and tags."""
UNBILLED_TIERS = COLLECTORS["anthropic"].unbilled_tiers

# `token_type` of a cost line -> token type.
TOKEN_TYPES = {
    "uncached_input_tokens": "input",
    "output_tokens": "output",
    "cache_read_input_tokens": "cache_read",
    "cache_creation.ephemeral_5m_input_tokens": "cache_write",
    "cache_creation.ephemeral_1h_input_tokens": "cache_write_1h",
}
Instant = Annotated[datetime, Meta(tz=True)]
_NO_REGION = {"", "global", "not_available"}
_WINDOW = re.compile(r"(\d+)(k|M|)-\d+(?:k|M|)")
_UNITS = {"": 1, "k": 1000, "M": 1_000_000}

log = logging.getLogger("collectors.usage.anthropic")


@dataclass(frozen=True, slots=True)
class AnthropicSettings(ProviderSettings):
    """`kind: anthropic`."""

    kind: Literal["anthropic"]
    base_url: str = BASE_URL


class CacheCreation(Struct, gc=False):
    ephemeral_5m_input_tokens: int | None = None
    ephemeral_1h_input_tokens: int | None = None


class Result(Struct, gc=False):
    uncached_input_tokens: int | None = None
    cache_creation: CacheCreation | None = None
    cache_read_input_tokens: int | None = None
    output_tokens: int | None = None
    api_key_id: str | None = None
    workspace_id: str | None = None
    model: str | None = None
    service_tier: str | None = None
    context_window: str | None = None
    inference_geo: str | None = None


class Bucket(Struct, gc=False):
    starting_at: Instant
    ending_at: Instant
    results: list[Result]


class UsagePage(BucketPage, gc=False, kw_only=True):
    data: list[Bucket]


class Cost(Struct, gc=False):
    amount: Decimal | None = None
    currency: str = "USD"
    cost_type: str | None = None
    description: str | None = None
    model: str | None = None
    token_type: str | None = None
    service_tier: str | None = None
    context_window: str | None = None
    inference_geo: str | None = None
    workspace_id: str | None = None


class CostBucket(Struct, gc=False):
    starting_at: Instant
    ending_at: Instant
    results: list[Cost]


class CostPage(BucketPage, gc=False, kw_only=True):
    data: list[CostBucket]


_usage_page = msgspec.json.Decoder(UsagePage)
_cost_page = msgspec.json.Decoder(CostPage)


class AnthropicSource:
    """What `ProviderCollector` asks of Anthropic."""

    provider = "anthropic"

    def __init__(self, api: AdminApi) -> None:
        self._api = api
        self._told: set[str] = set()

    def probe(self, now: int) -> None:
        asked = [("starting_at", rfc3339(day_start(now - DAY))), ("bucket_width", "1d"), ("limit", "1")]
        decoded(_usage_page, self._api.get(USAGE_PATH, asked), USAGE_PATH)

    def names(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for path, asked in NAME_LISTS.items():
            found |= named(self._api.get, path, asked, key="after_id")
        return found

    def usage(self, span: Span, limit: int, names: Mapping[str, str]) -> Iterator[Reading | Reject]:
        asked = [
            ("starting_at", rfc3339(span.window.start)),
            ("ending_at", rfc3339(span.window.end)),
            ("bucket_width", "1h" if span.width == HOUR else "1m"),
            ("limit", str(limit)),
            *(("group_by[]", dimension) for dimension in DIMENSIONS),
        ]
        found = (
            (_window(bucket.starting_at, bucket.ending_at), bucket.results)
            for page in pages(self._api.get, USAGE_PATH, asked, _usage_page)
            for bucket in page.data
        )
        for bucket, results in within(found, span.window, span.width, USAGE_PATH):
            for result in results:
                yield self._reading(bucket, result, names)

    def _reading(self, bucket: Window, result: Result, names: Mapping[str, str]) -> Reading | Reject:
        if not result.model:
            return Reject("no_model")
        try:
            told = tokens(result)
        except Reject as error:
            return error
        tier = tier_name(result.service_tier)
        if tier in UNBILLED_TIERS and tier not in self._told:
            self._told.add(tier)
            log.warning("there is usage at the %s tier: Anthropic's cost report does not say what it costs", tier)
        band = band_of(result.context_window)
        series = Series(
            model=result.model,
            service_tier=tier,
            labels=_labels(names, result.workspace_id, result.api_key_id),
            region=_region(result.inference_geo),
            band=band or 0,
            band_known=band is not None,
        )
        return Reading(bucket, series, told)

    def charges(self, window: Window, now: int, names: Mapping[str, str]) -> Iterator[Charge | Reject]:
        asked = [
            ("starting_at", rfc3339(window.start)),
            ("bucket_width", "1d"),
            ("limit", str(min(MOST_COST_DAYS, window.seconds // DAY))),
            ("group_by[]", "workspace_id"),
            ("group_by[]", "description"),
        ]
        found = (
            (_window(bucket.starting_at, bucket.ending_at), bucket.results)
            for page in pages(self._api.get, COST_PATH, asked, _cost_page)
            for bucket in page.data
        )
        for day, costs in within(found, window, DAY, COST_PATH):
            for cost in costs:
                yield _charge(day, cost, names, estimated=now < day.end + SETTLED_AFTER)


def _charge(day: Window, cost: Cost, names: Mapping[str, str], estimated: bool) -> Charge | Reject:
    if not is_money(cost.amount):
        return Reject("no_amount")
    amount = cost.amount.scaleb(-2, EXACT)  # cents
    return Charge(
        window=day,
        category="Usage",
        currency=cost.currency.upper(),
        billed_cost=amount,
        effective_cost=amount,
        component="tokens" if cost.cost_type == "tokens" else "other",
        provider=AnthropicSource.provider,
        service="Claude API",
        service_category="AI and Machine Learning",
        sku=cost.description or cost.cost_type or "",
        region=_region(cost.inference_geo),
        account=cost.workspace_id or "",
        description=cost.description or "",
        tags=_tags(cost, _labels(names, cost.workspace_id, None)),
        estimated=estimated,
    )


def _tags(cost: Cost, labels: Labels) -> Labels:
    token_type = cost.token_type or ""
    found = {
        "model": cost.model,
        "token_type": TOKEN_TYPES.get(token_type, token_type),
        "service_tier": cost.service_tier and tier_name(cost.service_tier),
        "context_window": cost.context_window,
        "cost_type": cost.cost_type,
    }
    return tuple(sorted({**dict(labels), **{key: value for key, value in found.items() if value}}.items()))


def _labels(names: Mapping[str, str], workspace: str | None, key: str | None) -> Labels:
    """Labels of a row; traffic of the Workbench has no key."""
    return labels_of(names, {"workspace": workspace or NO_WORKSPACE, "key": key})


def tokens(result: Result) -> dict[str, int]:
    """Disjoint tokens of a result. Rejects `bad_tokens`."""
    written = result.cache_creation or CacheCreation()
    return {
        "input": count(result.uncached_input_tokens),
        "cache_read": count(result.cache_read_input_tokens),
        "cache_write": count(written.ephemeral_5m_input_tokens),
        "cache_write_1h": count(written.ephemeral_1h_input_tokens),
        "output": count(result.output_tokens),
    }


def band_of(context_window: str | None) -> int | None:
    """The exclusive lower edge, in tokens, of a window like `200k-1M`; None if it does not tell."""
    told = _WINDOW.fullmatch(context_window or "")
    return int(told[1]) * _UNITS[told[2]] if told else None


def _region(geo: str | None) -> str:
    return "" if geo is None or geo in _NO_REGION else geo


def rfc3339(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _window(start: datetime, end: datetime) -> Window:
    since = int(start.timestamp())
    return Window(since, max(since, int(end.timestamp())))


class Anthropic(ProviderCollector):
    Settings = AnthropicSettings

    def __init__(self, settings: AnthropicSettings, context: Context, pause: Callable[[float], None] = sleep) -> None:
        api = AdminApi(settings.base_url, settings.admin_key_file, _headers, PERMISSION, pause)
        super().__init__(settings, AnthropicSource(api), api)


def _headers(key: str) -> Mapping[str, str]:
    return {"x-api-key": key, "anthropic-version": VERSION}
