"""The Helm chart, rendered by Helm's own SDK: every object is valid, safe by default, and refers to what is there."""

import re
import tomllib
from pathlib import Path
from typing import Any

import helm_python as helm
import jsonschema
import kubernetes_validate
import pytest
import yaml

from deploy.generate import CHART, MARK, render
from exporter import __version__
from tests.deploy.cases import CASES, NAMESPACE, Object, exporters, of, pods, rendered
from tests.deploy.custom_resources import SCHEMAS

every_case = pytest.mark.parametrize("case", CASES)
METADATA: dict[str, Any] = yaml.safe_load((CHART / "Chart.yaml").read_text())
OLDEST, NEWEST = "1.29", "1.37"


@every_case
def test_every_object_is_valid(case: str) -> None:
    for each in of(case):
        if each["kind"] in SCHEMAS:
            jsonschema.validate(each, SCHEMAS[each["kind"]])
        else:
            for version in (OLDEST, NEWEST):
                kubernetes_validate.validate(each, version, strict=True)


def test_the_schemas_reject_what_the_operator_would() -> None:
    rule = of("cluster", "PrometheusRule")[0]
    wrong = [{"groups": [{"name": "a", "rules": [{"record": "b", "exp": "1"}]}]}, {"groups": []}, {"group": []}]
    for spec in wrong:
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({**rule, "spec": spec}, SCHEMAS["PrometheusRule"])


def test_lint_finds_nothing_but_the_missing_icon() -> None:
    for preset in ("values-cluster.yaml", "values-sidecar.yaml", None):
        values = yaml.safe_load((CHART / preset).read_text()) if preset else None
        found = helm.lint(CHART, values=values)
        assert not found["errors"]
        assert [message["error"] for message in found["messages"]] == ["icon is recommended"]


def test_the_chart_and_the_package_have_one_version() -> None:
    project = tomllib.loads((CHART.parents[2] / "pyproject.toml").read_text())["project"]
    assert METADATA["appVersion"] == METADATA["version"] == __version__ == project["version"]


def test_what_is_rendered_without_a_value() -> None:
    kinds = sorted(each["kind"] for each in of("empty"))
    assert kinds == [
        "ClusterRole",
        "ClusterRoleBinding",
        "ConfigMap",
        "Deployment",
        "PersistentVolumeClaim",
        "Service",
        "ServiceAccount",
    ]


def test_what_the_presets_add() -> None:
    cluster = {each["kind"] for each in of("cluster")} - {each["kind"] for each in of("empty")}
    assert cluster == {"ServiceMonitor", "PrometheusRule"}
    assert {each["kind"] for each in of("sidecar")} == {"ConfigMap", "PodMonitor", "PrometheusRule"}
    assert {each["kind"] for each in of("engine")} - {each["kind"] for each in of("sidecar")} == {
        "Deployment",
        "Service",
    }


@every_case
def test_objects_have_unique_names_and_the_namespace(case: str) -> None:
    found = [(each["kind"], each["metadata"]["name"]) for each in of(case)]
    assert len(found) == len(set(found))
    for each in of(case):
        wanted = None if each["kind"].startswith("ClusterRole") else NAMESPACE
        assert each["metadata"].get("namespace") == wanted


@every_case
def test_no_image_floats(case: str) -> None:
    images = re.findall(r"image: \"?([^\s\"]+)", "".join(rendered(case).values()))
    assert len(images) == sum(
        len(pod["spec"]["containers"]) + len(pod["spec"].get("initContainers", ())) for pod in pods(case)
    )
    for image in images:
        assert re.search(r"(:v?\d[\w.-]*|@sha256:[0-9a-f]{64})$", image), image


@every_case
def test_the_exporter_runs_without_any_privilege(case: str) -> None:
    for container in exporters(case):
        security = container["securityContext"]
        assert security["runAsNonRoot"] and security["runAsUser"] == 65532
        assert security["readOnlyRootFilesystem"] and not security["allowPrivilegeEscalation"]
        assert security["capabilities"] == {"drop": ["ALL"]}
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert container["resources"]["requests"] and "memory" in container["resources"]["limits"]
        writable = {mount["mountPath"] for mount in container["volumeMounts"] if not mount.get("readOnly")}
        assert writable == {"/data", "/tmp"}


