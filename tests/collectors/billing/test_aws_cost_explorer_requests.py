"""What Cost Explorer may be asked, and when: interval, budget and the account of requests hold over restarts."""

import socket
import threading
from collections.abc import Iterator

import pytest

from collectors.records import DAY, HOUR, Batch
from tests.collectors.billing.ce_stand_in import CostExplorer, serving
from tests.collectors.billing.cost_explorer_ledger import D, Store, at, built, month_of_bill, only_test_credentials

NOW = at("2026-11-20T13:37:11")
INTERVAL = 6 * HOUR


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    only_test_credentials(monkeypatch)


@pytest.fixture
def account() -> Iterator[CostExplorer]:
    with serving(CostExplorer(NOW, month_of_bill("2026-10-28", "2026-11-20"))) as account:
        yield account


def test_no_request_within_the_interval_whatever_is_restarted(account: CostExplorer) -> None:
    store = Store()
    for minutes in range(0, 24 * 60, 7):
        assert store.collect(account, NOW + minutes * 60, tag="workload") == []
    assert account.requests == 2 * 4
    assert store.paid == D("0.08")


def test_a_scheduler_that_fires_a_second_early_does_not_skip_a_read(account: CostExplorer) -> None:
    store = Store()
    store.collect(account, NOW)
    store.collect(account, NOW + INTERVAL - 1)
    assert account.requests == 4


def test_a_request_is_entered_before_it_is_made(account: CostExplorer) -> None:
    """Killed at any instant, the ledger knows of every request."""
    account.page_size = 20
    store = Store()
    with built(account, tag="workload") as collector:
        for outcome in collector.collect(NOW, {}):
            assert isinstance(outcome, Batch)
            if outcome.paid_usd:
                assert store.paid == D("0.01") * account.requests  # this one is not made yet
            store.commit(outcome)
    assert store.paid == D("0.01") * account.requests > D("0.10")


def test_the_read_that_was_killed_is_not_repeated_before_its_time(account: CostExplorer) -> None:
    store = Store()
    with built(account) as collector:
        outcomes = collector.collect(NOW, {})
        first = next(outcomes)
        assert isinstance(first, Batch)
        store.commit(first)
        outcomes.close()  # type: ignore[attr-defined]  # it is a generator
    assert store.collect(account, NOW + HOUR) == []
    assert account.requests == 0
    assert store.collect(account, NOW + INTERVAL) == []
    assert account.requests == 2


def test_the_budget_is_hard_and_says_when_it_resets(account: CostExplorer) -> None:
    store = Store()
    now = NOW
    failures: list[str] = []
    while now < at("2026-11-30"):
        failures = [f"{f.part}: {f.reason}" for f in store.collect(account, now, monthly_budget_usd=D("0.15"))]
        now += INTERVAL
    assert account.requests == 15 and store.paid == D("0.15")
    assert len(failures) == 1
    assert "monthly_budget_usd (0.15)" in failures[0] and "2026-12-01T00:00Z" in failures[0]
    a_day = at("2026-11-19")
    assert store.sums(a_day)[0] == account.total(a_day, "NetUnblendedCost")  # what was read stays
    assert store.collect(account, at("2026-12-01T00:00:00"), monthly_budget_usd=D("0.15")) == []
    assert account.requests == 17


def test_the_budget_is_hard_for_a_clock_that_was_behind(account: CostExplorer) -> None:
    """It steps back over the end of a month, is put right a day later, and with it every process is new."""
    store = Store()
    for first in ("2026-12-01T12:00:00", "2026-11-26", "2026-12-02T12:00:00"):
        for reads in range(4):
            store.collect(account, at(first) + reads * INTERVAL, monthly_budget_usd=D("0.20"))
    assert account.requests == 20 and store.paid == D("0.20")
    assert store.collect(account, at("2027-01-01"), monthly_budget_usd=D("0.20")) == []
    assert account.requests == 22


def test_after_an_outage_all_that_may_have_changed_is_read(account: CostExplorer) -> None:
    store = Store()
    store.collect(account, NOW)
    account.items += month_of_bill("2026-11-21", "2026-12-19")
    assert store.collect(account, at("2026-12-20")) == []
    assert account.calls[-1][1]["TimePeriod"] == {"Start": "2026-11-01", "End": "2026-12-20"}
    for day in range(at("2026-11-01"), at("2026-12-20"), DAY):
        assert store.sums(day)[0] == account.total(day, "NetUnblendedCost")


def test_the_live_check_is_one_request(account: CostExplorer) -> None:
    account.page_size = 1
    for operation, resources in (("GetCostAndUsage", False), ("GetCostAndUsageWithResources", True)):
        account.calls, account.requests = [], 0
        with built(account, resources=resources) as collector:
            outcomes = list(collector.probe(NOW))
        assert account.requests == 1 and account.calls[0][0] == operation
        assert [type(outcome) for outcome in outcomes] == [Batch]


class _Hangup:
    """An endpoint that reads a request and closes the connection: AWS may have charged for it."""

    def __init__(self) -> None:
        self.now, self.requests, self._socket = 0, 0, socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection:
                if not connection.recv(65536):
                    return
                self.requests += 1

    def close(self) -> None:
        with socket.create_connection(self._socket.getsockname()):
            pass  # says nothing: the end
        self._thread.join()
        self._socket.close()


def test_every_attempt_that_was_broken_off_is_paid_for() -> None:
    account, store = _Hangup(), Store()
    try:
        failures = store.collect(account, NOW)  # type: ignore[arg-type]  # it needs its address and clock only
    finally:
        account.close()
    assert failures and account.requests > 1
    assert store.paid >= D("0.01") * account.requests
