"""What a user's message may ask of the server, for browsers and other programs.

A JSON object whose names are fields of `Script`:    Tell me {"text": "Hello", "stall_after": 3}
or fields in brackets, a bare one being true:        Tell me [stall_after 3] [ping_interval 0.5] [hang_at_end]
or one of the words in `WORDS`, in brackets too:     Tell me [slow] [unicode]

Whatever else is in the message is ignored, an unknown field as well. A directive holds for the first call of its turn:
when the results of tool calls come back, the default script answers.
"""

from __future__ import annotations

import json
import re
from dataclasses import fields, replace
from typing import Any

import msgspec

from tests.provider_server.script import PARAGRAPH, Script

NASTY = (
    "Zoë, naïve 日本語; \u202eright to left\u202c; e\u0301; \U0001f469\u200d\U0001f469\u200d\U0001f467; 🇩🇪; "
    '\u2028line\u2029; tab\t; "quoted" \\n \\u0041; </script>; \ufeff; \U0010ffff; \r\n\r\ndata: [DONE]\n\n.'
)

WORDS: dict[str, dict[str, Any]] = {
    "slow": {"chunk_size": 4, "delay_between": 0.05},
    "long": {"text": PARAGRAPH * 50},
    "unicode": {"text": NASTY},
    "reasoning": {"reasoning": "The user asks about the sky. Scattering explains it."},
    "tool": {"text": "", "tool_calls": [{"name": "calculator", "arguments": '{"expression": "6 * 7"}'}]},
    "stall": {"stall_after": 20},
    "drop": {"drop_after": 20},
    "eof": {"eof_after": 20},
    "overloaded": {"error_event_after": 20},
    "rate_limited": {"status": 429, "retry_after": 2},
}

_FIELDS = frozenset(field.name for field in fields(Script))
_BRACKETED = re.compile(r"\[(\w+)(?:[ =:]+([^\]]*))?\]")


def apply_directives(message: str, default: Script) -> Script | None:
    """Return the default script with the changes that a message asks for; None when it asks for none."""
    asked = _parse_json_object(message) or _parse_brackets(message)
    known = {name: value for name, value in asked.items() if name in _FIELDS}
    return change_script(default, known) if known else None


def change_script(script: Script, values: dict[str, Any]) -> Script:
    """Return the script with these fields; raises `msgspec.ValidationError`, a `ValueError`."""
    converted = msgspec.convert(values, Script)
    return replace(script, **{name: getattr(converted, name) for name in values})


def _parse_json_object(message: str) -> dict[str, Any]:
    start = message.find("{")
    if start < 0:
        return {}
    try:
        value, _ = json.JSONDecoder().raw_decode(message, start)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _parse_brackets(message: str) -> dict[str, Any]:
    asked: dict[str, Any] = {}
    for name, value in _BRACKETED.findall(message):
        if name in WORDS and not value:
            asked |= WORDS[name]
        else:
            asked[name] = _parse_value(value)
    return asked


def _parse_value(text: str) -> Any:
    if not text:
        return True
    try:
        return json.loads(text)
    except ValueError:
        return text
