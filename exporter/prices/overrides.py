"""The user's own price file: strict loading, matching, and its entries as `Rate`s.

docs/configuration.md has an example and every key. The first matching entry wins. `provider`, `model` and `region` are
globs, regardless of case; `from` is inclusive and `until` exclusive. An entry prices the standard service tier and the
tiers it names: a tier either multiplies every price of the entry, the one per request too, or has prices of its own,
which then are all it has.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

from collectors.settings import Instant, Money
from exporter.prices.book import PriceKey, Rate
from exporter.prices.names import provider_id, tier_name

TokenType = Literal[
    "input",
    "cache_read",
    "cache_write",
    "cache_write_1h",
    "output",
    "output_reasoning",
    "output_citation",
    "audio_input",
    "audio_cache_read",
    "audio_output",
    "image_input",
    "image_cache_read",
    "image_output",
    "video_input",
    "video_cache_read",
    "video_output",
]

_STRICT: Any = {"extra": "forbid", "alias_generator": lambda name: {"since": "from"}.get(name, name)}


class OverridesError(ValueError):
    """The override file is not valid: one line for each thing wrong, with its path, what was expected and found."""


class Amount(Money):
    """Money that is not negative."""

    @classmethod
    def parse(cls, value: object) -> "Amount":
        amount = super().parse(value)
        if amount < 0:
            raise ValueError(f"expected 0 or more, got {value!r}")
        return cls(amount)


@dataclass(frozen=True, slots=True)
class Band:
    """Prices of requests whose whole prompt is longer than `above_prompt_tokens`."""

    __pydantic_config__ = _STRICT

    above_prompt_tokens: int
    usd_per_mtok: Mapping[TokenType, Amount]


@dataclass(frozen=True, slots=True)
class Tier:
    """A service tier: a multiple of the entry's prices, or prices of its own."""

    __pydantic_config__ = _STRICT

    multiplier: Amount | None = None
    usd_per_mtok: Mapping[TokenType, Amount] | None = None
    bands: tuple[Band, ...] = ()

    def __post_init__(self) -> None:
        if (self.multiplier is None) == (self.usd_per_mtok is None):
            raise ValueError("expected exactly one of multiplier and usd_per_mtok")
        if self.multiplier is not None and self.bands:
            raise ValueError("expected no bands beside a multiplier, which applies to the bands of the entry")
        _check_ascending(self.bands)


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of the file: what `provider` charges for `model` in `[since, until)` (epoch seconds)."""

    __pydantic_config__ = _STRICT

    provider: str
    model: str
    usd_per_mtok: Mapping[TokenType, Amount]
    region: str = "*"
    since: Instant | None = None  # `from` in the file
    until: Instant | None = None
    source: str = ""
    bands: tuple[Band, ...] = ()
    service_tiers: Mapping[str, Tier] = field(default_factory=dict)
    usd_per_request: Amount = Amount("0")  # noqa: RUF009 - immutable

    def __post_init__(self) -> None:
        for name, pattern in (("provider", self.provider), ("model", self.model), ("region", self.region)):
            if not pattern or pattern.count("[") != pattern.count("]"):
                raise ValueError(f"expected {name} to be a glob like 'writer-*', got {pattern!r}")
        if self.since is not None and self.until is not None and self.until <= self.since:
            raise ValueError("expected until to be later than from")
        _check_ascending(self.bands)

    def matches(self, key: PriceKey) -> bool:
        """Whether the entry is about the key's endpoint; the provider may go by its own or the catalogue's name."""
        providers = (key.provider, provider_id(key.provider))
        return (
            any(_fits(name, self.provider) for name in providers)
            and _fits(key.model, self.model)
            and _fits(key.region, self.region)
        )

    def rate(self, key: PriceKey) -> Rate | None:
        """What the entry charges in the key's service tier, or None if it does not name that tier."""
        name = tier_name(key.service_tier)
        tier = next((tier for named, tier in self.service_tiers.items() if tier_name(named) == name), None)
        if name and tier is None:
            return None
        if tier and tier.usd_per_mtok is not None:
            return self._rate(tier.usd_per_mtok, tier.bands, Decimal(1))
        factor = tier.multiplier if tier and tier.multiplier is not None else Decimal(1)
        return self._rate(self.usd_per_mtok, self.bands, factor)

    def _rate(self, prices: Mapping[TokenType, Amount], bands: tuple[Band, ...], factor: Decimal) -> Rate:
        vectors = [(0, prices), *((band.above_prompt_tokens, band.usd_per_mtok) for band in bands)]
        return Rate(
            tuple((edge, _per_token(vector, factor)) for edge, vector in vectors),
            None if self.since is None else int(self.since),
            None if self.until is None else int(self.until),
            per_request=Decimal(self.usd_per_request) * factor,
            origin=f"override {self.source}",
        )

    def edges(self) -> set[int]:
        """The prompt lengths at which a price of the entry changes, in tokens."""
        tiers = (tier.bands for tier in self.service_tiers.values())
        return {band.above_prompt_tokens for bands in (self.bands, *tiers) for band in bands}


