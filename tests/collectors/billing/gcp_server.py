"""A Cloud Billing Catalog served over gRPC on loopback, made from the client package's own messages.

It stands in for cloudbilling.googleapis.com: paging by token, the currency of the request, errors as statuses.
"""

import csv
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

import grpc
from google.cloud.billing_v1.types import cloud_catalog as cc

FIXTURES = Path(__file__).parents[2] / "fixtures" / "gcp"
ASKED = 1_790_000_000  # the effective time of the answers, unless a test says otherwise


def sku(row: dict[str, str], effective: int = ASKED) -> cc.Sku:
    """The message for a row of skus.csv."""
    units, _, fraction = row["price"].partition(".")
    price = {"currency_code": "USD", "units": int(units), "nanos": int(fraction.ljust(9, "0"))}
    return cc.Sku(
        sku_id=row["id"],
        description=row["description"],
        category={"resource_family": "Compute", "resource_group": row["group"], "usage_type": row["usage_type"]},
        service_regions=row["regions"].split(),
        pricing_info=[
            {
                "effective_time": {"seconds": effective},
                "currency_conversion_rate": 1,
                "pricing_expression": {
                    "usage_unit": row["usage_unit"],
                    "tiered_rates": [{"start_usage_amount": 0, "unit_price": price}],
                },
            }
        ],
    )


def rows() -> list[dict[str, str]]:
    with (FIXTURES / "skus.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def price_in_table(identity: str) -> Decimal:
    return next(Decimal(row["price"]) for row in rows() if row["id"] == identity)


@dataclass
class Catalogue:
    """What the server has and is to do: `failures` are given in turn, one to each call, before it answers again."""

    skus: Sequence[cc.Sku]
    page_size: int = 17
    failures: list[grpc.StatusCode] = field(default_factory=list)
    endless: bool = False  # names the first page as the next of every page
    calls: list[cc.ListSkusRequest] = field(default_factory=list)
    endpoint: str = ""

    def list_skus(self, request: cc.ListSkusRequest, context: grpc.ServicerContext) -> cc.ListSkusResponse:
        self.calls.append(request)
        if self.failures:
            context.abort(self.failures.pop(0), "token ya29.SECRET was refused")
        if request.parent != "services/6F81-5844-456A" or len(request.currency_code) != 3:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "bad request")
        start = int(request.page_token or 0)
        end = start + self.page_size
        more = "0" if self.endless else str(end) if end < len(self.skus) else ""
        return cc.ListSkusResponse(skus=self.skus[start:end], next_page_token=more)


@contextmanager
def serving(catalogue: Catalogue) -> Iterator[Catalogue]:
    handler = grpc.unary_unary_rpc_method_handler(
        catalogue.list_skus,
        request_deserializer=cc.ListSkusRequest.deserialize,
        response_serializer=cc.ListSkusResponse.serialize,
    )
    service = "google.cloud.billing.v1.CloudCatalog"
    with ThreadPoolExecutor(2) as pool:
        server = grpc.server(pool)
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {"ListSkus": handler}),))
        catalogue.endpoint = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        server.start()
        try:
            yield catalogue
        finally:
            server.stop(None).wait()
