"""Engines that another collector finds: which pages there are now, and what the usage read there is labelled with."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
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

PATIENCE = 300
"""Seconds that collectors which come first get to find out what there is. What both would find is theirs; without this
a restart could count an engine anew. After that the others' engines wait no longer."""

log = logging.getLogger("collectors.engines.discovered")

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
    """The pages that collector `name` has posted on `board`, in the order of its posting; without those that others
    than `reader` read, which has joined the board.

    `labels` are added to those of each engine and go before them; `phase` as well, else an engine's llm-d role says it.
    `connect` makes the connections to so many targets.
    """

    def __init__(
        self,
        name: str,
        reader: str,
        board: Board,
        labels: Mapping[str, str],
        phase: Phase,
        connect: Callable[[Sequence[Target]], Fetcher],
    ) -> None:
        self._name, self._reader, self._board = name, reader, board
        self._labels, self._phase, self._connect = dict(labels), phase, connect
        self._fetcher = connect(())
        self._hosts: frozenset[str] = frozenset()
        self._taken: Mapping[str, str] = {}
        self._waits_from: int | None = None
        self._swept_at = 0
        self.pages: tuple[Page, ...] | None = None
        """What was found at the last look; None before the other collector has looked itself."""

    @property
    def streams(self) -> frozenset[str] | None:
        return None if self.pages is None else frozenset(page.target.shown for page in self.pages)

    def look(self, now: int) -> str:
        """See what there is at `now`; why not, if that is not known yet. No page may be under way."""
        found = self._board.targets(self._name)
        if found is None:
            return f"collector {self._name!r} has not found out yet what there is"
        before = self._board.before(self._reader)
        late = sorted({name for name in before.values() if self._board.targets(name) is None})
        if late and self.pages is None and self._waits(now):
            return f"collector {late[0]!r} has not found out yet what there is: what both find is not read here"
        targets = [(replace(Target.parse(each.url), shown=each.name), dict(each.labels)) for each in found]
        theirs = {
            Target.parse(each.url).url: reader
            for reader, finder in before.items()
            for each in self._board.targets(finder) or ()
        }
        taken = self._board.claim(self._reader, [target.url for target, _ in targets], theirs)
        self._say({target.shown: taken[target.url] for target, _ in targets if target.url in taken})
        targets = [(target, told) for target, told in targets if target.url not in taken]
        hosts = frozenset(target.url for target, _ in targets)
        if hosts != self._hosts:  # a pool of connections has room for as many hosts as there are
            self._fetcher.close()
            self._fetcher, self._hosts = self._connect([target for target, _ in targets]), hosts
        self.pages = tuple(self._page(target, told) for target, told in targets)
        return ""

    def _waits(self, now: int) -> bool:
        if self._waits_from is None:
            self._waits_from = now
        return now - self._waits_from < PATIENCE

    def _say(self, taken: Mapping[str, str]) -> None:
        """Log, once, which engines are left to whom."""
        for name, reader in taken.items():
            if self._taken.get(name) != reader and reader != self._reader:
                log.warning("%s: engine %s is read by collector %s, and not here too", self._reader, name, reader)
        self._taken = taken

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
