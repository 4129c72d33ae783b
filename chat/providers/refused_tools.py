"""Refusals of some tools: of one, by its place in the request or by its name, or of too many.

Nothing here knows Django or an HTTP client.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from chat.providers.base import Prompt

# An answer leaves out no more tools than this one by one: each costs a refused call, so then it is asked without any.
MAX_TOOLS_LEFT_OUT = 6

# A refusal of how the tools are used, or of what was said with them, not of how one of them is described.
_OF_THEIR_USE = re.compile(
    r"tool_choice|tool_calls?\b|tool_use\b|tool_result|parallel|reasoning_effort|forced"
    r"|\b(?:calls?|responses?|results?|turns?|roles?)\b|\bmessages?[.\[]",
    re.IGNORECASE,
)

_STEP = r"(?:\]?\[|\]?\.|'?, '?|/| ?-> ?|\]?:? |'\]\[?)"

# A path to what describes a tool: OpenAI's `tools[3].function.name`, Anthropic's `tools.3.custom.input_schema`, those
# of FastAPI and Bedrock. Another path, such as to `strict`, may be about a parameter that all of them have.
_PLACE = re.compile(
    rf"\btools(?:\[|\.|'?, |/| ?-> ?)(?P<place>\d+)(?P<counts_from_one>\.member)?{_STEP}"
    rf"(?:(?:function|custom|toolspec){_STEP})?(?:name|description|parameters|input_?schema)",
    re.IGNORECASE,
)
# Gemini has all tools in one, LiteLLM before it one in each.
_GEMINI = re.compile(
    r"\btools\[(\d+)\]\.function_?declarations\[(\d+)\]\.(?:name|description|parameters)", re.IGNORECASE
)
# Gemini names a part of many without its end.
_GEMINI_END = re.compile(r"'tools\[(\d+)\]\.function_?declarations\[(\d+)\]", re.IGNORECASE)


# OpenAI and DeepSeek, Copilot, Groq and vLLM.
_TOO_MANY = re.compile(
    r"'tools'?: array too long\. expected an array with maximum length (\d+)|(?:more than|at most|maximum(?: is| of)?"
    r"|up to|limit(?: is| of)?|exceeds?(?: the limit of)?) (\d+) (?:tools|functions)\b"
    r"|\b(?:tools|functions)(?: allowed| supported)?:? (?:is|exceeds?(?: the)? (?:limit|maximum)(?: of)?) (\d+)"
    r"|\b(?:tools|functions)\b[^.]{0,40}?\b(?:at most|max(?:imum)?(?: of)?:?) (\d+)(?!\d| ?(?:char|byte|token))",
    re.IGNORECASE,
)


def find_tool_limit(words: str, prompt: Prompt) -> int | None:
    """Return how many tools the server takes, where these words say that there are too many."""
    found = None if _OF_THEIR_USE.search(words) else _TOO_MANY.search(words)
    most = int(found[1] or found[2] or found[3] or found[4]) if found else 0
    return most if 0 < most < len(prompt.remaining_tools) else None


def find_refused_tool(words: str, prompt: Prompt) -> str:
    """Return the name of the tool whose description these words refuse; empty where they are about all or about none.

    Quotation marks in the words are `'`.
    """
    tools = prompt.remaining_tools
    if sum(adaptation.kind == "no_tool" for adaptation in prompt.adaptations) >= MAX_TOOLS_LEFT_OUT:
        return ""
    places = dict.fromkeys(_list_places(words))
    named = [tools[place].name for place in places if 0 <= place < len(tools)]
    if not named and not _OF_THEIR_USE.search(words):
        named = [tool.name for tool in tools if _is_named(tool.name, words)]
        named = named if len(named) == 1 else []
    is_of_all = len(named) == len(tools) > 1
    return "" if is_of_all or not named else named[0]


def _list_places(words: str) -> Iterator[int]:
    for pattern in (_GEMINI, _GEMINI_END):
        for outer, inner in pattern.findall(words):
            if not (int(outer) and int(inner)):  # else nobody knows how many the ones before it hold
                yield int(outer) + int(inner)
    for found in _PLACE.finditer(words):
        yield int(found["place"]) - bool(found["counts_from_one"])


def _is_named(name: str, words: str) -> bool:
    """Return whether a name stands beside the word for a tool.

    In quotation marks alone it may be the parameter that is refused, or be part of the request, which some servers
    repeat.
    """
    word, name = r"(?:function|tool)(?: name)?", rf"'?(?-i:{re.escape(name)})'?"
    beside = rf"\b{word}:? {name}(?![\w-])|(?<![\w-]){name} (?:function|tool)"
    return re.search(beside, words, re.IGNORECASE) is not None
