"""The demo's upstreams as one: files in a directory, a stand-in engine, and an ordinary config that reads them."""

import json
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from string import Template

from exporter.demo.bill import write_bill
from exporter.demo.engine import Engine
from exporter.demo.history import SPAN, iso, write_history
from exporter.demo.replay import Gateway
from exporter.demo.streams import Stream, api_streams, self_hosted_streams


class Demo:
    """Stand-ins for the upstreams under `directory`, seen from `started` (epoch seconds) on; `clock` gives the time.

    `config_path` is the config file to serve. Nothing listens or grows before `start`; after `stop` all is quiet again.
    """

    def __init__(self, directory: Path, started: int, clock: Callable[[], float]) -> None:
        self.directory, self.started = directory, started
        self.config_path = directory / "config.yaml"
        self._engine = Engine(started, clock)
        self._gateways = [Gateway(_live_log(directory, kind), streams, clock) for kind, streams in _logs(started)]
        self.config_path.write_text(_config(directory, self._engine.url, started), encoding="utf-8")

    def start(self) -> None:
        self._engine.start()
        for gateway in self._gateways:
            gateway.start()

    def stop(self) -> None:
        for gateway in self._gateways:
            gateway.stop()
        self._engine.stop()


def prepare(directory: Path, now: int, clock: Callable[[], float]) -> Demo:
    """Lay out the demo in `directory` as of `now` (epoch seconds), or go on with the one that is there.

    A directory that holds a demo keeps its history, its logs and its start; only the address of the engine changes.
    """
    state = directory / "demo.json"
    if not state.exists():
        _lay_out(directory, now)
        state.write_text(json.dumps({"started": now}), encoding="utf-8")
    return Demo(directory, int(json.loads(state.read_text(encoding="utf-8"))["started"]), clock)


def _lay_out(directory: Path, now: int) -> None:
    for kind, streams in _logs(now):
        live = _live_log(directory, kind)
        live.parent.mkdir(parents=True, exist_ok=True)
        write_history(live.with_name("history.jsonl.gz"), streams)
        live.touch()
    (directory / "bill").mkdir(exist_ok=True)
    write_bill(directory / "bill" / "focus.csv", now)


def _logs(started: int) -> list[tuple[str, tuple[Stream, ...]]]:
    return [("self-hosted", self_hosted_streams(started)), ("api", api_streams(started))]


def _live_log(directory: Path, kind: str) -> Path:
    return directory / "logs" / kind / "live.jsonl"


def _config(directory: Path, engine: str, started: int) -> str:
    template = Template(files("exporter.demo").joinpath("config.yaml").read_text(encoding="utf-8"))
    return template.substitute(directory=directory, engine=engine, since=iso(started - SPAN - 3600))
