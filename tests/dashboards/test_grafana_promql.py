"""What the boards' expressions come to, reckoned by a real Prometheus engine (promtool test rules) on small fleets."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from dashboards.grafana import promql as q

ALL = 'job=~".*"'
SIDECARS = ("a", "b")
GPT, LLAMA = "api:openai/gpt", "api:together/llama"

Series = dict[str, str]
"""Values in promtool's notation by series: `0+60x60` starts at 0 and gains 60 a minute, sixty times."""


def own(instance: str, family: str, labels: str = "") -> str:
    return f'{family}{{job="sidecars",instance="{instance}",workload="chat",{labels}}}'


def counter(per_second: float) -> str:
    return f"0+{per_second * 60:f}x60"


def fleet(tokens: tuple[float, float] = (100, 300)) -> Series:
    """Two sidecars of one workload: a GPU each at 0.001 USD a second, unequal traffic, and one fixed cost as dear."""
    found = {}
    for instance, served in zip(SIDECARS, tokens, strict=True):
        token = 'path="self_hosted",provider="vllm",model="m",token_type="input"'
        found[own(instance, "llmcost_cost_usd_total", 'path="self_hosted",component="gpu"')] = counter(0.001)
        found[own(instance, "llmcost_tokens_total", token)] = counter(served)
        found[own(instance, "llmcost_api_equivalent_usd_total", f'alternative="{LLAMA}"')] = counter(served * 1e-5)
        found[own(instance, "llmcost_unpriced_alternative_tokens_total", f'alternative="{LLAMA}"')] = counter(0)
        found[own(instance, "llmcost_fixed_usd_per_month")] = "2628x60"
    return found


