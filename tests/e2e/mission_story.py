"""What happens in the mission, told once: the running exporter is looked at in each stage, and tests judge the looks.

Waiting decides nothing: each stage is over when what it is about shows on the page, or fails after a minute.
"""

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from collectors.records import DAY, HOUR
from tests.collectors.cluster.api_server import status
from tests.e2e import mission_bill, mission_traffic
from tests.e2e.mission import World, live, world
from tests.e2e.mission_boards import series_of_all_queries
from tests.e2e.mission_look import Look, counted, look_at
from tests.e2e.running import Running, exporter, fetch, free_port, prometheus, sped_up, wait_for

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": mission_bill.KEY,
    "AWS_SECRET_ACCESS_KEY": mission_bill.SECRET,
    "AWS_EC2_METADATA_DISABLED": "true",
}
SICK = {"cluster", "aws-bill", "aws-lab", "openai"}
RESTATED = "42"  # USD per hour of the first day, in the last delivery


@dataclass
class Story:
    """The stages by name, what the commands printed, the whole log, and answers of the real Prometheus."""

    world: World
    address: str = field(default_factory=lambda: f"127.0.0.1:{free_port()}")
    looks: dict[str, Look] = field(default_factory=dict)
    printed: dict[str, str] = field(default_factory=dict)
    statuses: dict[str, int] = field(default_factory=dict)
    asked: dict[str, list[float]] = field(default_factory=dict)
    boards: dict[str, int] = field(default_factory=dict)  # series of each board's query, now or in the trouble
    troubled_at: float = 0
    served: dict[str, int] = field(default_factory=dict)  # tokens by workload, up to the end
    lines: int = 0  # of the gateway's log beside its history
    child: Running | None = None  # the exporter that was started last

    @property
    def log_file(self) -> Path:
        return self.world.directory / "exporter.log"

    @property
    def log(self) -> str:
        return self.log_file.read_text()

    def start(self) -> None:
        command = exporter("serve", f"--config.file={self.world.config}", f"--web.listen-address={self.address}")
        self.child = Running(command, self.log_file, **CREDENTIALS)
        self.child.page(f"http://{self.address}/metrics")

    def stop(self) -> None:
        """The sources can be closed only when nothing reads them any more."""
        if self.child is not None:
            self.statuses["serve"] = self.child.stop()

    def look(self) -> Look:
        return look_at(self.address)

    def wait(self, name: str, holds: Callable[[Look], Any]) -> Look:
        """Look until it holds; kept as stage `name`."""

        def once() -> Look | None:
            seen = self.look()
            try:
                return seen if holds(seen) else None
            except (KeyError, StopIteration, TypeError):  # not there yet
                return None

        try:
            self.looks[name] = wait_for(name, once)
        except AssertionError as error:
            seen = self.look()
            raise AssertionError(f"{error}; {seen.success()}; the log:\n{self.log[-3000:]}") from None
        return self.looks[name]

    def say(self, *teams: str) -> None:
        """The gateway logs a call of each."""
        self.write(time.time(), *teams)
        self.lines += len(teams)

    def write(self, at: float, *teams: str) -> None:
        with self.world.log.open("a") as out:
            out.writelines(mission_traffic.gateway_line(at, team) for team in teams)

    def commands(self, *lines: tuple[str, ...]) -> None:
        """Run them side by side."""
        environment = {**os.environ, **CREDENTIALS}
        started = [
            subprocess.Popen(
                exporter(*line, f"--config.file={self.world.config}"),
                env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            )
            for line in lines
        ]  # fmt: skip
        for line, child in zip(lines, started, strict=True):
            name = " ".join(word for word in line if not word.startswith("--output"))
            out, errors = child.communicate(timeout=120)
            self.printed[name], self.printed[f"{name}: errors"] = out, errors
            self.statuses[name] = child.returncode


