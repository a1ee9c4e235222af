"""Whose a bill line is: the workload of a card that names its resource, of a glob that fits, or nobody's. Pure."""

from collections.abc import Callable, Mapping, Sequence

from collectors.records import Card, Charge
from exporter.config import Config, Workload
from exporter.ledger.snapshot import BillLine
from exporter.reconcile.matching import matches

Match = Callable[[BillLine], tuple[str | None, str]]
"""(workload, "") of a line, or (None, reason)."""
InScope = Callable[[BillLine], bool]

_FIELDS = ("resource", "sku", "service", "region", "account", "provider")


class BillMatcher:
    """Callable on a line: (workload, "") or (None, reason). Built once for many lines.

    First the workload of a card that lists the line's resource id (letter by letter) over its time; else the first
    configured workload whose `match_bill` globs all fit; else the first, without `match_bill`, whose `match` keys are
    all tags of the line (or its provider or collector) and fit.

    Reasons: `missing_tag`: workloads match by tags and the line has none of these; `unknown_resource`: nobody claims
    the line's resource; `no_resource`: it names none; `not_usage`: no workload's (a purchase, tax, credit, adjustment
    or unused commitment).
    """

    def __init__(self, workloads: Sequence[Workload], cards: Mapping[str, Card]) -> None:
        self._listed: dict[str, list[Card]] = {}
        for card in cards.values():
            for resource in card.resources:
                self._listed.setdefault(resource, []).append(card)
        self._by_bill = [(one.name, one.match_bill) for one in workloads if one.match_bill]
        self._by_tags = [(one.name, one.match) for one in workloads if one.match and not one.match_bill]
        keys = {key for _, globs in (*self._by_bill, *self._by_tags) for key in globs}
        self._tags = keys - {*_FIELDS, "collector"}
        self._known: dict[tuple[object, ...], tuple[str | None, str]] = {}

    def __call__(self, line: BillLine) -> tuple[str | None, str]:
        charge = line.charge
        if not allocatable(charge):
            return None, "not_usage"
        for card in self._listed.get(charge.resource, ()):
            if _holds(card, charge):
                return card.workload, ""
        key = (line.collector, charge.tags, *_columns(charge))
        if key not in self._known:
            self._known[key] = self._match(line)
        return self._known[key]

    def _match(self, line: BillLine) -> tuple[str | None, str]:
        fields, tags = bill_fields(line), dict(line.charge.tags)
        for name, globs in self._by_bill:
            if matches(globs, fields):
                return name, ""
        tagged = {**tags, "provider": line.charge.provider, "collector": line.collector}
        for name, globs in self._by_tags:
            if matches(globs, tagged):
                return name, ""
        if self._tags and self._tags.isdisjoint(tags):
            return None, "missing_tag"
        return None, "unknown_resource" if line.charge.resource else "no_resource"


def allocatable(charge: Charge) -> bool:
    """Whether the effective cost of a line can be a workload's: usage, under a used commitment or none."""
    return charge.category == "Usage" and charge.commitment_status != "Unused"


def bill_fields(line: BillLine) -> dict[str, str]:
    """What globs on a bill line may name: its columns, else its tags."""
    columns = dict(zip(_FIELDS, _columns(line.charge), strict=True))
    return {**dict(line.charge.tags), **columns, "collector": line.collector}


def scope_of(config: Config) -> InScope:
    """Whether a line is in scope: all globs of its collector's `scope` fit. Without `scope` everything is."""
    scopes = {settings.name: getattr(settings, "scope", None) for settings in config.collectors}

    def in_scope(line: BillLine) -> bool:
        globs = scopes.get(line.collector)
        return not globs or matches(globs, bill_fields(line))

    return in_scope


def _columns(charge: Charge) -> tuple[str, ...]:
    return charge.resource, charge.sku, charge.service, charge.region, charge.account, charge.provider


def _holds(card: Card, charge: Charge) -> bool:
    """Whether a card's time and a charge period (or instant) overlap."""
    begun = card.start is None or card.start < max(charge.window.end, charge.window.start + 1)
    return begun and (card.end is None or charge.window.start < card.end)
