"""The words for adaptations: a few for administrators, a sentence for readers whose wish one of them concerns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from chat.providers.base import Adaptation, AdaptationKind, Prompt, ToolSchema


class _Wording(NamedTuple):
    """The words for one adaptation: a few for the admin, a sentence for a reader whose wish it concerns.

    `wished` says whether a prompt wished for what the adaptation leaves out or changes.
    """

    admin: str
    reader: str = ""
    wished: Callable[[Prompt, Adaptation], object] = lambda _, __: False


def _is_lowered(wish: float | None, most: float | None) -> bool:
    return wish is not None and most is not None and wish > most


def _list_wished_tools(prompt: Prompt) -> Sequence[ToolSchema]:
    """Return the tools of which a reader may be told; none where they are told already that there are none."""
    return () if prompt.find_adaptation("no_tools") else prompt.tools


_WORDINGS: dict[AdaptationKind, _Wording] = {
    "no_tools": _Wording(
        "asked without tools",
        "This model does not take tools. It answers without them.",
        lambda prompt, _: prompt.tools,
    ),
    "no_tool": _Wording(
        "asked without the tool {name!r}",
        "This model's provider refuses the tool {name!r}. The model answers without it.",
        lambda prompt, adaptation: any(tool.name == adaptation.name for tool in _list_wished_tools(prompt)),
    ),
    "tools_at_most": _Wording(
        "given at most {value:,.0f} tools",
        "This model takes at most {value:,.0f} tools. It was given the first ones.",
        lambda prompt, adaptation: _is_lowered(len(_list_wished_tools(prompt)), adaptation.value),
    ),
    "no_tool_choice": _Wording(
        "no tool is forced", "This model cannot be made to use a tool.", lambda p, _: p.tool_choice
    ),
    "no_temperature": _Wording(
        "asked without a temperature",
        "This model does not take the temperature that was chosen. It answers with its own.",
        lambda prompt, _: prompt.temperature is not None,
    ),
    "temperature_at_most": _Wording(
        "temperature at most {value:g}",
        "This model takes a temperature of at most {value:g}. It was lowered to that.",
        lambda prompt, adaptation: _is_lowered(prompt.temperature, adaptation.value),
    ),
    "max_completion_tokens": _Wording("the limit of tokens is sent as max_completion_tokens"),
    "max_tokens": _Wording("the limit of tokens is sent as max_tokens"),
    "tokens_at_most": _Wording(
        "at most {value:,.0f} tokens an answer",
        "This model can write at most {value:,.0f} tokens here. The limit was lowered to that.",
        lambda prompt, adaptation: _is_lowered(prompt.max_output_tokens, adaptation.value),
    ),
    "no_token_limit": _Wording(
        "asked without a limit of tokens",
        "This model does not take a limit for the length of its answer.",
        lambda prompt, _: prompt.max_output_tokens is not None,
    ),
    "no_stream_options": _Wording("asked without stream_options, so its usage is an estimate"),
    "no_stream": _Wording("asked without streaming: its answers come in one piece"),
    "stream_only": _Wording("asked for a stream also where nobody follows it"),
    "adaptive_thinking": _Wording("thinking is adaptive, without a budget"),
    "no_thinking": _Wording("asked without thinking", "This model answers without thinking first.", lambda _, __: True),
    "effort_none": _Wording(
        "asked with reasoning_effort none when tools are given",
        "This model does not reason when it is given tools. It answers without reasoning.",
        lambda prompt, _: prompt.tools,
    ),
    "system_in_question": _Wording(
        "the system prompt is sent with the first question",
        "This model takes no system prompt. Yours was sent with the first question.",
        lambda prompt, _: prompt.has_own_system and any(turn.role == "system" for turn in prompt.turns),
    ),
    "json_object": _Wording(
        "JSON by a schema is asked for in words, with response_format json_object",
        "This model takes no JSON schema. The schema was written into the prompt, and the answer is checked.",
        lambda prompt, _: prompt.response_schema is not None,
    ),
    "schema_in_prompt": _Wording(
        "JSON by a schema is asked for in words",
        "This model takes no JSON schema. The schema was written into the prompt, and the answer is checked.",
        lambda prompt, _: prompt.response_schema is not None,
    ),
    "loose_schema": _Wording(
        "a JSON schema is sent without strict",
        "This model does not keep strictly to this JSON schema. The answer is checked.",
        lambda prompt, _: prompt.response_schema is not None,
    ),
    "output_format": _Wording("JSON by a schema is asked for by output_config.format"),
    "no_reasoning_back": _Wording("its reasoning is not sent back to it"),
    "reasoning_back": _Wording("each of its turns is sent back with reasoning, or a blank in its place"),
    "short_call_ids": _Wording("ids of tool calls are sent as nine letters and digits"),
    "no_prefill": _Wording("it is asked to continue, instead of being given the beginning of its answer"),
    "no_effort": _Wording(
        "asked without an effort",
        "This model has no setting for its effort. It answers as it always does.",
        lambda prompt, _: prompt.effort,
    ),
    "other_effort": _Wording(
        "asked for the nearest effort that it takes",
        "This model does not take the effort that was chosen. It was asked for the nearest one, {name!r}.",
        lambda prompt, _: prompt.effort,
    ),
    "no_caching": _Wording("asked without a mark for the provider's cache"),
    "responses_api": _Wording("asked by the Responses API"),
    "chat_completions": _Wording("asked by Chat Completions"),
    "no_reasoning_summary": _Wording("asked without a summary of its reasoning"),
    "no_cache_key": _Wording("asked without a key for its cache"),
    "no_background": _Wording("asked without background mode: its answers are not taken up at the provider"),
    "model_retired": _Wording(
        "asked in the place of a retired model",
        "{name} has been retired by its provider. This conversation continues with another model.",
        lambda _, __: True,
    ),
}


def list_remarks(prompt: Prompt) -> list[str]:
    """Return a sentence for readers for each wish of the prompt that its adaptations leave out or change."""
    sentences = [
        wording.reader.format(value=adaptation.value, name=adaptation.name)
        for adaptation in prompt.adaptations
        if (wording := _WORDINGS[adaptation.kind]).reader and wording.wished(prompt, adaptation)
    ]
    return list(dict.fromkeys(sentences))


def describe_adaptation(adaptation: Adaptation) -> str:
    """Return the adaptation in a few words, for an administrator."""
    return _WORDINGS[adaptation.kind].admin.format(value=adaptation.value, name=adaptation.name)


KINDS = frozenset(_WORDINGS)
