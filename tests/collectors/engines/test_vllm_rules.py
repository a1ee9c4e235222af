"""First sight, restarts, gaps and bad upstreams: what is counted, and what is vouched for."""

import pickle
import socket
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from collectors import Context, build, collector_class
from collectors.engines.fetch import Target
from collectors.engines.vllm import Vllm
from collectors.records import Batch, Failure, Window
from collectors.settings import Duration
from tests.collectors.engines.ledger import Ledger, batches, scraping
from tests.collectors.engines.recorded import page
from tests.collectors.engines.serving import Behaviour, Upstream, answer, raw

T = 1_795_204_200  # a slot's edge


def text(
    prompt: int = 0, cached: int = 0, out: int = 0, *, start: float | None = T - 1000, model: str = "m", more: str = ""
) -> bytes:
    """A page in the names of vLLM 0.32."""
    by_source = {"local_compute": prompt - cached, "local_cache_hit": cached, "external_kv_transfer": 0}
    lines = [f'vllm:prompt_tokens_total{{engine="0",model_name="{model}"}} {prompt}.0']
    lines += [
        f'vllm:prompt_tokens_by_source_total{{engine="0",model_name="{model}",source="{source}"}} {n}.0'
        for source, n in by_source.items()
    ]
    lines += [f'vllm:generation_tokens_total{{engine="0",model_name="{model}"}} {out}.0', more]
    lines += [] if start is None else [f"process_start_time_seconds {start!r}"]
    return "".join(f"{line}\n" for line in lines if line).encode()


def old(prompt: int, hits: int, out: int) -> bytes:
    """A page in the names of vLLM 0.11: hits are counted when a request is scheduled, its prompt at the first token."""
    return (
        f'vllm:prompt_tokens_total{{model_name="m"}} {prompt}\nvllm:prefix_cache_hits_total{{model_name="m"}} {hits}\n'
        f'vllm:generation_tokens_total{{model_name="m"}} {out}\nprocess_start_time_seconds {T - 1000}\n'
    ).encode()


Step = tuple[int, bytes | Behaviour | None]


def run(*steps: Step, first_start: int = T, **settings: Any) -> Ledger:
    """Scrape at each (seconds after T, page or behaviour; None: nobody listens)."""
    with scraping(first_start=first_start, **settings) as (collector, upstream, ledger):
        for at, said in steps:
            if said is None:
                with Refusing(collector):
                    ledger.collect(collector, T + at)
            else:
                upstream.behave = answer(said) if isinstance(said, bytes) else said
                ledger.collect(collector, T + at)
        return ledger


class Refusing:
    """Points a collector's connections at a port that nobody listens on."""

    def __init__(self, collector: Vllm) -> None:
        self._collector = collector
        self._bound = socket.socket()

    def __enter__(self) -> None:
        self._bound.bind(("127.0.0.1", 0))
        self._targets = self._collector._targets
        url = f"http://127.0.0.1:{self._bound.getsockname()[1]}/metrics"
        self._collector._targets = [Target(shown=self._targets[0].shown, url=url)]

    def __exit__(self, *error: object) -> None:
        self._collector._targets = self._targets
        self._bound.close()


FAILING = answer(b"", status="500 Internal Server Error")


@pytest.mark.parametrize(
    ("start", "first_start", "baseline", "total"),
    [
        (T - 1000, T, "auto", 0),  # it was there before us
        (T + 5, T, "auto", 110),  # born while we watched
        (T - 1000, T, "zero", 110),
        (T + 5, T, "observed", 0),
        (None, T, "auto", 0),  # not said: the baseline
        (None, T, "zero", 110),
    ],
)
def test_first_sight(start: float | None, first_start: int, baseline: str, total: int) -> None:
    ledger = run((15, text(100, 60, 10, start=start)), first_start=first_start, baseline=baseline)
    assert sum(ledger.tokens().values()) == total
    assert set(ledger.tokens()) == {"input", "cache_read", "output"}
    begin = T + 15 if not total or start is None else int(start)
    assert ledger.up == [Window(begin, T + 15)]


