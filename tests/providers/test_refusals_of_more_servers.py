"""Refusals of servers that CASES.md does not name are answered by asking otherwise: a row is one server's words."""

# ruff: noqa: E501 - they are quoted
from __future__ import annotations

from dataclasses import replace

import pytest

from chat.providers.base import Adaptation, CalledTool, Prompt, ToolSchema, Turn
from chat.providers.capabilities import Capabilities
from chat.providers.refused_parameters import find_adaptation, is_of_the_model

TOOL = ToolSchema("clock", "The time", {})
ASKED = Prompt(
    "m",
    (Turn("system", "Be brief."), Turn("user", "Hi")),
    max_output_tokens=10_000,
    temperature=0.5,
    tools=(TOOL,),
    effort="high",
    capabilities=Capabilities(efforts=("low", "high")),
)
PLAIN = replace(ASKED, tools=())
SCHEMA = replace(ASKED, tools=(), response_schema={"type": "object"})
PRE = replace(ASKED, turns=(*ASKED.turns, Turn("assistant", "Hello")), answer_so_far="Hello ")
CALLED = replace(
    ASKED,
    tools=(),
    turns=(
        *ASKED.turns,
        Turn("assistant", "", calls=(CalledTool("c", "clock", "{}"),)),
        Turn("tool", "x", call_id="c"),
    ),
)
CLAUDE = replace(
    ASKED, capabilities=Capabilities(api="messages", thinking="adaptive", efforts=("low", "high"), caching="marked")
)
RESP = replace(ASKED, capabilities=Capabilities(api="responses", thinking="adaptive", efforts=("low", "high")))
ROWS: list[tuple[Prompt, str, tuple[str, ...]]] = [
    (ASKED, "400 : registry.ollama.ai/library/deepseek-r1:7b does not support tools", ("no_tools",)),
    (
        ASKED,
        '400 : Error rendering prompt with jinja template: "Error: Conversation roles must alternate user/assistant/user/assistant/...".',
        ("system_in_question",),
    ),
    (
        ASKED,
        "500 server_error: Jinja Exception: Only user, assistant and tool roles are supported, got system.",
        ("system_in_question",),
    ),
    (ASKED, "400 : Only user, assistant and tool roles are supported, got system.", ("system_in_question",)),
    (
        ASKED,
        "400 : roles must alternate between 'user' and 'assistant', but 'system' was found at the beginning",
        ("system_in_question",),
    ),
    (ASKED, "500 server_error: tool_choice param requires --jinja flag", ("no_tools",)),
    (ASKED, "400 : Unsupported param: tools", ("no_tools",)),
    (ASKED, "404 : No endpoints found that support image input", ()),
    (ASKED, "400 : Provider returned error stream_options: extra fields not permitted", ("no_stream_options",)),
    (ASKED, "400 invalid_request_error: `tool calling` is not supported with this model", ("no_tools",)),
    (ASKED, "400 invalid_request_error: `reasoning_effort` must be one of `none` or `default`", ("no_effort",)),
    (ASKED, "422 extra_forbidden body.reasoning_effort: Extra inputs are not permitted", ("no_effort",)),
    (
        PRE,
        "400 invalid_request_error invalid_request_message_order 3230: Expected last role User or Tool (or Assistant with prefix True) for serving but got assistant",
        ("no_prefill",),
    ),
    (
        PRE,
        "400 : The last message of deepseek-reasoner must be a user message, or an assistant message with prefix mode on",
        ("no_prefill",),
    ),
    (PRE, "400 : Last message must have role `user` or `tool`.", ("no_prefill",)),
    (
        PRE,
        "400 : add_generation_prompt and continue_final_message are not compatible: the final message is from the assistant",
        ("no_prefill",),
    ),
    (
        PRE,
        "400 : Cannot set `add_generation_prompt` to True when the last message is from the assistant. Consider using `continue_final_message` instead.",
        ("no_prefill",),
    ),
    (PRE, "400 ValidationException: This model does not support assistant message prefill.", ("no_prefill",)),
    (PRE, "400 : Pre-filling the assistant message is not supported by this model", ("no_prefill",)),
    (ASKED, "400 : Function calling is not enabled for this model", ("no_tools",)),
    (ASKED, "400 : deepseek-reasoner does not support Function Calling", ("no_tools",)),
    (ASKED, "400 invalid_request_error: invalid temperature: only 0.6 is allowed for this model", ("no_temperature",)),
    (
        ASKED,
        "400 : Unsupported value: 'reasoning_effort' does not support 'high' with this model. Supported values are: 'minimal', 'low', and 'medium'.",
        ("no_effort",),
    ),
    (
        ASKED,
        "400 invalid_request_error: temperature: `temperature` may only be set to 1 when thinking is enabled.",
        ("no_temperature",),
    ),
    (CLAUDE, "400 invalid_request_error: This model does not support the effort parameter.", ("no_effort",)),
    (CLAUDE, "400 invalid_request_error: output_config: Extra inputs are not permitted", ("no_effort",)),
    (CLAUDE, "400 invalid_request_error: system.0.cache_control: Extra inputs are not permitted", ("no_caching",)),
    (CLAUDE, "400 invalid_request_error: adaptive thinking is not supported on this model", ("adaptive_thinking",)),
    (
        CLAUDE,
        "400 invalid_request_error: thinking.type: Input should be 'enabled' or 'disabled'",
        ("adaptive_thinking",),
    ),
    (ASKED, "400 ValidationException: This model doesn't support tool use in streaming mode.", ("no_stream",)),
    (ASKED, "400 : Streaming with tools is not supported for this model", ("no_stream",)),
    (PLAIN, "400 ValidationException: This model doesn't support the ConverseStream operation", ("no_stream",)),
    (
        ASKED,
        "400 : This model doesn't support system messages. Try again without a system message or use a model that supports system messages.",
        ("system_in_question",),
    ),
    (
        CALLED,
        "400 : litellm.UnsupportedParamsError: Bedrock doesn't support tool calling without `tools=` param specified. Pass `tools=` param OR set `litellm.modify_params = True`",
        ("no_tools",),
    ),
    (
        CALLED,
        "400 invalid_request_error: Requests which include `tool_use` or `tool_result` blocks must define tools",
        ("no_tools",),
    ),
    (
        CALLED,
        "400 : The toolConfig field must be defined when using toolUse and toolResult content blocks.",
        ("no_tools",),
    ),
    (
        ASKED,
        "400 INVALID_ARGUMENT: * GenerateContentRequest.tools[0].function_declarations[0].parameters.properties: should be non-empty for OBJECT type",
        ("no_tool",),
    ),
    (ASKED, "400 : Extra inputs are not permitted, field: 'reasoning_effort', value: 'high'", ("no_effort",)),
    (ASKED, "400 : Validation: Unsupported parameter(s): `stream_options`", ("no_stream_options",)),
    (ASKED, '400 : Bad request: json: unknown field "stream_options"', ("no_stream_options",)),
    (ASKED, '400 : json: unknown field "max_completion_tokens"', ("max_tokens",)),
    (
        ASKED,
        "422 : Failed to deserialize the JSON body into the target type: unknown field `stream_options`, expected one of `model`, `messages`, `tools`, `temperature` at line 1 column 60",
        ("no_stream_options",),
    ),
    (
        ASKED,
        "422 : Failed to deserialize the JSON body into the target type: messages[0].role: unknown variant `system`, expected `user` or `assistant` at line 1 column 60",
        ("system_in_question",),
    ),
    (ASKED, "400 : Unsupported parameter(s): temperature, max_tokens", ("no_temperature",)),
    (
        ASKED,
        "400 : This model's maximum context length is 131072 tokens. However, you requested 10000 output tokens and your prompt contains at least 121073 input tokens, for a total of at least 131073 tokens. Please reduce the length of the input prompt or the number of requested output tokens. (parameter=input_tokens, value=121073)",
        ("tokens_at_most",),
    ),
    (
        ASKED,
        "400 : This model's maximum context length is 131072 tokens. However, you requested 131134 tokens (122942 in the messages, 8192 in the completion).",
        ("tokens_at_most",),
    ),
    (
        ASKED,
        "400 : Requested token count exceeds the model's maximum context length of 4096 tokens. You requested a total of 13000 tokens: 3000 tokens from the input messages and 10000 tokens for the completion.",
        ("tokens_at_most",),
    ),
    (ASKED, "400 : The value of max_tokens should be less than 8193", ("tokens_at_most",)),
    (ASKED, "400 : max_tokens must be at most 4096 for this model", ("tokens_at_most",)),
    (
        ASKED,
        "400 : Invalid 'max_tokens': integer above maximum value. Expected a value <= 4096, but got 10000 instead.",
        ("tokens_at_most",),
    ),
    (ASKED, "400 : Param Incorrect: max_tokens is larger than 4096", ("tokens_at_most",)),
    (ASKED, "400 : The max_new_tokens parameter exceeds the model limit 4096", ("tokens_at_most",)),
    (ASKED, "400 : parameter check failed, max_output_tokens range is [2, 4096]", ("tokens_at_most",)),
    (ASKED, "400 : Invalid value for max_tokens: 10000. Must be between 1 and 4096.", ("tokens_at_most",)),
    (ASKED, "400 : max_tokens 10000 is more than the model's limit of 4,096", ("tokens_at_most",)),
    (ASKED, "400 : temperature must be in the range (0, 0.4]", ("temperature_at_most",)),
    (ASKED, "400 : 'temperature' must be float within range [0.0, 0.3]", ("temperature_at_most",)),
    (ASKED, "400 : temperature should not be greater than 0.4", ("temperature_at_most",)),
    (
        ASKED,
        "400 : Unsupported parameter: 'temperature' is not supported when reasoning is enabled",
        ("no_temperature",),
    ),
    (ASKED, "400 : 'temperature' is immutable for this model", ("no_temperature",)),
    (ASKED, "400 : You cannot specify temperature together with reasoning_effort", ("no_temperature",)),
    (SCHEMA, "400 : `response_format` does not support response format `json_schema`", ("json_object",)),
    (SCHEMA, "400 : 'response_format.type' must be one of ['text','json_object']", ("json_object",)),
    (
        SCHEMA,
        "422 : response_format.type: unknown variant `json_schema`, expected `text` or `json_object`",
        ("json_object",),
    ),
    (
        SCHEMA,
        "400 : 'response_format.type' must be 'json_schema' or 'text'",
        ("json_object", "schema_in_prompt", "loose_schema"),
    ),
    (
        SCHEMA,
        "400 : The specified schema produces a constraint that has too many states for serving.",
        ("json_object", "schema_in_prompt", "loose_schema"),
    ),
    (
        SCHEMA,
        "400 : Invalid JSON schema: unsupported keyword 'patternProperties'",
        ("json_object", "schema_in_prompt", "loose_schema"),
    ),
    (
        SCHEMA,
        "400 : Failed to compile grammar: unsupported keyword",
        ("json_object", "schema_in_prompt", "loose_schema"),
    ),
    (
        SCHEMA,
        "400 : guided decoding is not supported with this backend",
        ("json_object", "schema_in_prompt", "loose_schema"),
    ),
    (SCHEMA, "400 : Structured outputs are not supported by this model", ("json_object",)),
    (SCHEMA, "400 invalid_request_error: output_format: Extra inputs are not permitted", ("json_object",)),
    (
        SCHEMA,
        "400 json_validate_failed: Failed to generate JSON. Please adjust your prompt. See 'failed_generation' for more details.",
        (),
    ),
    (ASKED, "400 : 'prompt_cache_key' is not permitted", ()),
    (replace(ASKED, cache_key="k"), "400 : Unknown parameter: 'prompt_cache_key'.", ("no_cache_key",)),
    (
        RESP,
        "400 unsupported_parameter tools: Unsupported parameter: 'tools' is not supported with this model.",
        ("no_tools",),
    ),
    (RESP, "404 : 404 page not found", ("chat_completions",)),
    (RESP, "501 : Responses API is not implemented", ("chat_completions",)),
    (RESP, "400 : This model does not support the Responses API", ("chat_completions",)),
    (
        RESP,
        "400 invalid_request_error reasoning.encrypted_content: Encrypted content is not supported",
        ("no_reasoning_back",),
    ),
    (RESP, "400 : Unknown parameter: 'include'.", ("no_reasoning_back",)),
    (RESP, "400 : Unknown parameter: 'reasoning'.", ("no_effort",)),
    (RESP, "400 unsupported_value reasoning.effort: Unsupported value: 'high' is not supported", ("no_effort",)),
    (ASKED, "400 : This model only supports /v1/responses and not in v1/chat/completions.", ("responses_api",)),
    (
        ASKED,
        "404 invalid_request_error model_not_found: This model is only supported in v1/responses and not in v1/chat/completions.",
        ("responses_api",),
    ),
    (ASKED, "400 : Failed to parse function call: invalid JSON from model", ()),
    (ASKED, "500 : error parsing tool call: raw='{\"x\":' err=unexpected end of JSON input", ()),
    (ASKED, "400 MALFORMED_FUNCTION_CALL: Malformed function call: print(default_api.clock())", ()),
    (ASKED, "400 tool_use_failed: attempted to call tool 'brave_search' which was not in request.tools", ()),
    (ASKED, "500 : Internal error: the tool parser crashed", ()),
    (ASKED, "503 : tools are unavailable, try later", ()),
    (ASKED, "529 overloaded_error: Overloaded", ()),
    (ASKED, "400 : The model `x` does not exist", ()),
    (ASKED, "400 : messages.0.content.1.image.source.base64: invalid base64 data", ()),
    (ASKED, "400 : Invalid API version", ()),
    (ASKED, "401 : temperature unsupported", ()),
    (ASKED, "400 : Could not process image", ()),
    (ASKED, "400 : Function call is missing a thought_signature in functionCall parts.", ()),
]


