"""The ClusterRole grants what the rendered config makes the exporter ask of an API server: all of it, and no more."""

from typing import Any

import pytest
import yaml

from collectors import Board, Context
from collectors.cluster.kubernetes import PERMISSIONS, Kubernetes
from collectors.records import Failure
from tests.collectors.cluster.api_server import ApiServer, serving
from tests.collectors.cluster.cluster import T0, Books, eventually, gpu_node, gpu_pod
from tests.deploy.cases import CASES, of
from tests.deploy.test_config import config

Rights = set[tuple[str, str, str]]
"""API group, resource, verb."""


def granted(case: str) -> Rights:
    return {
        (group, resource, verb)
        for role in of(case, "ClusterRole")
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def configured(case: str) -> dict[str, Any] | None:
    """The `kubernetes` collector in the case's config."""
    return next((each for each in yaml.safe_load(config(case))["collectors"] if each["kind"] == "kubernetes"), None)


def asked(server: ApiServer) -> Rights:
    return {("", resource, verb) for resource, verb, _ in server.asked}


def run(server: ApiServer, case: str) -> list[Failure]:
    """One collect of the case's collector, on a server that grants what the case's role does."""
    given = configured(case)
    assert given is not None
    server.allowed = {(resource, verb) for group, resource, verb in granted(case) if group == ""}
    collector = Kubernetes(Kubernetes.Settings(**given, api_server=server.url), Context(first_start=T0, board=Board()))
    try:
        failures = Books().collect(collector, T0 + 300)
        eventually(lambda: {("", "nodes", "watch"), ("", "pods", "watch")} <= asked(server), "both are watched")
        return failures
    finally:
        collector.close()


def different_roles() -> list[str]:
    """The first case of each config that has the collector, and a role for it."""
    cases = {str(configured(case)): case for case in reversed(CASES) if configured(case) and granted(case)}
    assert len(cases) >= 2, "with and without namespace_labels"
    return list(cases.values())


@pytest.mark.parametrize("case", different_roles())
def test_the_role_allows_what_the_configured_collector_asks_for_and_no_more(case: str) -> None:
    with serving() as server:
        server.put("nodes", gpu_node("n1"))
        server.put("pods", gpu_pod("p1"))
        server.put("namespaces", {"metadata": {"name": "llm", "uid": "uid-llm", "labels": {"team": "ml"}}})
        assert run(server, case) == []
        assert asked(server) == granted(case)


@pytest.mark.parametrize("case", CASES)
def test_there_is_a_role_only_with_the_collector(case: str) -> None:
    wanted = configured(case) is not None and CASES[case].get("rbac", {}).get("create", True)
    assert bool(granted(case)) is (wanted and CASES[case].get("role", "cluster") == "cluster")


def test_what_the_collector_says_it_may_ask_for_is_what_the_largest_role_grants() -> None:
    assert granted("namespace-labels") == {(group, name, verb) for group, name, verbs in PERMISSIONS for verb in verbs}
    assert granted("empty") < granted("namespace-labels")
