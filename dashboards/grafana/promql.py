"""The PromQL both boards are made of. Sums first, then one division; never an average of ratios or of prices per token.

Counters are summed over jobs and instances, so a fleet of sidecars reads like one exporter. Windowed figures other than
`1h` have one publisher (the cluster role); `max` keeps a hand-over between two leaders from counting twice.
"""

ALL = 'job=~"$job"'
ONE = 'job=~"$job",workload="$workload",path="$path"'
WORKLOAD = 'job=~"$job",workload="$workload"'  # for the families without a path

LIVE = "$__rate_interval"
MONTH = 730 * 3600  # seconds: a month is 730 h everywhere in this project
PER_MTOK = "1e6"

STATUSES = ("self_hosting_cheaper", "break_even", "api_cheaper", "unknown")
"""The code of a status is its place here, from 1, and 10 more on the path `api`, where the other side is good."""

DEARER = (("self_hosted", "api_cheaper"), ("api", "self_hosting_cheaper"))


def gauge(name: str, by: str, match: str = ALL, **labels: str) -> str:
    """The gauge by `by`; of several publishers of one figure, one."""
    return f"max by ({by}) ({name}{_selector(match, labels)})"


def total(name: str, by: str, window: str, match: str = ALL, **labels: str) -> str:
    """What the counter gains a second over `window`, summed over all instances."""
    return f"sum by ({by}) (rate({name}{_selector(match, labels)}[{window}]))"


def cost_by_component(window: str, match: str = ALL) -> str:
    """Cost in USD per second by workload, path and component. Sidecars do not accrue fixed costs, and each shows the
    whole as a gauge: fixed cost is therefore always that gauge, once per workload that has other cost."""
    name, rent = "llmcost_cost_usd_total", match + ',component!="fixed"'
    fixed = f"max by (workload) (llmcost_fixed_usd_per_month{{{_pathless(match)}}}) / {MONTH}"
    where = f"0 * {total(name, 'workload, path', window, rent, path='self_hosted')}"
    share = f'label_replace({where} + on (workload) group_left () {fixed}, "component", "fixed", "", "")'
    return f"{total(name, 'workload, path, component', window, rent)} or {share}"


def cost(window: str, match: str = ALL) -> str:
    """Cost in USD per second by workload and path."""
    return f"sum by (workload, path) ({cost_by_component(window, match)})"


def priced_tokens(window: str, match: str = ALL) -> str:
    """Priced tokens per second by workload and path; absent where there are none, so that no price is infinite."""
    served = total("llmcost_tokens_total", "workload, path", window, match)
    unpriced = total("llmcost_unpriced_tokens_total", "workload, path", window, match)
    return f"(({served} - {unpriced} or {served}) > 0)"


def own_per_mtok(window: str, match: str = ALL) -> str:
    """Effective USD per million tokens by workload and path, from the counters."""
    return f"{PER_MTOK} * {cost(window, match)} / {priced_tokens(window, match)}"


def api_per_mtok(window: str, match: str = ALL) -> str:
    """USD per million of the self-hosted tokens at the API alternative, by workload and alternative."""
    by = "workload, alternative"
    equivalent = total("llmcost_api_equivalent_usd_total", by, window, _pathless(match))
    unpriced = total("llmcost_unpriced_alternative_tokens_total", by, window, _pathless(match))
    served = total("llmcost_tokens_total", "workload", window, match, path="self_hosted")
    return f"{PER_MTOK} * {equivalent} / on ({by}) (-1 * {unpriced} + on (workload) group_left () {served} > 0)"


def window_cost(window: str, match: str = ALL) -> str:
    """Effective cost in USD over the window by workload and path, also of many sidecars (window `1h`)."""
    by = "workload, path, component"
    rent = f'sum by ({by}) (llmcost_effective_cost_usd{{{match},component!="fixed",window="{window}"}})'
    fixed = f'max by ({by}) (llmcost_effective_cost_usd{{{match},component="fixed",window="{window}"}})'
    return f"sum by (workload, path) ({rent} or {fixed})"


