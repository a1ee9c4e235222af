"""What goes wrong while the exporter runs: it says so, goes on with what it has, and loses and invents no money."""

import resource
import socket
import sqlite3
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from collectors.records import Batch, Failure
from collectors.settings import Duration, Instant, Money
from exporter.config import Config, DecisionSettings, Prices
from exporter.intervals import Intervals
from exporter.ledger.snapshot import Stream
from exporter.pricer import RETRY
from exporter.prices.book import PriceBook
from exporter.publish.web import Publication
from tests.e2e.running import Running, exporter, free_port
from tests.exporter.publish.serving import request, serving
from tests.exporter.simulated import API_PRICE, START, Engine, Simulation, book, config, engine
from tests.exporter.test_pipeline_bills import deliver, with_bill

HOUR, DAY = 3600, 86400
QUICK = DecisionSettings(ratio_window=Duration(2 * HOUR), sustain=Duration(HOUR), min_age=Duration(HOUR))


def steady(now: float) -> tuple[int, int, int]:
    seconds = max(0.0, now - START)
    return int(700 * seconds), int(300 * seconds), int(500 * seconds)


@contextmanager
def hanging(sim: Simulation, name: str = "engine") -> Iterator[threading.Event]:
    """The collector's next run does not return before the event is set (or the block ends)."""
    running, released, entered = sim.exporter.runner.running[name], threading.Event(), threading.Event()
    whole = running.collector.collect

    def collect(now: int, cursors: Mapping[str, str]) -> Iterator[Batch | Failure]:
        entered.set()
        released.wait(60)
        yield from whole(now, cursors)

    running.collector.collect = collect  # type: ignore[method-assign]
    thread = threading.Thread(target=sim.exporter.runner.collect, args=(name,))
    thread.start()
    entered.wait(60)
    try:
        yield released
    finally:
        released.set()
        thread.join()
        running.collector.collect = whole  # type: ignore[method-assign]


# A collector that hangs


def test_a_collector_that_hangs_from_the_start_does_not_freeze_the_status(tmp_path: Path) -> None:
    with engine(steady) as vllm:
        settings = config(tmp_path, vllm, decision=QUICK)
        with Simulation(settings, vllm) as sim:
            sim.until(START + 4 * HOUR, 60)
            assert sim.sum("llmcost_break_even_status", status="self_hosting_cheaper") + sim.sum(
                "llmcost_break_even_status", status="api_cheaper"
            )
        with Simulation(settings, vllm) as sim:
            sim.now = START + 5 * HOUR
            with hanging(sim):
                sim.at(START + 5 * HOUR + 800, "gpus")
                assert sim.exporter.ledger.evaluations()[-1].at == START + 4 * HOUR  # it still has its chance
                sim.at(START + 7 * HOUR, "gpus")
                assert sim.exporter.ledger.evaluations()[-1].at == START + 6 * HOUR
                assert sim.sum("llmcost_break_even_status", status="unknown") == 1


def test_a_run_under_way_for_too_long_is_not_healthy(tmp_path: Path) -> None:
    with engine(steady) as vllm, Simulation(config(tmp_path, vllm), vllm) as sim:
        sim.at(START)
        with hanging(sim):
            sim.at(START + 60, "gpus")
            assert sim.value("llmcost_exporter_collector_success", collector="engine") == 1
            sim.at(START + 61, "gpus")
            assert sim.value("llmcost_exporter_collector_success", collector="engine") == 0
            assert sim.state is not None
            health = next(one for one in sim.state.collectors if one.name == "engine")
            assert health.last_error == "running for 61 s, longer than its interval"
        sim.at(START + 70)
        assert sim.value("llmcost_exporter_collector_success", collector="engine") == 1


