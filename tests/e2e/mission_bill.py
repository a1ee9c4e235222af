"""The AWS side of the mission: an export in S3 (moto) behind a gate that can refuse, and what its bill says."""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from collectors.records import DAY, HOUR
from tests.collectors.billing.ce_stand_in import CostExplorer, Item, RefusedError
from tests.collectors.billing.data_exports import EXPORT, Delivery, Row, line, storage, utc

BUCKET, PREFIX = "finops", "exports/gpu"
INSTANCE, GONE_INSTANCE = "i-0aaa111122223333", "i-0bbb444455556666"
USD_PER_HOUR = "40"
"""What AWS bills for an hour of the node, after discounts; its list price is dearer."""

LAB_ACCOUNT = "444455556666"
LAB_USD_PER_HOUR = Decimal("1.25")
KEY, SECRET = "AKIDTEST", "aws-secret-9d1f5c7e3b"


def period(at: int) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m}"


def month_start(at: int, back: int = 0) -> int:
    """The start of the UTC month `back` months before that of `at`."""
    day = datetime.fromtimestamp(at, UTC)
    months = day.year * 12 + day.month - 1 - back
    return int(datetime(months // 12, months % 12 + 1, 1, tzinfo=UTC).timestamp())


def row(start: int, usd: str, hours: float = 1, **more: str) -> Row:
    """`hours` of the node from `start` on."""
    times = {
        "line_item_usage_start_date": utc(start),
        "line_item_usage_end_date": utc(start + round(hours * HOUR)),
        "line_item_resource_id": INSTANCE,
    }
    return {**line(usd), **times, **more}


def node_hours(start: int, count: int) -> list[Row]:
    return [row(start + hour * HOUR, USD_PER_HOUR) for hour in range(count)]


def extras(start: int, usd_of_disk: str) -> list[Row]:
    """A day's disk that no node is, tax and a credit."""
    disk = {
        **storage(usd_of_disk),
        "line_item_usage_start_date": utc(start),
        "line_item_usage_end_date": utc(start + HOUR),
    }
    no_use = {
        "line_item_resource_id": "",
        "product_instance_type": "",
        "line_item_usage_amount": "0",
        "pricing_unit": "",
    }
    return [
        disk,
        row(start, "9.50", 24, line_item_line_item_type="Tax", **no_use),
        row(start, "-12.25", 24, line_item_line_item_type="Credit", **no_use),
    ]


def bill(midnight: int) -> list[Row]:
    """What is delivered at the UTC day that starts at `midnight`: two whole days of the node and half of the third,
    and a month before in which nobody watched."""
    before = month_start(midnight, 1) + 9 * DAY
    return [
        *node_hours(midnight - 5 * DAY, 60),
        *extras(midnight - 5 * DAY, "3.21"),
        row(before, "24.00", 24, line_item_resource_id=GONE_INSTANCE, line_item_usage_amount="24.0"),
        *extras(before, "1.10"),
    ]


class Gate:
    """WSGI: moto's S3, but reading objects whose key contains what `refused` names; value: (status, AWS error code)."""

    def __init__(self, inner: Callable[..., Any]) -> None:
        self.inner = inner
        self.refused: dict[str, tuple[str, str]] = {}

    def __call__(self, environ: Mapping[str, Any], start_response: Callable[..., Any]) -> Any:
        for part, (status, code) in list(self.refused.items()):
            if environ["REQUEST_METHOD"] != "PUT" and part in environ["PATH_INFO"]:
                start_response(status, [("Content-Type", "application/xml")])
                return [f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode()]
        return self.inner(environ, start_response)


@dataclass
class Exports:
    """The bucket: deliveries go in, the exporter reads them through the gate."""

    url: str
    gate: Gate
    folder: Path
    deliveries: int = 0
    _client: Any = field(default=None, repr=False)

    def deliver(self, rows: Iterable[Row], kind: str = "snappy.parquet") -> None:
        """One delivery of every billing period of `rows`, data first and manifest last, as AWS writes them."""
        self.deliveries += 1
        by_period: dict[str, list[Row]] = {}
        for one in rows:
            by_period.setdefault(one["line_item_usage_start_date"][:7], []).append(one)
        for name, found in by_period.items():
            Delivery(self.folder, name, kind, f"run-{self.deliveries}").write(found)
        base = self.folder / EXPORT
        for path in sorted(path for path in base.rglob("*") if path.is_file()):
            key = f"{PREFIX}/{EXPORT}/{path.relative_to(base)}"
            self._client.put_object(Bucket=BUCKET, Key=key, Body=path.read_bytes())
            path.unlink()

    def open(self) -> "Exports":
        import boto3

        keys = {"aws_access_key_id": KEY, "aws_secret_access_key": SECRET}
        self._client = boto3.client("s3", endpoint_url=self.url, region_name="us-east-1", **keys)
        self._client.create_bucket(Bucket=BUCKET)
        return self

    def close(self) -> None:
        self._client.close()


@contextmanager
def exports(folder: Path) -> Iterator[Exports]:
    import logging

    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    gate = Gate(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, gate, threaded=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    opened = Exports(f"http://127.0.0.1:{server.port}", gate, folder).open()
    try:
        yield opened
    finally:
        opened.close()
        server.shutdown()
        thread.join()
        server.server_close()


def lab_account(now: int, midnight: int) -> CostExplorer:
    """Another account: a tagged instance that the lab rents, and traffic and tax that nobody is named for."""
    start = midnight - 3 * DAY
    tagged = [
        Item(start + h * HOUR, LAB_USD_PER_HOUR, LAB_USD_PER_HOUR, usage_type="BoxUsage:g5.2xlarge",
             tags={"workload": "lab"}, account=LAB_ACCOUNT)
        for h in range(24)
    ]  # fmt: skip
    traffic = Item(start, Decimal("0.77"), Decimal("0.77"), usage_type="DataTransfer-Out-Bytes", account=LAB_ACCOUNT,
                   quantity=Decimal(9), unit="GB")  # fmt: skip
    tax = Item(start, Decimal("2.5"), Decimal("2.5"), "Tax", usage_type="", service="Tax", account=LAB_ACCOUNT)
    return CostExplorer(now, [*tagged, traffic, tax])


def expired() -> RefusedError:
    return RefusedError("ExpiredTokenException", "The security token included in the request is expired")


def chat_billed_usd(first_day: str = USD_PER_HOUR) -> Decimal:
    """What of the node's bill is for four of its eight GPUs."""
    return (24 * Decimal(first_day) + 36 * Decimal(USD_PER_HOUR)) / 2
