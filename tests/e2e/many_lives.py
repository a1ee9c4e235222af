"""Runs an exporter's collecting and ticking in forked children that are killed at random instants, then to the end.

Arguments: directory, engine URL, lives, seed. Each life is the shipped Exporter on the same ledger; a fork of a process
that has everything imported works after some milliseconds, so hundreds of kills take seconds. Writes one JSON line.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

from collectors.billing.rate_card import Rate, RateCardSettings
from collectors.engines.vllm import VllmSettings
from collectors.settings import Money
from collectors.usage.log import UsageLogSettings
from exporter.config import Alternative, Config, Storage, Workload
from exporter.pricer import Pricer
from exporter.prices.book import PriceBook, PriceKey
from exporter.service import Exporter


def config(directory: Path, url: str) -> Config:
    return Config(
        collectors=(
            UsageLogSettings(name="gateway", kind="usage_log", path=str(directory / "*.jsonl*")),
            VllmSettings(name="engine", kind="vllm", targets=(url,), baseline="zero"),
            RateCardSettings(name="gpus", kind="rate_card", rates=(Rate("chat", usd_per_hour=Money("2")),)),
        ),
        workloads=(Workload("chat", {"model": "tiny"}, alternatives=(Alternative(api="acme/tiny"),)),),
        storage=Storage(path=str(directory / "ledger.db")),
    )


def opened(settings: Config) -> Exporter:
    pricer = Pricer(call=lambda function, *args: ())  # no look-ups in further processes: lives are short
    pricer.book = PriceBook({PriceKey("acme", "tiny"): (), PriceKey("acme", "writer"): ()})
    return Exporter(settings, time.time, pricer)


def live(settings: Config, log: Path) -> None:
    with opened(settings) as exporter:
        while True:
            with log.open("a") as rounds:
                rounds.write(".")
            for name in exporter.runner.running:
                exporter.runner.collect(name)
            exporter.tick()


def die_often(settings: Config, lives: int, seed: int, log: Path) -> int:
    """Fork, wait a random while, SIGKILL; the number of lives that were ended while they worked."""
    chance = random.Random(seed)
    killed = 0
    for _ in range(lives):
        child = os.fork()
        if child == 0:
            live(settings, log)
            os._exit(1)
        time.sleep(chance.uniform(0.005, 0.12))
        os.kill(child, signal.SIGKILL)
        killed += os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    return killed


def main() -> None:
    directory, url, lives, seed = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    settings = config(directory, url)
    killed = die_often(settings, lives, seed, directory / "rounds")
    (directory / "stop").touch()  # the world stands still from here on
    while not (directory / "stopped").exists():
        time.sleep(0.01)
    with opened(settings) as exporter:
        done = [exporter.runner.collect(name) for _ in range(3) for name in exporter.runner.running]
        counters = [[family, *labels, str(c.value)] for (family, labels), c in exporter.ledger.counters().items()]
        series = [[one.key.model, one.tokens(0, 1 << 40)] for one in exporter.ledger.snapshot().series]
    sys.stdout.write(json.dumps({"killed": killed, "done": all(done), "counters": counters, "series": series}))


if __name__ == "__main__":
    main()
