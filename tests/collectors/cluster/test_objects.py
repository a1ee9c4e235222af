"""Nodes, pods and owners out of the API's objects."""

import json
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.cluster import nodes, pods
from collectors.cluster.discovery import Discover
from collectors.cluster.nodes import Bare, Machine, identity, tier
from collectors.cluster.objects import Container, OwnerReference, Resources
from collectors.cluster.owners import MOST_LABELS, own_labels, owner
from collectors.cluster.pods import effective_requests
from collectors.records import OPEN, Node, Window
from tests.collectors.cluster.cluster import T0, gpu_node, gpu_pod

GPU = "nvidia.com/gpu"


def machine(one: Any, **spot_labels: str) -> Machine:
    found = nodes.parse(json.dumps(one).encode(), spot_labels)
    assert isinstance(found, Machine)
    return found


def pod(one: Any, discover: Discover | None = None) -> pods.Pod | None:
    return pods.parse(json.dumps(one).encode(), discover or Discover())


def held(one: Any) -> pods.Pod:
    found = pod(one)
    assert found is not None
    return found


def test_a_node_as_bills_and_catalogues_name_it() -> None:
    labels = {"karpenter.sh/capacity-type": "spot", "karpenter.sh/nodepool": "gpu", "team": "left out"}
    assert machine(gpu_node("n1", labels=labels)).node == Node(
        key="uid-n1",
        name="n1",
        window=Window(T0, OPEN),
        gpu="nvidia-h100-80gb",
        gpus=Decimal(8),
        resource="i-n1",
        provider="aws",
        instance_type="p5.48xlarge",
        region="us-east-1",
        zone="us-east-1a",
        tier="spot",
        vcpus=Decimal(192),
        memory_gib=Decimal(2048),
        labels=(("karpenter.sh/nodepool", "gpu"),),
    )


def test_a_node_without_gpus_is_only_there() -> None:
    assert nodes.parse(json.dumps(gpu_node("n1", gpus=0)).encode(), {}) == Bare("uid-n1", 0)


@pytest.mark.parametrize(
    ("provider_id", "expected"),
    [
        ("aws:///us-east-1a/i-0abc", ("aws", "i-0abc")),
        ("gce://my-project/europe-west4-a/gke-pool-1", ("gcp", "my-project/europe-west4-a/gke-pool-1")),
        (
            "azure:///subscriptions/AB-1/resourceGroups/MC_x/providers/Microsoft.Compute/virtualMachines/aks-0",
            ("azure", "/subscriptions/ab-1/resourcegroups/mc_x/providers/microsoft.compute/virtualmachines/aks-0"),
        ),
        ("digitalocean://123", ("", "123")),
        ("ocid1.instance.oc1.x", ("", "ocid1.instance.oc1.x")),
        ("", ("", "")),
        ("aws://", ("aws", "")),
    ],
)
def test_the_machine_behind_a_provider_id(provider_id: str, expected: tuple[str, str]) -> None:
    assert identity(provider_id) == expected


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ({}, ""),
        ({"karpenter.sh/capacity-type": "on-demand"}, "on_demand"),
        ({"karpenter.sh/capacity-type": "reserved"}, ""),
        ({"eks.amazonaws.com/capacityType": "SPOT"}, "spot"),
        ({"eks.amazonaws.com/capacityType": "ON_DEMAND"}, "on_demand"),
        ({"eks.amazonaws.com/capacityType": "CAPACITY_BLOCK"}, ""),
        ({"cloud.google.com/gke-nodepool": "a", "cloud.google.com/gke-spot": "true"}, "spot"),
        ({"cloud.google.com/gke-nodepool": "a", "cloud.google.com/gke-preemptible": "true"}, "spot"),
        ({"cloud.google.com/gke-nodepool": "a", "cloud.google.com/gke-provisioning": "standard"}, "on_demand"),
        ({"cloud.google.com/gke-nodepool": "a", "cloud.google.com/gke-spot": "false"}, "on_demand"),
        ({"cloud.google.com/gke-nodepool": "a"}, "on_demand"),
        ({"kubernetes.azure.com/agentpool": "a", "kubernetes.azure.com/scalesetpriority": "spot"}, "spot"),
        ({"kubernetes.azure.com/agentpool": "a"}, "on_demand"),
        ({"our/lifecycle": "preemptible"}, "spot"),
        ({"our/lifecycle": "normal"}, ""),
    ],
)
def test_spot_machines_by_their_labels(labels: dict[str, str], expected: str) -> None:
    assert tier(labels, {"our/lifecycle": "preemptible"}) == expected


def test_a_pod_with_gpus() -> None:
    found = held(gpu_pod("p1", gpus=2, labels={"team": "support"}))
    assert (found.key, found.node, found.start, found.end) == ("uid-p1", "n1", T0 + 60, OPEN)
    assert found.requests == ((GPU, Decimal(2)),)
    assert dict(found.labels) == {
        "namespace": "llm",
        "owner": "chat",
        "owner_kind": "Deployment",
        "pod": "p1",
        "node": "n1",
        "app": "chat",
        "team": "support",
    }
    assert found.url == ""


def test_a_pod_that_matters_to_nobody() -> None:
    assert pod(gpu_pod("p1", gpus=0)) is None
    assert pod(gpu_pod("p1", node="")) is None


@pytest.mark.parametrize(
    ("options", "end"),
    [
        ({"phase": "Succeeded", "ended": T0 + 500}, T0 + 500),
        ({"phase": "Failed"}, T0 + 90),  # evicted: its conditions changed last
        ({"phase": "Running", "ended": T0 + 500}, OPEN),  # between two starts of its container
        ({"phase": "Succeeded", "ended": T0}, T0 + 60),  # clocks differ: it did not end before it began
    ],
)
def test_when_a_pod_is_over(options: dict[str, Any], end: int) -> None:
    assert held(gpu_pod("p1", **options)).end == end


