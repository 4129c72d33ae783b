"""A model that refuses a parameter is asked otherwise, then and from then on, and its users are told so."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.utils import timezone
from pytest_django import Settings

from chat.generation.process import get_runner
from chat.models import Conversation, Message, ProviderCall, Refusal, User
from chat.providers.adaptations import CONTINUE_INSTRUCTION
from chat.tools.toolbox import Toolbox
from tests.conftest import ANTHROPIC, OPENAI
from tests.provider_server import Call, ProviderServer, RefusedPart, Script
from tests.support.site import Json, Site, join_text

# What is tried here is the same on every database.
pytestmark = pytest.mark.sqlite

HERE = "tests.generation.test_asking_otherwise"
HEALTH = "/admin/chat/modelhealth/"
NO_JINJA = RefusedPart(part="tools", status=500, type="server_error", message="tools param requires --jinja flag")
NO_TOOLS = RefusedPart(part="tools", message="llama3 does not support tools")
NO_STREAM_OPTIONS = RefusedPart(
    part="stream_options", message="Extra inputs are not permitted, field: 'stream_options'"
)
NO_TEMPERATURE = RefusedPart(
    part="temperature",
    message="Unsupported value: 'temperature' does not support 0.5 with this model. "
    "Only the default (1) value is supported.",
    code="unsupported_value",
    param="temperature",
)
NO_SYSTEM = RefusedPart(part="messages.*.role=system", message="System role not supported")
TOO_MANY = RefusedPart(
    part="max_tokens>4096",
    message="max_tokens is too large: 9000. This model supports at most 4096 completion tokens, whereas you "
    "provided 9000.",
)
NEW_NAME = RefusedPart(
    part="max_tokens",
    message="Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' "
    "instead.",
)
NO_BUDGET = RefusedPart(
    part="thinking.type=enabled",
    message='"thinking.type.enabled" is not supported for this model. Use "thinking.type.adaptive" and '
    '"output_config.effort" to control thinking behavior.',
)
NO_PREFILL = RefusedPart(
    part="messages.-1.role=assistant",
    message="This model does not support assistant message prefill. The conversation must end with a user message.",
)
SCHEMA = {"type": "object", "properties": {"sky": {"type": "string"}}, "required": ["sky"]}


def double(number: int) -> int:
    """Double a number."""
    return 2 * number


@pytest.fixture
async def tools(site: Site, settings: Settings) -> None:
    settings.CHAT_TOOLS = [f"{HERE}.double"]
    get_runner().resources.toolbox = Toolbox(settings.CHAT_TOOLS)


@pytest.fixture
async def admin(site: Site) -> Site:
    root = await sync_to_async(User.objects.create_superuser)("root", password="root")
    return await sync_to_async(Site)(root)


async def begin_conversation_with(site: Site, **wishes: Any) -> str:
    """Begin a conversation of the user's with these settings; return its id."""
    conversation = await site.begin_conversation()
    await Conversation.objects.filter(pk=conversation).aupdate(**wishes)
    return conversation


async def load_page(site: Site, answer: Json) -> str:
    return (await site.get(f"/c/{answer['conversation']}/")).content.decode()


async def read_health(admin: Site) -> str:
    page = (await admin.get(HEALTH)).content.decode()
    return " ".join(re.sub(r"<[^>]+>", " ", page).split())


def list_bodies(provider: ProviderServer) -> list[Json]:
    return [request.body for request in provider.requests]


@pytest.mark.parametrize("refusal", [NO_JINJA, NO_TOOLS], ids=["llama.cpp's 500", "Ollama's 400"])
async def test_a_model_that_refuses_tools_is_asked_without_them_and_readers_are_told(
    site: Site, admin: Site, provider: ProviderServer, tools: None, refusal: RefusedPart, model: str
) -> None:
    provider.script = Script(text="Hello.", refused_parts=[refusal])
    first = await site.ask(model=model)
    assert (first["status"], first["text"]) == ("complete", "Hello.")
    assert ["tools" in body for body in list_bodies(provider)] == [True, False]
    second = await site.ask(model=model)
    assert ["tools" in body for body in list_bodies(provider)] == [True, False, False]
    for answer in (first, second):
        assert [notice["code"] for notice in answer["notices"]] == ["adapted"]
        assert "does not take tools" in await load_page(site, answer)
        events = await site.read_events(answer["id"])
        told = [event for _, event in events if event["type"] == "notice"]
        assert [(event["code"], "tools" in event["message"]) for event in told] == [("adapted", True)]
        assert join_text(events) == "Hello."
    words = await read_health(admin)
    assert "asked without tools" in words
    assert refusal.message in words


