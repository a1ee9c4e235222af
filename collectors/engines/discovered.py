"""Engines that another collector finds: which pages there are now, and what the usage read there is labelled with."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from collectors import Board
from collectors.engines.counters import State
from collectors.engines.fetch import Fetcher, Target
from collectors.engines.vllm_page import Phase
from collectors.records import DAY, HOUR, Batch, Labels

FORGET_AFTER = 7 * DAY
"""Seconds after the last word of an engine that is no longer found until its position is dropped. Pods get new names
all the time; one that came back later than this, its process never restarted, would be counted from zero again."""

_ROLE = "llm-d.ai/role"
_PHASES: Mapping[str, Phase] = {"prefill": "prefill", "decode": "decode"}


class Page(NamedTuple):
    """A page to read: its `target`, the connection to it, the labels of what it says, and what its engine does (see
    `VllmSettings`)."""

    target: Target
    fetcher: Fetcher
    labels: Labels
    phase: Phase


class Discovered:
    """The pages that collector `name` has posted on `board`, in the order of its posting.

    `labels` are added to those of each engine and go before them; `phase` as well, else an engine's llm-d role says it.
    `taken` are addresses that are read anyway. `connect` makes the connections to so many targets.
    """

    def __init__(
        self,
        name: str,
        board: Board,
        labels: Mapping[str, str],
        phase: Phase,
        taken: Iterable[str],
        connect: Callable[[Sequence[Target]], Fetcher],
    ) -> None:
        self._name, self._board, self._labels, self._phase = name, board, dict(labels), phase
        self._taken, self._connect = frozenset(taken), connect
        self._fetcher = connect(())
        self._hosts: frozenset[str] = frozenset()
        self._swept_at = 0
        self.pages: tuple[Page, ...] | None = None
        """What was found at the last look; None before the other collector has looked itself."""

    @property
    def streams(self) -> frozenset[str] | None:
        return None if self.pages is None else frozenset(page.target.shown for page in self.pages)

    def look(self) -> bool:
        """See what there is now; False while the other collector has not looked. No page may be under way."""
        found = self._board.targets(self._name)
        if found is None:
            return False
        targets = [(replace(Target.parse(each.url), shown=each.name), dict(each.labels)) for each in found]
        targets = [(target, told) for target, told in targets if target.url not in self._taken]
        hosts = frozenset(target.url for target, _ in targets)
        if hosts != self._hosts:  # a pool of connections has room for as many hosts as there are
            self._fetcher.close()
            self._fetcher, self._hosts = self._connect([target for target, _ in targets]), hosts
        self.pages = tuple(self._page(target, told) for target, told in targets)
        return True

    def _page(self, target: Target, told: Mapping[str, str]) -> Page:
        phase = self._phase or _PHASES.get(told.get(_ROLE, ""), "")
        return Page(target, self._fetcher, tuple(sorted({**told, **self._labels}.items())), phase)

    def forget(self, cursors: Mapping[str, str], now: int) -> Iterator[Batch]:
        """Drop the positions of engines that went long ago; looked at once an hour."""
        if self.streams is None or now - self._swept_at < HOUR:
            return
        self._swept_at = now
        for part in sorted(cursors.keys() - self.streams):
            if "://" not in part and _last_word(cursors[part], now) < now - FORGET_AFTER:
                yield Batch(part, cursor="", stream=part)

    def close(self) -> None:
        self._fetcher.close()


def _last_word(cursor: str, now: int) -> int:
    """When anything was last noted of the engine behind a position; `now` for one that cannot be read."""
    try:
        state = State.loads(cursor)
    except ValueError:
        return now
    return max((at for at in (state.at, state.down, state.failed) if at is not None), default=now)
