"""What deploy/README.md has users paste is right: values render, files exist, permissions are those of the chart."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import kubernetes_validate
import yaml
from click.testing import CliRunner

from deploy.generate import objects, render, values
from exporter import __version__
from exporter.commands import serve
from tests.deploy.cases import of
from tests.deploy.test_config import check

ROOT = Path(__file__).parents[2]
README = (ROOT / "deploy" / "README.md").read_text()


def blocks(language: str) -> list[str]:
    """The fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.M | re.S)


FIVE_LINES, MINE = blocks("yaml")


def test_the_sidecar_in_five_lines() -> None:
    assert len(FIVE_LINES.splitlines()) == 5
    (sidecar,) = yaml.safe_load(FIVE_LINES)["initContainers"]
    assert sidecar["image"].endswith(f":{__version__}") and sidecar["restartPolicy"] == "Always"
    engine: dict[str, Any] = {"name": "vllm", "image": "vllm/vllm-openai:v0.11.0"}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "chat"},
        "spec": {"initContainers": [sidecar], "containers": [engine]},
    }
    kubernetes_validate.validate(pod, "1.37", strict=True)
    known = CliRunner().invoke(serve.serve, ["--help"]).output
    options = [each.partition("=")[0] for each in sidecar["args"][1:]]
    assert sidecar["args"][0] == "serve" and not [option for option in options if option not in known]


def test_the_cluster_in_ten_lines(tmp_path: Path) -> None:
    assert len(MINE.splitlines()) <= 10
    rendered = render(values("cluster") | yaml.safe_load(MINE), "monitoring")
    (found,) = (each for each in objects(rendered) if "config.yaml" in each.get("data", {}))
    path = tmp_path / "config.yaml"
    path.write_text(found["data"]["config.yaml"])
    done = check(path, {})
    assert done.returncode == 0, done.stdout + done.stderr


def test_files_that_are_named_exist() -> None:
    written = {word for block in blocks("console") for line in block.splitlines() for word in shlex.split(line, True)}
    paths = {word for word in written if word.startswith("deploy/")}
    paths |= {word.partition("=")[2] for word in written if "=deploy/" in word}
    assert paths and not [path for path in paths if not (ROOT / path).exists()]
    links = re.findall(r"\]\(([\w./-]+)\)", README)
    assert links and not [link for link in links if not (ROOT / "deploy" / link).exists()]


def test_permissions_are_those_of_the_chart_and_of_the_policy() -> None:
    (role,) = of("namespace-labels", "ClusterRole")
    (row,) = (line for line in README.splitlines() if line.startswith("| `kubernetes`"))
    for rule in role["rules"]:
        suffix = f".{rule['apiGroups'][0]}".rstrip(".")
        assert not [name for name in rule["resources"] if f"`{name}{suffix}`" not in row]
        assert not [verb for verb in rule["verbs"] if f"`{verb}`" not in row]
    (policy,) = map(json.loads, blocks("json"))
    actions = [each["Action"] for each in policy["Statement"]]
    named = {name for each in actions for name in ([each] if isinstance(each, str) else each)}
    assert named == {name for name in re.findall(r"`((?:ce|s3):\w+)`", README)}


def test_every_kind_that_needs_a_permission_is_in_the_table() -> None:
    from collectors.kinds import COLLECTORS

    table = README.partition("## Which permission")[2].partition("```")[0]
    assert not [kind for kind in COLLECTORS if f"`{kind}`" not in table]