def test_probes_ask_the_exporters_own_health() -> None:
    (cluster,), (sidecar,) = exporters("cluster"), exporters("engine")
    assert cluster["livenessProbe"]["httpGet"] == {"path": "/-/healthy", "port": "llmcost"}
    assert cluster["readinessProbe"]["httpGet"] == {"path": "/-/ready", "port": "llmcost"}
    assert sidecar["livenessProbe"]["httpGet"] == {"path": "/-/healthy", "port": "llmcost"}
    assert "readinessProbe" not in sidecar, "an exporter must not take an engine out of service"


@every_case
def test_everything_referred_to_is_there(case: str) -> None:
    names = {(each["kind"], each["metadata"]["name"]) for each in of(case)}
    for pod in pods(case):
        volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
        assert len(volumes) == len(pod["spec"]["volumes"])
        for container in (*pod["spec"]["containers"], *pod["spec"].get("initContainers", ())):
            assert {mount["name"] for mount in container.get("volumeMounts", ())} <= set(volumes)
        for volume in volumes.values():
            if "configMap" in volume:
                assert ("ConfigMap", volume["configMap"]["name"]) in names
            claim = volume.get("persistentVolumeClaim", {}).get("claimName")
            external = {
                "mine",
                *(
                    v["persistentVolumeClaim"]["claimName"]
                    for v in CASES[case].get("extraVolumes", ())
                    if "persistentVolumeClaim" in v
                ),
            }
            assert claim is None or claim in external or ("PersistentVolumeClaim", claim) in names
        account = pod["spec"].get("serviceAccountName", "default")
        assert account in ("default", "mine") or ("ServiceAccount", account) in names


