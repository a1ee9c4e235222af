"""Sets of seconds as sorted, disjoint, half-open spans. Pure; every operation is linear in the number of spans."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator

Span = tuple[int, int]


class Intervals:
    """An immutable set of instants `[start, end)` in epoch seconds. Touching spans are merged, empty ones dropped."""

    __slots__ = ("spans",)

    def __init__(self, spans: Iterable[Span] = ()) -> None:
        merged: list[Span] = []
        for start, end in sorted(span for span in spans if span[0] < span[1]):
            if merged and start <= merged[-1][1]:
                merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
            else:
                merged.append((start, end))
        self.spans: tuple[Span, ...] = tuple(merged)

    @classmethod
    def span(cls, start: int, end: int) -> "Intervals":
        """`[start, end)`; empty if it does not end after it starts."""
        made = cls.__new__(cls)
        made.spans = ((start, end),) if start < end else ()
        return made

    def __iter__(self) -> Iterator[Span]:
        return iter(self.spans)

    def __bool__(self) -> bool:
        return bool(self.spans)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Intervals) and self.spans == other.spans

    def __hash__(self) -> int:
        return hash(self.spans)

    def __repr__(self) -> str:
        return f"Intervals({list(self.spans)})"

    def __contains__(self, at: int) -> bool:
        i = bisect_right(self.spans, (at, 1 << 62)) - 1
        return i >= 0 and self.spans[i][0] <= at < self.spans[i][1]

    @property
    def seconds(self) -> int:
        total = 0
        for start, end in self.spans:
            total += end - start
        return total

    @property
    def end(self) -> int | None:
        """The first instant after the last span; None for the empty set."""
        return self.spans[-1][1] if self.spans else None

    def clip(self, start: int, end: int) -> "Intervals":
        """The part inside `[start, end)`."""
        if not self.spans or (start <= self.spans[0][0] and self.spans[-1][1] <= end):
            return self
        if len(self.spans) == 1:
            return Intervals.span(max(start, self.spans[0][0]), min(end, self.spans[0][1]))
        first = max(0, bisect_right(self.spans, (start, 1 << 62)) - 1)
        clipped: list[Span] = []
        for a, b in self.spans[first:]:
            if a >= end:
                break
            if b > start < end:
                clipped.append((max(a, start), min(b, end)))
        return _normal(clipped)

    def overlap(self, other: "Intervals") -> int:
        """The seconds that lie in both."""
        if len(self.spans) != 1 or len(other.spans) != 1:
            return (self & other).seconds
        ((start, end),), ((since, until),) = self.spans, other.spans
        return max(0, (end if end < until else until) - (start if start > since else since))

    def __or__(self, other: "Intervals") -> "Intervals":
        if not self.spans or not other.spans:
            return self if self.spans else other
        return Intervals((*self.spans, *other.spans))

    def __and__(self, other: "Intervals") -> "Intervals":
        out: list[Span] = []
        i = j = 0
        while i < len(self.spans) and j < len(other.spans):
            start = max(self.spans[i][0], other.spans[j][0])
            end = min(self.spans[i][1], other.spans[j][1])
            if start < end:
                out.append((start, end))
            if self.spans[i][1] < other.spans[j][1]:
                i += 1
            else:
                j += 1
        return _normal(out)

    def __sub__(self, other: "Intervals") -> "Intervals":
        out: list[Span] = []
        j = 0
        for start, end in self.spans:
            while j < len(other.spans) and other.spans[j][1] <= start:
                j += 1
            k, at = j, start
            while k < len(other.spans) and other.spans[k][0] < end:
                if other.spans[k][0] > at:
                    out.append((at, other.spans[k][0]))
                at = max(at, other.spans[k][1])
                k += 1
            if at < end:
                out.append((at, end))
        return _normal(out)

    def whole(self, step: int) -> "Intervals":
        """The multiples of `step` that lie wholly inside: partial slots fall away."""
        rounded = [(-(-start // step) * step, end // step * step) for start, end in self.spans]
        return _normal([span for span in rounded if span[0] < span[1]])


def _normal(spans: Iterable[Span]) -> Intervals:
    """The set of spans that are in order, neither empty nor touching: parts of such spans are, too."""
    made = Intervals.__new__(Intervals)
    made.spans = tuple(spans)
    return made
