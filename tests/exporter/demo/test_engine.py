import math
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from prometheus_client.parser import text_string_to_metric_families

from exporter.demo.engine import Engine, page_at, recorded_pages


def counters(page: str) -> dict[tuple, float]:
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(page)
        if family.type in ("counter", "histogram", "summary")
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


def total(page: str, name: str) -> float:
    return sum(value for key, value in counters(page).items() if key[0] == name)


def test_the_first_loop_is_the_recording() -> None:
    recording = recorded_pages()
    assert total(page_at(recording, 0.0), "vllm:generation_tokens_total") == 0
    last = page_at(recording, math.nextafter(recording.length, 0) - 1e-6)
    assert total(last, "vllm:prompt_tokens_total") > 0


def test_counters_never_fall_or_vanish_and_gain_the_recorded_run_each_loop() -> None:
    recording = recorded_pages()
    seen: dict[tuple, float] = {}
    for step in range(200):
        now = counters(page_at(recording, step * 1.01))
        assert all(key in now and now[key] >= value for key, value in seen.items())
        seen = now
    for loops in (1, 2, 7):
        page = page_at(recording, loops * recording.length)
        assert total(page, "vllm:prompt_tokens_total") == loops * 196_992
        assert total(page, "vllm:generation_tokens_total") == loops * 39_921
        assert total(page, "vllm:prompt_tokens_cached_total") == loops * 152_576


def test_the_process_start_stays() -> None:
    recording = recorded_pages()

    def start(at: float) -> list[str]:
        return [line for line in page_at(recording, at).splitlines() if line.startswith("process_start_time")]

    assert len({tuple(start(at)) for at in (0.0, 31.0, 4000.0)}) == 1


def test_it_answers_as_vllm_does() -> None:
    engine = Engine(1000.0, lambda: 1010.0)
    engine.start()
    try:
        with urlopen(engine.url) as answer:
            body = answer.read().decode()
            assert answer.headers["Content-Type"] == "text/plain; version=1.0.0; charset=utf-8"
        assert body == page_at(recorded_pages(), 10.0)
        with pytest.raises(HTTPError) as refused:
            urlopen(engine.url.replace("/metrics", "/v1/models"))
        refused.value.close()
        assert refused.value.code == 404
    finally:
        engine.stop()


def test_an_engine_that_was_never_started_can_be_stopped() -> None:
    Engine(0.0, lambda: 0.0).stop()