def test_when_a_deleted_pod_has_stopped() -> None:
    assert held(gpu_pod("p1", ended=T0 + 500)).stopped == OPEN
    assert held(gpu_pod("p1", ended=T0 + 500, deleted=T0 + 490)).stopped == T0 + 500
    assert held(gpu_pod("p1", ended=T0 + 100, deleted=T0 + 490)).stopped == T0 + 490  # crashed long before


def test_a_pod_without_conditions_began_when_its_node_took_it() -> None:
    one = gpu_pod("p1")
    one["status"]["conditions"] = None
    assert held(one).start == T0 + 61
    one["status"] = {}
    assert held(one).start == T0 + 55
    one["metadata"]["creationTimestamp"] = None
    with pytest.raises(ValueError, match="isoformat"):
        pod(one)


def container(units: int, *, restart: str | None = None, limits_only: bool = False) -> Container:
    amount: dict[str, str | int | float] = {GPU: str(units), "cpu": "1"}
    given = Resources(limits=amount) if limits_only else Resources(requests=amount, limits=amount)
    return Container(resources=given, restart_policy=restart)


@pytest.mark.parametrize(
    ("init", "main", "expected"),
    [
        ([], [container(2), container(1)], 3),
        ([container(4)], [container(2)], 4),
        ([container(1)], [container(2)], 2),
        ([container(1, restart="Always")], [container(2)], 3),
        ([container(1, restart="Always"), container(3)], [container(2)], 4),  # beside the sidecar before it
        ([container(3), container(1, restart="Always")], [container(1)], 3),  # a later sidecar is not up yet
        ([], [container(2, limits_only=True)], 2),
        ([], [Container()], 0),
    ],
)
def test_the_effective_request(init: list[Container], main: list[Container], expected: int) -> None:
    assert effective_requests(main, init).get(GPU, 0) == expected


@given(
    st.lists(st.tuples(st.integers(0, 8), st.booleans()), max_size=5),
    st.lists(st.integers(0, 8), min_size=1, max_size=3),
)
def test_the_effective_request_covers_every_moment_of_a_pod(init: list[tuple[int, bool]], main: list[int]) -> None:
    starting = [container(units, restart="Always" if sidecar else None) for units, sidecar in init]
    sidecars, moments = 0, []
    for units, sidecar in init:
        moments.append(sidecars + units)
        sidecars += units if sidecar else 0
    moments.append(sidecars + sum(main))
    assert effective_requests([container(units) for units in main], starting).get(GPU, 0) == max(moments)


@pytest.mark.parametrize(
    ("labels", "reference", "expected"),
    [
        ({"pod-template-hash": "7d4"}, ("ReplicaSet", "chat-7d4"), ("Deployment", "chat")),
        ({"pod-template-hash": "zzz"}, ("ReplicaSet", "chat-7d4"), ("ReplicaSet", "chat-7d4")),
        ({}, ("ReplicaSet", "by-hand"), ("ReplicaSet", "by-hand")),
        ({"rollouts-pod-template-hash": "5f"}, ("ReplicaSet", "chat-5f"), ("Rollout", "chat")),
        ({}, ("StatefulSet", "db"), ("StatefulSet", "db")),
        ({}, ("Job", "train"), ("Job", "train")),
        ({}, ("Job", "nightly-29193000"), ("CronJob", "nightly")),
        ({"leaderworkerset.sigs.k8s.io/name": "big"}, ("StatefulSet", "big-0"), ("LeaderWorkerSet", "big")),
        (
            {"serving.kserve.io/inferenceservice": "llama", "pod-template-hash": "1"},
            ("ReplicaSet", "llama-predictor-1"),
            ("InferenceService", "llama"),
        ),
        ({}, None, ("Pod", "p1")),
    ],
)
def test_the_top_owner(labels: dict[str, str], reference: tuple[str, str] | None, expected: tuple[str, str]) -> None:
    references = [OwnerReference(*reference, controller=True)] if reference else []
    assert owner(labels, [OwnerReference("ConfigMap", "other"), *references] if references else [], "p1") == expected


def test_own_labels_are_those_that_last() -> None:
    labels = {
        "team": "a",
        "namespace": "forged",
        "pod-template-hash": "1",
        "controller-revision-hash": "2",
        "batch.kubernetes.io/controller-uid": "x",
        "run": "0b8e4f1a-9f5d-4c57-8f7e-0a1b2c3d4e5f",
    }
    assert own_labels(labels) == (("team", "a"),)
    many = {f"l{number:03}": "x" for number in range(200)}
    assert len(own_labels(many)) == MOST_LABELS


@pytest.mark.parametrize(
    "broken",
    [
        *[b"", b"[]", b"null", b'{"metadata": {}}', b'{"metadata": {"uid": "u", "name": 5}}'],
        b'{"metadata": {"uid": "u", "name": "\xff"}, "spec": {}}',
        json.dumps({**gpu_pod("p"), "spec": {"nodeName": "n", "containers": [{"resources": {"limits": {GPU: "x"}}}]}}),
        json.dumps({**gpu_pod("p"), "spec": 5}),
        json.dumps({**gpu_node("n"), "status": {"capacity": {GPU: "many"}}, "spec": {"containers": 1}}),
    ],
)
def test_garbage_is_refused(broken: bytes | str) -> None:
    data = broken.encode() if isinstance(broken, str) else broken
    with pytest.raises((msgspec.DecodeError, ValueError)):
        pods.parse(data, Discover())
    if b"containers" not in data or b"many" in data:
        with pytest.raises((msgspec.DecodeError, ValueError)):
            nodes.parse(data, {})