FIGURES: list[tuple[Prompt, str, float]] = [
    (ASKED, "400 : Param Incorrect: max_tokens is larger than 4096", 4096),
    (ASKED, "400 : The max_new_tokens parameter exceeds the model limit 4096", 4096),
    (ASKED, "400 : max_tokens 10000 is more than the model's limit of 4,096", 4096),
    (ASKED, "400 : max_tokens must be at most 4096 for this model", 4096),
    (
        ASKED,
        "400 : Invalid 'max_tokens': integer above maximum value. Expected a value <= 4096, but got 10000 instead.",
        4096,
    ),
    (ASKED, "400 : The value of max_tokens should be less than 8193", 8192),
    (ASKED, "400 : temperature must be in the range (0, 0.4]", 0.4),
    (ASKED, "400 : temperature should not be greater than 0.4", 0.4),
    (ASKED, "400 : 'temperature' must be float within range [0.0, 0.3]", 0.3),
    (
        ASKED,
        "400 : This model's maximum context length is 131072 tokens. However, you requested 10000 output tokens and your prompt contains at least 121073 input tokens, for a total of at least 131073 tokens. Please reduce the length of the input prompt or the number of requested output tokens. (parameter=input_tokens, value=121073)",
        5000,
    ),
    (
        ASKED,
        "400 : Requested token count exceeds the model's maximum context length of 4096 tokens. You requested a total of 13000 tokens: 3000 tokens from the input messages and 10000 tokens for the completion.",
        1096,
    ),
]


