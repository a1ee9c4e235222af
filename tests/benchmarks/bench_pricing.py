"""Pricing a million requests: ours (a band per request, then one price per sum) against a library call each.

What is timed is what the exporter does to price them: choosing each request's context band, as the log reader does,
and pricing the sums by model, slot and band (`exporter.reconcile.tokens.price_tokens`). Summing belongs to reading a
log and is timed there (bench_usage_log); with it, row by row, see `with_summing` in the result.

References, in the same run on a sample of the same requests: `litellm.cost_per_token`, in a virtual environment of its
own under .bench/ that the first run makes with pip (needs a package index), and `genai_prices.calc_price`, to which
our sum must be equal within 1e-9. Prints one line of JSON.
"""

import json
import os
import random
import subprocess
import sys
import venv
from bisect import bisect_left
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from time import perf_counter
from typing import Any

from genai_prices import Usage, calc_price

sys.path.insert(0, str(Path(__file__).parents[2]))

from exporter.intervals import Intervals
from exporter.ledger.snapshot import SeriesKey, UsageSeries
from exporter.prices.book import PriceBook, PriceKey
from exporter.prices.pricing import cost
from exporter.prices.resolve import band_edges, resolve
from exporter.reconcile.tokens import price_tokens

REQUESTS, SAMPLE, TARGET = 1_000_000, 20_000, 500
LITELLM = "1.106.2"
ENVIRONMENT = Path(__file__).parents[2] / f".bench/litellm-{LITELLM}"
START = int(datetime(2026, 11, 19, tzinfo=UTC).timestamp())
MODELS = [
    ("openai", "gpt-4o"),
    ("openai", "gpt-5.4"),
    ("anthropic", "claude-sonnet-4-5"),
    ("google", "gemini-2.5-pro"),
    ("deepseek", "deepseek-v4-pro"),
]
LITELLM_PROVIDER = {"google": "gemini"}
WHAT = (
    "seconds per request; ours: the context band of each request, then price_tokens over the sums by model, 5-minute"
    " slot and band; reference: litellm.cost_per_token per request, model map loaded"
)

Request = tuple[int, str, str, int, int, int]  # time, provider, model, input (uncached), cache_read, output


def requests(count: int) -> list[Request]:
    """One day of traffic with a long tail of prompts, some beyond every band's edge."""
    dice = random.Random(20261120)
    made = []
    for _ in range(count):
        prompt = min(int(dice.lognormvariate(7.5, 1.6)), 900_000)
        cached = int(prompt * dice.random() * 0.6) if dice.random() < 0.5 else 0
        output = int(dice.lognormvariate(5.3, 1))
        made.append((START + dice.randrange(86400), *dice.choice(MODELS), prompt - cached, cached, output))
    return made


def choose_bands(rows: Sequence[Request], edges: Sequence[int]) -> int:
    """What the log reader does per request for the price's sake; returns something, so that nothing is skipped."""
    lowest, above = edges[0], 0
    for _, _, _, fresh, cached, _ in rows:
        prompt = fresh + cached
        band = edges[bisect_left(edges, prompt) - 1] if prompt > lowest else 0
        if band:
            above += 1
    return above


def series_of(sums: Sequence[tuple[Any, ...]]) -> list[UsageSeries]:
    """The sums as the ledger shows them."""
    found: dict[SeriesKey, list[tuple[int, int, dict[str, int], int]]] = {}
    for slot, provider, model, band, fresh, cached, output, count in sorted(sums):
        tokens = {"input": fresh, "cache_read": cached, "output": output}
        key = SeriesKey("log", "", "api", provider, model, band=band)
        found.setdefault(key, []).append((slot, 300, tokens, count))
    return [UsageSeries(key, rows) for key, rows in found.items()]


def by_loop(rows: Sequence[Request], edges: Sequence[int]) -> list[tuple[Any, ...]]:
    """The same sums row by row, as a tailed log makes them."""
    first_edges, sums = (0, *edges), dict[tuple[int, str, str, int], list[int]]()
    for at, provider, model, fresh, cached, output in rows:
        key = (at - at % 300, provider, model, first_edges[bisect_left(edges, fresh + cached)])
        row = sums.get(key)
        if row is None:
            sums[key] = [fresh, cached, output, 1]
        else:
            row[0] += fresh
            row[1] += cached
            row[2] += output
            row[3] += 1
    return [(*key, *row) for key, row in sums.items()]