def listed(look: Look) -> bool:
    """Every source has delivered, but for the export, of which there is none yet; and the figures are of after that."""
    others = all(look.bill(name) for name in ("openai", "anthropic", "aws-lab"))
    others = others and all(("tokens", "billed") in look.cost(name) for name in ("support-bot", "research"))
    return others and sum(look.success().values()) >= 9 and ("gpu", "list") in look.cost("chat")


def bills_arrive(story: Story) -> None:
    """Without a bill from AWS; with it; read again alike, so that its old days are settled."""
    rows = mission_bill.bill(story.world.midnight)
    story.wait("listed", listed)
    story.world.exports.deliver(rows)
    story.wait("billed", lambda look: ("gpu", "billed") in look.cost("chat"))
    story.world.exports.deliver(rows)
    story.wait("calibrated", lambda look: ("gpu", "calibrated") in look.cost("chat"))


def roll_out(story: Story) -> None:
    """A pod of the Deployment is replaced by another while it serves."""
    world = story.world
    freeze(world, "chat-1", "chat-2")
    story.wait("frozen", lambda look: counted(look, "chat") == world.served("chat-1", "chat-2"))
    world.frozen.pop("chat-2")
    world.api.put("pods", world.chat_pod("chat-3"))
    parts, held = {"collector": "engines", "state": "ok"}, {"gpu": "nvidia-h100-80gb", "state": "allocated"}
    story.wait(
        "both",
        lambda look: (
            look.value("llmcost_exporter_collector_parts", **parts) == 3 and look.total("llmcost_gpus", **held) == 8
        ),
    )
    world.api.delete("pods", "uid-chat-1")
    story.wait(
        "one gone",
        lambda look: (
            look.value("llmcost_exporter_collector_parts", **parts) == 2 and look.total("llmcost_gpus", **held) == 7
        ),
    )
    world.engines["chat-1"].close()
    freeze(world, "chat-2", "chat-3")
    story.wait("rolled out", lambda look: counted(look, "chat") >= world.served("chat-1", "chat-2", "chat-3"))
    world.frozen.pop("chat-2")
    world.frozen.pop("chat-3")


def freeze(world: World, *names: str) -> None:
    for name in names:
        world.frozen[name] = time.time()


def fail_and_recover(story: Story) -> None:
    """Four sources fail at once, each in its own way; then all is well again."""
    world = story.world
    gone = (410, {}, status(410, "Expired", "too old resource version"))
    for resource in ("nodes", "pods"):
        world.api.compact(resource)
        for verb in ("list", "watch"):
            world.api.trouble[resource, verb] = [gone] * 1000
    world.api.cut()
    world.exports.gate.refused["run-3/gpu-bill-00001"] = ("403 Forbidden", "AccessDenied")
    restated = [
        row if row["line_item_usage_start_date"] >= mission_bill.utc(world.since + DAY)
        or row["line_item_resource_id"] != mission_bill.INSTANCE or row["line_item_line_item_type"] != "Usage"
        else {**row, "line_item_unblended_cost": RESTATED}
        for row in mission_bill.bill(world.midnight)
    ]  # fmt: skip
    world.exports.deliver(restated)
    world.openai.fault = mission_traffic.throttled
    world.costs.faults = [mission_bill.expired() for _ in range(1000)]
    story.wait("trouble begins", lambda look: {k for k, v in look.success().items() if not v} == SICK)
    before = counted(story.looks["trouble begins"], "support-bot")
    story.say("support")
    late = mission_traffic.late_tokens(story.looks["trouble begins"])
    story.write(time.time(), "pilot")
    story.write(time.time() - 3 * HOUR, "pilot")  # too late for the counters
    story.wait(
        "trouble",
        lambda look: (
            counted(look, "support-bot") > before
            and counted(look, "pilot") == mission_traffic.TOKENS_A_CALL
            and mission_traffic.late_tokens(look) == late + mission_traffic.TOKENS_A_CALL
        ),
    )
    story.troubled_at = time.time()
    world.api.trouble.clear()
    world.exports.gate.refused.clear()
    world.openai.fault = mission_traffic.nothing
    world.costs.faults.clear()
    whole = mission_bill.chat_billed_usd(RESTATED)
    story.wait("recovered", lambda look: all(look.success().values()) and look.cost("chat")["gpu", "billed"] == whole)


