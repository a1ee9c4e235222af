"""What can go wrong with Cost Explorer: each in one line that says what to do, no secret in it, earlier days kept."""

import json
import socket
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from botocore.exceptions import ClientError
from botocore.retries.standard import ExponentialBackoff
from pydantic import TypeAdapter, ValidationError

from collectors.billing.aws_cost_explorer import CostExplorerSettings
from collectors.billing.aws_session import AwsError, translated
from collectors.records import DAY, HOUR
from tests.collectors.billing.ce_stand_in import CostExplorer, RefusedError, serving
from tests.collectors.billing.cost_explorer_ledger import D, Store, at, month_of_bill, only_test_credentials

NOW = at("2026-11-20T13:37:11")
INTERVAL = 6 * HOUR


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    only_test_credentials(monkeypatch)
    monkeypatch.setattr(ExponentialBackoff, "delay_amount", lambda *_: 0)


@pytest.fixture
def account() -> Iterator[CostExplorer]:
    with serving(CostExplorer(NOW, month_of_bill("2026-11-01", "2026-11-20"))) as account:
        yield account


def reasons(store: Store, account: CostExplorer, now: int = NOW, **settings: Any) -> list[str]:
    return [f"{failure.part}: {failure.reason}" for failure in store.collect(account, now, **settings)]


REFUSALS = [
    ("ExpiredTokenException", "the credentials have expired"),
    ("InvalidSignatureException", "check the secret key and the clock"),
    ("DataUnavailableException", "enable it in Cost Explorer"),
    ("BillExpirationException", "asked for anew at the next interval"),
    ("InternalServerError", "failed with InternalServerError"),
]


@pytest.mark.parametrize(("code", "told"), REFUSALS)
def test_a_refusal_is_told_and_keeps_the_days_before(account: CostExplorer, code: str, told: str) -> None:
    store = Store()
    assert reasons(store, account) == []
    before = {day: store.sums(day) for day in range(at("2026-11-01"), at("2026-11-20"), DAY)}
    account.faults = [RefusedError(code, "AKIDTEST verysecret token=abc")] * 4
    account.items = [replace(item, unblended=D("1")) for item in account.items]
    said = reasons(store, account, NOW + INTERVAL)
    assert said and told in said[0]
    assert "verysecret" not in " ".join(said) and "token=" not in " ".join(said)
    assert {day: store.sums(day) for day in before} == before
    assert said[0].split(": ", 1)[1] in reasons(store, account, NOW + INTERVAL + HOUR)[0]  # a restart hides nothing
    account.faults = []
    assert reasons(store, account, NOW + 2 * INTERVAL) == []
    assert store.sums(at("2026-11-02"))[0] == account.total(at("2026-11-02"), "NetUnblendedCost")


def test_a_missing_permission_is_named_once(account: CostExplorer) -> None:
    account.allowed = {"GetCostAndUsageWithResources"}
    store = Store()
    [said] = reasons(store, account)
    assert said == "usage: permission ce:GetCostAndUsage is missing: allow it in the IAM policy"
    assert account.requests == 1 and not store.charges


def test_without_the_resource_permission_the_older_days_are_read(account: CostExplorer) -> None:
    account.allowed = {"GetCostAndUsage"}
    store = Store()
    [said] = reasons(store, account, resources=True)
    assert said == "resources: permission ce:GetCostAndUsageWithResources is missing: allow it in the IAM policy"
    assert store.sums(at("2026-11-03"))[0] == account.total(at("2026-11-03"), "NetUnblendedCost")
    assert not store.day(at("2026-11-15"))


@pytest.mark.parametrize("mode", [{"resources": True}, {"granularity": "hourly"}], ids=str)
def test_what_is_not_enabled_is_named(account: CostExplorer, mode: dict[str, Any]) -> None:
    account.hourly = account.resources = False
    [said] = reasons(Store(), account, **mode)
    assert "enable it" in said and ("resource-level data" if mode.get("resources") else "hourly data") in said


