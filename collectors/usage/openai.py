"""OpenAI's organization API: tokens by minute and daily costs (`/v1/organization/usage/*`, `/v1/organization/costs`).

Fields and limits: github.com/openai/openai-openapi. `input_tokens` includes cached and cache-write tokens, `output`
includes reasoning. How long a prompt was is not told: its band is the lowest, marked as unknown where prices have
bands. Usage does not always add up to the costs; the costs are what the invoice says.
"""

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from time import sleep
from typing import Literal

import msgspec
from msgspec import Struct

from collectors import Context
from collectors.records import DAY, HOUR, Charge, Labels, Window
from collectors.usage import provider_lines
from collectors.usage.provider_collect import ProviderCollector, ProviderSettings, Reading, Series, is_money, labels_of
from collectors.usage.provider_days import Span, day_start
from collectors.usage.provider_http import AdminApi
from collectors.usage.provider_pages import BucketPage, decoded, named, pages, within
from collectors.usage.records import Reject, count
from collectors.usage.responses import tier_name

BASE_URL = "https://api.openai.com"
USAGE_PATH = "/v1/organization/usage/"
COSTS_PATH = "/v1/organization/costs"
PROJECTS_PATH = "/v1/organization/projects"
# Endpoint of usage -> what its results can be grouped by.
ENDPOINTS = {
    "completions": ("project_id", "api_key_id", "model", "batch", "service_tier"),
    "embeddings": ("project_id", "api_key_id", "model"),
}
PERMISSION = "an admin key (sk-admin-...) that may read usage and costs (api.usage.read); reading all is enough"
SETTLED_AFTER = 2 * DAY
"""OpenAI names no delay: the two UTC days before today are taken as still open."""
MOST_COST_DAYS = 180

log = logging.getLogger("collectors.usage.openai")


@dataclass(frozen=True, slots=True)
class OpenAISettings(ProviderSettings):
    """`kind: openai`."""

    kind: Literal["openai"]
    base_url: str = BASE_URL


class Result(Struct, gc=False):
    """Tokens of one group in one bucket. Since a bucket tells `input_cached_audio_tokens`, `input_audio_tokens` is
    without them; before, it included them."""

    input_tokens: int | None = None
    input_cached_tokens: int | None = None
    input_cache_write_tokens: int | None = None
    input_cache_write_12h_tokens: int | None = None
    output_tokens: int | None = None
    input_audio_tokens: int | None = None
    input_cached_audio_tokens: int | None = None
    output_audio_tokens: int | None = None
    input_image_tokens: int | None = None
    input_cached_image_tokens: int | None = None
    output_image_tokens: int | None = None
    num_model_requests: int | None = None
    project_id: str | None = None
    api_key_id: str | None = None
    model: str | None = None
    batch: bool | str | None = None
    service_tier: str | None = None


class Bucket(Struct, gc=False):
    start_time: int
    end_time: int
    results: list[Result]


class UsagePage(BucketPage, gc=False, kw_only=True):
    data: list[Bucket]


class Amount(Struct, gc=False):
    value: Decimal | None = None
    currency: str = "usd"


class Cost(Struct, gc=False):
    amount: Amount | None = None
    line_item: str | None = None
    project_id: str | None = None
    quantity: Decimal | None = None
    quantity_unit: str | None = None


class CostBucket(Struct, gc=False):
    start_time: int
    end_time: int
    results: list[Cost]


class CostPage(BucketPage, gc=False, kw_only=True):
    data: list[CostBucket]


_usage_page = msgspec.json.Decoder(UsagePage)
_cost_page = msgspec.json.Decoder(CostPage)


