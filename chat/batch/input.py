"""The file of prompts that a batch works through."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
from django.conf import settings

from chat.core import json_schema
from chat.core.events import make_storable
from chat.providers.base import Prompt, Turn
from chat.providers.capabilities import EFFORTS
from chat.providers.registry import PROVIDERS


class _Message(msgspec.Struct, forbid_unknown_fields=True):
    role: Literal["system", "user", "assistant"]
    content: str


class _Line(msgspec.Struct, forbid_unknown_fields=True):
    id: str | int | None = None
    prompt: str | None = None
    messages: list[_Message] | None = None
    model: str | None = None
    max_tokens: Annotated[int, msgspec.Meta(ge=1)] | None = None
    temperature: Annotated[float, msgspec.Meta(ge=0, le=2)] | None = None
    effort: str = ""
    response_schema: dict[str, Any] | None = None


_LINE = msgspec.json.Decoder(_Line)


class Defaults(NamedTuple):
    """The values of a line that names no others; `system` is for messages that have no system prompt."""

    model: str
    system: str = ""
    max_tokens: int | None = None


class Item(NamedTuple):
    """One prompt of the file."""

    id: str | int
    model: str
    prompt: Prompt


class BadLine(NamedTuple):
    """A line that is no prompt, and why not."""

    number: int
    sentence: str


def read_prompts(path: Path, defaults: Defaults) -> Iterator[Item | BadLine]:
    """Yield the prompts of a file, without its blank lines. A line without an id gets its number: `line-3`."""
    seen: dict[str, int] = {}
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                yield _read_line(number, line, seen, defaults)


def _read_line(number: int, line: bytes, seen: dict[str, int], defaults: Defaults) -> Item | BadLine:
    """Return the prompt of a line; `seen` has the ids of the lines before with their numbers, and gets this one's."""
    try:
        item = _read_item(_LINE.decode(line), f"line-{number}", defaults)
    except (ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors
        return BadLine(number, str(error))
    if (first := seen.setdefault(str(item.id), number)) != number:
        return BadLine(number, f"the id {item.id!r} is that of line {first}")
    return item


def count_lines(path: Path) -> int:
    """Return how many lines of a file are not blank."""
    with path.open("rb") as lines:
        return sum(1 for line in lines if line.strip())


def check_model(model: str) -> str:
    """Return the `provider:model`; raise ValueError when there is no such provider, or can be no such model."""
    provider, _, name = model.partition(":")
    is_name = name.isprintable() and name.split() == [name] and len(model) <= settings.LONGEST_MODEL
    if provider not in PROVIDERS or not is_name:
        told = repr(model[:80])
        raise ValueError(f"the model must be provider:model with a provider of {', '.join(PROVIDERS)}, not {told}")
    return model


def _read_item(line: _Line, name: str, defaults: Defaults) -> Item:
    if (line.prompt is None) == (line.messages is None):
        raise ValueError("give either `prompt` or `messages`")
    messages = [_Message("user", line.prompt)] if line.prompt is not None else line.messages or []
    if not any(turn.role == "user" and turn.content.strip() for turn in messages):
        raise ValueError("nothing is asked")
    if defaults.system and not any(turn.role == "system" for turn in messages):
        messages = [_Message("system", defaults.system), *messages]
    if line.effort and line.effort not in EFFORTS:
        raise ValueError(f"the effort must be one of {', '.join(EFFORTS)}, not {line.effort!r}")
    model = check_model(line.model or defaults.model)
    prompt = Prompt(
        model.partition(":")[2],
        tuple(Turn(turn.role, make_storable(turn.content)) for turn in messages),
        max_output_tokens=line.max_tokens or defaults.max_tokens or settings.CHAT_MAX_TOKENS.get(model),
        temperature=line.temperature,
        effort=line.effort or settings.CHAT_EFFORT.get(model, ""),
        response_schema=None if line.response_schema is None else json_schema.check_schema(line.response_schema),
    )
    return Item(name if line.id is None else line.id, model, prompt)