def test_the_baseline_is_what_is_counted_from() -> None:
    ledger = run((0, text(1000, 500, 100)), (15, text(1100, 560, 110)))
    assert ledger.tokens() == {"input": 40, "cache_read": 60, "output": 10}
    assert ledger.up == [Window(T, T), Window(T, T + 15)]


def test_a_process_born_while_the_target_failed_counts_from_zero() -> None:
    ledger = run((0, FAILING), (15, text(100, 60, 10, start=T + 5)), first_start=T + 9)
    assert sum(ledger.tokens().values()) == 110


def test_a_newer_start_is_a_restart_whatever_the_counters_say() -> None:
    ledger = run((0, text(100, 0, 10)), (15, text(200, 0, 20, start=T + 3.5)))
    assert ledger.tokens() == {"input": 200, "cache_read": 0, "output": 20}
    assert ledger.up == [Window(T, T), Window(T + 15, T + 15)]  # what the old process did after T is not known


def test_a_fall_with_a_start_time_is_an_anomaly_and_a_new_baseline() -> None:
    ledger = run((0, text(1000, 0, 100)), (15, text(0, 0, 110)), (30, text(7, 0, 110)))
    assert ledger.tokens() == {"input": 7, "cache_read": 0, "output": 10}
    assert ledger.rejected == {"counter_anomaly": 2}  # prompt, and its part local_compute
    assert ledger.up[-1] == Window(T + 15, T + 30)


def test_without_a_start_time_a_fall_of_more_than_one_percent_restarts_the_process() -> None:
    pages = [text(1000, 0, 100, start=None), text(2000, 0, 98, start=None), text(2010, 0, 108, start=None)]
    ledger = run((0, pages[0]), (15, pages[1]), (30, pages[2]))
    assert ledger.tokens() == {"input": 2010, "cache_read": 0, "output": 108}  # every series from zero
    assert ledger.rejected == {}


def test_without_a_start_time_a_smaller_fall_is_an_anomaly() -> None:
    ledger = run((0, text(1000, 0, 1000, start=None)), (15, text(1010, 0, 990, start=None)))
    assert ledger.tokens() == {"input": 10, "cache_read": 0, "output": 0}
    assert ledger.rejected == {"counter_anomaly": 1}


def test_the_page_of_an_older_process_is_a_load_balancer() -> None:
    a, b = text(1000, 0, 100, start=T - 900), text(50, 0, 5, start=T - 100)
    ledger = run((0, a), (15, b), (30, a), (45, b), (60, a))
    assert ledger.tokens() == {"input": 50, "cache_read": 0, "output": 5}
    assert all("older process" in reason for reason in ledger.failures)
    assert len(ledger.failures) == 2


def test_a_start_time_from_a_wrong_clock_does_not_block_its_successor() -> None:
    ledger = run((0, text(1000, 0, 100, start=T + 10**8)), (15, text(10, 0, 1, start=T + 5)), baseline="observed")
    assert ledger.tokens() == {"input": 10, "cache_read": 0, "output": 1}


def test_work_done_while_the_exporter_was_down_is_spread_over_the_gap() -> None:
    ledger = run((0, text(0, 0, 0)), (1200, text(4000, 0, 400)))
    assert ledger.tokens() == {"input": 4000, "cache_read": 0, "output": 400}
    assert [(row.slot - T, row.tokens["input"]) for row in ledger.usage[1:]] == [
        (0, 1000),
        (300, 1000),
        (600, 1000),
        (900, 1000),
    ]
    assert ledger.up[-1] == Window(T, T + 1200)
    assert all(load.saturated_seconds == 0 for load in ledger.loads)
    assert [load.seconds for load in ledger.loads] == [0, 300, 300, 300, 300]


