"""The world of the mission: every source that the exporter reads, as real servers on loopback, and the config for it.

A cluster of two GPU nodes, on AWS and on Google Cloud, has been up for five days; so has the lab's own engine. The
exporter has watched all the while (`live`: the shipped code on a simulated clock); then it is started as a process.
"""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from collectors.records import DAY, HOUR
from exporter.config.load import load_aside
from exporter.publish.api import workloads_json
from exporter.service import Exporter
from tests.collectors.billing import ce_stand_in, gcp_server
from tests.collectors.cluster.api_server import ApiServer, Object
from tests.collectors.cluster.api_server import serving as api_serving
from tests.collectors.cluster.cluster import gpu_node, gpu_pod
from tests.e2e import mission_bill, mission_traffic
from tests.e2e.mission_look import Look
from tests.exporter.simulated import Engine

K8S_TOKEN = "k8s-token-5b7d0e9a1c"
RATES = (400, 400, 100)  # tokens per second: computed, from the cache, generated
TOKENS_PER_SECOND = sum(RATES)
LAB_USD_PER_HOUR = 3  # two GPUs at 1.50
WATCHED_DAYS = 5

CONFIG = """\
role: cluster
collectors:
  - {{name: cluster, kind: kubernetes, api_server: "{api_server}", token_file: "{token_file}", interval: 1s}}
  - {{name: engines, kind: vllm, discover: cluster, interval: 1s}}
  - {{name: lab-engine, kind: vllm, targets: ["{lab}"], interval: 1s}}
  - {{name: google, kind: gcp_catalog, endpoint: "{google}", insecure: true, regions: [us-central1], timeout: 30s}}
  - {{name: aws-bill, kind: aws_data_export, export: gpu-bill, bucket: finops, prefix: exports/gpu,
      region: us-east-1, endpoint_url: "{s3}", interval: 1s}}
  - {{name: aws-lab, kind: aws_cost_explorer, tag: workload, accounts: ["{lab_account}"],
      endpoint_url: "{cost_explorer}", interval: 1s}}
  - {{name: gateway, kind: usage_log, path: "{log}", format: llmcost, interval: 1s}}
  - {{name: openai, kind: openai, role: check, admin_key_file: "{openai_key}", base_url: "{openai}",
      interval: 1s, since: 6d}}
  - {{name: anthropic, kind: anthropic, role: meter, admin_key_file: "{anthropic_key}", base_url: "{anthropic}",
      interval: 1s, since: 6d}}
  - {{name: gpus, kind: rate_card, rates: [{{workload: lab, gpu: a10g, count: 2, usd_per_hour: "1.50"}}]}}
workloads:
  - name: chat
    match: {{namespace: llm, owner: chat}}
    alternatives:
      - {{api: "together/meta-llama/Llama-3.3-70B-Instruct-Turbo", discount: "0.10"}}
      - {{api: "groq/llama-3.3-70b-versatile"}}
      - {{api: "{without_price}"}}
    fixed_usd_per_month: {{engineering: "730"}}
  - name: lab
    match: {{collector: lab-engine}}
    match_bill: {{workload: lab}}
    capacity_tokens_per_second: 1200
    alternatives: [{{api: "groq/llama-3.3-70b-versatile"}}]
  - {{name: support-bot, match: {{team: support}}}}
  - {{name: search, match: {{team: search}}}}
  - {{name: research, match: {{workspace_name: Research}}}}
  - {{name: pilot, match: {{team: pilot}}}}
budgets:
  - {{name: support, match: {{team: support}}, usd_per_month: "100"}}
  - {{name: chat-gpus, match: {{workload: chat}}, usd_per_month: "20000"}}
storage: {{path: "{ledger}"}}
publish: {{every: 1s}}
"""


@dataclass
class World:
    """Everything outside the exporter. `now` is the simulated time, None: the real one. `midnight`: that of today."""

    directory: Path
    midnight: int
    api: ApiServer
    exports: mission_bill.Exports
    costs: ce_stand_in.CostExplorer
    openai: mission_traffic.OpenAI
    anthropic: mission_traffic.Anthropic
    google: gcp_server.Catalogue
    now: float | None = None
    engines: dict[str, Engine] = field(default_factory=dict)
    frozen: dict[str, float] = field(default_factory=dict)
    closing: ExitStack = field(default_factory=ExitStack)

    @property
    def since(self) -> int:
        """When the nodes were made and the exporter first watched."""
        return self.midnight - WATCHED_DAYS * DAY

    @property
    def config(self) -> Path:
        return self.directory / "config.yaml"

    @property
    def log(self) -> Path:
        return self.directory / "gateway" / "calls.jsonl"

    @property
    def secrets(self) -> dict[str, str]:
        return {
            "kubernetes token": K8S_TOKEN,
            "OpenAI admin key": self.openai.key,
            "Anthropic admin key": self.anthropic.key,
            "AWS secret": mission_bill.SECRET,
        }

    def clock(self) -> float:
        return time.time() if self.now is None else self.now

    def engine(self, name: str) -> Engine:
        """A vLLM server that starts now and serves RATES until it is frozen."""
        started = self.clock() + 1

        def served(_: float) -> tuple[int, int, int]:
            run = max(0.0, self.frozen.get(name, self.clock()) - started)
            computed, cached, generated = (int(rate * run) for rate in RATES)
            return computed, cached, generated

        made = self.engines[name] = Engine(served)
        self.closing.callback(made.close)
        made.started = started
        return made

    def served(self, *names: str) -> int:
        """Tokens of engines that are frozen."""
        return sum(sum(self.engines[name].served(0) or ()) for name in names)

    def chat_pod(self, name: str) -> Object:
        """A pod of the Deployment `chat` on two GPUs, with an engine of its own."""
        port = self.engine(name).url.rpartition(":")[2].partition("/")[0]
        notes = {"prometheus.io/scrape": "true", "prometheus.io/port": port}
        return pod(name, 2, self, annotations=notes, container={"image": "vllm/vllm-openai:v0.11.0"}, ip="127.0.0.1")


