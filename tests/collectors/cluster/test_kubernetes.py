"""Who held which GPUs when, from a watch over real HTTP: restarts, outages, lies, and what is vouched for."""

import json
import logging
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from collectors import Board, Target, collector_class
from collectors.cluster import feed
from collectors.cluster.kubernetes import PERMISSIONS, Kubernetes
from collectors.records import OPEN, Failure, Window
from tests.collectors.cluster.api_server import ApiServer, serving, status
from tests.collectors.cluster.cluster import T0, Books, cluster, eventually, gpu_node, gpu_pod, watching

NOW = T0 + 10_000


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(feed, "LONGEST_PAUSE", 0.05)


def until_open(books: Books, collector: Kubernetes, pods: set[str], now: int = NOW) -> None:
    """Collect until exactly these pods hold GPUs."""

    def seen() -> bool:
        books.collect(collector, now)
        return books.open() == pods

    eventually(seen, f"{pods} hold GPUs")


def until_well(books: Books, collector: Kubernetes, now: int = NOW) -> None:
    eventually(lambda: not books.collect(collector, now), "all is read again")


def until_watching(server: ApiServer) -> None:
    eventually(lambda: server.watching["nodes"] == server.watching["pods"] == 1, "both watches are open")


def test_what_a_cluster_holds() -> None:
    nodes = [gpu_node("n1"), gpu_node("n2", gpus=0), gpu_node("n3", gpus=1, labels={"nvidia.com/gpu.replicas": "4"})]
    pods = [
        *(gpu_pod("p1", gpus=2), gpu_pod("p2", gpus=4, namespace="train", owner=("Job", "fit"))),
        *(gpu_pod("shared", "n3"), gpu_pod("web", gpus=0), gpu_pod("waits", node="")),
        gpu_pod("done", gpus=1, phase="Succeeded", ended=T0 + 600),
    ]
    with cluster(nodes, pods) as (_, collector, books):
        assert books.collect(collector, NOW) == []
        assert set(books.nodes) == {"uid-n1", "uid-n3"}
        assert books.nodes["uid-n1"].window == Window(T0, OPEN)
        assert books.open() == {"p1", "p2", "shared"}
        assert [books.of(pod).gpus for pod in ("p1", "p2", "shared")] == [2, 4, Decimal("0.25")]
        assert books.of("done").window == Window(T0 + 60, T0 + 600)
        assert dict(books.of("p2").labels)["owner"] == "fit"
        assert books.of("p1").node == "uid-n1"


def test_only_what_changed_is_said_again() -> None:
    nodes = [gpu_node(f"n{number}") for number in range(3)]
    pods = [gpu_pod(f"p{number}", f"n{number}") for number in range(3)]
    with cluster(nodes, [*pods, gpu_pod("done", "n0", phase="Failed")]) as (server, collector, books):
        books.collect(collector, NOW)
        assert books.batches == 3
        books.collect(collector, NOW + 30)
        assert books.batches == 3
        server.put("pods", gpu_pod("p9", "n1"))
        until_open(books, collector, {"p0", "p1", "p2", "p9"}, NOW + 60)
        assert books.batches == 4
        assert books.observed[0].start == NOW
        assert books.seconds() == 60


def test_a_pod_and_a_node_that_go() -> None:
    with cluster([gpu_node("n1"), gpu_node("n2")], [gpu_pod("p1"), gpu_pod("p2"), gpu_pod("p3", "n2")]) as world:
        server, collector, books = world
        books.collect(collector, NOW)
        ended = gpu_pod("p1", ended=NOW + 5, deleted=NOW)
        server.delete("pods", "uid-p1", **{key: ended[key] for key in ("metadata", "status")})
        server.delete("nodes", "uid-n2")
        until_open(books, collector, {"p2"}, NOW + 30)
        assert books.of("p1").window == Window(T0 + 60, NOW + 5)
        gone = books.nodes["uid-n2"].window.end
        assert NOW < gone <= NOW + 30
        assert books.of("p3").window == Window(T0 + 60, gone)
        assert set(books.cursors) == {"", "node/uid-n1"}
        books.collect(collector, NOW + 60)  # the pod without its node is still listed: it says nothing new
        assert books.of("p3").window.end == gone
        assert set(books.cursors) == {"", "node/uid-n1"}


