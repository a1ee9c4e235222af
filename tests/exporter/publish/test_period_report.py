"""`report`: a past period adds up, to the bill and to the windows, in every form."""

import csv
import io
import json
import re
from collections.abc import Iterable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given as generated
from hypothesis import settings
from hypothesis import strategies as st

from collectors.records import Charge, Window
from exporter.commands import report as command
from exporter.config import Config
from exporter.ledger.snapshot import BillLine, SeriesKey, UsageSeries
from exporter.publish.period_report import COLUMNS, PeriodError, as_csv, as_json, as_text, period_report
from exporter.reading import read
from exporter.reconcile.build import views
from exporter.reconcile.period import PeriodReport
from tests.exporter.publish import chat
from tests.exporter.publish.chat import DAY, END, HOUR
from tests.exporter.publish.test_explain import example
from tests.exporter.simulated import START, Simulation, config, engine


def report(start: int, end: int, **changes: object) -> PeriodReport:
    given = chat.inputs(**changes)
    return period_report(given, views(given, END), start, end, END)


def test_the_documented_example_is_what_it_prints() -> None:
    text = as_text(report(chat.START + DAY, chat.START + 2 * DAY))
    assert text == example("report")
    assert max(len(line) for line in text.splitlines()) <= 100


def test_the_documentation_names_every_key_and_column() -> None:
    doc = (Path(__file__).parents[3] / "docs" / "explain-and-report.md").read_text(encoding="utf-8")
    body = json.loads(as_json(report(chat.START + DAY, chat.START + 2 * DAY)))
    keys = {*body, *body["workloads"][0], *body["bills"][0]}
    assert not [key for key in keys if f"`{key}`" not in doc]
    assert f"`{','.join(COLUMNS)}`" in doc


def test_json_is_exact_and_says_nothing_of_what_is_not_known() -> None:
    body = json.loads(as_json(report(chat.START + DAY, chat.START + 2 * DAY)))
    assert (body["from"], body["to"]) == ("2026-11-14T00:00:00Z", "2026-11-15T00:00:00Z")
    one, mail = body["workloads"]
    assert one["tokens"] == {
        "input": 432_000_000,
        "cache_read": 144_000_000,
        "output": 129_600_000,
        "audio_input": 115_200,
    }
    assert sum(Decimal(part["usd"]) for part in one["cost_by"]) == Decimal(one["cost_usd"]) == Decimal("128.496")
    assert Decimal(one["usd_per_mtok"]) == Decimal("128.496") / 705_715_200 * 1_000_000
    assert Decimal(one["alternatives"]["api:together/llama"]["cost_usd"]) == Decimal("154.224")
    assert (one["superseded_usd"], one["coverage_ratio"], mail["alternatives"]) == ("119.52", "1", {})
    assert [bill["basis"] for bill in body["bills"]] == ["billed", "effective"]
    assert body["bills"][0] == {
        "collector": "cloud-bill",
        "currency": "USD",
        "basis": "billed",
        "total": "116.575",
        "parts": {"usage": "115.20", "unallocated": "1.375"},
        "unallocated": {"missing_tag": "1.375"},
    }
    empty = json.loads(as_json(report(chat.START + DAY, chat.START + 2 * DAY, reservations=(), bill=())))
    assert "cost_usd" not in empty["workloads"][0]
    assert "usd_per_mtok" not in empty["workloads"][0]
    assert empty["bills"] == []


def test_the_days_add_up_to_the_week() -> None:
    days = [report(day, day + DAY) for day in range(chat.START, chat.START + 7 * DAY, DAY)]
    week = report(chat.START, chat.START + 7 * DAY)

    def cost(one: PeriodReport) -> Decimal:
        return sum((w.figures.cost_usd or Decimal(0) for w in one.workloads), Decimal(0))

    def tokens(one: PeriodReport) -> int:
        return sum(sum(w.figures.tokens.values()) for w in one.workloads)

    assert sum(map(tokens, days)) == tokens(week)
    assert sum(map(cost, days)) == pytest.approx(cost(week), rel=Decimal("1e-20"))
    assert {b.basis: b.total for b in week.bills} == {"billed": Decimal("415.389"), "effective": Decimal("349.725")}
    assert sum(b.total for day in days for b in day.bills) == sum(b.total for b in week.bills)