async def test_the_refused_call_is_on_the_ledger_and_costs_nothing(
    site: Site, provider: ProviderServer, tools: None
) -> None:
    provider.script = Script(text="Hello.", refused_parts=[NO_JINJA])
    answer = await site.ask()
    rows = [row async for row in ProviderCall.objects.filter(answer=answer["id"]).order_by("pk")]
    assert [(row.outcome, row.error_code) for row in rows] == [("interrupted", "upstream_error"), ("complete", "")]
    assert rows[0].output_tokens == rows[0].input_tokens == 0


async def test_a_failed_tool_call_is_tried_again_with_tools_and_nothing_is_remembered(
    site: Site, provider: ProviderServer, tools: None
) -> None:
    failed = "Failed to call a function. Please adjust your prompt. See 'failed_generation' for more details."
    provider.enqueue(
        Script(status=400, error_code="tool_use_failed", error_message=failed),
        Script(text="", error_event_after=0, error_type="invalid_request_error", error_code="tool_use_failed"),
        Script(text="", tool_calls=[Call("double", '{"number": 21}')]),
        Script(text="42."),
    )
    answer = await site.ask()
    assert (answer["status"], answer["text"], answer["notices"]) == ("complete", "42.", [])
    assert all("tools" in body for body in list_bodies(provider))
    assert len(provider.requests) == 4
    assert not await Refusal.objects.aexists()


async def test_a_stream_that_ends_with_a_malformed_call_is_tried_again_with_tools(
    site: Site, provider: ProviderServer, tools: None
) -> None:
    provider.enqueue(
        Script(text="", finish_reason="function_call_filter: MALFORMED_FUNCTION_CALL"),
        Script(text="", tool_calls=[Call("double", '{"number": 21}')]),
        Script(text="42."),
    )
    answer = await site.ask()
    assert (answer["status"], answer["text"], answer["notices"]) == ("complete", "42.", [])
    assert all("tools" in body for body in list_bodies(provider))
    assert not await Refusal.objects.aexists()


async def test_a_model_that_never_writes_a_tool_call_well_comes_to_an_end(
    site: Site, provider: ProviderServer, tools: None
) -> None:
    provider.script = Script(status=400, error_code="tool_use_failed", error_message="Failed to call a function.")
    answer = await site.ask()
    assert answer["status"] == "interrupted"
    assert len(provider.requests) == 3
    assert not await Refusal.objects.aexists()


async def test_a_server_that_falters_once_and_mentions_tools_loses_none(
    site: Site, provider: ProviderServer, settings: Settings, tools: None
) -> None:
    settings.CHAT_MAX_RETRIES = 1
    provider.enqueue(
        Script(status=500, error_message="Internal error in the tools backend", retry_after=0), Script(text="Hello.")
    )
    answer = await site.ask()
    assert (answer["text"], answer["notices"]) == ("Hello.", [])
    assert all("tools" in body for body in list_bodies(provider))
    assert not await Refusal.objects.aexists()


async def test_a_refusal_whose_second_try_fails_too_is_not_remembered(
    site: Site, provider: ProviderServer, tools: None
) -> None:
    provider.enqueue(Script(status=400, error_message="tools are not supported"), Script(status=401))
    answer = await site.ask()
    assert answer["error"]["code"] == "auth_failed"
    assert not await Refusal.objects.aexists()


async def test_each_of_several_refusals_in_a_row_changes_how_the_model_is_asked(
    site: Site, provider: ProviderServer, tools: None
) -> None:
    refusals = [NO_STREAM_OPTIONS, NO_TOOLS, NO_TEMPERATURE, NO_SYSTEM, TOO_MANY]
    provider.script = Script(text="Hello.", refused_parts=refusals)
    conversation = await begin_conversation_with(site, temperature=0.5, max_tokens=9000, system_prompt="Be brief.")
    answer = await site.ask("Hi", conversation)
    assert (answer["status"], answer["text"]) == ("complete", "Hello.")
    assert len(provider.requests) == len(refusals) + 1
    last = list_bodies(provider)[-1]
    assert last["messages"] == [{"role": "user", "content": "Be brief.\n\nHi"}]
    assert last["max_tokens"] == 4096
    assert not {"stream_options", "tools", "temperature"} & last.keys()
    told = " ".join(notice["message"] for notice in answer["notices"])
    assert all(word in told for word in ("tools", "temperature", "system prompt", "4,096"))
    assert "stream_options" not in told
    page = await load_page(site, answer)
    assert all(notice["message"] in page for notice in answer["notices"])
    assert answer["usage"]["estimated"]
    provider.requests.clear()
    await site.ask("Hi", await begin_conversation_with(site, temperature=0.5))
    assert len(provider.requests) == 1