def test_a_restart_inside_the_gap_counts_its_tokens_and_leaves_the_gap_uncovered() -> None:
    ledger = run((0, text(1000, 0, 100)), (1200, text(600, 0, 60, start=T + 600.0)))
    assert ledger.tokens() == {"input": 600, "cache_read": 0, "output": 60}
    assert [(row.slot - T, row.tokens["input"]) for row in ledger.usage[1:]] == [(600, 300), (900, 300)]
    assert ledger.up == [Window(T, T), Window(T + 1200, T + 1200)]
    assert sum(load.seconds for load in ledger.loads) == 0


def test_a_failed_scrape_vouches_for_nothing_until_the_same_process_answers() -> None:
    with scraping(first_start=T) as (collector, upstream, ledger):
        upstream.behave = answer(text(0, 0, 0))
        ledger.collect(collector, T)
        upstream.behave = FAILING
        assert [type(result) for result in ledger.collect(collector, T + 15)] == [Batch, Failure]
        assert (ledger.up, ledger.down) == ([Window(T, T)], [])
        upstream.behave = answer(text(30, 0, 3))
        ledger.collect(collector, T + 30)
    assert ledger.up[-1] == Window(T, T + 30)
    assert sum(ledger.tokens().values()) == 33


def test_refused_is_an_observed_zero_and_the_next_process_is_seen_from_birth() -> None:
    ledger = run((0, text(10, 0, 1)), (15, None), (30, None), (45, text(500, 0, 50, start=T + 20.0)))
    assert ledger.down == [Window(T, T + 15), Window(T + 15, T + 30)]
    assert ledger.up == [Window(T, T), Window(T + 30, T + 45)]
    assert ledger.tokens() == {"input": 500, "cache_read": 0, "output": 50}
    assert ledger.failures == ["connection refused"] * 2


def test_refused_after_an_outage_of_the_exporter_says_nothing_of_the_outage() -> None:
    ledger = run((0, text(10, 0, 1)), (3600, None), (3615, None))
    assert ledger.down == [Window(T + 3600, T + 3600), Window(T + 3600, T + 3615)]


def test_refused_after_a_timeout_says_nothing_of_the_time_before() -> None:
    ledger = run((0, text(10, 0, 1)), (15, FAILING), (30, None), (45, None))
    assert ledger.down == [Window(T + 30, T + 30), Window(T + 30, T + 45)]


def test_the_same_process_after_a_refusal_loses_nothing() -> None:
    ledger = run((0, text(10, 0, 1)), (15, None), (30, text(40, 0, 4)))
    assert sum(ledger.tokens().values()) == 33
    assert ledger.up[-1] == Window(T, T + 30)


def test_a_page_without_a_token_series_it_had_is_rejected() -> None:
    whole = text(100, 40, 10)
    cut = b"\n".join(line for line in whole.split(b"\n") if b"local_cache_hit" not in line)
    ledger = run((0, whole), (15, cut), (30, text(110, 50, 11)))
    assert ledger.tokens() == {"input": 0, "cache_read": 10, "output": 1}
    assert ledger.failures == [
        "truncated page: source:local_cache_hit of 'm' is missing, this process showed it before"
    ]


def test_a_page_with_half_of_the_token_series_is_rejected_at_first_sight_too() -> None:
    whole = text(100, 40, 10)
    ledger = run((0, whole[: whole.index(b"vllm:generation")]), (15, whole))
    assert ledger.failures == ["truncated page: model 'm' has no series of generation tokens"]
    assert ledger.up == [Window(T + 15, T + 15)]


def test_without_a_start_time_another_model_in_its_place_is_another_process() -> None:
    ledger = run((0, text(100, 0, 10, start=None, model="a")), (15, text(7, 0, 1, start=None, model="b")))
    assert ledger.tokens("b") == {"input": 7, "cache_read": 0, "output": 1}
    assert ledger.failures == []


def test_several_models_and_engines_on_one_page() -> None:
    rank = '{engine="1",model_name="m"}'
    second = f"vllm:prompt_tokens_total{rank} %d\nvllm:generation_tokens_total{rank} %d"
    ledger = run(
        (0, text(model="m", more=second % (0, 0)) + text(model="n")),
        (15, text(100, 0, 10, model="m", more=second % (5, 1)) + text(50, 0, 5, model="n")),
    )
    assert ledger.tokens("m") == {"input": 105, "cache_read": 0, "output": 11}
    assert ledger.tokens("n") == {"input": 50, "cache_read": 0, "output": 5}


