"""`prices`: what is known of the price of a model or a GPU, where from and since when."""

import json
import time
from pathlib import Path
from typing import Any

import click

from exporter.aside import call_aside
from exporter.commands.configured import configured
from exporter.commands.types import MOMENT
from exporter.config import Config


@click.command()
@click.argument("name", metavar="PROVIDER/MODEL|GPU")
@click.option("--at", type=MOMENT, help="The date or time to price at.  [default: now]")
@click.option(
    "--config.file", "config_file", type=click.Path(path_type=Path), help="For its price overrides and rates."
)
@click.option("--service-tier", default="default", show_default=True, help="For example batch.")
@click.option("--region", default="", help="The provider's region, where prices differ.")
@click.option("--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def prices(name: str, at: int | None, config_file: Path | None, service_tier: str, region: str, output: str) -> None:
    """Show every known price of a model (PROVIDER/MODEL), or the rates of a GPU in the config."""
    config = configured(config_file) if config_file else None
    provider, slash, model = name.partition("/")
    if not slash:
        known = {"gpu": name, "rates": _gpu_rates(name, config)}
    else:
        moment = int(time.time()) if at is None else at
        overrides = config.prices.overrides if config else None
        target = "exporter.prices.describe:describe"
        known = call_aside(target, provider, model, moment, overrides, service_tier, region)
    click.echo(json.dumps(known, indent=2) if output == "json" else _text(name, known), nl=output == "json")
    if not known["rates"]:
        raise SystemExit(1)


def _gpu_rates(gpu: str, config: Config | None) -> list[dict[str, Any]]:
    """The configured rates and plans of a GPU."""
    if config is None:
        raise click.UsageError(f"{gpu!r} has no slash, so it is a GPU: give --config.file, which has its rates")
    rates = [
        {
            "origin": f"rate card {settings.name}",
            "workload": rate.workload,
            "per_hour": f"{rate.usd_per_hour} USD" if rate.price_per_hour is None else _foreign(rate),
        }
        for settings in config.collectors
        for rate in getattr(settings, "rates", ())
        if rate.gpu == gpu
    ]
    plans = [(each.name, plan.self_hosted) for each in config.workloads for plan in each.alternatives]
    return rates + [
        {"origin": "alternative", "workload": name, "per_hour": f"{plan.usd_per_hour} USD"}
        for name, plan in plans
        if plan is not None and plan.gpu == gpu
    ]


def _foreign(rate: Any) -> str:
    return f"{rate.price_per_hour} {rate.currency}"


def _text(name: str, known: dict[str, Any]) -> str:
    if not known["rates"]:
        similar = "".join(f"  {each}\n" for each in known.get("similar", ()))
        return f"{name}: no price is known\n" + (f"similar names:\n{similar}" if similar else "")
    lines = [f"{name} at {known['at']}" if "at" in known else name]
    for rate in known["rates"]:
        lines += _gpu_lines(rate) if "per_hour" in rate else _model_lines(rate)
    if known.get("service_tiers"):
        lines.append(f"other service tiers: {', '.join(known['service_tiers'])}")
    return "\n".join(lines) + "\n"


def _gpu_lines(rate: dict[str, Any]) -> list[str]:
    return [f"  {rate['per_hour']:>12} per GPU-hour  {rate['workload']} ({rate['origin']})"]


def _model_lines(rate: dict[str, Any]) -> list[str]:
    span = f"from {rate['from'] or 'the beginning'} until {rate['until'] or 'further notice'}"
    clock = f", UTC {rate['utc_day'][0]} to {rate['utc_day'][1]}" if rate["utc_day"] else ""
    lines = [f"{'*' if rate['in_force'] else ' '} {rate['origin']}, {span}{clock}"]
    for band in rate["bands"]:
        above = band["above_prompt_tokens"]
        lines += [f"    prompts above {above:,} tokens:"] if above else []
        lines += [f"    {usd:>12} USD/Mtok  {kind}" for kind, usd in band["usd_per_mtok"].items()]
    return lines + ([f"    {rate['usd_per_request']:>12} USD/request"] if rate["usd_per_request"] != "0" else [])
