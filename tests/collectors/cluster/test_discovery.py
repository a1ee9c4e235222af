"""Which pods are engines, and where their pages are."""

import json
from typing import Any

import pytest

from collectors.cluster import pods
from collectors.cluster.discovery import Discover, selects
from tests.collectors.cluster.cluster import T0, gpu_pod

VLLM = {"image": "docker.io/vllm/vllm-openai:v0.30.0", "args": ["--model", "m"]}
SERVING = {"app.kubernetes.io/component": "serving-engine", "model": "m", "helm-release-name": "vllm"}
LLM_D = {"llm-d.ai/inference-serving": "true", "llm-d.ai/role": "decode"}
KSERVE = {"serving.kserve.io/inferenceservice": "llama", "component": "predictor"}
SCRAPE = {"prometheus.io/scrape": "true"}


def url(discover: Discover | None = None, **options: Any) -> str | None:
    one = gpu_pod("p1", **{"ip": "10.0.0.7", **options})
    found = pods.parse(json.dumps(one).encode(), discover or Discover())
    return found.url if found else None


def ports(*named: tuple[str, int]) -> dict[str, Any]:
    return {"ports": [{"name": name, "containerPort": port} for name, port in named]}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        pytest.param({"labels": SERVING}, "http://10.0.0.7:8000/metrics", id="production-stack"),
        pytest.param(
            {"labels": SERVING, "container": {**VLLM, **ports(("ucx", 9000), ("container-port", 8088))}},
            "http://10.0.0.7:8088/metrics", id="production-stack, its own port",
        ),
        pytest.param(
            {"labels": {"model": "m", "helm-release-name": "vllm"}}, "http://10.0.0.7:8000/metrics",
            id="production-stack before components",
        ),
        pytest.param(
            {"labels": {**SERVING, "app.kubernetes.io/component": "router"}, "gpus": 1}, "",
            id="production-stack's router",
        ),
        pytest.param({"labels": LLM_D}, "http://10.0.0.7:8000/metrics", id="llm-d"),
        pytest.param({"labels": {"llm-d.ai/inferenceServing": "true"}}, "http://10.0.0.7:8000/metrics", id="old llm-d"),
        pytest.param(
            {"labels": LLM_D, "container": {**VLLM, "args": ["--port=8200", "--model=m"]}},
            "http://10.0.0.7:8200/metrics", id="llm-d behind its routing sidecar",
        ),
        pytest.param({"labels": KSERVE, "container": VLLM}, "http://10.0.0.7:8080/metrics", id="KServe"),
        pytest.param(
            {"labels": KSERVE, "container": {"image": "kserve/huggingfaceserver:v0.15-gpu"}},
            "http://10.0.0.7:8080/metrics", id="KServe's Hugging Face server",
        ),
        pytest.param(
            {
                "labels": KSERVE, "container": VLLM,
                "annotations": {"prometheus.kserve.io/port": "8081", "prometheus.kserve.io/path": "/m"},
            },
            "http://10.0.0.7:8081/m", id="KServe's annotations",
        ),
        pytest.param({"labels": KSERVE, "container": {"image": "triton:1"}}, "", id="KServe, another engine"),
        pytest.param({"labels": {**KSERVE, "component": "transformer"}, "container": VLLM}, "", id="KServe, no engine"),
        pytest.param({"labels": {"app.kubernetes.io/name": "vllm"}}, "http://10.0.0.7:8000/metrics", id="name"),
        pytest.param({"labels": {"app": "vllm-llama"}}, "http://10.0.0.7:8000/metrics", id="app"),
        pytest.param({"labels": {"app": "vllm-router"}}, "", id="a router by its name"),
        pytest.param({"labels": {"app": "vllmetrics"}}, "", id="a name that only looks like it"),
        pytest.param(
            {
                "container": {"command": ["sh", "-c"], "args": ["vllm serve m --port 8001"]},
                "annotations": {**SCRAPE, "prometheus.io/port": "9100", "prometheus.io/path": "telemetry?x=1"},
            },
            "http://10.0.0.7:9100/telemetry?x=1", id="annotations",
        ),
        pytest.param(
            {"container": {"args": ["vllm serve m --port 8001 --ssl-certfile=/c"]}, "annotations": SCRAPE},
            "https://10.0.0.7:8001/metrics", id="port and TLS as the command says",
        ),
        pytest.param(
            {"container": VLLM, "annotations": {**SCRAPE, "prometheus.io/port": "x", "prometheus.io/path": "//a@b/ c"}},
            "http://10.0.0.7:8000/metrics", id="garbage in annotations",
        ),
        pytest.param({"annotations": SCRAPE}, "", id="scraped, but no engine"),
        pytest.param({"container": VLLM}, "", id="an engine that nobody labelled"),
        pytest.param({"labels": SERVING, "ip": "fd00::7"}, "http://[fd00::7]:8000/metrics", id="IPv6"),
        pytest.param({"labels": SERVING, "ip": "10.0.0.7/x"}, "", id="no address"),
        pytest.param({"labels": SERVING, "ip": ""}, "", id="no address yet"),
        pytest.param({"labels": SERVING, "phase": "Pending"}, "", id="not running"),
        pytest.param({"labels": {**SERVING, "leaderworkerset.sigs.k8s.io/worker-index": "1"}}, "", id="LWS worker"),
        pytest.param(
            {"labels": {**SERVING, "leaderworkerset.sigs.k8s.io/worker-index": "0"}}, "http://10.0.0.7:8000/metrics",
            id="LWS leader",
        ),
        pytest.param({"labels": {**SERVING, "llm-cost-exporter/sidecar": "true"}}, "", id="sidecar, label"),
        pytest.param(
            {"labels": SERVING, "annotations": {"llm-cost-exporter/sidecar": "true"}}, "", id="sidecar, annotation"
        ),
        pytest.param({"labels": SERVING, "init": [{"name": "llm-cost-exporter"}]}, "", id="sidecar, container"),
        pytest.param(
            {"labels": SERVING, "init": [{"name": "costs", "image": "ghcr.io/x/llm-cost-exporter:1@sha256:0"}]}, "",
            id="sidecar, image",
        ),
        pytest.param(
            {"labels": SERVING, "annotations": {"llm-cost-exporter/sidecar": "false"}}, "http://10.0.0.7:8000/metrics",
            id="explicitly without sidecar",
        ),
    ],
)  # fmt: skip
def test_the_page_of_a_pod(options: dict[str, Any], expected: str) -> None:
    assert url(**options) == expected


