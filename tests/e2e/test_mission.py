"""The whole mission with one source of each kind: one real exporter process, one story (mission_story), many verdicts.

Two GPU nodes, five pods, discovered engines, list prices and three bills, two API providers and a gateway, a rollout,
four failures, a SIGKILL, and what the commands say of it afterwards.
"""

import json
from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from typing import Any

import pytest

from collectors.records import DAY, HOUR
from tests.e2e import mission_bill, mission_traffic
from tests.e2e.mission import LAB_USD_PER_HOUR, TOKENS_PER_SECOND
from tests.e2e.mission_look import Look, counted
from tests.e2e.mission_story import SICK, Story, day, told
from tests.exporter.raw_bill import SPANS, raw_lines, raw_sum

LIST_USD_PER_HOUR = Decimal("55.04")  # p5.48xlarge in us-east-1, in the bundled table
GOOGLE_USD_PER_HOUR = Decimal("3.673385")  # a2-highgpu-1g in us-central1, of its SKUs
SHARES = {"chat": Decimal("0.5"), "ml/nightly-train": Decimal("0.25")}
SIDECAR_SHARE = Decimal("0.125")  # of the same node: allocated, and counted by the pod's sidecar alone
BILLED_HOURS = 60
STAGES = ("listed", "billed", "calibrated", "rolled out", "trouble", "recovered", "after the kill")


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    with told(tmp_path_factory.mktemp("mission")) as whole:
        yield whole


def hours(look: Look, workload: str) -> Decimal:
    """The covered time of the 7 days' window: all figures are sums over it."""
    return Decimal(look.window(workload)["covered_seconds"]) / HOUR


def near(value: Decimal | float) -> Any:
    return pytest.approx(float(value), rel=1e-9)


# What a workload costs, before and after its bill.


def test_without_a_bill_pods_share_the_list_price_of_their_node(story: Story) -> None:
    look = story.looks["listed"]
    for workload, share in SHARES.items():
        assert float(look.cost(workload)["gpu", "list"]) == near(hours(look, workload) * LIST_USD_PER_HOUR * share)


def test_a_quarter_of_a_time_sliced_gpu_costs_a_quarter_of_googles_catalogue_price(story: Story) -> None:
    for stage in STAGES:
        look = story.looks[stage]
        cost = look.cost("llm/rerank")["gpu", "list"]
        assert float(cost) == near(hours(look, "llm/rerank") * GOOGLE_USD_PER_HOUR / 4)


def test_the_bill_replaces_the_estimate_for_the_hours_it_bills_and_no_more(story: Story) -> None:
    look = story.looks["billed"]
    for workload, share in SHARES.items():
        cost, rest = look.cost(workload), hours(look, workload) - BILLED_HOURS
        assert cost["gpu", "billed"] == Decimal(mission_bill.USD_PER_HOUR) * BILLED_HOURS * share
        assert float(cost["gpu", "list"]) == near(rest * LIST_USD_PER_HOUR * share)
    replaced = Decimal(look.window("chat")["superseded_usd"])
    assert float(replaced) == near(BILLED_HOURS * LIST_USD_PER_HOUR * SHARES["chat"])


def test_settled_days_teach_what_the_rest_will_cost(story: Story) -> None:
    look, billed = story.looks["calibrated"], Decimal(mission_bill.USD_PER_HOUR)
    ratio = look.value("llmcost_calibration_ratio", collector="aws-bill")
    assert ratio == near(billed / LIST_USD_PER_HOUR)
    for workload, share in SHARES.items():
        rest = hours(look, workload) - BILLED_HOURS
        assert float(look.cost(workload)["gpu", "calibrated"]) == near(rest * billed * share)
    today, since = look.json["closed_through"] // DAY * DAY, story.world.since
    days = sum(since + n * DAY + DAY + 72 * HOUR <= today for n in range(2))  # whole days that are old enough
    settled = Decimal(look.bill("aws-bill")["states"]["settled"])
    assert days > 0
    assert settled == days * 24 * billed + Decimal("3.21") + Decimal("9.50") - Decimal("12.25")


def test_a_restated_bill_replaces_what_it_said_before(story: Story) -> None:
    look = story.looks["recovered"]
    assert look.cost("chat")["gpu", "billed"] == mission_bill.chat_billed_usd("42")
    effective = look.bill("aws-bill")["parts"]["effective"]
    assert Decimal(effective["idle"]) == mission_bill.chat_billed_usd("42") / 4
    assert look.value("llmcost_restatement_usd_total", collector="aws-bill", direction="up") == near(48)


