"""The bundled tables of machine types and list prices (`data/README.md`: origins, licences, what they leave out).

They are part of the package and the same in every run, so to read them is no I/O in the sense of the import law; they
are read at the first question and kept. A sidecar asks none.
"""

import csv
import re
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from importlib.resources import files

from collectors.records import ListPrice

ORIGINS = {
    "aws": "karpenter-provider-aws",
    "azure": "karpenter-provider-azure",
    "gcp": "karpenter-provider-gcp",
}
_GZIP = 16 + zlib.MAX_WBITS

# https://cloud.google.com/compute/docs/general-purpose-machines#n1_machines: GiB for each vCPU
_N1 = re.compile(r"n1-(standard|highmem|highcpu)-(\d+)")
_N1_GIB = {"standard": Decimal("3.75"), "highmem": Decimal("6.5"), "highcpu": Decimal("0.9")}


@dataclass(frozen=True, slots=True)
class MachineType:
    """What a machine consists of. `family` is what its cores and memory are priced as in Google's catalogue, "" if they
    are not priced for themselves; `gpus` may be a fraction; `gpu` is "" where GPUs are attached to it one by one.
    """

    family: str
    vcpus: Decimal
    memory_gib: Decimal
    gpu: str = ""
    gpus: Decimal = Decimal(0)
    local_ssd_gib: Decimal = Decimal(0)


def machine_type(provider: str, instance_type: str) -> MachineType | None:
    """The specification of an instance type, or None if it is not known: those of GPU machines are."""
    n1 = _N1.fullmatch(instance_type) if provider == "gcp" else None
    if n1:
        vcpus = Decimal(n1[2])
        return MachineType("n1", vcpus, vcpus * _N1_GIB[n1[1]])
    return _machine_types().get((provider, instance_type))


@cache
def bundled_prices() -> tuple[ListPrice, ...]:
    """The bundled list prices of whole machines, in USD, each valid from the day its table was made."""
    return tuple(
        ListPrice(
            provider=row["provider"],
            region=row["region"],
            tier=row["tier"],
            unit="node",
            name=row["instance_type"],
            price_per_hour=Decimal(row["usd_per_hour"]),
            currency="USD",
            start=int(datetime.fromisoformat(row["as_of"]).replace(tzinfo=UTC).timestamp()),
        )
        for row in _rows("gpu_instance_prices.csv.gz")
    )


@cache
def _machine_types() -> Mapping[tuple[str, str], MachineType]:
    return {
        (row["provider"], row["instance_type"]): MachineType(
            family=row["family"],
            vcpus=Decimal(row["vcpus"]),
            memory_gib=Decimal(row["memory_gib"]),
            gpu=row["gpu"],
            gpus=Decimal(row["gpus"]),
            local_ssd_gib=Decimal(row["local_ssd_gib"] or 0),
        )
        for row in _rows("machine_types.csv")
    }


def _rows(name: str) -> Iterator[dict[str, str]]:
    content = files("exporter.prices").joinpath("data", name).read_bytes()
    text = (zlib.decompress(content, _GZIP) if name.endswith(".gz") else content).decode()
    return iter(csv.DictReader(text.splitlines()))