async def test_a_renamed_parameter_is_sent_under_its_new_name_without_a_notice(
    site: Site, admin: Site, provider: ProviderServer
) -> None:
    provider.script = Script(text="Hello.", refused_parts=[NEW_NAME])
    answer = await site.ask("Hi", await begin_conversation_with(site, max_tokens=77))
    assert list_bodies(provider)[-1]["max_completion_tokens"] == 77
    assert answer["notices"] == []
    assert "max_completion_tokens" in await read_health(admin)


@pytest.mark.parametrize(
    "error",
    [
        {"error": {"message": "Unsupported parameter.", "code": "unsupported_parameter", "param": "temperature"}},
        {
            "detail": [
                {"type": "extra_forbidden", "loc": ["body", "temperature"], "msg": "Extra inputs are not permitted"}
            ]
        },
        {
            "object": "error",
            "message": "Extra inputs are not permitted",
            "type": "BadRequestError",
            "param": "temperature",
        },
        {"code": "Client specified an invalid argument", "error": "Argument not supported on this model: temperature"},
        {
            "error": {
                "message": "Provider returned error",
                "code": 400,
                "metadata": {
                    "raw": '{"error":{"message":"`temperature` is deprecated for this model."}}',
                    "provider_name": "Anthropic",
                },
            }
        },
        [
            {
                "error": {
                    "code": 400,
                    "message": 'Invalid JSON payload. Unknown name "temperature": Cannot find field.',
                    "status": "INVALID_ARGUMENT",
                }
            }
        ],
    ],
    ids=["OpenAI's param", "FastAPI's loc", "vLLM's param", "xAI", "OpenRouter", "Google"],
)
async def test_a_refused_parameter_is_found_wherever_the_error_names_it(
    site: Site, provider: ProviderServer, error: Any
) -> None:
    provider.script = Script(text="Hello.", refused_parts=[RefusedPart(part="temperature", message="", body=error)])
    answer = await site.ask("Hi", await begin_conversation_with(site, temperature=0.5))
    assert (answer["text"], len(provider.requests)) == ("Hello.", 2)
    assert "temperature" in answer["notices"][0]["message"]


async def test_a_reader_without_a_wish_is_shown_no_notice(site: Site, provider: ProviderServer) -> None:
    provider.script = Script(text="Hello.", refused_parts=[NO_TEMPERATURE])
    await site.ask("Hi", await begin_conversation_with(site, temperature=0.5))
    assert (await site.ask("Hi"))["notices"] == []


async def test_each_model_and_each_server_is_asked_in_its_own_way(
    site: Site, provider: ProviderServer, settings: Settings
) -> None:
    provider.script = Script(text="Hello.", refused_parts=[NO_TEMPERATURE])
    conversation = await begin_conversation_with(site, temperature=0.5)
    await site.ask("Hi", conversation)
    await site.ask("Hi", conversation, model=ANTHROPIC)
    assert ["temperature" in body for body in list_bodies(provider)] == [True, False, True, False]
    assert await Refusal.objects.acount() == 2
    await Refusal.objects.aupdate(server="another")
    await site.ask("Hi", conversation)
    assert "temperature" in list_bodies(provider)[4]


@pytest.mark.parametrize("how", ["in time", "by a button", "by the setting"])
async def test_a_refusal_is_forgotten_in_time_or_by_an_admin(
    site: Site, admin: Site, provider: ProviderServer, settings: Settings, how: str
) -> None:
    settings.CHAT_MODELS = [OPENAI]
    provider.script = Script(text="Hello.", refused_parts=[NO_TEMPERATURE])
    conversation = await begin_conversation_with(site, temperature=0.5)
    await site.ask("Hi", conversation)
    refusal = await Refusal.objects.aget()
    if how == "in time":
        old = timezone.now() - timedelta(seconds=settings.CHAT_REFUSAL_MEMORY + 1)
        await Refusal.objects.aupdate(learnt_at=old)
    elif how == "by a button":
        response = await admin.client.post(f"{HEALTH}forget/", {"refusal": refusal.pk})
        assert response.status_code == 302
        assert not await Refusal.objects.aexists()
    else:
        settings.CHAT_REFUSAL_MEMORY = 0
    assert "Asked otherwise" not in await read_health(admin)
    await site.ask("Hi", conversation)
    assert ["temperature" in body for body in list_bodies(provider)] == [True, False, True, False]


