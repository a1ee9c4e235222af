"""The list value of tokens by who counted them: a gateway and a provider may call a model by names of other prices."""

from collections.abc import Collection, Mapping
from decimal import Decimal
from typing import NamedTuple

ANY = ""
"""The model of a bill line that does not name one; asked for, it is all models."""


class Typed(NamedTuple):
    """Tokens of one type that have a price, and their list value in USD."""

    usd: Decimal
    tokens: int


class Value(NamedTuple):
    """Some tokens: the list value in USD of those that have a price, all of them, those without a price, and by type
    those with one (what a request costs whatever its tokens is in `usd` only)."""

    usd: Decimal
    tokens: int
    unpriced: int
    types: Mapping[str, Typed]

    def plus(self, other: "Value") -> "Value":
        types = dict(self.types)
        for token_type, (usd, tokens) in other.types.items():
            before = types.get(token_type, Typed(Decimal(0), 0))
            types[token_type] = Typed(before.usd + usd, before.tokens + tokens)
        return Value(self.usd + other.usd, self.tokens + other.tokens, self.unpriced + other.unpriced, types)


NOTHING = Value(Decimal(0), 0, 0, {})

Values = Mapping[tuple[str, str], Value]
"""By collector and model without its date."""


def total(values: Values, collectors: Collection[str], model: str) -> Value:
    """The tokens of `model`, or (ANY) of all models, that `collectors` counted."""
    found = NOTHING
    for (collector, name), value in values.items():
        if collector in collectors and model in (name, ANY):
            found = found.plus(value)
    return found


def by_model(values: Values, collectors: Collection[str]) -> dict[str, Decimal]:
    """The list value in USD by model of what `collectors` counted, but for models of which no token has a price."""
    models = {model for (name, model), value in values.items() if name in collectors and value.unpriced < value.tokens}
    return {model: total(values, collectors, model).usd for model in models}


def at_prices_of(values: Values, accounts: Collection[str]) -> Values:
    """`values`, all at the mean list prices, by model and token type, of what `accounts` counted, where they did: so
    that who saw more can be told whatever name, and list price, each has for the model."""
    told = {model: total(values, accounts, model).types for model in {model for _, model in values}}
    return {key: _at(value, told[key[1]]) if key[0] not in accounts else value for key, value in values.items()}


def _at(value: Value, prices: Mapping[str, Typed]) -> Value:
    types = {
        t: Typed(prices[t].usd * one.tokens / prices[t].tokens, one.tokens) if t in prices and prices[t].tokens else one
        for t, one in value.types.items()
    }
    moved = sum((types[t].usd - one.usd for t, one in value.types.items()), Decimal(0))
    return value._replace(usd=value.usd + moved, types=types)


def part(values: Values, own: Collection[str], accounts: Collection[str], model: str) -> Decimal:
    """The part of `accounts` that `own` are, by tokens of `model`; in equal parts of a model that none of them used."""
    used = total(values, accounts, model).tokens
    return Decimal(total(values, own, model).tokens) / used if used else Decimal(len(own)) / len(accounts)
