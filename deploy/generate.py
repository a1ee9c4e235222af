"""Write what is made from something else: the chart's copies of rules and dashboards, and the plain manifests.

Run `python deploy/generate.py` from anywhere after a change to `dashboards/` or to the chart; a test fails until then.
Needs the development requirements (Helm's own Go SDK renders the chart).
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import helm_python as helm
import yaml

DEPLOY = Path(__file__).resolve().parent
DASHBOARDS = DEPLOY.parent / "dashboards"
CHART = DEPLOY / "helm" / "llm-cost-exporter"
MANIFESTS = DEPLOY / "manifests"

MARK = "llm-cost-exporter/sidecar"  # label and annotation of a pod with a sidecar
_RELEASE = "llm-cost-exporter"
_HELMS_OWN = re.compile(r"^ +(?:app\.kubernetes\.io/managed-by: Helm|helm\.sh/(?:chart|resource-policy): .*)\n", re.M)
_EMPTY_ANNOTATIONS = re.compile(r"^( *)annotations:\n(?!\1 )", re.M)
_QUIET = {"prometheusRule": {"enabled": False}, "dashboards": {"enabled": False}}

Values = dict[str, Any]


def copies() -> dict[Path, str]:
    """The chart's files/: Helm reads nothing outside of a chart."""
    rules = (path for path in DASHBOARDS.glob("*.yaml") if not path.stem.endswith("_test"))
    copied = {CHART / "files" / "rules" / path.name: path.read_text() for path in rules}
    return copied | {CHART / "files" / "grafana" / p.name: p.read_text() for p in DASHBOARDS.glob("grafana/*.json")}


def manifests() -> dict[Path, str]:
    """The plain manifests, from the chart as it is."""
    sidecar = render(values("sidecar") | _QUIET | {"engine": {"enabled": True}}, "llm")
    texts = {
        "cluster": _manifest("the cluster role", render(values("cluster") | _QUIET, "monitoring"), "monitoring"),
        "rules": _manifest("rules and alerts", {"": render(values("cluster"), "monitoring")["prometheusrule.yaml"]}),
        "sidecar": _manifest("the sidecar role, beside an example vLLM", sidecar, "llm"),
        "sidecar-patch": _patch(sidecar),
    }
    return {MANIFESTS / f"{name}.yaml": text for name, text in texts.items()}


def values(preset: str) -> Values:
    """The values of a preset."""
    read: Values = yaml.safe_load((CHART / f"values-{preset}.yaml").read_text())
    return read


def render(chosen: Values, namespace: str, release: str = _RELEASE) -> dict[str, str]:
    """The chart's manifests by template, without empty ones and the notes. Raises helm.HelmError."""
    with helm.Chart.load(CHART) as chart:
        rendered = chart.render(chosen, name=release, namespace=namespace)
    named = {Path(path).name: text for path, text in rendered.items()}
    return {name: text for name, text in sorted(named.items()) if name.endswith(".yaml") and text.strip()}


def objects(rendered: dict[str, str]) -> Iterator[Values]:
    """The Kubernetes objects in rendered manifests."""
    for text in rendered.values():
        yield from filter(None, yaml.safe_load_all(text))


def _manifest(what: str, rendered: dict[str, str], namespace: str = "") -> str:
    head = f"# Of llm-cost-exporter: {what}. Made from deploy/helm by deploy/generate.py: change it there.\n"
    first = [f"apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {namespace}"] if namespace else []
    documents = (text.strip().removeprefix("---").strip() for text in rendered.values())
    return head + "---\n" + _without_helm("\n---\n".join([*first, *documents]) + "\n")


def _without_helm(text: str) -> str:
    return _EMPTY_ANNOTATIONS.sub("", _HELMS_OWN.sub("", text))


def _patch(rendered: dict[str, str]) -> str:
    """What turns a Deployment of vLLM into one with a sidecar, for `kubectl patch`."""
    engine = next(each for each in objects(rendered) if each["kind"] == "Deployment")
    pod = engine["spec"]["template"]["spec"]
    added = {
        "initContainers": pod["initContainers"],
        "volumes": [volume for volume in pod["volumes"] if volume["name"].startswith("llm-cost-")],
    }
    marked = {"labels": {MARK: "true"}, "annotations": {MARK: "true"}}
    body = yaml.safe_dump({"spec": {"template": {"metadata": marked, "spec": added}}}, sort_keys=False, width=120)
    return f"""\
# The sidecar for a vLLM of yours: set the four variables, then
#   kubectl patch deployment YOURS --patch-file sidecar-patch.yaml
# The ConfigMap and the PodMonitor come with the chart (values-sidecar.yaml). Made by deploy/generate.py.
{body}"""


def write(wanted: dict[Path, str], folders: tuple[Path, ...]) -> None:
    """Make `folders` hold what is `wanted` and no other file."""
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
        for path in set(folder.iterdir()) - set(wanted):
            path.unlink()
    for path, text in wanted.items():
        path.write_text(text)


if __name__ == "__main__":
    write(copies(), (CHART / "files" / "rules", CHART / "files" / "grafana"))
    write(manifests(), (MANIFESTS,))