def test_cost_explorer_replaces_the_rate_card_of_the_day_it_bills(story: Story) -> None:
    for stage in STAGES:
        look = story.looks[stage]
        cost = look.cost("lab")
        assert cost["gpu", "billed"] == 24 * mission_bill.LAB_USD_PER_HOUR
        assert float(cost["gpu", "configured"]) == near((hours(look, "lab") - 24) * LAB_USD_PER_HOUR)
    assert story.looks["listed"].value("llmcost_superseded_cost_usd", collector="gpus") == near(24 * LAB_USD_PER_HOUR)


@pytest.mark.parametrize("stage", STAGES)
def test_evidence_is_the_share_of_dollars(story: Story, stage: str) -> None:
    look = story.looks[stage]
    for one in look.json["workloads"]:
        if not one["windows"]["7d"]["cost_by"]:
            continue
        cost = look.cost(one["workload"])
        for evidence, share in one["evidence_ratio"].items():
            own = sum((usd for (_, rests_on), usd in cost.items() if rests_on == evidence), Decimal(0))
            assert float(share) == pytest.approx(float(own / sum(cost.values())))


def test_tokens_and_cost_are_of_the_same_time(story: Story) -> None:
    look = story.looks["listed"]
    for workload, engines in (("chat", 2), ("lab", 1)):
        window = look.window(workload)
        first = engines * TOKENS_PER_SECOND  # an engine starts a second after midnight
        served = window["covered_seconds"] * TOKENS_PER_SECOND * engines - first
        assert sum(window["tokens"].values()) == served
        assert Decimal(window["cost_usd"]) == sum(look.cost(workload).values())


# API traffic and what providers bill for it.


def test_a_closed_day_of_api_traffic_costs_its_part_of_the_bill(story: Story) -> None:
    billed, calls = mission_traffic.billed_a_day(), mission_traffic.CALLS_A_DAY
    for workload, team in (("support-bot", "support"), ("search", "search")):
        own = Decimal(mission_traffic.TEAMS.count(team))
        for stage in STAGES:
            cost = story.looks[stage].cost(workload)["tokens", "billed"]
            assert float(cost) == near(3 * billed * own / calls)


def test_days_that_the_provider_calls_an_estimate_keep_the_list_price(story: Story) -> None:
    look = story.looks["listed"]
    prices = {"input": Decimal("1.25"), "cached": Decimal("0.125"), "output": Decimal("10")}
    one = sum((mission_traffic.TOKENS[name] * usd / 10**6 for name, usd in prices.items()), Decimal(0))
    assert float(look.cost("support-bot")["tokens", "list"]) == near(2 * 2 * one)


def test_traffic_that_went_past_the_gateway_is_nobodys(story: Story) -> None:
    for stage in STAGES:
        steps = story.looks[stage].bill("openai")
        unmetered = 3 * mission_traffic.billed_a_day() / mission_traffic.CALLS_A_DAY
        open_days = 2 * mission_traffic.billed_a_day()
        assert Decimal(steps["parts"]["effective"]["unallocated"]) == unmetered + open_days
        assert Decimal(steps["waterfall"]["missing_usage"]) > 0
        assert Decimal(steps["waterfall"]["duplicates"]) == Decimal(steps["waterfall"]["unexplained"]) == 0


def test_the_gap_between_the_gateway_and_the_provider_shows(story: Story) -> None:
    look = story.looks["listed"]
    inside = look.json["closed_through"] - DAY <= story.world.midnight - DAY + mission_traffic.CALLED_AT
    expected = near(1 / len(mission_traffic.TEAMS)) if inside else None
    assert look.value("llmcost_meter_gap_ratio", collector="openai") == expected


def test_a_provider_that_is_its_own_meter(story: Story) -> None:
    a_day = mission_traffic.anthropic_usd_a_day(story.world.anthropic.calls)
    cost = story.looks["listed"].cost("research")
    assert cost == {("tokens", "billed"): 3 * a_day, ("tokens", "list"): 2 * a_day}


# Everything adds up.


