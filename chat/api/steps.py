"""The steps of an answer: its texts, its reasoning and its tool calls, in their order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from chat.models import Message

_NAMES = {"token": "text", "reasoning": "reasoning"}


def list_steps(answer: Message) -> list[dict[str, Any]]:
    """Return what an answer consists of.

    A step of text lies from `start` to `end` in the answer's `text`, one of reasoning in its `reasoning`, in code
    points; a tool call has the `id` of one in `tool_calls`.
    """
    steps: list[dict[str, Any]] = []
    ends = {"text": 0, "reasoning": 0}
    for entry in answer.outline:
        if not isinstance(entry, Mapping):
            _add_text(steps, ends, _NAMES[entry[0]], entry[1])
        elif entry["type"] == "tool_call":
            steps.append({"type": "tool_call", "id": entry["id"]})
        elif entry["type"] == "thought" and steps and steps[-1]["type"] == "reasoning":
            steps[-1]["milliseconds"] = entry["milliseconds"]
    for name, text in (("text", answer.text), ("reasoning", answer.reasoning)):
        _add_text(steps, ends, name, len(text) - ends[name])  # what the outline does not cover follows it
    return steps


def _add_text(steps: list[dict[str, Any]], ends: dict[str, int], name: str, size: int) -> None:
    if size <= 0:
        return
    start, ends[name] = ends[name], ends[name] + size
    if steps and steps[-1]["type"] == name:
        steps[-1]["end"] = ends[name]
    else:
        steps.append({"type": name, "start": start, "end": ends[name]})


def list_tool_calls(outline: Iterable[Any]) -> list[dict[str, Any]]:
    """Return an answer's tool calls, with null for what has not come of one, or never will."""
    calls: list[dict[str, Any]] = []
    for entry in outline:
        if not isinstance(entry, Mapping):
            continue
        if entry["type"] == "tool_call":
            calls.append({"id": entry["id"], "name": entry["name"], "arguments": "", **_WITHOUT_RESULT})
            continue
        # An id may come again in a later step: the last call with it is meant.
        call = next((call for call in reversed(calls) if call["id"] == entry.get("id")), None)
        if call is not None and entry["type"] == "tool_arguments":
            call["arguments"] += entry["delta"]
        elif call is not None and entry["type"] == "tool_result":
            call.update(summary=entry["summary"], ok=entry["ok"], milliseconds=entry["milliseconds"])
    return calls


_WITHOUT_RESULT = {"summary": None, "ok": None, "milliseconds": None}