@every_case
def test_selectors_select_the_pods_and_ports_exist(case: str) -> None:
    for each in of(case, "Service"):
        (pod,) = (pod for pod in pods(case) if _selects(each["spec"]["selector"], pod))
        named = {p["name"] for c in _containers(pod) for p in c["ports"]}
        assert {port["targetPort"] for port in each["spec"]["ports"]} <= named
    for each in of(case, "ServiceMonitor"):
        (service,) = of(case, "Service")
        assert each["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
        assert each["spec"]["endpoints"][0]["port"] in {port["name"] for port in service["spec"]["ports"]}
    for each in of(case, "PodMonitor"):
        assert each["spec"]["podMetricsEndpoints"][0]["port"] == "llmcost"
        assert all(_selects(each["spec"]["selector"]["matchLabels"], pod) for pod in pods(case))
    for each in of(case, "NetworkPolicy"):
        assert all(_selects(each["spec"]["podSelector"]["matchLabels"], pod) for pod in pods(case))
        assert [port["port"] for port in each["spec"]["ingress"][0]["ports"]] == ["llmcost"]


def _selects(labels: dict[str, str], pod: Object) -> bool:
    return bool(labels.items() <= pod["metadata"]["labels"].items())


def _containers(pod: Object) -> list[Object]:
    return [*pod["spec"]["containers"], *pod["spec"].get("initContainers", ())]


def test_the_sidecar_is_native_and_its_pod_is_marked() -> None:
    (pod,) = pods("engine")
    (sidecar,) = pod["spec"]["initContainers"]
    assert sidecar["restartPolicy"] == "Always"
    assert pod["metadata"]["annotations"][MARK] == pod["metadata"]["labels"][MARK] == "true"
    assert not pod["spec"]["automountServiceAccountToken"]


def test_only_one_exporter_writes_the_ledger() -> None:
    (deployment,) = of("everything", "Deployment")
    assert deployment["spec"]["replicas"] == 1 and deployment["spec"]["strategy"] == {"type": "Recreate"}


def test_a_new_config_starts_a_new_pod() -> None:
    checksums = {pods(case)[0]["metadata"]["annotations"]["checksum/config"] for case in ("empty", "config-as-text")}
    checksums |= {pods(case)[0]["metadata"]["annotations"]["checksum/config"] for case in ("cluster", "everything")}
    assert len(checksums) == 3  # the preset `cluster` has the config of the defaults; `everything` has a file beside it


def test_secrets_are_mounted_never_rendered() -> None:
    (container,) = exporters("everything")
    mounts = {m["mountPath"] for m in container["volumeMounts"] if m["name"].startswith("llm-cost-secret-")}
    assert mounts == {"/etc/llm-cost-exporter-secrets/openai", "/etc/llm-cost-exporter-secrets/anthropic"}
    assert not [each for case in CASES for each in of(case, "Secret")]


def test_the_token_of_the_api_is_there_only_with_the_right_to_use_it() -> None:
    for case, wanted in (("empty", True), ("no-rbac", False), ("config-as-text", False)):
        assert pods(case)[0]["spec"]["automountServiceAccountToken"] is wanted
        assert bool(of(case, "ClusterRole", "ClusterRoleBinding")) is wanted


# fmt: off
WRONG: dict[str, Object] = {
    "unknown key": {"servicemonitor": {"enabled": True}},
    "unknown nested key": {"serviceMonitor": {"enable": True}},
    "role": {"role": "daemonset"},
    "latest": {"image": {"tag": "latest"}},
    "digest": {"image": {"digest": "sha256:abc"}},
    "latest engine": {"engine": {"image": "vllm/vllm-openai:latest"}},
    "engine without tag": {"engine": {"image": "vllm/vllm-openai"}},
    "float money": {"sidecar": {"gpuUsdPerHour": 2.49}},
    "price as words": {"sidecar": {"gpuUsdPerHour": "cheap"}},
    "no GPU": {"sidecar": {"gpus": 0}},
    "no collectors": {"config": {"collectors": []}},
    "collector without kind": {"config": {"collectors": [{"name": "a"}]}},
    "misspelt section": {"config": {"collectors": [{"name": "a", "kind": "b"}], "workload": []}},
    "empty config": {"config": ""},
    "port": {"service": {"port": 0}},
    "port as text": {"service": {"port": "9482"}},
    "size": {"persistence": {"size": "five"}},
    "secret without name": {"secrets": [{"secretName": "a"}]},
    "secret with a path": {"secrets": [{"name": "../a", "secretName": "a"}]},
    "file over the config": {"files": {"config.yaml": ""}},
    "label that is no text": {"podLabels": {"a": True}},
    "interval": {"serviceMonitor": {"interval": "often"}},
    "log level": {"log": {"level": "loud"}},
    "runbook without scheme": {"prometheusRule": {"runbookBaseUrl": "git.example.com/runbook"}},
    "runbook in a template": {"prometheusRule": {"runbookBaseUrl": "https://{{ $labels.x }}"}},
}
# fmt: on


@pytest.mark.parametrize("wrong", WRONG)
def test_the_values_schema_rejects(wrong: str) -> None:
    with pytest.raises(helm.HelmError, match="schema"):
        render(WRONG[wrong], NAMESPACE)


def test_every_value_is_in_the_schema_and_described() -> None:
    text = (CHART / "values.yaml").read_text()
    values = yaml.safe_load(text)
    with helm.Chart.load(CHART) as chart:
        schema = chart.schema
    assert schema is not None
    assert set(schema["properties"]) - {"global"} == set(values)
    readme = (CHART / "README.md").read_text()
    assert not [key for key in values if f"`{key}" not in readme], "in the chart's README"


def test_a_chart_packed_and_loaded_again_renders_the_same(tmp_path: Path) -> None:
    helm.package(CHART, destination=tmp_path)
    (packed,) = tmp_path.glob("*.tgz")
    with helm.Chart.load(packed) as chart:
        again = chart.render(CASES["cluster"], name="cost", namespace=NAMESPACE)
    named = {Path(path).name: text for path, text in again.items()}
    assert {name: named[name] for name in rendered("cluster")} == rendered("cluster")
