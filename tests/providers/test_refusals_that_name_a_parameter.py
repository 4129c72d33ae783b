"""Which refusals name something that a prompt can do without, by the words of the servers that this site meets."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from chat.providers.adaptation_remarks import list_remarks
from chat.providers.adaptations import apply_adaptations
from chat.providers.base import Adaptation, CalledTool, Prompt, Thinking, ToolSchema, Turn
from chat.providers.capabilities import Capabilities
from chat.providers.known_limits import adapt_to_limits
from chat.providers.refused_parameters import MAX_ADAPTATIONS, find_adaptation, is_failed_tool_call, is_of_the_model

TOOL = ToolSchema("clock", "The time", {})
ASKED = Prompt(
    "m", (Turn("system", "Be brief."), Turn("user", "Hi")), max_output_tokens=10_000, temperature=0.5, tools=(TOOL,)
)
BY_SCHEMA = replace(ASKED, tools=(), response_schema={"type": "object"})
GOING_ON = replace(ASKED, turns=(*ASKED.turns, Turn("assistant", "Hello")), answer_so_far="Hello ")

NAMED: list[tuple[str, str, float | None]] = [
    # stream_options: Fireworks, gpustack/vLLM, semantic-kernel/Azure, OpenAI, Gemini, a Python server, Groq's form
    ("400 : Extra inputs are not permitted, field: 'stream_options'", "no_stream_options", None),
    (
        "400 : [{'type': 'extra_forbidden', 'loc': ('body', 'stream_options'), 'msg': 'Extra inputs are not "
        "permitted', "
        "'input': {'include_usage': True}}]",
        "no_stream_options",
        None,
    ),
    ("400 : Validation error at #/stream_options: Extra inputs are not permitted", "no_stream_options", None),
    ("400 invalid_request_error: Unrecognized request argument supplied: stream_options", "no_stream_options", None),
    (
        '400 : Invalid JSON payload received. Unknown name "stream_options": Cannot find field.',
        "no_stream_options",
        None,
    ),
    ("422 : create() got an unexpected keyword argument 'stream_options'", "no_stream_options", None),
    ("400 invalid_request_error: property 'stream_options' is unsupported", "no_stream_options", None),
    ("400 : stream_options is not allowed", "no_stream_options", None),
    ("422 : Extra inputs are not permitted", "no_stream_options", None),
    # The name of the limit: OpenAI and Azure; the reverse
    (
        "400 invalid_request_error unsupported_parameter: Unsupported parameter: 'max_tokens' is not supported "
        "with this "
        "model. Use 'max_completion_tokens' instead.",
        "max_completion_tokens",
        None,
    ),
    ("400 invalid_request_error: Unrecognized request argument supplied: max_completion_tokens", "max_tokens", None),
    (
        "422 : body -> max_completion_tokens\n  Extra inputs are not permitted (type=extra_forbidden)",
        "max_tokens",
        None,
    ),
    # Its figure: OpenAI, Anthropic, DeepSeek, Alibaba, Groq, pydantic, Gemini, Bedrock, Fireworks
    (
        "400 invalid_request_error: max_tokens is too large: 10000. This model supports at most 4096 "
        "completion tokens, "
        "whereas you provided 10000.",
        "tokens_at_most",
        4096,
    ),
    (
        "400 invalid_request_error: max_tokens: 10000 > 8192, which is the maximum allowed number of output tokens for "
        "claude-3-5-haiku",
        "tokens_at_most",
        8192,
    ),
    (
        "400 invalid_request_error: Invalid max_tokens value, the valid range of max_tokens is [1, 8192]",
        "tokens_at_most",
        8192,
    ),
    (
        "400 : <400> InternalError.Algo.InvalidParameter: Range of max_tokens should be [1, 8192]",
        "tokens_at_most",
        8192,
    ),
    (
        "400 : `max_tokens` must be less than or equal to `8192`, the maximum value for `max_tokens` is less than the "
        "`context_window` for this model",
        "tokens_at_most",
        8192,
    ),
    ("422 : max_tokens: Input should be less than or equal to 4,096", "tokens_at_most", 4096),
    (
        "400 : Unable to submit request because it has a maxOutputTokens value of 100000 but the supported "
        "range is from 1 "
        "(inclusive) to 8193 (exclusive).",
        "tokens_at_most",
        8192,
    ),
    (
        "400 ValidationException: The maximum tokens you requested exceeds the model limit of 4096. Try again with a "
        "maximum tokens value that is lower than 4096.",
        "tokens_at_most",
        4096,
    ),
    ("400 : Requests with max_tokens > 4096 must have stream=true", "tokens_at_most", 4096),
    # temperature: OpenAI, Anthropic, Kimi, LiteLLM; a range
    (
        "400 invalid_request_error unsupported_value: Unsupported value: 'temperature' does not support 0.5 "
        "with this model. "
        "Only the default (1) value is supported.",
        "no_temperature",
        None,
    ),
    ("400 invalid_request_error: `temperature` is deprecated for this model.", "no_temperature", None),
    ("400 invalid_request_error: invalid temperature: only 1 is allowed for this model", "no_temperature", None),
    (
        "400 : litellm.UnsupportedParamsError: azure_ai does not support parameters: ['temperature'], for "
        "model=o1. To drop "
        "these, set `litellm.drop_params=True`",
        "no_temperature",
        None,
    ),
    (
        "400 : Client specified an invalid argument Argument not supported on this model: temperature",
        "no_temperature",
        None,
    ),
    ("400 invalid_request_error: temperature: Input should be less than or equal to 0.3", "temperature_at_most", 0.3),
    # tools: Ollama, vLLM, llama.cpp, OpenRouter, Gemini, LiteLLM, OpenAI
    ("400 api_error: llama3 does not support tools", "no_tools", None),
    ('400 : "auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set', "no_tools", None),
    (
        "404 404: No endpoints found that support tool use. To learn more about provider routing, visit …",
        "no_tools",
        None,
    ),
    ("400 : Function calling is not enabled for models/gemma-3-27b-it", "no_tools", None),
    (
        "400 : litellm.UnsupportedParamsError: together_ai does not support parameters: {'tools': [{'type'",
        "no_tools",
        None,
    ),
    (
        "400 invalid_request_error: tools is not supported in this model. For a list of supported models …",
        "no_tools",
        None,
    ),
    (
        "400 invalid_request_error: Function tools with reasoning_effort are not supported for gpt-5.6-terra in "
        "/v1/chat/completions. To use function tools, use /v1/responses or set reasoning_effort to 'none'.",
        "responses_api",
        None,
    ),
    # thinking: Anthropic
    (
        '400 invalid_request_error: "thinking.type.enabled" is not supported for this model. Use '
        '"thinking.type.adaptive" and '
        '"output_config.effort" to control thinking behavior.',
        "adaptive_thinking",
        None,
    ),
    ("400 invalid_request_error: thinking: Extra inputs are not permitted", "no_thinking", None),
    ("400 invalid_request_error: 'claude-3-5-haiku' does not support thinking.", "no_thinking", None),
    # The system's role: Gemma and Mistral templates, Gemini, OpenAI's o1, vLLM's types
    ("400 BadRequestError: System role not supported", "system_in_question", None),
    ("400 : Developer instruction is not enabled for models/gemma-3-1b-it", "system_in_question", None),
    (
        "400 invalid_request_error unsupported_value: Unsupported value: 'messages[0].role' does not support "
        "'system' with "
        "this model.",
        "system_in_question",
        None,
    ),
    ("400 : chat template rejected the request: Unexpected message role.", "system_in_question", None),
    ("400 BadRequestError: Only user and assistant roles are supported!", "system_in_question", None),
    (
        "400 : invalid parameter 'messages[0].role': invalid role 'system', must be one of: user, assistant",
        "system_in_question",
        None,
    ),
    # The stream itself
    (
        "400 invalid_request_error unsupported_value: Your organization must be verified to stream this model.",
        "no_stream",
        None,
    ),
    ("400 : Unsupported value: 'stream' does not support true with this model.", "no_stream", None),
]

OF_SCHEMAS = [
    (
        "400 invalid_request_error: Invalid parameter: 'response_format' of type 'json_schema' is not "
        "supported with this "
        "model.",
        "json_object",
    ),
    ("400 invalid_request_error: This response_format type is unavailable now", "json_object"),
    ("400 : This model does not support response format `json_schema`.", "json_object"),
    ('400 : Invalid JSON payload received. Unknown name "response_format": Cannot find field.', "json_object"),
    (
        "400 invalid_request_error: Invalid schema for response_format 'answer': In context=(), "
        "'additionalProperties' is "
        "required to be supplied and to be false.",
        "loose_schema",
    ),
    ("400 invalid_request_error: tool_choice forces tool use is not compatible with this model.", "output_format"),
    ("400 invalid_request_error: Thinking may not be enabled when tool_choice forces tool use.", "output_format"),
]

PREFILLS = [
    "400 invalid_request_error: This model does not support assistant message prefill. The conversation must "
    "end with a "
    "user message.",
    "400 invalid_request_error: messages.1.content.0.type: Expected `thinking` or `redacted_thinking`, but "
    "found `text`. "
    "When `thinking` is enabled, a final `assistant` message must start with a thinking block",
    "400 400: Assistant response prefill is incompatible with enable_thinking.",
]

FAILED_CALLS = [
    "400 invalid_request_error tool_use_failed: Failed to call a function. Please adjust your prompt. See "
    "'failed_generation' for more details.",
    "400 invalid_request_error tool_use_failed: tool call validation failed: parameters for tool clock did not match",
    "in the stream: invalid_request_error tool_use_failed: Failed to call a function.",
    "500 server_error: Failed to parse tool call arguments as JSON: [json.exception.parse_error.101] parse error",
    "finish_reason function_call_filter: MALFORMED_FUNCTION_CALL",
]

PASSING = [
    "500 server_error: The server had an error while it looked after your tools. Sorry about that!",
    "503 : The engine is overloaded; temperature of the room is not supported",
    "502 : Bad gateway: stream_options proxy unavailable",
    "500 server_error: max_tokens worker crashed",
]


# OpenAI's Responses API, with its names for the parameters.
OF_RESPONSES: list[tuple[str, str]] = [
    ("400 invalid_request_error temperature: Unsupported parameter: 'temperature' is not supported with this model.",
     "no_temperature"),
    ("400 invalid_request_error unsupported_value reasoning.effort: Unsupported value: 'max' is not supported with the "
     "'gpt-5.5' model. Supported values are: 'none', 'low', 'medium', 'high', and 'xhigh'.", "no_effort"),
    ("400 invalid_request_error unsupported_parameter reasoning.effort: Unsupported parameter: 'reasoning.effort' is "
     "not supported with this model.", "no_effort"),
    ("400 invalid_request_error unsupported_value reasoning.summary: Your organization must be verified to generate "
     "reasoning summaries.", "no_reasoning_summary"),
    ("400 invalid_request_error include: Encrypted content is not supported with this model.", "no_reasoning_back"),
    ("400 invalid_request_error invalid_encrypted_content: The encrypted content gAAA...0Q== could not be verified.",
     "no_reasoning_back"),
    ("400 invalid_request_error unknown_parameter prompt_cache_key: Unknown parameter: 'prompt_cache_key'.",
     "no_cache_key"),
    ("400 invalid_request_error unknown_parameter: Unknown parameter: 'max_output_tokens'.", "no_token_limit"),
    ("400 invalid_request_error invalid_function_parameters tools[0].parameters: Invalid schema for function 'clock': "
     "In context=(), 'additionalProperties' is required to be supplied and to be false.", "loose_schema"),
    ("404 not_found: Unknown request URL: POST /v1/responses", "chat_completions"),
    ("404 : Not Found", "chat_completions"),
    ("405 : Method Not Allowed", "chat_completions"),
]  # fmt: skip


def choose_code(detail: str) -> str:
    return "upstream_error" if detail[0] == "5" else "bad_request"


def find_kind(detail: str, prompt: Prompt) -> str | None:
    found = find_adaptation(choose_code(detail), detail, prompt)
    return found.kind if found else None


@pytest.mark.parametrize(("detail", "kind", "value"), NAMED)
def test_a_refusal_that_names_a_parameter_is_understood(detail: str, kind: Any, value: float | None) -> None:
    assert find_adaptation("bad_request", detail, ASKED) == Adaptation(kind, value)


@pytest.mark.parametrize(("detail", "kind"), OF_RESPONSES)
def test_a_refusal_of_the_responses_api_names_its_parameter(detail: str, kind: str) -> None:
    takes = Capabilities(api="responses", thinking="adaptive", efforts=("low", "high"))
    assert find_kind(detail, replace(ASKED, capabilities=takes, effort="max", cache_key="c1")) == kind


def test_reasoning_that_cannot_be_verified_says_nothing_about_the_model() -> None:
    of_one = "400 invalid_request_error invalid_encrypted_content: The encrypted content gAAA...0Q== could not be"
    of_all = "400 invalid_request_error include: Encrypted content is not supported with this model."
    assert not is_of_the_model(Adaptation("no_reasoning_back"), "bad_request", of_one)
    assert is_of_the_model(Adaptation("no_reasoning_back"), "bad_request", of_all)


@pytest.mark.parametrize(
    "detail",
    [
        "400 invalid_request_error: messages.1.content.0: Invalid `signature` in `thinking` block. The block is "
        "bound to a different conversation. Remove the block, or set `thinking.block_binding` otherwise.",
        "400 invalid_request_error: messages.3.content.0: Invalid `signature` in `thinking` block",
    ],
)
def test_thoughts_that_do_not_fit_the_conversation_any_more_are_left_out_of_it_alone(detail: str) -> None:
    thought = Turn("assistant", "I look.", thinking=(Thinking("Hm.", "c2lnbmVk"),))
    prompt = replace(ASKED, turns=(*ASKED.turns, thought, Turn("user", "And?")))
    assert find_kind(detail, prompt) == "no_reasoning_back"
    assert not is_of_the_model(Adaptation("no_reasoning_back"), "bad_request", detail)


def test_a_model_that_the_server_does_not_have_is_not_asked_by_another_api() -> None:
    detail = "404 invalid_request_error model_not_found: The model `gpt-none` does not exist"
    assert find_kind(detail, replace(ASKED, capabilities=Capabilities(api="responses"))) is None


@pytest.mark.parametrize(
    ("takes", "kinds"),
    [
        (Capabilities(), []),
        (Capabilities(api="responses", efforts=("low",), default_effort="low", sampling=False), ["no_temperature"]),
        (Capabilities(efforts=("none", "low"), default_effort="none", sampling=False), []),
        (Capabilities(efforts=("none", "low"), tools_need_no_effort=True), ["effort_none"]),
        (Capabilities(efforts=("low", "high"), tools_need_no_effort=True), ["no_tools"]),
        (Capabilities(api="responses", efforts=("low", "high"), tools_need_no_effort=True), []),
        (Capabilities(tools=False, schema="prompt"), ["no_tools", "schema_in_prompt"]),
    ],
)
def test_known_refusals_of_a_model_are_avoided(takes: Capabilities, kinds: list[str]) -> None:
    prompt = adapt_to_limits(replace(ASKED, capabilities=takes))
    assert {adaptation.kind for adaptation in prompt.adaptations} == set(kinds)
    assert adapt_to_limits(prompt) == prompt


def test_only_a_system_prompt_of_ones_own_is_a_wish() -> None:
    asked = add_adaptations(ASKED, Adaptation("system_in_question"))
    assert list_remarks(asked) == []
    assert "Yours was sent" in " ".join(list_remarks(replace(asked, has_own_system=True)))


@pytest.mark.parametrize(("detail", "kind"), OF_SCHEMAS)
def test_a_refusal_of_a_schema_is_recognised(detail: str, kind: str) -> None:
    assert find_kind(detail, BY_SCHEMA) == kind


@pytest.mark.parametrize("detail", PREFILLS)
def test_a_refusal_of_a_prefill_is_recognised(detail: str) -> None:
    assert find_kind(detail, GOING_ON) == "no_prefill"


@pytest.mark.parametrize(
    "detail",
    [
        "500 server_error: tools param requires --jinja flag",
        "500 server_error: Unsupported param: tools",
        "501 : tools are not implemented",
        "500 : Error: Jinja Exception: System role not supported",
    ],
)
def test_what_a_server_says_for_good_counts_also_as_its_own_fault(detail: str) -> None:
    assert find_kind(detail, ASKED) in ("no_tools", "system_in_question")


@pytest.mark.parametrize("detail", PASSING)
def test_a_passing_failure_names_nothing_whatever_it_mentions(detail: str) -> None:
    assert find_kind(detail, ASKED) is None


@pytest.mark.parametrize("detail", FAILED_CALLS)
def test_a_failed_tool_call_is_a_passing_failure(detail: str) -> None:
    assert is_failed_tool_call(detail)
    for code in ("bad_request", "upstream_error"):
        assert find_adaptation(code, detail, ASKED) is None


@pytest.mark.parametrize("detail", [detail for detail, kind, _ in NAMED if kind in ("no_tools", "responses_api")])
def test_what_was_not_asked_for_is_not_left_out(detail: str) -> None:
    assert find_kind(detail, replace(ASKED, tools=())) is None


@pytest.mark.parametrize("detail", [detail for detail, *_ in NAMED])
def test_every_refusal_comes_to_an_end(detail: str) -> None:
    prompt, tries = ASKED, 0
    while (found := find_adaptation("bad_request", detail, prompt)) is not None:
        prompt = replace(prompt, adaptations=(*prompt.adaptations, found))
        tries += 1
    assert 0 < tries <= MAX_ADAPTATIONS
    kinds = [adaptation.kind for adaptation in prompt.adaptations]
    assert len(kinds) == len(set(kinds))


@pytest.mark.parametrize(
    "detail",
    [
        "400 : The model `gpt-none` does not exist or you do not have access to it.",
        "400 : We could not parse the JSON body of your request.",
        "400 : Your input was flagged.",
    ],
)
def test_a_refusal_that_names_nothing_is_final(detail: str) -> None:
    assert find_kind(detail, ASKED) is None


@pytest.mark.parametrize("code", ["rate_limited", "auth_failed", "content_filter", "timeout"])
def test_other_failures_are_no_refusals(code: str) -> None:
    assert find_adaptation(code, "tools are not supported", ASKED) is None


@pytest.mark.parametrize(
    ("detail", "room"),
    [
        ("input length and `max_tokens` exceed context limit: 195000 + 10000 > 200000, decrease input length", 5000),
        (
            "This model's maximum context length is 8192 tokens. However, you requested 11000 tokens (1000 in "
            "the messages, "
            "10000 in the completion).",
            7192,
        ),
        (
            "'max_tokens' or 'max_completion_tokens' is too large: 10000. This model's maximum context length "
            "is 8192 tokens "
            "and your request has 192 input tokens (10000 > 8192 - 192).",
            8000,
        ),
        ("input length and `max_tokens` exceed context limit: 199950 + 10000 > 200000", None),
        ("prompt is too long: 203456 tokens > 200000 maximum", None),
    ],
)
def test_a_limit_too_large_beside_this_conversation_is_lowered_for_it_alone(detail: str, room: int | None) -> None:
    for code in ("context_length", "bad_request") if room else ("context_length",):
        found = find_adaptation(code, detail, ASKED)
        assert (found.value if found else None) == room
        if found:
            assert not is_of_the_model(found, code, detail)


def test_what_is_about_one_history_is_not_of_the_model() -> None:
    detail = "400 : An assistant message with 'tool_calls' must be followed by tool messages"
    found = find_adaptation("bad_request", detail, ASKED)
    assert found is not None
    assert not is_of_the_model(found, "bad_request", detail)
    assert is_of_the_model(found, "bad_request", "400 : llama3 does not support tools")


# What is asked then


def add_adaptations(prompt: Prompt, *adaptations: Adaptation) -> Prompt:
    return replace(prompt, adaptations=adaptations)


def test_without_tools_the_history_has_no_calls_but_what_they_said() -> None:
    history = (
        Turn("user", "Time?"),
        Turn("assistant", "I look.", calls=(CalledTool("a", "clock", "{}"),), thinking=(Thinking("hm", "s"),)),
        Turn("tool", "noon", call_id="a"),
        Turn("assistant", "Noon."),
    )
    asked = apply_adaptations(add_adaptations(replace(ASKED, turns=history), Adaptation("no_tools")))
    assert not asked.tools
    assert all(turn.role in ("user", "assistant") and not turn.calls for turn in asked.turns)
    said = " ".join(turn.content for turn in asked.turns)
    assert all(word in said for word in ("I look.", "clock", "noon", "Noon."))


def test_the_system_is_heard_in_the_first_question() -> None:
    asked = apply_adaptations(add_adaptations(ASKED, Adaptation("system_in_question")))
    assert asked.turns == (Turn("user", "Be brief.\n\nHi"),)


def test_limits_are_only_lowered() -> None:
    lower = add_adaptations(ASKED, Adaptation("tokens_at_most", 20_000), Adaptation("temperature_at_most", 1.0))
    assert (apply_adaptations(lower).max_output_tokens, apply_adaptations(lower).temperature) == (10_000, 0.5)
    assert list_remarks(lower) == []


def test_each_wish_that_is_left_out_has_a_sentence_and_nothing_else_has() -> None:
    everything = add_adaptations(
        replace(ASKED, has_own_system=True), Adaptation("no_tools"), Adaptation("no_temperature"),
        Adaptation("tokens_at_most", 4096),
        Adaptation("system_in_question"), Adaptation("no_stream_options"), Adaptation("max_completion_tokens"),
    )  # fmt: skip
    sentences = list_remarks(everything)
    assert [word for word in ("tools", "temperature", "4,096", "system prompt") if word in " ".join(sentences)] == [
        "tools",
        "temperature",
        "4,096",
        "system prompt",
    ]
    assert len(sentences) == 4
    wishless = Prompt("m", (Turn("user", "Hi"),), adaptations=everything.adaptations)
    assert list_remarks(wishless) == []


@pytest.mark.parametrize(
    "detail",
    [
        # DeepSeek by Chat Completions since V4, behind OpenRouter, by the Messages API, V3.2; Kimi
        "400 invalid_request_error: The `reasoning_content` in the thinking mode must be passed back to the API.",
        "400 : Provider returned error The `reasoning_content` in the thinking mode must be passed back to the API.",
        "400 invalid_request_error: The reasoning content in the thinking mode must be passed back to the API.",
        "400 invalid_request_error: The `content[].thinking` in the thinking mode must be passed back to the API.",
        "400 invalid_request_error: Missing `reasoning_content` field in the assistant message at message index 4. "
        "For more information, please refer to https://api-docs.deepseek.com/guides/thinking_mode#tool-calls",
        "400 invalid_request_error: thinking is enabled but reasoning_content is missing in assistant tool call "
        "message at index 2",
    ],
)
@pytest.mark.parametrize("signature", ["field:reasoning_content", ""])
def test_a_model_that_lacks_its_reasoning_gets_some_with_each_of_its_turns(detail: str, signature: str) -> None:
    thought = Turn("assistant", "I look.", thinking=(Thinking("Hm.", signature),))
    prompt = replace(ASKED, turns=(*ASKED.turns, thought, Turn("user", "And?")))
    way = Adaptation("reasoning_back")
    assert find_adaptation("bad_request", detail, prompt) == way
    assert is_of_the_model(way, "bad_request", detail)
    assert find_adaptation("bad_request", detail, replace(prompt, adaptations=(way,))) is None


CALLED = replace(
    ASKED,
    turns=(
        *ASKED.turns,
        Turn("assistant", "", calls=(CalledTool("call_PTLP8xhu3uwZk4l3nlnrrJha", "clock", "{}"),)),
        Turn("tool", "Noon.", call_id="call_PTLP8xhu3uwZk4l3nlnrrJha"),
        Turn("assistant", "", calls=(CalledTool("a1B2c3D4e", "clock", "{}"),)),
        Turn("tool", "One.", call_id="a1B2c3D4e"),
        Turn("user", "And now?"),
    ),
)


@pytest.mark.parametrize(
    ("code", "detail"),
    [
        # Mistral's API, a server that makes such ids itself, the chat templates of llama.cpp
        (
            "bad_request",
            "400 invalid_function_call 3280: Tool call id was call_PTLP8xhu3uwZk4l3nlnrrJha but must be a-z, A-Z, 0-9, "
            "with a length of 9.",
        ),
        ("upstream_error", "500 : Tool call id was call_49c89af0 but must be a-z, A-Z, 0-9, with a length of 9"),
        (
            "upstream_error",
            "500 server_error 500: Jinja Exception: Tool call IDs should be alphanumeric strings with length 9!",
        ),
    ],
)
def test_ids_of_another_models_calls_are_sent_as_mistral_takes_them(code: str, detail: str) -> None:
    way = Adaptation("short_call_ids")
    assert find_adaptation(code, detail, CALLED) == way
    assert is_of_the_model(way, code, detail)
    turns = apply_adaptations(replace(CALLED, adaptations=(way,))).turns
    first, second = (call.id for turn in turns for call in turn.calls)
    assert re.fullmatch("[a-zA-Z0-9]{9}", first)
    assert second == "a1B2c3D4e"
    assert [turn.call_id for turn in turns if turn.role == "tool"] == [first, second]


@pytest.mark.parametrize(
    "detail",
    [
        # Mistral, Gemini, OpenAI's Responses
        "400 invalid_request_message_order 3230: Not the same number of function calls and responses",
        "400 invalid_argument: Please ensure that function call turn comes immediately after a user turn or after a "
        "function response turn.",
        "400 invalid_argument: Please ensure that the number of function response parts is equal to the number of "
        "function call parts of the function call turn.",
        "400 invalid_argument: Function call is missing a thought_signature in functionCall parts. This is required "
        "for tools to work correctly, and missing thought_signature may lead to degraded model performance.",
        "400 invalid_request_error input: No tool output found for function call call_PTLP8xhu3uwZk4l3nlnrrJha.",
    ],
)
def test_a_refusal_of_one_conversations_calls_takes_the_tools_from_no_other(detail: str) -> None:
    found = find_adaptation("bad_request", detail, CALLED)
    assert found is None or not is_of_the_model(found, "bad_request", detail)
