"""`check`: is the config right, and with `--live`, does every source answer?"""

import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import click

from exporter.aside import call_aside
from exporter.commands.configured import config_file, configured, described
from exporter.commands.files import file_warnings
from exporter.commands.ledger_warnings import ledger_warnings
from exporter.config import Config
from exporter.reconcile.alternatives import api_key

LIVE_SECONDS = 60  # of one source; what a large backlog holds beyond is not needed to know that it can be read


@click.command()
@config_file
@click.option("--print", "show", is_flag=True, help="Print the config with every default, secrets hidden.")
@click.option("--live", is_flag=True, help="Read every source once; nothing is stored.")
def check(config_file: Path, show: bool, live: bool) -> None:
    """Validate the config. Exit status 0: it can be used, 1: a source did not answer (--live), 2: it is wrong."""
    text, warnings = described(config_file)
    if show:
        click.echo(text, nl=False)
    config = configured(config_file)
    for warning in (*warnings, *file_warnings(config), *ledger_warnings(config), *_unpriced(config)):
        click.echo(f"warning: {warning}", err=True)
    if live and not _answer(config):
        raise SystemExit(1)
    if not show:
        click.echo(f"{config_file}: ok")


def _unpriced(config: Config) -> list[str]:
    """Alternatives that no price is known for: mostly a misspelt provider or model."""
    named = {a.api: api_key(a.api, a.service_tier, a.region) for w in config.workloads for a in w.alternatives if a.api}
    if not named:
        return []
    rates = call_aside("exporter.prices.resolve:resolve", list(named.values()), config.prices.overrides)
    return [
        f"no price is known for the alternative api: {name} (try `prices {name}`, or add it to prices.overrides)"
        for name, key in named.items()
        if not rates[key]
    ]


def _answer(config: Config) -> bool:
    """Ask every source once and say how it went."""
    from collectors import Context
    from exporter.runner import discovers

    now = int(time.time())
    context = Context(first_start=now)  # one for all: what one finds, another reads
    outcomes = []
    for settings in sorted(config.collectors, key=discovers):
        read, failures = _within(LIVE_SECONDS, partial(_ask, settings, context, now))
        outcomes.append(not failures)
        state = "failed" if failures else "ok"
        click.echo(f"{settings.name} ({settings.kind}): {state}, {read} read, {len(failures)} failed")
        for failure in failures:
            click.echo(f"  {failure}")
    return all(outcomes)


def _within(seconds: float, ask: Callable[[], tuple[int, list[str]]]) -> tuple[int, list[str]]:
    """What `ask` says, if it does so in time. A source that hangs is left behind: this process ends soon."""
    answers: list[tuple[int, list[str]]] = []
    asking = threading.Thread(target=lambda: answers.append(ask()), daemon=True)
    asking.start()
    asking.join(seconds)
    return answers[0] if answers else (0, [f"no answer in {seconds:.0f} s: check the address and what is between"])


def _ask(settings: Any, context: Any, now: int) -> tuple[int, list[str]]:
    """How many parts of one source could be read, and what could not and why."""
    from collectors import build
    from collectors.records import Failure

    read, failures, stop = 0, [], time.monotonic() + LIVE_SECONDS
    try:
        collector = build(settings, context)
        try:
            # A source that is paid by the request, or has much to read, has a question of its own: one small request.
            outcomes = collector.probe(now) if hasattr(collector, "probe") else collector.collect(now, {})
            for outcome in outcomes:
                if isinstance(outcome, Failure):
                    failures.append(f"{outcome.part}: {outcome.reason}")
                else:
                    read += 1
                if time.monotonic() > stop:
                    break
        finally:
            collector.close()
    except (OSError, ValueError, LookupError, RuntimeError, ImportError) as error:
        failures.append(f"{type(error).__name__}: {error}")
    return read, failures
