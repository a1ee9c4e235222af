"""Whatever happens to engine, network and exporter: what is counted is what the counters were last seen to say."""

from dataclasses import dataclass, field
from typing import Literal

from hypothesis import given, settings
from hypothesis import strategies as st

from collectors import Context
from collectors.engines.fetch import Refused, Target, Unreadable
from collectors.engines.vllm import Vllm
from collectors.records import SLOT, Window
from tests.collectors.engines.ledger import Ledger

FIRST = 1_795_204_200
Flavour = Literal["by_source", "hits", "v0"]


@dataclass
class Process:
    """One life of an engine: its counters now, and what they were on its last page and at its baseline.

    `pending` are cache hits of requests that are scheduled and have no token yet: old versions show them already.
    """

    start: float
    prompt: int = 0
    cached: int = 0
    output: int = 0
    pending: int = 0
    pending_seen: int = 0
    seen: tuple[int, int, int] | None = None
    baseline: tuple[int, int, int] = (0, 0, 0)
    served: list[tuple[int, int]] = field(default_factory=list)  # spans with tokens that no page has shown yet

    def serve(self, begin: int, end: int, computed: int, cached: int, output: int) -> None:
        started = self.pending if computed else 0
        self.prompt += computed + cached + started
        self.cached += cached + started
        self.pending -= started
        self.output += output
        if computed + cached + output:
            self.served.append((begin, end))

    def counters(self, flavour: Flavour) -> tuple[int, int, int]:
        return self.prompt, self.cached + (self.pending if flavour == "hits" else 0), self.output

    def page(self, flavour: Flavour, with_start: bool) -> bytes:
        lines = [f"process_start_time_seconds {self.start!r}"] if with_start else []
        lines.append(f'vllm:prompt_tokens_total{{model_name="m"}} {self.prompt}')
        if flavour == "by_source":
            parts = {"local_compute": self.prompt - self.cached, "local_cache_hit": self.cached}
            lines += [
                f'vllm:prompt_tokens_by_source_total{{model_name="m",source="{s}"}} {n}' for s, n in parts.items()
            ]
        if flavour == "hits":
            lines.append(f'vllm:prefix_cache_hits_total{{model_name="m"}} {self.cached + self.pending}')
        lines.append(f'vllm:generation_tokens_total{{model_name="m"}} {float(self.output)!r}')
        return ("\n".join(lines) + "\n").encode()


class World:
    """An engine, a network and an exporter that all may fail. Stands in for the collector's fetcher."""

    def __init__(self, flavour: Flavour, with_start: bool, from_zero: bool) -> None:
        self.flavour, self.with_start, self.from_zero = flavour, with_start, from_zero
        self.now = FIRST
        self.engine: Process | None = Process(FIRST - 5000.25, 7777, 3333, 999)
        self.past: list[Process] = []
        self.trouble: str = ""
        self.ledger = Ledger()
        self.start_exporter()

    def start_exporter(self) -> None:
        baseline: Literal["zero", "auto"] = "zero" if self.from_zero else "auto"
        options = Vllm.Settings("chat", "vllm", ("http://127.0.0.1:1/metrics",), baseline=baseline)
        self.collector = Vllm(options, Context(FIRST))
        self.collector.close()
        self.collector._fetcher = self  # type: ignore[assignment]  # the world answers instead of a server

    def get(self, target: Target) -> bytes:
        if self.engine is None:
            raise Refused("connection refused")
        page = self.engine.page(self.flavour, self.with_start)
        if self.trouble == "cut":  # behind a line: looks whole
            return page[: page.index(b"vllm:generation")]
        if self.trouble == "gap":
            cached = (b"vllm:prefix_cache_hits", b"local_cache_hit")
            return b"".join(line for line in page.splitlines(True) if not any(name in line for name in cached))
        if self.trouble:
            raise Unreadable(self.trouble)
        return page

    def run(self, seconds: int, computed: int, cached: int, output: int) -> None:
        if self.engine is not None:
            self.engine.serve(self.now, self.now + seconds, computed, cached, output)
        self.now += seconds

    def stop_engine(self) -> None:
        if self.engine is not None:
            self.past.append(self.engine)
            self.engine = None

    def restart_engine(self) -> None:
        self.stop_engine()
        self.engine = Process(self.now + 0.25)
        self.now += 1

    def scrape(self, trouble: str) -> None:
        if trouble == "gap" and (self.flavour == "v0" or self.engine is None or self.engine.seen is None):
            trouble = "cut"  # only what this process showed before can be missed
        self.trouble = trouble
        first_sight = not self.ledger.usage
        failures = len(self.ledger.failures)
        self.ledger.collect(self.collector, self.now)
        assert (len(self.ledger.failures) > failures) == (self.engine is None or bool(trouble))
        if self.engine is None or trouble:
            return
        process = self.engine
        if first_sight and not self.from_zero and not (self.with_start and process.start > FIRST):
            process.baseline = process.counters(self.flavour)
        process.seen = process.counters(self.flavour)
        process.pending_seen = process.pending
        process.served.clear()

    @property
    def lives(self) -> list[Process]:
        return [*self.past, *([self.engine] if self.engine else [])]