def pod(name: str, gpus: int, world: World, node: str = "aws-1", **options: object) -> Object:
    return gpu_pod(name, node, gpus=gpus, scheduled=int(world.clock()), **options)


def populate(world: World) -> None:
    """Nodes and pods as they have been since the beginning: of the AWS node's 8 GPUs 4 chat, 2 train, 1 has a sidecar
    (so its engine is not ours to read) and 1 is idle; of the Google node's one GPU a quarter is held."""
    google = {
        "node.kubernetes.io/instance-type": "a2-highgpu-1g",
        "topology.kubernetes.io/region": "us-central1",
        "topology.kubernetes.io/zone": "us-central1-a",
        "nvidia.com/gpu.product": "NVIDIA-A100-SXM4-40GB-SHARED",
        "nvidia.com/gpu.replicas": "4",
    }
    aws = {"eks.amazonaws.com/capacityType": "ON_DEMAND"}
    world.api.put(
        "nodes",
        gpu_node("aws-1", created=world.since, provider_id=f"aws:///us-east-1a/{mission_bill.INSTANCE}", labels=aws),
        gpu_node("gcp-1", gpus=1, created=world.since, provider_id="gce://acme/us-central1-a/gcp-1", labels=google,
                 capacity={"nvidia.com/gpu": "4"}),
    )  # fmt: skip
    serves = {"annotations": {"prometheus.io/scrape": "true", "llm-cost-exporter/sidecar": "true"}}
    image = {"image": "vllm/vllm-openai:v0.11.0"}
    world.api.put(
        "pods",
        world.chat_pod("chat-1"),
        world.chat_pod("chat-2"),
        pod("nightly-train-x", 2, world, namespace="ml", owner=("Job", "nightly-train"), labels={"app": "train"}),
        pod("edge-1", 1, world, owner=("ReplicaSet", "edge-abc"), labels={"app": "edge"}, container=image,
            ip="127.0.0.1", **serves),
        pod("rerank-1", 1, world, "gcp-1", owner=("StatefulSet", "rerank"), labels={"app": "rerank"}),
    )  # fmt: skip


def write_config(world: World) -> None:
    files = {"token": K8S_TOKEN, "openai-key": world.openai.key, "anthropic-key": world.anthropic.key}
    for name, secret in files.items():
        (world.directory / name).write_text(secret + "\n")
    world.config.write_text(
        CONFIG.format(
            api_server=world.api.url,
            token_file=world.directory / "token",
            lab=world.engine("lab").url,
            google=world.google.endpoint,
            s3=world.exports.url,
            lab_account=mission_bill.LAB_ACCOUNT,
            cost_explorer=world.costs.url,
            log=world.log,
            without_price="/".join(mission_traffic.WITHOUT_PRICE),
            openai_key=world.directory / "openai-key",
            openai=world.openai.url,
            anthropic_key=world.directory / "anthropic-key",
            anthropic=world.anthropic.url,
            ledger=world.directory / "ledger.db",
        )
    )


def live(world: World, until: float, step: int = HOUR) -> Look:
    """The exporter's life, step by step: what it watches itself, and at first the prices of Google. The last look."""
    assert world.now is not None
    with Exporter(load_aside(world.config, {}), world.clock) as exporter:
        while True:
            names = ["cluster", "engines", "lab-engine", "gpus", *(["google"] if world.now == world.since else [])]
            failed = [name for name in names if not exporter.runner.collect(name)]
            assert not failed, (failed, exporter.runner.running[failed[0]].last_error)
            state = exporter.tick(None)
            if world.now >= until:
                return Look(exporter.page(state).text.decode(), json.loads(workloads_json(state)), "")
            world.now = min(until, world.now + step)


@contextmanager
def world(directory: Path) -> Iterator[World]:
    """All sources, five days lived through, and the real clock from then on."""
    now = int(time.time())
    midnight = now - now % DAY
    with ExitStack() as stack:
        enter: Callable = stack.enter_context
        made = World(
            directory,
            midnight,
            enter(api_serving()),
            enter(mission_bill.exports(directory / "delivery")),
            enter(ce_stand_in.serving(mission_bill.lab_account(now, midnight))),
            enter(mission_traffic.OpenAI(now, mission_traffic.openai_calls(midnight))),
            enter(mission_traffic.Anthropic(now, mission_traffic.anthropic_calls(midnight))),
            enter(gcp_server.serving(gcp_server.Catalogue([gcp_server.sku(row) for row in gcp_server.rows()]))),
            closing=stack,
        )
        made.now = float(made.since)
        made.api.token = K8S_TOKEN
        populate(made)
        mission_traffic.write_history(made.log, midnight)
        write_config(made)
        live(made, float(now))
        made.now = None
        yield made
