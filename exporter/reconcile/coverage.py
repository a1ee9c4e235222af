"""Which seconds of a workload are covered: every source that feeds it vouches for them, and their cost is known."""

from collections.abc import Iterable, Mapping

from collectors.records import HOUR, SLOT
from exporter.intervals import Intervals
from exporter.ledger.snapshot import Stream, StreamKey, UsageSeries

FOREVER = 1 << 40


def streams_of(series: Iterable[UsageSeries]) -> set[StreamKey]:
    return {one.key.source for one in series}


def first_slot(series: Iterable[UsageSeries]) -> int | None:
    """The start of the workload's first observed row (epoch seconds), None before any."""
    return min((one.starts[0] for one in series if one.starts), default=None)


def observed_by_all(
    sources: Iterable[StreamKey], streams: Mapping[StreamKey, Stream], finders: Mapping[str, str] | None = None
) -> Intervals:
    """The seconds in which every source that was asked vouches for its data.

    A source is asked from its first sight until it is retired: a replica that came later, or went for good, does not
    uncover the time in which it did not exist. Time in which no source was asked is vouched for by none, but for
    `finders` (by collector, the one that finds what it reads): where they looked and found nothing to ask, nothing was
    served.
    """
    sources = [*sources]
    asked_of_any, missing = Intervals(), Intervals()
    for source in sources:
        stream = streams.get(source)
        if stream is None:
            return Intervals()
        asked = Intervals.span(stream.first_seen, stream.retired_at or FOREVER) - stream.absent
        missing |= asked - stream.observed
        asked_of_any |= asked
    if finders:
        asked_of_any |= _nothing_there(sources, streams, finders)
    return asked_of_any - missing


def _nothing_there(
    sources: Iterable[StreamKey], streams: Mapping[StreamKey, Stream], finders: Mapping[str, str]
) -> Intervals:
    """When all finders of `sources` looked, from the first sight of anything that they found."""
    found = [(finders[source[0]], streams[source].first_seen) for source in sources if source[0] in finders]
    looked = Intervals([(min((first for _, first in found), default=FOREVER), FOREVER)])
    for finder in {finder for finder, _ in found}:
        own = streams.get((finder, ""))
        looked &= own.observed if own is not None else Intervals()
    return looked


def up(sources: Iterable[StreamKey], streams: Mapping[StreamKey, Stream]) -> Intervals:
    """The seconds in which at least one source of the workload was seen up."""
    seen = Intervals()
    for source in sources:
        if source in streams:
            seen |= streams[source].up
    return seen


def complete_through(sources: Iterable[StreamKey], streams: Mapping[StreamKey, Stream]) -> int | None:
    """The instant through which all sources that are still asked have delivered; None if one never did."""
    ends = []
    for source in sources:
        stream = streams.get(source)
        if stream is None or stream.observed.end is None:
            return None
        if stream.retired_at is None:
            ends.append(stream.observed.end)
    return min(ends, default=None)


def covered_slots(seconds: Intervals, fine_from: int) -> Intervals:
    """The whole slots inside `seconds`: 300 s, or hours before `fine_from`, as usage is kept."""
    return seconds.clip(0, fine_from).whole(HOUR) | seconds.clip(fine_from, FOREVER).whole(SLOT)