def test_a_machine_that_came_and_went_between_two_collects_is_known() -> None:
    with cluster([gpu_node("n1")]) as (server, collector, books):
        books.collect(collector, NOW)
        server.put("nodes", gpu_node("brief", created=NOW + 1))
        server.put("pods", gpu_pod("job", "brief", scheduled=NOW + 2))
        eventually(lambda: "uid-job" in collector._pods.view()[0])
        server.delete("pods", "uid-job")
        server.delete("nodes", "uid-brief")
        eventually(lambda: "uid-brief" in collector._nodes.view()[1] and "uid-job" in collector._pods.view()[1])
        books.collect(collector, NOW + 30)
        assert books.nodes["uid-brief"].window.start == NOW + 1
        assert books.nodes["uid-brief"].window.end < OPEN
        assert books.of("job").window.end <= books.nodes["uid-brief"].window.end
        before = books.batches
        books.collect(collector, NOW + 60)
        assert books.batches == before


def test_a_name_that_comes_back_is_another_machine() -> None:
    with cluster([gpu_node("n1", uid="old")], [gpu_pod("p1")]) as (server, collector, books):
        books.collect(collector, NOW)
        server.delete("pods", "uid-p1")
        server.delete("nodes", "old")
        until_open(books, collector, set(), NOW + 30)
        server.put("nodes", gpu_node("n1", uid="new", created=NOW + 40, provider_id="aws:///a/i-new"))
        server.put("pods", gpu_pod("p2", scheduled=NOW + 50))
        until_open(books, collector, {"p2"}, NOW + 60)
        assert books.of("p2").node == "new"
        assert books.of("p1").node == "old"
        assert books.nodes["old"].window.end <= NOW + 30


def test_a_node_that_was_registered_anew_keeps_its_pods() -> None:
    """Their GPUs are the new node's from its start: never counted on both."""
    with cluster([gpu_node("n1", uid="old")], [gpu_pod("p1")]) as (server, collector, books):
        books.collect(collector, NOW)
        server.delete("nodes", "old")
        server.put("nodes", gpu_node("n1", uid="new", created=NOW + 20))
        eventually(lambda: "new" in collector._nodes.view()[0])
        books.collect(collector, NOW + 30)
        books.collect(collector, NOW + 60)
        old, new = books.allocations["uid-p1@old"], books.allocations["uid-p1@new"]
        assert old.window.start == T0 + 60
        assert old.window.end <= NOW + 30
        assert new.window == Window(NOW + 20, OPEN)


def test_what_vanished_while_nobody_watched_ends_when_it_was_last_seen() -> None:
    with serving() as server:
        books = Books()
        server.put("nodes", gpu_node("n1"), gpu_node("n2"), gpu_node("n3"))
        server.put("pods", gpu_pod("p1"), gpu_pod("p2", "n2"), gpu_pod("stays", "n3"), gpu_pod("over", "n3"))
        with watching(server) as collector:
            books.collect(collector, NOW)
            books.collect(collector, NOW + 30)
        labels = books.of("p1").labels
        server.delete("pods", "uid-p1")
        server.delete("pods", "uid-p2")
        server.delete("nodes", "uid-n2")
        server.put("pods", gpu_pod("over", "n3", phase="Succeeded", ended=NOW + 500))
        server.put("pods", gpu_pod("new", scheduled=NOW + 600))
        with watching(server) as collector:
            books.collect(collector, NOW + 1000)
        assert books.open() == {"stays", "new"}
        assert books.of("p1").window == books.of("p2").window == Window(T0 + 60, NOW + 30)
        assert books.of("p1").labels == labels
        assert books.nodes["uid-n2"].window == Window(T0, NOW + 30)
        assert books.of("over").window == Window(T0 + 60, NOW + 500)
        assert set(books.cursors) == {"", "node/uid-n1", "node/uid-n2", "node/uid-n3"}  # n2: for a day
        assert books.seconds() == 30  # nobody vouches for the time between


