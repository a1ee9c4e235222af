"""`check` says which files for secrets are missing, and nothing of what is in them."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from exporter.commands.files import file_warnings
from exporter.config.load import load
from tests.exporter.commands.test_command_line import run

CONFIG = """
collectors:
  - {name: api, kind: openai, admin_key_file: %s}
  - {name: engine, kind: vllm, targets: ["http://127.0.0.1:1/metrics"], bearer_token_file: %s}
  - {name: cluster, kind: kubernetes, kubeconfig: %s}
"""


def warned(folder: Path, *files: object) -> list[str]:
    path = folder / "config.yaml"
    path.write_text(CONFIG % files)
    return list(file_warnings(load(path)))


def test_files_that_are_there_are_not_spoken_of(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("sk-secret")
    assert warned(tmp_path, key, key, key) == []


def test_files_that_cannot_be_used_are_named_with_what_to_do(tmp_path: Path) -> None:
    (empty := tmp_path / "empty").touch()
    check = "check the path and, in a pod, the mounted secret"
    assert warned(tmp_path, tmp_path / "missing", tmp_path, empty) == [
        f"collectors[0].admin_key_file: {tmp_path}/missing is not there: {check}",
        f"collectors[1].bearer_token_file: {tmp_path} is not a file: {check}",
        f"collectors[2].kubeconfig: {empty} is empty: write the secret into it",
    ]


@pytest.fixture
def nobody() -> Iterator[None]:
    """Root may read everything: then as another user."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(65534)
    yield
    os.seteuid(before)


def test_a_file_of_somebody_else(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    key, path = tmp_path / "key", tmp_path / "config.yaml"
    key.write_text("sk-secret")
    key.chmod(0)
    path.write_text(CONFIG % (key, key, key))
    config = load(path)
    request.getfixturevalue("nobody")
    assert [line.partition(": ")[2] for line in file_warnings(config)] == [
        f"{key} may not be read by this user: change its owner or mode (a pod: fsGroup, defaultMode)"
    ] * 3


def test_a_secret_in_the_place_of_its_file_is_not_printed(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("sk-secret")
    (line,) = warned(tmp_path, "sk-admin-by-mistake", key, key)
    assert line.startswith("collectors[0].admin_key_file: the file is not there: ")


def test_check_warns_and_the_config_is_right_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(CONFIG % (tmp_path / "a", tmp_path / "b", tmp_path / "c"))
    result = run("check", "--config.file", str(tmp_path / "config.yaml"))
    assert result.exit_code == 0
    assert f"warning: collectors[0].admin_key_file: {tmp_path}/a is not there" in result.stderr