def results(series: Series, expr: str, directory: Path) -> dict[frozenset[tuple[str, str]], float]:
    """The samples of the query after an hour, by labels. promtool prints what it got where it expected nothing."""
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed (Debian: apt-get install prometheus)")
    sought = {"expr": expr, "eval_time": "1h", "exp_samples": [{"labels": '{none="such"}', "value": 0}]}
    test = {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [sought],
    }
    (directory / "test.json").write_text(json.dumps({"evaluation_interval": "1m", "tests": [test]}))
    done = subprocess.run(
        ["promtool", "test", "rules", "test.json"],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return _got(done.stdout + done.stderr)


def _got(output: str) -> dict[frozenset[tuple[str, str]], float]:
    expected, got, samples = output.partition("got:")
    assert got and "exp: {none=" in expected, output
    found = re.findall(r"\{([^}]*)\} ([^\s,]+)", samples)
    return {frozenset(re.findall(r'(\w+)="([^"]*)"', labels)): float(value) for labels, value in found}


def only(found: dict[Any, float]) -> float:
    assert len(found) == 1, found
    return next(iter(found.values()))


def test_cost_per_token_of_a_fleet_is_of_sums_and_fixed_cost_counts_once(tmp_path: Path) -> None:
    usd = 1e6 * (2 * 0.001 + 0.001) / (100 + 300)
    assert only(results(fleet(), q.own_per_mtok("30m", ALL), tmp_path)) == pytest.approx(usd, rel=1e-4)


def test_fixed_cost_that_a_cluster_exporter_accrues_is_not_counted_again(tmp_path: Path) -> None:
    series = fleet() | {
        own("cluster", "llmcost_cost_usd_total", 'path="self_hosted",component="fixed"'): counter(0.001)
    }
    usd = 1e6 * (2 * 0.001 + 0.001) / (100 + 300)
    assert only(results(series, q.own_per_mtok("30m", ALL), tmp_path)) == pytest.approx(usd, rel=1e-4)


def test_without_tokens_there_is_no_price_and_not_an_infinite_one(tmp_path: Path) -> None:
    assert not results(fleet((0, 0)), q.own_per_mtok("30m", ALL), tmp_path)
    assert not results(fleet((0, 0)), q.api_per_mtok("30m", ALL), tmp_path)


def test_the_api_line_is_of_the_tokens_that_have_a_price_there(tmp_path: Path) -> None:
    assert only(results(fleet(), q.api_per_mtok("30m", ALL), tmp_path)) == pytest.approx(10, rel=1e-4)
    unpriced = own("a", "llmcost_unpriced_alternative_tokens_total", f'alternative="{LLAMA}"')
    series = fleet() | {unpriced: counter(200)}
    assert only(results(series, q.api_per_mtok("30m", ALL), tmp_path)) == pytest.approx(20, rel=1e-4)


def test_unpriced_tokens_leave_cost_and_tokens_alike(tmp_path: Path) -> None:
    labels = 'path="api",provider="openai",model="gpt"'
    series = {
        own("a", "llmcost_cost_usd_total", 'path="api",component="tokens"'): counter(0.001),
        own("a", "llmcost_tokens_total", labels + ',token_type="input"'): counter(150),
        own("a", "llmcost_unpriced_tokens_total", labels): counter(50),
    }
    assert only(results(series, q.own_per_mtok("30m", ALL), tmp_path)) == pytest.approx(10, rel=1e-4)


def test_a_fleet_without_windowed_figures_has_price_ratio_and_alternative_from_its_counters(tmp_path: Path) -> None:
    own_usd = 1e6 * 0.003 / 400
    assert only(results(fleet(), q.own_over_window("30m", ALL), tmp_path)) == pytest.approx(own_usd, rel=1e-4)
    ratio = results(fleet(), q.ratio_over_window("30m", ALL), tmp_path)
    assert only(ratio) == pytest.approx(10 / own_usd, rel=1e-4)
    assert dict(next(iter(ratio))) == {"workload": "chat", "path": "self_hosted", "alternative": LLAMA}
    assert only(results(fleet(), q.alternative_over_window("30m", ALL), tmp_path)) == pytest.approx(10, rel=1e-4)
    named = results(fleet(), q.of_primary(q.own_over_window("30m", ALL), ALL), tmp_path)
    assert dict(next(iter(named))) == {"workload": "chat", "path": "self_hosted", "alternative": LLAMA}


def test_best_known_figures_go_before_the_counters(tmp_path: Path) -> None:
    series = fleet() | {
        own("cluster", "llmcost_effective_usd_per_token", 'path="self_hosted",window="30m"'): "0.000004x60",
        own("cluster", "llmcost_break_even_ratio", f'path="self_hosted",alternative="{LLAMA}",window="30m"'): "2x60",
    }
    assert only(results(series, q.own_over_window("30m", ALL), tmp_path)) == pytest.approx(4)
    assert only(results(series, q.alternative_over_window("30m", ALL), tmp_path)) == pytest.approx(8)


def hour(instance: str, path: str, cost: float, alternative: float) -> Series:
    """The gauges of the window `1h` that one sidecar publishes."""
    key = f'path="{path}",window="1h"'
    other = f'{key},alternative="{LLAMA}"'
    return {
        own(instance, "llmcost_effective_cost_usd", f'{key},component="gpu"'): f"{cost}x60",
        own(instance, "llmcost_alternative_cost_usd", other): f"{alternative}x60",
        own(instance, "llmcost_break_even_ratio", other): "9x60",
    }


@pytest.mark.parametrize(("path", "ratio"), [("self_hosted", 0.5), ("api", 2)])
def test_the_ratio_of_an_hour_is_api_over_self_hosted_cost_of_all_sidecars(
    path: str, ratio: float, tmp_path: Path
) -> None:
    series = hour("a", path, cost=8, alternative=1) | hour("b", path, cost=2, alternative=4)
    assert only(results(series, q.window_ratio("1h", ALL), tmp_path)) == pytest.approx(ratio)


def test_a_ratio_that_the_exporter_withholds_is_not_shown(tmp_path: Path) -> None:
    series = {name: values for name, values in hour("a", "api", 8, 1).items() if "ratio" not in name}
    assert not results(series, q.window_ratio("1h", ALL), tmp_path)


@pytest.mark.parametrize(
    ("path", "status", "crossed", "code"),
    [
        ("self_hosted", "self_hosting_cheaper", 0, 1),
        ("self_hosted", "api_cheaper", 1, 3),
        ("self_hosted", "unknown", 0, 4),
        ("api", "self_hosting_cheaper", 1, 11),
        ("api", "break_even", 0, 12),
        ("api", "api_cheaper", 0, 13),
    ],
)
def test_the_dearer_side_is_the_other_than_the_path(
    path: str, status: str, crossed: int, code: int, tmp_path: Path
) -> None:
    series = {
        own(
            "c", "llmcost_break_even_status", f'path="{path}",alternative="{GPT}",status="{one}"'
        ): f"{int(one == status)}x60"
        for one in q.STATUSES
    }
    assert only(results(series, q.crossed(ALL), tmp_path)) == crossed
    assert only(results(series, q.status_code(ALL), tmp_path)) == code