def test_a_run_that_outlives_the_ledger_ends_quietly(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with engine(steady) as vllm:
        settings = config(tmp_path, vllm)
        with Simulation(settings, vllm) as sim:
            sim.at(START)
            tokens = sim.sum("llmcost_tokens_total")
            sim.now = vllm.now = START + 60.0
            with hanging(sim) as released:
                assert sim.exporter.runner.stop(0.05) == ["engine"]
                sim.exporter.__exit__()
                caplog.clear()
                released.set()
        assert not caplog.records
        with Simulation(settings, vllm) as sim:
            sim.at(START + 60)
            assert sim.sum("llmcost_tokens_total") == tokens + 1500 * 60


# Prices that cannot be looked up


class Catalogue:
    """Stands in for the child process: answers from `prices` and `hosts`, or fails, or hangs until it is released."""

    def __init__(self, prices: PriceBook) -> None:
        self.prices, self.failing, self.calls = prices, False, 0
        self.hosts: list[tuple[str, str]] = []
        self.released = threading.Event()
        self.released.set()

    def __call__(self, function: str, *args: Any) -> Any:
        self.calls += 1
        self.released.wait(60)
        if self.failing:
            raise RuntimeError(f"{function} took longer than 60 s in its child process")
        if function.endswith(":resolve"):
            return {key: self.prices.rates.get(key, ()) for key in args[0]}
        return self.hosts if function.endswith(":open_model_hosts") else START


def with_catalogue(settings: Config, vllm: Engine, catalogue: Catalogue) -> Simulation:
    sim = Simulation(settings, vllm)
    sim.exporter.pricer._call = catalogue
    sim.exporter.pricer.book = PriceBook()
    return sim


def test_a_failed_look_up_is_no_evaluation_and_is_made_up_for(tmp_path: Path) -> None:
    catalogue = Catalogue(book())
    with engine(steady) as vllm, with_catalogue(config(tmp_path, vllm, decision=QUICK), vllm, catalogue) as sim:
        catalogue.failing = True
        sim.until(START + 2 * HOUR + 60, 60)
        assert sim.exporter.ledger.evaluations() == []
        assert sim.state is not None and sim.state.report is not None
        status = sim.state.report.workloads[0].decisions[0].status
        assert status is not None and (status.name, status.reason) == ("unknown", "catching_up")
        catalogue.failing = False
        sim.until(sim.now + 2 * RETRY, 60)
        made = sim.exporter.ledger.evaluations()
        assert [(one.at, one.reason) for one in made] == [(START + HOUR, ""), (START + 2 * HOUR, "")]


def test_a_price_that_is_looked_up_and_unknown_is_an_evaluation(tmp_path: Path) -> None:
    catalogue = Catalogue(PriceBook())
    with engine(steady) as vllm, with_catalogue(config(tmp_path, vllm, decision=QUICK), vllm, catalogue) as sim:
        sim.until(START + HOUR + 60, 60)
        assert [one.reason for one in sim.exporter.ledger.evaluations()] == ["unpriced"]


def test_a_slow_look_up_does_not_hold_up_the_tick(tmp_path: Path) -> None:
    catalogue = Catalogue(book())
    with engine(steady) as vllm:
        settings = config(tmp_path, vllm, decision=QUICK)
        with Simulation(settings, vllm) as sim:
            sim.until(START + HOUR, 60)
        with with_catalogue(settings, vllm, catalogue) as sim:
            catalogue.released.clear()
            sim.now = START + HOUR + 60.0
            done = threading.Event()
            ticking = threading.Thread(target=lambda: (sim.exporter.tick(0.01), done.set()))
            ticking.start()
            try:
                assert done.wait(20), "the tick waits for the look-up"
            finally:
                catalogue.released.set()
                ticking.join()
            sim.exporter.pricer.ensure([API_PRICE], int(sim.now))
            assert API_PRICE in sim.exporter.pricer.book.rates


def test_an_automatic_alternative_is_looked_up_again_after_a_failure(tmp_path: Path) -> None:
    catalogue = Catalogue(book())
    catalogue.hosts = [("acme", "tiny")]
    with engine(steady) as vllm:
        settings = config(tmp_path, vllm)
        settings = replace(settings, workloads=(replace(settings.workloads[0], alternatives=()),))
        with with_catalogue(settings, vllm, catalogue) as sim:
            catalogue.failing = True
            sim.until(START + 120, 60)
            assert not sim.exporter.pipeline.automatic
            tried = catalogue.calls
            sim.until(START + 240, 60)
            assert catalogue.calls == tried  # not at every tick
            catalogue.failing = False
            sim.until(START + 120 + 2 * RETRY, 60)
            assert sim.exporter.pipeline.automatic == {("chat", "self_hosted"): "acme/tiny"}
            tried = catalogue.calls
            sim.until(sim.now + 2 * RETRY, 60)
            assert catalogue.calls == tried


def test_no_host_at_all_is_a_definite_answer(tmp_path: Path) -> None:
    catalogue = Catalogue(book())
    with engine(steady) as vllm:
        settings = config(tmp_path, vllm)
        settings = replace(settings, workloads=(replace(settings.workloads[0], alternatives=()),), prices=Prices())
        with with_catalogue(settings, vllm, catalogue) as sim:
            sim.until(START + 120, 60)
            asked = catalogue.calls
            sim.until(START + HOUR, 60)
            assert catalogue.calls == asked and not sim.exporter.pipeline.automatic


# A tick that fails


def publisher(sim: Simulation, publication: Publication) -> Callable[[], None]:
    from exporter.publishing import Publisher

    exporter = sim.exporter
    state = exporter.pipeline.opening(exporter.runner, sim.now)
    publication.publish(exporter.page(state), state)
    return Publisher(exporter.tick, exporter.page, exporter.degraded, publication)


def broken(error: Exception) -> Callable[..., Any]:
    def fail(*_: object) -> Any:
        raise error

    return fail


@pytest.mark.parametrize("error", [sqlite3.OperationalError("disk I/O error"), KeyError("a bug")])
def test_a_tick_that_fails_shows_the_last_report_and_tells_the_orchestrator(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    publication = Publication()
    with engine(steady) as vllm, Simulation(config(tmp_path, vllm), vllm) as sim, serving(publication) as port:
        sim.at(START)
        publish = publisher(sim, publication)
        sim.at(START + HOUR)
        publish()
        assert publication.state and publication.state.report
        shown = publication.state.report
        caplog.clear()
        with monkeypatch.context() as patch:
            patch.setattr(type(sim.exporter.ledger), "snapshot", broken(error))
            for tick in range(1, 6):
                sim.now += 5
                assert request(port, "/-/healthy")[0] == 200, tick
                publish()
                assert publication.state.report is shown
                assert publication.state.exporter.page_at == sim.now
                assert not publication.state.exporter.ledger_writable
            assert publication.page and b"llmcost_exporter_ledger_writable 0" in publication.page.text
            status, _, body = request(port, "/-/healthy")
            assert status == 500 and str(error).encode() in body
            assert len([one for one in caplog.records if one.levelname == "ERROR"]) == 1
        sim.now += 5
        publish()
        assert request(port, "/-/healthy")[0] == 200
        assert publication.state.exporter.ledger_writable


def test_a_ledger_damaged_while_running_is_set_aside_by_the_restart(tmp_path: Path) -> None:
    with engine(steady) as vllm:
        settings = config(tmp_path, vllm)
        publication = Publication()
        with Simulation(settings, vllm) as sim:
            sim.until(START + HOUR, 60)
            publish = publisher(sim, publication)
            database = sim.exporter.ledger._db
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            database.execute("PRAGMA cache_size = 0")
            path = tmp_path / "ledger.db"
            path.write_bytes(path.read_bytes()[:4096] + b"\xff" * (path.stat().st_size - 4096))
            sim.exporter.ledger._reader.touch_all()
            for _ in range(5):
                publish()
            assert "malformed" in publication.unhealthy
        with Simulation(settings, vllm) as sim:
            sim.at(START + 2 * HOUR)
            assert sim.value("llmcost_exporter_ledger_quarantines_total") == 1
            assert sim.value("llmcost_exporter_ledger_writable") == 1


# Rent while running


def while_running(directory: Path, *engines: Engine) -> Config:
    settings = config(directory, engines[0])
    rate = replace(settings.collectors[1].rates[0], billing="while_running", from_=Instant(START))
    pair = replace(settings.collectors[0], targets=tuple(one.url for one in engines))
    return replace(settings, collectors=(pair, replace(settings.collectors[1], rates=(rate,))))


def test_the_rent_of_a_running_workload_counts_on_while_another_target_fails(tmp_path: Path) -> None:
    sick = [False]
    with (
        engine(steady) as one,
        engine(lambda now: None if sick[0] else steady(now)) as other,
        Simulation(while_running(tmp_path, one, other), one) as sim,
    ):
        sim.at(START)

        def go_on(end: float) -> float:
            while sim.now < end:
                other.now = sim.now + 60
                sim.at(sim.now + 60)
            return sim.sum("llmcost_cost_usd_total")

        assert go_on(START + HOUR) == pytest.approx(7.2)
        sick[0] = True
        assert go_on(START + 3 * HOUR) == pytest.approx(3 * 7.2)
        sick[0] = False  # it bridges the two hours, and they are not counted twice
        assert go_on(START + 4 * HOUR) == pytest.approx(4 * 7.2)
        assert sim.sum("llmcost_effective_cost_usd", window="1h") == pytest.approx(7.2)


def stream(observed: list[tuple[int, int]], up: list[tuple[int, int]], retired: int | None = None) -> Stream:
    return Stream(0, retired, Intervals(observed), Intervals(up))


@pytest.mark.parametrize(
    ("a", "b", "through"),
    [
        (stream([(100, 5000)], [(100, 5000)]), stream([(100, 300)], [(100, 300)]), 5000),  # one is up: settled
        (stream([(100, 900)], [(100, 200)]), stream([(100, 300)], [(100, 300)]), 300),  # b may yet prove to be up
        (stream([(100, 9000)], [(100, 200), (8500, 9000)]), stream([(100, 300)], []), 8100),  # but is not waited for
        (stream([(100, 9000)], [(100, 200), (8000, 9000)]), stream([(100, 300)], []), 9000),
        (stream([(100, 900)], []), stream([(100, 700)], []), 700),
        (stream([(100, 900)], [(800, 900)]), stream([(100, 300)], [], retired=300), 900),
        (stream([(100, 900)], [(800, 900)], retired=900), stream([(100, 300)], [], retired=300), 900),
        (stream([], []), stream([], []), None),
    ],
)
def test_rent_is_counted_through_what_is_settled(a: Stream, b: Stream, through: int | None) -> None:
    from exporter.accruing import paid_through

    found = paid_through({("e", "a"), ("e", "b")}, {("e", "a"): a, ("e", "b"): b}, a.up | b.up, 0)
    assert found == through


# Fixed costs


def fixed(settings: Config) -> Config:
    chat = replace(settings.workloads[0], fixed_usd_per_month={"engineering": Money("7300")})  # 10 USD per hour
    return replace(settings, workloads=(chat,))


def test_fixed_costs_stop_with_the_card(tmp_path: Path) -> None:
    labels = {"workload": "chat", "path": "self_hosted", "component": "fixed"}
    with engine(steady) as vllm:
        settings = fixed(config(tmp_path, vllm))
        rate = replace(settings.collectors[1].rates[0], until=Instant(START + HOUR))
        card = replace(settings.collectors[1], rates=(rate,))
        with Simulation(replace(settings, collectors=(settings.collectors[0], card)), vllm) as sim:
            sim.at(START)
            sim.until(START + 3 * HOUR, 60)
            assert sim.value("llmcost_cost_usd_total", **labels) == pytest.approx(10)
            assert sim.value("llmcost_effective_cost_usd", **labels, window="24h") == pytest.approx(10)


def test_fixed_costs_of_a_workload_that_only_a_bill_knows(tmp_path: Path) -> None:
    labels = {"workload": "chat", "path": "self_hosted", "component": "fixed"}
    with engine(steady) as vllm:
        settings = fixed(with_bill(tmp_path, vllm))
        bare = replace(settings, collectors=(settings.collectors[0], settings.collectors[2]))
        with Simulation(bare, vllm) as sim:
            sim.at(START)
            sim.until(START + 4 * HOUR, 300)
            deliver(tmp_path / "bill.csv", {0: "6"}, 1)
            sim.until(START + 5 * HOUR, 300)
            assert sim.value("llmcost_cost_usd_total", **labels) == 0  # from the first bill on
            deliver(tmp_path / "bill.csv", {0: "6", 1: "6", 3: "6"}, 2)
            sim.at(START + 5 * HOUR + 300)
            assert sim.value("llmcost_cost_usd_total", **labels) == pytest.approx(20)
            assert sim.value("llmcost_effective_cost_usd", **labels, window="24h") == pytest.approx(30)
            sim.until(START + 6 * HOUR, 300)
            assert sim.value("llmcost_cost_usd_total", **labels) == pytest.approx(20)


def test_the_views_are_built_once_per_tick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from exporter import pipeline

    built, whole = [], pipeline.views
    with engine(steady) as vllm, Simulation(config(tmp_path, vllm), vllm) as sim:
        sim.until(START + HOUR, 60)
        monkeypatch.setattr(pipeline, "views", lambda *args: built.append(1) or whole(*args))
        sim.at(START + HOUR + 300)
        assert len(built) == 1


# Health


def test_what_a_rate_card_and_a_bill_are_complete_through(tmp_path: Path) -> None:
    name = "llmcost_exporter_collector_complete_through_timestamp_seconds"
    with engine(steady) as vllm, Simulation(with_bill(tmp_path, vllm), vllm) as sim:
        sim.at(START)
        assert sim.value(name, collector="bill") == 0
        deliver(tmp_path / "bill.csv", {0: "6", 1: "6"}, 1, extra=False)
        sim.until(START + 3 * HOUR, 300)
        assert sim.value(name, collector="bill") == START + 2 * HOUR
        assert sim.value(name, collector="gpus") == sim.now
        assert sim.value(name, collector="engine") == sim.now


def test_parts_are_all_that_are_good_not_those_that_changed(tmp_path: Path) -> None:
    name = "llmcost_exporter_collector_parts"
    with engine(steady) as vllm:
        settings = with_bill(tmp_path, vllm)
        with Simulation(settings, vllm) as sim:
            sim.at(START)
            deliver(tmp_path / "bill.csv", {0: "6"}, 1)
            sim.at(START + 60)
            assert sim.value(name, collector="bill", state="ok") == 1
            sim.at(START + 120)
            assert sim.value(name, collector="bill", state="ok") == 1
            (tmp_path / "broken.csv").write_text("no bill, no columns\n\x00")
            sim.at(START + 180)
            assert sim.value(name, collector="bill", state="failed") == 1
            assert sim.value(name, collector="bill", state="ok") == 1
        with Simulation(settings, vllm) as sim:
            sim.at(START + 240)
            assert sim.value(name, collector="bill", state="ok") == 1
            assert sim.value(name, collector="engine", state="ok") == 1
            vllm.served = lambda now: None
            sim.at(START + 300)
            assert sim.value(name, collector="engine", state="ok") == 0
            assert sim.value(name, collector="engine", state="failed") == 1


# The start


LEDGER_CONFIG = """
role: cluster
collectors: [{{name: gpus, kind: rate_card, rates: [{{workload: tiny, usd_per_hour: "2"}}]}}]
storage: {{path: {path}}}
"""


def newer(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA user_version = 99")


def below_a_file(path: Path) -> None:
    path.parent.rmdir()
    path.parent.touch()


UNUSABLE: dict[str, tuple[Callable[[Path], None], str]] = {
    "newer release": (newer, "run the newer release"),
    "directory is a file": (below_a_file, "set another storage.path"),
    "is a directory": (lambda path: path.mkdir(), "set another storage.path"),
    "full disk": (lambda path: None, "free disk space"),
}


@pytest.mark.parametrize("command", ["serve", "once"])
@pytest.mark.parametrize("case", UNUSABLE)
def test_a_ledger_that_cannot_be_used_is_one_line(case: str, command: str, tmp_path: Path) -> None:
    spoil, to_do = UNUSABLE[case]
    path, settings = tmp_path / "state" / "ledger.db", tmp_path / "config.yaml"
    path.parent.mkdir()
    settings.write_text(LEDGER_CONFIG.format(path=path))
    spoil(path)
    arguments = [f"--config.file={settings}"] + (["--web.listen-address=127.0.0.1:0"] if command == "serve" else [])

    def small_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))  # a write beyond it fails, as on a full disk

    child = subprocess.run(
        exporter(command, *arguments),
        capture_output=True,
        text=True,
        timeout=60,
        preexec_fn=small_files if case == "full disk" else None,
    )
    assert child.returncode == 1, child.stderr
    (line,) = child.stderr.strip().splitlines()
    assert str(path) in line and to_do in line
    assert child.stdout == ""


# The end


def test_sigterm_does_not_wait_for_a_hung_collector(tmp_path: Path) -> None:
    """The engine accepts and never answers, and its timeout is longer than any grace period."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        settings, address = tmp_path / "config.yaml", f"127.0.0.1:{free_port()}"
        target = f"http://127.0.0.1:{silent.getsockname()[1]}/metrics"
        slow = f'{{name: engine, kind: vllm, targets: ["{target}"], interval: 1s, timeout: 10m}}'
        text = LEDGER_CONFIG.format(path=tmp_path / "ledger.db").replace("[{name: gpus", f"[{slow}, {{name: gpus")
        settings.write_text(text)
        command = exporter("serve", f"--config.file={settings}", f"--web.listen-address={address}")
        child = Running(command, tmp_path / "log")
        try:
            child.page(f"http://{address}/metrics")
            connection, _ = silent.accept()
        finally:
            status = child.stop()
        connection.close()
        assert status == 0, child.output()
        assert "engine is still running" in child.output() and "Traceback" not in child.output()
    with closing(sqlite3.connect(tmp_path / "ledger.db")) as database:
        assert database.execute("PRAGMA quick_check").fetchone() == ("ok",)
    assert not (tmp_path / "ledger.db-wal").exists()  # closed cleanly