def test_a_period_goes_back_to_the_start_of_the_rent() -> None:
    """Usage begins on the third day; what the GPUs cost before is in the report, and in no live window."""
    late = tuple(one for one in chat.snapshot().series if one.key.path == "api")
    begin = chat.START + 2 * DAY
    key = SeriesKey(*chat.A, "self_hosted", "vllm", "llama")
    late += (UsageSeries(key, [(slot, 300, {"input": 1000}, 1) for slot in range(begin, END, 300)]),)
    given = chat.inputs(series=late)
    found = views(given, END)
    (view,) = [one for one in found if one.name == "chat"]
    assert view.window(chat.START, begin).cost_usd is None
    before = period_report(given, found, chat.START, begin, END).workloads[0].figures
    assert (before.covered_seconds, before.requests, before.usd_per_token) == (2 * DAY, 0, None)
    assert before.cost_of("gpu") == Decimal("230.40")
    assert {(other.cost_usd, other.ratio) for other in before.alternatives.values()} == {(None, None)}
    across = period_report(given, found, chat.START, chat.START + 3 * DAY, END).workloads[0].figures
    assert across.cost_of("gpu") == Decimal("345.60")
    counted = view.window(begin, chat.START + 3 * DAY)
    assert across.alternatives == counted.alternatives
    assert counted.cost_usd is not None
    assert across.usd_per_token == counted.usd_per_token == counted.cost_usd / 288_000
    assert across.requests == 288


def test_a_workload_that_came_later_is_not_in_it() -> None:
    found = report(chat.START - 5 * DAY, chat.START - 4 * DAY)
    assert (found.workloads, found.bills) == ((), ())
    assert "None was known in this period." in as_text(found)


def test_a_period_that_is_not_over_says_so() -> None:
    found = report(chat.START, chat.START + 30 * DAY)
    assert "Workloads are known through 2026-11-20 23:00 UTC so far." in as_text(found)
    assert found.workloads[0].figures.asked == Window(chat.START, END)
    assert report(END, END + DAY).workloads == ()


@pytest.mark.parametrize(
    ("start", "end", "says"),
    [
        (600, 600, "the period is empty"),
        (900, 600, "the period is empty"),
        (5 * HOUR + 299, 6 * HOUR, "keeps 5 minutes as one: try 1970-01-01T05:00:00Z or 1970-01-01T05:05:00Z"),
        (HOUR, 2 * HOUR + 300, "keeps 60 minutes as one before 1970-01-01T03:00:00Z: try 1970-01-01T02:00:00Z or"),
    ],
)
def test_a_period_of_partial_rows_is_refused(start: int, end: int, says: str) -> None:
    with pytest.raises(PeriodError, match=re.escape(says)):
        report(start, end, fine_from=3 * HOUR)


def rows(text: str) -> Iterable[dict[str, str]]:
    return csv.DictReader(io.StringIO(text))


def test_csv_has_the_figures_of_the_json() -> None:
    found = report(chat.START, chat.START + 2 * DAY)
    body = json.loads(as_json(found))
    table = list(rows(as_csv(found)))
    for one in body["workloads"]:
        own = [row for row in table if row["record"] == "workload" and row["name"] == one["workload"]]
        assert {row["item"]: int(row["value"]) for row in own if row["measure"] == "tokens"} == one["tokens"]
        assert sum(Decimal(row["value"]) for row in own if row["measure"] == "cost") == Decimal(one["cost_usd"])
    for bill in body["bills"]:
        own = [row for row in table if row["record"] == "bill" and row["scope"] == bill["basis"]]
        assert {row["item"]: row["value"] for row in own if row["measure"] == "part"} == bill["parts"]
        assert [row["value"] for row in own if row["measure"] == "total"] == [bill["total"]]
    assert {(row["from"], row["to"]) for row in table} == {("2026-11-13T00:00:00Z", "2026-11-15T00:00:00Z")}


AMOUNTS = st.decimals(-1000, 1000, places=7)


@settings(max_examples=40, deadline=None)
@generated(
    st.lists(
        st.tuples(
            st.sampled_from(["Usage", "Purchase", "Tax", "Credit", "Adjustment"]),
            st.sampled_from(["USD", "EUR"]),
            AMOUNTS,
            AMOUNTS,
            st.integers(0, 30),
        ),
        max_size=12,
    ),
    st.integers(1, 40),
)
def test_the_parts_of_every_bill_add_up_to_its_total(charges, hours) -> None:
    lines = [
        BillLine(
            "b", "p", Charge(Window(i * HOUR, (i + length) * HOUR), kind, code, billed, effective, resource="i-0a1")
        )
        for i, (kind, code, billed, effective, length) in enumerate(charges)
    ]
    found = report(0, hours * HOUR, bill=tuple(lines), fine_from=0)
    for bill in found.bills:
        assert sum(bill.parts.values()) == bill.total
        assert sum(bill.unallocated.values()) == bill.parts.get("unallocated", 0)
    if all((i + length) <= hours for i, (*_, length) in enumerate(charges)) and len(charges) <= hours:
        assert sum(b.total for b in found.bills if b.basis == "billed") == sum(one[2] for one in charges)
    shown = as_text(found)
    for section in shown.split("\n\nBILL ")[1:]:
        amounts = [Decimal(n.replace(",", "")) for n in re.findall(r"^ +(-?[\d,]+\.\d\d)  ", section, re.MULTILINE)]
        assert sum(amounts[:-1]) == amounts[-1]