def window_ratio(window: str, match: str = ALL) -> str:
    """Break-even ratio of the window by workload, path and alternative, from sums; where the exporter shows one."""
    by = "workload, path, alternative"

    def alternative_to_own(path: str) -> str:
        labels = _selector(match, {"path": path, "window": window})
        own = window_cost(window, f'{match},path="{path}"')
        return f"sum by ({by}) (llmcost_alternative_cost_usd{labels}) / on (workload, path) group_left () {own}"

    shown = f"llmcost_break_even_ratio{_selector(match, {'window': window})}"
    return f"({alternative_to_own('self_hosted')} or 1 / ({alternative_to_own('api')})) and on ({by}) {shown}"


def primary(match: str = ALL) -> str:
    """1 for each workload, path and primary alternative; in a fleet without a status, for every API alternative."""
    by = "workload, path, alternative"
    status = f"group by ({by}) (llmcost_break_even_status{{{match}}})"
    counted = as_self_hosted(
        f"group by (workload, alternative) (llmcost_api_equivalent_usd_total{{{_pathless(match)}}})"
    )
    return f"({status} or on (workload, path) {counted})"


def as_self_hosted(expression: str) -> str:
    """Adds the label `path` that families of the self-hosted path go without."""
    return f'label_replace({expression}, "path", "self_hosted", "", "")'


def own_over_window(window: str, match: str = ALL) -> str:
    """Effective USD per million tokens over the window by workload and path: best known, else from the counters."""
    known = gauge("llmcost_effective_usd_per_token", "workload, path", match, window=window)
    return f"{PER_MTOK} * {known} or {own_per_mtok(window, match)}"


def ratio_over_window(window: str, match: str = ALL) -> str:
    """Break-even ratio by workload, path and alternative: best known, else from the counters."""
    known = gauge("llmcost_break_even_ratio", "workload, path, alternative", match, window=window)
    api, own = as_self_hosted(api_per_mtok(window, match)), own_per_mtok(window, match)
    return f"{known} or {api} / on (workload, path) group_left () ({own})"


def alternative_over_window(window: str, match: str = ALL) -> str:
    """USD per million tokens on the alternative by workload, path and alternative. From own price and ratio, which rest
    on the same tokens: API / self-hosted cost is the ratio, whichever of the two is the actual one."""

    def ratio(path: str) -> str:
        return ratio_over_window(window, f'{match},path="{path}"')

    own = f"on (workload, path) group_left () ({own_over_window(window, match)})"
    return f"({ratio('self_hosted')}) * {own} or (1 / ({ratio('api')})) * {own}"


def of_primary(expression: str, match: str = ALL) -> str:
    """The figure of a workload and path, with the name of its primary alternative."""
    return f"({expression}) * on (workload, path) group_right () {primary(match)}"


def crossed(match: str = ALL) -> str:
    """1 for what runs on the dearer side of break-even, 0 for what does not."""
    name = "llmcost_break_even_status"
    sides = (f'{name}{{{match},path="{path}",status="{status}"}}' for path, status in DEARER)
    return f"max by (workload, path, alternative) ({' or '.join(sides)})"


def status_code(match: str = ALL) -> str:
    """The status as a number, see STATUSES."""
    codes = (
        f'{offset + code} * llmcost_break_even_status{{{match},path="{path}",status="{status}"}}'
        for path, offset in (("self_hosted", 0), ("api", 10))
        for code, status in enumerate(STATUSES, 1)
    )
    return f"max by (workload, path, alternative) ({' or '.join(codes)})"


def _pathless(match: str) -> str:
    """The match for a family that has no label `path`."""
    return ",".join(label for label in match.split(",") if not label.startswith("path="))


def _selector(match: str, labels: dict[str, str]) -> str:
    return "{" + ",".join([match, *(f'{name}="{value}"' for name, value in labels.items())]) + "}"
