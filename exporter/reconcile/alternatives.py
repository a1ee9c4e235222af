"""The other way to serve a workload: which alternatives it has, in order, and how each is priced."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from collectors.records import Path
from exporter.config import Alternative, Workload
from exporter.prices.book import PriceKey
from exporter.reconcile.matching import names_of
from exporter.reconcile.memo import once_for_each

MAX_OTHERS = 3


@dataclass(frozen=True, slots=True)
class ApiAlternative:
    """An API endpoint that self-hosted tokens could go to. The first of a workload is its primary."""

    label: str
    price: PriceKey
    discount: Decimal = Decimal(0)


def api_key(endpoint: str, service_tier: str = "default", region: str = "") -> PriceKey:
    """The price key of an endpoint written `<provider>/<model>`."""
    provider, _, model = endpoint.partition("/")
    return PriceKey(provider, model, service_tier, region)


def alternatives_of(
    name: str, path: Path, workloads: Sequence[Workload], automatic: Mapping[tuple[str, Path], str]
) -> tuple[ApiAlternative, ...]:
    """The API alternatives of a self-hosted workload, primary first, at most three others.

    Configured ones in their order; else the endpoint in `automatic`, chosen once and kept. An API workload's
    alternative is a self-hosting plan; plans have no figures yet, so it has none here.
    """
    if path != "self_hosted":
        return ()
    found = _configured(workloads).get(name, ())
    if not found and (name, path) in automatic:
        endpoint = automatic[name, path]
        found = (ApiAlternative(f"api:{endpoint}", api_key(endpoint)),)
    return found


@once_for_each
def _configured(workloads: Sequence[Workload]) -> dict[str, tuple[ApiAlternative, ...]]:
    """The API alternatives that each workload configures, but for those that are too many."""
    return {
        name: tuple([_api(one) for one in workload.alternatives if one.api][: 1 + MAX_OTHERS])
        for name, workload in names_of(workloads).by_name.items()
    }


def _api(alternative: Alternative) -> ApiAlternative:
    assert alternative.api is not None
    key = api_key(alternative.api, alternative.service_tier, alternative.region)
    return ApiAlternative(alternative.label, key, alternative.discount)