def choose_code(detail: str) -> str:
    return "upstream_error" if detail[0] == "5" else "auth_failed" if detail.startswith("401") else "bad_request"


@pytest.mark.parametrize(("prompt", "detail", "kinds"), ROWS, ids=[detail for _, detail, _ in ROWS])
def test_a_refusal_is_answered_by_asking_otherwise(prompt: Prompt, detail: str, kinds: tuple[str, ...]) -> None:
    """Without `kinds` the refusal is temporary, or names nothing that the prompt could do without."""
    found = find_adaptation(choose_code(detail), detail, prompt)
    assert (found.kind if found else None) in (kinds or (None,))


@pytest.mark.parametrize(
    ("prompt", "detail", "figure"),
    [(prompt, detail, figure) for prompt, detail, figure in FIGURES],
    ids=[detail for _, detail, _ in FIGURES],
)
def test_a_figure_is_read(prompt: Prompt, detail: str, figure: float) -> None:
    found = find_adaptation(choose_code(detail), detail, prompt)
    assert found is not None
    assert found.value == figure


def test_one_schema_says_nothing_about_the_next() -> None:
    detail = "400 : The specified schema produces a constraint that has too many states for serving."
    assert not is_of_the_model(Adaptation("json_object"), "bad_request", detail)
    assert is_of_the_model(Adaptation("json_object"), "bad_request", "400 : json_schema is not supported")
