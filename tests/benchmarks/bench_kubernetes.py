"""A cluster of 5,000 pods: what listing and watching it costs in resident memory and processor time.

The API server is the stand-in of the tests, its pods as large as those of real clusters (about 11 kB with managed
fields); every pod then changes once. The reference of the same run does the same with the official client as its
documentation shows: list_pod_for_all_namespaces, then Watch, its objects kept by uid. Each in a process of its own;
both figures are what is added to a process that has the client imported.
"""

import json
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.collectors.cluster.api_server import Object, serving  # noqa: E402 - run as a script
from tests.collectors.cluster.cluster import T0, gpu_node, gpu_pod  # noqa: E402

PODS, GPU_NODES = 5000, 400
GPU_PODS = 8 * GPU_NODES
TARGET_MB, TARGET_RATIO = 40, 0.25


def pod(number: int, **changes: Any) -> Object:
    """Pod `number`; the first GPU_PODS hold a GPU each, every fourth of them serves vLLM."""
    labels = {"app.kubernetes.io/name": "vllm" if number % 4 == 0 else "train", "team": f"t{number % 20}"}
    gpus = number < GPU_PODS
    one = gpu_pod(
        f"chat-7d4b9c6f5d-{number:05}",
        f"n{number // 8 if gpus else number % GPU_NODES}",
        gpus=int(gpus),
        ip=f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}",
        labels=labels if gpus else {},
        annotations={"kubectl.kubernetes.io/last-applied-configuration": "x" * 3000, **changes},
    )
    fields = {f"f:field-{index}": {"f:value": {}, ".": {}} for index in range(150)}
    one["metadata"]["managedFields"] = [{"manager": "m", "operation": "Update", "fieldsV1": {"f:status": fields}}]
    one["spec"]["volumes"] = [{"name": f"v{index}", "emptyDir": {}} for index in range(20)]
    return one


def resident_mb() -> float:
    text = Path("/proc/self/status").read_text()
    return int(next(line.split()[1] for line in text.splitlines() if line.startswith("VmRSS"))) / 1024


def report(began: tuple[float, float]) -> None:
    print(json.dumps({"mb": resident_mb() - began[0], "cpu": time.process_time() - began[1]}), flush=True)


def wait_for_change() -> None:
    """Tell the parent that all is listed; it changes every pod."""
    print("listed", flush=True)


def ours(url: str) -> None:
    import kubernetes.client

    from collectors import Context
    from collectors.cluster.kubernetes import Kubernetes
    from collectors.records import Batch

    assert kubernetes.client
    began = resident_mb(), time.process_time()
    settings = Kubernetes.Settings(name="cluster", kind="kubernetes", api_server=url)
    collector, cursors = Kubernetes(settings, Context(first_start=T0)), dict[str, str]()

    def collect(now: int) -> int:
        held = 0
        for result in collector.collect(now, cursors):
            assert isinstance(result, Batch), result
            held += len(result.allocations)
            if result.cursor:
                cursors[result.part] = result.cursor
        return held

    assert collect(T0 + 1000) == GPU_PODS
    report(began)
    wait_for_change()
    last = 1000
    while any("changed" not in dict(one.labels) for one in collector._pods.view()[0].values()):
        time.sleep(0.1)
    assert collect(T0 + last + 30) == GPU_PODS
    report(began)
    settled = time.process_time()
    collect(T0 + last + 60)
    print(json.dumps({"collect": time.process_time() - settled}), flush=True)
    collector.close()


def reference(url: str) -> None:
    from kubernetes import client, watch

    configuration = client.Configuration()
    configuration.host = url
    core = client.CoreV1Api(client.ApiClient(configuration))
    began = resident_mb(), time.process_time()
    nodes = core.list_node()
    listed = core.list_pod_for_all_namespaces()
    pods = {one.metadata.uid: one for one in listed.items}
    assert (len(pods), len(nodes.items)) == (PODS, GPU_NODES)
    version = listed.metadata.resource_version
    del listed
    report(began)
    wait_for_change()
    events = watch.Watch().stream(core.list_pod_for_all_namespaces, resource_version=version)
    for event in islice(events, PODS):
        pods[event["object"].metadata.uid] = event["object"]
    report(began)
    print(json.dumps({"collect": 0}), flush=True)


def measure(what: str) -> tuple[dict[str, float], dict[str, float], float]:
    """What it takes to list, to list and watch, and (CPU seconds) to collect when nothing has changed."""
    with serving() as server:
        server.put("nodes", *(gpu_node(f"n{number}") for number in range(GPU_NODES)))
        server.put("pods", *(pod(number) for number in range(PODS)))
        command = [sys.executable, __file__, what, server.url]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            listed = json.loads(child.stdout.readline())
            assert child.stdout.readline() == "listed\n"
            for number in range(PODS):
                one = pod(number, touched="1")
                one["metadata"]["labels"]["changed"] = "1"
                server.put("pods", one)
            watched = json.loads(child.stdout.readline())
            idle = json.loads(child.stdout.readline())["collect"]
            server.cut()
        assert child.returncode == 0
    return listed, watched, idle


def main() -> None:
    listed, watched, idle = measure("ours")
    naive_listed, naive_watched, _ = measure("reference")
    ratio = watched["mb"] / naive_watched["mb"]
    cpu = watched["cpu"] / naive_watched["cpu"]
    print(json.dumps({
        "name": "kubernetes", "figure": f"{PODS} pods: +{listed['mb']:.0f} MB and {listed['cpu']:.2f} s CPU to list, "
        f"+{watched['mb']:.0f} MB and {watched['cpu'] - listed['cpu']:.2f} s after each changed; "
        f"{1000 * idle:.0f} ms a quiet collect",
        "reference": f"+{naive_listed['mb']:.0f} MB and {naive_listed['cpu']:.2f} s, +{naive_watched['mb']:.0f} MB and "
        f"{naive_watched['cpu'] - naive_listed['cpu']:.2f} s, the official client's objects",
        "ratio": round(ratio, 3), "cpu_ratio": round(cpu, 3), "target": f"{TARGET_MB} MB, ratio {TARGET_RATIO}",
        "ok": watched["mb"] <= TARGET_MB and ratio <= TARGET_RATIO,
    }))  # fmt: skip


if __name__ == "__main__":
    if len(sys.argv) == 3:
        {"ours": ours, "reference": reference}[sys.argv[1]](sys.argv[2])
    else:
        main()
