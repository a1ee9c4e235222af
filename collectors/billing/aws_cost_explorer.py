"""The AWS bill from Cost Explorer: days and hours that AWS restates, read again as long as it may.

Every request costs money, so it is written to the ledger before it is made, and none is made within the interval of
the last one or beyond the month's budget, whatever is restarted. Which days and queries: `cost_explorer_plan`.
"""

import json
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from typing import Any, ClassVar, Literal

from collectors import Context
from collectors.billing.aws_session import ATTEMPTS, Access, AwsError, client, require_credentials, translated
from collectors.billing.cost_explorer_budget import PRICE, Requests, utc
from collectors.billing.cost_explorer_plan import Query, days, first_day, plan, probe
from collectors.billing.cost_explorer_rows import AnswerError, Row, charges_of, corrections, is_net, rows_of, totals
from collectors.records import DAY, Batch, Charge, Failure, Window
from collectors.settings import STRICT, Duration, Money, Reads

REQUESTS = "requests"
"""The part whose cursor is the account of what was asked and paid."""

FATAL = {"credentials", "throttled", "unreachable"}  # of an AwsError: the next query would fail as well

Outcomes = Generator[Batch | Failure, None, None]


@dataclass(frozen=True, slots=True)
class CostExplorerSettings:
    """`kind: aws_cost_explorer`.

    `tag` is the cost allocation tag that bill lines are matched by. `resources` needs resource-level data to be enabled
    in Cost Explorer, `granularity: hourly` hourly data. `accounts` limits the bill to these linked accounts. `re_read`
    is how many days are read again; without it, from the first of the previous month until the 15th, then of this one.
    `scope` as in `kind: focus`.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    name: str
    kind: Literal["aws_cost_explorer"]
    interval: Duration = Duration(6 * 3600)
    monthly_budget_usd: Money = Money("5")
    granularity: Literal["daily", "hourly"] = "daily"
    tag: str = ""
    resources: bool = False
    accounts: tuple[str, ...] = ()
    re_read: Duration | None = None
    profile: str = ""
    role_arn: str = ""
    region: str = "us-east-1"
    endpoint_url: str = ""
    scope: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if problem := self.access.problem():
            raise ValueError(problem)
        if self.re_read is not None and self.re_read < DAY:
            raise ValueError(f"expected re_read of at least 1d, got '{self.re_read.text}'")
        for account in self.accounts:
            if not (len(account) == 12 and account.isdigit()):
                raise ValueError(f"expected accounts of 12 digits in quotes like '123456789012', got {account!r}")

    @property
    def access(self) -> Access:
        return Access(self.profile, self.role_arn, self.region, self.endpoint_url)

    def reads(self) -> Iterator[Reads]:
        """The accounts behind the same way in; none: all of them."""
        how = "keep one of them, or give each other accounts, or another profile or role_arn"
        yield Reads(
            (),
            ("Cost Explorer", self.profile, self.role_arn, self.endpoint_url),
            f"the same credentials and account; {how}",
            parts=self.accounts,
            change=("accounts",) if self.accounts else (),
            what="a bill",
        )


class AwsCostExplorer:
    """Restatable: a part is a UTC day (`2026-11-19`); `2026-11-19/detail` holds what is known by hour or resource."""

    Settings = CostExplorerSettings
    streams: frozenset[str] | None = None
    late_after: int | None = None

    def __init__(self, settings: CostExplorerSettings, context: Context) -> None:
        self._settings = settings
        # Whose account it is, the answer does not say; with one account in the filter it is known.
        self._account = settings.accounts[0] if len(settings.accounts) == 1 else ""

    def collect(self, now: int, cursors: Mapping[str, str]) -> Iterator[Batch | Failure]:
        """Replace every day that can be read whole; days of a failed query keep what was read before."""
        settings, paid = self._settings, Requests.parse(cursors.get(REQUESTS), now)
        if not paid.due(now, settings.interval):
            if paid.failed:
                after = utc(paid.due_at(settings.interval))
                yield Failure(REQUESTS, f"the last read failed: {paid.failed}; next read after {after}")
            return
        run = _Run(paid.begun(now), settings.monthly_budget_usd, settings.access)
        queries = self._plan(now, paid.read)
        try:
            yield from run.read(queries)
        finally:
            run.close()
        for day in days(queries):
            asked = [query for query in queries if query.covers(day)]
            if all(query.name in run.rows for query in asked):
                yield from self._day(day, asked, run.rows, cursors)
        if run.asked:
            yield Batch(REQUESTS, cursor=run.paid.ended("; ".join(run.failed)).cursor())

    def probe(self, now: int) -> Iterator[Batch | Failure]:
        """Ask one question, for USD 0.01, to see whether the account answers; nothing of it is kept."""
        query = probe(now, self._settings.resources, self._settings.accounts)
        run = _Run(Requests("", last=now), PRICE, self._settings.access)
        try:
            yield from run.read([query], once=True)
        finally:
            run.close()

    def close(self) -> None:
        """Nothing is held open between collects."""

    def _plan(self, now: int, read: int) -> tuple[Query, ...]:
        settings = self._settings
        return plan(
            now,
            first_day(now, settings.re_read, read),
            tag=settings.tag,
            hourly=settings.granularity == "hourly",
            resources=settings.resources,
            accounts=settings.accounts,
        )

    def _day(
        self, day: int, asked: Sequence[Query], rows: Mapping[str, Sequence[Row]], cursors: Mapping[str, str]
    ) -> Outcomes:
        """One day's charges, once all that was asked of it is there."""
        window, part = Window(day, day + DAY), f"{datetime.fromtimestamp(day, UTC):%Y-%m-%d}"
        of_day = {q.name: [row for row in rows[q.name] if day <= row.window.start < day + DAY] for q in asked}
        net = is_net(row for found in of_day.values() for row in found)
        lines = partial(charges_of, net=net, account=self._account)
        charges: list[Charge] = []
        known = _Detail.parse(cursors.get(f"{part}/detail"))
        for query in asked:
            found = of_day[query.name]
            if query.role == "detail":
                cursor = _Detail("compute" if query.resources else "usage", totals(found, net)).cursor()
                yield Batch(f"{part}/detail", charges=tuple(lines(query, found)), cursor=cursor, window=window)
            elif query.role == "total" and known is not None and known.scope == query.name:
                estimated = any(row.estimated for row in found)
                charges += corrections(window, totals(found, net), known.totals, estimated)
                known = None
            else:
                charges += lines(query, found)
        if known is not None and not any(query.role == "detail" for query in asked):
            yield Batch(f"{part}/detail", cursor="", window=window)  # read otherwise by now: it would count twice
        yield Batch(part, charges=tuple(charges), window=window)