async def test_only_staff_who_may_test_models_may_have_refusals_forgotten(site: Site, provider: ProviderServer) -> None:
    refusal = await Refusal.objects.acreate(model=OPENAI, kind="no_tools")
    staff = await sync_to_async(User.objects.create_user)("clerk", password="clerk", is_staff=True)
    response: Any = await (await sync_to_async(Site)(staff)).client.post(f"{HEALTH}forget/", {"refusal": refusal.pk})
    assert response.status_code in (302, 403)
    assert await Refusal.objects.aexists()


async def test_the_providers_words_are_kept_without_the_key_and_the_conversation(
    site: Site, provider: ProviderServer
) -> None:
    refusal = RefusedPart(
        part="temperature", message="temperature is not supported; key sk-test; you said: My secret garden"
    )
    provider.script = Script(text="Hello.", refused_parts=[refusal])
    await site.ask("My secret garden", await begin_conversation_with(site, temperature=0.5))
    kept = await Refusal.objects.aget()
    assert "temperature is not supported" in kept.detail
    assert "sk-test" not in kept.detail
    assert "secret garden" not in kept.detail


# JSON by a schema


@pytest.mark.parametrize("refusals", [1, 2])
async def test_a_model_that_refuses_a_schema_is_given_it_in_the_prompt(
    site: Site, provider: ProviderServer, refusals: int
) -> None:
    no_schema = RefusedPart(
        part="response_format.type=json_schema", message="This response_format type is unavailable now"
    )
    no_json = RefusedPart(part="response_format", message="'response_format' is not supported with this model.")
    provider.script = Script(text='{"sky": "blue"}', refused_parts=[no_schema, no_json][:refusals])
    answer = await site.ask("Why?", response_schema=SCHEMA)  # type: ignore[arg-type]
    assert (answer["status"], answer["text"]) == ("complete", '{"sky": "blue"}')
    last = list_bodies(provider)[-1]
    assert str(last["messages"]).count("by this schema") == 1
    assert last.get("response_format") == ({"type": "json_object"} if refusals == 1 else None)
    assert "schema" in answer["notices"][0]["message"]


async def test_anthropics_newest_models_get_a_schema_by_their_own_parameter(
    site: Site, provider: ProviderServer
) -> None:
    forced = RefusedPart(
        part="tool_choice.type=tool", message="tool_choice forces tool use is not compatible with this model."
    )
    provider.script = Script(text='{"sky": "blue"}', refused_parts=[forced])
    answer = await site.ask("Why?", model=ANTHROPIC, response_schema=SCHEMA)  # type: ignore[arg-type]
    assert (answer["status"], answer["text"]) == ("complete", '{"sky": "blue"}')
    last = list_bodies(provider)[-1]
    assert last["output_config"]["format"] == {
        "type": "json_schema",
        "schema": SCHEMA | {"additionalProperties": False},
    }
    assert "tools" not in last
    assert answer["notices"] == []


# Anthropic's thinking


@pytest.fixture
async def thinking(settings: Settings, site: Site) -> None:
    settings.CHAT_PROVIDERS["anthropic"]["thinking_tokens"] = 2_000
    await get_runner().pool.aclose()  # the next call makes its provider again


async def test_thinking_is_adaptive_where_a_budget_is_refused(
    site: Site, provider: ProviderServer, thinking: None
) -> None:
    provider.script = Script(text="Hello.", reasoning="Hm.", refused_parts=[NO_BUDGET])
    for _ in range(2):
        answer = await site.ask(model=ANTHROPIC)
        assert (answer["text"], answer["reasoning"], answer["notices"]) == ("Hello.", "Hm.", [])
    assert [body["thinking"]["type"] for body in list_bodies(provider)] == ["enabled", "adaptive", "adaptive"]


