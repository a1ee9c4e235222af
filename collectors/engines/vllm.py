"""vLLM: tokens and load of engine processes, from their `/metrics` pages."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

from collectors import Context
from collectors.engines.counters import Baseline, Reading, Rejected, State, Step, advance
from collectors.engines.discovered import Discovered, Page
from collectors.engines.fetch import Fetcher, Refused, Target, Unreadable
from collectors.engines.page import PageError, scan
from collectors.engines.rows import load_rows, usage_rows
from collectors.engines.vllm_page import NAMES, OPTIONAL, Levels, Phase, VllmPage, read, token_types
from collectors.records import Batch, EngineLoad, Failure, Labels, Observed, Usage
from collectors.settings import STRICT, Duration

WORKERS = 32


@dataclass(frozen=True, slots=True)
class VllmSettings:
    """`targets` are http(s) URLs, `/metrics` if without a path; each is one engine process (list every replica).
    `discover` is the name of a collector that finds engines; those are read too.

    `baseline`: whether the first sight of a process counts from zero (`zero`), not (`observed`), or only if it started
    while this exporter watched (`auto`). `phase`: the targets' role where prefill and decode are served by different
    pods; the transferred prompt tokens of a `decode` target are left out, its prefill pod counted them. `labels` are
    what workloads can be matched by, beside the model. `bearer_token_file` is read at each request.
    """

    __pydantic_config__ = STRICT

    name: str
    kind: Literal["vllm"]
    targets: tuple[str, ...] = field(default=(), repr=False)  # may hold passwords
    discover: str | None = None
    interval: Duration = Duration(15)
    timeout: Duration = Duration(10)
    baseline: Baseline = "auto"
    phase: Phase = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    max_page_bytes: int = 64 * 1024 * 1024
    bearer_token_file: str | None = None

    def __post_init__(self) -> None:
        if not self.targets and self.discover is None:
            raise ValueError("targets: expected at least one URL, or discover")
        if self.timeout < 1 or self.max_page_bytes < 1:
            raise ValueError("timeout and max_page_bytes must be positive")
        seen: dict[str, int] = {}
        for index, target in enumerate(self.targets):
            try:
                shown = Target.parse(target).shown
            except ValueError as error:
                raise ValueError(f"targets[{index}]: {error}") from None
            if shown in seen:
                raise ValueError(f"targets[{index}]: the same page as targets[{seen[shown]}] ({shown})")
            seen[shown] = index


class _Model(NamedTuple):
    """One model's share of a batch, and the tokens it still owes (see `token_types`)."""

    name: str
    usage: list[Usage]
    loads: list[EngineLoad]
    owed: tuple[int, int]


