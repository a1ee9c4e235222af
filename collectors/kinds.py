"""The kinds of collectors, and what the project has to know of one before, or without, importing it. Pure.

Whoever treats kinds differently asks for a trait here and names no kind.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Kind:
    """`factory` is "module:class": the class has a nested `Settings` dataclass with at least `name`, `kind` and
    `interval`. `extra` is the extra of this package that brings the `modules` it needs: they are looked for, not
    imported, when a config is checked.

    `history` is what a source keeps of its past, which whoever reads it first reads again: the `account` of a provider
    of the kind's name, of the tokens that it bills (its days replace what was said of them before), or a `log` of
    single requests. `unbilled_tiers` are the service tiers that such an account has usage of and no cost.
    `cluster`: it sees a cluster's machines, and finds the engines on them for others to read.
    """

    factory: str
    extra: str = ""
    modules: tuple[str, ...] = ()
    history: Literal["", "account", "log"] = ""
    unbilled_tiers: tuple[str, ...] = ()
    cluster: bool = False


COLLECTORS: Mapping[str, Kind] = {
    "vllm": Kind("collectors.engines.vllm:Vllm"),
    "usage_log": Kind("collectors.usage.log:UsageLog", history="log"),
    "rate_card": Kind("collectors.billing.rate_card:RateCard"),
    "focus": Kind("collectors.billing.focus:Focus"),
    "aws_cost_explorer": Kind("collectors.billing.aws_cost_explorer:AwsCostExplorer", "aws", ("boto3",)),
    "aws_data_export": Kind("collectors.billing.aws_data_export:AwsDataExport", "aws", ("boto3", "duckdb")),
    "gcp_catalog": Kind("collectors.billing.gcp_catalog:GcpCatalog", "gcp", ("google.cloud.billing_v1",)),
    "kubernetes": Kind("collectors.cluster.kubernetes:Kubernetes", "kubernetes", ("kubernetes",), cluster=True),
    "openai": Kind("collectors.usage.openai:OpenAI", history="account"),
    # The cost report leaves out the priority tier.
    "anthropic": Kind("collectors.usage.anthropic:Anthropic", history="account", unbilled_tiers=("priority",)),
}

_UNKNOWN = Kind("")


def kind_of(name: str) -> Kind:
    """What is known of a kind, or of the provider of that name; nothing of one that is not in the table (a provider
    that no collector reads, a kind in the ledger of another version)."""
    return COLLECTORS.get(name, _UNKNOWN)
