"""Refusals that name a parameter, and the adaptations of the prompt that answer them.

A provider's refusal is a sentence, so it is matched with a table of words: the parameter that it names, beside words
that refuse. Only parameters that the prompt has are left out, and each adaptation is tried once, so a refusal that is
misread costs one more call; tools are left out one by one, up to a number. Nothing here knows Django or an HTTP client.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from chat.providers.adaptations import is_prefilled
from chat.providers.base import Adaptation, AdaptationKind, Prompt
from chat.providers.refused_tools import find_refused_tool, find_tool_limit

# An answer needs three or four at most, beside the tools that are left out one by one, at a server that takes nothing
# but text: it is asked without tools, temperature, `stream_options` and a token limit.
MAX_ADAPTATIONS = 8

# A failure to write a tool call, of which the next try is free (Groq, llama.cpp, Gemini): it says nothing about whether
# the model takes tools.
_FAILED_CALL = re.compile(
    r"tool_use_failed|failed_generation|failed to (?:parse|call|generate|decode) (?:a |an |the |input |model )?"
    r"(?:tool|function|output)|tool call validation failed|malformed[_ ](?:function|tool)[_ ]call"
    r"|unexpected[_ ]tool[_ ]call|(?:error|failure) (?:while |when )?pars(?:ing|e) (?:the )?(?:tool|function) call",
    re.IGNORECASE,
)

_REFUSING = re.compile(
    r"unsupported|(?:not|n't|neither) (?:be |yet |currently )*(?:support|permit|allow|enabl|accept|recogni[sz]|"
    r"implement|(?:a )?valid|avail|compatible|work|known)|no longer support|unknown|unrecogni[sz]ed|unexpected|"
    r"extra_forbidden|extra (?:inputs?|fields?)|additional propert|invalid|incompatible|deprecated|unavailable|"
    r"only .{0,60}\b(?:allowed|supported|accepted)|only (?:the default|support)|\bmust\b|\bshould\b|(?:can|may) only|"
    r"may not|cannot|\brequires?\b|disabled|cannot find field|missing field|"
    r"field required|no endpoints found|not in the|too large|less than|at most|exceed|out of range|"
    r"supported range|\brange\b|(?:larger|greater|higher|more) than|immutable|"
    r"too (?:many|long)|maximum number|failed to compile|\bexpected last role",
    re.IGNORECASE,
)

# What servers say with a status 5xx although a retry cannot help. Any other 5xx counts as transient, whatever it
# mentions.
_LASTING_FAULT = re.compile(
    r"requires? --jinja|tools? param requires|unsupported param|param(?:eter)? .{0,40}not supported"
    r"|system role (?:is )?not supported|only user(?:,| and) ?assistant[\w ,]{0,20} roles"
    r"|conversation roles must alternate"
    r"|does not support (?:tools|system)|unexpected message role|--enable-auto-tool-choice"
    r"|prefill is (?:incompatible|not supported)|tool call ids? \b.{0,120}length (?:of )?9",
    re.IGNORECASE,
)

_EXTRA_FIELD = re.compile(r"extra (?:inputs?|fields?)|extra_forbidden|unknown (?:name|field|param)|unrecogni[sz]ed")


def is_failed_tool_call(detail: str) -> bool:
    """Return whether the provider says that its model failed to write a tool call, which another try may cure."""
    return _FAILED_CALL.search(detail) is not None


def find_adaptation(code: str, detail: str, prompt: Prompt) -> Adaptation | None:
    """Return the adaptation to try after a call failed with this code and these words of the provider's.

    None when the words name nothing that the prompt could do without.
    """
    tried = sum(adaptation.kind != "no_tool" for adaptation in prompt.adaptations)
    if is_failed_tool_call(detail) or tried >= MAX_ADAPTATIONS:
        return None
    if _is_lacking_responses(code, detail, prompt):
        return Adaptation("chat_completions")
    if code in ("context_length", "bad_request") and (way := _find_room(detail, prompt)) is not None:
        return way
    is_lasting = code == "bad_request" or (code == "upstream_error" and detail.startswith("501"))
    if not (is_lasting or (code == "upstream_error" and _LASTING_FAULT.search(detail))):
        return None
    words = re.sub('[\u2018\u2019`"]', "'", detail)
    if not any(pattern.search(words) for pattern in (_REFUSING, _LASTING_FAULT, _LACKING_THOUGHTS)):
        return None
    return next(_list_candidates(words, prompt), None)


# DeepSeek and MiMo, in both formats, and Kimi say it of any turn of the model's, or of those that call tools.
_LACKING_THOUGHTS = re.compile(
    r"(?:reasoning[_ ]content|thinking)'? in the thinking mode must be passed back|missing '?reasoning_content"
    r"|reasoning_content'? is missing",
    re.IGNORECASE,
)


def _is_lacking_responses(code: str, detail: str, prompt: Prompt) -> bool:
    """Return whether the server does not know the address of the Responses API, by which it was asked."""
    is_asked = prompt.capabilities.api == "responses" or prompt.find_adaptation("responses_api") is not None
    is_unknown = code == "bad_request" and re.match("40[45]", detail) and "model" not in detail.lower()
    is_named = _NO_RESPONSES.search(detail) and re.match("4|501", detail)
    return is_asked and bool(is_unknown or is_named) and prompt.find_adaptation("chat_completions") is None


_NO_RESPONSES = re.compile(
    r"(?:not|n't) (?:support|implement)\w* (?:the |by )*responses? api|responses? api is not"
    r"|unsupported.{0,20}v1/responses",
    re.IGNORECASE,
)


def _list_candidates(words: str, prompt: Prompt) -> Iterator[Adaptation]:
    """Yield the ways that the words ask for, by the place where each names its parameter, special wordings first."""
    if _LACKING_THOUGHTS.search(words):  # to leave out what there is of them would be no way
        yield from _drop_known((Adaptation("reasoning_back"),), prompt)
        return
    for special in _SPECIAL:
        if special.words.search(words):
            yield from _drop_known(special.ways(words, prompt), prompt)
    if tool := find_refused_tool(words, prompt):
        yield Adaptation("no_tool", name=tool)
    elif most := find_tool_limit(words, prompt):
        yield from _drop_known((Adaptation("tools_at_most", most),), prompt)
    named = [(found.start(), row) for row in _TABLE if (found := row.words.search(words))]
    for _, row in sorted(named, key=lambda pair: pair[0]):
        yield from _drop_known(row.ways(words, prompt), prompt)
    if not named and _EXTRA_FIELD.search(words.lower()):
        yield from _drop_known((Adaptation("no_stream_options"),), prompt)


def _drop_known(ways: tuple[Adaptation, ...], prompt: Prompt) -> Iterator[Adaptation]:
    return (way for way in ways if prompt.find_adaptation(way.kind) is None)


class _Row(NamedTuple):
    """`words` name a parameter; `ways` are what to try, one after the other, given the words and the prompt."""

    words: re.Pattern[str]
    ways: Callable[[str, Prompt], tuple[Adaptation, ...]]


def _match_words(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE)


def _make_adaptations(
    wanted: Callable[[Prompt], object], *kinds: AdaptationKind
) -> Callable[[str, Prompt], tuple[Adaptation, ...]]:
    """Return ways without a figure, for prompts that ask for what they leave out."""
    ways = tuple(map(Adaptation, kinds))
    return lambda _, prompt: ways if wanted(prompt) else ()


def _has_tools(prompt: Prompt) -> bool:
    return bool(prompt.tools) or any(turn.calls for turn in prompt.turns)


def _has_thoughts(prompt: Prompt) -> bool:
    """Return whether an adapter sends thoughts: what nobody signed only to a model that has asked for it."""
    if prompt.find_adaptation("reasoning_back") is not None:
        return True
    return any(part.signature for turn in prompt.turns for part in turn.thinking)


def _has_system(prompt: Prompt) -> bool:
    return any(turn.role == "system" for turn in prompt.turns)


def _adapt_temperature(words: str, prompt: Prompt) -> tuple[Adaptation, ...]:
    """Return another temperature where a range is named, otherwise none."""
    if prompt.temperature is None:
        return ()
    most = _match_words(
        r"(?:less than or equal to|(?:not|n't) be (?:greater|higher|more|larger) than|at most|<=|maximum(?: is)?"
        r"|between 0(?:\.0)? and|[\[(]0(?:\.0)?,|0(?:\.0)?\.\.)"
        r"\s*([\d.]*\d)"
    ).search(words)
    if most and 0 < float(most[1]) < prompt.temperature:
        return Adaptation("temperature_at_most", float(most[1])), Adaptation("no_temperature")
    return (Adaptation("no_temperature"),)


_FIGURE = r"(\d[\d,_]*\d|\d)"

_LIMIT_WORDS = r"(?:the|this|its|model(?:'s)?|maximum|max|allowed|limit|of|output|token)"

# The largest limit that a refusal names. Anthropic, OpenAI, DeepSeek and Alibaba, Groq and pydantic, Gemini.
_MAX_TOKENS = tuple(
    _match_words(pattern)
    for pattern in (
        rf"> {_FIGURE},? which is the maximum",
        rf"at most {_FIGURE}",
        rf"\[\s*\d+\s*,\s*{_FIGURE}\s*\]",
        rf"(?:less than or equal to|<=|not exceed|can't exceed|maximum(?: value)?(?: is| of)?|limit(?:ed to| is| of)"
        rf"|up to|between \d+ and)\s*:?\s*'?{_FIGURE}",
        rf"max_tokens > {_FIGURE} must",
        rf"to {_FIGURE} \(inclusive\)",
        rf"(?<!must be )(?<!should be )(?:larger|greater|higher|more) than (?:{_LIMIT_WORDS} )*'?{_FIGURE}",
        rf"exceeds? (?:{_LIMIT_WORDS} )*'?{_FIGURE}",
    )
)
_BELOW_TOKENS = _match_words(rf"to {_FIGURE} \(exclusive\)|less than '?{_FIGURE}")


def _parse_number(text: str) -> int:
    return int(re.sub("[,_]", "", text))


def _adapt_token_limit(words: str, prompt: Prompt) -> tuple[Adaptation, ...]:
    """Return a lower limit where the refusal names one, otherwise the parameter's other name, otherwise none."""
    most = next((_parse_number(found[1]) for pattern in _MAX_TOKENS if (found := pattern.search(words))), 0)
    if not most and (below := _BELOW_TOKENS.search(words)):
        most = _parse_number(below[1] or below[2]) - 1
    if most > 0 and (prompt.max_output_tokens is None or most < prompt.max_output_tokens):
        return (Adaptation("tokens_at_most", most),)
    if prompt.max_output_tokens is None:
        return ()
    if "max_output_tokens" in words:  # the only name that the Responses API knows
        return (Adaptation("no_token_limit"),)
    refused = re.search("max_completion_tokens|max_tokens", words)
    if refused and refused[0] == "max_completion_tokens":
        return Adaptation("max_tokens"), Adaptation("no_token_limit")
    return Adaptation("max_completion_tokens"), Adaptation("no_token_limit")


