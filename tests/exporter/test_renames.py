"""A source that is read under another name goes on where it was, whatever other setting changes with it; where that
cannot be, it is said."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from collectors.billing.focus import FocusSettings
from collectors.billing.rate_card import Rate, RateCardSettings
from collectors.cluster.kubernetes import KubernetesSettings
from collectors.engines.vllm import VllmSettings
from collectors.records import DAY
from collectors.settings import Duration, Money
from collectors.usage.log import UsageLogSettings
from collectors.usage.openai import OpenAISettings
from exporter.config import Config, Storage
from exporter.ledger.sources import Source, goes_on
from exporter.renames import replaced_warnings, sources_of
from tests.exporter.simulated import START, Simulation, engine

Tokens = dict[str, int]


def log(name: str, path: object, **settings: Any) -> UsageLogSettings:
    return UsageLogSettings(name=name, kind="usage_log", path=str(path), **settings)


def openai(name: str, key: str = "/run/key", **settings: Any) -> OpenAISettings:
    return OpenAISettings(name, "openai", key, **settings)


def vllm(name: str, *targets: str, **settings: Any) -> VllmSettings:
    return VllmSettings(name=name, kind="vllm", targets=targets, **settings)


def written(path: Path, lines: int, model: str = "m") -> Path:
    """A log of as many requests, of ten tokens each."""
    usage = {"provider": "acme", "model": model, "tokens": {"input": 10}}
    path.write_text("".join(json.dumps({"ts": START + i, "id": f"{model}{i}", **usage}) + "\n" for i in range(lines)))
    return path


def read(directory: Path, *collectors: Any) -> Tokens:
    """One start of an exporter with these collectors: the tokens that the ledger then holds, by collector."""
    storage = Storage(path=str(directory / "ledger.db"))
    with Simulation(Config(collectors=collectors, storage=storage)) as sim:
        sim.at(START + 600)
        found: Tokens = {}
        for series in sim.exporter.ledger.snapshot().series:
            name = series.key.collector
            found[name] = found.get(name, 0) + sum(series.tokens(START, START + DAY).values())
        counted = sum(
            float(one.value)
            for (name, _), one in sim.exporter.ledger.counters().items()
            if name == "llmcost_tokens_total"
        )
        assert counted == sum(found.values())
        return found


def test_collectors_that_swap_their_names_are_not_read_again(tmp_path: Path) -> None:
    a, b = written(tmp_path / "a.jsonl", 10), written(tmp_path / "b.jsonl", 100, "w")
    for x, y in (("x", "y"), ("y", "x"), ("x", "y")):
        assert read(tmp_path, log(x, a), log(y, b)) == {x: 100, y: 1000}


def test_a_circle_of_names_and_a_chain_beside_it(tmp_path: Path) -> None:
    paths = [written(tmp_path / f"{n}.jsonl", n, f"m{n}") for n in range(1, 6)]
    for names in ("abcde", "bcaxd", "abcde"):
        found = read(tmp_path, *(log(name, path) for name, path in zip(names, paths, strict=True)))
        assert found == {name: 10 * n for n, name in enumerate(names, 1)}


def test_an_old_name_that_another_source_gets_keeps_nothing_of_the_old_one(tmp_path: Path) -> None:
    a, b = written(tmp_path / "a.jsonl", 10), written(tmp_path / "b.jsonl", 100, "w")
    assert read(tmp_path, log("x", a)) == {"x": 100}
    assert read(tmp_path, log("x", b), log("y", a)) == {"x": 1000, "y": 100}


def test_what_was_read_under_a_name_that_another_source_takes_stays_apart(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    a, b = written(tmp_path / "a.jsonl", 10), written(tmp_path / "b.jsonl", 100, "w")
    assert read(tmp_path, log("x", a), log("y", b)) == {"x": 100, "y": 1000}
    assert read(tmp_path, log("y", a)) == {"y": 100, "y~1": 1000}
    assert "the name y is that of another source now: what the ledger holds under it is kept as y~1" in caplog.messages
    assert read(tmp_path, log("z", b), log("y", a)) == {"y": 100, "z": 1000}


def test_a_log_that_moves_goes_on_under_its_name(tmp_path: Path) -> None:
    first = written(tmp_path / "a.jsonl", 10)
    assert read(tmp_path, log("x", first)) == {"x": 100}
    moved = first.rename(tmp_path / "b.jsonl")
    assert read(tmp_path, log("x", moved)) == {"x": 100}


@pytest.mark.parametrize(
    "changed",
    [
        {"duplicates": "possible"},
        {"interval": Duration(60)},
        {"late_after": Duration(7200), "duplicate_horizon": Duration(60)},
        {"format": "native", "labels": {"team": "a"}, "role": "check"},
    ],
)
def test_a_log_that_is_renamed_while_another_setting_changes_goes_on(tmp_path: Path, changed: dict[str, Any]) -> None:
    path = written(tmp_path / "a.jsonl", 10)
    assert read(tmp_path, log("x", path)) == {"x": 100}
    assert read(tmp_path, log("y", path, **changed)) == {"y": 100}


def test_an_engine_that_is_read_under_another_name_is_not_counted_from_zero(tmp_path: Path) -> None:
    with engine(lambda now: (int(now - START) * 10, 0, 0)) as running:
        running.started = float(START + 60)  # while the exporter watched: its first sight counts from zero
        for at, name, more in ((1200, "x", Duration(15)), (2400, "y", Duration(30))):
            settings = vllm(name, running.url, interval=more)
            storage = Storage(path=str(tmp_path / "ledger.db"))
            with Simulation(Config(collectors=(settings,), storage=storage), running) as sim:
                sim.at(START + at - 600)
                sim.at(START + at)
                (series,) = sim.exporter.ledger.snapshot().series
                assert series.tokens(START, START + DAY)["input"] == at * 10


def reads(settings: object) -> frozenset[str]:
    (source,) = sources_of(Config(collectors=(settings,))).values()
    return source.reads


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (log("x", "/l/a"), log("y", "/l/./a", interval=Duration(1), duplicates="possible", start_at="end")),
        (openai("x"), openai("y", cost_interval=Duration(7200), re_read=Duration(DAY), lag=Duration(9), role="check")),
        (openai("x"), openai("y", base_url="https://proxy.example")),
        (
            vllm("x", "http://a:1", "http://b:1/"),
            vllm("y", "http://b:1/metrics", "http://A:1/metrics", timeout=Duration(1), max_page_bytes=9),
        ),
        (vllm("x", "http://u:p@a:1"), vllm("x", "http://u:new@a:1", bearer_token_file="/t")),
        (vllm("x", discover="pods"), vllm("y", discover="pods", labels={"a": "b"})),
    ],
)
def test_what_is_read_goes_by_neither_name_nor_tuning(one: object, other: object) -> None:
    assert reads(one) == reads(other) != frozenset()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (log("x", "/l/a"), log("x", "/l/b")),
        (openai("x"), openai("x", "/run/other")),
        (vllm("x", "http://a:1"), vllm("x", "http://a:2")),
        (vllm("x", discover="pods"), vllm("x", discover="others")),
        (log("x", "/run/key"), openai("x")),
    ],
)
def test_what_is_read_goes_by_the_source(one: object, other: object) -> None:
    assert reads(one).isdisjoint(reads(other))


def test_only_collectors_of_usage_are_noted() -> None:
    rate = Rate(workload="chat", usd_per_hour=Money("1"))
    bills = (FocusSettings("bill", "focus", "/b/*.csv"), RateCardSettings("card", "rate_card", (rate,)))
    assert sources_of(Config(collectors=(*bills, vllm("engine", "http://a:1")))).keys() == {"engine"}


def warned(kept: Sequence[object], configured: Sequence[object]) -> list[str]:
    return replaced_warnings(*(sources_of(Config(collectors=tuple(each))) for each in (kept, configured)))


@pytest.mark.parametrize("one", [log("x", "/l/a"), openai("x"), vllm("x", "http://a:1")])
def test_nothing_is_said_of_what_is_known_to_go_on(one: Any) -> None:
    assert (
        warned([one], [one]) == warned([one], [replace(one, name="y")]) == warned([one], []) == warned([], [one]) == []
    )


@pytest.mark.parametrize(
    ("one", "other", "what"), [(log("x", "/a"), log("y", "/b"), "log"), (openai("x"), openai("y", "/b"), "account")]
)
def test_what_may_be_the_same_under_another_name_is_said(one: Any, other: Any, what: str) -> None:
    assert warned([one], [other]) == [
        f"the ledger holds usage of x ({one.kind}), whose source the configuration no longer names, and y is new: if "
        f"both are one {what}, what both have read counts twice; then give y the name x"
    ]


def test_an_engine_at_another_address_is_another_engine() -> None:
    assert warned([vllm("x", "http://a:1")], [vllm("y", "http://b:1")]) == []
    assert warned([vllm("x", "http://a:1")], [vllm("x", "http://b:1")]) == []


def test_a_name_that_stays_while_its_source_changes_is_said() -> None:
    text = "x (%s) reads nothing of what it read before: what the ledger holds of it stays, and goes on under that name"
    account = "; if it is another account, give it another name, or its days replace those that are read again"
    assert warned([log("x", "/a")], [log("x", "/b")]) == [text % "usage_log"]
    assert warned([openai("x")], [openai("x", "/b")]) == [text % "openai" + account]
    assert warned([log("x", "/a")], [log("x", "/[ab]")]) == [text % "usage_log"]


def test_a_source_that_changes_beside_a_new_one_may_be_that() -> None:
    doubt, change = warned([log("x", "/l/*")], [log("x", "/l/b"), log("y", "/l/a")])
    assert "then give y the name x" in doubt and change.startswith("x (usage_log) reads nothing of what it read before")


def test_a_name_that_stays_for_another_source_while_its_past_goes_elsewhere_is_said() -> None:
    text = (
        "y goes on with what x read before, and x (%s) begins anew: if x is that source at another place, it counts "
        "twice; then start once without y first"
    )
    assert warned([log("x", "/a")], [log("x", "/b"), log("y", "/a")]) == [text % "usage_log"]
    assert warned([openai("x", "/a")], [openai("x", "/b"), openai("y", "/a")]) == [text % "openai"]
    assert warned([log("x", "/a"), log("y", "/b")], [log("x", "/b"), log("y", "/a")]) == []  # they swap


def test_a_check_beside_a_meter_is_not_taken_for_it() -> None:
    meter, check = log("m", "/a"), log("c", "/a", role="check")
    assert warned([meter, check], [replace(meter, name="n")]) == []
    assert warned([meter, log("c", "/c", role="check")], [log("n", "/d")]) == [
        "the ledger holds usage of m (usage_log), whose source the configuration no longer names, and n is new: if "
        "both are one log, what both have read counts twice; then give n the name m"
    ]


def test_engines_that_are_found_in_a_cluster_go_by_the_cluster() -> None:
    def both(cluster: str, engines: str) -> list[object]:
        return [KubernetesSettings(cluster, "kubernetes"), vllm(engines, discover=cluster)]

    kept, configured = (sources_of(Config(collectors=tuple(both(*names)))) for names in (("k", "e"), ("c", "v")))
    assert goes_on(kept, configured) == {"v": "e"}


def test_what_moves_to_a_collector_that_cannot_take_the_past_along_is_said() -> None:
    both = UsageLogSettings(name="x", kind="usage_log", path=("/a", "/b"))
    assert warned([both], [log("x", "/a"), log("y", "/b")]) == [
        "y reads what x has read, and x keeps what the ledger holds of it: what both have read counts twice; let x go "
        "on reading it"
    ]
    assert len(warned([log("x", "/a"), log("y", "/b")], [replace(both, name="z")])) == 2
    assert warned([both], [log("x", "/a"), log("y", "/b", role="check")]) == []  # a check counts nothing
    meter, check = log("x", "/a"), log("y", "/a", role="check")
    assert warned([meter, check], [meter, check]) == []
    (found,) = warned([meter, check], [replace(check, role="meter")])
    assert found.startswith("y reads what x has read")


def test_a_ledger_of_before_does_not_know_what_was_read() -> None:
    configured = sources_of(Config(collectors=(openai("x"),)))
    assert replaced_warnings({"x": Source("openai", "meter")}, configured) == []
