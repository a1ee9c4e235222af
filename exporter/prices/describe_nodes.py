"""What the bundled tables know of a machine type or a GPU by name: the core of `prices NAME`. Pure."""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from difflib import get_close_matches
from typing import Any

from collectors.gpu_names import gpu_product
from collectors.records import ListPrice
from exporter.prices.node_tables import ORIGINS, bundled_prices, machine_type

SIMILAR = 5
_AZURE = "standard_"
_MODEL = re.compile(r"gb\d{3}|mi\d{3}x|[ahl]\d{2,3}s?|t4|v\d{3}")  # as words of Azure's names; v5 is a version


def list_prices(name: str, region: str = "") -> list[dict[str, Any]]:
    """The bundled list prices of the machine type `name`, or else of all machines with GPUs of that name, as plain JSON
    values: cheapest first by machine type and tier. `region` "" is all of them.

    Amounts are strings in USD. `gpus` (a string, may be a fraction), `gpu` and `usd_per_gpu_hour` are null where the
    tables do not tell what is in a machine: those of Azure.
    """
    priced = [each for each in bundled_prices() if region.lower() in ("", each.region.lower())]
    found = [each for each in priced if _same_machine(name, each.name)]
    if not found:
        is_it = gpu_named(name)
        found = [each for each in priced if is_it(_gpu(each))]
    return [_described(each) for each in sorted(found, key=_order)]


def gpu_named(name: str) -> Callable[[str], bool]:
    """Whether a product (see `collectors.gpu_names`) is what `name` means: a bare model such as `h100` is all of its
    family, a fuller name one product."""
    product, words = gpu_product(name), _words(name) - {"nvidia", "amd"}
    family = words.pop() if len(words) == 1 else ""
    return lambda other: bool(other) and (other == product or family in other.split("-"))


def similar(name: str) -> list[str]:
    """Up to five machine types and GPUs near a name that is not known; nearest first."""
    names = {each.name for each in bundled_prices()} | {_gpu(each) for each in bundled_prices()}
    spelt = {key: each for each in sorted(names - {""}) for key in (each.lower(), _short(each))}
    near = get_close_matches(name.lower(), spelt, 2 * SIMILAR, cutoff=0.6)
    return list(dict.fromkeys(spelt[each] for each in near))[:SIMILAR]


def _described(price: ListPrice) -> dict[str, Any]:
    machine = machine_type(price.provider, price.name)
    gpus = machine.gpus if machine and machine.gpus else None
    return {
        "provider": price.provider,
        "region": price.region,
        "instance_type": price.name,
        "tier": price.tier,
        "gpu": machine.gpu if machine and machine.gpu else None,
        "gpus": None if gpus is None else f"{gpus.normalize():f}",
        "usd_per_hour": f"{price.price_per_hour.normalize():f}",
        "usd_per_gpu_hour": None if gpus is None else f"{round(price.price_per_hour / gpus, 6).normalize():f}",
        "origin": ORIGINS[price.provider],
        "as_of": datetime.fromtimestamp(price.start, UTC).date().isoformat(),
    }


def _gpu(price: ListPrice) -> str:
    """The GPU in a machine; where the tables do not say, the model that its name has, if any (`ND96isr_H100_v5`)."""
    machine = machine_type(price.provider, price.name)
    if machine is not None:
        return machine.gpu
    return next((word for word in _short(price.name).split("_") if _MODEL.fullmatch(word)), "")


def _order(price: ListPrice) -> tuple[object, ...]:
    return price.provider, price.name, price.tier, price.price_per_hour, price.region


def _same_machine(name: str, other: str) -> bool:
    return _short(name) == _short(other)


def _short(name: str) -> str:
    """Azure's names with and without `Standard_` are the same."""
    return name.lower().removeprefix(_AZURE)


def _words(name: str) -> set[str]:
    return set(re.split(r"[^a-z0-9.]+", name.lower())) - {""}