def kill_and_restart(story: Story) -> None:
    """SIGKILL while tokens are being served and a log is being written."""
    story.looks["before the kill"] = story.look()
    story.say("support", "search", "search")
    assert story.child is not None
    story.child.kill()
    story.say("support")
    story.start()
    freeze(story.world, "chat-2", "chat-3", "lab")
    chat, lab = story.world.served("chat-1", "chat-2", "chat-3"), story.world.served("lab")
    story.served = {"chat": chat, "lab": lab}
    lines = sum(mission_traffic.TOKENS.values()) * story.lines
    story.wait(
        "after the kill",
        lambda look: (
            all(look.success().values())
            and counted(look, "chat") >= chat
            and counted(look, "lab") >= lab
            and counted(look, "support-bot") + counted(look, "search") >= lines
        ),
    )


def ask(story: Story, url: str) -> None:
    """Of a real Prometheus that has scraped all the while: how often each counter fell, and the figures of chat."""
    families = sorted({name for name, _ in story.look().counters()})
    queries = {f"resets of {name}": f"sum(resets({name}[1h]))" for name in families}
    queries["cost"] = 'llmcost_effective_cost_usd{workload="chat", component="gpu", window="7d"}'
    queries["effective"] = (
        'sum by (workload) (llmcost_effective_cost_usd{workload="chat", window="7d"})'
        ' / sum by (workload) (llmcost_window_tokens{workload="chat", window="7d"})'
        ' / on (workload) llmcost_effective_usd_per_token{workload="chat", window="7d"}'
    )
    for name, query in queries.items():
        found = json.loads(fetch(f"{url}/api/v1/query?{urlencode({'query': query})}") or "{}")
        story.asked[name] = [float(one["value"][1]) for one in found["data"]["result"]]


def day(at: int) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d}"


def look_back(story: Story) -> None:
    """What is asked of the ledger while the exporter runs."""
    midnight = story.world.midnight
    month = mission_bill.month_start(midnight, 1), mission_bill.month_start(midnight)
    story.commands(
        ("explain", "chat"),
        ("explain", "lab"),
        ("explain", "support-bot"),
        ("report", "--from", day(story.world.since), "--to", day(midnight - DAY), "--output=json"),
        ("report", "--from", day(month[0]), "--to", day(month[1]), "--output=json"),
        ("check", "--live"),
    )


def live_on(world: World, looks: dict[str, Look]) -> None:
    """A simulated hour and more: until then the slots of the story are not closed."""
    for name in ("chat-2", "chat-3", "lab"):
        del world.frozen[name]
    world.now = time.time()
    looks["later"] = live(world, world.now + 4200, step=300)
    world.now = None


def stay_within_a_day() -> None:
    """The story is told in days before today: it must not last over midnight."""
    left = DAY - time.time() % DAY
    if left < 240:
        time.sleep(left + 1)


@contextmanager
def told(directory: Path) -> Iterator[Story]:
    """The whole story."""
    stay_within_a_day()
    with ExitStack() as stack:
        story = Story(stack.enter_context(world(directory)))
        url = stack.enter_context(prometheus(directory, [story.address], [sped_up(directory)]))
        try:
            story.start()
            bills_arrive(story)
            roll_out(story)
            fail_and_recover(story)
            kill_and_restart(story)
            look_back(story)
            ask(story, url)
            story.boards = series_of_all_queries(url, story.troubled_at)
        finally:
            story.stop()
        story.commands(("once",))
        live_on(story.world, story.looks)
        yield story
