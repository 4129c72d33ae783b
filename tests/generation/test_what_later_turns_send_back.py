"""What a provider sent in a form of its own goes back to the same model in later turns, and to no other."""

from __future__ import annotations

import json

import pytest
from pytest_django import Settings

from chat.generation.process import get_runner
from chat.models import Message
from chat.tools.toolbox import Toolbox
from tests.provider_server import Call, ProviderServer, Script
from tests.support.site import Json, Site

SONNET, OPUS, GPT = "anthropic:claude-sonnet-5-5", "anthropic:claude-opus-5-5", "openai:gpt-5.6-terra"
SEARCH = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "sky"}}
PAGE = {
    "type": "web_search_result",
    "url": "https://sky.example/blue",
    "title": "The sky",
    "encrypted_content": "EqgfCioI",
    "page_age": None,
}
FOUND = {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": [PAGE]}
CITED = {
    "type": "web_search_result_location",
    "url": "https://sky.example/blue",
    "title": "The sky",
    "encrypted_index": "Eo8BCioI",
    "cited_text": "Blue light scatters most.",
}


def double(number: int) -> int:
    """Double a number."""
    return 2 * number


def double_at_length(number: int) -> int:
    return 2 * number


double_at_length.__doc__ = "Double a number." * 1_000


@pytest.fixture
async def site(site: Site, settings: Settings) -> Site:
    settings.CHAT_MODELS = [SONNET, OPUS, GPT]
    settings.CHAT_MODEL_OPTIONS = {GPT: {"api": "responses"}}
    settings.CHAT_TOOLS = [f"{__name__}.double"]
    get_runner().resources.toolbox = Toolbox(settings.CHAT_TOOLS)
    return site


def begin(place: int, block: Json) -> Json:
    return {"type": "content_block_start", "index": place, "content_block": block}


def add(place: int, kind: str, **members: object) -> Json:
    return {"type": "content_block_delta", "index": place, "delta": {"type": kind, **members}}


def end(place: int) -> Json:
    return {"type": "content_block_stop", "index": place}


def stream(*events: Json, reason: str = "end_turn") -> Script:
    """Return a script that sends an answer of Claude's with these events."""
    whole = [
        {"type": "message_start", "message": {"usage": {"input_tokens": 7, "output_tokens": 1}, "content": []}},
        *events,
        {"type": "message_delta", "delta": {"stop_reason": reason}, "usage": {"output_tokens": 9}},
        {"type": "message_stop"},
    ]
    return Script(raw="".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in whole))


def search(number: int = 0) -> list[Json]:
    return [begin(number, {**SEARCH, "input": {}}), add(number, "input_json_delta", partial_json='{"query": "sky"}')]


THOUGHTS = [
    begin(0, {"type": "thinking", "thinking": "", "signature": ""}),
    add(0, "thinking_delta", thinking="I search."),
    add(0, "signature_delta", signature="c2lnbmVk"),
    end(0),
]
ANSWER = [begin(3, {"type": "text", "text": ""}), add(3, "text_delta", text="It is blue.")]
SEARCHED = stream(
    *THOUGHTS, *search(1), end(1), begin(2, FOUND), end(2), *ANSWER, add(3, "citations_delta", citation=CITED), end(3)
)
BLOCKS = [SEARCH, FOUND, {"type": "text", "text": "It is blue.", "citations": [CITED]}]


def read_sent_blocks(provider: ProviderServer, request: int = -1) -> list[Json]:
    """Return the blocks of the first answer in a request."""
    content = next(message["content"] for message in provider.requests[request].body["messages"][1:])
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


async def test_searches_and_citations_go_back_as_they_came_without_the_thoughts(
    site: Site, provider: ProviderServer
) -> None:
    """Thoughts are bound to the tools, the instructions and the messages before them, which later turns may change."""
    provider.enqueue(SEARCHED)
    first = await site.ask("Why?", model=SONNET)
    for _ in range(2):
        assert (await site.ask("And the sea?", first["conversation"], model=SONNET))["status"] == "complete"
        assert read_sent_blocks(provider) == BLOCKS


