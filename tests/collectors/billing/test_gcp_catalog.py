"""The Google catalogue over real gRPC: pages, dated changes, throttling, and errors that say what to do."""

import json
import socket
import threading
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.cloud.billing_v1.types import cloud_catalog as cc

from collectors import Context
from collectors.billing import gcp_catalog, gcp_client
from collectors.billing.gcp_catalog import CATALOGUE, GcpCatalog, GcpCatalogSettings
from collectors.records import Batch, Failure, ListPrice
from collectors.settings import Duration
from tests.collectors.billing.gcp_server import ASKED, FIXTURES, Catalogue, price_in_table, rows, serving, sku

NOW = ASKED + 3600


@pytest.fixture
def server() -> Iterator[Catalogue]:
    with serving(Catalogue([sku(row) for row in rows()])) as catalogue:
        yield catalogue


@pytest.fixture(autouse=True)
def _without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """The waits between attempts are asked for, not slept."""
    monkeypatch.setattr("google.api_core.retry.retry_unary.time.sleep", lambda seconds: None)


def collector(server: Catalogue, **settings: Any) -> GcpCatalog:
    fixed = {"name": "google", "kind": "gcp_catalog", "endpoint": server.endpoint, "insecure": True}
    return GcpCatalog(GcpCatalogSettings(**{**fixed, **settings}), Context(0))


def read(one: GcpCatalog, cursors: dict[str, str], now: int = NOW) -> tuple[list[ListPrice], list[Failure]]:
    """What is delivered; `cursors` move on as in the ledger."""
    prices, failures = [], []
    for each in one.collect(now, dict(cursors)):
        if isinstance(each, Failure):
            failures.append(each)
        else:
            assert each.cursor is not None
            cursors[each.part] = each.cursor
            prices += each.list_prices
    return prices, failures


def find(prices: list[ListPrice], region: str, tier: str, unit: str, name: str) -> ListPrice:
    (found,) = (p for p in prices if (p.region, p.tier, p.unit, p.name) == (region, tier, unit, name))
    return found


def test_every_price_of_a_gpu_machine_is_read_over_two_pages_exactly(server: Catalogue) -> None:
    cursors: dict[str, str] = {}
    prices, failures = read(collector(server), cursors)
    assert not failures
    assert [call.page_token for call in server.calls] == ["", "17"]
    assert {call.currency_code for call in server.calls} == {"USD"}
    h100 = find(prices, "us-central1", "on_demand", "gpu", "nvidia-h100-80gb")
    assert h100 == ListPrice(
        *(
            "gcp",
            "us-central1",
            "on_demand",
            "gpu",
            "nvidia-h100-80gb",
            Decimal("9.796550569"),
            "USD",
            ASKED,
            "T-A3-GPU",
        )
    )
    assert find(prices, "us-central1", "spot", "gpu", "nvidia-b200").sku == "T-B200-SPOT"
    assert find(prices, "us-central1", "on_demand", "gpu", "nvidia-h100-mega-80gb").sku == "T-MEGA-GPU"
    assert find(prices, "us-central1", "commit_1y", "gpu", "nvidia-l4").sku == "T-L4-1Y"
    assert find(prices, "us-central1", "commit_3y", "vcpu", "n1").sku == "T-N1-3Y"
    assert find(prices, "us-west1", "on_demand", "memory_gib", "a2").price_per_hour == Decimal("0.004237")
    ssd = find(prices, "us-east1", "on_demand", "local_ssd_gib", "local-ssd")
    assert ssd.price_per_hour * 730 == pytest.approx(price_in_table("T-SSD"))
    assert {price.region for price in prices} == {"us-central1", "us-east1", "us-west1"}, "a region without GPUs"
    assert json.loads(cursors[CATALOGUE]) == {"other_offer": 2}


def test_an_unchanged_catalogue_is_nothing_new_whatever_its_effective_time(server: Catalogue) -> None:
    cursors: dict[str, str] = {}
    read(collector(server), cursors)
    server.skus = [sku(row, ASKED + 86400) for row in rows()]
    assert list(collector(server).collect(NOW + 86400, cursors)) == []


def test_a_changed_price_is_one_new_dated_record(server: Catalogue) -> None:
    cursors: dict[str, str] = {}
    read(collector(server), cursors)
    dearer = [{**row, "price": "3.1"} if row["id"] == "039F-D0DA-4055" else row for row in rows()]
    server.skus = [sku(row, ASKED + 86400) for row in dearer]
    prices, _ = read(collector(server), cursors, NOW + 86400)
    assert {(p.region, p.sku, p.price_per_hour, p.start) for p in prices} == {
        (region, "039F-D0DA-4055", Decimal("3.1"), ASKED + 86400) for region in ("us-central1", "us-east1", "us-west1")
    }
    assert read(collector(server), cursors, NOW + 90000) == ([], [])