def test_a_crash_at_any_batch_loses_nothing_and_says_nothing_twice() -> None:
    nodes = [gpu_node(f"n{number}") for number in range(4)]
    pods = [gpu_pod(f"p{number}", f"n{number % 4}") for number in range(12)]
    with serving() as server:
        server.put("nodes", *nodes)
        server.put("pods", *pods)
        for committed in range(6):
            books = Books()
            with watching(server) as collector:
                results = collector.collect(NOW, {})
                for _, result in zip(range(committed), results, strict=False):
                    assert not isinstance(result, Failure)
                    books.commit(result)
                results.close()  # type: ignore[attr-defined]  # a generator, as the runner sees it
            with watching(server) as collector:
                books.collect(collector, NOW + 30)
            assert books.open() == {f"p{number}" for number in range(12)}
            assert {one.window.start for one in books.allocations.values()} == {T0 + 60}
            assert books.batches == 4


def test_a_failed_commit_is_made_up_for() -> None:
    with cluster([gpu_node("n1")], [gpu_pod("p1"), gpu_pod("p2")]) as (server, collector, books):
        books.collect(collector, NOW)
        server.delete("pods", "uid-p1")
        eventually(lambda: "uid-p1" in collector._pods.view()[1])
        results = collector.collect(NOW + 30, dict(books.cursors))
        next(results)
        results.close()  # type: ignore[attr-defined]  # the disk was full: nothing was committed
        books.collect(collector, NOW + 60)
        assert books.open() == {"p2"}
        assert books.of("p1").window.end <= NOW + 60


def test_a_watch_that_ends_or_breaks_goes_on_where_it_was() -> None:
    with cluster([gpu_node("n1")], [gpu_pod("p1")]) as (server, collector, books):
        books.collect(collector, NOW)
        for round_ in range(3):
            until_watching(server)
            server.cut()
            server.put("pods", gpu_pod(f"after-{round_}"))
            until_open(books, collector, {"p1", *(f"after-{n}" for n in range(round_ + 1))}, NOW + 30 * round_)
        lists = [resource for resource, verb, _ in server.asked if verb == "list"]
        assert sorted(lists) == ["nodes", "pods"]
        assert books.failures == []
        assert books.seconds() == 60


def test_bookmarks_move_the_position() -> None:
    with cluster([gpu_node("n1")], [gpu_pod("p1")]) as (server, collector, books):
        books.collect(collector, NOW)
        until_watching(server)
        server.bookmark("pods")
        marked = server._version
        eventually(lambda: collector._pods is not None and server.watching["pods"] == 1)
        server.cut()
        eventually(lambda: any(query.get("resourceVersion") == str(marked) for _, _, query in server.asked))


def test_410_leads_to_a_new_list() -> None:
    with cluster([gpu_node("n1")], [gpu_pod("p1"), gpu_pod("p2")]) as (server, collector, books):
        books.collect(collector, NOW)
        until_watching(server)
        server.delete("pods", "uid-p1", silent=True)
        server.put("pods", gpu_pod("p3"))
        server.compact("pods")
        server.cut()
        until_open(books, collector, {"p2", "p3"}, NOW + 30)
        until_well(books, collector, NOW + 60)
        assert NOW <= books.of("p1").window.end <= NOW + 30


def test_a_list_whose_pages_expire_begins_anew() -> None:
    with serving() as server:
        server.page_limit = 3
        server.put("nodes", gpu_node("n1"))
        server.put("pods", *(gpu_pod(f"p{number}") for number in range(10)))
        expired = (410, {}, status(410, "Expired", "too old"))
        with watching(server) as collector:
            books = Books()
            server.trouble["pods", "list"] = [expired, expired]
            until_well(books, collector)
            assert len(books.open()) == 10


@pytest.mark.parametrize(
    "line",
    [
        b"\x00\xff not json\n",
        b'{"type":"ADDED"}\n',
        b'{"type":"MODIFIED","object":{"metadata":{"name":5}}}\n',
        b'{"type":"ERROR","object":{"code":410}}\n',
    ],
)
def test_garbage_in_a_watch_leads_to_a_new_list(line: bytes) -> None:
    with cluster([gpu_node("n1")], [gpu_pod("p1")]) as (server, collector, books):
        books.collect(collector, NOW)
        until_watching(server)
        server.delete("pods", "uid-p1", silent=True)
        server.say("pods", line)
        server.put("pods", gpu_pod("p2"))
        until_open(books, collector, {"p2"}, NOW + 30)
        until_well(books, collector, NOW + 60)


