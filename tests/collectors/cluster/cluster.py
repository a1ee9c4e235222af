"""Nodes and pods as an API server shows them, and just enough of a ledger to check what becomes of them."""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from collectors import Board, Context
from collectors.cluster.kubernetes import Kubernetes
from collectors.records import OPEN, Allocation, Batch, Failure, Node, Window
from tests.collectors.cluster.api_server import ApiServer, Object, serving

T0 = 1_795_200_000
"""When everything here began (epoch seconds)."""


def stamp(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def gpu_node(name: str, *, gpus: int = 8, labels: Mapping[str, str] | None = None, **options: Any) -> Object:
    """A node; `options`: uid, created, provider_id, capacity."""
    capacity = {"cpu": "192", "memory": "2097152Mi", "ephemeral-storage": "1Ti", "pods": "110"}
    return {
        "metadata": {
            "name": name,
            "uid": options.get("uid", f"uid-{name}"),
            "creationTimestamp": stamp(options.get("created", T0)),
            "labels": {
                "kubernetes.io/hostname": name,
                "node.kubernetes.io/instance-type": "p5.48xlarge",
                "topology.kubernetes.io/region": "us-east-1",
                "topology.kubernetes.io/zone": "us-east-1a",
                "nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3",
                **({"nvidia.com/gpu.count": str(gpus)} if gpus else {}),
                **(labels or {}),
            },
            "managedFields": [{"manager": "kubelet", "fieldsV1": {"f:status": {}}}],
        },
        "spec": {"providerID": options.get("provider_id", f"aws:///us-east-1a/i-{name}")},
        "status": {
            "capacity": {
                **capacity,
                **options.get("capacity", {"nvidia.com/gpu": str(gpus)} if gpus else {}),
            }
        },
    }


def gpu_pod(name: str, node: str = "n1", *, gpus: int = 1, **options: Any) -> Object:
    """A running pod; `options`: uid, namespace, scheduled, phase, labels, annotations, owner (kind, name), ip, ended,
    deleted, resource, container, init."""
    scheduled, ended = options.get("scheduled", T0 + 60), options.get("ended")
    kind, owner = options.get("owner", ("ReplicaSet", "chat-abc"))
    amount = {options.get("resource", "nvidia.com/gpu"): str(gpus)} if gpus else {}
    container = {
        "name": "main",
        "image": "acme/app:1",
        "resources": {"limits": amount, "requests": amount},
        **options.get("container", {}),
    }
    state = {"terminated": {"finishedAt": stamp(ended), "exitCode": 0}} if ended else {"running": {}}
    deleted = options.get("deleted")
    reference = {"apiVersion": "v1", "kind": kind, "name": owner, "uid": f"uid-{owner}", "controller": True}
    running = {"name": "main", "state": state, "ready": not ended, "restartCount": 0, "image": "i", "imageID": "id"}
    return {
        "metadata": {
            "name": name,
            "namespace": options.get("namespace", "llm"),
            "uid": options.get("uid", f"uid-{name}"),
            "creationTimestamp": stamp(scheduled - 5),
            "labels": {"app": "chat", "pod-template-hash": "abc", **options.get("labels", {})},
            "annotations": options.get("annotations", {}),
            "ownerReferences": [reference] if owner else [],
            **({"deletionTimestamp": stamp(deleted), "deletionGracePeriodSeconds": 0} if deleted else {}),
        },
        "spec": {
            **({"nodeName": node} if node else {}),
            "containers": [container],
            "initContainers": options.get("init", []),
        },
        "status": {
            "phase": options.get("phase", "Running"),
            **({"podIP": options["ip"]} if "ip" in options else {}),
            "startTime": stamp(scheduled + 1),
            "conditions": [
                {"type": "PodScheduled", "status": "True", "lastTransitionTime": stamp(scheduled)},
                {"type": "Ready", "status": "True", "lastTransitionTime": stamp(scheduled + 30)},
            ]
            if node
            else [],
            "containerStatuses": [running] if node else [],
        },
    }


@dataclass
class Books:
    """What a ledger would hold of one collector."""

    cursors: dict[str, str] = field(default_factory=dict)
    nodes: dict[str, Node] = field(default_factory=dict)
    allocations: dict[str, Allocation] = field(default_factory=dict)
    observed: list[Window] = field(default_factory=list)
    rejected: Counter[str] = field(default_factory=Counter)
    failures: list[Failure] = field(default_factory=list)
    batches: int = 0

    def collect(self, collector: Kubernetes, now: int) -> list[Failure]:
        """One run; its failures."""
        failures = []
        for result in collector.collect(now, dict(self.cursors)):
            if isinstance(result, Failure):
                failures.append(result)
            else:
                self.commit(result)
        self.failures += failures
        return failures

    def commit(self, batch: Batch) -> None:
        assert batch.window is None
        self.batches += bool(batch.nodes)
        for node in batch.nodes:
            assert batch.part == f"node/{node.key}"
            self.nodes[node.key] = node
        for allocation in batch.allocations:
            assert allocation.node in self.nodes
            assert allocation.gpus > 0
            self.allocations[allocation.key] = allocation
        self.observed += [one.window for one in batch.observed]
        self.rejected.update(batch.rejected)
        if batch.cursor == "":
            self.cursors.pop(batch.part, None)
        elif batch.cursor is not None:
            self.cursors[batch.part] = batch.cursor

    def of(self, pod: str) -> Allocation:
        """The one allocation of the pod of this name."""
        (found,) = [one for one in self.allocations.values() if dict(one.labels)["pod"] == pod]
        return found

    def open(self) -> set[str]:
        """The names of the pods that hold GPUs."""
        return {dict(one.labels)["pod"] for one in self.allocations.values() if one.window.end == OPEN}

    def seconds(self) -> int:
        return sum(window.seconds for window in self.observed)


def settings(server: ApiServer, **options: Any) -> Any:
    given = {"name": "cluster", "kind": "kubernetes", "api_server": server.url, **options}
    return Kubernetes.Settings(**given)


@contextmanager
def watching(server: ApiServer, board: Board | None = None, **options: Any) -> Iterator[Kubernetes]:
    collector = Kubernetes(settings(server, **options), Context(first_start=T0, board=board or Board()))
    try:
        yield collector
    finally:
        collector.close()


@contextmanager
def cluster(
    nodes: Sequence[Object] = (), pods: Sequence[Object] = (), **options: Any
) -> Iterator[tuple[ApiServer, Kubernetes, Books]]:
    """A cluster of these objects, and a collector that watches it."""
    with serving() as server:
        server.put("nodes", *nodes)
        server.put("pods", *pods)
        with watching(server, **options) as collector:
            yield server, collector, Books()


def eventually(holds: Callable[[], object], what: str = "the collector sees what happened") -> None:
    """Wait until another thread has done its part; how long that takes decides nothing."""
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.005)