class _Run:
    """One read: its clients, what was answered, what failed, and what it has cost so far."""

    def __init__(self, paid: Requests, budget: Decimal, access: Access) -> None:
        self.paid = paid
        self.rows: dict[str, list[Row]] = {}  # by query: those answered to the last page
        self.failed: list[str] = []
        self.asked = False
        self._budget, self._access = budget, access
        self._clients: dict[int, Any] = {}  # by attempts
        self._attempts = 1  # of the last call

    def read(self, queries: Sequence[Query], once: bool = False) -> Outcomes:
        """Ask all queries in turn, of each one page only if `once`; none that a failure before it shows to be vain."""
        denied: set[str] = set()
        for query in queries:
            if query.action in denied:
                continue
            try:
                rows = yield from self._pages(query, once)
            except _BudgetError as error:
                yield self._failure(REQUESTS, str(error))
                return
            except AnswerError as error:
                yield self._failure(query.name, f"{query.action}: the answer is {error}: check endpoint_url")
            except AwsError as error:
                yield from self._count(min(error.retries, self._attempts - 1))
                yield self._failure(query.name, _reason(error, query))
                denied.update([query.action] if error.kind == "denied" else ())
                if error.kind in FATAL:
                    return
            else:
                self.rows[query.name] = rows

    def close(self) -> None:
        for one in self._clients.values():
            one.close()

    def _pages(self, query: Query, once: bool) -> Generator[Batch, None, list[Row]]:
        """All pages of a query, each paid for before it is asked for. The pages of one question come in sequence."""
        rows: list[Row] = []
        token, seen = "", set[str]()
        while True:
            call = self._call(query)
            yield from self._count(1)
            more = {"NextPageToken": token} if token else {}
            with translated(query.action):
                answer = call(**query.request(), **more)
            yield from self._count(int(answer.get("ResponseMetadata", {}).get("RetryAttempts", 0)))
            rows += rows_of(answer, len(query.groups))
            token = str(answer.get("NextPageToken") or "")
            if not token or once:
                return rows
            if token in seen:
                raise AnswerError("a page that leads back to itself")
            seen.add(token)

    def _call(self, query: Query) -> Any:
        """The SDK's call, with no more attempts than the budget can pay."""
        attempts = min(ATTEMPTS, self.paid.affordable(self._budget))
        if attempts == 0:
            raise _BudgetError(self.paid.exhausted(self._budget))
        self._attempts = attempts
        if attempts not in self._clients:
            self._clients[attempts] = client("ce", self._access, attempts=attempts)
        made = self._clients[attempts]
        require_credentials(made)
        return made.get_cost_and_usage_with_resources if query.resources else made.get_cost_and_usage

    def _count(self, requests: int) -> Iterator[Batch]:
        """Enter requests into the account, before the ledger is asked to go on."""
        if requests:
            self.asked, self.paid = True, self.paid.paid(requests)
            yield Batch(REQUESTS, cursor=self.paid.cursor(), paid_usd=requests * PRICE)

    def _failure(self, part: str, reason: str) -> Failure:
        self.failed.append(f"{part}: {reason}")
        return Failure(part, reason)


class _BudgetError(Exception):
    """The month's budget allows no further request."""


@dataclass(frozen=True, slots=True)
class _Detail:
    """The cursor of a day's detail: which query's total it is (`scope`), and what it summed to by currency."""

    scope: str
    totals: Mapping[str, tuple[Decimal, Decimal]]

    def cursor(self) -> str:
        return json.dumps({"scope": self.scope, "totals": {c: list(map(str, pair)) for c, pair in self.totals.items()}})

    @classmethod
    def parse(cls, cursor: str | None) -> "_Detail | None":
        if not cursor:
            return None
        kept = json.loads(cursor)
        return cls(kept["scope"], {c: (Decimal(b), Decimal(e)) for c, (b, e) in kept["totals"].items()})


_AGAIN = "it is asked for anew at the next interval"
_HINTS = {
    "DataUnavailableException": "AWS has no such data: enable it in Cost Explorer, the first comes a day later",
    "BillExpirationException": f"the report has expired on AWS's side: {_AGAIN}",
    "RequestChangedException": f"AWS lost the thread between two pages: {_AGAIN}",
    "InvalidNextTokenException": f"AWS refused its own page token: {_AGAIN}",
}


def _reason(error: AwsError, query: Query) -> str:
    what = "resource-level data" if query.resources else "hourly data" if query.hourly else ""
    wanted = f" (asked for {what})" if what else ""
    if error.code in _HINTS:
        return f"{query.action}: {_HINTS[error.code]} ({error.code}){wanted}"
    if error.kind == "refused" and what:
        return f"{error}; is {what} enabled in Cost Explorer's settings?"
    return str(error)
