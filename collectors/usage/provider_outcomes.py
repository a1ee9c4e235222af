"""What a read brings, with each reason for a failure said once. Pure."""

from collections.abc import Iterable, Iterator

from collectors.records import Batch, Failure


def told_once(outcomes: Iterable[Batch | Failure]) -> Iterator[Batch | Failure]:
    """The batches as they come, then the failures: those of one reason as one, in the name of the first part."""
    failed: dict[str, list[str]] = {}
    for outcome in outcomes:
        if isinstance(outcome, Failure):
            failed.setdefault(outcome.reason, []).append(outcome.part)
        else:
            yield outcome
    for reason, parts in failed.items():
        others = f" (and {len(parts) - 1} more parts of this read, the last {parts[-1]})" if len(parts) > 1 else ""
        yield Failure(parts[0], f"{reason}{others}")
