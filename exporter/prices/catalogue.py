"""genai-prices behind one adapter: a model's prices as dated, banded `Rate`s. Runs aside: see `exporter.aside`.

Every rate is read off the library's own `ModelInfo.get_prices` at an instant inside the span it is valid for, so this
book and `genai_prices.calc_price` agree by construction. Three things differ on purpose: a token type without a price
of its own has none here (the library charges cached tokens at the input price), a service tier without a price of its
own has none (the library charges the standard price), and what is not billed by token or request is left out.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from itertools import pairwise

from genai_prices import __version__
from genai_prices.data_snapshot import get_snapshot
from genai_prices.types import ModelInfo, ModelPrice, Provider, StartDateConstraint, TieredPrices, TimeOfDateConstraint

from exporter.prices.book import Rate
from exporter.prices.names import provider_id, references, tier_name

# Price key of genai-prices (USD per million tokens) -> token type. `output` includes reasoning, so a source that
# counts reasoning tokens apart must take them out of `output` to have them priced at a rate of their own.
TOKEN_TYPES = {
    "input_mtok": "input",
    "cache_read_mtok": "cache_read",
    "cache_write_mtok": "cache_write",
    "cache_write_1h_mtok": "cache_write_1h",
    "output_mtok": "output",
    "output_reasoning_mtok": "output_reasoning",
    "output_citation_mtok": "output_citation",
    "input_audio_mtok": "audio_input",
    "cache_audio_read_mtok": "audio_cache_read",
    "output_audio_mtok": "audio_output",
    "input_image_mtok": "image_input",
    "cache_image_read_mtok": "image_cache_read",
    "output_image_mtok": "image_output",
    "input_video_mtok": "video_input",
    "cache_video_read_mtok": "video_cache_read",
    "output_video_mtok": "video_output",
}

Bands = tuple[tuple[int, Mapping[str, Decimal]], ...]
Constraint = StartDateConstraint | TimeOfDateConstraint | None


@dataclass(frozen=True, slots=True)
class Match:
    """The catalogue's model behind a name. `provider` is who was asked for; some resell another provider's models."""

    provider: Provider
    model: ModelInfo

    @property
    def own(self) -> bool:
        return any(model is self.model for model in self.provider.models)

    @property
    def origin(self) -> str:
        return f"genai-prices {__version__} {self.provider.id}/{self.model.id}"


def find(provider: str, model: str) -> Match | None:
    """The catalogue's model for names as a source writes them, or None."""
    snapshot = get_snapshot()
    providers = {provider_id(known.id): known for known in snapshot.providers}
    for owner, reference in references(provider, model):
        known = providers.get(owner)
        found = known and known.find_model(reference, all_providers=snapshot.providers)
        if known and found:
            return Match(known, found)
    return None


def rates(match: Match, service_tier: str = "") -> tuple[Rate, ...]:
    """Every rate of the model in that service tier, newest first; () where the tier has no price."""
    tier = tier_name(service_tier)
    context = dict.fromkeys(("processing", "service_tier", "speed"), tier) if tier else {}
    spans: list[tuple[int | None, int | None, list[tuple[tuple[int, int] | None, _Vector]]]] = []
    for start, end in _spans(match.model):
        pieces = list(_day_pieces(match, context, start, end))
        if spans and spans[-1][2] == pieces:
            spans[-1] = (spans[-1][0], end, pieces)
        else:
            spans.append((start, end, pieces))
    return tuple(
        Rate(vector.bands, start, end, day, vector.per_request, match.origin)
        for start, end, pieces in reversed(spans)
        for day, vector in pieces
        if vector.per_request or any(prices for _, prices in vector.bands)
    )


@dataclass(frozen=True, slots=True)
class _Vector:
    bands: Bands = ()
    per_request: Decimal = Decimal(0)


def models(owner: str) -> Sequence[ModelInfo]:
    """The models of the provider with that id; () for an unknown one."""
    return next((known.models for known in get_snapshot().providers if provider_id(known.id) == owner), ())


def everything() -> Iterator[tuple[str, ModelInfo]]:
    """Every model of the catalogue with its provider's id."""
    for provider in get_snapshot().providers:
        for model in provider.models:
            yield provider.id, model


def edges() -> set[int]:
    """Every prompt length at which any price of the catalogue changes (tokens, exclusive lower edge)."""
    found: set[int] = set()
    for _, model in everything():
        for prices in _all_prices(model):
            for price in vars(prices).values():
                if isinstance(price, TieredPrices):
                    found.update(tier.start for tier in price.tiers)
    return found - {0}


