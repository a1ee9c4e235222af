"""Which days are read when, and what a request account says: pure, on a calendar's edges."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.billing.cost_explorer_budget import Requests, utc
from collectors.billing.cost_explorer_plan import days, first_day, plan
from collectors.billing.cost_explorer_usage_types import read
from collectors.records import DAY, HOUR
from tests.collectors.billing.cost_explorer_ledger import at


@pytest.mark.parametrize(
    ("now", "re_read", "last", "first"),
    [
        ("2026-11-20T12:00:00", None, "2026-11-20T06:00:00", "2026-11-01"),
        ("2026-11-15T23:59:59", None, "2026-11-15T18:00:00", "2026-10-01"),  # the invoice is not final yet
        ("2026-11-16T00:00:00", None, "2026-11-15T18:00:00", "2026-10-01"),  # once more after the 15th
        ("2026-11-16T06:00:00", None, "2026-11-16T00:00:00", "2026-11-01"),
        ("2026-11-20T12:00:00", None, None, "2026-10-01"),  # the first read ever
        ("2026-01-03T00:30:00", None, "2026-01-02T12:00:00", "2025-12-01"),
        ("2028-03-01T00:00:00", None, "2028-02-29T18:00:00", "2028-02-01"),  # a leap day is a day
        ("2026-11-20T12:00:00", 14 * DAY, "2026-11-20T06:00:00", "2026-11-06"),
        ("2026-11-20T12:00:00", 14 * DAY, "2026-09-03T00:00:00", "2026-08-20"),  # down since then
        ("2026-11-20T12:00:00", None, "2020-01-01T00:00:00", "2025-11-01"),  # no more than the API keeps
    ],
)
def test_the_first_day(now: str, re_read: int | None, last: str | None, first: str) -> None:
    assert utc(first_day(at(now), re_read, at(last) if last else 0)) == f"{first}T00:00Z"


instants = st.integers(at("2024-01-01"), at("2030-01-01"))


@given(now=instants, hourly=st.booleans(), resources=st.booleans(), tag=st.sampled_from(["", "workload"]))
def test_queries_keep_to_the_limits_and_cover_each_day_once(now: int, hourly: bool, resources: bool, tag: str) -> None:
    queries = plan(now, first_day(now, None, 0), tag=tag, hourly=hourly, resources=resources)
    for query in queries:
        assert query.window.start < query.window.end <= now
        assert query.window.start % DAY == 0 and len(query.groups) == 2
        if query.hourly or query.resources:
            assert query.window.start >= now - 14 * DAY + HOUR
    for day in days(queries):
        asked = [query for query in queries if query.covers(day)]
        names = [query.name for query in asked]
        if day < now - now % DAY:
            detail = sum(query.role == "detail" for query in asked)
            assert detail + sum(query.role == "total" for query in asked) == (1 if hourly or resources else 0)
            assert names.count("other") == 1
        else:
            assert names in (["hours"], ["resources"])


def test_a_day_is_24_hours_of_utc_whatever_the_clocks_do() -> None:
    """The days on which clocks change in New York and Berlin (23 and 25 local hours) are windows like all others."""
    for text in ("2026-03-08", "2026-03-29", "2026-10-25", "2026-11-01"):
        now = at(text) + 2 * DAY
        queries = plan(now, first_day(now, 3 * DAY, now), hourly=True)
        assert at(text) in days(queries)
        [hours] = [query for query in queries if query.role == "detail"]
        assert hours.request()["TimePeriod"]["Start"].endswith("T00:00:00Z")


@given(now=instants, spent=st.integers(0, 600), interval=st.integers(600, 30 * DAY))
def test_an_account_survives_the_ledger(now: int, spent: int, interval: int) -> None:
    paid = Requests.parse(None, now).begun(now).paid(spent)
    again = Requests.parse(paid.cursor(), now + 1)
    assert again == paid or again.month != paid.month  # a month ends
    assert not Requests.parse(paid.cursor(), now).due(now + interval // 2, interval)
    assert Requests.parse(paid.cursor(), now).due(now + interval, interval)
    assert paid.affordable(Decimal("5")) == max(0, 500 - spent)


def test_a_month_ends_the_account_and_a_clock_set_back_does_not() -> None:
    november = Requests.parse(None, at("2026-11-30T23:00:00")).begun(at("2026-11-30T23:00:00")).paid(500)
    assert Requests.parse(november.cursor(), at("2026-12-01")).spent == 0
    assert Requests.parse(november.cursor(), at("2026-12-01")).last == november.last
    assert Requests.parse(november.cursor(), at("2026-10-01")).spent == 5
    assert "2026-12-01T00:00Z" in november.exhausted(Decimal(5))
    december = Requests.parse(None, at("2026-12-31"))
    assert "2027-01-01T00:00Z" in december.exhausted(Decimal(0))


def test_a_last_read_in_the_far_future_does_not_silence_for_ever() -> None:
    wrong = Requests.parse(None, at("2026-11-20")).begun(at("2036-01-01"))
    assert Requests.parse(wrong.cursor(), at("2026-11-20")).due(at("2026-11-20"), 6 * HOUR)


@pytest.mark.parametrize("cursor", ["", "x", "[]", "{}", '{"month": 1}'])
def test_a_cursor_that_is_none_is_an_empty_account(cursor: str) -> None:
    assert Requests.parse(cursor, at("2026-11-20")) == Requests("2026-11")


@pytest.mark.parametrize(
    ("usage_type", "service", "expected"),
    [
        ("BoxUsage:p5.48xlarge", "", ("us-east-1", "Compute", "gpu")),
        ("USW2-BoxUsage:m7i.large", "", ("us-west-2", "Compute", "node")),
        ("EUC1-SpotUsage:g6f.xlarge", "", ("eu-central-1", "Compute", "gpu")),
        ("APS3-EBS:VolumeUsage.gp3", "", ("ap-south-1", "Storage", "storage")),
        ("USE2-NatGateway-Bytes", "", ("us-east-2", "Networking", "egress")),
        ("DataTransfer-Out-Bytes", "", ("", "Networking", "egress")),
        ("USE1-USW2-AWS-Out-Bytes", "", ("us-east-1", "Networking", "egress")),
        ("USW2-UnusedBox:p4d.24xlarge", "", ("us-west-2", "Compute", "gpu")),
        ("USE1-Host:ml.p4d.24xlarge", "Amazon SageMaker", ("us-east-1", "AI and Machine Learning", "gpu")),
        ("USE1-Nova-output-tokens", "Amazon Bedrock", ("us-east-1", "AI and Machine Learning", "tokens")),
        ("EU-TimedStorage-ByteHrs", "Amazon Simple Storage Service", ("eu-west-1", "Storage", "storage")),
        ("XYZ9-Something", "", ("", "Other", "other")),
        ("", "", ("", "Other", "other")),
    ],
)
def test_what_a_usage_type_says(usage_type: str, service: str, expected: tuple[str, str, str]) -> None:
    found = read(usage_type, service)
    assert (found.region, found.category, found.component) == expected
