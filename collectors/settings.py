"""Field types for collector settings: plain values at run time, validated by pydantic only while a config is loaded.

Settings are standard-library dataclasses so that a running exporter does not keep pydantic in memory: the config is
validated in a child process (see `exporter.config`) and comes back as these plain values.
"""

import re
from collections.abc import Hashable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any
from urllib.parse import unquote_plus

STRICT = {"extra": "forbid"}

SECRET_WORDS = (
    *("password", "passwd", "passw", "pwd", "passphrase", "token", "secret", "key", "apikey", "credential"),
    *("credentials", "authorization", "auth", "sig", "signature"),
)
"""What a key is called whose value is a secret, in configs and in URLs: neither may be shown anywhere."""


@dataclass(frozen=True, slots=True)
class Reads:
    """One source that a collector reads, whatever its name, role and tuning: read twice, it would count twice. Settings
    say so in a method `reads`, unless a key that many have in common names it (`exporter.config.sources`).

    `source` is the same for the same source, however it is written; ledgers keep digests of it, so that what it is made
    of stays. `parts`: of the source only these, empty: all of it. `key` is the setting that names the source (empty:
    none does), `change` the one to change if that is another. `what` the source is and `text` are for the message
    about one read twice; `{}` in it is the value of `key`.
    """

    key: tuple[str | int, ...]
    source: Hashable
    text: str = "{}"
    value: str | None = None
    parts: tuple[str, ...] = ()
    change: tuple[str | int, ...] | None = None
    what: str = "a source"

    def overlaps(self, other: "Reads") -> bool:
        """Whether the two have a part in common, if they are of one source."""
        return not self.parts or not other.parts or not set(self.parts).isdisjoint(other.parts)


_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_DURATION = re.compile(r"(?:\d+[smhdw])+")


class Duration(int):
    """A span in whole seconds, written like `15s`, `5m`, `1h30m`, `7d`."""

    @classmethod
    def parse(cls, value: object) -> "Duration":
        if isinstance(value, Duration):
            return value
        if isinstance(value, str) and _DURATION.fullmatch(value):
            return cls(sum(int(n) * _UNITS[u] for n, u in re.findall(r"(\d+)([smhdw])", value)))
        raise ValueError(f"expected a duration like '15m', got {value!r}")

    @property
    def text(self) -> str:
        """The span as it is written in a config: `5400` is `1h30m`."""
        parts, left = "", int(self)
        for unit in ("d", "h", "m", "s"):
            count, left = divmod(left, _UNITS[unit])
            parts += f"{count}{unit}" if count else ""
        return parts or "0s"

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        return _validated_by(cls.parse)


class Money(Decimal):
    """An exact amount of money: a quoted decimal or an integer, never a float (floats lose cents)."""

    @classmethod
    def parse(cls, value: object) -> "Money":
        if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
            raise ValueError(f"expected money as a quoted decimal like '2.49' or an integer, got {value!r}")
        try:
            amount = cls(value)
        except InvalidOperation:
            raise ValueError(f"expected money as a quoted decimal like '2.49' or an integer, got {value!r}") from None
        if not amount.is_finite():
            raise ValueError(f"expected a finite amount of money, got {value!r}")
        return amount

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        return _validated_by(cls.parse)


class Instant(int):
    """A point in time in epoch seconds, written as an ISO 8601 date (midnight UTC) or a date-time with a zone."""

    @classmethod
    def parse(cls, value: object) -> "Instant":
        if isinstance(value, Instant):
            return value
        if isinstance(value, str):
            try:
                value = datetime.fromisoformat(value) if len(value) > 10 else date.fromisoformat(value)
            except ValueError:
                raise ValueError(f"expected a date like 2026-01-31 or a time with a zone, got {value!r}") from None
        if isinstance(value, datetime):
            if value.tzinfo is None:
                raise ValueError(f"expected a time with a zone (for example ...Z), got {value.isoformat()!r}")
            return cls(int(value.timestamp()))
        if isinstance(value, date):
            return cls(int(datetime(value.year, value.month, value.day, tzinfo=UTC).timestamp()))
        raise ValueError(f"expected a date like 2026-01-31 or a time with a zone, got {value!r}")

    @property
    def text(self) -> str:
        """The instant as it is written in a config."""
        return datetime.fromtimestamp(self, UTC).isoformat().replace("+00:00", "Z")

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        return _validated_by(cls.parse)


def sounds_secret(key: str) -> bool:
    """Whether a query parameter of a URL may hold a secret: a secret word is anywhere in its name (`X-Amz-Signature`).
    Rather one too many: the words of others are not known."""
    name = unquote_plus(key).lower()
    return any(word in name for word in SECRET_WORDS)


def _validated_by(parse: Any) -> Any:
    from pydantic_core import core_schema  # only while a config is being validated

    return core_schema.no_info_plain_validator_function(parse)