class OpenAISource:
    """What `ProviderCollector` asks of OpenAI."""

    provider = "openai"

    def __init__(self, api: AdminApi, banded: bool) -> None:
        self._api = api
        self._banded = banded
        self._unknown: set[str] = set()

    def probe(self, now: int) -> None:
        path = f"{USAGE_PATH}completions"
        asked = [("start_time", str(day_start(now - DAY))), ("bucket_width", "1d"), ("limit", "1")]
        decoded(_usage_page, self._api.get(path, asked), path)

    def names(self) -> dict[str, str]:
        return named(self._api.get, PROJECTS_PATH, [("limit", "100"), ("include_archived", "true")], key="after")

    def usage(self, span: Span, limit: int, names: Mapping[str, str]) -> Iterator[Reading | Reject]:
        for endpoint, dimensions in ENDPOINTS.items():
            path = USAGE_PATH + endpoint
            asked = [
                ("start_time", str(span.window.start)),
                ("end_time", str(span.window.end)),
                ("bucket_width", "1h" if span.width == HOUR else "1m"),
                ("limit", str(limit)),
                *(("group_by[]", dimension) for dimension in dimensions),
            ]
            found = (
                (Window(bucket.start_time, bucket.end_time), bucket.results)
                for page in pages(self._api.get, path, asked, _usage_page)
                for bucket in page.data
            )
            for bucket, results in within(found, span.window, span.width, path):
                for result in results:
                    yield self._reading(bucket, result, names)

    def _reading(self, bucket: Window, result: Result, names: Mapping[str, str]) -> Reading | Reject:
        if not result.model:
            return Reject("no_model")
        try:
            told, requests = tokens(result), count(result.num_model_requests)
        except Reject as error:
            return error
        series = Series(
            model=result.model,
            service_tier="batch" if result.batch in (True, "true") else tier_name(result.service_tier),
            labels=labels_of(names, {"project": result.project_id, "key": result.api_key_id}),
            band_known=not self._banded,
        )
        return Reading(bucket, series, told, requests)

    def charges(self, window: Window, now: int, names: Mapping[str, str]) -> Iterator[Charge | Reject]:
        asked = [
            ("start_time", str(window.start)),
            ("bucket_width", "1d"),
            ("limit", str(min(MOST_COST_DAYS, window.seconds // DAY))),
            ("group_by[]", "project_id"),
            ("group_by[]", "line_item"),
        ]
        found = (
            (Window(bucket.start_time, bucket.end_time), bucket.results)
            for page in pages(self._api.get, COSTS_PATH, asked, _cost_page)
            for bucket in page.data
        )
        for day, costs in within(found, window, DAY, COSTS_PATH):
            for cost in costs:
                yield self._charge(day, cost, names, estimated=now < day.end + SETTLED_AFTER)

    def _charge(self, day: Window, cost: Cost, names: Mapping[str, str], estimated: bool) -> Charge | Reject:
        if cost.amount is None or not is_money(cost.amount.value):
            return Reject("no_amount")
        amount = cost.amount.value
        text = cost.line_item or ""
        line = provider_lines.parse(text)
        by_token = line is not None or cost.quantity_unit in provider_lines.TOKEN_UNITS
        if line is None and text not in self._unknown and len(self._unknown) < 100:
            self._unknown.add(text)
            log.info("cost line %r names no model and token type: it is no workload's by model", text[:200])
        return Charge(
            window=day,
            category="Usage",
            currency=cost.amount.currency.upper(),
            billed_cost=amount,
            effective_cost=amount,
            component="tokens" if by_token else "other",
            provider=self.provider,
            service="OpenAI API",
            service_category="AI and Machine Learning",
            sku=text,
            account=cost.project_id or "",
            quantity=cost.quantity,
            unit=cost.quantity_unit or "",
            description=text,
            tags=_tags(line, labels_of(names, {"project": cost.project_id})),
            estimated=estimated,
        )


def tokens(result: Result) -> dict[str, int]:
    """Disjoint tokens of a result. Rejects `bad_tokens`, and `inconsistent_usage`: more cached than sent."""
    cached, written = count(result.input_cached_tokens), count(result.input_cache_write_tokens)
    uncached = count(result.input_tokens) - cached - written
    half_day = count(result.input_cache_write_12h_tokens)
    if uncached < 0 or half_day > written:
        raise Reject("inconsistent_usage")
    told = {"input": uncached, "cache_read": cached, "output": count(result.output_tokens)}
    if result.input_cache_write_tokens is not None:
        told["cache_write"] = written - half_day
    if half_day:
        told["cache_write_12h"] = half_day
    _move(told, "audio", result.input_audio_tokens, result.input_cached_audio_tokens, result.output_audio_tokens)
    _move(told, "image", result.input_image_tokens, result.input_cached_image_tokens, result.output_image_tokens)
    return told


def _move(told: dict[str, int], modality: str, fresh: int | None, cached: int | None, out: int | None) -> None:
    """Tokens that are not text have prices, and types, of their own."""
    for token_type, amount in (("input", fresh), ("cache_read", cached), ("output", out)):
        moved = min(count(amount), told[token_type])
        if moved:
            told[token_type] -= moved
            told[f"{modality}_{token_type}"] = moved


def _tags(line: provider_lines.Line | None, labels: Labels) -> Labels:
    if line is None:
        return labels
    found = {"model": line.model, "token_type": line.token_type, "service_tier": line.service_tier}
    found["qualifier"] = ", ".join(line.qualifiers)
    return tuple(sorted({**dict(labels), **{key: value for key, value in found.items() if value}}.items()))


class OpenAI(ProviderCollector):
    Settings = OpenAISettings

    def __init__(self, settings: OpenAISettings, context: Context, pause: Callable[[float], None] = sleep) -> None:
        api = AdminApi(settings.base_url, settings.admin_key_file, _headers, PERMISSION, pause)
        super().__init__(settings, OpenAISource(api, banded=bool(context.band_edges)), api)


def _headers(key: str) -> Mapping[str, str]:
    return {"Authorization": f"Bearer {key}"}
