"""Content of other sites' archives as this site takes it: names of tools, titles, and words for what is left out."""

from __future__ import annotations

import json
import re
from collections import Counter
from datetime import datetime
from typing import Any

from chat.conversations.exchange.portable import PortableCall
from chat.core.events import ToolResult, make_storable
from chat.core.lines import join_lines

# What providers take as the name of a tool, and as the id of a call: these go back to them with later questions.
_NO_NAME = re.compile(r"[^A-Za-z0-9_-]")

SUMMARY_LENGTH = 200
TITLE_LENGTH = 80


def make_tool_name(name: str) -> str:
    """Return the name of another site's tool as every provider takes it."""
    return _NO_NAME.sub("_", name)[:64] or "tool"


def make_call_id(id_: str) -> str:
    """Return the id of another site's call as every provider takes it."""
    return _NO_NAME.sub("_", id_)[:64] or "call"


def write_arguments(value: Any) -> str:
    """Return the arguments of a call as the JSON object that providers insist on."""
    if isinstance(value, str):
        try:
            value = json.loads(value) if value.startswith("{") else {"input": value}
        except (ValueError, RecursionError):
            value = {"input": value}
    return make_storable(json.dumps(value if isinstance(value, dict) else {"input": value}, ensure_ascii=False))


def make_result(
    call_id: str, name: str, arguments: str, text: str, at: datetime | None, *, ok: bool
) -> tuple[PortableCall, ToolResult]:
    """Return what a tool said, as its model read it and as readers see it."""
    summary = join_lines(text[:1000])[:SUMMARY_LENGTH]
    return PortableCall(call_id, name, arguments, text, summary, ok, 0, at), ToolResult(call_id, summary, ok)


def shorten_title(title: str) -> str:
    """Return a title of another site's as long as titles are here."""
    line = join_lines(title)
    return line if len(line) <= TITLE_LENGTH else line[: TITLE_LENGTH - 1].rstrip() + "…"


def note_left_out(left_out: Counter[str], what: str, name: str) -> str:
    """Count something that is left out, and return the line that stands in its place."""
    left_out[what] += 1
    return f"\n\n[{what.capitalize()} left out: {join_lines(name)[:120] or 'without a name'}]\n\n"
