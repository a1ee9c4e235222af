"""Google's Cloud Billing Catalog over gRPC: pages of SKUs, in bounded time, with errors that say what to do.

The one file that knows the SDK `google-cloud-billing`; it is imported when the catalogue is read, not before.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from importlib import import_module
from pathlib import Path
from time import monotonic  # a stopwatch for the deadline, not the time of day
from typing import Any

from collectors.billing.gcp_sku import Sku
from collectors.sdk import importing

COMPUTE_ENGINE = "services/6F81-5844-456A"
PAGE = 5000  # SKUs; the most the API gives
_CALL_SECONDS = 60.0  # of one attempt at one page: a page is 5 MB
_SCOPE = "https://www.googleapis.com/auth/cloud-billing.readonly"
_NANO = Decimal("1e-9")


class CatalogueError(Exception):
    """The catalogue could not be read. The text is a one-line reason with what to do, free of secrets."""


@dataclass(frozen=True, slots=True)
class Access:
    """How the catalogue is reached. `endpoint` is `host:port`, "" for Google's own; `insecure` means without TLS and
    credentials, for emulators. `seconds` bound one whole reading, waits between attempts included."""

    endpoint: str = ""
    insecure: bool = False
    credentials_file: str = ""
    seconds: float = 120.0


def read_skus(access: Access, currency: str) -> Iterator[Sku]:
    """Every SKU of Compute Engine with its current list price in `currency`, page by page. CatalogueError if a page
    cannot be had: what was yielded before is then not the whole catalogue."""
    end = monotonic() + access.seconds
    with _reasons(access, currency), _client(access) as client:
        token, seen = "", set[str]()
        while True:
            left = end - monotonic()
            if left <= 0:
                raise CatalogueError(_reason("DeadlineExceeded", "", access, currency))
            page = _page(client, currency, token, left)
            yield from (as_sku(each) for each in page.skus)
            token = page.next_page_token
            if not token:
                return
            if token in seen:
                raise CatalogueError("the catalogue names the same next page twice: nothing of it is used")
            seen.add(token)


def ask_once(access: Access, currency: str) -> None:
    """Ask for one SKU, to see whether the catalogue answers. CatalogueError if it does not."""
    with _reasons(access, currency), _client(access) as client:
        _page(client, currency, "", access.seconds, size=1)


def _page(client: Any, currency: str, token: str, left: float, size: int = PAGE) -> Any:
    """One page, within `left` seconds, as a plain protobuf message: a proto-plus one is slow to read."""
    with importing():
        from google.api_core import exceptions
        from google.api_core.retry import Retry, if_exception_type
        from google.cloud.billing_v1.types import ListSkusRequest, ListSkusResponse

    passing = (exceptions.ResourceExhausted, exceptions.ServiceUnavailable, exceptions.InternalServerError)
    retry = Retry(if_exception_type(*passing), initial=1.0, maximum=30.0, multiplier=2.0, timeout=left)
    request = ListSkusRequest(parent=COMPUTE_ENGINE, currency_code=currency, page_size=size, page_token=token)
    pager = client.list_skus(request=request, retry=retry, timeout=min(left, _CALL_SECONDS))
    return ListSkusResponse.pb(next(iter(pager.pages)))


@contextmanager
def _client(access: Access) -> Iterator[Any]:
    with importing():
        from google.cloud.billing_v1 import CloudCatalogClient
        from google.cloud.billing_v1.services.cloud_catalog.transports import CloudCatalogGrpcTransport

        grpc = import_module("grpc")  # it has no types
        import_module("google.auth.transport.requests")  # the SDK would when it first asks for a token
    if access.insecure:
        channel = grpc.insecure_channel(access.endpoint)
        client = CloudCatalogClient(transport=CloudCatalogGrpcTransport(channel=channel))
    else:
        options = {"api_endpoint": access.endpoint} if access.endpoint else {}
        client = CloudCatalogClient(credentials=_credentials(access.credentials_file), client_options=options)
    with client:  # closes the channel
        yield client


def _credentials(path: str) -> Any:
    """The credentials in a file (a service account's key); None: what the SDK finds by itself."""
    if not path:
        return None
    with importing():
        from google.oauth2 import service_account
    account: Any = service_account.Credentials
    if not Path(path).is_file():
        raise CatalogueError(f"credentials_file {path} is not there: check the path and the mounted secret")
    try:
        return account.from_service_account_file(path, scopes=[_SCOPE])
    except OSError as error:
        raise CatalogueError(f"credentials_file {path} cannot be read ({error.strerror})") from None
    except ValueError:  # its text may quote the file
        raise CatalogueError(f"credentials_file {path} is not the JSON key of a service account") from None


@contextmanager
def _reasons(access: Access, currency: str) -> Iterator[None]:
    """Turn what the SDK raises into a CatalogueError. The SDK's own texts are left out: they may quote tokens."""
    try:
        with importing():
            from google.api_core import exceptions
            from google.auth.exceptions import GoogleAuthError
    except ModuleNotFoundError:
        raise CatalogueError("google-cloud-billing is not installed: install llm-cost-exporter[gcp]") from None
    try:
        yield
    except exceptions.GoogleAPICallError as error:
        raise CatalogueError(_reason(type(error).__name__, _details(error), access, currency)) from None
    except exceptions.RetryError as error:
        raise CatalogueError(_reason(type(error.cause).__name__, "", access, currency)) from None
    except GoogleAuthError as error:
        raise CatalogueError(_reason(type(error).__name__, "", access, currency)) from None


def _details(error: Any) -> str:
    """The machine-readable reason of an error, such as SERVICE_DISABLED; "" if there is none."""
    return str(getattr(error, "reason", "") or "")


def _reason(kind: str, details: str, access: Access, currency: str) -> str:
    where = access.endpoint or "cloudbilling.googleapis.com:443"
    what = f"{where}: {kind}{f' ({details})' if details else ''}"
    match kind:
        case "DefaultCredentialsError" | "RefreshError" | "Unauthenticated" | "MalformedError" | "TransportError":
            return (
                f"{what}: no valid Google credentials. Give the pod workload identity, or set credentials_file to a "
                "service account's key (expired or deleted keys must be made anew)"
            )
        case "PermissionDenied" | "Forbidden":
            return (
                f"{what}: enable the Cloud Billing API (cloudbilling.googleapis.com) in the credentials' project, and "
                "grant them serviceusage.services.use there (roles/serviceusage.serviceUsageConsumer). The prices are "
                "public: no role on the billing account is needed"
            )
        case "ResourceExhausted" | "TooManyRequests":
            return (
                f"{what}: throttled for {access.seconds:g} s. Raise interval, or the project's quota of Cloud Billing "
                "API requests per minute"
            )
        case "InvalidArgument":
            return f"{what}: the request was refused: is currency {currency!r} one that Google bills in?"
        case _:
            return f"{what}: not readable within {access.seconds:g} s. Check egress to {where}"


def as_sku(sku: Any) -> Sku:
    """A protobuf SKU with the newest of its prices."""
    info = sku.pricing_info[-1] if sku.pricing_info else None
    rates = info.pricing_expression.tiered_rates if info else ()
    return Sku(
        id=sku.sku_id,
        description=sku.description,
        group=sku.category.resource_group,
        usage_type=sku.category.usage_type,
        regions=tuple(sku.service_regions),
        usage_unit=info.pricing_expression.usage_unit if info else "",
        currency=rates[0].unit_price.currency_code if rates else "",
        rates=tuple((Decimal(rate.start_usage_amount), _money(rate.unit_price)) for rate in rates),
        effective=info.effective_time.seconds if info else 0,
    )


def _money(price: Any) -> Decimal:
    """An exact amount: whole units and billionths."""
    return Decimal(price.units) + Decimal(price.nanos) * _NANO
