"""A refusal that names one tool leaves that one out; one that is about all, or about how they are used, does not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chat.providers.adaptation_remarks import list_remarks
from chat.providers.adaptations import apply_adaptations
from chat.providers.base import Adaptation, CalledTool, Prompt, ToolSchema, Turn
from chat.providers.refused_parameters import find_adaptation, is_of_the_model

NAMES = ("get_time", "jira-search", "notion.query", "halve", "read_page")
PROMPT = Prompt("m", (Turn("user", "Hi"),), tools=tuple(ToolSchema(name, "It works.", {}) for name in NAMES))

NAMED = [
    # OpenAI, DeepSeek and what speaks their format: by the parameter, by the sentence, by the name
    (
        "400 invalid_request_error string_above_max_length tools[3].function.name: Invalid 'tools[3].function.name': "
        "string too long. Expected a string with maximum length 64, but got a string with length 76 instead.",
        "halve",
    ),
    (
        "400 invalid_request_error invalid_value: Invalid 'tools[2].function.name': string does not match pattern. "
        "Expected a string that matches the pattern '^[a-zA-Z0-9_-]+$'.",
        "notion.query",
    ),
    (
        "400 invalid_request_error invalid_value: Invalid 'tools[2].name': string does not match pattern.",
        "notion.query",
    ),
    (
        "400 invalid_request_error invalid_function_parameters tools[1].function.parameters: Invalid schema for "
        "function 'jira-search': In context=('properties', 'labels'), array schema missing items.",
        "jira-search",
    ),
    (
        "400 : Provider returned error Invalid schema for function 'jira-search': schema must be an object",
        "jira-search",
    ),
    # Groq, FastAPI in three forms
    ("400 invalid_request_error: invalid JSON schema for tool halve, `tools[3].function.parameters`: bad", "halve"),
    ("422 : ('body', 'tools', 1, 'function', 'parameters') Input should be a valid dictionary", "jira-search"),
    ("422 body.tools.1.function.parameters: Field required", "jira-search"),
    ("422 : body -> tools -> 1 -> function -> parameters field required", "jira-search"),
    # Anthropic
    (
        "400 invalid_request_error: tools.3.custom.input_schema: JSON schema is invalid. It must match JSON Schema "
        "draft 2020-12",
        "halve",
    ),
    (
        "400 invalid_request_error: tools.2.custom.name: String should match pattern '^[a-zA-Z0-9_-]{1,128}$'",
        "notion.query",
    ),
    ("400 invalid_request_error: tools.4.custom.input_schema.type: Field required", "read_page"),
    (
        "400 invalid_request_error: tools.4.custom.input_schema.properties: Property keys should match pattern "
        "'^[a-zA-Z0-9_.-]{1,64}$'",
        "read_page",
    ),
    # Gemini by itself, behind LiteLLM, at Vertex
    (
        "400 invalid_argument: The GenerateContentRequest proto is invalid:\n  * "
        "tools[0].function_declarations[2].name: "
        "[FIELD_INVALID] Invalid function name.",
        "notion.query",
    ),
    (
        "400 invalid_argument: Invalid JSON payload received. Unknown name \"type\" at "
        "'tools[0].function_declarations[3].parameters.properties[3].value': Proto field is not repeating, cannot "
        "start list.",
        "halve",
    ),
    (
        "400 : * GenerateContentRequest.tools[4].function_declarations[0].parameters.properties[x].items: "
        "missing field.",
        "read_page",
    ),
    (
        "400 invalid_argument: Unable to submit request because `jira-search` functionDeclaration "
        "`parameters.q` schema "
        "didn't specify the schema type field, which must be an object.",
        "jira-search",
    ),
    # Amazon, which counts from one in the second form
    (
        "400 ValidationException: The value at toolConfig.tools.3.toolSpec.inputSchema.json.type must be one of the "
        "following: object.",
        "halve",
    ),
    (
        "400 ValidationException: 1 validation error detected: Value 'notion.query' at "
        "'toolConfig.tools.3.member.toolSpec.name' failed to satisfy constraint: Member must satisfy regular "
        "expression",
        "notion.query",
    ),
    # The first of several
    (
        "422 : body.tools.1.function.parameters: Field required body.tools.3.function.parameters: Field required",
        "jira-search",
    ),
]  # fmt: skip

OF_ALL = [
    "400 api_error: llama3 does not support tools",
    "400 invalid_request_error unknown_parameter tools[0].function.strict: Unknown parameter: "
    "'tools[0].function.strict'",
    "400 invalid_request_error: tools.0.custom.eager_input_streaming: Extra inputs are not permitted",
    "400 : tools[0].type must be one of the supported ones",
    "422 : " + " ".join(f"body.tools.{place}.function.parameters: Extra inputs" for place in range(5)),
    "400 : unsupported tools: 'get_time', 'jira-search', 'notion.query', 'halve', 'read_page'",
    "400 : tools[9].function.name is invalid",
]


# A tool has the name of what is refused, or the request is repeated in the refusal.
NOT_OF_A_TOOL = [
    ("temperature", "400 : Unsupported value: 'temperature' does not support 1 with this model.", "no_temperature"),
    (
        "calculator",
        "422 : ('body', 'temperature') Input should be less than or equal to 1 {'tools': [{'type': 'function', "
        "'function': {'name': 'calculator', 'parameters': {}}}]}",
        "temperature_at_most",
    ),
    ("user", "400 : Conversation roles must alternate between 'user' and 'assistant'", "system_in_question"),
    (
        "calculator",
        "400 INVALID_ARGUMENT: Function calculator response turn must come immediately after the function call turn",
        "no_tools",
    ),
    ("calculator", "400 : messages.3.name: Extra inputs are not permitted, input: 'calculator', tools", "no_tools"),
]


@pytest.mark.parametrize(("name", "detail", "kind"), NOT_OF_A_TOOL)
def test_a_tool_that_is_only_mentioned_is_kept(name: str, detail: str, kind: str) -> None:
    tools = (ToolSchema(name, "It works.", {}), *PROMPT.tools)
    turns = (Turn("system", "Be brief."), *PROMPT.turns)
    found = find_adaptation("bad_request", detail, replace(PROMPT, turns=turns, tools=tools, temperature=1.5))
    assert found is not None
    assert found.kind == kind


@pytest.mark.parametrize(("detail", "name"), NAMED)
def test_the_tool_that_a_refusal_names_is_left_out(detail: str, name: str) -> None:
    found = find_adaptation("bad_request", detail, PROMPT)
    assert found == Adaptation("no_tool", name=name)
    assert is_of_the_model(found, "bad_request", detail)
    asked = apply_adaptations(replace(PROMPT, adaptations=(found,)))
    assert [tool.name for tool in asked.tools] == [each for each in NAMES if each != name]


@pytest.mark.parametrize("detail", OF_ALL)
def test_a_refusal_that_is_about_every_tool_names_none(detail: str) -> None:
    found = find_adaptation("bad_request", detail, PROMPT)
    assert found is not None
    assert found.kind == "no_tools"


def test_places_count_the_tools_that_are_left() -> None:
    prompt = replace(PROMPT, adaptations=(Adaptation("no_tool", name="get_time"),))
    detail = "400 : Invalid 'tools[0].function.name': string too long"
    assert find_adaptation("bad_request", detail, prompt) == Adaptation("no_tool", name="jira-search")


def test_a_server_that_refuses_one_after_the_other_is_asked_without_any_at_last() -> None:
    tools = tuple(ToolSchema(f"tool_{number}", "", {}) for number in range(40))
    prompt, kinds = replace(PROMPT, tools=tools), []
    while (found := find_adaptation("bad_request", "400 : Invalid 'tools[0].function.name'", prompt)) is not None:
        prompt = replace(prompt, adaptations=(*prompt.adaptations, found))
        kinds.append(found.kind)
    assert kinds == ["no_tool"] * 6 + ["no_tools"]
    assert list_remarks(prompt) == ["This model does not take tools. It answers without them."]


def test_one_that_refuses_all_is_not_asked_without_one_of_them() -> None:
    prompt = replace(PROMPT, adaptations=(Adaptation("no_tools"),))
    assert find_adaptation("bad_request", "400 : Invalid 'tools[0].function.name'", prompt) is None


@pytest.mark.parametrize(
    "detail",
    [
        "400 invalid_request_error array_above_max_length tools: Invalid 'tools': array too long. Expected an "
        "array with "
        "maximum length 3, but got an array with length 5 instead.",
        "400 : You may not include more than 3 tools in your request.",
        "400 : maximum number of tools is 3",
        "400 : The number of tools must be at most 3.",
        "422 : tools: List should have at most 3 items after validation, not 5",
        "400 : too many tools provided: 5 (max 3)",
    ],
)
def test_a_server_that_takes_fewer_tools_is_given_the_first_ones(detail: str) -> None:
    found = find_adaptation("bad_request", detail, PROMPT)
    assert found == Adaptation("tools_at_most", 3)
    asked = replace(PROMPT, adaptations=(found,))
    assert [tool.name for tool in apply_adaptations(asked).tools] == list(NAMES[:3])
    assert list_remarks(asked) == ["This model takes at most 3 tools. It was given the first ones."]


@pytest.mark.parametrize(
    "detail",
    [
        "400 : no more than 1 tools may be forced: tool_choice",
        "422 : tools: the name of a function must be at most 4 characters",
    ],
)
def test_another_figure_is_no_number_of_tools(detail: str) -> None:
    found = find_adaptation("bad_request", detail, PROMPT)
    assert found is None or found.kind != "tools_at_most"


def test_a_forced_tool_is_among_the_first_ones() -> None:
    asked = replace(PROMPT, tool_choice="halve", adaptations=(Adaptation("tools_at_most", 2),))
    adapted = apply_adaptations(asked)
    assert ([tool.name for tool in adapted.tools], adapted.tool_choice) == (["halve", "get_time"], "halve")


def test_a_forced_tool_that_is_refused_is_forced_no_more() -> None:
    asked = replace(PROMPT, tool_choice="halve", adaptations=(Adaptation("no_tool", name="halve"),))
    assert apply_adaptations(asked).tool_choice == ""


def test_what_is_left_out_does_not_count_as_read() -> None:
    asked = replace(PROMPT, adaptations=(Adaptation("no_tool", name="halve"),))
    assert asked.size == PROMPT.size - PROMPT.tools[3].size


def test_calls_of_the_only_tool_become_text_when_it_is_refused() -> None:
    turns = (
        *PROMPT.turns,
        Turn("assistant", "", calls=(CalledTool("a", "halve", "{}"),)),
        Turn("tool", "4", call_id="a"),
    )
    prompt = replace(PROMPT, turns=turns, tools=PROMPT.tools[3:4], adaptations=(Adaptation("no_tool", name="halve"),))
    asked = apply_adaptations(prompt)
    assert not asked.tools
    assert not any(turn.calls for turn in asked.turns)