def test_an_error_in_a_watch_is_a_failure_until_it_goes_on() -> None:
    with cluster([gpu_node("n1")], [gpu_pod("p1")]) as (server, collector, books):
        books.collect(collector, NOW)
        server.say("pods", b'{"type":"ERROR","object":{"code":500,"message":"etcd is gone"}}\n')
        eventually(lambda: books.collect(collector, NOW + 30))
        assert books.failures[-1].reason == "watch of pods: the API server ended it (500: etcd is gone)"
        server.resources["pods"].history.clear()
        server.put("pods", gpu_pod("p2"))
        until_open(books, collector, {"p1", "p2"}, NOW + 60)
        until_well(books, collector, NOW + 90)
        assert sum(resource == "pods" and verb == "list" for resource, verb, _ in server.asked) == 1


def test_a_watch_that_lies() -> None:
    with cluster([gpu_node("n1")], [gpu_pod("p1"), gpu_pod("p2"), gpu_pod("p3")]) as (server, collector, books):
        books.collect(collector, NOW)
        current = server.resources["pods"].objects["uid-p1"]
        old = {**gpu_pod("p1", phase="Failed", ended=NOW), "metadata": {**current["metadata"], "resourceVersion": "5"}}
        server.event("pods", "MODIFIED", old)  # an older version of what is there
        server.event("pods", "ADDED", current)  # added again
        server.event("pods", "DELETED", gpu_pod("never-was", uid="nobody"))  # unknown
        server.event("pods", "GREETING", current)
        server.delete("pods", "uid-p2")
        server.event("pods", "MODIFIED", gpu_pod("p2"))  # after its end
        server.put("pods", gpu_pod("p4"))
        until_open(books, collector, {"p1", "p3", "p4"}, NOW + 30)
        assert "uid-nobody" not in str(books.allocations)
        assert books.rejected == {"unknown_event": 1}


def test_the_list_is_the_truth_whatever_the_watch_said() -> None:
    with serving() as server:
        server.put("nodes", gpu_node("n1"))
        server.put("pods", gpu_pod("p1"), gpu_pod("p2"), gpu_pod("p3"))
        with watching(server, relist=1) as collector:
            books = Books()
            books.collect(collector, NOW)
            server.delete("pods", "uid-p1", silent=True)  # never told
            gone = server.resources["pods"].objects["uid-p2"]
            server.event("pods", "DELETED", gone)  # told, and not true
            server.event("pods", "ADDED", gpu_pod("ghost"))  # told, and not true
            eventually(lambda: "uid-ghost" in collector._pods.view()[0])
            until_open(books, collector, {"p2", "p3"}, NOW + 30)
            assert books.of("p2").window == Window(T0 + 60, OPEN)
            assert books.of("p1").window.end < OPEN


def test_gpus_that_are_not_offered_for_a_while_are_still_paid_for() -> None:
    """A device plugin that restarts takes its resource off the node."""
    with serving() as server:
        books = Books()
        server.put("nodes", gpu_node("n1"))
        server.put("pods", gpu_pod("p1"))
        bare = gpu_node("n1", gpus=0, labels={"a": "b"})
        with watching(server) as collector:
            books.collect(collector, NOW)
            server.put("nodes", bare)
            server.put("nodes", gpu_node("n2"))
            eventually(lambda: "uid-n2" in collector._nodes.view()[0])
            books.collect(collector, NOW + 30)
            assert books.nodes["uid-n1"].window.end == OPEN
        with watching(server) as collector:
            books.collect(collector, NOW + 60)
            assert books.nodes["uid-n1"].window.end == books.of("p1").window.end == OPEN
            server.put("nodes", gpu_node("n1"))
            server.delete("pods", "uid-p1")
            until_open(books, collector, set(), NOW + 90)
            assert books.nodes["uid-n1"].window == Window(T0, OPEN)


