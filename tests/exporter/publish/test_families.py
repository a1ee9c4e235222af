"""The table of metric families: naming conventions, and the documentation generated from it."""

import re
from pathlib import Path

import pytest

from exporter.publish.families import BY_NAME, FAMILIES, Family
from tests.golden import expect

DOCS = Path(__file__).parents[3] / "docs" / "metrics.md"
every_family = pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)


def test_every_name_is_there_once() -> None:
    assert len(BY_NAME) == len(FAMILIES)


@every_family
def test_names_follow_the_conventions(family: Family) -> None:
    assert re.fullmatch(r"llmcost_[a-z0-9]+(_[a-z0-9]+)*", family.name)
    assert family.name.endswith("_total") == (family.kind == "counter")
    assert not family.name.endswith(("_created", "_count", "_sum", "_bucket"))
    assert all(re.fullmatch(r"[a-z]+(_[a-z]+)*", label) for label in family.labels)
    assert not {"le", "quantile", "type", "service", "cluster", "zone", "env", "customer"} & set(family.labels)


@every_family
def test_help_is_a_noun_phrase_with_the_unit_and_a_period(family: Family) -> None:
    assert family.help[0].isupper() and family.help.endswith(".") and ". " not in family.help
    assert not set(family.help) & set('\\"\n')  # so that both formats show it as it is
    assert family.unit.replace("usd", "USD").replace("_", " ") in family.help


@every_family
def test_the_unit_ends_the_openmetrics_name(family: Family) -> None:
    assert not family.unit or family.base_name.endswith(f"_{family.unit}")


@every_family
def test_only_what_may_be_added_is_folded(family: Family) -> None:
    if family.labels[:1] == ("workload",) and family.name.endswith(("_ratio", "_per_token", "_seconds", "_status")):
        assert family.fold == "drop"


def test_the_documentation_lists_the_table() -> None:
    expect(DOCS, _documentation())


def _documentation() -> str:
    counters = [family for family in FAMILIES if family.kind == "counter" and "_exporter_" not in family.name]
    gauges = [family for family in FAMILIES if family.kind == "gauge" and "_exporter_" not in family.name]
    health = [family for family in FAMILIES if "_exporter_" in family.name]
    return f"""# Metrics

Generated from the table in `exporter/publish/families.py` by its test; `UPDATE_GOLDEN=1` writes it anew.

- `/metrics` speaks the Prometheus text format and OpenMetrics (with `_created`), plain and gzip. The page is rendered
  once per publish tick (5 s by default), not per scrape; `llmcost_exporter_page_timestamp_seconds` says when.
- What is not known is absent, never 0. Only the exporter's own health is there from the start, at 0.
- Money is in USD, time in seconds, shares are ratios from 0 to 1. A month is 730 h.
- Counters are accrued at the price and evidence known at the time and never recomputed. The windowed gauges are the
  best known figures and follow later corrections. `window` is `1h`, `24h`, `7d`, `30d` or `mtd`; figures without
  that label are of the decision window.
- Never average ratios or prices per token: divide sums, for example
  `sum by (workload, path) (increase(llmcost_cost_usd_total[1d]))` by the same of `llmcost_tokens_total`.
- Beyond `publish.max_workloads` further workloads fold into `other` (marked *sum*) or are left out (marked *drop*);
  `llmcost_exporter_folded_series` says how many.

## Counters

{_table(counters)}

## Gauges

{_table(gauges)}

## The exporter's own health

{_table(health)}

Beside these: `process_cpu_seconds_total`, `process_resident_memory_bytes`, `process_virtual_memory_bytes`,
`process_start_time_seconds`, `process_open_fds` and `process_max_fds`, where there is a `/proc`.
"""


def _table(families: list[Family]) -> str:
    rows = [
        f"| `{family.name}` | {', '.join(f'`{label}`' for label in family.labels) or 'none'} "
        f"| {family.help} | {family.fold if family.labels[:1] == ('workload',) else ''} |"
        for family in families
    ]
    return "\n".join(["| metric | labels | meaning | beyond the budget |", "|---|---|---|---|", *rows])
