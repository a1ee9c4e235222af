"""`prices`: what is known of the price of a model, a GPU or a machine type, where from and since when."""

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from itertools import groupby
from pathlib import Path
from typing import Any

import click

from collectors.gpu_names import gpu_product
from exporter.aside import call_aside
from exporter.commands.configured import configured
from exporter.commands.types import MOMENT
from exporter.config import Config


@click.command()
@click.argument("name", metavar="PROVIDER/MODEL|GPU|MACHINE-TYPE")
@click.option("--at", type=MOMENT, help="The date or time to price at.  [default: now]")
@click.option(
    "--config.file", "config_file", type=click.Path(path_type=Path), help="For its price overrides and rates."
)
@click.option("--service-tier", default="default", show_default=True, help="For example batch.")
@click.option("--region", default="", help="The provider's region, where prices differ.")
@click.option("--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def prices(name: str, at: int | None, config_file: Path | None, service_tier: str, region: str, output: str) -> None:
    """Show every known price of a model (PROVIDER/MODEL), of a GPU (h100) or of a machine type (p5.48xlarge)."""
    config = configured(config_file) if config_file else None
    provider, slash, model = name.partition("/")
    moment = int(time.time()) if at is None else at
    if not slash:
        known = _gpu(name, moment, region, config)
    else:
        overrides = config.prices.overrides if config else None
        target = "exporter.prices.describe:describe"
        known = call_aside(target, provider, model, moment, overrides, service_tier, region)
    click.echo(json.dumps(known, indent=2) if output == "json" else _text(name, known), nl=output == "json")
    if not (known["rates"] or known.get("list_prices")):
        raise SystemExit(1)


def _gpu(name: str, at: int, region: str, config: Config | None) -> dict[str, Any]:
    """What the config's rates and plans, and the bundled tables, say of a GPU or a machine type."""
    from exporter.prices import describe_nodes

    rates = _configured_rates(describe_nodes.gpu_named(name), at, config) if config else []
    listed = describe_nodes.list_prices(name, region)
    known: dict[str, Any] = {"gpu": name, "rates": rates, "list_prices": listed, "similar": []}
    if not (rates or listed):
        elsewhere = sorted({each["region"] for each in describe_nodes.list_prices(name)}) if region else []
        return {**known, "regions": elsewhere, "similar": [] if elsewhere else describe_nodes.similar(name)}
    return known


def _configured_rates(meant: Callable[[str], bool], at: int, config: Config) -> list[dict[str, Any]]:
    """The configured rates of a GPU with the dates between which they hold, and the plans that name it."""
    rates = [
        {
            "origin": f"rate card {settings.name}",
            "workload": rate.workload,
            "per_hour": f"{rate.usd_per_hour} USD" if rate.price_per_hour is None else _foreign(rate),
            "from": _iso(rate.from_),
            "until": _iso(rate.until),
            "in_force": (rate.from_ is None or rate.from_ <= at) and (rate.until is None or at < rate.until),
        }
        for settings in config.collectors
        for rate in getattr(settings, "rates", ())
        if meant(gpu_product(rate.gpu))
    ]
    plans = [(each.name, plan.self_hosted) for each in config.workloads for plan in each.alternatives]
    return rates + [
        {"origin": "alternative", "workload": name, "per_hour": f"{plan.usd_per_hour} USD"}
        for name, plan in plans
        if plan is not None and meant(gpu_product(plan.gpu))
    ]


def _iso(at: int | None) -> str | None:
    """Epoch seconds as a date, or as a time where it is not midnight UTC."""
    if at is None:
        return None
    moment = datetime.fromtimestamp(at, UTC)
    return f"{moment:%Y-%m-%d}" if at % 86400 == 0 else f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def _foreign(rate: Any) -> str:
    return f"{rate.price_per_hour} {rate.currency}"


def _text(name: str, known: dict[str, Any]) -> str:
    listed = known.get("list_prices", [])
    if not (known["rates"] or listed):
        return _nothing(name, known)
    lines = [f"{name} at {known['at']}" if "at" in known else name]
    for rate in known["rates"]:
        lines += _gpu_lines(rate) if "per_hour" in rate else _model_lines(rate)
    lines += _machine_lines(name, listed)
    if known.get("service_tiers"):
        lines.append(f"other service tiers: {', '.join(known['service_tiers'])}")
    return "\n".join(lines) + "\n"


def _nothing(name: str, known: dict[str, Any]) -> str:
    if known.get("regions"):
        return f"{name}: no list price is known in this region; known in {', '.join(known['regions'])}\n"
    similar = "".join(f"  {each}\n" for each in known.get("similar", ()))
    written = "" if "/" in name else " (a GPU or a machine type; a model is written PROVIDER/MODEL)"
    return f"{name}: no price is known{written}\n" + (f"similar names:\n{similar}" if similar else "")


def _gpu_lines(rate: dict[str, Any]) -> list[str]:
    dates = ""
    if "in_force" in rate:
        dates = f", from {rate['from'] or 'its first sight'} until {rate['until'] or 'further notice'}"
    mark = "*" if rate.get("in_force") else " "
    return [f"{mark} {rate['per_hour']:>12} per GPU-hour  {rate['workload']} ({rate['origin']}{dates})"]


def _machine_lines(name: str, listed: list[dict[str, Any]]) -> list[str]:
    """Every price of one machine type; of all machines with a GPU the cheapest region of each, and of how many."""
    groups = [list(rows) for _, rows in groupby(listed, lambda row: (row["instance_type"], row["tier"]))]
    if len({row["instance_type"] for row in listed}) == 1:
        return [_machine_line(row, "") for rows in groups for row in rows]
    return [_machine_line(rows[0], f", cheapest of {len(rows)} regions" * (len(rows) > 1)) for rows in groups]


def _machine_line(row: dict[str, Any], note: str) -> str:
    each = f"{Decimal(row['usd_per_gpu_hour']):10.4f}" if row["usd_per_gpu_hour"] else f"{'unknown':>10}"
    holds = f" ({row['gpus']} x {row['gpu']})" if row["gpus"] else ""
    what = f"{row['provider']} {row['instance_type']}{holds}, {row['region']}, {row['tier']}{note}"
    source = f"list price of {row['as_of']}, {row['origin']}"
    return f"  {Decimal(row['usd_per_hour']):10.4f} USD per node-hour {each} per GPU-hour  {what} ({source})"


def _model_lines(rate: dict[str, Any]) -> list[str]:
    span = f"from {rate['from'] or 'the beginning'} until {rate['until'] or 'further notice'}"
    clock = f", UTC {rate['utc_day'][0]} to {rate['utc_day'][1]}" if rate["utc_day"] else ""
    lines = [f"{'*' if rate['in_force'] else ' '} {rate['origin']}, {span}{clock}"]
    for band in rate["bands"]:
        above = band["above_prompt_tokens"]
        lines += [f"    prompts above {above:,} tokens:"] if above else []
        lines += [f"    {usd:>12} USD/Mtok  {kind}" for kind, usd in band["usd_per_mtok"].items()]
    return lines + ([f"    {rate['usd_per_request']:>12} USD/request"] if rate["usd_per_request"] != "0" else [])
