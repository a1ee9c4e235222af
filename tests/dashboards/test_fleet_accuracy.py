"""The fleet rules against the exporter: ten sidecars and a rollout, seen also by one exporter for all engines."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.dashboards.fleet import Fleet, Pod, fleet
from tests.dashboards.promtool import holds

HOUR = 3600
END = HOUR + 1800
CLOSED_AFTER = 315
"""Seconds after which the exporter has closed the slot that ends at END, and so the same hour as the rules."""


def pods() -> list[Pod]:
    """Ten replicas of unlike load, each replaced by a new pod at its own moment of the last hour."""
    found = []
    for i in range(10):
        rates = (180.0 + 40 * i, 60.0 + 11 * i, 90.0 - 5 * i)
        replaced = END - HOUR + 300 + 337 * i  # all within the hour, none on a scrape
        found += [Pod(f"old-{i}", 0, replaced + 45, rates), Pod(f"new-{i}", replaced, END + HOUR, rates)]
    return found


@pytest.fixture(scope="module")
def rollout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with fleet(tmp_path_factory.mktemp("fleet"), pods(), scrape_interval=30) as running:
        running.until(END + CLOSED_AFTER, 15)
        yield running


def within_a_percent(expression: str, figure: float | None) -> str:
    assert figure
    return f"abs({expression} / {figure!r} - 1) < bool 0.01"


def test_the_hour_of_a_rollout_is_the_exporters(rollout: Fleet, tmp_path: Path) -> None:
    """Ten pods are replaced by ten others in the hour; the old ones' counters end, the new ones' begin at 0."""
    value = rollout.cluster.value
    chat = {"workload": "chat", "path": "self_hosted"}
    of = 'workload="chat",path="self_hosted"'
    window = {**chat, "window": "1h"}
    alternative = {"alternative": "api:acme/tiny"}
    figures = {
        **{
            f'workload:llmcost_tokens:increase1h{{{of},token_type="{kind}"}}': value(
                "llmcost_window_tokens", **window, token_type=kind
            )
            for kind in ("input", "cache_read", "output")
        },
        **{
            f'workload:llmcost_cost_usd:increase1h{{{of},component="{component}"}}': value(
                "llmcost_effective_cost_usd", **window, component=component
            )
            for component in ("gpu", "fixed")
        },
        "workload:llmcost_api_equivalent_usd:increase1h": value(
            "llmcost_alternative_cost_usd", **window, **alternative
        ),
        "workload:llmcost_effective_usd_per_token:ratio1h": value("llmcost_effective_usd_per_token", **window),
        "workload:llmcost_break_even_ratio:ratio1h": value("llmcost_break_even_ratio", **window, **alternative),
    }
    truths = {within_a_percent(f"sum({rule})", figure): END for rule, figure in figures.items()}
    holds(tmp_path, ["fleet-rules.yaml"], rollout.recording, 60, truths)
