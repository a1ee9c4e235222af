"""Edits of the rate cards, from the config through the ledger: every second of rent is reserved once."""

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from collectors import Context
from collectors.billing.rate_card import Rate, RateCard, RateCardSettings, cards
from collectors.records import HOUR, Batch
from collectors.settings import Instant, Money
from exporter.ledger.store import Ledger
from exporter.reconcile.build import running_on

T0 = 1_790_000_000 // HOUR * HOUR
CHAT = Rate("chat", gpu="h100", count=Money("2"), usd_per_hour=Money("1"))
SINCE = replace(CHAT, from_=Instant(T0 - 10 * HOUR))
OTHER = Rate("other", usd_per_hour=Money("1"))
FOUR = replace(CHAT, count=Money("4"))

Lives = Sequence[tuple[Rate | None, Sequence[int]]]
CASES: dict[str, tuple[Lives, int]] = {
    "an outage": ([(CHAT, (0, 1)), (CHAT, (5, 6))], 12),
    "more GPUs after an outage": ([(CHAT, (0, 1)), (FOUR, (5, 6))], 2 * 5 + 4),
    "taken out and put back": ([(CHAT, (0, 1)), (None, (2, 3)), (CHAT, (5, 6))], 2 * 2),
    "put back with more GPUs": ([(CHAT, (0, 1)), (None, (2, 3)), (FOUR, (5, 6))], 2 + 4),
    "put back with its start": ([(SINCE, (0, 1)), (None, (2, 3)), (SINCE, (5, 6))], 2 * 16),
    "the GPU named otherwise": ([(CHAT, (0, 1)), (replace(CHAT, gpu="h100-80gb"), (5, 6))], 12),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("looking_before", [False, True], ids=["collected", "put back, not yet collected"])
def test_gpu_hours_after_edits(case: str, looking_before: bool, tmp_path: Path) -> None:
    lives, expected = CASES[case]
    ledger = Ledger(tmp_path / "ledger.db", T0)
    for rate, hours in lives:
        settings = RateCardSettings("gpus", "rate_card", (OTHER, *([rate] if rate else [])))
        collector = RateCard(settings, Context(first_start=T0))
        if looking_before and rate in (CHAT, SINCE):  # a page rendered before the first collect: no more than is due
            assert gpu_hours(ledger, settings, hours[0]) <= expected
        for hour in hours:
            for batch in collector.collect(T0 + hour * HOUR, ledger.cursors("gpus")):
                assert isinstance(batch, Batch)
                ledger.commit("gpus", batch, T0)
    assert gpu_hours(ledger, settings, lives[-1][1][-1]) == expected
    ledger.close()


def gpu_hours(ledger: Ledger, settings: RateCardSettings, hour: int) -> Decimal:
    running = running_on(ledger.snapshot().reservations, cards(settings), T0 + hour * HOUR)
    seconds = sum((one.count * one.window.seconds for one in running if one.workload == "chat"), Decimal(0))
    return seconds / HOUR
