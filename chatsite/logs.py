"""Log lines: each names its request and, where there is one, its answer; none holds a secret of the site's.

One log event is one line, whatever it quotes: an address, a header or a provider's words could otherwise bring a line
end and a second line of their own making, or move the cursor of the terminal that shows the log.

What is said in conversations is kept out where lines are made: no call to a logger passes it, `unquoted` takes it out
of what providers say, and here goes what PostgreSQL repeats of a row that it refuses.
"""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote, urlsplit

from chat.observability.tracing import answer_id, request_id
from chat.providers.masking import MASK, mask_secrets

# PostgreSQL's `DETAIL` repeats the row that it refuses. A row's text may have any number of lines, so all goes up to
# what a traceback says next.
_DETAIL = re.compile(r"DETAIL:.*?(?=\n\nThe above exception|\n\nDuring handling|\Z)", re.DOTALL)

_BEARER = re.compile(r"\b(Bearer|Basic) [^\s'\"]+")

# The secret in the address of a shared link, see `chat.conversations.shares`.
_LINK = re.compile(r"(/s/)[\w-]{16,}")

# A shorter secret stands in ordinary words; whoever has one has other worries.
LEAST_SECRET = 6

# What ends a line somewhere (C0 and C1 controls, U+2028, U+2029), steers a terminal (ESC, CSI), turns the direction of
# what follows (bidirectional controls), or cannot be written at all (half of a surrogate pair).
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")

_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def escape_controls(text: str) -> str:
    """Return `text` as one printable line: control characters become escapes, as in Python."""
    return _UNPRINTABLE.sub(_escape, text)


def _escape(found: re.Match[str]) -> str:
    character = found[0]
    code = ord(character)
    return _SHORT.get(character) or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")


def _escape_in_json(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"


def find_password(url: str) -> str:
    """Return the password in a URL, as it stands there."""
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
    """Writes one line for people. A traceback is part of its line, with its line ends escaped."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        super().__init__("{asctime} {levelname} {name} [{request_id}] {message}", style="{")
        given = {form for secret in secrets for form in (secret, unquote(secret)) if len(form) >= LEAST_SECRET}
        longest_first = sorted(given, key=len, reverse=True)
        self._secrets = re.compile("|".join(map(re.escape, longest_first))) if given else None

    def format(self, record: logging.LogRecord) -> str:
        return escape_controls(self.mask_secrets(super().format(record)))

    def mask_secrets(self, text: str) -> str:
        """Mask the site's own secrets, whatever looks like a key or a token, and the row that PostgreSQL repeats."""
        if self._secrets is not None:
            text = self._secrets.sub(MASK, text)
        text = _LINK.sub(rf"\1{MASK}", mask_secrets(text))
        return _DETAIL.sub("DETAIL: " + MASK, _BEARER.sub(rf"\1 {MASK}", text))


class JsonFormatter(LineFormatter):
    """Writes one JSON object for each record, a traceback included: docs/monitoring.md explains the fields."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": self.mask_secrets(record.getMessage()),
            "request_id": getattr(record, "request_id", "-"),
        }
        if answer := getattr(record, "answer", ""):
            line["answer"] = answer
        line |= {
            name: self.mask_secrets(value) if isinstance(value, str) else value
            for name, value in getattr(record, "fields", {}).items()
        }
        if record.exc_info:
            line["exception"] = self.mask_secrets(self.formatException(record.exc_info))
        if record.stack_info:
            line["stack"] = self.mask_secrets(record.stack_info)
        return _UNPRINTABLE.sub(_escape_in_json, json.dumps(line, ensure_ascii=False, default=str))


class DenialFilter(logging.Filter):
    """Leaves out what uvicorn says, as an error, of each WebSocket whose handshake is answered with a 401.

    It has a line for the refusal as well.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether a record is another one."""
        return record.msg != "ASGI callable returned without completing handshake."


# Seconds. The pool tries five times a second, and is told why for each try.
SAME_REASON_EVERY = 60.0


class ConnectingFilter(logging.Filter):
    """Leaves of what psycopg's pool says only why it gets no connection, once a minute for the same reason.

    Whoever waits for a connection is told that there was none in time, and no reason: that is known here alone.
    """

    def __init__(self) -> None:
        super().__init__()
        self._reason, self._logged_at = "", 0.0

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether a record has a reason that was not logged within the last minute."""
        if not record.msg.startswith("error connecting"):
            return False
        reason, now = str(record.args[-1]) if isinstance(record.args, tuple) else "", time.monotonic()
        if reason == self._reason and now - self._logged_at < SAME_REASON_EVERY:
            return False
        self._reason, self._logged_at = reason, now
        return True