def priced(sums: Sequence[tuple[Any, ...]], book: PriceBook) -> Decimal:
    total = Decimal(0)
    for slot, provider, model, band, fresh, cached, output, count in sums:
        rate = book.rate(PriceKey(provider, model), slot)
        assert rate is not None
        one = cost(rate, {"input": fresh, "cache_read": cached, "output": output}, band, count)
        assert not one.unpriced
        total += one.usd
    return total


def timed(function: Callable[[], Any], repeat: int = 3) -> tuple[float, Any]:
    """The best of a few runs in seconds, and the result."""
    best, result = float("inf"), None
    for _ in range(repeat):
        begun = perf_counter()
        result = function()
        best = min(best, perf_counter() - begun)
    return best, result


def genai_total(rows: Sequence[Request]) -> Decimal:
    return sum(
        (
            calc_price(
                Usage(input_tokens=fresh + cached, cache_read_tokens=cached, output_tokens=output),
                model,
                provider_id=provider,
                genai_request_timestamp=datetime.fromtimestamp(at, UTC),
            ).total_price
            for at, provider, model, fresh, cached, output in rows
        ),
        Decimal(0),
    )


LITELLM_PROGRAM = """
import json, sys, time, litellm
rows = json.load(sys.stdin)
best = float("inf")
for _ in range(3):
    begun, total = time.perf_counter(), 0.0
    for model, provider, prompt, cached, output in rows:
        total += sum(litellm.cost_per_token(model=model, custom_llm_provider=provider, prompt_tokens=prompt,
                                            completion_tokens=output, cache_read_input_tokens=cached))
    best = min(best, time.perf_counter() - begun)
print(json.dumps([best, total]))
"""


def litellm_total(rows: Sequence[Request]) -> tuple[float, float]:
    """Seconds for all rows (the best of three), and its USD."""
    python = ENVIRONMENT / "bin/python"
    if not python.exists():
        venv.create(ENVIRONMENT, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "-qq", f"litellm=={LITELLM}"], check=True)
    calls = [(m, LITELLM_PROVIDER.get(p, p), fresh + cached, cached, out) for _, p, m, fresh, cached, out in rows]
    done = subprocess.run(
        [python, "-c", LITELLM_PROGRAM],
        input=json.dumps(calls),
        env={**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True"},
        capture_output=True,
        text=True,
        check=True,
    )
    seconds, usd = json.loads(done.stdout.splitlines()[-1])
    return seconds, usd


def main() -> None:
    edges = band_edges()
    book = PriceBook(resolve([PriceKey(*model) for model in MODELS]))
    rows = requests(REQUESTS)
    sample = rows[:SAMPLE]
    loop, sums = timed(lambda: by_loop(rows, edges), repeat=1)
    series, day = series_of(sums), Intervals([(START, START + 86400)])
    banding, _ = timed(lambda: choose_bands(rows, edges))
    pricing, found = timed(lambda: price_tokens(series, day, book))
    ours, with_summing = banding + pricing, loop + pricing
    genai, genai_usd = timed(lambda: genai_total(sample), repeat=1)
    difference = abs(priced(by_loop(sample, edges), book) - genai_usd) / genai_usd
    litellm, litellm_usd = litellm_total(sample)
    figure, reference = ours / REQUESTS, litellm / SAMPLE
    result = {
        "name": "pricing",
        "measured": WHAT,
        "figure": figure,
        "reference": reference,
        "ratio": round(reference / figure, 1),
        "target": TARGET,
        "ok": reference / figure >= TARGET and found.usd == priced(sums, book) and difference <= Decimal("1e-9"),
        "requests": REQUESTS,
        "priced_sums": len(sums),
        "with_summing_seconds_per_request": with_summing / REQUESTS,
        "ratio_with_summing": round(reference / (with_summing / REQUESTS), 1),
        "genai_prices_seconds_per_request": genai / SAMPLE,
        "ratio_to_genai_prices": round(genai / SAMPLE / figure, 1),
        "relative_difference_to_genai_prices": float(difference),
        "sample_usd": {"ours": float(genai_usd), "litellm": litellm_usd},
    }
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
