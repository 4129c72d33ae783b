"""Log lines: each names its request and, where there is one, its answer; none holds a secret of the site's.

What is said in conversations is kept out where lines are made: no call to a logger passes it, `unquoted` takes it out
of what providers say, and here goes what PostgreSQL repeats of a row that it refuses.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote, urlsplit

from chat.tracing import answer_id, request_id

# PostgreSQL's `DETAIL` repeats the row that it refuses. A row's text may have any number of lines, so all goes up to
# what a traceback says next.
_DETAIL = re.compile(r"DETAIL:.*?(?=\n\nThe above exception|\n\nDuring handling|\Z)", re.DOTALL)

_BEARER = re.compile(r"\b(Bearer|Basic) [^\s'\"]+")

# A shorter secret stands in ordinary words; whoever has one has other worries.
LEAST_SECRET = 6

MASK = "***"


def password_of(url: str) -> str:
    """The password in a URL, as it stands there."""
    try:
        return urlsplit(url).password or ""
    except ValueError:
        return ""


class NamesFilter(logging.Filter):
    """Gives every record the ids of the request and the answer that it belongs to."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.request_id = request_id.get()
        record.answer = answer_id.get()
        return True


class LineFormatter(logging.Formatter):
    """One line for people, and a traceback under it."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        super().__init__("{asctime} {levelname} {name} [{request_id}] {message}", style="{")
        given = {form for secret in secrets for form in (secret, unquote(secret)) if len(form) >= LEAST_SECRET}
        longest_first = sorted(given, key=len, reverse=True)
        self._secrets = re.compile("|".join(map(re.escape, longest_first))) if given else None

    def format(self, record: logging.LogRecord) -> str:
        return self.without_secrets(super().format(record))

    def without_secrets(self, text: str) -> str:
        if self._secrets is not None:
            text = self._secrets.sub(MASK, text)
        return _DETAIL.sub("DETAIL: " + MASK, _BEARER.sub(rf"\1 {MASK}", text))


class JsonFormatter(LineFormatter):
    """One JSON object for each record, a traceback included: docs/monitoring.md explains the fields."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": self.without_secrets(record.getMessage()),
            "request_id": getattr(record, "request_id", "-"),
        }
        if answer := getattr(record, "answer", ""):
            line["answer"] = answer
        line |= getattr(record, "fields", {})
        if record.exc_info:
            line["exception"] = self.without_secrets(self.formatException(record.exc_info))
        if record.stack_info:
            line["stack"] = self.without_secrets(record.stack_info)
        return json.dumps(line, ensure_ascii=False)
