"""What Cost Explorer is asked for one read: which days, in which queries. Pure.

One answer can be grouped by two things only, so usage and all the rest (tax, credits, fees) are queries of their own:
their filters are exact complements, so that their sum is the account's total. Hours and resources are kept for 14 days.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from collectors.billing.cost_explorer_usage_types import COMPUTE
from collectors.records import DAY, HOUR, Window

DETAIL_DAYS = 14
OLDEST_MONTHS = 12  # Cost Explorer keeps 13 months by day

USAGE_RECORDS = ("Usage", "DiscountedUsage", "SavingsPlanCoveredUsage")
"""Charge types (`RECORD_TYPE`) of what was used; every other one is a fee, a tax, a credit or a correction."""

METRICS = ("UnblendedCost", "AmortizedCost", "NetUnblendedCost", "NetAmortizedCost", "UsageQuantity")

Role = Literal["plain", "detail", "total"]
Group = tuple[Literal["DIMENSION", "TAG"], str]
Filter = Mapping[str, Any]


def _one_of(key: str, values: Sequence[str]) -> Filter:
    return {"Dimensions": {"Key": key, "Values": list(values)}}


_USED, _EC2 = _one_of("RECORD_TYPE", USAGE_RECORDS), _one_of("SERVICE", (COMPUTE,))
_USAGE_TYPE: Group = ("DIMENSION", "USAGE_TYPE")
_BY_RESOURCE: tuple[Group, ...] = (("DIMENSION", "RESOURCE_ID"), _USAGE_TYPE)
_BY_RECORD: tuple[Group, ...] = (("DIMENSION", "RECORD_TYPE"), _USAGE_TYPE)


@dataclass(frozen=True, slots=True)
class Query:
    """One question, answered in pages. `plain` rows are a day's charges. `detail` rows are too, by the hour or the
    resource; `total` asks for the same money of days whose detail can no longer be read."""

    name: str
    role: Role
    window: Window
    filter: Filter
    groups: tuple[Group, ...]
    hourly: bool = False
    resources: bool = False

    @property
    def action(self) -> str:
        """The IAM action that it needs."""
        return "ce:GetCostAndUsageWithResources" if self.resources else "ce:GetCostAndUsage"

    def covers(self, day: int) -> bool:
        """Whether it says anything of the UTC day that starts at `day`."""
        return self.window.start < day + DAY and self.window.end > day

    def request(self) -> dict[str, Any]:
        """The parameters of the call."""
        return {
            "TimePeriod": {"Start": self._at(self.window.start), "End": self._at(self.window.end)},
            "Granularity": "HOURLY" if self.hourly else "DAILY",
            "Metrics": list(METRICS),
            "GroupBy": [{"Type": kind, "Key": key} for kind, key in self.groups],
            "Filter": self.filter,
        }

    def _at(self, instant: int) -> str:
        return f"{datetime.fromtimestamp(instant, UTC):{'%Y-%m-%dT%H:%M:%SZ' if self.hourly else '%Y-%m-%d'}}"


def first_day(now: int, re_read: int | None, read: int) -> int:
    """The first UTC day to read at `now`: also what may have changed since `read` (the last time, 0: never)."""
    start = _re_read_from(now, re_read)
    start = min(start, _re_read_from(read, re_read) if read else _month(now, 1))
    return max(start, _month(now, OLDEST_MONTHS))


def plan(
    now: int, since: int, *, tag: str = "", hourly: bool = False, resources: bool = False, accounts: Sequence[str] = ()
) -> tuple[Query, ...]:
    """The queries for the days from `since` through yesterday; hours also of today, as far as they have passed."""
    today = now - now % DAY
    whole = Window(since, today)
    recent, older = _recent(now, since, now - now % HOUR if hourly else today)
    only = _only(accounts)
    by: tuple[Group, ...] = (("TAG", tag) if tag else ("DIMENSION", "SERVICE"), _USAGE_TYPE)
    if resources:
        queries = [
            Query("resources", "detail", recent, _all(_EC2, _USED, *only), _BY_RESOURCE, hourly, resources=True),
            Query("compute", "total", older, _all(_EC2, _USED, *only), by),
            Query("usage", "plain", whole, _all(_USED, {"Not": _EC2}, *only), by),
        ]
    elif hourly:
        queries = [
            Query("hours", "detail", recent, _all(_USED, *only), by, hourly),
            Query("usage", "total", older, _all(_USED, *only), by),
        ]
    else:
        queries = [Query("usage", "plain", whole, _all(_USED, *only), by)]
    queries.append(Query("other", "plain", whole, _all({"Not": _USED}, *only), _BY_RECORD))
    return tuple(query for query in queries if query.window.seconds)


def days(queries: Sequence[Query]) -> range:
    """The UTC days (their starts) that the queries speak of."""
    end = max(query.window.end for query in queries)
    return range(min(query.window.start for query in queries), end, DAY)


def probe(now: int, resources: bool, accounts: Sequence[str]) -> Query:
    """One cheap question (yesterday, one group) that tells whether the account answers."""
    today = now - now % DAY
    wanted = _all(*([_EC2] if resources else []), _USED, *_only(accounts))
    by: tuple[Group, ...] = (("DIMENSION", "RESOURCE_ID" if resources else "SERVICE"),)
    return Query("probe", "plain", Window(today - DAY, today), wanted, by, resources=resources)


def _recent(now: int, since: int, end: int) -> tuple[Window, Window]:
    """The days whose detail can be asked for, through `end`, and those before. An hour to spare: the limit moves on
    between the plan and the request."""
    first = -(-(now - DETAIL_DAYS * DAY + HOUR) // DAY) * DAY
    edge = max(since, first)
    return Window(edge, max(edge, end)), Window(since, edge)


def _re_read_from(at: int, re_read: int | None) -> int:
    if re_read is not None:
        return (at - re_read) // DAY * DAY
    return _month(at, 1 if datetime.fromtimestamp(at, UTC).day <= 15 else 0)


def _month(at: int, back: int) -> int:
    """The start of the UTC month `back` months before the one of `at`."""
    first = datetime.fromtimestamp(at, UTC).replace(day=1, hour=0, minute=0, second=0)
    for _ in range(back):
        first = (first - timedelta(days=1)).replace(day=1)
    return int(first.timestamp())


def _only(accounts: Sequence[str]) -> list[Filter]:
    return [_one_of("LINKED_ACCOUNT", accounts)] if accounts else []


def _all(*filters: Filter) -> Filter:
    return filters[0] if len(filters) == 1 else {"And": list(filters)}
