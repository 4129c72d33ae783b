"""Content of an answer in its provider's native form: kept beside the text, sent back only to where it came from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from chat.core.events import make_storable

# More than this came with no call yet; a signature is a few thousand characters.
MAX_EXTRA_CHARS = 262_144


def write_extra(model: str, members: Mapping[str, Any]) -> str:
    """Return the content of a `ToolCallExtra`: what came with a call, and the model whose it is.

    Empty when nothing came, or more than is kept.
    """
    kept = {name: value for name, value in members.items() if value is not None}
    if not kept:
        return ""
    content = make_storable(json.dumps({"model": model, "members": kept}, ensure_ascii=False))
    return content if len(content) <= MAX_EXTRA_CHARS else ""


def read_members(extra: str, model: str) -> dict[str, Any]:
    """Return what `write_extra` wrote, for the model that sent it; nothing for another, which would refuse it."""
    if not extra:
        return {}
    try:
        kept = json.loads(extra)
        members = kept["members"] if kept["model"] == model else {}
    except (ValueError, LookupError, TypeError):
        return {}
    return members if isinstance(members, dict) else {}


def is_read_by(model: str, extra: str) -> bool:
    """Return whether `write_extra` wrote this for the model, or for the model at one of its servers.

    It tells by the beginning alone: a long conversation has megabytes of it.
    """
    start = f'{{"model": {json.dumps(model, ensure_ascii=False)[:-1]}'
    return extra.startswith((f'{start}"', f"{start} at "))
