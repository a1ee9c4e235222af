"""An API server that answers 429 and asks for an hour, again and again: a bounded wait, a named reason, a clean end."""

from collections.abc import Mapping
from threading import Event
from typing import Any, ClassVar

import pytest

from collectors.cluster import feed
from collectors.records import Failure
from tests.collectors.cluster.api_server import KINDS, Object, serving, status
from tests.collectors.cluster.cluster import T0, Books, cluster, eventually, gpu_node, gpu_pod, watching

NOW = T0 + 10_000
LONGEST = 300


class Always(list[tuple[int, Mapping[str, str], Object]]):
    """The same trouble, however often."""

    def pop(self, index: Any = -1) -> tuple[int, Mapping[str, str], Object]:
        return self[index]


THROTTLED = Always([(429, {"Retry-After": "3600"}, status(429, "TooManyRequests", "slow down"))])


class Waited(Event):
    """An event that remembers for how long it was waited for."""

    seconds: ClassVar[list[float]] = []

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None, "waits without end"
        self.seconds.append(timeout)
        return super().wait(timeout)


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    monkeypatch.setattr(Waited, "seconds", [])
    monkeypatch.setattr(feed, "Flag", Waited)
    return Waited.seconds


def reasons(*resources: str, verb: str = "list") -> list[Failure]:
    return [Failure(name, f"{verb} of {name}: throttled by the API server (429)") for name in resources]


def test_every_call_is_throttled_for_an_hour(waits: list[float]) -> None:
    with serving() as server:
        for resource in KINDS:
            server.trouble[resource, "list"] = server.trouble[resource, "watch"] = THROTTLED
        with watching(server, namespace_labels=("team",)) as collector:
            books = Books()
            for seconds in (0, 30, 60):  # no collect waits for the server's hour
                assert books.collect(collector, NOW + seconds) == reasons("nodes", "pods")
            eventually(lambda: waits.count(LONGEST) == 2, "both threads wait")
            assert max(waits) == LONGEST, "the hour is not waited out"
            assert sorted(resource for resource, _, _ in server.asked) == ["nodes", "pods"], "and nobody asks meanwhile"
            assert (books.nodes, books.allocations, books.observed) == ({}, {}, [])
            threads = list(collector._feeds.values())
            collector.close()  # in the middle of the wait
            assert not [thread for thread in threads if thread.alive]


def test_what_is_known_is_kept_while_the_watches_are_throttled(waits: list[float]) -> None:
    with serving() as server:
        server.put("nodes", gpu_node("n1"))
        server.put("pods", gpu_pod("p1"))
        server.trouble["nodes", "watch"] = server.trouble["pods", "watch"] = THROTTLED
        with watching(server) as collector:
            books = Books()
            said = reasons("nodes", "pods", verb="watch")
            eventually(lambda: books.collect(collector, NOW) == said, "both are throttled")
            assert (books.open(), books.collect(collector, NOW + 30)) == ({"p1"}, said)
            assert max(waits) == LONGEST


def test_throttled_namespaces_cost_their_labels_and_one_question_a_collect() -> None:
    with cluster([gpu_node("n1")], [gpu_pod("p1")], namespace_labels=("team",)) as (server, collector, books):
        server.trouble["namespaces", "list"] = THROTTLED
        for collects in range(1, 4):
            assert books.collect(collector, NOW + 30 * collects) == reasons("namespaces")
            assert len([resource for resource, _, _ in server.asked if resource == "namespaces"]) == collects
        assert books.open() == {"p1"}