def test_cache_hits_that_run_ahead_of_their_prompt_wait_for_it() -> None:
    with scraping(first_start=T) as (collector, upstream, ledger):
        seen = []
        for at, body in enumerate([old(0, 0, 0), old(0, 64, 0), old(100, 64, 1), old(130, 128, 2), old(300, 128, 3)]):
            upstream.behave = answer(body)
            ledger.collect(collector, T + 15 * at)
            seen.append((ledger.tokens()["input"], ledger.tokens()["cache_read"]))
    assert seen == [(0, 0), (0, 0), (36, 64), (36, 94), (172, 128)]


def test_a_decode_target_leaves_transferred_tokens_to_its_prefill_pod() -> None:
    def handed_over(prompt: int, computed: int, hit: int, transferred: int) -> bytes:
        parts = {"local_compute": computed, "local_cache_hit": hit, "external_kv_transfer": transferred}
        lines = [f'vllm:prompt_tokens_by_source_total{{model_name="m",source="{s}"}} {n}' for s, n in parts.items()]
        lines += [
            f'vllm:prompt_tokens_total{{model_name="m"}} {prompt}',
            'vllm:generation_tokens_total{model_name="m"} 9',
        ]
        return ("\n".join(lines) + "\n").encode()

    body = handed_over(100, 10, 20, 70)
    assert run((0, body), baseline="zero", phase="decode").tokens() == {"input": 10, "cache_read": 20, "output": 9}
    assert run((0, body), baseline="zero").tokens() == {"input": 10, "cache_read": 90, "output": 9}
    transferred = 'vllm:external_prefix_cache_hits_total{engine="0",model_name="m"} 70'
    before_by_source = old(100, 20, 9) + f"{transferred}\n".encode()
    tokens = run((0, before_by_source), baseline="zero", phase="decode").tokens()
    assert tokens == {"input": 10, "cache_read": 20, "output": 9}


def queued(out: int, waiting: int = 5, deferred: int = 0, awake: int = 1) -> bytes:
    gauges = (
        f'vllm:num_requests_waiting{{model_name="m"}} {waiting + deferred}\n'
        f'vllm:num_requests_waiting_by_reason{{model_name="m",reason="capacity"}} {waiting}\n'
        f'vllm:num_requests_waiting_by_reason{{model_name="m",reason="deferred"}} {deferred}\n'
        f'vllm:engine_sleep_state{{model_name="m",sleep_state="awake"}} {awake}\n'
        'vllm:num_requests_running{model_name="m"} 6'
    )
    return text(10 * out, 0, out, more=gauges)


@pytest.mark.parametrize(
    ("steps", "seconds", "tokens"),
    [
        ([(0, queued(0)), (15, queued(100))], 15, 1100),
        ([(0, queued(0, waiting=0)), (15, queued(100))], 0, 0),
        ([(0, queued(0)), (15, queued(100, waiting=0))], 0, 0),
        ([(0, queued(0)), (15, queued(0))], 0, 0),  # stuck
        ([(0, queued(0)), (15, queued(100, waiting=0, deferred=5))], 0, 0),
        ([(0, queued(0, awake=0)), (15, queued(100))], 0, 0),
        ([(0, queued(0)), (15, FAILING), (30, queued(100))], 0, 0),
        ([(0, queued(0)), (240, queued(100))], 0, 0),  # no telling what was in between
    ],
)
def test_saturation_needs_a_queue_at_both_ends_and_progress(steps: list[Step], seconds: int, tokens: int) -> None:
    ledger = run(*steps)
    assert sum(load.saturated_seconds for load in ledger.loads) == seconds
    assert sum(load.saturated_tokens for load in ledger.loads) == tokens
    assert ledger.loads[-1].running == 6


