"""A cluster and its bill as values, for tests of the cost of nodes: batches such as the collectors of each give."""

from collections.abc import Iterable
from dataclasses import replace
from decimal import Decimal
from math import ceil

from collectors.cluster.kubernetes import KubernetesSettings
from collectors.records import DAY, HOUR, OPEN, Allocation, Batch, Charge, ListPrice, Node, Observed, Window
from collectors.settings import Duration
from tests.exporter.simulated import START

GPUS = Decimal(8)
PODS = KubernetesSettings(
    name="pods", kind="kubernetes", api_server="http://127.0.0.1:9", interval=Duration(3600)
)  # never asked


def node(key: str = "n1", resource: str = "i-1", start: int = START, end: int = OPEN, **more: object) -> Node:
    fields: dict[str, object] = {
        "key": key,
        "name": f"node-{key}",
        "window": Window(start, end),
        "gpu": "test-gpu",
        "gpus": GPUS,
        "resource": resource,
        "provider": "aws",
        "instance_type": "t9.8gpu",
        "region": "moon-1",
        "tier": "on_demand",
    }
    return Node(**{**fields, **more})  # type: ignore[arg-type]


def pod(
    name: str, gpus: object, start: int = START, end: int = OPEN, on: str = "n1", sidecar: bool = False, **labels: str
) -> Allocation:
    own = {"namespace": "llm", "owner": name.rsplit("-", 1)[0], "pod": name, **labels}
    held = Window(start, end)
    return Allocation(f"{name}/{start}", on, Decimal(str(gpus)), held, tuple(sorted(own.items())), sidecar)


def handed_over(held: Allocation, at: int) -> list[Allocation]:
    """What is said of a pod that gets a sidecar, or loses it, at the instant `at`."""
    later = replace(held, key=f"{held.first_key}#{at}", window=Window(at, held.window.end), sidecar=not held.sidecar)
    return [replace(held, window=Window(held.window.start, at)), later]


def listed(usd_per_hour: str = "16", start: int = START - DAY, currency: str = "USD") -> ListPrice:
    return ListPrice("aws", "moon-1", "on_demand", "node", "t9.8gpu", Decimal(usd_per_hour), currency, start)


def seen(until: int, *facts: Node | Allocation | ListPrice, since: int = START) -> Batch:
    """What a cluster collector says at `until`, having watched since `since`."""
    return Batch(
        "cluster",
        nodes=[fact for fact in facts if isinstance(fact, Node)],
        allocations=[fact for fact in facts if isinstance(fact, Allocation)],
        list_prices=[fact for fact in facts if isinstance(fact, ListPrice)],
        observed=[Observed(Window(since, until))],
    )


def line(start: int, hours: object, usd: str, resource: str = "i-1", **more: object) -> Charge:
    """A bill line for one node from `start` hours after START; its period is a whole number of hours."""
    hours = Decimal(str(hours))
    whole = ceil(hours)
    charge = Charge(
        window=Window(START + start * HOUR, START + (start + whole) * HOUR),
        category="Usage",
        currency="USD",
        billed_cost=Decimal(usd),
        effective_cost=Decimal(usd),
        component="gpu",
        provider="AWS",
        resource=resource,
        account="1",
        quantity=hours,
        unit="Hours",
    )
    return replace(charge, **more)  # type: ignore[arg-type]


def bill(charges: Iterable[Charge], days: int = 3) -> Batch:
    return Batch("month", charges=tuple(charges), window=Window(START - DAY, START + days * DAY), cursor="x")
