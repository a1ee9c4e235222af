"""`explain` says what is published and why: its lines add up, and it fits a terminal."""

import re
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from collectors.settings import Duration, Instant, Money
from exporter.config import DecisionSettings, Workload
from exporter.intervals import Intervals
from exporter.ledger.snapshot import Evaluation, Stream
from exporter.publish.explain import UnknownWorkloadError, explain
from exporter.publish.explain_case import adding_up, amounts
from exporter.reading import read
from exporter.reconcile.build import views
from tests.exporter.publish import chat
from tests.exporter.publish.chat import DAY, END, HOUR, NOW
from tests.exporter.simulated import START, Simulation, config, engine

DOC = (Path(__file__).parents[3] / "docs" / "explain-and-report.md").read_text(encoding="utf-8")
CATALOGUE = 1_794_182_400  # 2026-11-09


def explained(workload: str = "chat", **changes: object) -> str:
    given, found, stored, states = chat.week(**changes)
    return explain(given, found, states, workload, NOW, end=END, evaluations=stored, catalogue_at=CATALOGUE)


def flat(text: str) -> str:
    """Without the line breaks that the width makes."""
    return re.sub(r"\s+", " ", text)


def example(command: str) -> str:
    """The output that the documentation shows for a command."""
    found = re.search(rf"```console\n\$ llm-cost-exporter {command} .*\n((?s:.*?))```", DOC)
    assert found
    return found[1]


def snippet(of: str) -> str:
    """The part of an output with `of` in it that the documentation shows."""
    return next(found for found in re.findall(r"```text\n((?s:.*?))```", DOC) if of in found)


def test_the_documented_example_is_what_it_prints() -> None:
    assert explained() == example("explain chat")


def cells(text: str, heading: str) -> Iterator[list[str]]:
    """The rows of the section with this heading, by column."""
    section = text[text.index(f"\n{heading}") :].split("\n\n")[0]
    return (re.split(r"\s{2,}", line.strip()) for line in section.splitlines())


def test_the_amounts_shown_add_up_to_the_total_shown() -> None:
    text = explained()
    costs = [Decimal(row[0]) for row in cells(text, "EFFECTIVE COST") if re.fullmatch(r"[\d.]+", row[0])]
    assert sum(costs[:-1]) == costs[-1] == Decimal("127.28")
    prices = [row for row in cells(text, "API-EQUIVALENT COST") if "[1]" in row or row[1:] == ["= sum"]]
    assert sum(Decimal(row[2]) for row in prices[:-1]) == Decimal(prices[-1][0])


def test_no_password_of_a_target_is_shown() -> None:
    assert "http://10.0.0.5:8000/metrics" in explained()
    assert "secret" not in explained()


def test_an_unknown_name_is_answered_with_the_known_ones_the_nearest_first() -> None:
    with pytest.raises(UnknownWorkloadError, match=r"no workload 'male'; known are: mail, chat$"):
        explained("male")
    with pytest.raises(UnknownWorkloadError, match="none is known yet"):
        explained(series=(), reservations=(), bill=())


def test_an_api_workload_is_its_tokens_at_its_prices() -> None:
    text = explained("mail")
    assert "mail, API: unknown" in text
    assert "STATUS  unknown (no_plan)" in text
    assert "0.225 USD per million tokens = C 0.7776 USD / T 3,456,000 tokens" in text
    assert "[1] override contract 4711, as acme/writer-7b." in text
    assert "API-EQUIVALENT" not in text


def test_both_paths_of_one_name_are_explained() -> None:
    given = chat.inputs()
    given = replace(given, config=replace(given.config, workloads=(Workload("all", {"model": "*"}),)))
    text = explain(given, views(given, END), {}, "all", NOW, end=END)
    assert "all, self-hosted: unknown" in text
    assert "all, API: unknown" in text


def test_a_source_that_stopped_is_named_with_what_it_is_missing() -> None:
    streams = {**chat.snapshot().streams, chat.A: chat.stream((END - 5 * HOUR, END + HOUR))}
    text = flat(explained(streams=streams))
    assert "STATUS unknown (coverage) since" in text
    assert "5 h engines http://10.0.0.4:8000/metrics: 2026-11-20 18:00 UTC for 5 h" in text
    assert (
        "engines http://10.0.0.4:8000/metrics has delivered nothing since 2026-11-20 18:00 UTC (5 h 4 min ago)" in text
    )
    assert "mend the source" in text
    assert "Before, it was “API cheaper” since" in text


