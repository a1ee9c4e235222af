"""What lines of an AWS CUR 2.0 bill have in common, as the ledger keeps it, and what is doubtful about them. Pure."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

from collectors.bill_days import kind_text
from collectors.billing.cur_columns import Kind
from collectors.billing.cur_lines import category_of, charge_of, labels_of


def text_of(kind: Kind, unused: bool = False) -> str:
    """What lines of a kind have in common (see `collectors.bill_days`): those of usage or of money, or those of the
    part of a commitment's fee that nothing used, which is cost of use and billed by the fee itself."""
    labels, _ = labels_of(kind.tags)
    category, _ = category_of(kind.line_type, kind.usage_type)
    charge = charge_of(kind, "Usage" if unused else category, labels)
    return kind_text(replace(charge, commitment_status="Unused") if unused else charge)


def doubts_of(kinds: Iterable[Kind]) -> Counter[str]:
    """Numbers of rows by what is doubtful about them, and of those that show money other rows have."""
    flags = Counter[str]()
    for kind in kinds:
        if kind.split:
            flags["split_cost_row"] += kind.rows
            continue
        flags["unknown_line_type"] += 0 if category_of(kind.line_type, kind.usage_type)[1] else kind.rows
        flags["no_currency"] += 0 if kind.currency else kind.rows
        flags["bad_tags"] += 0 if labels_of(kind.tags)[1] else kind.rows
    return flags
