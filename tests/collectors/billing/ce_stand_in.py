"""A stand-in for AWS Cost Explorer: real HTTP, the documented limits, and an account whose every line item is known.

It answers GetCostAndUsage and GetCostAndUsageWithResources of the real SDK from `items`, so that whatever is asked, the
truth can be added up beside it. What it enforces is written in the API reference and in the SDK's own model: the end of
a period is exclusive, two groups at most, hours and resources 14 days back, a service filter for resources, pages in
one sequence. Limits that AWS does not document (its page size) are chosen here.
"""

import json
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import uuid4

from collectors.records import DAY, HOUR

EC2 = "Amazon Elastic Compute Cloud - Compute"
TARGET = "AWSInsightsIndexService."
METRICS = {
    *("AmortizedCost", "BlendedCost", "NetAmortizedCost", "NetUnblendedCost", "NormalizedUsageAmount"),
    *("UnblendedCost", "UsageQuantity"),
}
DIMENSIONS = {
    *("AZ", "INSTANCE_TYPE", "LEGAL_ENTITY_NAME", "INVOICING_ENTITY", "LINKED_ACCOUNT", "OPERATION", "PLATFORM"),
    *("PURCHASE_TYPE", "SERVICE", "TENANCY", "RECORD_TYPE", "USAGE_TYPE", "REGION"),
}
FORMATS = {"DAILY": "%Y-%m-%d", "MONTHLY": "%Y-%m-%d", "HOURLY": "%Y-%m-%dT%H:%M:%SZ"}


@dataclass(frozen=True)
class Item:
    """One line of the account's bill: what one hour of one thing cost."""

    hour: int
    unblended: Decimal
    amortized: Decimal
    record: str = "Usage"
    usage_type: str = "BoxUsage:p5.48xlarge"
    service: str = EC2
    resource: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    account: str = "111122223333"
    quantity: Decimal = Decimal(1)
    unit: str = "Hrs"
    discount: Decimal = Decimal(0)  # private: the net metrics are that much lower

    def metric(self, name: str) -> Decimal:
        plain = {"UnblendedCost": self.unblended, "AmortizedCost": self.amortized, "UsageQuantity": self.quantity}
        if name.startswith("Net"):
            return plain[name.removeprefix("Net")] * (1 - self.discount)
        return plain[name]

    def key(self, kind: str, key: str) -> str:
        if kind == "TAG":
            return f"{key}${self.tags.get(key, '')}"
        return {
            "RECORD_TYPE": self.record,
            "USAGE_TYPE": self.usage_type,
            "SERVICE": self.service,
            "LINKED_ACCOUNT": self.account,
            "RESOURCE_ID": self.resource or "NoResourceId",
        }[key]


Group = tuple[int, int, list[str], list[Item]]
"""Start and end of the period, the keys, and the items."""


class RefusedError(Exception):
    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code, self.status = code, status