def test_a_price_that_is_gone_stays_known_and_its_return_is_no_news(server: Catalogue) -> None:
    cursors: dict[str, str] = {}
    read(collector(server), cursors)
    server.skus = [sku(row) for row in rows() if row["id"] != "T-G2-GPU"]
    assert read(collector(server), cursors) == ([], [])
    server.skus = [sku(row) for row in rows()]
    assert read(collector(server), cursors) == ([], [])


def test_only_the_regions_that_are_wanted_and_a_misspelt_one_is_named(server: Catalogue) -> None:
    prices, failures = read(collector(server, regions=("us-west1", "us-wset1")), {})
    assert {price.region for price in prices} == {"us-west1"}
    assert [(f.part, f.reason) for f in failures] == [
        ("us-wset1", "no price of a GPU machine in region 'us-wset1': check `regions`")
    ]


@pytest.mark.parametrize("currency", ["USD", "EUR"])
def test_recorded_skus_are_kept_as_given_in_the_currency_of_their_prices(currency: str) -> None:
    recorded = json.loads((FIXTURES / "catalog_skus_a.json").read_text().replace('"USD"', f'"{currency}"'))
    skus = cc.ListSkusResponse.from_json(json.dumps(recorded), ignore_unknown_fields=True).skus
    with serving(Catalogue(skus)) as server:
        prices, failures = read(collector(server, currency=currency), {})
    assert not failures
    assert {(p.unit, p.name, p.price_per_hour, p.currency) for p in prices} == {
        ("gpu", "nvidia-tesla-a100", Decimal("2.933908"), currency),
        ("vcpu", "a2", Decimal("0.031611"), currency),
    }
    assert {price.start for price in prices} == {1679655170}


def test_throttling_is_waited_out(server: Catalogue) -> None:
    server.failures = [grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE]
    prices, failures = read(collector(server), {})
    assert prices and not failures
    assert len(server.calls) == 4


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (grpc.StatusCode.PERMISSION_DENIED, "serviceusage.services.use"),
        (grpc.StatusCode.UNAUTHENTICATED, "set credentials_file"),
        (grpc.StatusCode.INVALID_ARGUMENT, "'USD'"),
        (grpc.StatusCode.NOT_FOUND, "not readable"),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "Check egress"),
    ],
)
def test_an_error_says_what_to_do_and_no_secret_and_keeps_what_is_known(
    server: Catalogue, status: grpc.StatusCode, said: str
) -> None:
    cursors: dict[str, str] = {}
    read(collector(server), cursors)
    before = dict(cursors)
    dearer = [{**row, "price": "3.1"} for row in rows()]
    server.skus, server.failures = [sku(row) for row in dearer], [status]
    prices, (failure,) = read(collector(server), cursors)
    assert not prices and cursors == before
    assert failure.part == CATALOGUE and said in failure.reason
    assert "SECRET" not in failure.reason and "\n" not in failure.reason


