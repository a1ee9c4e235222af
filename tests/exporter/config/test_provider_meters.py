"""A provider's usage API beside a log of the same traffic: `check` asks which of them meters it."""

from pathlib import Path

import pytest

from exporter.config.cross import warnings
from exporter.config.load import load

LOG = '{name: gateway, kind: usage_log, path: "/var/log/llm/*.jsonl"%s}'
API = "{name: bill, kind: openai, admin_key_file: /run/secrets/openai%s}"


@pytest.mark.parametrize(
    ("log", "api", "match", "warned"),
    [
        ("", "", "{model: 'gpt-*'}", True),
        ("", "", "{team: chat}", True),
        (", provider: openai", "", "{team: chat}", True),
        ("", ", role: check", "{model: 'gpt-*'}", False),
        (", role: check", "", "{model: 'gpt-*'}", False),
        (", serves: self_hosted", "", "{model: 'gpt-*'}", False),
        (", provider: together", "", "{model: 'gpt-*'}", False),
    ],
)
def test_a_log_and_an_api_that_may_meter_the_same(tmp_path: Path, log: str, api: str, match: str, warned: bool) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(f"collectors: [{LOG % log}, {API % api}]\nworkloads: [{{name: chat, match: {match}}}]")
    found = warnings(load(path))
    text = "meters traffic of openai, as collectors[0] (gateway) may do; where it is the same traffic set role: check"
    assert found == [f"collectors[1]: {text}"] * warned


def test_workloads_that_tell_them_apart_need_no_warning(tmp_path: Path) -> None:
    workloads = "{name: direct, match: {collector: bill}}, {name: rest, match: {collector: gateway}}"
    path = tmp_path / "config.yaml"
    path.write_text(f"collectors: [{LOG % ''}, {API % ''}]\nworkloads: [{workloads}]")
    assert warnings(load(path)) == []
