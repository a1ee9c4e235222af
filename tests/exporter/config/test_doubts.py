"""What `check` asks about: list prices in a currency without a rate, a cluster's machine that may count twice."""

from pathlib import Path

import pytest

from exporter.config.cross import warnings
from exporter.config.load import load

CLUSTER = "{name: k8s, kind: kubernetes}"
BILL = "{name: %s, kind: focus, path: '/x/%s/*.csv'%s}"
BY_TAG = "{name: chat, match: {team: chat}}"
BY_BILL_TAG = "{name: chat, match: {model: a}, match_bill: {team: chat}}"
BY_MODEL = "{name: chat, match: {model: a}}"


def said(folder: Path, *collectors: str, workloads: str = BY_MODEL, fx: str = "{}") -> list[str]:
    path = folder / "config.yaml"
    path.write_text(f"collectors: [{', '.join(collectors)}]\nworkloads: [{workloads}]\nfx: {fx}")
    return warnings(load(path))


@pytest.mark.parametrize(
    ("currency", "fx", "warned"),
    [("USD", "{}", False), ("EUR", "{EUR: '1.08'}", False), ("EUR", "{}", True), ("EUR", "{GBP: '1.3'}", True)],
)
def test_list_prices_in_a_currency_without_a_rate(tmp_path: Path, currency: str, fx: str, warned: bool) -> None:
    found = said(tmp_path, f"{{name: list, kind: gcp_catalog, currency: {currency}}}", fx=fx)
    text = "collectors[0].currency: no rate for EUR in fx, its prices are not used; add fx: "
    assert [line.startswith(text) for line in found] == [True] * warned


@pytest.mark.parametrize(
    ("scopes", "workloads", "cluster", "warned"),
    [
        (("", ""), BY_TAG, CLUSTER, True),
        (("", ""), BY_BILL_TAG, CLUSTER, True),
        (("", ", scope: {account: '1'}"), BY_TAG, CLUSTER, True),
        ((", scope: {account: '2'}", ", scope: {account: '1'}"), BY_TAG, CLUSTER, False),
        (("", ""), BY_MODEL, CLUSTER, False),
        (("",), BY_TAG, CLUSTER, False),
        (("", ""), BY_TAG, "", False),
    ],
)
def test_two_bills_that_may_bill_a_machine_of_the_cluster(
    tmp_path: Path, scopes: tuple[str, ...], workloads: str, cluster: str, warned: bool
) -> None:
    bills = [BILL % (f"bill{i}", i, scope) for i, scope in enumerate(scopes)]
    found = said(tmp_path, *bills, *filter(None, [cluster]), workloads=workloads)
    text = "collectors[1]: where it bills the same machines as collectors[0] (bill0), one may count twice: for its pods"
    assert [line.startswith(f"{text}, and by tag for 'chat'") for line in found] == [True] * warned


def test_a_cards_node_cost_beside_a_cluster(tmp_path: Path) -> None:
    card = "{name: nodes, kind: rate_card, rates: [{workload: chat, component: node, usd_per_hour: 1}]}"
    (found,) = said(tmp_path, CLUSTER, card)
    assert found.startswith("collectors[1].rates[0].component: a cluster's gpu cost is the whole machine's")
    assert said(tmp_path, card) == []