def test_a_pod_is_scraped_without_gpus_too() -> None:
    assert url(labels=SERVING, gpus=0) == "http://10.0.0.7:8000/metrics"


def test_the_engine_is_told_from_containers_beside_it() -> None:
    one = gpu_pod("p1", ip="10.0.0.7", labels=SERVING, container={**VLLM, **ports(("http", 8001))})
    proxy = {"name": "proxy", "image": "istio/proxyv2", "ports": [{"name": "metrics", "containerPort": 15090}]}
    one["spec"]["containers"].insert(0, proxy)
    found = pods.parse(json.dumps(one).encode(), Discover())
    assert found is not None
    assert found.url == "http://10.0.0.7:8001/metrics"


def test_a_configured_selector_says_all() -> None:
    discover = Discover(selector="tier in (gold, silver), app=chat", port=9000, path="/custom")
    assert url(discover, labels={"tier": "gold"}) == "http://10.0.0.7:9000/custom"
    assert url(discover, labels={"tier": "bronze"}) == ""
    assert url(discover, labels=SERVING) == ""
    assert url(discover, labels={"tier": "gold", "llm-cost-exporter/sidecar": "true"}) == ""


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        *[("", True), ("a", True), ("!a", False), ("!b", True), ("a=1", True), ("a==1", True), ("a!=1", False)],
        *[("b!=1", True), ("a=2", False), ("a in (1,2)", True), ("a in ( 3 )", False), ("a notin (1)", False)],
        *[("b notin (1)", True), ("a=1,c/d.e=x-y", True), ("a=1,c/d.e=z", False), ("a , !b", True), ("e=", True)],
    ],
)
def test_label_selectors(selector: str, expected: bool) -> None:
    assert selects(selector, {"a": "1", "c/d.e": "x-y", "e": ""}) is expected


@pytest.mark.parametrize("selector", ["a in 1", "a=1 b=2", "(a)", "a in (1", "=1", "a=1;b", "!", "a,,b"])
def test_what_is_no_label_selector(selector: str) -> None:
    with pytest.raises(ValueError, match="selector: expected a label selector"):
        selects(selector, {})


MARKS: list[dict[str, Any]] = [
    {"labels": {"llm-cost-exporter/sidecar": "true"}},
    {"annotations": {"llm-cost-exporter/sidecar": "true"}},
    {"init": [{"name": "llm-cost-exporter"}]},
    {"init": [{"name": "costs", "image": "ghcr.io/x/llm-cost-exporter:1@sha256:0"}]},
]


@pytest.mark.parametrize("mark", MARKS)
@pytest.mark.parametrize("state", [{}, {"phase": "Pending"}, {"phase": "Succeeded", "ended": T0 + 600}])
def test_a_pod_with_a_sidecar_says_so_whatever_state_it_is_in(mark: dict[str, Any], state: dict[str, Any]) -> None:
    def marked(options: dict[str, Any]) -> bool:
        found = pods.parse(json.dumps(gpu_pod("p1", **options)).encode(), Discover())
        assert found is not None
        return found.sidecar

    assert marked({**mark, **state})
    assert not marked(state)
