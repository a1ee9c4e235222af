"""What a command finds out before it starts: libraries that are missing, sources that hang."""

import threading
from dataclasses import replace
from pathlib import Path

import pytest

from collectors.kinds import COLLECTORS
from exporter.commands.check import _within
from exporter.commands.configured import configured
from exporter.config import ConfigError


def test_a_kind_whose_library_is_not_installed_is_an_error_of_the_config(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    focus = replace(COLLECTORS["focus"], extra="bills", modules=("nowhere.to.be.found",))
    monkeypatch.setitem(COLLECTORS, "focus", focus)
    path = tmp_path / "config.yaml"
    path.write_text("collectors: [{name: bill, kind: focus, path: '*.csv'}]\n")
    with pytest.raises(ConfigError) as error:
        configured(path)
    assert error.value.problems == (
        "collectors[0].kind: focus needs nowhere.to.be.found, not installed here: "
        "pip install 'llm-cost-exporter[bills]', or requirements/all.txt in a checkout",
    )


def test_every_extra_is_one_of_the_package(tmp_path: Path) -> None:
    import tomllib

    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]
    assert {kind.extra for kind in COLLECTORS.values() if kind.modules} <= set(project["optional-dependencies"])


def test_a_source_that_hangs_is_left_behind() -> None:
    done = threading.Event()
    try:
        read, failures = _within(0.05, lambda: (int(done.wait()), []))
    finally:
        done.set()
    assert (read, failures) == (0, ["no answer in 0 s: check the address and what is between"])
    assert _within(60, lambda: (3, [])) == (3, [])
