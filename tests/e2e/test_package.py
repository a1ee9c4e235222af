"""The wheel: everything that runs is in it, and it runs away from the source tree."""

import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("hatchling", reason="the build backend is in requirements/build.txt")
    out = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(out)]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return next(out.glob("*.whl"))


def sources(folder: str, as_folder: str) -> set[str]:
    """The files under `folder` as the wheel names them; caches left out."""
    found = (path for path in (ROOT / folder).rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {f"{as_folder}/{path.relative_to(ROOT / folder)}" for path in found}


def test_the_wheel_holds_code_data_dashboards_and_licences(wheel: Path) -> None:
    names = set(ZipFile(wheel).namelist())
    wanted = sources("collectors", "collectors") | sources("exporter", "exporter")
    wanted |= sources("dashboards", "exporter/_dashboards")
    assert wanted - names == set()
    assert {name.rpartition("/")[2] for name in names if ".dist-info/licenses/" in name} == {"LICENSE", "NOTICE"}
    assert not [name for name in names if name.startswith("tests/") or name.endswith(".pyc")]


def test_the_wheel_runs_away_from_the_source_tree(wheel: Path, tmp_path: Path) -> None:
    with ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    where = "import exporter, runpy, sys; print(exporter.__file__); sys.argv = ['llm-cost-exporter', '--help']; "
    child = subprocess.run(
        [sys.executable, "-P", "-c", where + "runpy.run_module('exporter', run_name='__main__')"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path / "site"), "LC_ALL": "C.UTF-8"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert child.returncode == 0, child.stderr
    assert child.stdout.splitlines()[0] == str(tmp_path / "site/exporter/__init__.py")
    assert "breakeven" in child.stdout