@pytest.mark.parametrize("value", ["NaN", "+Inf", "-1"])
def test_a_counter_that_is_no_count_is_rejected(value: str) -> None:
    ledger = run((0, text(1, 0, 1)), (15, text(1, 0, 1).replace(b"1.0\n", f"{value}\n".encode())))
    assert len(ledger.failures) == 1
    assert "not a counter" in ledger.failures[0]
    assert sum(ledger.tokens().values()) == 0


@pytest.mark.parametrize(
    ("behave", "reason"),
    [
        (FAILING, "HTTP 500"),
        (answer(b"<html></html>\n"), "an HTML page"),
        (answer(text(2, 0, 2), length=10**9), "larger than max_page_bytes"),
        (answer(text(2, 0, 2) + b"\xff\n"), "not UTF-8"),
        (answer(text(2, 0, 2)[:-1]), "truncated page"),
        (answer(text(2, 0, 2), length=len(text(2, 0, 2)) + 9), "truncated page"),
        (raw(b""), "broken HTTP response"),
        (lambda upstream, out: True, "timed out after 1 s"),
    ],
)
def test_a_bad_upstream_is_a_failure_and_changes_no_count(behave: Behaviour, reason: str) -> None:
    ledger = run((0, text(1, 0, 1)), (15, behave), (30, text(11, 0, 2)), timeout=Duration(1))
    assert len(ledger.failures) == 1
    assert reason in ledger.failures[0]
    assert ledger.tokens() == {"input": 10, "cache_read": 0, "output": 1}
    assert ledger.up[-1] == Window(T, T + 30)


def test_one_bad_target_does_not_hurt_the_others() -> None:
    with Upstream(answer(text(1, 0, 1))) as good, Upstream(FAILING) as bad:
        targets = (f"http://me:hunter2@127.0.0.1:{bad.port}/metrics?token=hunter2", good.url)
        settings = Vllm.Settings("chat", "vllm", targets, labels={"team": "support", "env": "prod"})
        collector = build(settings, Context(T))
        results = list(collector.collect(T, {}))
        collector.close()
    assert [type(result) for result in results] == [Batch, Failure, Batch]
    assert "hunter2" not in repr(results) + repr(settings)
    assert results[1] == Failure(f"http://127.0.0.1:{bad.port}/metrics?token=***", "HTTP 500")
    good_batch = batches(results)[1]
    assert good_batch.stream == good_batch.part == f"{good.url}/metrics"
    assert good_batch.usage[0].labels == (("env", "prod"), ("team", "support"))


def test_a_position_of_another_version_is_a_failure_and_is_kept() -> None:
    with scraping() as (collector, upstream, _):
        upstream.behave = answer(page("vllm-0.33.0"))
        for cursor in ('{"v":99}', "{", "[]"):
            (failure,) = collector.collect(T, {f"{upstream.url}/metrics": cursor})
            assert isinstance(failure, Failure)
            assert "position in the ledger" in failure.reason


def test_settings_are_validated_with_their_path_and_without_secrets() -> None:
    adapter = TypeAdapter(collector_class("vllm").Settings)
    good = {"name": "chat", "kind": "vllm", "targets": ["http://127.0.0.1:8000"], "interval": "30s"}
    settings = adapter.validate_python(good)
    assert settings == Vllm.Settings("chat", "vllm", ("http://127.0.0.1:8000",), interval=Duration(30))
    assert pickle.loads(pickle.dumps(settings)) == settings
    for wrong, expected in [
        ({"targets": []}, "targets: expected at least one URL"),
        ({"targets": ["http://h", "h:8000"]}, r"targets\[1\]: expected a URL like"),
        ({"targets": ["http://h", "http://me:pw@h/metrics"]}, r"targets\[1\]: the same page as targets\[0\]"),
        ({"timeout": "0s"}, "timeout and max_page_bytes must be positive"),
        ({"intervall": "15s"}, "intervall"),
        ({"phase": "both"}, "phase"),
    ]:
        with pytest.raises(ValidationError, match=expected):
            adapter.validate_python(good | wrong)
