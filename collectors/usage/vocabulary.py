"""A decoder that learns which texts a log repeats: names of providers and models, tiers, regions, label values.

What is known is decoded to one shared object, whose hash is computed once, instead of a new text for each line. A block
with anything unknown is decoded as if nothing were known, and learned from. The result is the same (tested).
"""

import re
from collections.abc import Iterable
from typing import Any, Literal

import msgspec
from msgspec import Struct

from collectors.terms import Labels
from collectors.usage.llmcost import FastLine, FastLineWithId
from collectors.usage.records import labels_of

MAX_TEXTS = 256  # of one field; a field with more of them is decoded as any text
MAX_LABELS = 8
_MAX_LESSONS = 32  # each compiles a new decoder, about 1 ms
_FIELDS = ("provider", "model", "service_tier", "region")
_LABEL = re.compile(r"[A-Za-z0-9_.:/ -]{1,64}")


class Vocabulary:
    """Decodes blocks of lines to rows like `FastLine`, but with hashable `labels`: the JSON text, or `KnownLabels`."""

    def __init__(self, with_id: bool) -> None:
        self._base: type[FastLine] = FastLineWithId if with_id else FastLine
        self._plain = msgspec.json.Decoder(self._base)
        self._known: msgspec.json.Decoder[Any] | None = None
        self._texts: dict[str, set[str]] = {field: set() for field in _FIELDS}
        self._labels: dict[str, set[str]] | None = {}
        self._lessons = 0

    def rows(self, block: bytes | memoryview) -> list[Any]:
        """The rows of plainly good lines. Raises msgspec.DecodeError if there is any other."""
        if self._known is not None:
            try:
                rows = self._known.decode_lines(block)
            except msgspec.DecodeError:
                if self._lessons == _MAX_LESSONS:
                    self._known = None  # there is always something new: not worth trying
            else:
                return rows if self._labels is not None else _hashable(rows)
        rows = _hashable(self._plain.decode_lines(block))
        if self._lessons < _MAX_LESSONS and len(rows) > 1:
            self._learn(rows)
        return rows

    def _learn(self, rows: list[Any]) -> None:
        self._lessons += 1
        for field, texts in self._texts.items():
            texts |= {getattr(row, field) for row in rows} - {None}
        for raw in {row.labels for row in rows}:
            self._learn_labels(raw)
        self._known = msgspec.json.Decoder(self._line())

    def _learn_labels(self, raw: bytes) -> None:
        try:
            labels = msgspec.json.decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError):
            labels = ()
        if self._labels is None or labels is None:
            return
        if not isinstance(labels, dict) or not all(_is_label(*item) for item in labels.items()):
            self._labels = None
            return
        for name, value in labels.items():
            self._labels.setdefault(name, set()).add(value)
        if len(self._labels) > MAX_LABELS:
            self._labels = None

    def _line(self) -> type[Struct]:
        known = {field: tuple(texts) for field, texts in self._texts.items() if 0 < len(texts) <= MAX_TEXTS}
        fields: list[Any] = [(f, Literal[texts] | None, None) for f, texts in known.items() if f != "model"]
        if "model" in known:
            fields.append(("model", Literal[known["model"]]))
        if self._labels is not None:
            fields.append(("labels", self._label_set(self._labels) | None, None))
        return msgspec.defstruct("KnownLine", fields, bases=(self._base,), kw_only=True, gc=False)

    def _label_set(self, labels: dict[str, set[str]]) -> Any:
        names = {f"label_{number}": name for number, name in enumerate(labels)}
        return msgspec.defstruct(
            "KnownLabels",
            [(field, _one_of(labels[name]) | None, None) for field, name in names.items()],
            bases=(KnownLabels,),
            rename=names,
            forbid_unknown_fields=True,
            frozen=True,
            gc=False,
        )


class KnownLabels(Struct, frozen=True, gc=False):
    """Labels of known names and values; two are equal if their texts are."""

    def labels(self) -> Labels:
        return labels_of(msgspec.to_builtins(self))


def _hashable(rows: list[Any]) -> list[Any]:
    for row in rows:
        row.labels = bytes(row.labels)
    return rows


def _is_label(name: str, value: object) -> bool:
    return isinstance(value, str) and _LABEL.fullmatch(name) is not None


def _one_of(texts: Iterable[str]) -> Any:
    known = tuple(texts)
    return Literal[known] if len(known) <= MAX_TEXTS else str
