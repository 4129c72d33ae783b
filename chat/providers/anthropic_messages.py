"""The messages of Anthropic's Messages API, made of a conversation; and the API's own blocks, kept for later turns.

Blocks go back as they came, to the model that sent them: inside an answer all of them, with their thoughts; in later
turns those that a text does not stand for, such as searches and citations. Thoughts are bound to everything that stood
before them (platform.claude.com, "Preserved thinking"), and in a later turn that may be another: the tools, the system
prompt, the messages that have left the window.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

from chat.core.events import make_storable
from chat.providers.base import UNSIGNED, CalledTool, Prompt, Thinking, Turn
from chat.providers.native_content import read_members, write_extra
from chat.providers.tool_calls import fit_id, parse_arguments

CALL_ID = re.compile("[a-zA-Z0-9_-]{1,64}")

REDACTED = "redacted:"
"""Marks a signature of reasoning that the API sends encrypted. Its own signatures are base64 and have no colon."""

CONTENT = "content:"
"""Marks a signature that holds everything a call brought, as the API's own blocks in their order."""

THOUGHTS = ("thinking", "redacted_thinking")

Block = dict[str, Any]


def build_messages(prompt: Prompt) -> list[dict[str, Any]]:
    """Return the conversation as messages.

    Neighbours of one role become one message: all results of one turn's calls have to be in the same.
    """
    messages: list[dict[str, Any]] = []
    turns = [turn for turn in prompt.turns if turn.role != "system"]
    contents = _drop_unpaired([list(_list_blocks(turn, prompt.model)) for turn in turns], is_open=is_paused(prompt))
    for turn, blocks in zip(turns, contents, strict=True):
        if messages and messages[-1]["role"] == _get_role(turn):
            messages[-1]["content"] += blocks
        elif blocks:
            messages.append({"role": _get_role(turn), "content": blocks})
    last = messages[-1] if messages else None
    if last is not None and last["role"] == "assistant" and last["content"][-1]["type"] == "text":
        # An answer to be continued must not end in white space: 400 again.
        last["content"][-1]["text"] = last["content"][-1]["text"].rstrip()
    return [{"role": message["role"], "content": _simplify(message["content"])} for message in messages]


def _get_role(turn: Turn) -> str:
    return "user" if turn.role == "tool" else turn.role


def _list_blocks(turn: Turn, model: str) -> Iterator[Block]:
    if (kept := _read_kept_content(turn)) is not None:
        kept_model, blocks = kept
        if kept_model == model:
            yield from blocks
            return
    elif turn.native_form and (kept_blocks := read_members(turn.native_form, model).get("blocks")):
        for part in turn.thinking:
            if part.signature == UNSIGNED:  # of the server's asking; signed ones are bound to what stood before them
                yield from _list_thought_blocks(part)
        yield from kept_blocks
        return
    else:
        for part in turn.thinking:
            yield from _list_thought_blocks(part)
    if turn.role == "tool":
        result = {"type": "tool_result", "tool_use_id": fit_id(turn.call_id, CALL_ID)}
        yield {**result, "content": make_storable(turn.content), "is_error": not turn.ok}
    elif turn.content.strip():
        yield {"type": "text", "text": make_storable(turn.content)}
    for call in turn.calls:
        yield _make_call_block(call, model)


def _list_thought_blocks(part: Thinking) -> Iterator[Block]:
    if part.signature.startswith(REDACTED):
        yield {"type": "redacted_thinking", "data": part.signature.removeprefix(REDACTED)}
    elif part.signature == UNSIGNED:
        yield {"type": "thinking", "thinking": make_storable(part.text), "signature": ""}
    elif part.signature and ":" not in part.signature:
        yield {"type": "thinking", "thinking": part.text, "signature": part.signature}


def _make_call_block(call: CalledTool, model: str) -> Block:
    block = {"type": "tool_use", "id": fit_id(call.id, CALL_ID), "name": call.name}
    return {**read_members(call.extra, model), **block, "input": parse_arguments(call.arguments)}


def _simplify(blocks: list[Block]) -> list[Block] | str:
    """Return a text alone as the string that every server knows."""
    return blocks[0]["text"] if len(blocks) == 1 and blocks[0].keys() == {"type", "text"} else blocks


# Whole content, which goes back as it came


def write_content_signature(model: str, blocks: list[Block]) -> str:
    """Return the content of a `chat.core.events.Signature` that holds everything a call of the model brought."""
    return CONTENT + make_storable(json.dumps({"model": model, "blocks": blocks}, ensure_ascii=False))


def is_paused(prompt: Prompt) -> bool:
    """Return whether the prompt ends with what its model had sent when the provider interrupted it.

    The API continues that by itself.
    """
    return bool(prompt.turns) and _read_interrupted(prompt.turns[-1], prompt.model) is not None


def list_interrupted(prompt: Prompt) -> list[Block]:
    """Return what the model has sent of the answer that its provider interrupted, once or several times in a row."""
    blocks: list[Block] = []
    for turn in reversed(prompt.turns):
        if (sent := _read_interrupted(turn, prompt.model)) is None:
            break
        blocks = sent + blocks
    return blocks


def _read_interrupted(turn: Turn, model: str) -> list[Block] | None:
    """Return the blocks, perhaps none, of a turn in which the provider interrupted this model; None of any other."""
    kept = _read_kept_content(turn) if turn.role == "assistant" and not turn.calls else None
    return kept[1] if kept is not None and kept[0] == model else None


def _read_kept_content(turn: Turn) -> tuple[str, list[Block]] | None:
    """Return the model and the blocks that `write_content_signature` kept of a turn; None when it kept none."""
    last = turn.thinking[-1].signature if turn.thinking else ""
    if not last.startswith(CONTENT):
        return None
    kept = json.loads(last.removeprefix(CONTENT))
    return kept["model"], kept["blocks"]


def write_native_form(model: str, blocks: list[Block]) -> str:
    """Return the content of a `chat.core.events.NativeForm` of an answer's blocks.

    Empty where its text and its calls say it all, and for more than is kept.
    """
    kept = [block for block in blocks if block["type"] not in THOUGHTS]
    is_plain = all(block["type"] in ("text", "tool_use") and not block.get("citations") for block in kept)
    return "" if is_plain else write_extra(model, {"blocks": kept})


def _drop_unpaired(contents: list[list[Block]], *, is_open: bool) -> list[list[Block]]:
    """Return the turns' blocks without uses of the provider's tools that have no result, and results without a use.

    An answer that was cut in between has them, and the API refuses them. The last turn's uses are `is_open` where the
    provider is to continue itself.
    """
    uses: set[str] = set()
    results: set[str] = set()
    for block in _list_own_tools(block for blocks in contents for block in blocks):
        (uses if block["type"].endswith("_tool_use") else results).add(_get_id(block))
    if is_open:
        results |= {_get_id(block) for block in _list_own_tools(contents[-1])}
    paired = uses & results
    if paired == uses | results:
        return contents
    return [[block for block in blocks if not _is_own_tool(block) or _get_id(block) in paired] for blocks in contents]


def _list_own_tools(blocks: Iterable[Block]) -> list[Block]:
    return [block for block in blocks if _is_own_tool(block)]


def _is_own_tool(block: Block) -> bool:
    """Return whether a block is of a tool that the provider runs: `server_tool_use`, `web_search_tool_result`."""
    return re.search("._tool_(use|result)$", block["type"]) is not None


def _get_id(block: Block) -> str:
    return str(block.get("tool_use_id") or block.get("id"))
