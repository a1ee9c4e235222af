"""What a cluster, or a ledger that cannot be written, does not get the collector to do: ask or remember without end."""

from itertools import takewhile

import pytest

from collectors.cluster import feed, kept, lists
from collectors.records import Failure
from tests.collectors.cluster.api_server import ApiServer, serving
from tests.collectors.cluster.cluster import T0, Books, cluster, eventually, gpu_node, gpu_pod, watching

NOW = T0 + 10_000


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(feed, "LONGEST_PAUSE", 0.05)


@pytest.mark.parametrize("resource", ["pods", "namespaces"])
def test_a_list_that_leads_in_circles_is_a_failure(resource: str, monkeypatch: pytest.MonkeyPatch) -> None:
    page = ApiServer.page

    def circling(self: ApiServer, name: str, query: dict[str, str]) -> tuple[int, bytes]:
        code, body = page(self, name, {})
        return code, body.replace(b'"resourceVersion"', b'"continue": "again", "resourceVersion"', name == resource)

    monkeypatch.setattr(ApiServer, "page", circling)
    with cluster([gpu_node("n1")], [gpu_pod("p1")], namespace_labels=("team",)) as (server, collector, books):
        server.put("namespaces", {"metadata": {"name": "llm", "uid": "uid-llm"}})
        reason = f"list of {resource}: the API server names the same next page twice"
        assert Failure(resource, reason) in books.collect(collector, NOW)
        asked = [query for name, verb, query in server.asked if (name, verb) == (resource, "list")]
        assert asked and all(query.get("continue") in (None, "again") for query in asked)


@pytest.mark.parametrize(("most", "value"), [("MOST_PAGES", 3), ("MOST_OBJECTS", 8)])
def test_a_list_without_an_end_is_a_failure(most: str, value: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lists, most, value)
    with serving() as server, watching(server) as collector:
        server.page_limit = 2
        server.put("nodes", gpu_node("n1"))
        server.put("pods", *(gpu_pod(f"p{number}") for number in range(12)))
        (failure,) = Books().collect(collector, NOW)
        assert failure.part == "pods"
        assert "no end after" in failure.reason


def test_what_went_waits_for_the_ledger_in_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """While nothing can be committed the watch stops at the bound; then it goes on, and every pod is accounted for."""
    monkeypatch.setattr(kept, "MOST_GONE", 3)
    pods = [gpu_pod(f"p{number}") for number in range(8)]
    with cluster([gpu_node("n1")], pods) as (server, collector, books):
        books.collect(collector, NOW)
        for number in range(8):
            server.delete("pods", f"uid-p{number}")
        full = "pods: too many pods have gone since the ledger was last written"

        def held_back() -> bool:  # a run ends at the first batch that cannot be written
            said = takewhile(lambda one: isinstance(one, Failure), collector.collect(NOW + 30, dict(books.cursors)))
            return any(f"{one.part}: {one.reason}".startswith(full) for one in said if isinstance(one, Failure))

        eventually(held_back, "it is said")
        assert len(collector._pods.view()[1]) == 3
        eventually(lambda: not books.collect(collector, NOW + 60) and not books.open(), "all is told")
        ends = [books.of(f"p{number}").window.end for number in range(8)]
        assert all(NOW <= end <= NOW + 60 for end in ends)