def newest_price(now: int) -> int:
    """The newest price date of the catalogue that is not in the future: its age is at most that (epoch seconds)."""
    dates = (at for _, model in everything() for at in _start_dates(model))
    return max((at for at in dates if at <= now), default=0)


def _all_prices(model: ModelInfo) -> Iterator[ModelPrice]:
    if isinstance(model.prices, ModelPrice):
        yield model.prices
    else:
        yield from (conditional.prices for conditional in model.prices)
    yield from (variant.prices for variant in model.price_variants or ())


def _constraints(model: ModelInfo) -> Iterator[Constraint]:
    if not isinstance(model.prices, ModelPrice):
        yield from (conditional.constraint for conditional in model.prices)
    yield from (variant.constraint for variant in model.price_variants or ())


def _start_dates(model: ModelInfo) -> set[int]:
    return {
        int(datetime.combine(constraint.start_date, time(), UTC).timestamp())
        for constraint in _constraints(model)
        if isinstance(constraint, StartDateConstraint)
    }


def _spans(model: ModelInfo) -> list[tuple[int | None, int | None]]:
    """The spans `[start, end)` between the dates at which a price of the model may change, ascending."""
    return list(pairwise([None, *sorted(_start_dates(model)), None]))


def _day_pieces(
    match: Match, context: Mapping[str, str], start: int | None, end: int | None
) -> Iterator[tuple[tuple[int, int] | None, _Vector]]:
    """The price vectors within the UTC day, each with the seconds `[from, until)` it holds for (None: all day)."""
    if start is not None:
        midnight = datetime.fromtimestamp(start, UTC)
    else:
        midnight = datetime.fromtimestamp(end or 0, UTC) - timedelta(days=1 if end else 0)
    cuts = sorted(_seconds_of_day(match.model))
    vectors = [_vector(match, context, midnight + timedelta(seconds=cut)) for cut in cuts or [0]]
    # A cut stays only where the price differs from the piece before it (the first one follows the last, over midnight).
    kept = [
        (cut, vector) for i, (cut, vector) in enumerate(zip(cuts, vectors, strict=False)) if vector != vectors[i - 1]
    ]
    if not kept:
        yield None, vectors[0]
    for i, (cut, vector) in enumerate(kept):
        yield (cut, kept[(i + 1) % len(kept)][0]), vector


def _seconds_of_day(model: ModelInfo) -> set[int]:
    found: set[int] = set()
    for constraint in _constraints(model):
        if isinstance(constraint, TimeOfDateConstraint):
            found.update(_utc_second(at) for at in (constraint.start_time, constraint.end_time))
    return found


def _utc_second(at: time) -> int:
    moment = datetime.combine(datetime(2000, 1, 1), at if at.tzinfo else at.replace(tzinfo=UTC))
    return int(moment.timestamp()) % 86400


def _vector(match: Match, context: Mapping[str, str], at: datetime) -> _Vector:
    """The prices in force at `at`; none at all where the context (a service tier) has no price then."""
    if context and not (match.own and _has_variant(match.model, context, at)):
        return _Vector()
    prices = match.model.get_prices(at, context or None)
    per_request = getattr(prices, "requests_kcount", None)
    return _Vector(_bands(prices), per_request / 1000 if isinstance(per_request, Decimal) else Decimal(0))


def _has_variant(model: ModelInfo, context: Mapping[str, str], at: datetime) -> bool:
    return any(
        (variant.constraint is None or variant.constraint.active(at))
        and all(context.get(key) == value for key, value in variant.when.items())
        for variant in model.price_variants or ()
    )


def _bands(prices: ModelPrice) -> Bands:
    """Tiers as bands: a tier applies to the whole request when the prompt is strictly longer than its start."""
    bands: dict[int, dict[str, Decimal]] = {0: {}}
    for key, token_type in TOKEN_TYPES.items():
        price = getattr(prices, key)
        if isinstance(price, TieredPrices):
            bands[0][token_type] = _per_token(price.base)
            for tier in price.tiers:
                bands.setdefault(tier.start, {})[token_type] = _per_token(tier.price)
        elif price is not None:
            bands[0][token_type] = _per_token(price)
    return tuple(sorted(bands.items()))


def _per_token(per_mtok: Decimal) -> Decimal:
    return per_mtok.scaleb(-6)
