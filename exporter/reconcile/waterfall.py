"""From what was metered to what a provider billed, for one provider, bill and UTC day. Pure, exact, in one currency.

    billed = metered_at_list + missing_usage + duplicates + price_difference + non_token_lines + unexplained

`metered` is what workloads used, at list price, by model; `usage` what the provider itself says was used,
at the same prices, by model. Model names are those of one spelling on all sides (`canonical`). Tokens that have no list
price, and tokens of a tier that the provider does not put on this bill (`on_bill`), are left out on both sides.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from functools import reduce

from collectors.kinds import kind_of
from collectors.records import Charge
from exporter.reconcile.bill import EXACT

ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class ProviderBill:
    """The lines of one day: those that bill tokens, by model where they name one, and all others."""

    by_model: Mapping[str, Decimal] = field(default_factory=dict)
    other_tokens: Decimal = ZERO
    non_token: Decimal = ZERO

    @property
    def billed(self) -> Decimal:
        return _sum((*self.by_model.values(), self.other_tokens, self.non_token))


def on_bill(provider: str, service_tier: str) -> bool:
    """Whether tokens of that tier have a line on the provider's bill at all."""
    return service_tier not in kind_of(provider).unbilled_tiers


def provider_bill(charges: Iterable[Charge], canonical: Callable[[str], str] = lambda model: model) -> ProviderBill:
    """The billed cost of a day's charges. They must be in one currency."""
    by_model: dict[str, Decimal] = {}
    other_tokens = non_token = ZERO
    for charge in charges:
        model = dict(charge.tags).get("model")
        if charge.component != "tokens":
            non_token = EXACT.add(non_token, charge.billed_cost)
        elif model is None:
            other_tokens = EXACT.add(other_tokens, charge.billed_cost)
        else:
            name = canonical(model)
            by_model[name] = EXACT.add(by_model.get(name, ZERO), charge.billed_cost)
    return ProviderBill(by_model, other_tokens, non_token)


def waterfall(
    bill: ProviderBill, metered: Mapping[str, Decimal], usage: Mapping[str, Decimal] | None
) -> dict[str, Decimal]:
    """The parts of `bill`, which add up to it exactly.

    `usage` is None where the provider's own count is not known: then nobody can tell missing usage, duplicates and
    price apart, these parts are absent and all of it is unexplained. A price difference is told of models that have
    both usage at a known price and lines on the bill; usage without a line and lines without usage are unexplained.
    """
    parts = {"metered_at_list": _sum(metered.values()), "non_token_lines": bill.non_token}
    if usage is not None:
        gaps = [EXACT.subtract(usage.get(m, ZERO), metered.get(m, ZERO)) for m in metered.keys() | usage.keys()]
        parts["missing_usage"] = _sum(gap for gap in gaps if gap > 0)
        parts["duplicates"] = _sum(gap for gap in gaps if gap < 0)
        both = bill.by_model.keys() & usage.keys()
        parts["price_difference"] = _sum(EXACT.subtract(bill.by_model[m], usage[m]) for m in both)
    parts["unexplained"] = EXACT.subtract(bill.billed, _sum(parts.values()))
    return parts


def _sum(amounts: Iterable[Decimal]) -> Decimal:
    return reduce(EXACT.add, amounts, ZERO)
