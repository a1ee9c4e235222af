"""What an engine did over a span, laid onto the ledger's slots evenly by time. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

from collectors.records import EngineLoad, Labels, Usage, Window
from collectors.slots import slot_of, slots_in, spread


def usage_rows(
    window: Window, tokens: Mapping[str, int], requests: int, *, provider: str, model: str, labels: Labels
) -> Iterator[Usage]:
    """`tokens` and `requests` served in `window`: one row per slot, types at 0 included; the rows' sums are exact."""
    columns = {kind: spread(amount, window) for kind, amount in tokens.items()}
    for slot, part in spread(requests, window):
        row = {kind: next(column)[1] for kind, column in columns.items()}
        yield Usage(slot, "self_hosted", provider, model, row, part, labels=labels)


def load_rows(window: Window, whole: EngineLoad) -> Iterator[EngineLoad]:
    """`whole` (its `slot` aside) happened in `window`: one row per slot, the levels in the last one."""
    saturated = spread(whole.saturated_tokens, window)
    for piece in slots_in(window):
        share = piece.seconds / window.seconds if window.seconds else 1.0
        row = replace(
            whole,
            slot=slot_of(piece.start),
            seconds=piece.seconds if whole.seconds else 0,
            saturated_seconds=piece.seconds if whole.saturated_seconds else 0,
            saturated_tokens=next(saturated)[1],
            prefill_seconds=_share(whole.prefill_seconds, share),
            decode_seconds=_share(whole.decode_seconds, share),
        )
        yield row if piece.end == window.end else replace(row, running=None, waiting=None, kv_cache_usage=None)


def _share(amount: float | None, share: float) -> float | None:
    return None if amount is None else amount * share