async def test_a_temperature_that_thinking_does_not_allow_is_spoken_of(
    site: Site, provider: ProviderServer, thinking: None
) -> None:
    answer = await site.ask("Hi", await begin_conversation_with(site, temperature=0.5), model=ANTHROPIC)
    assert "temperature" not in list_bodies(provider)[0]
    assert "temperature" in answer["notices"][0]["message"]


async def test_a_schema_is_asked_for_without_thinking(site: Site, provider: ProviderServer, thinking: None) -> None:
    provider.script = Script(text="", tool_calls=[Call("answer", '{"sky": "blue"}')])
    answer = await site.ask("Why?", model=ANTHROPIC, response_schema=SCHEMA)  # type: ignore[arg-type]
    assert answer["status"] == "complete"
    assert "thinking" not in list_bodies(provider)[0]


async def test_a_thinking_model_goes_on_by_a_word_from_the_user(
    site: Site, provider: ProviderServer, thinking: None
) -> None:
    provider.enqueue(Script(text="One two ", reasoning="Hm.", finish_reason="length"), Script(text="three."))
    limited = await site.ask("Count", model=ANTHROPIC)
    await site.post(f"/api/answers/{limited['id']}/continue/")
    await site.read_events(limited["id"])
    assert (await site.answer(limited["id"]))["text"] == "One two three."
    assert [message["role"] for message in list_bodies(provider)[1]["messages"]] == ["user", "assistant", "user"]
    assert CONTINUE_INSTRUCTION in str(list_bodies(provider)[1]["messages"][-1])


async def test_a_model_that_takes_no_beginning_is_given_none_the_next_time(
    site: Site, provider: ProviderServer
) -> None:
    half = Script(text="One two three", chunk_size=4, drop_after=8, refused_parts=[NO_PREFILL])
    for _ in range(2):
        provider.script = half
        failed = await site.ask("Count", model=ANTHROPIC)
        provider.script = Script(text="three.", refused_parts=[NO_PREFILL])
        provider.requests.clear()
        await site.post(f"/api/answers/{failed['id']}/continue/")
        await site.read_events(failed["id"])
        whole = await site.answer(failed["id"])
        assert (whole["text"], whole["notices"]) == ("One two three.", [])
    assert len(provider.requests) == 1


# A reader at any place


async def test_every_cut_of_an_answer_with_a_notice_is_a_place_to_go_on_from(
    site: Site, provider: ProviderServer
) -> None:
    provider.script = Script(text="Hello.", refused_parts=[NO_TEMPERATURE])
    answer = await site.ask("Hi", await begin_conversation_with(site, temperature=0.5))
    whole = await site.read_events(answer["id"])
    width = (await Message.objects.aget(pk=answer["id"])).position
    for cut in range(1, width + 1):
        rest = await site.read_events(answer["id"], cut)
        assert join_text(whole)[max(0, cut - 1) :] == join_text(rest)
        assert not any(event["type"] == "notice" for _, event in rest)


async def test_the_streamed_page_is_the_reloaded_one(site: Site, provider: ProviderServer) -> None:
    provider.script = Script(text="Hello.", refused_parts=[NO_TEMPERATURE], gate_after=3)
    conversation = await begin_conversation_with(site, temperature=0.5)
    answer = await site.begin("Hi", conversation)
    stream = await site.stream(f"/answers/{answer}/stream/?after=0")
    await provider.wait_for_requests(2)
    provider.release()
    streamed = b"".join([chunk async for chunk in stream]).decode()
    reloaded = (await site.get(f"/c/{conversation}/")).content.decode()
    [remark] = re.findall(r'<p class="remark".*?</p>', reloaded)
    assert remark in streamed


async def test_a_server_that_does_not_stream_is_asked_for_the_whole(site: Site, provider: ProviderServer) -> None:
    refusal = RefusedPart(part="stream=True", message="Your organization must be verified to stream this model.")
    provider.script = Script(text="Hello.", refused_parts=[refusal])
    answer = await site.ask()
    assert (answer["status"], answer["text"], answer["notices"]) == ("complete", "Hello.", [])


LACKS_THOUGHTS = {
    "openai:deepseek-v4-pro": "The `reasoning_content` in the thinking mode must be passed back to the API.",
    "anthropic:deepseek-v4-pro": "The `content[].thinking` in the thinking mode must be passed back to the API.",
    "openai:kimi-k2.6": "thinking is enabled but reasoning_content is missing in assistant tool call message at index "
    "2",
}