def test_a_failure_on_the_second_page_delivers_nothing_of_the_first(
    server: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = server.list_skus

    def denied(request: cc.ListSkusRequest, context: grpc.ServicerContext) -> cc.ListSkusResponse:
        if request.page_token:
            context.abort(grpc.StatusCode.PERMISSION_DENIED, "")
        return answer(request, context)

    monkeypatch.setattr(server, "list_skus", denied)
    with serving(server):
        prices, failures = read(collector(server), {})
    assert not prices and len(failures) == 1


def test_throttling_for_longer_than_the_timeout_ends(server: Catalogue) -> None:
    server.failures = [grpc.StatusCode.RESOURCE_EXHAUSTED] * 10_000
    prices, (failure,) = read(collector(server, timeout=Duration(1)), {})
    assert not prices
    assert "throttled for 1 s. Raise interval" in failure.reason


def test_a_server_that_never_answers_is_left_at_the_timeout(server: Catalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    let_go = threading.Event()

    def silent(request: cc.ListSkusRequest, context: grpc.ServicerContext) -> cc.ListSkusResponse:
        let_go.wait()
        return cc.ListSkusResponse()

    monkeypatch.setattr(server, "list_skus", silent)
    with serving(server):
        (failure,) = read(collector(server, timeout=Duration(1)), {})[1]
        let_go.set()
    assert "DeadlineExceeded: not readable within 1 s" in failure.reason


def test_nobody_listening_ends_too() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        nobody = Catalogue([], endpoint=f"127.0.0.1:{taken.getsockname()[1]}")
    (failure,) = read(collector(nobody, timeout=Duration(1)), {})[1]
    assert failure.reason.endswith(f"not readable within 1 s. Check egress to {nobody.endpoint}")


def test_the_probe_is_one_request_for_one_sku(server: Catalogue) -> None:
    (outcome,) = collector(server).probe(NOW)
    assert isinstance(outcome, Batch)
    assert [call.page_size for call in server.calls] == [1]


def test_the_probe_names_what_is_missing_and_ends_soon(server: Catalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    server.failures = [grpc.StatusCode.PERMISSION_DENIED]
    (failure,) = collector(server).probe(NOW)
    assert isinstance(failure, Failure)
    assert "grant them serviceusage.services.use" in failure.reason
    assert gcp_catalog.PROBE_SECONDS < 10
    monkeypatch.setattr(gcp_catalog, "PROBE_SECONDS", 0.2)
    server.failures = [grpc.StatusCode.UNAVAILABLE] * 1000
    (failure,) = collector(server).probe(NOW)
    assert isinstance(failure, Failure)
    assert "not readable within 0.2 s" in failure.reason


def test_a_catalogue_that_turns_in_circles_is_left(server: Catalogue) -> None:
    server.endless = True
    (failure,) = read(collector(server), {})[1]
    assert "same next page twice" in failure.reason


def test_a_service_without_gpus_is_no_success() -> None:
    with serving(Catalogue([])) as server:
        (failure,) = read(collector(server), {})[1]
    assert "no price of a GPU machine" in failure.reason


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "is not there"), ("{}", "not the JSON key"), ("ya29.SECRET", "not the JSON key")],
)
def test_a_credentials_file_that_is_no_key_is_named_and_not_quoted(
    tmp_path: Path, content: str | None, said: str
) -> None:
    path = tmp_path / "key.json"
    if content is not None:
        path.write_text(content)
    settings = GcpCatalogSettings("google", "gcp_catalog", credentials_file=str(path))
    (failure,) = GcpCatalog(settings, Context(0)).collect(NOW, {})
    assert isinstance(failure, Failure)
    assert str(path) in failure.reason and said in failure.reason and "SECRET" not in failure.reason


def test_no_credentials_at_all_says_how_to_give_them(monkeypatch: pytest.MonkeyPatch) -> None:
    from google.auth.exceptions import DefaultCredentialsError

    def nothing_found(*args: object, **kwargs: object) -> None:
        raise DefaultCredentialsError("looked at /secret/path")

    monkeypatch.setattr("google.auth.default", nothing_found)
    (failure,) = GcpCatalog(GcpCatalogSettings("google", "gcp_catalog"), Context(0)).collect(NOW, {})
    assert isinstance(failure, Failure)
    assert "workload identity" in failure.reason and "/secret" not in failure.reason


def test_without_the_sdk_it_says_what_to_install(server: Catalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "google.api_core", None)
    (failure,) = read(collector(server), {})[1]
    assert "llm-cost-exporter[gcp]" in failure.reason


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"currency": "usd"}, "currency: expected"),
        ({"timeout": Duration(86400)}, "timeout: expected less than the interval, '1d'"),
        ({"insecure": True}, "endpoint: expected"),
        ({"insecure": True, "endpoint": "x:1", "credentials_file": "f"}, "credentials_file: expected none"),
    ],
)
def test_settings_that_cannot_work_are_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        GcpCatalogSettings("google", "gcp_catalog", **wrong)


def test_two_skus_for_one_thing_are_counted_and_one_stays_chosen(server: Catalogue) -> None:
    other = {**rows()[0], "id": "FFFF-0000-0000", "price": "2.5"}
    for order in ([other, *rows()], [*rows(), other]):
        server.skus = [sku(row) for row in order]
        cursors: dict[str, str] = {}
        prices, _ = read(collector(server), cursors)
        assert find(prices, "us-east1", "on_demand", "gpu", "nvidia-tesla-a100").sku == "039F-D0DA-4055"
        assert json.loads(cursors[CATALOGUE])["two_prices"] == 3


def test_what_is_left_out_is_said_once(server: Catalogue) -> None:
    cursors: dict[str, str] = {}
    first = [each for each in collector(server).collect(NOW, cursors) if isinstance(each, Batch)]
    assert [batch.rejected for batch in first if batch.part == CATALOGUE] == [{"other_offer": 2}]
    assert server.calls[0].page_size == gcp_client.PAGE
