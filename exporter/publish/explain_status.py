"""The status section of `explain`: the rule in words, with the numbers, and what would change the outcome. Pure."""

from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal

from collectors.records import Path
from exporter.breakeven.status import status
from exporter.publish import text
from exporter.publish.advice import dearer
from exporter.publish.explain_case import STATUSES, Case, amount, plain, throughput
from exporter.publish.layout import prose, table, unbroken
from exporter.reconcile.alternatives import ApiAlternative
from exporter.reconcile.derivation import evaluated_again
from exporter.reconcile.report import Decision, StatusName

_SIGNS = {"self_hosting_cheaper": ">=", "api_cheaper": "<="}


def status_section(case: Case) -> Iterator[str]:
    decision, primary = case.decision, case.primary
    yield f"STATUS  {_headline(case, decision)}"
    if primary is None or decision is None:
        return
    yield from _rule(case, primary)
    yield from _compared(case)
    yield from _progress(case)
    yield from _transitions(case, decision)
    yield from _again(case, primary)
    yield from _worth(case.view.path, decision, primary)


def _headline(case: Case, decision: Decision | None) -> str:
    shown = decision.status if decision else None
    if shown is None:
        return STATUSES["unknown"]
    since = "" if shown.since is None else f" since {case.aged(shown.since)}"
    return STATUSES[shown.name] + (f" ({shown.reason})" if shown.reason else "") + since


def _rule(case: Case, primary: ApiAlternative) -> Iterator[str]:
    settings = case.settings
    own = "these tokens cost" if case.view.path == "api" else "the same tokens would cost"
    window, every, sustain = (
        text.span(each) for each in (settings.ratio_window, settings.evaluate_every, settings.sustain)
    )
    at_least, at_most = f"A >= {plain(settings.enter.self_hosting)} x C", f"A <= {plain(settings.enter.api)} x C"
    yield from prose(
        f"C is the self-hosted cost, A what {own} at {primary.label}, both over the last {window}, compared every "
        f"{every}. {unbroken(at_least)} at every evaluation over {sustain} makes it “self-hosting cheaper”, "
        f"{unbroken(at_most)} likewise “API cheaper”; the first evaluation on the other side of {unbroken('A = C')} "
        "makes it “break-even”."
    )


def _compared(case: Case) -> Iterator[str]:
    """A, C and their ratio at the newest evaluation, and now."""
    rows: list[tuple[str, ...]] = [("at", "A, USD", "C, USD", "A / C", "covered", "")]
    figures = case.figures
    last = case.evaluations[-1] if case.evaluations else None
    if last is not None:
        note = "newest evaluation" + (f": {last.reason}" if last.reason else ", decides the status")
        rows.append(_row(last.at, last.api_usd, last.self_hosted_usd, last.covered_seconds, note))
    rows.append(_row(case.end, case.api_usd, figures.cost_usd, figures.covered_seconds, "now"))
    yield ""
    yield from table(rows, "lrrrrl")


def _row(at: int, api: Decimal | None, own: Decimal | None, covered: int, note: str) -> tuple[str, ...]:
    shown = [text.DASH if usd is None else amount(usd) for usd in (api, own)]
    ratio = text.DASH if api is None or not own else plain(round(api / own, 3))
    return text.instant(at), *shown, ratio, text.span(covered), note


