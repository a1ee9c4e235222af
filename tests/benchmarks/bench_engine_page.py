"""Engine page parsing against prometheus_client, over the recorded pages of real vLLM servers. MB = 10^6 bytes.

Both get bytes in memory and end with the values of the samples the vLLM collector reads.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

from prometheus_client.parser import text_string_to_metric_families

sys.path.insert(0, str(Path(__file__).parents[2]))

from collectors.engines.page import scan
from collectors.engines.vllm_page import NAMES
from tests.collectors.engines.recorded import pages

TARGET = 200.0  # MB/s


def ours(page: bytes) -> int:
    return len(scan(page, NAMES))


def reference(page: bytes) -> int:
    wanted = {
        name if name == "process_start_time_seconds" else f"vllm:{name}" for name in map(bytes.decode, NAMES.meaning)
    }
    families = text_string_to_metric_families(page.decode())
    return sum(sample.name in wanted for family in families for sample in family.samples)


def megabytes_per_second(read: Callable[[bytes], int], bodies: list[bytes], rounds: int) -> float:
    """The best of `rounds` passes over all pages: what the code takes, not what else the machine does."""
    best = float("inf")
    for _ in range(rounds):
        begin = perf_counter()
        for body in bodies:
            read(body)
        best = min(best, perf_counter() - begin)
    return sum(map(len, bodies)) / best / 1e6


def main() -> int:
    bodies = [body for name, body in pages().items() if "vllm" in name and b"vllm:prompt_tokens_total{" in body]
    assert all(ours(body) == reference(body) for body in bodies)
    figure = megabytes_per_second(ours, bodies, 15)
    compared = megabytes_per_second(reference, bodies, 2)
    print(
        json.dumps(
            {
                "name": "engine_page",
                "unit": "MB/s",
                "figure": round(figure, 1),
                "reference": round(compared, 2),
                "ratio": round(figure / compared, 1),
                "target": TARGET,
                "ok": figure >= TARGET,
            }
        )
    )
    return 0 if figure >= TARGET else 1


if __name__ == "__main__":
    sys.exit(main())