def test_time_before_the_first_source_was_seen_is_not_said_to_be_missing() -> None:
    """The engine is an hour old; the window begins with an earlier one that was known by its rows only."""
    seen = Intervals([(END - HOUR, END + HOUR)])
    late = Stream(END - HOUR, None, seen, seen)
    text = flat(explained(streams={**chat.snapshot().streams, chat.A: late, chat.B: late}))
    assert "COVERAGE 4.2 %: 1 h of 24 h" in text or "COVERAGE 4.2 %: 1 h of 1 d" in text
    assert "23 h (no source yet: the first was seen at 2026-11-20 22:00 UTC)" in text
    assert "nothing engines http://10.0.0.4:8000/metrics" in text
    assert "Nothing is missing: for part of the decision window it had no source that could be read" in text
    assert "mend the source" not in text


def test_time_in_which_no_source_was_there_and_parts_of_slots_are_named() -> None:
    gone = Intervals([(chat.START, END - 10 * HOUR)])
    back = Intervals([(END - 3 * HOUR + 100, END + HOUR)])
    streams = {
        chat.A: Stream(chat.START, END - 10 * HOUR, gone, gone),
        chat.B: Stream(END - 3 * HOUR + 100, None, back, back),
    }
    text = flat(explained(streams={**chat.snapshot().streams, **streams}))
    assert "7 h 1 min (no source there: 2026-11-20 13:00 UTC for 7 h 1 min)" in text
    assert "3 min (slots covered in part: only whole ones count)" in text


def test_a_streak_that_is_not_long_enough_says_when_it_will_be() -> None:
    given, found, stored, _ = chat.week()
    early = [e for e in stored if e.at <= chat.FALLS + 9 * HOUR]
    text = flat(explain(given, found, chat.states(given, early), "chat", NOW, end=END, evaluations=early))
    assert "chat, self-hosted: break-even" in text
    assert "A <= 0.9 x C at every evaluation since 2026-11-19 14:00 UTC: 1 h, 6 h needed." in text
    assert "the status turns to “API cheaper” at 2026-11-19 20:00 UTC." in text
    assert "Nothing yet: traffic is on the “API cheaper” side" in text
    assert "API cheaper A <= 0.9 x C for 6 h <= 6,330 met now" in text


def test_a_bill_that_came_later_shows_what_the_status_would_be() -> None:
    given, found, stored, _ = chat.week()
    told = [replace(e, api_usd=Decimal(9), self_hosted_usd=Decimal(1)) if not e.reason else e for e in stored]
    text = flat(explain(given, found, chat.states(given, told), "chat", NOW, end=END, evaluations=told))
    assert "chat, self-hosted: self-hosting cheaper" in text
    assert "made again on today's data, give “API cheaper” since" in text


def test_what_no_card_and_no_bill_pays_for_has_no_cost() -> None:
    text = flat(explained(reservations=(), bill=()))
    assert "EFFECTIVE COST not known: no rate card and no bill is for this workload" in text
    assert "(no_cost)" in text
    assert "Add a rate_card collector for its GPUs" in text


def test_a_currency_without_a_rate_is_named() -> None:
    given = chat.inputs()
    given = replace(given, config=replace(given.config, fx={}))
    text = flat(explain(given, views(given, END), {}, "chat", NOW, end=END))
    assert "Cost in EUR is left out, as no exchange rate is configured: set fx.EUR (USD per unit)." in text
    assert "storage" not in text


def test_a_card_alone_is_explained_too() -> None:
    series = tuple(one for one in chat.snapshot().series if one.key.path == "api")
    text = flat(explained(series=series))
    assert "STATUS unknown (no_usage)" in text
    assert "2 h100-80gb x 2.49 USD/h x 24 h" in text
    assert "A rate card, a bill or pods with GPUs name this workload, but no source has reported usage of it." in text


def test_a_superseded_card_is_shown_beside_the_bill() -> None:
    given, *_ = chat.week()
    end = chat.START + 3 * DAY + 12 * HOUR
    text = flat(explain(given, views(given, end), {}, "chat", end, end=end))
    assert "57.60 gpu billed bill cloud-bill: 1 line for i-0a1, charged through 2026-11-16 00:00 UTC" in text
    assert "59.76 gpu configured 2 h100-80gb x 2.49 USD/h x 12 h" in text
    assert (
        "Not counted, as bill cloud-bill says what was paid: 59.76 USD for 12 h of rate card gpus/chat/h100-80gb/gpu."
        in text
    )
    assert "Evidence, by dollars: 44.1 % billed, 55.9 % configured." in text


def test_no_line_is_wider_than_a_terminal_whatever_the_names() -> None:
    name = "team-" + "x" * 120
    given, found, _, _ = chat.week()
    long = [replace(view, name=name) for view in found]
    stored = [Evaluation(name, "self_hosted", "api:together/llama", END, Decimal(1), Decimal(2))]
    states = chat.states(given, stored)
    for text in (explained(), explained("mail"), explain(given, long, states, name, NOW, end=END, evaluations=stored)):
        assert max(len(line) for line in text.splitlines()) <= 100
        assert not [line for line in text.splitlines() if line != line.rstrip()]


