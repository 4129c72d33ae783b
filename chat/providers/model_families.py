"""The capabilities of model families by their names, and the assumptions for models that nobody knows.

The sources of the table, read in November 2026:

- *types*: anthropic 2.12 (`types/model_param.py`, `DEPRECATED_MODELS` in `resources/messages/messages.py`) and
  openai 3.54 (`types/shared/chat_model.py`, whose docstring has the shutdown dates). A test compares the dates.
- *models*: platform.claude.com, "Models overview" and each model's own page; developers.openai.com, each model's page.
- *new*: platform.claude.com, "What's new in Claude …" and the migration guides.
- *deprecations*: the page of that name at platform.claude.com and developers.openai.com.
- *reports*: error messages that users of the API quote in public bug reports.
- *prices*: the context windows of genai-prices.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import NamedTuple

from chat.providers.capabilities import Capabilities

DEFAULT_MODELS: Mapping[str, str] = {"anthropic": "claude-sonnet-5-5", "openai": "gpt-6.1-terra"}
"""The mid-class model of each provider: neither its cheapest nor its dearest, and fast enough for a chat."""


class _Family(NamedTuple):
    """The models whose names match, and what they take."""

    names: re.Pattern[str]
    takes: Capabilities


def _make_family(names: str, takes: Capabilities) -> _Family:
    return _Family(re.compile(names), takes)


# Claude. The names are Anthropic's own; dates, and the forms of Bedrock and Vertex, are cut off before.

_FIVE_EFFORTS = ("low", "medium", "high", "xhigh", "max")

# What holds since Claude 5.5 (new, reports): no sampling, no prefill, no forced tool, no budget, thinking always on,
# and bound to what stood before it ("Preserved thinking").
_CLAUDE = Capabilities(
    api="messages",
    thinking="always",
    efforts=_FIVE_EFFORTS,
    default_effort="high",
    sampling=False,
    forced_tools=False,
    images=True,
    files=True,
    caching="marked",
    server_tools=True,
    context_window=1_000_000,
    longest_output=128_000,
    bound_thoughts=True,
)

# Claude 4.7 to 5: thinking can be switched off, and then a tool can be forced (new: Opus 5, Sonnet 5; reports).
_CLAUDE_5 = replace(_CLAUDE, thinking="adaptive", forced_tools=True, bound_thoughts=False)

# Claude 4.6: budgets still work, adaptive thinking is recommended; temperatures, no prefill (new, reports).
_CLAUDE_4_6 = replace(_CLAUDE_5, efforts=("low", "medium", "high", "max"), sampling=True)

# Claude 4.5 and before: budgets of thinking tokens, and everything else (models: "Extended"; 200K, 64K).
_CLAUDE_4_5 = replace(
    _CLAUDE_4_6,
    thinking="budget",
    efforts=(),
    default_effort="",
    prefill=True,
    context_window=200_000,
    longest_output=64_000,
)

# Before structured outputs (Opus 4.1 and Claude 4.5 brought them). All of these are switched off (types).
_CLAUDE_4 = replace(_CLAUDE_4_5, schema="tool")
_CLAUDE_3 = replace(_CLAUDE_4, thinking="none", longest_output=8_192)

# A Claude with a name that is not in the table is newer than it: the contract of 5.5, without its figures. It is never
# told not to think, which some of them refuse.
_UNKNOWN_CLAUDE = replace(
    _CLAUDE,
    efforts=("low", "medium", "high"),
    default_effort="",
    context_window=None,
    longest_output=None,
)

# Any other model behind the Messages API, such as llama.cpp's: what the API was in 2024.
_UNKNOWN_MESSAGES = Capabilities(api="messages", thinking="budget", prefill=True, schema="tool")

_ANTHROPIC = (
    _make_family(r"claude-(fable|mythos)-5(-[12])?", _CLAUDE),  # models; reports: forced tools refused since Fable 5
    _make_family(r"claude-opus-5-5", replace(_CLAUDE, default_effort="medium")),  # models, new
    _make_family(r"claude-sonnet-5-5", replace(_CLAUDE, thinking="between_tools")),  # new: "disabled" is a 400
    _make_family(
        r"claude-haiku-5-5", replace(_CLAUDE, thinking="adaptive", forced_tools=True, default_effort="medium")
    ),  # models; new and the migration guide list neither forced tools nor "disabled" among what is an error, the
    # page about prompting speaks of "thinking off", and reports have it work at the default effort
    _make_family(r"claude-(opus|sonnet)-5", _CLAUDE_5),  # models, new
    _make_family(r"claude-opus-4-[78]", _CLAUDE_5),  # new: sampling and budgets are refused since 4.7
    _make_family(r"claude-mythos-preview", _CLAUDE_5),
    _make_family(r"claude-(opus|sonnet)-4-6", _CLAUDE_4_6),  # models: both write 128K
    _make_family(
        r"claude-opus-4-5", replace(_CLAUDE_4_5, efforts=("low", "medium", "high"), default_effort="high")
    ),  # new in 4.5: the only one of its generation that takes an effort
    _make_family(r"claude-(sonnet|haiku)-4-5", _CLAUDE_4_5),
    _make_family(r"claude-opus-4-1", replace(_CLAUDE_4_5, longest_output=32_000)),
    _make_family(r"claude-(opus|sonnet)-4(-0)?|claude-3-7-.*", _CLAUDE_4),
    _make_family(r"claude-(3|2|1|instant|v\d).*", _CLAUDE_3),
    _make_family(r"claude-[a-z]+-\d.*", _UNKNOWN_CLAUDE),
)

# OpenAI. Dates of snapshots are cut off before.

# Reasoning models of the GPT-5.6 and GPT-6 families (models: GPT-6.1 Terra, GPT-6.2 Astra).
_GPT_6 = Capabilities(
    api="responses",
    thinking="adaptive",
    efforts=("none", *_FIVE_EFFORTS),
    default_effort="medium",
    sampling=False,
    tools_need_no_effort=True,
    images=True,
    files=True,
    caching="automatic",
    server_tools=True,
    context_window=1_050_000,
    longest_output=128_000,
    silent_thinking=True,
)
_GPT_6_ALWAYS = replace(_GPT_6, thinking="always", efforts=_FIVE_EFFORTS)
# What all of OpenAI's models since GPT-5.6 have in common.
_UNKNOWN_GPT = replace(_GPT_6_ALWAYS, efforts=("low", "medium", "high"), context_window=None, longest_output=None)
_GPT_5_5 = replace(_GPT_6, efforts=("none", "low", "medium", "high", "xhigh"))
_GPT_5_2 = replace(_GPT_5_5, default_effort="none", tools_need_no_effort=False, context_window=400_000)
_GPT_5 = replace(_GPT_5_2, thinking="always", efforts=("minimal", "low", "medium", "high"), default_effort="medium")
_O3 = replace(_GPT_5, efforts=("low", "medium", "high"), context_window=200_000, longest_output=100_000)
_PRO = replace(_GPT_5, efforts=("medium", "high", "xhigh"))
_GPT_4_1 = Capabilities(
    api="responses",
    images=True,
    files=True,
    caching="automatic",
    server_tools=True,
    context_window=1_000_000,
    longest_output=32_768,
)
_GPT_4O = replace(_GPT_4_1, context_window=128_000, longest_output=16_384)
_GPT_4 = replace(_GPT_4O, images=False, files=False, schema="prompt", server_tools=False, longest_output=4_096)

_OPENAI = (
    _make_family(r"gpt-6(\.\d)?-astra|gpt-6\.[12]-sol", _GPT_6_ALWAYS),  # models: "none" is refused
    _make_family(r"gpt-6-sol|gpt-6(\.1)?-(terra|luna)|gpt-5\.6-(sol|terra|luna)", _GPT_6),  # models
    _make_family(r"gpt-5\.\d-pro", _PRO),
    _make_family(r"gpt-5-pro", replace(_PRO, efforts=("high",), default_effort="high")),
    _make_family(r"gpt-5\.5", replace(_GPT_5_5, context_window=1_000_000)),
    _make_family(r"gpt-5\.4", replace(_GPT_5_5, default_effort="none")),
    _make_family(r"gpt-5\.4-(mini|nano)", replace(_GPT_5_5, default_effort="none", context_window=400_000)),
    _make_family(r"gpt-5\.[23](-codex)?", _GPT_5_2),
    _make_family(r"gpt-5\.1(-codex)?(-mini)?", replace(_GPT_5_2, efforts=("none", "low", "medium", "high"))),
    _make_family(r"gpt-5(\.\d)?-chat-latest|chatgpt-4o-latest", replace(_GPT_4O, tools=False)),
    _make_family(r"gpt-5(-mini|-nano|-codex)?", _GPT_5),
    _make_family(r"o[134](-mini|-pro)?", _O3),
    _make_family(r"gpt-4\.1(-mini|-nano)?", _GPT_4_1),
    _make_family(r"gpt-4o(-mini)?", _GPT_4O),
    _make_family(r"gpt-4(-turbo|-32k)?(-preview)?|gpt-3\.5-turbo.*", _GPT_4),
    _make_family(
        r"gpt-\d+(\.\d+)?-chat(-latest)?", replace(_GPT_4O, tools=False, context_window=None, longest_output=None)
    ),
    # A GPT, or a model of the o series, that is newer than the table.
    _make_family(r"(gpt-(5\.[6-9]|[6-9]|\d\d)|o[5-9]).*|gpt-\d.*-(astra|sol|terra|luna)", _UNKNOWN_GPT),
)

_UNKNOWN_CHAT = Capabilities()
_UNKNOWN_RESPONSES = Capabilities(api="responses", images=True, files=True, caching="automatic", server_tools=True)

_DEMO = Capabilities(api="demo")


def find_family(provider: str, name: str, *, is_own_server: bool) -> Capabilities:
    """Return what a model takes by its plain name; what is assumed of any model where no family has the name."""
    if provider == "demo":
        return _DEMO
    if provider == "anthropic":
        return _match(_ANTHROPIC, name) or _UNKNOWN_MESSAGES
    if not is_own_server and (claude := _match(_ANTHROPIC, name)) is not None:
        return _adjust_for_gateway(claude)
    found = _match(_OPENAI, name) or (_UNKNOWN_RESPONSES if is_own_server else _UNKNOWN_CHAT)
    # Gateways ask OpenAI by the Responses API themselves, and servers of other models have it in part or not at all.
    return found if is_own_server else replace(found, api="chat", server_tools=False, tools_need_no_effort=False)


def _adjust_for_gateway(claude: Capabilities) -> Capabilities:
    """Return what a Claude takes over Chat Completions: its own limits, and no parameter that only some gateways know.

    One that always thinks does so there too.
    """
    return Capabilities(
        thinking="always" if claude.thinking == "always" else "none",
        sampling=claude.sampling,
        forced_tools=claude.forced_tools,
        images=claude.images,
        context_window=claude.context_window,
        longest_output=claude.longest_output,
    )


def _match(families: Iterable[_Family], name: str) -> Capabilities | None:
    return next((family.takes for family in families if family.names.fullmatch(name)), None)
