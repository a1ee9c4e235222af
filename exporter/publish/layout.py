"""Plain text of at most 100 columns: aligned tables and wrapped prose. Pure."""

import textwrap
from collections.abc import Sequence

WIDTH = 100
NO_BREAK = "\N{NO-BREAK SPACE}"
"""Stands for a space at which a line must not break."""

_GAP = "  "


def table(rows: Sequence[Sequence[str]], aligns: str, indent: int = 2) -> list[str]:
    """Rows (a header first, if any) in columns as wide as their widest cell: `l`eft or `r`ight for each.

    The last column, if it is left-aligned, wraps at the page's width; so the longest texts belong there.
    """
    if not rows:
        return []
    widths = [max(len(row[i]) for row in rows) for i in range(len(aligns))]
    lines = []
    for row in rows:
        cells = [
            cell.rjust(width) if align == "r" else cell.ljust(width)
            for cell, width, align in zip(row, widths, aligns, strict=True)
        ]
        head = " " * indent + "".join(cell + _GAP for cell in cells[:-1])
        last = row[-1] if aligns[-1] == "l" else cells[-1]
        lines += _wrapped(last, head, " " * len(head)) if last.strip() else [head.rstrip()]
    return lines


def prose(text: str, indent: int = 2, hanging: int = 0) -> list[str]:
    """A paragraph; lines after the first are indented `hanging` further."""
    return _wrapped(text, " " * indent, " " * (indent + hanging))


def unbroken(text: str) -> str:
    """Text in which no line breaks."""
    return text.replace(" ", NO_BREAK)


def _wrapped(text: str, first: str, rest: str) -> list[str]:
    lines = textwrap.wrap(text, WIDTH, initial_indent=first, subsequent_indent=rest, break_on_hyphens=False)
    return [line.replace(NO_BREAK, " ") for line in lines]