@pytest.fixture(params=LACKS_THOUGHTS)
def thinker(request: pytest.FixtureRequest, settings: Settings) -> str:
    """A model that wants its reasoning back with each of its turns, and signs none of it."""
    settings.CHAT_MODELS = [request.param]
    return str(request.param)


def refuse_lack_of_thoughts(model: str) -> Script:
    error = {"error": {"type": "invalid_request_error", "message": LACKS_THOUGHTS[model]}}
    return Script(status=400, raw=json.dumps(error), raw_type="application/json")


def list_thoughts(body: Json) -> list[Any]:
    """Return the reasoning in each of the model's turns, None where there is none."""
    turns = [turn for turn in body["messages"] if turn["role"] == "assistant"]
    blocks = [turn["content"][0] if isinstance(turn["content"], list) else turn for turn in turns]
    return [block.get("reasoning_content", block.get("thinking")) for block in blocks]


async def test_a_model_that_wants_its_reasoning_back_goes_on_after_tools_in_this_question_and_in_later_ones(
    site: Site, provider: ProviderServer, tools: None, thinker: str
) -> None:
    step = Script(text="", reasoning="Twice 21.", signature="", tool_calls=[Call("double", '{"number": 21}')])
    without = Script(text="", tool_calls=[Call("double", '{"number": 42}')])
    for script in (step, without, refuse_lack_of_thoughts(thinker), Script(text="It is 84.")):
        provider.enqueue(script)
    conversation = await site.begin_conversation()
    first = await site.ask("Twice 21, twice?", conversation, model=thinker)
    assert (first["status"], first["text"], first["notices"]) == ("complete", "It is 84.", [])
    assert list_thoughts(list_bodies(provider)[3]) == ["Twice 21.", " "]
    provider.script = Script(text="Still 84.")
    second = await site.ask("Sure?", conversation, model=thinker)
    assert (second["status"], second["text"], second["notices"]) == ("complete", "Still 84.", [])
    assert [list_thoughts(body) for body in list_bodies(provider)[4:]] == [[" ", " ", " "]]


async def test_a_conversation_that_used_tools_before_its_model_wanted_reasoning_goes_on(
    site: Site, admin: Site, provider: ProviderServer, tools: None, thinker: str
) -> None:
    provider.enqueue(Script(text="", tool_calls=[Call("double", '{"number": 21}')]))
    provider.enqueue(Script(text="It is 42."))
    provider.enqueue(refuse_lack_of_thoughts(thinker))
    provider.script = Script(text="Still 42.")
    conversation = await site.begin_conversation()
    await site.ask("Twice 21?", conversation, model=thinker)
    answer = await site.ask("Sure?", conversation, model=thinker)
    assert (answer["status"], answer["text"]) == ("complete", "Still 42.")
    assert [list_thoughts(body) for body in list_bodies(provider)[2:]] == [[None, None], [" ", " "]]
    assert "sent back with reasoning" in await read_health(admin)


async def test_a_conversation_with_calls_goes_on_with_mistral_and_keeps_its_tools(
    site: Site, provider: ProviderServer, tools: None, settings: Settings
) -> None:
    settings.CHAT_MODELS = [OPENAI, "openai:mistral-large"]
    provider.enqueue(Script(text="", tool_calls=[Call("double", '{"number": 21}')]), Script(text="It is 42."))
    conversation = await site.begin_conversation()
    await site.ask("Twice 21?", conversation, model=OPENAI)
    refusal = {
        "object": "error",
        "message": "Tool call id was call_0 but must be a-z, A-Z, 0-9, with a length of 9.",
        "type": "invalid_function_call",
        "code": "3280",
    }
    provider.enqueue(Script(status=400, raw=json.dumps(refusal), raw_type="application/json"))
    provider.script = Script(text="Still 42.")
    answer = await site.ask("Sure?", conversation, model="openai:mistral-large")
    assert (answer["status"], answer["text"], answer["notices"]) == ("complete", "Still 42.", [])
    body = list_bodies(provider)[-1]
    sent = [call["id"] for turn in body["messages"] for call in turn.get("tool_calls", ())]
    assert [turn["tool_call_id"] for turn in body["messages"] if turn["role"] == "tool"] == sent
    assert re.fullmatch("[a-zA-Z0-9]{9}", sent[0])
    assert "tools" in body