# Anthropic, vLLM before and since 2026, SGLang.
_TOO_MUCH_TOGETHER = tuple(
    _match_words(pattern.replace("FIGURE", r"\d[\d,_]*"))
    for pattern in (
        r"(?P<said>FIGURE) \+ FIGURE > (?P<all>FIGURE)",
        r"maximum context length is (?P<all>FIGURE) tokens.*?requested FIGURE tokens \((?P<said>FIGURE) in the mess",
        r"maximum context length is (?P<all>FIGURE) tokens and your request has (?P<said>FIGURE) input tokens",
        r"maximum context length is (?P<all>FIGURE) tokens.*?requested (?P<asked>FIGURE) output tokens and your prompt "
        r"contains at least (?P<said>FIGURE) input tokens",
        r"maximum context length of (?P<all>FIGURE) tokens.*?: (?P<said>FIGURE) tokens from the input messages",
    )
)

# Tokens: where less than this is left for the answer, the conversation is shortened instead.
_LEAST_ROOM = 256


def _find_room(detail: str, prompt: Prompt) -> Adaptation | None:
    """Return the limit that still fits beside the conversation.

    None unless the refusal says that its length and the answer's limit are too much together (vLLM, Anthropic).
    """
    found = next((found for pattern in _TOO_MUCH_TOGETHER if (found := pattern.search(detail))), None)
    room = _parse_number(found["all"]) - _parse_number(found["said"]) if found else 0
    if found and (limit := found.groupdict().get("asked")):
        # vLLM counts the conversation no further than to where it is too long: how much room is left is not said.
        room = min(room, _parse_number(limit) // 2)
    has_lower = room >= _LEAST_ROOM and (prompt.max_output_tokens is None or room < prompt.max_output_tokens)
    return (
        Adaptation("tokens_at_most", room) if has_lower and prompt.find_adaptation("tokens_at_most") is None else None
    )


def _adapt_schema(words: str, prompt: Prompt) -> tuple[Adaptation, ...]:
    return _make_adaptations(lambda prompt: prompt.response_schema, "json_object", "schema_in_prompt")(words, prompt)


_TOOLS_WITHOUT_REASONING: tuple[AdaptationKind, ...] = ("effort_none", "no_tools")
_TOOLS_ELSEWHERE: tuple[AdaptationKind, ...] = ("responses_api", *_TOOLS_WITHOUT_REASONING)

_SPECIAL = (
    # OpenAI, since GPT-5.4: tools at Chat Completions only without reasoning. Only where the Responses API is not to be
    # had either is the model asked without reasoning, and at last without tools, which readers are told.
    _Row(
        _match_words(r"(?:function )?tools with reasoning_effort|reasoning_effort.{0,80}\btools\b"),
        lambda words, prompt: (
            ()
            if not prompt.tools
            else tuple(map(Adaptation, _TOOLS_ELSEWHERE))
            if "/responses" in words and not prompt.find_adaptation("chat_completions")
            else tuple(map(Adaptation, _TOOLS_WITHOUT_REASONING))
        ),
    ),
    # A model that has only the other API.
    _Row(
        _match_words(r"only (?:\w+ ){0,3}v?1?/?(?:v1/)?responses\b|not in v1/chat/completions"),
        lambda _, prompt: () if prompt.find_adaptation("chat_completions") else (Adaptation("responses_api"),),
    ),
    # Alibaba's models that think, also at ModelScope, and gateways before Codex. Titles and batches ask for no stream.
    _Row(
        _match_words(
            r"for non-?stream|non-?stream\w* (?:calls?|requests?|mode|output) (?:is|are) not"
            r"|only supports? (?:the )?stream|when 'stream=false|stream must be (?:set to )?true"
            r"|\bstream(?:ing)? (?:mode )?is required"
        ),
        lambda _, __: (Adaptation("stream_only"),),
    ),
    # The tools are worth more than the stream.
    _Row(
        _match_words(r"\b(?:tools?|functions?)\b.{0,20}\bstream|\bstream\w* (?:with|and|of) (?:tool|function)"),
        _make_adaptations(lambda prompt: prompt.tools, "no_stream", "no_tools"),
    ),
    # It may stand in the system's turn, or in a tool.
    _Row(
        _match_words("cache_control"),
        lambda _, prompt: (Adaptation("no_caching"),) if prompt.capabilities.caching == "marked" else (),
    ),
    _Row(
        _match_words("invalid schema for function"),
        _make_adaptations(lambda prompt: prompt.tools and prompt.capabilities.api == "responses", "loose_schema"),
    ),
    # What was reasoned under another key, or before the server was replaced; or by a model that does not reason.
    _Row(
        _match_words(r"invalid_encrypted_content|encrypted[_ ]content|'include|type 'reasoning'|item with id 'rs_"),
        lambda _, prompt: (Adaptation("no_reasoning_back"),) if prompt.capabilities.thinking != "none" else (),
    ),
    # Claude's thoughts, when something before them has changed since.
    _Row(
        _match_words(r"bound to a different conversation|invalid 'signature' in 'thinking'"),
        _make_adaptations(_has_thoughts, "no_reasoning_back"),
    ),
    _Row(_match_words(r"reasoning\.summary|reasoning summar"), lambda _, __: (Adaptation("no_reasoning_summary"),)),
    _Row(
        _match_words("invalid schema for response_format"),
        _make_adaptations(lambda prompt: prompt.response_schema, "loose_schema"),
    ),
    # Groq and Mistral name the message in which the field stands.
    _Row(
        _match_words(r"reasoning_content|'reasoning'"),
        _make_adaptations(_has_thoughts, "no_reasoning_back"),
    ),
    _Row(
        _match_words(
            r"pre-?fill|must end with a user message|must start with a thinking block|expected 'thinking'"
            r"|final (?:position|message)|last message .{0,60}(?:assistant|user)|expected last role"
        ),
        lambda words, prompt: (Adaptation("no_prefill"),) if is_prefilled(prompt) else _adapt_lost_thinking(words),
    ),
    # Mistral's API, and its models' chat templates elsewhere: the calls were another model's, or their server's own.
    _Row(
        _match_words(r"tool call ids? \b.{0,120}length (?:of )?9"),
        _make_adaptations(lambda prompt: any(turn.calls for turn in prompt.turns), "short_call_ids"),
    ),
    # A forced tool; vLLM's flag is about tools at all.
    _Row(
        _match_words(r"--enable-auto-tool-choice|tool_?call_?parser|--tool-call-parser|requires? --jinja"),
        _make_adaptations(_has_tools, "no_tools"),
    ),
    _Row(
        _match_words("tool_choice"),
        lambda _, prompt: (
            (Adaptation("no_tool_choice"),)
            if prompt.tool_choice
            else (Adaptation("output_format"), Adaptation("schema_in_prompt"))
            if prompt.response_schema is not None
            else ()
        ),
    ),
)


def _adapt_lost_thinking(words: str) -> tuple[Adaptation, ...]:
    """Return `no_thinking` where the refusal says that the model's thoughts before its tool calls are missing."""
    return (Adaptation("no_thinking"),) if "thinking" in words.lower() else ()


_TABLE = (
    _Row(_match_words(r"stream_options|include_usage"), lambda _, __: (Adaptation("no_stream_options"),)),
    _Row(
        _match_words(r"\btools?\b|\bfunctions?\b|function.?call|tool.?(?:use|call)"),
        lambda _, prompt: (
            (Adaptation("no_tools"),)
            if _has_tools(prompt)
            else (Adaptation("schema_in_prompt"),)
            if prompt.response_schema is not None
            else ()
        ),
    ),
    _Row(_match_words("temperature"), _adapt_temperature),
    _Row(
        _match_words(
            r"max_(?:completion_|output_)?tokens|max_new_tokens|maxOutputTokens|maximum allowed number of output"
            r"|completion tokens|maximum tokens you requested"
        ),
        _adapt_token_limit,
    ),
    _Row(
        _match_words(r"thinking\.|budget_tokens|'thinking'|\bthinking:|(?:support|for|extended|adaptive) thinking"),
        lambda words, _: (
            (Adaptation("no_thinking"),)
            if _match_words("extra inputs|not support thinking|greater than or equal").search(words)
            else (Adaptation("adaptive_thinking"), Adaptation("no_thinking"))
        ),
    ),
    _Row(
        _match_words(r"reasoning_effort|reasoning\.effort|'reasoning'|output_config(?!\.format)|\beffort\b"),
        lambda _, prompt: (
            (Adaptation("no_effort"),)
            if prompt.effort
            else (Adaptation("no_tools"),)
            if prompt.tools and prompt.find_adaptation("effort_none")
            else ()
        ),
    ),
    # Before `stream`, which such a refusal may mention too.
    _Row(
        _match_words(r"\bbackground\b|'store'|\bstore=|zero data retention"),
        _make_adaptations(
            lambda prompt: prompt.is_followed and prompt.capabilities.api == "responses", "no_background"
        ),
    ),
    _Row(_match_words("prompt_cache_key"), _make_adaptations(lambda prompt: prompt.cache_key, "no_cache_key")),
    _Row(
        _match_words(
            r"\bsystem\b(?! (?:error|failure))|developer (?:role|instruction|message)|messages\[0\]\.role"
            r"|only user(?:,| and) ?assistant[\w ,]{0,20} roles"
            r"|(?<!system message, )conversation roles must alternate|message role"
        ),
        _make_adaptations(_has_system, "system_in_question"),
    ),
    _Row(
        _match_words(
            r"response_format|text\.format|json_schema|json_object|structured output|output_config|output_format"
            r"|guided|json schema|schema produces|\bgrammar\b"
        ),
        _adapt_schema,
    ),
    _Row(
        _match_words(r"'stream'|\bstream(?:=| this| mode| is\b)|\bstreaming\b|stream operation"),
        lambda _, __: (Adaptation("no_stream"),),
    ),
)


# The form of one schema says nothing about the next.
_OF_ONE_PROMPT: frozenset[AdaptationKind] = frozenset({"loose_schema"})

# A refusal that names a message or a call is about this conversation.
_OF_ONE_HISTORY = _match_words(
    r"tool_call_ids?\b|'?tool_calls'?|tool_use.{0,3}(?:ids?|blocks?)|tool_result|messages?[.\[]\d|'?messages'?:"
    r"|role '?tool|input\[\d"
    # Mistral, Gemini, OpenAI's Responses
    r"|tool call ids? \b|function calls? and (?:function )?responses?|function (?:call|response) (?:turn|parts?)"
    r"|thought_?signature|no tool output found|functioncall parts"
)

_OF_ONE_SCHEMA = _match_words(r"too many states|keyword|compile|invalid (?:json )?schema|schema produces")

_OF_ONE_REASONING = _match_words(
    "invalid_encrypted_content|could not be verified|item with id|required following item|bound to a|invalid .signature"
)


def is_of_the_model(adaptation: Adaptation, error_code: str, detail: str) -> bool:
    """Return whether the model's next prompts, of other people too, should be asked in this way.

    Not when the refusal, of which the code and the words are given, follows from one conversation's length, history or
    schema.
    """
    if adaptation.kind in _OF_ONE_PROMPT or error_code == "context_length":
        return False
    if adaptation.kind == "tokens_at_most" and any(pattern.search(detail) for pattern in _TOO_MUCH_TOGETHER):
        return False
    if adaptation.kind == "no_reasoning_back" and _OF_ONE_REASONING.search(detail):
        return False
    if adaptation.kind in ("json_object", "schema_in_prompt") and _OF_ONE_SCHEMA.search(detail):
        return False
    return not (adaptation.kind in ("no_tools", "no_tool", "no_thinking") and _OF_ONE_HISTORY.search(detail))