def test_a_machine_that_comes_back_with_fewer_gpus_is_still_shared_out_as_it_was() -> None:
    """A bill of the days before is: a pod held 1 of 8. A machine that is divided otherwise says another number of GPUs
    altogether."""
    with serving() as server:
        books = Books()
        server.put("nodes", gpu_node("n1", gpus=8))
        server.put("pods", gpu_pod("p1"))
        with watching(server) as collector:
            books.collect(collector, NOW)
        for gpus, kept in ((7, 8), (8, 8), (9, 9), (6, 9), (4, 4)):
            server.put("nodes", gpu_node("n1", gpus=gpus))
            with watching(server) as collector:
                books.collect(collector, NOW + 60)
                assert books.nodes["uid-n1"].gpus == kept
                said = books.batches
                books.collect(collector, NOW + 90)
                assert books.batches == said


def test_time_without_the_api_server_is_not_vouched_for() -> None:
    with cluster([gpu_node("n1")], [gpu_pod("p1")]) as (server, collector, books):
        books.collect(collector, NOW)
        books.collect(collector, NOW + 30)
        server.token = "another"
        server.cut()
        eventually(lambda: len(books.collect(collector, NOW + 60)) == 2)
        reasons = {failure.part: failure.reason for failure in books.failures[-2:]}
        assert set(reasons) == {"nodes", "pods"}
        assert "does not accept the token (401)" in reasons["pods"]
        said = list(books.observed)
        books.collect(collector, NOW + 600)
        assert books.observed == said
        server.token = None
        until_well(books, collector, NOW + 900)
        books.collect(collector, NOW + 930)
        after = [window for window in books.observed if window.end > NOW + 600]
        assert after[0].start > NOW + 840  # only since the watch is back: a stopwatch of this test's few seconds
        assert after[-1].end == NOW + 930


