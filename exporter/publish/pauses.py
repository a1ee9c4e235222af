"""Keeps the interpreter from holding up a scrape while other threads compute (measured by bench_scrape).

Two things stop all threads of a Python process: the interpreter lock, handed over after the switch interval, and full
garbage collections, which walk every live object (with 10,000 series some 15 ms, with a large ledger far more).
"""

import gc
import sys

SWITCH_INTERVAL = 0.0002  # seconds; at the default of 0.005 one scrape waited up to 32 ms for several hand-overs


def keep_pauses_short() -> None:
    """Call once, at start. From then on the caller runs `gc.collect()` now and then (every ten minutes is plenty): only
    garbage in cycles that outlived the youngest generation waits for it, all else is freed at once as ever. What a tick
    makes is mostly kept: walking it a second time was a tenth of the tick."""
    sys.setswitchinterval(SWITCH_INTERVAL)
    young, _, _ = gc.get_threshold()
    gc.set_threshold(young, 1_000_000, 1_000_000)