def _progress(case: Case) -> Iterator[str]:
    """How long the streak has run, and when it would be long enough."""
    yield ""
    state, settings = case.state, case.settings
    if state.at is None:
        yield from prose("No evaluation has been made yet.")
    elif state.reason:
        back = f" Before, it was “{STATUSES[state.shown]}”" if state.shown else ""
        back += f" since {text.instant(state.since)}, which returns with the data." if state.shown else ""
        yield from prose(f"While the status is unknown no streak runs.{back}")
    elif state.streak is None:
        yield from prose("The newest evaluation is between the two thresholds: no streak runs.")
    else:
        factor = settings.enter.self_hosting if state.streak == "self_hosting_cheaper" else settings.enter.api
        held = state.at - state.streak_since
        line = unbroken(f"A {_SIGNS[state.streak]} {plain(factor)} x C")
        line += f" at every evaluation since {text.instant(state.streak_since)}: {text.span(held)}, "
        line += f"{text.span(settings.sustain)} needed."
        if state.streak != state.shown:
            due = text.instant(state.streak_since + settings.sustain)
            line += f" If it goes on, the status turns to “{STATUSES[state.streak]}” at {due}."
        yield from prose(line)


def _transitions(case: Case, decision: Decision) -> Iterator[str]:
    """What traffic each other status needs: A grows with the tokens, C does not."""
    rate, figures = decision.break_even_tokens_per_second, case.figures
    shown = case.state.shown
    if rate is None or case.reason or shown is None or not figures.covered_seconds:
        return
    unpriced = figures.alternatives[decision.alternative].unpriced_tokens
    actual = Decimal(sum(figures.tokens.values()) - unpriced) / figures.covered_seconds
    enter, sustain = case.settings.enter, text.span(case.settings.sustain)
    rows: list[tuple[str, ...]] = [("to become", "needs", "tokens/s", "x now")]
    if shown != "break_even":
        sign = "<" if shown == "self_hosting_cheaper" else ">"
        rows.append(_needs("break_even", sign, f"A {sign} C once", rate, actual))
    if shown != "self_hosting_cheaper":
        needs = f"A >= {plain(enter.self_hosting)} x C for {sustain}"
        rows.append(_needs("self_hosting_cheaper", ">=", needs, rate * enter.self_hosting, actual))
    if shown != "api_cheaper":
        needs = f"A <= {plain(enter.api)} x C for {sustain}"
        rows.append(_needs("api_cheaper", "<=", needs, rate * enter.api, actual))
    yield ""
    yield from prose(
        f"Traffic is {throughput(actual)} tokens/s on average of the covered time; at this mix, price and cost "
        f"break-even is at {throughput(rate)} tokens/s."
    )
    yield from table(rows, "llrr")


def _needs(name: StatusName, sign: str, needs: str, rate: Decimal, actual: Decimal) -> tuple[str, ...]:
    """What traffic a status needs, and how many times the present traffic that is."""
    met = actual <= rate if sign.startswith("<") else actual >= rate
    factor = f"{rate / actual:.2f}" if actual else text.DASH
    return STATUSES[name], needs, f"{sign} {throughput(rate)}", "met now" if met else factor


def _again(case: Case, primary: ApiAlternative) -> Iterator[str]:
    """What a later bill, price or late usage would change: the newest evaluations, made again."""
    if not case.evaluations:
        return
    settings = case.settings
    since = case.evaluations[-1].at - settings.ratio_window - settings.sustain
    again = evaluated_again(case.view, primary, case.evaluations, settings, since, case.end)
    then, now = status(again), status(case.state)
    lead = f"The evaluations since {text.instant(max(since, case.evaluations[0].at))}, made again on today's data, give"
    yield ""
    if replace(then, reason="") == replace(now, reason=""):
        yield from prose(f"{lead} the same status.")
        return
    yield from prose(
        f"{lead} “{STATUSES[then.name]}” since {text.instant(then.since)}: a bill, a price or late usage has changed "
        "what they saw. Stored evaluations stay as they were made."
    )


def _worth(path: Path, decision: Decision, primary: ApiAlternative) -> Iterator[str]:
    """What moving is worth; on the dearer side the advice says it."""
    saving = decision.saving_usd_per_month
    if saving is not None and not (decision.status and dearer(path, decision.status.name)):
        verb = "saves" if saving > 0 else "costs"
        yield from prose(f"Moving to {primary.label} {verb} about {text.usd(abs(saving))} a month.")
