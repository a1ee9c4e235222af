"""A provider's usage API beside a log of the same traffic: the config has to say which of them meters it."""

from pathlib import Path

import pytest

from exporter.config import ConfigError
from exporter.config.cross import warnings
from exporter.config.load import load

LOG = '{name: gateway, kind: usage_log, path: "/var/log/llm/*.jsonl"%s}'
API = "{name: bill, kind: openai, admin_key_file: /run/secrets/openai%s}"
UNTOLD = (
    "collectors[1].role: expected a role: collectors[0] (gateway) may meter the same requests of openai; write check "
    "where it does, meter where it does not"
)


@pytest.mark.parametrize(
    ("log", "api", "match", "refused"),
    [
        ("", "", "{model: 'gpt-*'}", True),
        ("", "", "{team: chat}", True),
        (", provider: openai", "", "{team: chat}", True),
        ("", ", role: check", "{model: 'gpt-*'}", False),
        ("", ", role: meter", "{model: 'gpt-*'}", False),
        (", role: check", "", "{model: 'gpt-*'}", False),
        (", role: meter", "", "{model: 'gpt-*'}", False),
        (", serves: self_hosted", "", "{model: 'gpt-*'}", False),
        (", provider: together", "", "{model: 'gpt-*'}", False),
    ],
)
def test_a_log_and_an_api_that_may_meter_the_same(
    tmp_path: Path, log: str, api: str, match: str, refused: bool
) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(f"collectors: [{LOG % log}, {API % api}]\nworkloads: [{{name: chat, match: {match}}}]")
    if refused:
        with pytest.raises(ConfigError) as error:
            load(path)
        assert [
            problem.split(": ", 1)[-1] if problem.startswith(str(path)) else problem for problem in error.value.problems
        ] == [UNTOLD]
    else:
        assert warnings(load(path)) == []


def test_workloads_that_tell_them_apart_need_no_role(tmp_path: Path) -> None:
    workloads = "{name: direct, match: {collector: bill}}, {name: rest, match: {collector: gateway}}"
    path = tmp_path / "config.yaml"
    path.write_text(f"collectors: [{LOG % ''}, {API % ''}]\nworkloads: [{workloads}]")
    assert warnings(load(path)) == []
