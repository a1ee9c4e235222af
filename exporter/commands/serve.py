"""`serve`: the running exporter, on a config file or on one engine named by options."""

import logging
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from exporter.commands.configured import configured
from exporter.commands.logs import FORMATS, LEVELS, set_up
from exporter.commands.types import AMOUNT, POSITIVE
from exporter.config import Config, ConfigError

# How the parts of the config that the options build are called on the command line.
_OPTIONS = {
    "collectors[0].targets": "--engine",
    "collectors[1].rates[0].usd_per_hour": "--gpu-usd-per-hour",
    "collectors[1].rates[0].count": "--gpus",
    "workloads[0].name": "--workload",
    "workloads[0].alternatives": "--alternative",
}


@click.command()
@click.option("--config.file", "config_file", type=click.Path(path_type=Path), help="The config (YAML).")
@click.option("--engine", "engines", metavar="URL", multiple=True, help="Without a config: a vLLM server; repeatable.")
@click.option("--gpu-usd-per-hour", type=AMOUNT, help="Without a config: the price of one GPU-hour, USD.")
@click.option("--gpus", type=POSITIVE, help="Without a config: GPUs paid for, all engines together.  [default: 1]")
@click.option(
    "--alternative",
    "alternatives",
    metavar="api:PROVIDER/MODEL",
    multiple=True,
    help="Without a config: what to compare with; the first decides.  [default: the cheapest host of the same model]",
)
@click.option(
    "--workload",
    metavar="NAME",
    envvar="WORKLOAD",
    show_envvar=True,
    help="Without a config: what the engine serves; one name for all pods of a workload.  [default: engine]",
)
@click.option(
    "--role",
    type=click.Choice(["cluster", "sidecar"]),
    help="Without a config: sidecar in the engine's pod, where a fleet's recording rules make the longer windows "
    "and the status; cluster publishes them itself.  [default: cluster]",
)
@click.option("--web.listen-address", "listen", default=":9482", show_default=True, help="Where to serve, HOST:PORT.")
@click.option("--web.config.file", "web_config_file", help="TLS and authentication: not supported yet.")
@click.option("--log.level", "log_level", type=click.Choice(list(LEVELS)), default="info", show_default=True)
@click.option("--log.format", "log_format", type=click.Choice(FORMATS), default="logfmt", show_default=True)
@click.pass_context
def serve(
    context: click.Context,
    /,
    config_file: Path | None,
    listen: str,
    web_config_file: str | None,
    log_level: str,
    log_format: str,
    **quick: Any,
) -> None:
    """Collect, reconcile and serve until SIGTERM (the default command)."""
    if web_config_file is not None:
        raise click.UsageError(
            "--web.config.file: TLS and authentication are not supported yet: listen on 127.0.0.1 behind a proxy"
        )
    with ThreadPoolExecutor(1) as pool:  # the config loads in a child process while this one imports the service
        loading = pool.submit(_config, config_file, quick, _written(context, quick))
        from exporter.ledger.files import LedgerError
        from exporter.service import serve as run

        config = loading.result()
    set_up(log_level, log_format)
    try:
        hanging = run(config, listen)
    except LedgerError as error:
        raise click.ClickException(str(error)) from None
    if hanging:  # Python would wait for their threads
        logging.shutdown()
        os._exit(0)


def _written(context: click.Context, names: Iterable[str]) -> bool:
    """Whether one of the options is on the command line. WORKLOAD in the environment may be meant for a config file."""
    return any(context.get_parameter_source(name) is ParameterSource.COMMANDLINE for name in names)


def _config(path: Path | None, quick: dict[str, Any], written: bool) -> Config:
    if path is not None:
        if written:
            raise click.UsageError("--config.file cannot be combined with --engine and its options: write them there")
        return configured(path)
    if not quick["engines"]:
        raise click.UsageError("expected --config.file FILE, or --engine URL with --gpu-usd-per-hour; or try `demo`")
    if quick["gpu_usd_per_hour"] is None:
        raise click.UsageError("--engine needs --gpu-usd-per-hour: what one GPU costs")
    return quick_config(**quick)


def quick_config(
    engines: tuple[str, ...],
    gpu_usd_per_hour: Any,
    gpus: Any,
    alternatives: tuple[str, ...],
    workload: str | None = None,
    role: str | None = None,
) -> Config:
    """The config that the options stand for (deploy/examples/quickstart.yaml). Raises ConfigError naming options."""
    from exporter.config.load import load_tree_aside

    tree = quick_tree(engines, str(gpu_usd_per_hour), str(gpus or 1), alternatives, workload or "engine")
    try:
        return load_tree_aside({"role": role or "cluster", **tree})
    except ConfigError as error:
        raise ConfigError(map(_as_option, error.problems)) from None


def quick_tree(
    engines: tuple[str, ...], price: str, gpus: str, alternatives: tuple[str, ...], name: str
) -> dict[str, Any]:
    """The same as a YAML document, but for the role."""
    rate = {"workload": name, "count": gpus, "usd_per_hour": price}
    workload = {
        "name": name,
        "match": {"collector": "engine"},
        "alternatives": tuple({"api": each.removeprefix("api:")} for each in alternatives),
    }
    return {
        "collectors": (
            {"name": "engine", "kind": "vllm", "targets": engines},
            {"name": "gpus", "kind": "rate_card", "rates": (rate,)},
        ),
        "workloads": (workload,),
    }


def _as_option(problem: str) -> str:
    option = next((path for path in _OPTIONS if problem.startswith(path)), None)
    return problem if option is None else f"{_OPTIONS[option]}: {problem.partition(': ')[2]}"
