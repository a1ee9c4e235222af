"""Slots of the UTC day, and how a quantity observed over a span is laid onto them. Pure."""

from collections.abc import Iterator

from collectors.records import SLOT, Window


def slot_of(at: int) -> int:
    """The start of the slot that contains the instant `at` (epoch seconds)."""
    return at - at % SLOT


def slots_in(window: Window) -> Iterator[Window]:
    """The pieces of `window` that fall into each slot, in order. An empty window yields itself once."""
    if window.seconds == 0:
        yield window
        return
    start = window.start
    while start < window.end:
        end = min(window.end, slot_of(start) + SLOT)
        yield Window(start, end)
        start = end


def spread(amount: int, window: Window) -> Iterator[tuple[int, int]]:
    """Lay a whole `amount` observed over `window` evenly by time onto slots: pairs (slot, part), parts sum to `amount`.

    The cumulative share is rounded down at each slot edge, so no unit is lost or made, and the last slot takes the
    remainder. A delta that bridges an outage is spread the same way.
    """
    done = 0
    for piece in slots_in(window):
        due = amount if piece.end == window.end else amount * (piece.end - window.start) // window.seconds
        yield slot_of(piece.start), due - done
        done = due
