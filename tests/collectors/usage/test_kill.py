"""Killed at any instant and started again, nothing is lost or counted twice."""

import os
import random
import sqlite3
import subprocess
import sys
from pathlib import Path

from tests.collectors.usage.log_follower import NOW, line

ROOT = Path(__file__).parents[3]
DRIVER = str(Path(__file__).with_name("tail_until_killed.py"))
KILLS = 30


def start(path: Path, ledger: Path, mode: str) -> "subprocess.Popen[bytes]":
    command = [sys.executable, DRIVER, f"{path}*", str(ledger), str(NOW), mode]
    return subprocess.Popen(command, stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": str(ROOT)})


def totals(ledger: Path) -> list[tuple[int, str, int, int]]:
    database = sqlite3.connect(ledger)
    rows = database.execute("SELECT slot, model, SUM(input), SUM(requests) FROM usage GROUP BY 1, 2 ORDER BY 1, 2")
    found = rows.fetchall()
    database.close()
    return found


def test_kill_9_at_random_instants(tmp_path: Path) -> None:
    rng = random.Random(11)
    path, ledger, rest = tmp_path / "log.jsonl", tmp_path / "ledger.db", b""
    number = 0
    path.write_bytes(line(number))
    for kill in range(KILLS):
        with start(path, ledger, "forever") as process:
            assert process.stdout is not None
            process.stdout.readline()  # it has read once; now it races with the writes below
            for _ in range(rng.randrange(1, 40)):
                number += 1
                rest += line(number)
                cut = rng.randrange(len(rest) + 1)
                with path.open("ab") as file:
                    file.write(rest[:cut])
                rest = rest[cut:]
            process.kill()
        if kill % 7 == 3:
            path.rename(f"{path}.{kill}")
            with Path(f"{path}.{kill}").open("ab") as file:
                file.write(rest)  # the writer still had the file open
            rest = b""
            number += 1
            path.write_bytes(line(number))
    with path.open("ab") as file:
        file.write(rest)
    with start(path, ledger, "once") as process:
        process.communicate()
    with start(path, tmp_path / "uninterrupted.db", "once") as process:
        process.communicate()
    assert totals(ledger) == totals(tmp_path / "uninterrupted.db")
    assert sum(row[3] for row in totals(ledger)) == number + 1
