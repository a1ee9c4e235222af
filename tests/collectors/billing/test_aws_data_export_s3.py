"""Against moto's S3 over HTTP, an independent stand-in; and the refusals that moto does not make, from botocore."""

import itertools
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from collectors import Context
from collectors.billing import cur_source
from collectors.billing.aws_data_export import AwsDataExport, DataExportSettings
from collectors.billing.aws_session import Access, client
from tests.collectors.billing.cost_explorer_ledger import only_test_credentials
from tests.collectors.billing.data_exports import EXPORT, WRITERS, Delivery, Store, line, storage

PREFIX = "exports/gpu"
PART = f"{EXPORT}/2026-10"
NUMBERS = itertools.count()
MONTH = [line("1.50", 1), line("2.25", 2), storage("4.00", 3)]


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield f"http://{host}:{port}"
    finally:
        server.stop()


class Bill:
    """A bucket with an export, and a collector that reads it."""

    def __init__(self, endpoint: str, bucket: str, folder: Path) -> None:
        self._folder, self.bucket = folder, bucket
        self.s3 = client("s3", Access(region="us-east-1", endpoint_url=endpoint))
        self.s3.create_bucket(Bucket=bucket)
        settings = DataExportSettings(
            "bill", "aws_data_export", EXPORT, bucket, PREFIX, region="us-east-1", endpoint_url=endpoint
        )
        self.source = AwsDataExport(settings, Context(first_start=0))

    def deliver(self, *chunks: Any, kind: str = "csv.gz", execution: str = "", at: int = 1000) -> list[str]:
        """Upload a delivery, the manifest last; the keys."""
        Delivery(self._folder, kind=kind, execution=execution).write(*chunks, at=at)
        base = self._folder / EXPORT
        files = sorted(path for path in base.rglob("*") if path.is_file())  # data/ before metadata/
        keys = [f"{PREFIX}/{EXPORT}/{path.relative_to(base)}" for path in files]
        for path, key in zip(files, keys, strict=True):
            self.s3.put_object(Bucket=self.bucket, Key=key, Body=path.read_bytes())
            path.unlink()
        return keys


@pytest.fixture
def bill(moto: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bill]:
    only_test_credentials(monkeypatch)
    made = Bill(moto, f"bucket-{next(NUMBERS)}", tmp_path / "made")
    yield made
    made.s3.close()


@pytest.mark.parametrize("kind", WRITERS)
def test_an_export_is_read_from_the_bucket_and_replaced(bill: Bill, kind: str) -> None:
    store = Store()
    bill.deliver(MONTH[:2], MONTH[2:], kind=kind)
    assert (store.take(bill.source)[1], store.costs()) == ([], ["1.5", "2.25", "4"])
    assert store.take(bill.source) == ([], [])
    bill.deliver(MONTH[1:], kind=kind, at=90_000)
    assert (store.take(bill.source)[1], store.costs()) == ([], ["2.25", "4"])


def test_executions_beside_each_other_do_not_add_up(bill: Bill) -> None:
    store = Store()
    bill.deliver(MONTH, execution="20261119T10-a")
    bill.deliver(MONTH[:2], execution="20261120T10-b", at=90_000)
    assert (store.take(bill.source)[1], store.costs()) == ([], ["1.5", "2.25"])