def test_a_token_that_rotates_is_read_at_each_request(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("first\n")
    with serving() as server:
        server.token = "first"
        server.put("nodes", gpu_node("n1"))
        server.put("pods", gpu_pod("p1"))
        with watching(server, token_file=str(file)) as collector:
            books = Books()
            assert books.collect(collector, NOW) == []
            server.token = "second"
            file.write_text("second")
            until_watching(server)
            server.cut()
            server.put("pods", gpu_pod("p2"))
            until_open(books, collector, {"p1", "p2"}, NOW + 30)
            file.write_text("a b")
            server.cut()
            eventually(lambda: books.collect(collector, NOW + 60))
            assert f"token_file {file}: expected one token on one line" in books.failures[-1].reason
            assert "second" not in str(books.failures)


def test_throttling_and_errors_are_waited_out() -> None:
    with serving() as server:
        server.put("nodes", gpu_node("n1"))
        server.put("pods", gpu_pod("p1"))
        server.trouble["pods", "list"] = [
            (429, {"Retry-After": "0"}, status(429, "TooManyRequests", "slow down")),
            (503, {}, status(503, "ServiceUnavailable", "starting\nup")),
        ]
        server.trouble["pods", "watch"] = [(500, {}, status(500, "InternalError", "oops"))]
        with watching(server) as collector:
            books = Books()
            until_well(books, collector)
            assert books.open() == {"p1"}


def test_permissions_are_what_is_asked_and_no_more() -> None:
    granted = {(resource, verb) for _, resource, verbs in PERMISSIONS for verb in verbs}
    with serving() as server:
        server.allowed = granted
        server.put("namespaces", {"metadata": {"name": "llm", "uid": "ns", "labels": {"team": "support", "x": "y"}}})
        server.put("nodes", gpu_node("n1"))
        server.put("pods", gpu_pod("p1"), gpu_pod("p2", namespace="other"))
        with watching(server, namespace_labels=("team",)) as collector:
            books = Books()
            assert books.collect(collector, NOW) == []
            until_watching(server)
        assert {(resource, verb) for resource, verb, _ in server.asked} == granted
        assert dict(books.of("p1").labels)["namespace_team"] == "support"
        assert "namespace_team" not in dict(books.of("p2").labels)
        assert "namespace_x" not in dict(books.of("p1").labels)
        server.asked.clear()
        with watching(server) as collector:
            books.collect(collector, NOW + 30)
            eventually(lambda: len({resource for resource, verb, _ in server.asked if verb == "watch"}) == 2)
        assert "namespaces" not in {resource for resource, _, _ in server.asked}


@pytest.mark.parametrize(("resource", "verb"), [(r, verb) for _, r, verbs in PERMISSIONS for verb in verbs])
def test_a_missing_permission_is_named(resource: str, verb: str) -> None:
    with serving() as server:
        server.allowed = {(r, v) for _, r, verbs in PERMISSIONS for v in verbs} - {(resource, verb)}
        server.put("nodes", gpu_node("n1"))
        server.put("pods", gpu_pod("p1"))
        with watching(server, namespace_labels=("team",)) as collector:
            books = Books()
            eventually(lambda: books.collect(collector, NOW))
            (failure,) = [one for one in books.failures[-2:] if one.part == resource][-1:]
            assert failure.reason.startswith(f"needs {verb} on {resource}: {resource} is forbidden")
            if resource == "namespaces":
                assert books.open() == {"p1"}


def test_a_cluster_without_gpus_is_no_failure(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "collectors.cluster.kubernetes"), cluster([gpu_node("n1", gpus=0)]) as world:
        _, collector, books = world
        for now in (NOW, NOW + 30, NOW + 60):
            assert books.collect(collector, now) == []
        assert (books.nodes, books.seconds()) == ({}, 60)
        said = [record.getMessage() for record in caplog.records]
        assert said == ["cluster: none of the cluster's 1 nodes has GPUs"]


def test_a_node_without_provider_id_is_counted_and_allocated() -> None:
    with cluster([gpu_node("n1", provider_id="")], [gpu_pod("p1")]) as (_, collector, books):
        books.collect(collector, NOW)
        books.collect(collector, NOW + 30)
        assert books.rejected == {"node_without_provider_id": 1}
        assert books.nodes["uid-n1"].resource == ""
        assert books.open() == {"p1"}


def test_malformed_objects_are_counted_and_the_others_kept() -> None:
    broken = gpu_pod("broken")
    broken["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] = "many"
    broken["spec"]["containers"][0]["resources"]["requests"] = {}
    with cluster([gpu_node("n1")], [broken, gpu_pod("p1")]) as (_, collector, books):
        assert books.collect(collector, NOW) == []
        assert books.open() == {"p1"}
        assert books.rejected == {"malformed_pod": 1}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"api_server": "http://127.0.0.1:1"}, "list of nodes: connection refused"),
        (
            {"api_server": None, "kubeconfig": "/nowhere/config"},
            "kubeconfig /nowhere/config: Invalid kube-config",
        ),
        ({"api_server": None, "kubeconfig": __file__}, f"kubeconfig {__file__}: "),
        ({"token_file": "/nowhere/token"}, "token_file /nowhere/token: No such file or directory"),
    ],
)
def test_no_way_in_is_a_failure_with_its_reason(options: dict[str, Any], expected: str) -> None:
    with serving() as server, watching(server, **options) as collector:
        failures = list(collector.collect(NOW, {}))
        assert isinstance(failures[0], Failure)
        assert failures[0].reason.startswith(expected)


def test_a_kubeconfig_and_its_context_are_used(tmp_path: Path) -> None:
    with serving() as server:
        server.token = "from-kubeconfig"
        server.put("nodes", gpu_node("n1"))
        file = tmp_path / "config"
        config = {
            "current-context": "other",
            "clusters": [{"name": "c", "cluster": {"server": server.url}}],
            "users": [{"name": "u", "user": {"token": "from-kubeconfig"}}],
            "contexts": [{"name": "prod", "context": {"cluster": "c", "user": "u"}}],
        }
        file.write_text(json.dumps(config))
        with watching(server, api_server=None, kubeconfig=str(file), context="prod") as collector:
            books = Books()
            assert books.collect(collector, NOW) == []
            assert set(books.nodes) == {"uid-n1"}
        file.write_text("{: secret")
        with watching(server, api_server=None, kubeconfig=str(file)) as collector:
            (failure,) = collector.collect(NOW, {})
            assert isinstance(failure, Failure)
            assert failure.reason == f"kubeconfig {file}: not YAML"


def test_a_page_that_is_no_list_is_a_failure() -> None:
    with serving() as server:
        server.trouble["nodes", "list"] = [(200, {}, {"kind": "Surprise"})]
        with watching(server) as collector:
            failures = list(collector.collect(NOW, {}))
            assert any("is this an API server?" in one.reason for one in failures if isinstance(one, Failure))


