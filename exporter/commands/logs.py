"""Log lines on stderr, as logfmt or JSON, one line per event."""

import json
import logging
from datetime import UTC, datetime

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warn": logging.WARNING, "error": logging.ERROR}
FORMATS = ("logfmt", "json")


def set_up(level: str, form: str) -> None:
    """Log everything from `level` on to stderr in `form` (one of FORMATS)."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines() if form == "json" else Logfmt())
    logging.basicConfig(level=LEVELS[level], handlers=[handler], force=True)
    for chatty in ("urllib3", "uvicorn", "botocore", "boto3"):
        logging.getLogger(chatty).setLevel(max(LEVELS[level], logging.WARNING))
    # It warns at every interval that a slow source outlasts; the collector's duration and age say it better.
    logging.getLogger("apscheduler").setLevel(logging.ERROR)


class JsonLines(logging.Formatter):
    """{"ts": ..., "level": ..., "logger": ..., "msg": ...}"""

    def format(self, record: logging.LogRecord) -> str:
        return json.dumps(self.fields(record), ensure_ascii=False)

    def fields(self, record: logging.LogRecord) -> dict[str, str]:
        """The record's fields in order; `error` is the traceback, where there is one."""
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        level = "warn" if record.levelno == logging.WARNING else record.levelname.lower()
        fields = {"ts": at.replace("+00:00", "Z"), "level": level, "logger": record.name, "msg": record.getMessage()}
        if record.exc_info:
            fields["error"] = self.formatException(record.exc_info)
        return fields


class Logfmt(JsonLines):
    """ts=... level=... logger=... msg="..." """

    def format(self, record: logging.LogRecord) -> str:
        return " ".join(f"{key}={_word(value)}" for key, value in self.fields(record).items())


def _word(value: str) -> str:
    return value if value.isascii() and value.replace(".", "").isalnum() else json.dumps(value, ensure_ascii=False)
