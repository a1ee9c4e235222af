"""Publishing each tick: the second and last place that forgives (`exporter.runner` is the first).

A tick that fails (a ledger that cannot be read any more, an error of our own) must not freeze the page silently: the
last report is shown again with fresh health. When it keeps failing, `/-/healthy` says so and the orchestrator starts
the process again, which checks the ledger and sets a damaged one aside.
"""

import logging
from collections.abc import Callable

from exporter.publish.page import Page
from exporter.publish.state import PublishState
from exporter.publish.web import Publication

log = logging.getLogger("exporter.publishing")

UNHEALTHY_AFTER = 5
"""Failing ticks in a row."""


class Publisher:
    """One publish tick per call. The publication holds what was shown before the first one."""

    def __init__(
        self,
        tick: Callable[[], PublishState],
        page: Callable[[PublishState], Page],
        degraded: Callable[[PublishState], PublishState],
        publication: Publication,
    ) -> None:
        """`degraded` makes of the last state what can be shown when `tick` fails."""
        self._tick, self._page, self._degraded, self._publication = tick, page, degraded, publication
        self._failures, self._reason, self._stopped = 0, "", False

    def stop(self) -> None:
        """Publish no more. A tick that is under way may find the ledger closed, and fails quietly."""
        self._stopped = True

    def __call__(self) -> None:
        if self._stopped:
            return
        try:
            state = self._tick()
            self._publication.publish(self._page(state), state)
        except Exception as error:  # noqa: BLE001  # whatever it is, the page goes on and the health check tells
            if not self._stopped:
                self._failed(error)
        else:
            if self._failures:
                log.info("publishing works again")
            self._failures, self._reason, self._publication.unhealthy = 0, "", ""

    def _failed(self, error: Exception) -> None:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        if reason != self._reason:
            log.error("the page could not be brought up to date, the last report is shown: %s", reason, exc_info=error)
        self._failures, self._reason = self._failures + 1, reason
        if self._failures >= UNHEALTHY_AFTER:
            self._publication.unhealthy = f"{self._failures} ticks in a row failed, restart: {reason}"
        last = self._publication.state
        if last is not None:
            state = self._degraded(last)
            self._publication.publish(self._page(state), state)