def apply(world: World, steps: list[tuple[str, tuple[int, int, int, int]]]) -> None:
    for action, amounts in steps:
        match action:
            case "serve":
                world.run(*amounts)
            case "schedule" if world.engine is not None:
                world.engine.pending += amounts[2]
            case "scrape" | "timed out after 10 s" | "cut" | "gap":
                world.run(15, *amounts[1:])
                world.scrape("" if action == "scrape" else action)
            case "stop":
                world.stop_engine()
            case "restart":
                world.restart_engine()
            case "exporter restart":
                world.start_exporter()


ACTIONS = ["serve", "schedule", "scrape", "scrape", "scrape", "timed out after 10 s", "cut", "gap"]
ACTIONS += ["stop", "restart", "exporter restart"]
AMOUNTS = st.tuples(
    st.integers(1, 60) | st.integers(1, 4000), st.just(0) | st.integers(0, 500), st.integers(0, 500), st.integers(0, 90)
)
STEPS = st.lists(st.tuples(st.sampled_from(ACTIONS), AMOUNTS), max_size=25)
FLAVOURS: st.SearchStrategy[Flavour] = st.sampled_from(["by_source", "hits", "v0"])


def check(tokens: dict[str, int], lives: list[Process], flavour: Flavour) -> None:
    """Prompt and output to the token; cached tokens too, but for those whose prompt is still to come."""
    seen = [(p.seen, p.baseline) for p in lives if p.seen is not None]
    prompt, cached, output = (sum(s[i] - b[i] for s, b in seen) for i in range(3))
    pending = sum(p.pending_seen for p in lives) if flavour == "hits" else 0
    assert tokens["output"] == output
    assert tokens["input"] + tokens.get("cache_read", 0) == prompt
    assert ("cache_read" in tokens) == (flavour != "v0")
    if flavour != "v0":
        assert cached - pending <= tokens["cache_read"] <= cached


@settings(max_examples=150, deadline=None)
@given(STEPS, FLAVOURS, st.booleans())
def test_with_a_start_time_every_process_is_counted_to_its_last_page(
    steps: list[tuple[str, tuple[int, int, int, int]]], flavour: Flavour, from_zero: bool
) -> None:
    world = World(flavour, with_start=True, from_zero=from_zero)
    apply(world, steps)
    if world.ledger.usage:
        check(world.ledger.tokens(), world.lives, flavour)
    assert world.ledger.rejected == {}
    for process in world.lives:
        for lost in process.served:
            assert not any(overlaps(span, lost) for span in world.ledger.up if span.start not in refusals(world))
            # Between a refusal and the scrape before or after it, at most a slot, an unseen life is not reckoned with.
            assert not any(
                overlaps(span, lost) and span.seconds > SLOT for span in (*world.ledger.down, *world.ledger.up)
            )


def refusals(world: World) -> set[int]:
    return {span.end for span in world.ledger.down}


def overlaps(span: Window, other: tuple[int, int]) -> bool:
    return max(span.start, other[0]) < min(span.end, other[1])


@settings(max_examples=100, deadline=None)
@given(STEPS, FLAVOURS)
def test_without_a_start_time_nothing_is_made_up(
    steps: list[tuple[str, tuple[int, int, int, int]]], flavour: Flavour
) -> None:
    """A restart that no counter shows by a fall looks like the old process going on: less is counted, never more."""
    world = World(flavour, with_start=False, from_zero=False)
    apply(world, steps)
    seen = [(p.seen, p.baseline) for p in world.lives if p.seen is not None]
    total = sum(world.ledger.tokens().values())
    assert total <= sum(s[0] - b[0] + s[2] - b[2] for s, b in seen)
    if len(seen) == 1:
        check(world.ledger.tokens(), world.lives, flavour)
