"""What deploy/generate.py writes is what is committed; rules and dashboards arrive in the cluster unchanged."""

import json
import shutil
import subprocess
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from deploy.generate import CHART, DASHBOARDS, MANIFESTS, MARK, copies, manifests
from tests.deploy.cases import Object, of

FRESH = copies() | manifests()


@pytest.mark.parametrize("path", FRESH, ids=lambda path: path.name)
def test_what_is_committed_is_what_is_generated(path: Path) -> None:
    assert path.is_file() and path.read_text() == FRESH[path], "run `python deploy/generate.py`"


def test_nothing_else_lies_beside_it() -> None:
    folders = (MANIFESTS, CHART / "files" / "rules", CHART / "files" / "grafana")
    assert {path for folder in folders for path in folder.iterdir()} == set(FRESH)


def test_rules_arrive_unchanged_and_promtool_accepts_them(tmp_path: Path) -> None:
    sources = [path for path in sorted(DASHBOARDS.glob("*.yaml")) if not path.stem.endswith("_test")]
    rules = of("cluster", "PrometheusRule")
    assert [each["spec"] for each in rules] == [yaml.safe_load(path.read_text()) for path in sources]
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian: apt-get install prometheus)")
    for each in rules:
        path = tmp_path / f"{each['metadata']['name']}.yaml"
        path.write_text(yaml.safe_dump(each["spec"]))
        done = subprocess.run([promtool, "check", "rules", path], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr


def test_dashboards_arrive_unchanged_where_grafana_looks() -> None:
    sources = {path.name: path.read_text() for path in DASHBOARDS.glob("grafana/*.json")}
    found = [each for each in of("cluster", "ConfigMap") if "grafana_dashboard" in each["metadata"]["labels"]]
    arrived = {name: text for each in found for name, text in each["data"].items()}
    assert sources, "no dashboards in dashboards/grafana"
    assert {name: json.loads(text) for name, text in arrived.items()} == {
        name: json.loads(text) for name, text in sources.items()
    }
    for each in found:
        assert each["metadata"]["labels"]["grafana_dashboard"] == "1"
        assert len(json.dumps(each)) < 1_000_000, "Kubernetes refuses objects above 1 MiB"


@pytest.mark.parametrize("name", ["cluster", "sidecar"])
def test_a_plain_manifest_is_complete(name: str) -> None:
    objects = list(yaml.safe_load_all((MANIFESTS / f"{name}.yaml").read_text()))
    assert objects[0]["kind"] == "Namespace"
    for each in objects:
        if not each["apiVersion"].startswith("monitoring.coreos.com/"):
            kubernetes_validate.validate(each, "1.37", strict=True)
    assert {"ConfigMap", "Deployment", "Service"} <= {each["kind"] for each in objects}
    assert "helm" not in yaml.safe_dump_all(objects).lower()


def test_the_patch_makes_a_valid_pod_of_a_bare_one() -> None:
    patch: Object = yaml.safe_load((MANIFESTS / "sidecar-patch.yaml").read_text())["spec"]["template"]
    bare = {"name": "vllm", "image": "vllm/vllm-openai:v0.11.0"}
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "chat"},
        "spec": {"selector": {"matchLabels": {MARK: "true"}}, "template": {**patch, "spec": dict(patch["spec"])}},
    }
    deployment["spec"]["template"]["spec"]["containers"] = [bare]  # type: ignore[index]  # a literal of mixed values
    kubernetes_validate.validate(deployment, "1.37", strict=True)
    assert patch["metadata"] == {"labels": {MARK: "true"}, "annotations": {MARK: "true"}}
    volumes = {volume["name"] for volume in patch["spec"]["volumes"]}
    assert {mount["name"] for mount in patch["spec"]["initContainers"][0]["volumeMounts"]} == volumes
