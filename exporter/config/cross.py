"""What two parts of a config say together: currencies and rates, sources read twice, two meters for one traffic. Pure.

What cannot be told from the config alone is a warning, not an error (`warnings`).
"""

from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any

from collectors.kinds import kind_of
from collectors.records import DAY
from collectors.settings import Duration, Money
from exporter.config import Config, DecisionSettings, Storage, Workload
from exporter.config.paths import Document, Place, Problem, dotted
from exporter.config.sources import Items, read_twice


def contradictions(document: Document, sections: Mapping[str, Any], items: Mapping[str, Items]) -> Iterator[Problem]:
    """Everything that is wrong between the typed pieces of `document`."""
    collectors = items.get("collectors", [])
    yield from _currencies(collectors, sections.get("fx", {}), document)
    yield from _retention(sections, document)
    yield from _discoveries(collectors, document)
    yield from read_twice(collectors)
    meters = _meters(collectors, items.get("workloads", []))
    yield from (Problem(place, text) for place, text, sure in meters if sure)
    yield from _provider_meters(collectors, items.get("workloads", []), document)


def warnings(config: Config) -> list[str]:
    """What may be wrong, but cannot be told from the config alone: one line each, for `check`."""
    collectors: Items = [(("collectors", i), each) for i, each in enumerate(config.collectors)]
    workloads: Items = [(("workloads", i), each) for i, each in enumerate(config.workloads)]
    unsure = [str(Problem(place, text)) for place, text, sure in _meters(collectors, workloads) if not sure]
    return [
        *unsure,
        *_unknown_card_workloads(collectors, config.workloads),
        *_unlisted_resources(collectors),
        *_list_price_currencies(collectors, config),
        *_machines_twice(collectors, workloads),
        *_plans(workloads),
    ]


def _plans(workloads: Items) -> Iterator[str]:
    for place, workload in workloads:
        for i, alternative in enumerate(workload.alternatives):
            if alternative.self_hosted is not None:
                text = "self-hosting plans have no figures yet: the status of this workload stays unknown (no_plan)"
                yield str(Problem((*place, "alternatives", i, "self_hosted"), text))


def _currencies(collectors: Items, fx: Mapping[str, Money], document: Document) -> Iterator[Problem]:
    for code in fx:
        if not (len(code) == 3 and code.isascii() and code.isalpha()):
            yield Problem(("fx", code), f"expected the code of a currency (ISO 4217) like EUR, got {code!r}")
    known = {"USD", *(code.upper() for code in fx)}
    for place, settings in collectors:
        for i, rate in enumerate(getattr(settings, "rates", ())):
            currency = getattr(rate, "currency", None)
            if currency and currency.upper() not in known:
                at = (*place, "rates", i, "currency")
                text = f"expected USD or a currency with a rate in fx, got {document.shown(at, currency)}"
                yield Problem(at, f'{text}; add fx: {{{currency.upper()}: "<USD per unit>"}}')


def _retention(sections: Mapping[str, Any], document: Document) -> Iterator[Problem]:
    storage, decision = sections.get("storage", Storage()), sections.get("decision", DecisionSettings())
    for key, least, why in (
        ("retain_fine", Duration(DAY), ""),
        ("retain", storage.retain_fine, " (retain_fine)"),
        ("retain", decision.ratio_window, " (decision.ratio_window)"),
    ):
        value = getattr(storage, key)
        if value < least:
            place = ("storage", key)
            got = document.shown(place, document.written(place) or value.text)
            yield Problem(place, f"expected at least {least.text}{why}, got {got}")


def _discoveries(collectors: Items, document: Document) -> Iterator[Problem]:
    """Engines that nobody finds."""
    written = document.written(("collectors",)) or ()
    entries = [each for each in written if isinstance(each, Mapping)]
    finders = {each.get("name") for each in entries if kind_of(str(each.get("kind"))).cluster}
    for place, settings in collectors:
        name, at = getattr(settings, "discover", None), (*place, "discover")
        if isinstance(name, str) and name not in finders:
            yield Problem(at, f"expected the name of a collector of kind kubernetes, got {document.shown(at, name)}")


def _meters(collectors: Items, workloads: Items) -> Iterator[tuple[Place, str, bool]]:
    """Engines and self-hosted logs that both meter what one workload matches; the last value says whether it is sure.

    Sure where the workload's `match` rests on the collector's name and the model alone: a model that both see is then
    counted twice. What provider or labels the records of a log or the pods of an engine carry, the config does not
    say; nor, for traffic that no workload matches, its owner or model.
    """
    engines = [each for each in collectors if type(each[1]).__module__.startswith("collectors.engines")]
    for place, log in collectors:
        if getattr(log, "serves", "api") != "self_hosted" or getattr(log, "role", "meter") != "meter":
            continue
        for engine_place, engine in engines:
            other = f"{dotted(engine_place)} ({engine.name})"
            shared = [each for each in _reached(engine, workloads) if each in _reached(log, workloads)]
            sure = [each.name for each in shared if each is not None and set(each.match) <= {"collector", "model"}]
            if sure:
                text = f"expected 'check', got 'meter': {other} meters workload {sure[0]!r} too; or match by collector"
                yield (*place, "role"), text, True
            elif shared:
                text = f"meters self-hosted traffic, as {other} does; where it is the same traffic set role: check"
                yield place, text, False


