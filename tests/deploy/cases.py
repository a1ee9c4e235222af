"""What the chart is rendered with in the tests."""

from functools import cache
from typing import Any

import yaml

from deploy.generate import CHART, objects, render, values

Object = dict[str, Any]
NAMESPACE = "llm"

_PRESETS: dict[str, Object] = {"empty": {}, "cluster": values("cluster"), "sidecar": values("sidecar")}
_EXAMPLES = {path.stem: yaml.safe_load(path.read_text()) for path in sorted(CHART.glob("examples/*.yaml"))}
_SIDECAR = values("sidecar")
_MORE: dict[str, Object] = {
    "engine": {**_SIDECAR, "engine": {"enabled": True, "replicas": 3, "args": ["--max-model-len=8192"]}},
    "engine-with-everything": {
        **_SIDECAR,
        "engine": {"enabled": True, "name": "chat"},
        "sidecar": {"gpus": "0.5", "gpu": "a100-80gb", "gpuUsdPerHour": "1.29", "workload": "chat-eu"},
        "podMonitor": {"enabled": True, "interval": "30s", "labels": {"release": "prometheus"}},
        "env": [{"name": "LANG", "value": "C.UTF-8"}],
        "imagePullSecrets": [{"name": "registry"}],
        "podLabels": {"team": "ml"},
        "podAnnotations": {"a.example/b": "c"},
        "nodeSelector": {"gpu": "yes"},
        "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
        "priorityClassName": "high",
        "secrets": [{"name": "engine", "secretName": "engine-token"}],
    },
    "no-volume": {"persistence": {"enabled": False}},
    "own-claim": {"persistence": {"existingClaim": "mine"}},
    "no-rbac": {"rbac": {"create": False}, "serviceAccount": {"create": False}},
    "own-account": {"serviceAccount": {"create": False, "name": "mine"}},
    "named-account": {"serviceAccount": {"name": "exporter", "annotations": {"eks.amazonaws.com/role-arn": "arn:x"}}},
    "namespace-labels": {
        "config": {
            "collectors": [
                {"name": "cluster", "kind": "kubernetes", "namespace_labels": ["team"]},
                {"name": "engines", "kind": "vllm", "discover": "cluster"},
            ],
            "storage": {"path": "/data/ledger.db"},
        }
    },
    "namespace-labels-as-text": {
        "config": "role: cluster\nstorage: {path: /data/ledger.db}\ncollectors:\n"
        "  - {name: cluster, kind: kubernetes, namespace_labels: [team]}\n"
    },
    "digest": {"image": {"digest": f"sha256:{'0' * 64}"}},
    "names": {"fullnameOverride": "costs", "nameOverride": "cost", "image": {"tag": "1.2.3"}},
    "config-as-text": {"config": "role: cluster\ncollectors:\n  - {name: gw, kind: usage_log, path: /logs/*.jsonl}\n"},
    "everything": {
        **_PRESETS["cluster"],
        "imagePullSecrets": [{"name": "registry"}],
        "files": {"prices.yaml": "prices: []\n"},
        "secrets": [{"name": "openai", "secretName": "openai-admin"}, {"name": "anthropic", "secretName": "other"}],
        "env": [{"name": "AWS_REGION", "value": "eu-west-1"}],
        "envFrom": [{"secretRef": {"name": "aws"}}],
        "log": {"level": "debug", "format": "json"},
        "extraArgs": ["--web.listen-address=:9482"],
        "extraVolumes": [{"name": "logs", "hostPath": {"path": "/var/log/llm"}}],
        "extraVolumeMounts": [{"name": "logs", "mountPath": "/var/log/llm", "readOnly": True}],
        "persistence": {"size": "500Mi", "storageClass": "fast", "annotations": {}},
        "service": {"type": "NodePort", "port": 80, "annotations": {"a.example/b": "c"}},
        "serviceMonitor": {"enabled": True, "interval": "1m", "labels": {"release": "prometheus"}},
        "prometheusRule": {"enabled": True, "labels": {"release": "prometheus"}},
        "dashboards": {"enabled": True, "annotations": {"grafana_folder": "LLM"}},
        "networkPolicy": {"enabled": True, "from": [{"namespaceSelector": {}}]},
        "podLabels": {"azure.workload.identity/use": "true"},
        "podAnnotations": {"a.example/b": "c"},
        "nodeSelector": {"kubernetes.io/arch": "amd64"},
        "tolerations": [{"key": "a", "operator": "Exists"}],
        "affinity": {"podAntiAffinity": {}},
        "priorityClassName": "high",
        "global": {"of": "a parent chart"},
    },
    "open-network-policy": {"networkPolicy": {"enabled": True}},
}
CASES = _PRESETS | _EXAMPLES | _MORE


@cache
def rendered(case: str) -> dict[str, str]:
    """The case's manifests by template file."""
    return render(CASES[case], NAMESPACE, release="cost")


def of(case: str, *kinds: str) -> list[Object]:
    """The objects of the case, of these kinds if any are given. Read them, do not change them."""
    return [each for each in objects(rendered(case)) if not kinds or each["kind"] in kinds]


def pods(case: str) -> list[Object]:
    """The pod templates of the case."""
    return [each["spec"]["template"] for each in of(case, "Deployment")]


def exporters(case: str) -> list[Object]:
    """The exporter's containers of the case."""
    containers = [c for pod in pods(case) for key in ("containers", "initContainers") for c in pod["spec"].get(key, ())]
    return [container for container in containers if container["name"] == "llm-cost-exporter"]