class Vllm:
    """One part and one stream per target. `collectors.engines.counters` says what is counted when."""

    Settings = VllmSettings
    late_after: int | None = None

    def __init__(self, settings: VllmSettings, context: Context) -> None:
        self._settings = settings
        self._first_start = context.first_start
        self._labels: Labels = tuple(sorted(settings.labels.items()))
        self._targets = [Target.parse(text) for text in settings.targets]
        self._fetcher = self._connect(self._targets)
        self._discovered: Discovered | None = None
        context.board.join(settings.name, [target.url for target in self._targets], settings.discover)
        if settings.discover is not None:
            self._discovered = Discovered(
                settings.discover, settings.name, context.board, settings.labels, settings.phase, self._connect
            )
        # One target, as in a sidecar, needs no further thread.
        alone = len(self._targets) == 1 and self._discovered is None
        self._pool = None if alone else ThreadPoolExecutor(WORKERS, settings.name)

    @property
    def streams(self) -> frozenset[str] | None:
        """One per target; None while it is not known which there are."""
        found = self._discovered.streams if self._discovered is not None else frozenset[str]()
        return None if found is None else found | {target.shown for target in self._targets}

    def collect(self, now: int, cursors: Mapping[str, str]) -> Iterator[Batch | Failure]:
        """Scrape every target. A refused connection is both an observed zero and a failure."""
        pages = [Page(target, self._fetcher, self._labels, self._settings.phase) for target in self._targets]
        if self._discovered is not None:
            unknown = self._discovered.look(now)
            if unknown:
                yield Failure("discovery", unknown)
            pages += self._discovered.pages or ()
            yield from self._discovered.forget(cursors, now)
        yield from self._read(pages, now, cursors)

    def _read(self, pages: Sequence[Page], now: int, cursors: Mapping[str, str]) -> Iterator[Batch | Failure]:
        if self._pool is None:
            for page in pages:
                yield from self._visit(page, now, cursors.get(page.target.shown))
            return
        visits = [self._pool.submit(self._visit, page, now, cursors.get(page.target.shown)) for page in pages]
        try:
            for visit in visits:
                yield from visit.result()
        finally:
            for visit in visits:
                visit.cancel()

    def close(self) -> None:
        """Wait for requests under way, at most their timeout."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
        self._fetcher.close()
        if self._discovered is not None:
            self._discovered.close()

    def _connect(self, targets: Sequence[Target]) -> Fetcher:
        settings = self._settings
        return Fetcher(targets, float(settings.timeout), settings.max_page_bytes, settings.bearer_token_file)

    def _visit(self, page: Page, now: int, cursor: str | None) -> list[Batch | Failure]:
        part = page.target.shown
        try:
            state = State.loads(cursor)
        except ValueError as error:  # left as it is, for the version that wrote it
            return [Failure(part, f"cannot read this target's position in the ledger: {error}")]
        try:
            return [self._batch(page, now, state, read(scan(page.fetcher.get(page.target), NAMES)))]
        except Refused as refused:
            down = Observed(state.vouched(now), part, up=False)
            position = replace(state, down=now).dumps()
            return [Batch(part, observed=[down], cursor=position, stream=part), Failure(part, str(refused))]
        except (Unreadable, PageError, Rejected) as problem:
            position = replace(state, failed=now).dumps()
            return [Batch(part, cursor=position, stream=part), Failure(part, str(problem))]

    def _batch(self, at: Page, now: int, state: State, page: VllmPage) -> Batch:
        if not page.models:
            raise Rejected("no token series on the page (is --disable-log-stats set? is this the engine's own page?)")
        reading = Reading(now, page.start, page.counters, OPTIONAL)
        step = advance(state, reading, self._settings.baseline, self._first_start)
        models = [self._model(at, model, state, step, page.levels.get(model, Levels())) for model in page.models]
        part = at.target.shown
        position = replace(
            step.state,
            owed={model.name: model.owed for model in models if any(model.owed)},
            queued=frozenset(name for name, levels in page.levels.items() if levels.queued),
        )
        return Batch(
            part,
            usage=[row for model in models for row in model.usage],
            loads=[row for model in models for row in model.loads],
            observed=[Observed(step.observed, part)],
            cursor=position.dumps(),
            stream=part,
            rejected={"counter_anomaly": step.anomalies} if step.anomalies else {},
        )

    def _model(self, at: Page, name: str, state: State, step: Step, levels: Levels) -> "_Model":
        sums = step.sums(name)
        carried = state.owed.get(name, (0, 0)) if step.same_process else (0, 0)
        tokens, owed = token_types(sums, carried, at.phase)
        requests = int(sums.get("requests", 0))
        usage = usage_rows(step.window, tokens, requests, provider="vllm", model=name, labels=at.labels)
        queued = levels.queued and name in state.queued and self._steady(state, step)
        load = _load(name, step, sums, levels, tokens if queued else {})
        return _Model(name, list(usage), list(load_rows(step.window, load)), owed)

    def _steady(self, state: State, step: Step) -> bool:
        """Whether the step is one ordinary scrape interval: what holds at both its ends held in between."""
        at = step.window.end
        longest = 2 * self._settings.interval + self._settings.timeout
        return step.same_process and 0 < step.window.seconds <= longest and state.vouched(at) == step.window


def _load(
    model: str, step: Step, sums: Mapping[str, float], levels: Levels, queued_tokens: Mapping[str, int]
) -> EngineLoad:
    """`queued_tokens`: what was served while requests queued at both ends; without output the engine was stuck."""
    saturated = queued_tokens.get("output", 0) > 0
    return EngineLoad(
        slot=0,
        model=model,
        seconds=step.observed.seconds,
        saturated_seconds=step.window.seconds if saturated else 0,
        saturated_tokens=sum(queued_tokens.values()) if saturated else 0,
        prefill_seconds=sums.get("prefill_seconds"),
        decode_seconds=sums.get("decode_seconds"),
        running=levels.running,
        waiting=levels.waiting,
        kv_cache_usage=levels.kv_cache_usage,
    )
