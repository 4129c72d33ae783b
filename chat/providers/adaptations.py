"""Adaptations of prompts: what a model refuses is left out of its request, or sent in another form.

`chat.providers.refused_parameters` says which refusal leads to which adaptation, `chat.providers.adaptation_remarks`
has the sentences for readers and administrators. Nothing here knows Django or an HTTP client.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256

from chat.providers.base import UNSIGNED, AdaptationKind, Prompt, Thinking, Turn

CONTINUE_INSTRUCTION = (
    "Your last message was cut off. Go on with it exactly where it ends, in the same language and format. "
    "Repeat nothing, and say nothing about this."
)
"""The instruction for a model that cannot be made to continue its own words."""


def apply_adaptations(prompt: Prompt) -> Prompt:
    """Return the prompt as it is asked: without what its adaptations leave out.

    What concerns one wire format alone, such as the name of a parameter, is the adapter's affair.
    """
    for adaptation in prompt.adaptations:
        change = _CHANGES.get(adaptation.kind)
        if change is not None:
            prompt = change(prompt, adaptation.value)
    return prompt


def add_continue_instruction(prompt: Prompt) -> Prompt:
    """Return a prefilled prompt for a model that does not continue its own words by itself: it is asked to."""
    if not is_prefilled(prompt):
        return prompt
    return replace(prompt, turns=(*prompt.turns, Turn("user", CONTINUE_INSTRUCTION)))


def is_prefilled(prompt: Prompt) -> bool:
    """Return whether the prompt ends with the beginning of the answer."""
    return bool(prompt.turns) and prompt.turns[-1].role == "assistant"


def _drop_tools(prompt: Prompt, _: float | None) -> Prompt:
    """Return the prompt without tools. Calls of the past become text, as the model takes none there either."""
    turns: list[Turn] = []
    for turn in prompt.turns:
        if turn.role == "tool":
            turns.append(Turn("user", f"[Result: {turn.content}]"))
        elif turn.calls:
            calls = "\n".join(f"[Called {call.name} with {call.arguments or '{}'}]" for call in turn.calls)
            turns.append(Turn(turn.role, f"{turn.content}\n\n{calls}".strip()))
        else:
            turns.append(turn)
    return replace(prompt, turns=tuple(turns), tools=(), tool_choice="")


def _lower_temperature(prompt: Prompt, most: float | None) -> Prompt:
    if prompt.temperature is None or most is None:
        return prompt
    return replace(prompt, temperature=min(prompt.temperature, most))


def _lower_limit(prompt: Prompt, most: float | None) -> Prompt:
    if prompt.max_output_tokens is None or most is None:
        return prompt
    return replace(prompt, max_output_tokens=min(prompt.max_output_tokens, int(most)))


def _move_system_to_question(prompt: Prompt, _: float | None) -> Prompt:
    """Return the prompt with the system prompt at the head of the first question."""
    system = "\n\n".join(turn.content for turn in prompt.turns if turn.role == "system" and turn.content.strip())
    turns = [turn for turn in prompt.turns if turn.role != "system"]
    if not system:
        return replace(prompt, turns=tuple(turns))
    if turns and turns[0].role == "user":
        turns[0] = replace(turns[0], content=f"{system}\n\n{turns[0].content}")
    else:
        turns.insert(0, Turn("user", system))
    return replace(prompt, turns=tuple(turns))


def _tell_schema(prompt: Prompt, _: float | None) -> Prompt:
    """Return the prompt with its schema in words. The answer is checked against it in any case."""
    if prompt.response_schema is None:
        return prompt
    schema = json.dumps(prompt.response_schema, ensure_ascii=False)
    instruction = (
        f"Answer with one JSON object alone, without any other text and without a code fence, by this schema: {schema}"
    )
    *before, last = prompt.turns
    if last.role == "user":
        return replace(prompt, turns=(*before, replace(last, content=f"{last.content}\n\n{instruction}")))
    return replace(prompt, turns=(*prompt.turns, Turn("user", instruction)))


# DeepSeek refuses an empty one (BerriAI/litellm, `DeepSeekChatConfig`; NousResearch/hermes-agent#18263).
_NO_THOUGHTS = " "


def _add_thoughts(prompt: Prompt, _: float | None) -> Prompt:
    """Return the prompt with thoughts in each of the model's turns: those that are known, or a blank."""
    turns: list[Turn] = []
    for turn in prompt.turns:
        if turn.role == "assistant" and not any(part.signature for part in turn.thinking):
            thoughts = "".join(part.text for part in turn.thinking) or _NO_THOUGHTS
            turns.append(replace(turn, thinking=(Thinking(thoughts, UNSIGNED),)))
        else:
            turns.append(turn)
    return replace(prompt, turns=tuple(turns))


_SHORT_ID = re.compile("[a-zA-Z0-9]{9}")


def _shorten_call_ids(prompt: Prompt, _: float | None) -> Prompt:
    """Return the prompt with ids of calls as Mistral's models take them; the same id becomes the same one."""
    turns = [
        replace(
            turn,
            calls=tuple(replace(call, id=_shorten_id(call.id)) for call in turn.calls),
            call_id=_shorten_id(turn.call_id) if turn.role == "tool" else turn.call_id,
        )
        for turn in prompt.turns
    ]
    return replace(prompt, turns=tuple(turns))


def _shorten_id(call_id: str) -> str:
    return call_id if _SHORT_ID.fullmatch(call_id) else sha256(call_id.encode()).hexdigest()[:9]


def _drop_refused_tools(prompt: Prompt, _: float | None) -> Prompt:
    """Return the prompt with its remaining tools; where there are none, as one without tools."""
    tools = prompt.remaining_tools
    if prompt.tools and not tools:
        return _drop_tools(prompt, None)
    names = {tool.name for tool in tools}
    return replace(prompt, tools=tools, tool_choice=prompt.tool_choice if prompt.tool_choice in names else "")


_CHANGES: dict[AdaptationKind, Callable[[Prompt, float | None], Prompt]] = {
    "no_tools": _drop_tools,
    "no_tool": _drop_refused_tools,
    "tools_at_most": _drop_refused_tools,
    "no_tool_choice": lambda prompt, _: replace(prompt, tool_choice=""),
    "no_temperature": lambda prompt, _: replace(prompt, temperature=None),
    "temperature_at_most": _lower_temperature,
    "tokens_at_most": _lower_limit,
    "no_token_limit": lambda prompt, _: replace(prompt, max_output_tokens=None),
    "system_in_question": _move_system_to_question,
    "json_object": lambda prompt, value: (
        prompt if prompt.find_adaptation("schema_in_prompt") else _tell_schema(prompt, value)
    ),
    "schema_in_prompt": _tell_schema,
    "no_reasoning_back": lambda prompt, _: replace(
        prompt, turns=tuple(replace(turn, thinking=()) for turn in prompt.turns)
    ),
    "reasoning_back": _add_thoughts,
    "short_call_ids": _shorten_call_ids,
    "no_prefill": lambda prompt, _: add_continue_instruction(prompt),
    "no_effort": lambda prompt, _: replace(prompt, effort=""),
    "no_cache_key": lambda prompt, _: replace(prompt, cache_key=""),
}
