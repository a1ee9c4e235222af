"""What a killed exporter leaves in the temporary folder goes at the next start; what another one uses stays."""

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from collectors.billing import scratch

HOLD = """
import sys, tempfile
from collectors.billing import scratch
tempfile.tempdir = sys.argv[1]
with scratch.folder() as folder:
    (folder / "data.parquet").write_text("x")
    print(folder, flush=True)
    sys.stdin.read()
"""


def test_the_folder_of_a_killed_exporter_goes_and_that_of_a_running_one_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    other = tmp_path / f"{scratch.PREFIX}made-just-now"
    other.mkdir()
    foreign = tmp_path / "llmcost-something"
    foreign.mkdir()
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)],
        cwd=Path(__file__).parents[3],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        held = Path(process.stdout.readline().strip())
        with scratch.folder() as own:
            scratch.clear()
            assert (held / "data.parquet").exists() and own.exists()
        assert not own.exists()
        process.kill()
        process.wait()
        assert held.exists()
        scratch.clear()
        assert not held.exists() and other.exists() and foreign.exists()


def test_a_link_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / ".lock").touch()
    (tmp_path / f"{scratch.PREFIX}link").symlink_to(tmp_path / "precious")
    scratch.clear()
    assert (tmp_path / "precious" / ".lock").exists()
