"""A child process of a collector: its answers, and nothing else, are what its parent reads."""

import subprocess
from pathlib import Path

import pytest

from collectors.child import command


def test_what_a_library_prints_does_not_come_between_the_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "loud_module.py").write_text(
        "import gc, os\n"
        "def main(requests, answers, times, more):\n"
        "    assert not gc.isenabled()\n"
        "    os.write(1, b'97 % done')\n"
        "    print('and the rest')\n"
        "    answers.write(requests.read() * (times + more))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    child = subprocess.run(command("loud_module", 1, 2), input=b"ab", capture_output=True, timeout=60, check=True)
    assert child.stdout == b"ababab"
    assert child.stderr == b"97 % doneand the rest\n"
