"""Series written as input of `promtool test rules`: real rules over recorded samples, evaluated by Prometheus' code."""

import json
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

DASHBOARDS = Path(__file__).parents[2] / "dashboards"

Labels = frozenset[tuple[str, str]]


def run(*arguments: str, cwd: Path = DASHBOARDS) -> None:
    """Run promtool; fails with its output if it does."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian: apt-get install prometheus)")
    done = subprocess.run([promtool, *arguments], cwd=cwd, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr)[-8000:]


@dataclass
class Recording:
    """Samples at multiples of `interval` seconds since the start. A series that misses a scrape is stale from there on,
    as if its target were gone."""

    interval: int
    series: dict[tuple[str, Labels], dict[int, float]] = field(default_factory=dict)
    scrapes: int = 0

    def scrape(self, samples: Mapping[tuple[str, Labels], float]) -> None:
        """Add one scrape of all targets; the first is at second 0."""
        for key, value in samples.items():
            self.series.setdefault(key, {})[self.scrapes] = value
        self.scrapes += 1

    def input_series(self) -> list[dict[str, str]]:
        return [
            {"series": _selector(name, labels), "values": self._values(values)}
            for (name, labels), values in self.series.items()
        ]

    def _values(self, values: Mapping[int, float]) -> str:
        cells = []
        for index in range(self.scrapes):
            if index in values:
                cells.append(repr(float(values[index])))
            else:
                cells.append("stale" if index - 1 in values else "_")
        return " ".join(cells)


def groups(file: str) -> list[str]:
    """The names of a rule file's groups, in order."""
    return [group["name"] for group in yaml.safe_load((DASHBOARDS / file).read_text())["groups"]]


def holds(
    directory: Path, rules: Sequence[str], recording: Recording, evaluate_every: int, truths: Mapping[str, int]
) -> None:
    """Assert that each expression of `truths` has the value 1 (and no labels) at that second, with the shipped `rules`
    evaluated over the recording every `evaluate_every` seconds."""
    test = {
        "interval": f"{recording.interval}s",
        "input_series": recording.input_series(),
        "promql_expr_test": [
            {"expr": expression, "eval_time": f"{at}s", "exp_samples": [{"labels": "{}", "value": 1}]}
            for expression, at in truths.items()
        ],
    }
    written = {
        "rule_files": [str(DASHBOARDS / name) for name in rules],
        "evaluation_interval": f"{evaluate_every}s",
        "group_eval_order": [name for file in rules for name in groups(file)],
        "tests": [test],
    }
    path = directory / "generated_test.json"
    path.write_text(json.dumps(written))  # JSON is YAML
    run("test", "rules", str(path))


def _selector(name: str, labels: Labels) -> str:
    inside = ", ".join(f"{key}={json.dumps(value)}" for key, value in sorted(labels))
    return f"{name}{{{inside}}}"
