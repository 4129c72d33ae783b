"""Capabilities of models as a provider's own list, `GET /v1/models`, tells them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from typing import Any

from chat.providers.capabilities import EFFORTS
from chat.providers.model_options import MAX_TOKENS

# More than any provider serves; a list that is longer is cut.
MAX_MODELS = 1_000

# No model has a longer name, and no column has room for one.
LONGEST_NAME = 150

# Tokens that a window or an answer may have. One of 1, or of more than anybody can count, is a slip of the server's: by
# it no answer would have more than a word, or no conversation would have a prompt.
_PLAUSIBLE = range(256, MAX_TOKENS + 1)

# Models that answer no questions, by their names.
_NO_CHAT = re.compile(
    r"embed|whisper|tts|rerank|image|dall-e|moderation|audio|realtime|transcribe|sora|guard|babbage|davinci|\blive\b"
)


def read_entries(body: object) -> dict[str, Mapping[str, Any]]:
    """Return the entries of a list by the model's name; empty when it is no list that anybody can read."""
    data = body.get("data") if isinstance(body, dict) else body
    entries = [entry for entry in data if isinstance(entry, dict)] if isinstance(data, list) else []
    named = {entry["id"]: entry for entry in entries if _is_name(entry.get("id"))}
    return dict(list(named.items())[:MAX_MODELS])


def read_fields(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of `Capabilities` that an entry tells.

    It is Anthropic's, OpenAI's (`shutdown_date`), vLLM's (`max_model_len`) or OpenRouter's (`context_length`).
    """
    known: dict[str, Any] = {}
    for field, names in (
        ("context_window", ("max_input_tokens", "max_model_len", "context_length")),
        ("longest_output", ("max_tokens",)),
    ):
        tokens = next((entry[name] for name in names if _is_count(entry.get(name))), None)
        if tokens is not None:
            known[field] = tokens
    for name in ("retires_at", "shutdown_date"):
        if name in entry and (entry[name] is None or _parse_day(entry[name])):
            known["retires_on"] = _parse_day(entry[name])
    if entry.get("lifecycle") == "retired":
        known["retires_on"] = known.get("retires_on") or date.min
    capabilities = entry.get("capabilities")
    return known | (_read_features(capabilities) if isinstance(capabilities, dict) else {})


def list_chat_models(entries: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return the names of the models that answer questions, in the order of the list."""
    return [name for name in entries if not _NO_CHAT.search(name.lower()) and not re.search(r"\s", name)]


def _read_features(capabilities: Mapping[str, Any]) -> dict[str, Any]:
    known: dict[str, Any] = {}
    for name, field in (("image_input", "images"), ("pdf_input", "files"), ("server_tools", "server_tools")):
        if (supported := _supports(capabilities, name)) is not None:
            known[field] = supported
    if (native := _supports(capabilities, "structured_outputs")) is not None:
        known["schema"] = "native" if native else "tool"
    effort = capabilities.get("effort")
    if isinstance(effort, dict) and isinstance(effort.get("supported"), bool):
        known["efforts"] = tuple(word for word in EFFORTS if effort["supported"] and _supports(effort, word))
    if (kind := _read_thinking(capabilities.get("thinking"))) is not None:
        known["thinking"] = kind
    return known


# How a model that decides by itself can be asked not to think, by our word for it.
_WAYS_NOT_TO_THINK = {"adaptive": "disabled", "between_tools": "between_tools"}


def _read_thinking(value: object) -> str | None:
    if not isinstance(value, dict) or not isinstance(value.get("supported"), bool):
        return None
    types = value.get("types")
    if not value["supported"] or not isinstance(types, dict):
        return "none" if not value["supported"] else None
    if _supports(types, "adaptive"):
        return next((kind for kind, word in _WAYS_NOT_TO_THINK.items() if _supports(types, word)), "always")
    return "budget" if _supports(types, "enabled") else None


def _supports(capabilities: Mapping[str, Any], name: str) -> bool | None:
    value = capabilities.get(name)
    supported = value.get("supported") if isinstance(value, dict) else None
    return supported if isinstance(supported, bool) else None


def _is_name(value: object) -> bool:
    """Return whether this can be a model's name: what cannot be seen would break a page or a row."""
    return isinstance(value, str) and 0 < len(value) <= LONGEST_NAME and value.isprintable() and not value.isspace()


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value in _PLAUSIBLE


def _parse_day(value: object) -> date | None:
    """Return the day of a date or a time as ISO 8601 writes it; None for anything else."""
    try:
        return date.fromisoformat(value[:10]) if isinstance(value, str) else None
    except ValueError:
        return None