@dataclass(frozen=True, slots=True)
class PriceFile:
    __pydantic_config__ = _STRICT

    prices: tuple[Entry, ...]


def load(path: Path) -> tuple[Entry, ...]:
    """The entries of an override file in its order; one without a `source` gets its place in the file as its source.

    Raises OSError if the file cannot be read and OverridesError if it is not valid, with all its errors at once.
    """
    from pydantic import TypeAdapter, ValidationError

    try:
        entries = TypeAdapter(PriceFile).validate_python(_document(path)).prices
    except ValidationError as error:
        raise OverridesError("\n".join(f"{path}: {_line(detail)}" for detail in error.errors())) from None
    return tuple(
        replace(entry, source=entry.source or f"{path.name} prices[{number}]") for number, entry in enumerate(entries)
    )


def _document(path: Path) -> object:
    """The YAML document. A key given twice is an error: YAML would keep the last one, and a price would be lost."""
    import yaml

    class StrictLoader(yaml.SafeLoader):
        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
            seen: set[str] = set()
            for key, _ in node.value:
                if str(key.value) in seen:
                    raise yaml.MarkedYAMLError(problem=f"{key.value!r} is given twice", problem_mark=key.start_mark)
                seen.add(str(key.value))
            return super().construct_mapping(node, deep)

    try:
        return yaml.load(path.read_text(encoding="utf-8"), StrictLoader)
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        raise OverridesError(f"{path}{line}: not valid YAML: {error.problem}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise OverridesError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None


def _check_ascending(bands: tuple[Band, ...]) -> None:
    edges = [band.above_prompt_tokens for band in bands]
    if edges != sorted(set(edges)) or any(edge <= 0 for edge in edges):
        raise ValueError(f"expected ascending above_prompt_tokens, each above 0 and different, got {edges}")


def _fits(name: str, pattern: str) -> bool:
    return fnmatchcase(name.lower(), pattern.lower())


def _per_token(prices: Mapping[TokenType, Amount], factor: Decimal) -> dict[str, Decimal]:
    return {token_type: (Decimal(price) * factor).scaleb(-6) for token_type, price in prices.items()}


def _line(detail: Any) -> str:
    """One pydantic error as `prices[0].usd_per_mtok.input: expected money ..., got 0.6`."""
    steps = [step for step in detail["loc"] if step != "[key]"]
    path = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps).lstrip(".")
    return f"{path or 'the file'}: {_reason(detail)}"


def _reason(detail: Any) -> str:
    match detail["type"]:
        case "value_error":
            return str(detail["ctx"]["error"])
        case "unexpected_keyword_argument" | "extra_forbidden":
            return "unknown key"
        case "missing":
            return "missing"
        case "dataclass_type":
            return f"expected a mapping, got {detail['input']!r}"
        case "tuple_type":
            return f"expected a list, got {detail['input']!r}"
        case _:
            return f"expected {detail['msg'].removeprefix('Input should be ')}, got {detail['input']!r}"
