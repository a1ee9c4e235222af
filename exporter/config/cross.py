"""What two parts of a config say together: currencies and rates, sources read twice, two meters for one traffic. Pure.

What cannot be told from the config alone is a warning, not an error (`warnings`).
"""

from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import urlsplit

from collectors.records import DAY
from collectors.settings import Duration, Money
from exporter.config import Config, DecisionSettings, Storage, Workload
from exporter.config.paths import Document, Place, Problem, dotted, shown

Items = list[tuple[Place, Any]]


def contradictions(document: Document, sections: Mapping[str, Any], items: Mapping[str, Items]) -> Iterator[Problem]:
    """Everything that is wrong between the typed pieces of `document`."""
    collectors = items.get("collectors", [])
    yield from _currencies(collectors, sections.get("fx", {}), document)
    yield from _retention(sections, document)
    yield from _read_twice(collectors)
    yield from _discoveries(collectors, document)
    meters = _meters(collectors, items.get("workloads", []))
    yield from (Problem(place, text) for place, text, sure in meters if sure)


def warnings(config: Config) -> list[str]:
    """What may be wrong, but cannot be told from the config alone: one line each, for `check`."""
    collectors: Items = [(("collectors", i), each) for i, each in enumerate(config.collectors)]
    workloads: Items = [(("workloads", i), each) for i, each in enumerate(config.workloads)]
    unsure = [str(Problem(place, text)) for place, text, sure in _meters(collectors, workloads) if not sure]
    return [
        *unsure,
        *_provider_meters(collectors, workloads),
        *_unknown_card_workloads(collectors, config.workloads),
        *_unlisted_resources(collectors),
        *_plans(workloads),
    ]


def _plans(workloads: Items) -> Iterator[str]:
    for place, workload in workloads:
        for i, alternative in enumerate(workload.alternatives):
            if alternative.self_hosted is not None:
                text = "self-hosting plans have no figures yet: the status of this workload stays unknown (no_plan)"
                yield str(Problem((*place, "alternatives", i, "self_hosted"), text))


def _currencies(collectors: Items, fx: Mapping[str, Money], document: Document) -> Iterator[Problem]:
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


def _read_twice(collectors: Items) -> Iterator[Problem]:
    """A source that two collectors read would be counted twice; a check counts nothing."""
    first: dict[tuple[str, str], Place] = {}
    for place, settings in collectors:
        keys = ("targets", "path", "admin_key_file")
        for key in keys if getattr(settings, "role", "meter") == "meter" else ():
            value = getattr(settings, key, None) or ()
            for i, source in enumerate((value,) if isinstance(value, str) else value):
                at = (*place, key) if isinstance(value, str) else (*place, key, i)
                before = first.setdefault((key, _page(source) if key == "targets" else source), at)
                if before != at:
                    text = f"expected a source that nothing else reads, got that of {dotted(before)}"
                    yield Problem(at, f"{text}: {shown(at, source)}")


def _discoveries(collectors: Items, document: Document) -> Iterator[Problem]:
    """Engines that nobody finds, or that two collectors would read."""
    written = document.written(("collectors",)) or ()
    finders = {each.get("name") for each in written if isinstance(each, Mapping) and each.get("kind") == "kubernetes"}
    first: dict[str, Place] = {}
    for place, settings in collectors:
        name, at = getattr(settings, "discover", None), (*place, "discover")
        if isinstance(name, str):
            before = first.setdefault(name, at)
            if name not in finders:
                text = f"expected the name of a collector of kind kubernetes, got {document.shown(at, name)}"
                yield Problem(at, text)
            elif before != at:
                text = f"expected engines that nothing else reads, got those of {dotted(before)}"
                yield Problem(at, f"{text}: {document.shown(at, name)}")


def _page(target: str) -> str:
    """The page that a target stands for: `/metrics` if without a path, whoever asks."""
    url = urlsplit(target)
    return f"{url.scheme}://{url.netloc.rpartition('@')[2].lower()}{url.path.rstrip('/') or '/metrics'}?{url.query}"


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


def _provider_meters(collectors: Items, workloads: Items) -> Iterator[str]:
    """A provider's usage API and a log of API traffic that both meter what one workload matches. Never sure: a log may
    be of another account, or of a reseller of the same models."""
    logs = [each for each in collectors if getattr(each[1], "serves", "") == "api" and each[1].role == "meter"]
    for place, api in collectors:
        if not hasattr(api, "admin_key_file") or api.role != "meter":
            continue
        for log_place, log in logs:
            shared = any(each in _reached(log, workloads) for each in _reached(api, workloads))
            if shared and log.provider in ("", api.kind):
                other = f"{dotted(log_place)} ({log.name})"
                text = f"meters traffic of {api.kind}, as {other} may do; where it is the same traffic set role: check"
                yield str(Problem(place, text))


def _reached(settings: Any, workloads: Items) -> list[Workload | None]:
    """The workloads that what a collector delivers may belong to, as far as its settings tell; None stands for traffic
    that no workload matches. The first match wins, so nothing comes after a workload that takes all."""
    # The labels of an engine are what its settings say; those of a log are only for lines without their own.
    labels = {} if hasattr(settings, "serves") else dict(getattr(settings, "labels", {}))
    known = {**labels, "collector": settings.name, "model": getattr(settings, "model", None)}
    reached: list[Workload | None] = []
    for _, workload in workloads:
        told = {name: known.get(name) for name in workload.match}
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