@pytest.mark.parametrize("stage", STAGES)
def test_every_bill_closes_on_both_bases_and_in_its_waterfall(story: Story, stage: str) -> None:
    for bill in story.looks[stage].json["bills"]:
        total = Decimal(bill["billed_usd"])
        assert sum(map(Decimal, bill["parts"]["billed"].values())) == total
        assert sum(map(Decimal, bill["states"].values())) == sum(map(Decimal, bill["parts"]["effective"].values()))
        if bill["waterfall"]:
            assert sum(map(Decimal, bill["waterfall"].values())) == total
    waterfalls = {bill["collector"] for bill in story.looks[stage].json["bills"] if bill["waterfall"]}
    assert waterfalls == {"openai", "anthropic"}


@pytest.mark.parametrize("collector", ["aws-bill", "aws-lab", "openai", "anthropic"])
@pytest.mark.parametrize("window", ["7d", "30d"])
def test_a_bill_is_the_sum_of_its_lines_in_the_ledger(story: Story, collector: str, window: str) -> None:
    """At the end of the story, on page and JSON, against the lines in the file added up by other means."""
    look = story.looks["later"]
    end = look.window("chat")["end"]
    lines = raw_lines(story.world.directory / "ledger.db", collector)
    bill = look.bill(collector, window)
    for basis in ("billed", "effective"):
        raw, off = raw_sum(lines, f"{basis}_cost", end - SPANS[window], end)
        assert raw
        assert abs(sum(map(Fraction, bill["parts"][basis].values())) - raw) <= off
        if basis == "billed":
            assert abs(Fraction(bill["billed_usd"]) - raw) <= off
            assert look.value("llmcost_billed_usd", collector=collector, window=window) == near(float(raw))


def test_a_bill_is_what_pods_held_and_what_none_did(story: Story) -> None:
    look = story.looks["billed"]
    billed = Decimal(mission_bill.USD_PER_HOUR) * BILLED_HOURS
    parts = {name: Decimal(usd) for name, usd in look.bill("aws-bill")["parts"]["effective"].items()}
    assert parts.pop("allocated") + parts.pop("starting", 0) == billed * (sum(SHARES.values()) + SIDECAR_SHARE)
    assert parts == {"idle": billed / 8, "unallocated": Decimal("3.21"), "adjustment": Decimal("-2.75")}


def test_gpus_held_and_idle(story: Story) -> None:
    expected = {("nvidia-h100-80gb", "allocated"): 7, ("nvidia-h100-80gb", "idle"): 1}
    expected |= {("nvidia-tesla-a100", "allocated"): 0.25, ("nvidia-tesla-a100", "idle"): 0.75}
    for stage in (*STAGES, "both"):
        look = story.looks[stage]
        found = {(g, s): look.value("llmcost_gpus", collector="cluster", gpu=g, state=s) for g, s in expected}
        # The new pod's two are one more than there are while the old pod is still there: never more than all.
        full = {("nvidia-h100-80gb", "allocated"): 8, ("nvidia-h100-80gb", "idle"): 0} if stage == "both" else {}
        assert found == expected | full


@pytest.mark.parametrize("stage", STAGES)
def test_budgets_are_the_costs_of_their_month(story: Story, stage: str) -> None:
    look = story.looks[stage]
    spent = {one["budget"]: one.get("usd") for one in look.json["budgets"]}
    limits = {one["budget"]: Decimal(one["usd_per_month"]) for one in look.json["budgets"]}
    assert limits == {"support": 100, "chat-gpus": 20000}
    assert spent == {
        "support": look.window("support-bot", "mtd").get("cost_usd"),
        "chat-gpus": look.window("chat", "mtd").get("cost_usd"),
    }


def test_the_real_prometheus_has_the_figures_of_the_page(story: Story) -> None:
    cost = sum(usd for (component, _), usd in story.looks["after the kill"].cost("chat").items() if component == "gpu")
    assert story.asked["cost"] == [pytest.approx(float(cost), rel=0.01)]  # a slot may have closed in between
    assert story.asked["effective"] == [near(1)]


# A rollout, failures, a kill.


def test_every_query_of_the_boards_returns_series(story: Story) -> None:
    assert story.boards
    assert [place for place, series in story.boards.items() if not series] == []