async def test_another_model_has_the_text_alone(site: Site, provider: ProviderServer) -> None:
    provider.enqueue(SEARCHED)
    first = await site.ask("Why?", model=SONNET)
    await site.ask("And the sea?", first["conversation"], model=OPUS)
    text = (await site.answer(first["id"]))["text"]
    assert read_sent_blocks(provider) == [{"type": "text", "text": text}]
    await site.ask("And the sea?", first["conversation"], model=GPT)
    assert "srvtoolu" not in str(provider.requests[-1].body)
    await site.ask("And the sea?", first["conversation"], model=SONNET)
    assert read_sent_blocks(provider) == BLOCKS


async def test_a_search_without_its_result_is_left_out(site: Site, provider: ProviderServer) -> None:
    """The provider paused, and the rest of the answer failed: the API refuses a search that has no result."""
    begun = [begin(0, {"type": "text", "text": "I search. "}), end(0), *search(1), end(1)]
    provider.enqueue(stream(*begun, reason="pause_turn"), Script(status=400, error_message="No."))
    first = await site.ask("Why?", model=SONNET)
    assert first["status"] == "interrupted"
    assert provider.requests[1].body["messages"][-1]["content"][-1] == SEARCH
    await site.ask("Well?", first["conversation"], model=SONNET)
    assert read_sent_blocks(provider) == [{"type": "text", "text": "I search. "}]


@pytest.mark.parametrize(
    ("said", "next_block", "text"),
    [
        ("I search.", FOUND, "I search.\n\nBlue."),
        ("I search.\n", FOUND, "I search.\nBlue."),
        ("I search.", None, "I search.\n\nBlue."),  # the search stands before the pause
        ("", FOUND, "Blue."),
    ],
)
@pytest.mark.parametrize("pauses", [1, 2])
async def test_a_text_after_a_search_is_a_paragraph_across_pauses_too(
    site: Site, provider: ProviderServer, pauses: int, said: str, next_block: Json | None, text: str
) -> None:
    begun = [begin(0, {"type": "text", "text": said}), end(0), *search(1), end(1)] if said else [*search(0), end(0)]
    found = [begin(0, next_block), end(0)] if next_block else []
    place = len(found) // 2
    rest = [*found, begin(place, {"type": "text", "text": ""}), add(place, "text_delta", text="Blue."), end(place)]
    again = [[*search(0), end(0)]] * (pauses - 1)
    provider.enqueue(*(stream(*part, reason="pause_turn") for part in (begun, *again)), stream(*rest))
    answer = await site.ask("Why?", model=SONNET)
    assert (answer["status"], answer["text"]) == ("complete", text)


async def test_a_pause_before_anything_was_sent_is_gone_on_from_as_it_was_asked(
    site: Site, provider: ProviderServer
) -> None:
    provider.enqueue(stream(reason="pause_turn"), stream(begin(0, {"type": "text", "text": "Blue."}), end(0)))
    assert (await site.ask("Why?", model=SONNET))["text"] == "Blue."
    first, second = (request.body["messages"] for request in provider.requests)
    assert second == first


async def test_a_paused_answer_goes_back_whole(site: Site, provider: ProviderServer) -> None:
    begun = [begin(0, {"type": "text", "text": "I search. "}), end(0), *search(1), end(1)]
    rest = [begin(0, FOUND), end(0), begin(1, {"type": "text", "text": ""}), add(1, "text_delta", text="Blue."), end(1)]
    provider.enqueue(stream(*begun, reason="pause_turn"), stream(*rest))
    first = await site.ask("Why?", model=SONNET)
    assert first["text"] == "I search. Blue."
    await site.ask("And the sea?", first["conversation"], model=SONNET)
    assert read_sent_blocks(provider) == [
        {"type": "text", "text": "I search. "},
        SEARCH,
        FOUND,
        {"type": "text", "text": "Blue."},
    ]


async def test_what_was_said_before_an_answer_was_continued_goes_back_too(site: Site, provider: ProviderServer) -> None:
    provider.enqueue(Script(text="I look it up.", eof_after=13), SEARCHED)
    first = await site.ask("Why?", model=SONNET)
    assert first["status"] == "interrupted"
    assert (await site.post(f"/api/answers/{first['id']}/continue/")).status_code == 202
    await site.read_events(first["id"])
    await site.ask("And the sea?", first["conversation"], model=SONNET)
    assert read_sent_blocks(provider) == [{"type": "text", "text": "I look it up."}, *BLOCKS]


