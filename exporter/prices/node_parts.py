"""What a machine's list price is made of: itself, or its GPUs, cores, memory and local SSD. Pure."""

from dataclasses import dataclass
from decimal import Decimal

from collectors.gpu_names import gpu_product
from collectors.records import Node, PriceUnit
from exporter.prices.node_tables import machine_type


@dataclass(frozen=True, slots=True)
class Kind:
    """All that a node's list price depends on: nodes of one kind cost the same. Names in lower case."""

    provider: str
    region: str
    tier: str
    instance_type: str
    gpu: str
    gpus: Decimal
    tier_told: bool

    @classmethod
    def of(cls, node: Node) -> "Kind":
        return cls(
            provider=node.provider,
            region=node.region.lower(),
            tier=node.tier or "on_demand",
            instance_type=node.instance_type.lower(),
            gpu=gpu_product(node.gpu),
            gpus=node.gpus,
            tier_told=bool(node.tier),
        )


@dataclass(frozen=True, slots=True)
class Part:
    """So much of something that has a price for itself."""

    unit: PriceUnit
    name: str
    quantity: Decimal

    def __str__(self) -> str:
        what = {"vcpu": "vCPU", "memory_gib": "GiB", "local_ssd_gib": "GiB local SSD"}.get(self.unit, f"x {self.name}")
        return f"{self.quantity:f} {what}"


def parts(kind: Kind) -> tuple[Part, ...]:
    """The parts that Google prices a machine by; () where that is not known, or another provider prices it whole.

    What the machine type says goes before what the node says of itself: a node shows the GPUs that its driver offers,
    and a driver does not tell one kind of H100 from the other.
    """
    machine = machine_type(kind.provider, kind.instance_type) if kind.provider == "gcp" else None
    if machine is None:
        return ()
    gpu, gpus = (machine.gpu, machine.gpus) if machine.gpu else (kind.gpu, kind.gpus)
    found = [Part("gpu", gpu, gpus)]
    if machine.family:
        found += [Part("vcpu", machine.family, machine.vcpus), Part("memory_gib", machine.family, machine.memory_gib)]
        found += [Part("local_ssd_gib", "local-ssd", machine.local_ssd_gib)]
    return tuple(part for part in found if part.quantity)