class CostExplorer:
    """The account and its API. `net`: `real`, `missing` (no such metrics) or `zero`. `faults` are raised by the next
    calls, first come first served; None lets one call pass."""

    def __init__(self, now: int, items: Iterable[Item] = ()) -> None:
        self.now, self.items = now, list(items)
        self.page_size, self.net, self.currency = 1000, "real", "USD"
        self.hourly, self.resources = True, True
        self.allowed = {"GetCostAndUsage", "GetCostAndUsageWithResources"}
        self.keys = {"AKIDTEST"}
        self.faults: list[RefusedError | None] = []
        self.raw: list[bytes] = []  # answers given as they are
        self.calls: list[tuple[str, dict[str, Any]]] = []  # that were answered
        self.requests = 0  # all that arrived
        self.url = ""
        self._tokens: dict[str, tuple[str, list[Group]]] = {}  # the request, and the groups still to come

    def total(self, day: int, metric: str, **only: str) -> Decimal:
        """The truth of one UTC day."""
        return sum(
            (
                item.metric(metric)
                for item in self.items
                if day <= item.hour < day + DAY and all(getattr(item, k) == v for k, v in only.items())
            ),
            Decimal(0),
        )

    def answer(self, operation: str, key: str, asked: dict[str, Any]) -> dict[str, Any]:
        self.requests += 1
        if key not in self.keys:
            raise RefusedError("UnrecognizedClientException", "The security token included in the request is invalid.")
        if operation not in self.allowed:
            text = f"User: arn:aws:iam::111122223333:user/x is not authorized to perform: ce:{operation}"
            raise RefusedError("AccessDeniedException", text)
        if self.faults and (fault := self.faults.pop(0)) is not None:
            raise fault
        self._check(operation, asked)
        self.calls.append((operation, asked))
        body = json.dumps({k: v for k, v in asked.items() if k != "NextPageToken"}, sort_keys=True)
        return self._page(asked, self._to_come(asked, operation + body), operation + body)

    def _to_come(self, asked: dict[str, Any], body: str) -> list[Group]:
        token = asked.get("NextPageToken")
        if token is None:
            return list(self._groups(asked))
        if token not in self._tokens:
            raise RefusedError("InvalidNextTokenException", "The pagination token is invalid.")
        before, groups = self._tokens.pop(token)
        if before != body:
            raise RefusedError("RequestChangedException", "Your request parameters changed between pages.")
        return groups

    def _page(self, asked: dict[str, Any], groups: list[Group], body: str) -> dict[str, Any]:
        page, rest = groups[: self.page_size], groups[self.page_size :]
        found: dict[str, Any] = {"ResultsByTime": self._results(asked, page), "DimensionValueAttributes": []}
        if rest:
            found["NextPageToken"] = str(uuid4())
            self._tokens[found["NextPageToken"]] = (body, rest)
        return found

    def _results(self, asked: dict[str, Any], page: list[Group]) -> list[Any]:
        results: dict[int, dict[str, Any]] = {}
        for start, end, keys, items in page:
            form = FORMATS[asked["Granularity"]]
            period = {"Start": f"{utc(start):{form}}", "End": f"{utc(end):{form}}"}
            result = results.setdefault(
                start, {"TimePeriod": period, "Total": {}, "Groups": [], "Estimated": self._estimated(start)}
            )
            result["Groups"].append({"Keys": keys, "Metrics": self._metrics(asked["Metrics"], items)})
        return list(results.values())

    def _estimated(self, start: int) -> bool:
        return utc(start).strftime("%Y-%m") == utc(self.now).strftime("%Y-%m")

    def _metrics(self, names: list[str], items: list[Item]) -> dict[str, Any]:
        found = {}
        for name in names:
            if name.startswith("Net") and self.net == "missing":
                continue
            amount = sum((item.metric(name) for item in items), Decimal(0))
            if name.startswith("Net") and self.net == "zero":
                amount = Decimal(0)
            units = {item.unit for item in items} if name == "UsageQuantity" else {self.currency}
            found[name] = {"Amount": f"{amount:.10f}", "Unit": units.pop() if len(units) == 1 else "N/A"}
        return found

    def _groups(self, asked: dict[str, Any]) -> Iterator[Group]:
        start, end = self._period(asked)
        step = HOUR if asked["Granularity"] == "HOURLY" else DAY
        found: dict[tuple[int, tuple[str, ...]], list[Item]] = {}
        for item in self.items:
            if start <= item.hour < end and fits(asked.get("Filter"), item):
                keys = tuple(item.key(group["Type"], group["Key"]) for group in asked.get("GroupBy", []))
                found.setdefault((item.hour - item.hour % step, keys), []).append(item)
        for (at, keys), items in sorted(found.items()):
            yield at, at + step, list(keys), items

    def _period(self, asked: dict[str, Any]) -> tuple[int, int]:
        form = FORMATS[asked["Granularity"]]
        try:
            start, end = (datetime.strptime(asked["TimePeriod"][k], form).replace(tzinfo=UTC) for k in ("Start", "End"))
        except ValueError as error:
            raise RefusedError("ValidationException", f"time period does not match the granularity: {error}") from None
        return int(start.timestamp()), int(end.timestamp())

    def _check(self, operation: str, asked: dict[str, Any]) -> None:
        resources = operation == "GetCostAndUsageWithResources"
        hourly = asked["Granularity"] == "HOURLY"
        require(asked["Granularity"] in FORMATS, "Granularity")
        require(set(asked["Metrics"]) <= METRICS and bool(asked["Metrics"]), "Metrics")
        start, end = self._period(asked)
        require(start < end, "Start date (and hour) should be before end date (and hour)")
        require(start <= self.now, "start date is in the future")
        require(end <= self.now + DAY, "end date past the data")
        detailed = hourly or resources
        back = 14 * DAY if detailed else 400 * DAY
        require(start >= self.now - back, f"Start date is more than {back // DAY} days ago")
        groups = asked.get("GroupBy", [])
        require(len(groups) <= 2, "GroupBy: at most 2 groups")
        for group in groups:
            if group["Type"] == "DIMENSION":
                allowed = DIMENSIONS | ({"RESOURCE_ID"} if resources else set())
                require(group["Key"] in allowed, f"Dimension {group['Key']} is not allowed.")
        if "Filter" in asked:
            check_filter(asked["Filter"])
        if resources:
            require(service_of(asked.get("Filter", {})) == {EC2}, "the filter must be SERVICE = EC2 Compute")
            require(any(group["Key"] == "RESOURCE_ID" for group in groups), "group or filter by RESOURCE_ID")
        if (resources and not self.resources) or (hourly and not self.hourly):
            raise RefusedError("DataUnavailableException", "The requested data is unavailable.")