@pytest.mark.parametrize(
    ("parts", "shown"),
    [
        (["0.005", "0.005", "0.005"], ["0.01", "0.01", "0.00"]),
        (["1.005", "-0.005"], ["1.01", "-0.01"]),
        (["-0.333", "-0.333", "-0.334"], ["-0.33", "-0.33", "-0.34"]),
        ([], []),
    ],
)
def test_rounding_keeps_the_sum(parts: list[str], shown: list[str]) -> None:
    exact = [Decimal(part) for part in parts]
    rounded = adding_up(exact)
    assert sum(rounded) == round(sum(exact, Decimal(0)), 2)
    assert all(abs(a - b) < Decimal("0.01") for a, b in zip(rounded, exact, strict=True))
    assert [str(each) for each in rounded] == shown


def test_small_amounts_keep_their_digits() -> None:
    assert amounts([Decimal("0.000123"), Decimal("0.00002")]) == ["0.0001230", "0.0000200", "0.0001430"]
    assert amounts([Decimal("1234.5")]) == ["1,234.50", "1,234.50"]
    assert amounts([]) == ["0.00"]


def test_it_explains_what_a_running_exporter_publishes(tmp_path: Path) -> None:
    """On the ledger that the exporter holds, with its own evaluations and alternative."""
    decision = DecisionSettings(ratio_window=Duration(2 * HOUR), sustain=Duration(HOUR), min_age=Duration(HOUR))

    def served(now: float) -> tuple[int, int, int]:
        seconds = max(0, int(now) - START)
        return 7000 * seconds, 3000 * seconds, 500 * seconds

    with engine(served) as vllm, Simulation(config(tmp_path, vllm, decision=decision), vllm) as sim:
        state = sim.until(START + 5 * HOUR + 300, 150)
        now = int(sim.now)
        found = read(sim.exporter.config, now, sim.exporter.pricer, "chat")
        text = explain(
            found.inputs, found.views, found.states, "chat", now, end=found.end, evaluations=found.evaluations
        )
    assert state.report is not None
    (published,) = state.report.workloads
    figures = published.decision_window
    assert figures is not None
    assert found.end == state.report.closed_through
    assert f"C {amounts([figures.cost_usd or Decimal(0)])[-1]} USD / T {sum(figures.tokens.values()):,} tokens" in text
    status = published.decisions[0].status
    assert status is not None
    assert status.name == "self_hosting_cheaper"
    assert "chat, self-hosted: self-hosting cheaper" in text
    assert "give the same status" in flat(text)
    assert f"{vllm.url}: tiny" in flat(text)


def test_settings_of_the_workload_itself_are_the_ones_it_names() -> None:
    given, found, stored, states = chat.week()
    own = replace(chat.DECISION, sustain=Duration(3 * HOUR), min_coverage=Money("0.5"))
    first = replace(given.config.workloads[0], decision=own)
    given = replace(given, config=replace(given.config, workloads=(first, *given.config.workloads[1:])))
    text = flat(explain(given, found, states, "chat", NOW, end=END, evaluations=stored))
    assert "at every evaluation over 3 h" in text
    assert "Below 50 % the status is unknown." in text


def test_prices_are_listed_by_date() -> None:
    """A price that changes within the window has a line for each of its values."""
    given, _, stored, states = chat.week()
    old, changed = given.book.rates[chat.TOGETHER][0], Instant(END - 6 * HOUR)
    dearer = {t: usd * 2 for t, usd in old.bands[0][1].items()}
    rates = (replace(old, bands=((0, dearer),), start=changed), replace(old, end=changed))
    given = replace(given, book=given.book.extended({chat.TOGETHER: rates}))
    text = explain(given, views(given, END), states, "chat", NOW, end=END, evaluations=stored)
    assert "in force since 2026-11-20 17:00 UTC" in flat(text)
    assert "in force since 2026-10-01 00:00 UTC" in flat(text)
    assert [row[1] for row in cells(text, "API-EQUIVALENT COST") if row[-1] == "input"] == ["0.2", "0.4"]


def test_a_host_without_cache_prices_charges_cached_tokens_as_input() -> None:
    given, _, stored, states = chat.week()
    first = given.config.workloads[0]
    first = replace(first, alternatives=first.alternatives[1:])
    given = replace(given, config=replace(given.config, workloads=(first,)))
    text = flat(explain(given, views(given, END), states, "chat", NOW, end=END, evaluations=stored))
    assert "cache_read (no cache price: as input)" in text