def _provider_meters(collectors: Items, workloads: Items, document: Document) -> Iterator[Problem]:
    """A provider's usage API and a log of API traffic that may both meter the same requests, and nobody said that they
    do not: a log may be of another account, or of a reseller of the same models."""
    logs = [each for each in collectors if getattr(each[1], "serves", "") == "api" and each[1].role == "meter"]
    for place, api in collectors:
        if not hasattr(api, "admin_key_file") or api.role != "meter":
            continue
        for log_place, log in logs:
            told = any(document.written((*each, "role")) is not None for each in (place, log_place))
            shared = any(each in _reached(log, workloads) for each in _reached(api, workloads))
            if shared and not told and log.provider in ("", api.kind):
                text = f"expected a role: {dotted(log_place)} ({log.name}) may meter the same requests of {api.kind}"
                yield Problem((*place, "role"), f"{text}; write check where it does, meter where it does not")


def _reached(settings: Any, workloads: Items) -> list[Workload | None]:
    """The workloads that what a collector delivers may belong to, as far as its settings tell; None stands for traffic
    that no workload matches. The first match wins, so nothing comes after a workload that takes all."""
    # The labels of an engine are what its settings say; those of a log are only for lines without their own.
    labels = {} if hasattr(settings, "serves") else dict(getattr(settings, "labels", {}))
    known = {**labels, "collector": settings.name, "model": getattr(settings, "model", None)}
    untold: str | None = None  # a value that the settings do not tell
    if getattr(settings, "targets", ()) and getattr(settings, "discover", None) is None:
        known, untold = {"provider": settings.kind, **known}, ""  # listed engines have no labels but these
    reached: list[Workload | None] = []
    for _, workload in workloads:
        told = {name: known.get(name, untold) for name in workload.match}
        if all(value is None or fnmatchcase(str(value), workload.match[name]) for name, value in told.items()):
            reached.append(workload)
            if all(value is not None or workload.match[name] == "*" for name, value in told.items()):
                return reached
    return [*reached, None]


def _unknown_card_workloads(collectors: Items, workloads: Iterable[Workload]) -> Iterator[str]:
    """A card for a workload that no `match` names: right if it is named after a model or owner, else a slip."""
    names = {each.name for each in workloads}
    for place, settings in collectors:
        for i, rate in enumerate(getattr(settings, "rates", ())):
            if rate.workload not in names:
                at = (*place, "rates", i, "workload")
                text = (
                    f"no configured workload has the name {rate.workload!r}: its cost shows, but without usage no ratio"
                )
                yield str(Problem(at, text))


def _unlisted_resources(collectors: Items) -> Iterator[str]:
    """A card for several GPUs beside a bill: only `resources` tell how much of it one billed resource replaces."""
    billed = any(hasattr(settings, "scope") for _, settings in collectors)  # every cloud bill has one
    for place, settings in collectors:
        for i, rate in enumerate(getattr(settings, "rates", ()) if billed else ()):
            if rate.count > 1 and not rate.resources:
                at = (*place, "rates", i, "resources")
                yield str(Problem(at, "one billed resource would replace the whole card; list the resources"))


def _list_price_currencies(collectors: Items, config: Config) -> Iterator[str]:
    """List prices in a currency without a rate: read, and of no use."""
    for place, settings in collectors:
        currency = getattr(settings, "currency", "USD")
        if currency.upper() not in config.usd_rates:
            how = f'add fx: {{{currency.upper()}: "<USD per unit>"}}'
            yield str(Problem((*place, "currency"), f"no rate for {currency} in fx, its prices are not used; {how}"))


def _machines_twice(collectors: Items, workloads: Items) -> Iterator[str]:
    """A cluster's machine that comes to two workloads: to that of its pods, and by another way to a second one."""
    if not any(kind_of(settings.kind).cluster for _, settings in collectors):
        return
    bills = [(place, settings) for place, settings in collectors if hasattr(settings, "scope")]
    tagged = next((each.name for _, each in workloads if _matches_tags(each)), None)
    if tagged is not None and len(bills) > 1 and not all(settings.scope for _, settings in bills):
        text = f"where it bills the same machines as {dotted(bills[0][0])} ({bills[0][1].name}), one may count twice"
        how = f"for its pods, and by tag for {tagged!r}; then give each bill a scope of its own, or keep one"
        yield from (str(Problem(place, f"{text}: {how}")) for place, _ in bills[1:])
    for place, settings in collectors:
        for i, rate in enumerate(getattr(settings, "rates", ())):
            if rate.component == "node":
                text = "a cluster's gpu cost is the whole machine's: for its nodes this would be counted on top"
                yield str(Problem((*place, "rates", i, "component"), text))


def _matches_tags(workload: Workload) -> bool:
    """Whether tags of a bill line may make it this workload's."""
    keys = set(workload.match_bill or workload.match)
    return bool(keys - {"resource", "sku", "service", "region", "account", "provider", "collector", "model"})
