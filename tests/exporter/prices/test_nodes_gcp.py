"""Two sources on one price: Google's machines composed from catalogue SKUs, and the bundled table of whole machines.

What they differ by, on demand in us-central1 (A2 also us-east1 and us-west1), with the SKU prices of
tests/fixtures/gcp/skus.csv and the table of 2026-08-06:

- A2 with A100 40 GB, G4 with its fractional machines: nothing.
- A3 High: 2e-15, of rounding; with its local SSD at a month of 730 h, without which it would be 0.74 %.
- G2: at most 0.004 %, as its SKU prices were published with six digits.

Not compared, for want of both prices: A2 Ultra, A3 Mega and Ultra, A4, and spot, whose prices Google changes monthly.
"""

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest
from google.cloud.billing_v1.types import cloud_catalog as cc

from collectors import Context
from collectors.billing.gcp_catalog import Catalogue, GcpCatalog, GcpCatalogSettings
from collectors.billing.gcp_client import as_sku
from collectors.records import Batch, ListPrice, Node, Window
from exporter.ledger.store import Ledger
from exporter.prices.node_tables import bundled_prices
from exporter.prices.nodes import ListPrices, node_price, price_changes
from tests.collectors.billing.gcp_server import ASKED, rows, serving, sku
from tests.collectors.billing.gcp_server import Catalogue as Served

LIMITS = {"a2": Decimal(0), "a3": Decimal("1e-14"), "g2": Decimal("0.00004"), "g4": Decimal(0)}


def collected() -> list[ListPrice]:
    catalogue = Catalogue(frozenset())
    for row in rows():
        catalogue.add(as_sku(cc.Sku.pb(sku(row))), ASKED)
    return [price for region in catalogue.with_gpus().values() for price, _ in region.values()]


def compared() -> Iterator[tuple[str, str, Decimal, Decimal]]:
    composed, table = ListPrices(collected(), lambda: ()), bundled_prices()
    for one in table:
        if one.provider == "gcp" and one.tier == "on_demand":
            node = Node("k", "n", Window(0, 1), "", Decimal(1), "", "gcp", one.name, one.region, "", "on_demand")
            found = node_price(node, composed, ASKED)
            if found is not None:
                yield one.name, one.region, found.price_per_hour, one.price_per_hour


COMPARED = list(compared())


def test_the_machines_that_both_know() -> None:
    counts = {family: sum(name.startswith(f"{family}-") for name, *_ in COMPARED) for family in LIMITS}
    assert counts == {"a2": 13, "a3": 4, "g2": 8, "g4": 7}


@pytest.mark.parametrize(("name", "region", "composed", "table"), COMPARED, ids=lambda each: str(each))
def test_both_say_the_same(name: str, region: str, composed: Decimal, table: Decimal) -> None:
    assert abs(composed / table - 1) <= LIMITS[name[:2]]


def test_from_the_server_through_the_ledger_to_a_node(tmp_path: Path) -> None:
    """A price that rises: the hours before it keep the old one, also after a restart of the exporter."""
    node = Node("k", "n", Window(0, 1), "", Decimal(8), "", "gcp", "g4-standard-384", "us-central1", "", "on_demand")
    dearer = [{**row, "price": "2.09565"} if row["id"] == "T-G4-GPU" else row for row in rows()]
    readings = [(ASKED, rows()), (ASKED + 86400, rows()), (ASKED + 2 * 86400, dearer)]
    for at, listed in readings:
        ledger = Ledger(tmp_path / "ledger.db", at)
        with serving(Served([sku(row, at) for row in listed])) as server:
            settings = GcpCatalogSettings("google", "gcp_catalog", endpoint=server.endpoint, insecure=True)
            for batch in GcpCatalog(settings, Context(0)).collect(at, ledger.cursors("google")):
                assert isinstance(batch, Batch)
                ledger.commit("google", batch, at)
        prices = ListPrices(ledger.snapshot().list_prices, lambda: ())
        ledger.close()
    assert price_changes(node, prices, 0, ASKED * 2) == [ASKED, ASKED + 2 * 86400]
    before, after = node_price(node, prices, ASKED + 2 * 86400 - 1), node_price(node, prices, ASKED + 2 * 86400)
    assert before and before.price_per_hour == Decimal("35.99944")
    assert after and after.price_per_hour == Decimal("43.99944")