@pytest.fixture
def ledger(tmp_path: Path) -> Config:
    """The config of a ledger with six hours of a simulated engine, from START on."""

    def served(now: float) -> tuple[int, int, int]:
        seconds = max(0, int(now) - START)
        return 700 * seconds, 300 * seconds, 500 * seconds

    with engine(served) as vllm, Simulation(config(tmp_path, vllm), vllm) as sim:
        sim.until(START + 6 * HOUR, 300)
        found: Config = sim.exporter.config
    return replace(found, collectors=found.collectors[1:])  # what is not asked for is not looked up


def test_it_reports_a_real_ledger(ledger: Config) -> None:
    now = START + 6 * HOUR + 60
    found = read(ledger, now, NoPrices())
    made = period_report(found.inputs, found.views, START + HOUR, START + 3 * HOUR, found.end)
    (one,) = made.workloads
    assert one.figures.tokens == {"input": 700 * 7200, "cache_read": 300 * 7200, "output": 500 * 7200}
    assert one.figures.cost_usd == Decimal("14.4")
    day_before = period_report(found.inputs, found.views, START - DAY, START, found.end)
    assert day_before.workloads[0].figures.cost_usd == Decimal("172.8")  # the card is from then on


class NoPrices:
    """A pricer that knows nothing and asks nobody."""

    catalogue_at = None

    def __init__(self) -> None:
        from exporter.prices.book import PriceBook

        self.book = PriceBook()

    def ensure(self, keys, now):
        return self.book


@pytest.mark.parametrize(
    ("options", "period"),
    [
        ((), ("2027-01-14T00:00:00Z", "2027-01-15T00:00:00Z")),
        (("--to", "2027-01-15T06:00+02:00"), ("2027-01-14T04:00:00Z", "2027-01-15T04:00:00Z")),
        (("--from", "2027-01-13"), ("2027-01-13T00:00:00Z", "2027-01-15T00:00:00Z")),
        (
            ("--from", "2027-01-15T01:00Z", "--to", "2027-01-15T02:00Z"),
            ("2027-01-15T01:00:00Z", "2027-01-15T02:00:00Z"),
        ),
    ],
)
def test_the_period_of_the_command(ledger: Config, monkeypatch, options, period) -> None:
    outcome = run(ledger, monkeypatch, *options, "--output", "json")
    assert outcome.exit_code == 0, outcome.output
    body = json.loads(outcome.stdout)
    assert (body["from"], body["to"]) == period


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--from", "2027-01-15T06:00Z", "--to", "2027-01-15"), "--from must be before --to"),
        (("--from", "2027-01-14T00:00:07Z"), "is inside a row of the ledger"),
        (("--from", "yesterday"), "expected a date like 2026-01-31 or a time with a zone, got 'yesterday'"),
    ],
)
def test_a_period_that_cannot_be_reported_is_a_usage_error(ledger: Config, monkeypatch, options, says) -> None:
    outcome = run(ledger, monkeypatch, *options)
    assert outcome.exit_code == 2
    assert says in outcome.output


def test_without_a_ledger_it_says_which_one(ledger: Config, monkeypatch, tmp_path: Path) -> None:
    gone = replace(ledger, storage=replace(ledger.storage, path=str(tmp_path / "gone.db")))
    outcome = run(gone, monkeypatch)
    assert outcome.exit_code == 1
    assert "gone.db: there is no ledger; check storage.path" in outcome.output


def run(config: Config, monkeypatch, *options: str):
    """The command at START + 6 h + 1 min, on `config`."""
    monkeypatch.setattr(command.time, "time", lambda: START + 6 * HOUR + 60)
    monkeypatch.setattr(command, "configured", lambda path: config)
    return CliRunner().invoke(command.report, ["--config.file", "unused.yaml", *options])