def test_tokens_without_a_price_are_counted_and_cost_nothing(story: Story) -> None:
    look = story.looks["trouble"]
    provider, model = mission_traffic.WITHOUT_PRICE
    labels = {"workload": "pilot", "path": "api", "provider": provider, "model": model}
    assert look.value("llmcost_unpriced_tokens_total", **labels) == mission_traffic.TOKENS_A_CALL
    assert look.total("llmcost_cost_usd_total", workload="pilot") == 0
    unpriced = {"workload": "chat", "alternative": f"api:{provider}/{model}"}
    last = story.looks["after the kill"]
    assert last.value("llmcost_unpriced_alternative_tokens_total", **unpriced) == counted(last, "chat")
    assert last.value("llmcost_api_equivalent_usd_total", **unpriced) is None


def test_discovery_follows_a_rollout_and_skips_the_pod_with_a_sidecar(story: Story) -> None:
    sources = {one["workload"] for one in story.looks["rolled out"].json["workloads"]}
    assert "chat" in sources
    assert "llm/edge" not in sources  # its sidecar counts tokens and GPUs
    look = story.looks["rolled out"]
    assert look.success()["engines"] == 1
    assert counted(look, "chat") >= counted(story.looks["frozen"], "chat")


@pytest.mark.parametrize("stage", STAGES)
def test_coverage_stays(story: Story, stage: str) -> None:
    for workload in ("chat", "lab", "support-bot", "search"):
        assert Decimal(story.looks[stage].window(workload)["coverage_ratio"]) >= Decimal("0.99")


def test_an_hour_after_the_rollout_the_new_pods_are_the_workload(story: Story) -> None:
    look = story.looks["later"]
    window = look.window("chat", "1h")
    assert Decimal(window["coverage_ratio"]) == Decimal(look.window("chat")["coverage_ratio"]) == 1
    assert sum(window["tokens"].values()) == pytest.approx(2 * TOKENS_PER_SECOND * HOUR, rel=0.02)
    gpus = sum(usd for (component, _), usd in look.cost("chat", "1h").items() if component == "gpu")
    rate = look.value("llmcost_calibration_ratio", collector="aws-bill")
    assert rate is not None
    assert float(gpus) == pytest.approx(float(LIST_USD_PER_HOUR / 2) * rate, rel=0.02)
    assert look.value("llmcost_gpus", collector="cluster", gpu="nvidia-h100-80gb", state="idle") == 1


def test_no_counter_ever_falls(story: Story) -> None:
    resets = {name: found for name, found in story.asked.items() if name.startswith("resets")}
    assert len(resets) >= 8
    assert all(sum(found) == 0 for found in resets.values()), resets
    for before, after in pairwise(story.looks.values()):
        late = after.counters()
        fell = {key: (was, late.get(key)) for key, was in before.counters().items() if late.get(key, -1) < was}
        assert not fell


def test_after_the_kill_every_token_is_counted_once(story: Story) -> None:
    look = story.looks["after the kill"]
    assert {name: counted(look, name) for name in ("chat", "lab")} == story.served
    live = sum(mission_traffic.TOKENS.values()) * story.lines
    assert counted(look, "support-bot") + counted(look, "search") == live
    history = mission_traffic.TOKENS_A_CALL * len(mission_traffic.TEAMS) * mission_traffic.DAYS
    assert mission_traffic.late_tokens(look) == history + mission_traffic.TOKENS_A_CALL  # and one of team `pilot`


def test_only_what_failed_failed_and_says_what_to_do(story: Story) -> None:
    look = story.looks["trouble"]
    assert {name for name, value in look.success().items() if not value} == SICK
    assert counted(look, "support-bot") > counted(story.looks["trouble begins"], "support-bot")
    expected = {
        "cluster (pods)": ["410"],
        "aws-bill (gpu-bill": ["s3:GetObject", "run-3/gpu-bill-00001", "IAM policy"],
        "aws-lab (usage)": ["credentials have expired", "renew"],
        "openai (usage/": ["429", "given up for now", "more of this read"],
    }
    for who, words in expected.items():
        said = [line for line in story.log.splitlines() if who in line and "level=warn" in line]
        assert any(all(word in line for word in words) for line in said), (who, said)
    for words in expected.values():
        assert any(word in look.html for word in words)


def test_figures_do_not_move_while_sources_fail(story: Story) -> None:
    before, during = story.looks["rolled out"], story.looks["trouble"]
    assert during.cost("chat")["gpu", "billed"] == before.cost("chat")["gpu", "billed"]
    assert during.bill("aws-bill")["billed_usd"] == before.bill("aws-bill")["billed_usd"]
    assert during.bill("openai")["billed_usd"] == before.bill("openai")["billed_usd"]