def test_many_manifests_are_listed_page_by_page(bill: Bill, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(12):
        key = f"{PREFIX}/{EXPORT}/metadata/BILLING_PERIOD=2026-10/run-{number:04}/note.json"
        bill.s3.put_object(Bucket=bill.bucket, Key=key, Body=b"{}")
    make, pages = cur_source.client, []

    def short_pages(service: str, access: Access) -> Any:
        made = make(service, access)

        def five(params: dict[str, Any], **_: Any) -> None:
            params["MaxKeys"] = 5
            pages.append(params["Prefix"])

        made.meta.events.register("provide-client-params.s3.ListObjectsV2", five)
        return made

    monkeypatch.setattr(cur_source, "client", short_pages)
    store = Store()
    bill.deliver(MONTH, execution="zz-last")
    assert (store.take(bill.source)[1], len(store.all())) == ([], 3)
    assert len([prefix for prefix in pages if prefix.endswith("2026-10/")]) == 3


def test_a_missing_data_file_is_a_half_delivery(bill: Bill) -> None:
    data, _ = bill.deliver(MONTH)
    bill.s3.delete_object(Bucket=bill.bucket, Key=data)
    batches, failures = Store().take(bill.source)
    name = data.removeprefix(f"{PREFIX}/{EXPORT}/")
    assert (batches, failures) == (
        [],
        [f"{PART}: {name} is not there, but the manifest names it: half delivered, or removed"],
    )


def test_an_object_replaced_while_it_is_read_is_not_mixed_in(bill: Bill, monkeypatch: pytest.MonkeyPatch) -> None:
    data, _ = bill.deliver(MONTH)
    fetch = cur_source.Bucket.fetch

    def overtaken(self: Any, item: Any, folder: Path) -> Path:
        bill.s3.put_object(Bucket=bill.bucket, Key=data, Body=b"another delivery")
        return fetch(self, item, folder)

    monkeypatch.setattr(cur_source.Bucket, "fetch", overtaken)
    batches, (failure,) = Store().take(bill.source)
    assert not batches and "was replaced while it was read" in failure


def test_a_bucket_that_is_not_there(bill: Bill, moto: str) -> None:
    settings = DataExportSettings(
        "bill", "aws_data_export", EXPORT, "no-such-bucket", PREFIX, region="us-east-1", endpoint_url=moto
    )
    _, failures = Store().take(AwsDataExport(settings, Context(first_start=0)))
    assert set(failures) == {
        f"{EXPORT}/2026-{month}: s3:ListBucket on s3://no-such-bucket: not found (NoSuchBucket)" for month in (10, 11)
    }


@pytest.mark.parametrize(
    ("operation", "code", "status", "reason"),
    [
        ("list_objects_v2", "AccessDenied", 403, "permission s3:ListBucket is missing"),
        ("get_object", "AccessDenied", 403, "permission s3:GetObject is missing"),
        ("head_object", "403", 403, "permission s3:GetObject is missing"),
        ("list_objects_v2", "ExpiredToken", 400, "the credentials have expired"),
        ("get_object", "ExpiredToken", 400, "the credentials have expired"),
        ("list_objects_v2", "SlowDown", 503, "AWS throttles s3:ListBucket"),
        ("get_object", "SlowDown", 503, "AWS throttles s3:GetObject"),
    ],
)
def test_a_refusal_keeps_the_bill_and_says_what_to_do(
    bill: Bill, monkeypatch: pytest.MonkeyPatch, operation: str, code: str, status: int, reason: str
) -> None:
    store = Store()
    bill.deliver(MONTH)
    store.take(bill.source)
    before = store.all()
    bill.deliver(MONTH[:1], at=90_000)
    make = cur_source.client

    def refusing(service: str, access: Access) -> Any:
        made = make(service, access)

        def refuse(**_: Any) -> Any:
            answer = {"Error": {"Code": code, "Message": "AKIA-secret"}, "ResponseMetadata": {"HTTPStatusCode": status}}
            return type("Http", (), {"status_code": status, "headers": {}, "content": b"", "raw": None})(), answer

        name = "".join(word.title() for word in operation.split("_"))
        made.meta.events.register(f"before-call.s3.{name}", refuse)
        return made

    monkeypatch.setattr(cur_source, "client", refusing)
    batches, failures = store.take(bill.source)
    assert (batches, store.all()) == ([], before)
    assert failures and all(reason in failure and "secret" not in failure for failure in failures)
    monkeypatch.undo()
    only_test_credentials(monkeypatch)
    assert (store.take(bill.source)[1], store.costs()) == ([], ["1.5"])


def test_an_endpoint_that_is_down(bill: Bill) -> None:
    settings = DataExportSettings(
        "bill", "aws_data_export", EXPORT, "b", region="us-east-1", endpoint_url="http://127.0.0.1:9"
    )
    _, failures = Store().take(AwsDataExport(settings, Context(first_start=0)))
    assert failures and all("cannot be reached" in failure for failure in failures)
