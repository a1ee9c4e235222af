"""Reading a ledger that another process writes: one instant, no lock, no change."""

import os
import sqlite3
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest

from collectors.records import Batch, Observed, Usage, Window
from exporter.ledger.schema import MIGRATIONS
from exporter.ledger.snapshot import Evaluation, Increment
from exporter.ledger.store import Ledger, LedgerUnreadableError, LedgerUnwritableError

NOW = 1_800_000_000
ROOT = Path(__file__).parents[3]


def batch(slot: int, tokens: int) -> Batch:
    usage = Usage(slot, "self_hosted", "vllm", "m", {"input": tokens}, 1)
    return Batch("t", usage=[usage], observed=[Observed(Window(slot, slot + 300), "t")], cursor=str(slot), stream="t")


def total(ledger: Ledger) -> int:
    return sum(one.tokens(0, NOW)["input"] for one in ledger.snapshot().series)


def files_in(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.endswith("-shm")}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    found = tmp_path / "ledger.db"
    ledger = Ledger(found, NOW)
    ledger.commit("c", batch(0, 5), NOW, [Increment("f", ("a",), Decimal("0.1"))])
    ledger.store_evaluations([Evaluation("w", "self_hosted", "api:x", 3600, Decimal(1), Decimal(2))])
    ledger.close()
    return found


def test_it_shows_all_that_the_ledger_holds(path: Path) -> None:
    ledger = Ledger.read_only(path, NOW + 7)
    assert total(ledger) == 5
    assert ledger.snapshot().streams["c", "t"].observed.seconds == 300
    assert ledger.counters()["f", ("a",)].value == Decimal("0.1")
    assert ledger.evaluations()[0].self_hosted_usd == 2
    assert ledger.cursors("c") == {"t": "0"}
    assert (ledger.first_start, ledger.fine_from, ledger.writable) == (NOW, 0, False)
    assert ledger.primary("w", "self_hosted", None) is None
    ledger.close()


@pytest.mark.parametrize(
    "change",
    [
        lambda ledger: ledger.commit("c", batch(300, 1), NOW),
        lambda ledger: ledger.accrue("card:a", 100, NOW, []),
        lambda ledger: ledger.accrue("test", 0, NOW, [Increment("f", ("a",), 1)]),
        lambda ledger: ledger.retire("c", ["t"], NOW),
        lambda ledger: ledger.store_evaluations([]),
        lambda ledger: ledger.primary("w", "self_hosted", "together/x"),
        lambda ledger: ledger.compact(NOW),
    ],
    ids=["commit", "accrue", "count", "retire", "store_evaluations", "primary", "compact"],
)
def test_what_would_change_it_is_refused(path: Path, change) -> None:
    before = files_in(path.parent)
    ledger = Ledger.read_only(path, NOW)
    with pytest.raises(LedgerUnwritableError, match="opened for reading only"):
        change(ledger)
    assert total(ledger) == 5
    ledger.close()
    assert {name: content for name, content in files_in(path.parent).items() if content} == {
        name: content for name, content in before.items() if content
    }


def test_it_stays_at_its_instant_while_the_exporter_writes_on(path: Path) -> None:
    writer = Ledger(path, NOW)
    reader = Ledger.read_only(path, NOW)
    writer.commit("c", batch(300, 100), NOW)
    assert total(reader) == 5
    again = Ledger.read_only(path, NOW)
    assert total(again) == 105
    writer.compact(NOW)
    writer.close()
    assert total(reader) == 5
    reader.close()
    again.close()


WRITER = """
import sys
from tests.exporter.ledger.test_read_only import NOW, batch
from exporter.ledger.store import Ledger
ledger = Ledger(sys.argv[1], NOW)
slot = 300
while True:
    ledger.commit("c", batch(slot, 7), NOW)
    slot += 300
    print(slot, flush=True)
"""


def test_every_reading_is_whole_while_another_process_writes_and_after_it_was_killed(path: Path) -> None:
    """Tokens, coverage and the cursor move in one transaction, so in each reading they agree."""
    command = [sys.executable, "-c", WRITER, str(path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, env=dict(os.environ)) as writer:
        try:
            assert writer.stdout is not None
            seen = []
            for _ in range(20):
                assert writer.stdout.readline()
                seen.append(agreed(path))
        finally:
            writer.kill()
    assert seen == sorted(seen)
    assert seen[-1] > 5
    assert agreed(path) >= seen[-1]


def agreed(path: Path) -> int:
    ledger = Ledger.read_only(path, NOW)
    try:
        tokens, cursor = total(ledger), int(ledger.cursors("c")["t"])
        assert tokens == 5 + 7 * (cursor // 300)
        assert ledger.snapshot().streams["c", "t"].observed.end == cursor + 300
        return tokens
    finally:
        ledger.close()


def test_a_missing_ledger_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(LedgerUnreadableError, match=r"nothing\.db: there is no ledger; check storage\.path"):
        Ledger.read_only(tmp_path / "nothing.db", NOW)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("version", "to_do"), [(1, "start `serve` once, which brings it up to date"), (99, "read it with that release")]
)
def test_a_ledger_of_another_release_is_left_alone(path: Path, version: int, to_do: str) -> None:
    with sqlite3.connect(path) as raw:
        raw.execute(f"PRAGMA user_version = {version}")
    raw.close()
    with pytest.raises(
        LedgerUnreadableError, match=f"schema version {version}, this release reads {len(MIGRATIONS)}: {to_do}"
    ):
        Ledger.read_only(path, NOW)


def test_a_file_that_is_no_database_is_named_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    path.write_bytes(b"not a database" * 400)
    with pytest.raises(LedgerUnreadableError, match=r"ledger\.db: file is not a database"):
        Ledger.read_only(path, NOW)
    assert path.read_bytes() == b"not a database" * 400
    assert not list(tmp_path.glob("*.corrupt-*"))


def test_a_name_with_url_characters_is_a_name(tmp_path: Path) -> None:
    path = tmp_path / "a ledger?mode=rw#1%20.db"
    Ledger(path, NOW).close()
    ledger = Ledger.read_only(path, NOW)
    assert ledger.snapshot().series == ()
    ledger.close()