def test_positions_of_a_newer_version_are_left_alone() -> None:
    with cluster([gpu_node("n1")], [gpu_pod("p1")]) as (_, collector, books):
        for cursor in ('{"v":99,"node":1}', "{", '{"v":9,"node":{"key":"a","name":"a","window":{"start":1,"end":2},'
                       '"gpu":"","gpus":"1"}}'):  # fmt: skip
            books.cursors = {"node/uid-n1": cursor}
            (failure,) = books.collect(collector, NOW)
            assert "position in the ledger" in failure.reason
            assert books.cursors["node/uid-n1"] == cursor


def test_ten_thousand_pods_at_once() -> None:
    nodes = [gpu_node(f"n{number}") for number in range(1250)]
    pods = [gpu_pod(f"p{number}", f"n{number // 8}") for number in range(10_000)]
    with serving() as server:
        server.put("nodes", *nodes)
        with watching(server) as collector:
            books = Books()
            books.collect(collector, NOW)
            until_watching(server)
            server.put("pods", *pods)
            eventually(lambda: len(collector._pods.view()[0]) == 10_000)
            books.collect(collector, NOW + 30)
            assert len(books.open()) == 10_000
            assert sum(one.gpus for one in books.allocations.values()) == 10_000


def test_engines_are_posted_for_who_reads_them() -> None:
    board = Board()
    engine = gpu_pod("e1", ip="10.0.0.7", labels={"app.kubernetes.io/name": "vllm"})
    plain = gpu_pod("e2", ip="10.0.0.8", gpus=0, labels={"app.kubernetes.io/name": "vllm"})
    with cluster([gpu_node("n1")], [engine, plain, gpu_pod("p1")], board=board) as (server, collector, books):
        assert board.targets("cluster") is None
        books.collect(collector, NOW)
        found = board.targets("cluster")
        assert found is not None
        assert [one.name for one in found] == ["llm/e1", "llm/e2"]
        labels = books.of("e1").labels
        assert found[0] == Target("llm/e1", "http://10.0.0.7:8000/metrics", labels)
        server.delete("pods", "uid-e1")
        server.put("pods", gpu_pod("e2", ip="10.0.0.8", gpus=0, phase="Succeeded", labels=plain["metadata"]["labels"]))

        def gone() -> bool:
            books.collect(collector, NOW + 30)
            return board.targets("cluster") == ()

        eventually(gone)


def test_closing_ends_the_threads_while_watches_are_open() -> None:
    with cluster([gpu_node("n1")]) as (server, collector, books):
        books.collect(collector, NOW)
        until_watching(server)
        collector.close()
        assert not any(one.alive for one in collector._feeds.values())


def test_settings_say_what_is_wrong() -> None:
    adapter = TypeAdapter(collector_class("kubernetes").Settings)
    settings = adapter.validate_python({"name": "c", "kind": "kubernetes", "discover": {"selector": "a=b"}})
    assert (settings.interval, settings.relist, settings.discover.selector) == (30, 600, "a=b")


def test_a_pod_with_a_sidecar_holds_its_gpus_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    marked = {"labels": {"llm-cost-exporter/sidecar": "true"}}
    with (
        caplog.at_level(logging.INFO, "collectors.cluster.kubernetes"),
        cluster([gpu_node("n1")], [gpu_pod("p1", **marked), gpu_pod("p2")]) as (server, collector, books),
    ):
        books.collect(collector, NOW)
        assert (books.of("p1").sidecar, books.of("p2").sidecar) == (True, False)
        assert "a sidecar that counts them: 1," in caplog.text
        server.put("pods", gpu_pod("p2", **marked))
        eventually(lambda: books.collect(collector, NOW + 30) or len(books.allocations) == 3)


def test_two_collectors_of_one_cluster_say_so_once(caplog: pytest.LogCaptureFixture) -> None:
    board = Board()
    with cluster([gpu_node("n1")], name="one", board=board) as (server, collector, books):
        books.collect(collector, NOW)
        with watching(server, board, name="two") as other:
            for now in (NOW, NOW + 30):
                Books().collect(other, now)
    said = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert said == ["two: it watches the same cluster as one; it counts once, keep one"]