async def test_what_is_too_long_to_keep_is_sent_as_its_text(site: Site, provider: ProviderServer) -> None:
    huge = {**FOUND, "content": [{**PAGE, "encrypted_content": "x" * 300_000}]}
    provider.enqueue(stream(*search(0), end(0), begin(2, huge), end(2), *ANSWER, end(3)))
    first = await site.ask("Why?", model=SONNET)
    await site.ask("And the sea?", first["conversation"], model=SONNET)
    assert read_sent_blocks(provider) == [{"type": "text", "text": "It is blue."}]
    assert len(json.dumps((await Message.objects.aget(pk=first["id"])).outline)) < 1_000


async def test_a_conversation_of_searches_stays_within_the_window(
    site: Site, provider: ProviderServer, settings: Settings
) -> None:
    """Its searches are most of what goes back: by the texts alone no message would ever be left out."""
    settings.CHAT_CONTEXT_WINDOWS = {SONNET: 8_000}
    found = {**FOUND, "content": [{**PAGE, "encrypted_content": "x" * 6_000}]}
    conversation = ""
    for _ in range(8):
        provider.enqueue(stream(*search(0), end(0), begin(2, found), end(2), *ANSWER, end(3)))
        answer = await site.ask("Why?", conversation, model=SONNET)
        conversation = answer["conversation"]
    assert len(provider.requests) == 8
    sizes = [len(json.dumps(request.body["messages"])) / 4 for request in provider.requests]
    assert 3_000 < max(sizes) < 8_000
    assert (await Message.objects.aget(pk=answer["id"])).omitted > 0


async def test_the_tools_of_a_turn_are_counted_before_messages_are_left_out(
    site: Site, provider: ProviderServer, settings: Settings
) -> None:
    settings.CHAT_CONTEXT_WINDOWS = {SONNET: 8_000}
    first = await site.ask("x" * 10_000, model=SONNET)
    await site.ask("And the sea?", first["conversation"], model=SONNET)
    assert len(provider.requests[-1].body["messages"]) == 3
    get_runner().resources.toolbox = Toolbox([f"{__name__}.double_at_length"])
    await site.ask("And the lake?", first["conversation"], model=SONNET)
    assert len(provider.requests[-1].body["messages"]) < 5


async def test_no_reader_sees_any_of_it(site: Site, provider: ProviderServer) -> None:
    provider.enqueue(SEARCHED)
    first = await site.ask("Why?", model=SONNET)
    events = await site.get(f"/api/answers/{first['id']}/events/", accept="text/event-stream")
    said = b"".join([part async for part in events])  # type: ignore[attr-defined]
    page = (await site.get(f"/c/{first['conversation']}/")).content
    for text in (said, page, json.dumps(first).encode()):
        assert b"encrypted" not in text
        assert b"signature" not in text


async def test_steps_of_a_loop_go_back_in_the_order_in_which_they_were_made(
    site: Site, provider: ProviderServer
) -> None:
    """The beginning of the prompt is the same as in the loop then, and is read from the provider's cache."""
    for number in (1, 2):
        call = Call("double", f'{{"number": {number}}}', f"call_{number}")
        provider.enqueue(Script(text="", tool_calls=[call]))
    provider.enqueue(Script(text="2 and 4."))
    first = await site.ask("Twice 1, twice 2?", model=GPT)
    await site.ask("And twice 3?", first["conversation"], model=GPT)
    loop, later = (provider.requests[number].body["input"] for number in (2, 3))
    assert [item.get("type", "message") for item in loop] == [
        "message",
        *["function_call", "function_call_output"] * 2,
    ]
    assert later[: len(loop)] == loop


async def test_reasoning_and_phases_go_back_to_the_same_model_of_openai_alone(
    site: Site, provider: ProviderServer
) -> None:
    provider.enqueue(Script(text="Because.", reasoning="Light scatters."))
    first = await site.ask("Why?", model=GPT)
    await site.ask("And the sea?", first["conversation"], model=GPT)
    _, reasoning, message, _ = provider.requests[1].body["input"]
    assert (reasoning["type"], message["phase"]) == ("reasoning", "final_answer")
    assert message["content"][0]["text"] == "Because."
    await site.ask("And the lake?", first["conversation"], model=SONNET)
    assert "encrypted_content" not in str(provider.requests[2].body)