def test_unknown_credentials(account: CostExplorer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDOTHER")
    [said] = reasons(Store(), account)
    assert "does not know the credentials" in said and "AKID" not in said


def test_no_credentials_at_all_cost_nothing(account: CostExplorer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    store = Store()
    [said] = reasons(store, account)
    assert "no usable AWS credentials found" in said
    assert account.requests == 0 and store.paid == 0
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDTEST")
    assert reasons(store, account, NOW + INTERVAL) == []  # the budget is whole


def test_an_unknown_profile(account: CostExplorer) -> None:
    store = Store()
    [said] = reasons(store, account, profile="nobody")
    assert said == "usage: the AWS profile 'nobody' is not configured on this machine"
    assert store.paid == 0


@pytest.mark.parametrize("code", ["ThrottlingException", "LimitExceededException"])
def test_throttling_passes_or_fails_until_the_next_interval(account: CostExplorer, code: str) -> None:
    store = Store()
    account.faults = [RefusedError(code, "Rate exceeded")] * 2
    assert reasons(store, account) == []
    assert account.requests == 4 and store.paid == D("0.04")  # the SDK's own repetitions count
    account.faults = [RefusedError(code, "Rate exceeded")] * 100  # an hour of it
    [said] = reasons(store, account, NOW + INTERVAL)
    assert f"AWS throttles ce:GetCostAndUsage ({code}): tried 3 times" in said
    assert account.requests == 7 and store.paid == D("0.07")


def test_repetitions_do_not_break_the_budget(account: CostExplorer) -> None:
    store = Store()
    account.faults = [RefusedError("ThrottlingException", "Rate exceeded")] * 100
    for run in range(10):
        reasons(store, account, NOW + run * INTERVAL, monthly_budget_usd=D("0.05"))
    assert account.requests == 5 and store.paid == D("0.05")


def test_pages_that_change_under_the_reader_are_not_mixed(account: CostExplorer) -> None:
    account.page_size = 50
    account.faults = [None, None, RefusedError("RequestChangedException", "Your request parameters changed")]
    store = Store()
    [said] = reasons(store, account)
    assert said.startswith("usage: ") and "between two pages" in said
    assert not store.charges  # no day is half of one delivery


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (b"<html>Sign in</html>", "check endpoint_url"),
        (b"{}", "the answer is unreadable"),
        (b'{"ResultsByTime": [{"TimePeriod": {"Start": "soon", "End": "2026-11-02"}, "Groups": []}]}', "unreadable"),
    ],
)
def test_an_answer_that_is_none(account: CostExplorer, answer: bytes, told: str) -> None:
    account.raw = [answer] * 4
    store = Store()
    said = reasons(store, account)
    assert said and told in said[0]
    assert not store.charges


def metrics(**amounts: Any) -> bytes:
    cost = {name: {"Amount": amount, "Unit": "USD"} for name, amount in amounts.items()}
    group = {"Keys": ["A", "B"], "Metrics": cost}
    period = {"TimePeriod": {"Start": "2026-11-01", "End": "2026-11-02"}, "Groups": [group], "Estimated": False}
    return json.dumps({"ResultsByTime": [period]}).encode()


@pytest.mark.parametrize("amounts", [{"UnblendedCost": "1"}, {"UnblendedCost": "x", "AmortizedCost": "1"}], ids=str)
def test_money_that_cannot_be_read_refuses_the_answer(account: CostExplorer, amounts: dict[str, Any]) -> None:
    account.raw = [metrics(**amounts)] * 2
    store = Store()
    said = reasons(store, account)
    assert "Cost" in said[0] and not store.charges


def test_an_endpoint_that_cannot_be_reached(account: CostExplorer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    account.url = f"http://127.0.0.1:{port}"
    store = Store()
    [said] = reasons(store, account)
    assert "127.0.0.1 cannot be reached" in said
    assert not store.charges


def test_a_role_that_may_not_be_assumed() -> None:
    role = "arn:aws:iam::111122223333:role/bill"
    with pytest.raises(AwsError) as error, translated("sts:AssumeRole", role):
        answer = {"Error": {"Code": "AccessDenied", "Message": "x-amz-security-token:verysecret"}}
        raise ClientError(answer, "AssumeRole")
    assert str(error.value) == f"permission sts:AssumeRole is missing on {role}: allow it in the IAM policy"
    assert error.value.__cause__ is None and error.value.__suppress_context__


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("endpoint_url", "ftp://x", "expected endpoint_url to be an http:// or https:// URL"),
        ("endpoint_url", "http://me:pass@x", "expected endpoint_url without a user"),
        ("role_arn", "admin", "expected role_arn like 'arn:aws:iam::123456789012:role/name', got 'admin'"),
        ("accounts", ["12"], "expected accounts of 12 digits in quotes"),
        ("re_read", "5h", "expected re_read of at least 1d"),
        ("granularity", "monthly", "daily"),
        ("monthly_budget_usd", 0.5, "quoted decimal"),
        ("nonsense", 1, "nonsense"),
    ],
)
def test_settings_say_what_is_wrong(key: str, value: Any, told: str) -> None:
    with pytest.raises(ValidationError) as error:
        TypeAdapter(CostExplorerSettings).validate_python({"name": "b", "kind": "aws_cost_explorer", key: value})
    assert told in str(error.value)