def require(holds: bool, text: str) -> None:
    if not holds:
        raise RefusedError("ValidationException", text)


def check_filter(one: Mapping[str, Any]) -> None:
    require(len(one) == 1, "Expression must have exactly one root")
    for operator in ("And", "Or"):
        if operator in one:
            require(len(one[operator]) >= 2, f"{operator} needs two or more")
            for inner in one[operator]:
                check_filter(inner)
    if "Not" in one:
        check_filter(one["Not"])
    if "Dimensions" in one:
        require(one["Dimensions"]["Key"] in DIMENSIONS and bool(one["Dimensions"]["Values"]), "Dimensions")


def fits(one: Mapping[str, Any] | None, item: Item) -> bool:
    if one is None:
        return True
    if "And" in one:
        return all(fits(inner, item) for inner in one["And"])
    if "Not" in one:
        return not fits(one["Not"], item)
    return item.key("DIMENSION", one["Dimensions"]["Key"]) in one["Dimensions"]["Values"]


def service_of(one: Mapping[str, Any]) -> set[str]:
    """The services that a filter demands outside of any Not."""
    parts = one.get("And", [one])
    return {v for p in parts if p.get("Dimensions", {}).get("Key") == "SERVICE" for v in p["Dimensions"]["Values"]}


def utc(at: int) -> datetime:
    return datetime.fromtimestamp(at, UTC)


@contextmanager
def serving(account: CostExplorer) -> Iterator[CostExplorer]:
    """`account` behind HTTP at `account.url`."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            key = self.headers["Authorization"].partition("Credential=")[2].partition("/")[0]
            operation = self.headers["X-Amz-Target"].removeprefix(TARGET)
            if account.raw:
                self._send(200, account.raw.pop(0))
                return
            try:
                self._send(200, json.dumps(account.answer(operation, key, body)).encode())
            except RefusedError as error:
                self._send(error.status, json.dumps({"__type": error.code, "message": str(error)}).encode())

        def _send(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/x-amz-json-1.1")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    account.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield account
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