def test_paid_requests_are_all_counted(story: Story) -> None:
    """`check --live` makes one that is no exporter's; the one that the kill cut short was paid before it was made."""
    name, page = "llmcost_exporter_paid_requests_usd_total", story.printed["once"]
    paid = round(Look(page, None, "").total(name) * 100)
    assert 0 <= paid - (story.world.costs.requests - 1) <= 1


# The commands on the same ledger.


def report(story: Story, start: int, end: int) -> Any:
    return json.loads(story.printed[f"report --from {day(start)} --to {day(end)}"])


def test_every_command_succeeds(story: Story) -> None:
    assert set(story.statuses.values()) == {0}, story.statuses | {"printed": story.printed}


@pytest.mark.parametrize("period", ["last month", "these days"])
def test_a_report_closes_for_every_bill_and_basis(story: Story, period: str) -> None:
    midnight = story.world.midnight
    month = mission_bill.month_start(midnight, 1), mission_bill.month_start(midnight)
    found = report(story, *(month if period == "last month" else (story.world.since, midnight - DAY)))
    assert {(bill["collector"], bill["basis"]) for bill in found["bills"]} >= {
        ("aws-bill", "billed"),
        ("aws-bill", "effective"),
    }
    start, end = (story.world.since, midnight - DAY) if period == "these days" else month
    for bill in found["bills"]:
        lines = raw_lines(story.world.directory / "ledger.db", bill["collector"])
        raw, off = raw_sum(lines, f"{bill['basis']}_cost", start, end)
        assert abs(Fraction(bill["total"]) - raw) <= off
        assert sum(map(Decimal, bill["parts"].values())) == Decimal(bill["total"])
        assert sum(map(Decimal, bill.get("unallocated", {}).values())) == Decimal(bill["parts"].get("unallocated", 0))


def test_a_report_shares_a_node_out_to_the_cent(story: Story) -> None:
    found = report(story, story.world.since, story.world.midnight - DAY)
    costs = {
        one["workload"]: {row["evidence"]: Decimal(row["usd"]) for row in one["cost_by"] if row["component"] == "gpu"}
        for one in found["workloads"]
    }
    whole = 2 * mission_bill.chat_billed_usd("42")
    assert {name: costs[name]["billed"] for name in SHARES} == {name: whole * share for name, share in SHARES.items()}
    (effective,) = [b for b in found["bills"] if (b["collector"], b["basis"]) == ("aws-bill", "effective")]
    parts = {name: Decimal(usd) for name, usd in effective["parts"].items()}
    assert parts["allocated"] + parts.get("starting", 0) + parts["idle"] == whole


def test_explain_names_every_source_of_the_cost(story: Story) -> None:
    chat, bot = (" ".join(story.printed[f"explain {name}"].split()) for name in ("chat", "support-bot"))
    for word in ("aws-bill", mission_bill.INSTANCE, "aws-1", "engineering", "llm/chat-3", "discount 10 %"):
        assert word in chat
    assert " x its 4 of 8 GPUs" in chat
    assert " as billed x 4 of 8 GPUs x " in chat
    assert "aws-lab" in story.printed["explain lab"]
    assert "as billed by openai for" in bot


def test_the_status_page_tells_what_is_not_compared_from_what_is_unknown(story: Story) -> None:
    html = story.looks["trouble"].html
    apart = html[html.index("workloads are not compared") :]
    for name in ("ml/nightly-train", "llm/rerank", "support-bot", "search", "research"):
        assert f"<b>{name}</b>" in apart


def test_the_json_says_which_collectors_fail_and_why(story: Story) -> None:
    collectors = {one["name"]: one for one in story.looks["trouble"].json["collectors"]}
    assert {name for name, one in collectors.items() if not one["success"]} == SICK
    assert "too old (410): listing again" in collectors["cluster"]["last_error"]


def test_once_prints_the_same_totals(story: Story) -> None:
    look = Look(story.printed["once"], None, "")
    assert {name: counted(look, name) for name in ("chat", "lab")} == story.served


def test_no_secret_is_ever_shown(story: Story) -> None:
    shown = {"log": story.log, **story.printed}
    for name, look in story.looks.items():
        shown |= {f"{name}: page": look.text, f"{name}: json": json.dumps(look.json), f"{name}: html": look.html}
    for what, secret in story.world.secrets.items():
        assert [where for where, text in shown.items() if secret in text] == [], what
