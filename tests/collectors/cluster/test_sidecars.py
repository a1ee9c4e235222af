"""A pod that gets a sidecar, or loses it, while it runs: from then on another exporter counts it, its past stays."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from collectors import Board, Context
from collectors.cluster import feed
from collectors.cluster.changes import Sight, vouched
from collectors.cluster.kubernetes import Kubernetes
from collectors.cluster.nodes import Machine
from collectors.cluster.pods import Pod
from collectors.records import DAY, OPEN, Batch, Failure, Node, Window
from tests.collectors.cluster.api_server import ApiServer, serving
from tests.collectors.cluster.cluster import T0, Books, cluster, eventually, gpu_node, gpu_pod, watching

NOW = T0 + 10_000
Span = tuple[int, int, bool]


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(feed, "LONGEST_PAUSE", 0.05)


def marked(on: bool) -> dict[str, Any]:
    return {"labels": {"llm-cost-exporter/sidecar": "true"} if on else {}}


def spans(books: Books, pod: str) -> list[Span]:
    """Who counts a pod from when to when: (start, end, whether its sidecar does)."""
    held = [one for one in books.allocations.values() if dict(one.labels)["pod"] == pod]
    return sorted((one.window.start, one.window.end, one.sidecar) for one in held)


def turn(server: ApiServer, books: Books, collector: Kubernetes, now: int, on: bool, **more: Any) -> None:
    """Mark the pod, or take the mark off, and collect at `now` once that has been seen."""
    server.put("pods", gpu_pod("p1", **marked(on), **more))
    eventually(lambda: collector._pods.view()[0]["uid-p1"].sidecar == on)
    books.collect(collector, now)


def test_each_hour_is_counted_by_who_counted_it_then() -> None:
    with cluster([gpu_node("n1")], [gpu_pod("p1"), gpu_pod("p2", **marked(True))]) as (server, collector, books):
        books.collect(collector, NOW)
        for at, on in ((100, True), (200, False), (300, True)):
            turn(server, books, collector, NOW + at, on)
        begun = [(T0 + 60, False), (NOW + 100, True), (NOW + 200, False), (NOW + 300, True)]
        ends = [*(start for start, _ in begun[1:]), OPEN]
        assert spans(books, "p1") == [(start, end, on) for (start, on), end in zip(begun, ends, strict=True)]
        assert spans(books, "p2") == [(T0 + 60, OPEN, True)]
        said = books.batches
        books.collect(collector, NOW + 400)
        assert books.batches == said
        server.delete("pods", "uid-p1")
        eventually(lambda: "uid-p1" in collector._pods.view()[1])
        books.collect(collector, NOW + 500)
        assert NOW + 300 < spans(books, "p1")[-1][1] <= NOW + 500
        books.collect(collector, NOW + 600 + DAY)
        assert "uid-p1" not in books.cursors["node/uid-n1"]


def test_it_goes_on_after_a_restart_and_a_new_list() -> None:
    with serving() as server:
        books = Books()
        server.put("nodes", gpu_node("n1"))
        server.put("pods", gpu_pod("p1"))
        with watching(server) as collector:
            books.collect(collector, NOW)
            turn(server, books, collector, NOW + 100, True)
        expected = [(T0 + 60, NOW + 100, False), (NOW + 100, OPEN, True)]
        with watching(server) as collector:
            books.collect(collector, NOW + 200)
            assert spans(books, "p1") == expected
        server.put("pods", gpu_pod("p1"))  # while it is down
        with watching(server) as collector:
            books.collect(collector, NOW + 300)
            expected = [*expected[:-1], (NOW + 100, NOW + 300, True), (NOW + 300, OPEN, False)]
            assert spans(books, "p1") == expected
            labels = server.resources["pods"].objects["uid-p1"]["metadata"]["labels"]
            labels.update(marked(True)["labels"])  # no watcher is told
            server.compact("pods")
            eventually(lambda: server.cut() or collector._pods.view()[0]["uid-p1"].sidecar)  # 410: all is listed anew
            books.collect(collector, NOW + 400)
            expected = [*expected[:-1], (NOW + 300, NOW + 400, False), (NOW + 400, OPEN, True)]
            assert spans(books, "p1") == expected


def test_a_failed_commit_of_it_is_made_up_for() -> None:
    with cluster([gpu_node("n1")], [gpu_pod("p1")]) as (server, collector, books):
        books.collect(collector, NOW)
        server.put("pods", gpu_pod("p1", **marked(True)))
        eventually(lambda: collector._pods.view()[0]["uid-p1"].sidecar)
        results = collector.collect(NOW + 30, dict(books.cursors))
        next(results)
        results.close()  # type: ignore[attr-defined]  # the disk was full: nothing was committed
        books.collect(collector, NOW + 60)
        assert spans(books, "p1") == [(T0 + 60, NOW + 60, False), (NOW + 60, OPEN, True)]


def test_a_clock_that_is_set_back_makes_no_second_allocation_of_one_time() -> None:
    with cluster([gpu_node("n1")], [gpu_pod("p1")]) as (server, collector, books):
        books.collect(collector, NOW)
        turn(server, books, collector, NOW + 100, True)
        turn(server, books, collector, NOW + 100, False)
        turn(server, books, collector, NOW + 50, True)
        assert spans(books, "p1") == [(T0 + 60, NOW + 100, False), (NOW + 100, OPEN, True)]


def test_a_position_from_before_pods_said_so_keeps_what_was_counted() -> None:
    """One pod runs; the other is over, but still listed."""
    with serving() as server:
        books = Books()
        over = {"phase": "Succeeded", "ended": NOW - 500}
        server.put("nodes", gpu_node("n1"))
        server.put("pods", gpu_pod("p1"), gpu_pod("p2", **over))
        with watching(server) as collector:
            books.collect(collector, NOW)
        position = json.loads(books.cursors["node/uid-n1"])
        for held in position["pods"]:
            del held["sidecar"]
        books.cursors["node/uid-n1"] = json.dumps(position)
        server.put("pods", gpu_pod("p1", **marked(True)), gpu_pod("p2", **marked(True), **over))
        with watching(server) as collector:
            for now in (NOW + 100, NOW + 200):
                books.collect(collector, now)
                assert spans(books, "p1") == [(T0 + 60, NOW + 100, False), (NOW + 100, OPEN, True)]
                assert spans(books, "p2") == [(T0 + 60, NOW - 500, False)]


@pytest.mark.parametrize("lost", ["pod", "node"])
def test_a_malformed_event_after_it_leaves_the_past_where_it_was(lost: str) -> None:
    """What it is of drops out of sight until the next event; it has held its GPUs all the time."""
    with cluster([gpu_node("n1")], [gpu_pod("p1", **marked(True)), gpu_pod("p2")]) as (server, collector, books):
        books.collect(collector, NOW)
        turn(server, books, collector, NOW + 100, False)
        books.collect(collector, NOW + 200)
        if lost == "pod":
            server.put("pods", gpu_pod("p1", gpus="many"))  # type: ignore[arg-type]  # no number
            eventually(lambda: "uid-p1" not in collector._pods.view()[0])
        else:
            server.put("nodes", gpu_node("n1", capacity={"nvidia.com/gpu": "many"}))
            eventually(lambda: not collector._nodes.view()[0])
        for now in (NOW + 300, NOW + 330):
            books.collect(collector, now)
            assert spans(books, "p1") == [(T0 + 60, NOW + 100, True), (NOW + 100, NOW + 200, False)]
        server.put("nodes", gpu_node("n1"))
        server.put("pods", gpu_pod("p1"))
        eventually(lambda: collector._nodes.view()[0] and "uid-p1" in collector._pods.view()[0])
        for now in (NOW + 400, NOW + 430):
            books.collect(collector, now)
            assert spans(books, "p1") == [(T0 + 60, NOW + 100, True), (NOW + 100, OPEN, False)]
            assert spans(books, "p2") == [(T0 + 60, OPEN, False)]
            assert books.nodes["uid-n1"].window == Window(T0, OPEN)


@pytest.mark.parametrize("lost", ["pod", "node"])
def test_one_missing_from_a_list_comes_back_as_what_it_was(lost: str) -> None:
    """Such as one that is malformed there, or beyond what is kept: that list says that it has gone."""
    model = Model()
    model.collect("")
    model.now += 30
    model.flip("p1")
    model.end("p2")
    model.collect("")
    expected, sight, at = dict(model.expected), model.sight(), model.now
    if lost == "node":
        missed = replace(sight, machines={}, gone_machines={key: (one, at) for key, one in sight.machines.items()})
    else:
        missed = replace(sight, pods={}, gone_pods={key: (one, at) for key, one in sight.pods.items()})
    for seen in (missed, replace(missed, gone_machines={}, gone_pods={})):
        model.now += 30
        model.take(seen)
        assert spans(model.books, "p1")[-1][1] == at
    model.now += 30
    model.collect("")
    assert {pod: spans(model.books, pod) for pod in expected} == expected


def test_a_pod_that_lived_while_its_node_was_out_of_sight_is_said_when_that_is_back() -> None:
    model = Model()
    model.collect("")
    model.node("")
    model.now += 30
    model.pods["p3"] = replace(model.pods["p1"], key="p3", labels=(("pod", "p3"),), start=NOW + 5, end=NOW + 20)
    model.collect("")
    model.restart()
    model.now += 30
    model.node("")
    model.collect("")
    assert spans(model.books, "p3") == [(NOW + 5, NOW + 20, False)]
    assert spans(model.books, "p1") == [(NOW - 10, OPEN, False)]


@pytest.mark.parametrize("lost", ["pod", "node"])
def test_what_was_lost_from_sight_is_forgotten_after_a_day(lost: str) -> None:
    model = Model()
    for happens in (model.collect, model.flip, model.collect, model.hide if lost == "pod" else model.node):
        model.now += 30
        happens("p1")
    last = model.seen
    model.collect("")
    for now, known in ((last + DAY - 1, True), (last + DAY, False)):
        model.now = now
        before = dict(model.books.allocations)
        model.collect("")
        assert model.books.allocations == before
        assert ("p1" in model.books.cursors.get("node/u1", "")) == known
    assert ("node/u1" in model.books.cursors) == (lost == "pod")


@dataclass
class Model:
    """A node with two pods, what happens to them, and who is to count each from when to when."""

    now: int = NOW
    books: Books = field(default_factory=Books)
    pods: dict[str, Pod] = field(default_factory=dict)
    gone: dict[str, tuple[Pod, int]] = field(default_factory=dict)
    hidden: set[str] = field(default_factory=set)  # they are there, but cannot be seen
    node_hidden: bool = False
    absent: set[str] = field(default_factory=set)  # hidden at the last collect
    expected: dict[str, list[Span]] = field(default_factory=dict)
    silent: bool = False  # what is over may not be known to have been said: a crash came before the cluster's vouching
    blind: bool = False  # nor then: something was hidden once

    def __post_init__(self) -> None:
        self.restart()
        requests = (("nvidia.com/gpu", Decimal(1)),)
        for name in ("p1", "p2"):
            labels = (("namespace", "llm"), ("pod", name))
            self.pods[name] = Pod(name, 1, "llm", name, "n1", NOW - 10, OPEN, OPEN, requests, labels, "", False)

    def restart(self, _: str = "") -> None:
        options = Kubernetes.Settings(name="cluster", kind="kubernetes", api_server="http://127.0.0.1:9")
        self.collector = Kubernetes(options, Context(first_start=T0, board=Board()))
        self.gone.clear()  # that it went is forgotten: it ends when it was last seen

    def flip(self, name: str) -> None:
        pod = self.pods.get(name)
        if pod is not None and (pod.end == OPEN or not (self.silent or self.blind)):
            self.pods[name] = replace(pod, sidecar=not pod.sidecar)

    def end(self, name: str) -> None:
        if name in self.pods and self.pods[name].end == OPEN:
            self.pods[name] = replace(self.pods[name], end=self.now - 5)

    def delete(self, name: str) -> None:
        if name in self.pods:
            pod = self.pods.pop(name)
            if name not in self.hidden:
                self.gone[name] = (pod, self.now - 3)

    def vanish(self, name: str) -> None:
        """While the exporter is down."""
        self.restart()
        self.pods.pop(name, None)

    def hide(self, name: str) -> None:
        self.hidden.add(name)
        self.blind = True

    def lose(self, name: str) -> None:
        """A list without it: it seems to have gone. (One that never flipped, and does so meanwhile, is not told.)"""
        if len(self.expected.get(name, ())) > 1 and name in self.pods.keys() - self.hidden:
            self.gone[name] = (self.pods[name], self.now - 3)
            self.hide(name)

    def node(self, _: str) -> None:
        self.node_hidden = not self.node_hidden
        self.blind = True

    def show(self, name: str) -> None:
        if name in self.hidden:
            self.hidden.discard(name)
            self.gone.pop(name, None)

    def collect(self, _: str, crash: bool = False) -> None:
        self.take(self.sight())
        self._expect()
        self.gone.clear()
        if not crash:
            self.books.cursors[""] = vouched(self.now)
            self.seen = self.now
        self.silent = crash

    def take(self, sight: Sight) -> None:
        for batch in self._news(sight):
            assert isinstance(batch, Batch)
            self.books.commit(batch)

    def crash(self, name: str) -> None:
        self.collect(name, crash=True)
        self.restart()

    def fail(self, _: str) -> None:
        """What is collected is not committed."""
        results = self._news(self.sight())
        next(results, None)
        results.close()  # type: ignore[attr-defined]  # a generator, as the runner sees it

    def _news(self, sight: Sight) -> Iterator[Batch | Failure]:
        return self.collector._news(sight, dict(self.books.cursors), self.now)

    def sight(self) -> Sight:
        node = Node("u1", "n1", Window(T0, OPEN), "gpu", Decimal(8), resource="i-1")
        machines = {"u1": Machine("u1", 1, node, {"nvidia.com/gpu": Decimal(1)})}
        pods = {name: pod for name, pod in self.pods.items() if name not in self.hidden}
        return Sight(machines={} if self.node_hidden else machines, pods=pods, gone_pods=dict(self.gone))

    def _expect(self) -> None:
        sight = self.sight()
        ends = {name: pod.end for name, pod in sight.pods.items()}
        ends |= {name: min(pod.end, at) for name, (pod, at) in self.gone.items()}
        flags = {**sight.pods, **{name: pod for name, (pod, _) in self.gone.items()}} if sight.machines else {}
        for name, pod in flags.items():
            known = self.expected.setdefault(name, [(pod.start, OPEN, pod.sidecar)])
            start, end, flag = known[-1]
            end = OPEN if name in self.absent else end
            if end == OPEN and ends[name] == OPEN and flag != pod.sidecar:
                known[-1:] = [(start, self.now, flag), (self.now, OPEN, pod.sidecar)]
            elif end == OPEN:
                known[-1] = (start, max(start, ends[name]), flag)
        for name, known in self.expected.items():
            if name not in flags and known[-1][1] == OPEN:
                known[-1] = (known[-1][0], max(known[-1][0], self.seen), known[-1][2])
        self.absent = self.pods.keys() - (sight.pods.keys() if sight.machines else set())


OTHERS = ("lose", "end", "delete", "restart", "vanish", "crash", "fail")
steps = st.tuples(
    st.sampled_from((*3 * ("flip",), *2 * ("hide", "show", "node"), *OTHERS)),
    st.sampled_from(("p1", "p1", "p2")),
    st.integers(0, 2).map(bool),
)


def told(*happened: str) -> list[tuple[str, str, bool]]:
    """What happens to one pod; `.` is a collect."""
    return [(what.strip("."), "p1", what.endswith(".")) for what in happened]


@settings(max_examples=200, deadline=None)
@given(st.lists(steps, max_size=15))
@example(told("end.", "flip."))
@example(told("end.", "flip", "restart."))
@example(told("flip.", "end.", "restart."))
@example(told("flip.", "end", "crash", "restart."))
@example(told("flip", "end", "crash", "restart."))
@example(told("flip.", "end.", "delete.", "fail."))
@example(told("flip.", "vanish."))
@example(told("flip.", "hide.", "show."))
@example(told("flip.", "node.", "node."))
@example(told("flip.", "hide.", "restart.", "flip", "show.", "end."))
@example(told("flip.", "hide.", "end", "show.", "hide.", "show."))
@example(told("flip.", "lose.", "show."))
@example(told("hide.", "flip", "show."))
def test_whatever_happens_every_second_of_a_pod_is_counted_once_and_stays_counted(
    story: list[tuple[str, str, bool]],
) -> None:
    model = Model()
    model.collect("")
    for what, name, collects in story:
        happens: Callable[[str], None] = getattr(model, what)
        model.now += 30
        happens(name)
        if collects:
            model.now += 30
            model.collect("")
        for pod, expected in model.expected.items():
            assert spans(model.books, pod) == expected
