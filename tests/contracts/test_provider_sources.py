"""Pages of the web that a model cites are listed below its text, unless the text links to them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from chat.providers.anthropic import AnthropicProvider
from chat.providers.base import Prompt, Provider, Turn
from chat.providers.openai_provider import OpenAIProvider
from chat.providers.sources import HEADING, MAX_SOURCES, Sources
from chat.rendering.html import convert_to_html
from tests.contracts.hearing import KEY, Heard, complete, hear
from tests.provider_server import ProviderServer, Script

Json = dict[str, Any]
Pages = list[tuple[str, str]]

BLUE, SEA = ("https://sky.example/blue", "The [blue] sky"), ("https://sea.example/", "")
LISTED = f"{HEADING}- [The \\[blue\\] sky](<{BLUE[0]}>)\n- [sea.example](<{SEA[0]}>)"
QUESTION = (Turn("user", "Why is the sky blue?"),)


def stream(events: list[Json]) -> str:
    return "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events)


def write_claude_stream(text: str, pages: Pages, reason: str = "end_turn") -> str:
    cited = [
        {"type": "web_search_result_location", "url": url, "title": title, "encrypted_index": "E", "cited_text": "x"}
        for url, title in pages
    ]
    deltas = [{"type": "text_delta", "text": text}, *({"type": "citations_delta", "citation": each} for each in cited)]
    return stream(
        [
            {"type": "message_start", "message": {"usage": {"input_tokens": 7}, "content": []}},
            {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
            *({"type": "content_block_delta", "index": 0, "delta": delta} for delta in deltas),
            {"type": "content_block_stop", "index": 0},
            {"type": "message_delta", "delta": {"stop_reason": reason}, "usage": {"output_tokens": 9}},
            {"type": "message_stop"},
        ]
    )


def write_responses_stream(text: str, pages: Pages, reason: str = "") -> str:
    at = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    cited = [
        {"type": "url_citation", "url": url, "title": title, "start_index": 0, "end_index": 1} for url, title in pages
    ]
    added = [{"type": "response.output_text.annotation.added", **at, "annotation": each} for each in cited]
    part = {"type": "output_text", "text": text, "annotations": cited}
    message = {"type": "message", "role": "assistant", "status": "completed", "content": [part]}
    message |= {"id": "msg_1", "phase": "final_answer"}
    status = "incomplete" if reason else "completed"
    end = {"status": status, "incomplete_details": {"reason": reason} if reason else None, "output": [message]}
    return stream(
        [
            {"type": "response.output_text.delta", **at, "delta": text},
            *added,
            {"type": "response.output_item.done", "output_index": 0, "item": message},
            {"type": f"response.{status}", "response": end},
        ]
    )


def write_chat_stream(text: str, pages: Pages, reason: str = "stop") -> str:
    """Write a stream as OpenAI's search models and OpenRouter do: with the citations in a delta of their own."""
    cited = [
        {"type": "url_citation", "url_citation": {"url": url, "title": title, "start_index": 0, "end_index": 1}}
        for url, title in pages
    ]
    deltas = [{"role": "assistant", "content": text}, {"content": "", "annotations": cited}]
    return write_chunks(*({"delta": delta} for delta in deltas), {"delta": {}, "finish_reason": reason})


def write_chunks(*choices: Json, **beside: Any) -> str:
    """Write a stream of Chat Completions; the members in `beside` are added to the last chunk, beside its choices."""
    said = [{"choices": [{"index": 0, **choice}]} for choice in choices]
    said[-1] |= beside
    return "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in said) + "data: [DONE]\n\n"


SCRIPTS = {"anthropic": write_claude_stream, "responses": write_responses_stream, "chat": write_chat_stream}
CUTS = {"anthropic": "max_tokens", "responses": "max_output_tokens", "chat": "length"}


@pytest.fixture(params=SCRIPTS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def provider(name: str, server: ProviderServer) -> AsyncIterator[Provider]:
    adapter: Provider = (
        AnthropicProvider(api_key=KEY, base_url=server.anthropic_url)
        if name == "anthropic"
        else OpenAIProvider(api_key=KEY, base_url=server.openai_url, api="chat" if name == "chat" else "responses")
    )
    yield adapter
    await adapter.aclose()


async def ask(provider: Provider, server: ProviderServer, raw: str, **wishes: Any) -> Heard:
    server.script = Script(raw=raw)
    return await hear(provider, Prompt("a-model", QUESTION, **wishes))


async def test_what_a_text_cites_is_listed_below_it_once(name: str, provider: Provider, server: ProviderServer) -> None:
    heard = await ask(provider, server, SCRIPTS[name]("It is blue.", [BLUE, SEA, BLUE]))
    assert heard.text == f"It is blue.{LISTED}"


async def test_the_list_does_not_go_back_to_the_model_that_cited(
    name: str, provider: Provider, server: ProviderServer
) -> None:
    heard = await ask(provider, server, SCRIPTS[name]("It is blue.", [BLUE]))
    answer = Turn("assistant", heard.text, native_form=heard.native_form)
    server.script = Script()
    await hear(provider, Prompt("a-model", (*QUESTION, answer, Turn("user", "And the sea?"))))
    sent = json.dumps(server.requests[1].body)
    assert "It is blue." in sent
    assert "Sources:" not in sent


async def test_pages_that_the_text_links_to_are_not_listed_again(
    name: str, provider: Provider, server: ProviderServer
) -> None:
    text = f"It is [blue]({BLUE[0]}), and so is the sea: {SEA[0]}"
    assert (await ask(provider, server, SCRIPTS[name](text, [BLUE, SEA]))).text == text


async def test_an_answer_that_was_cut_or_follows_a_schema_has_no_list(
    name: str, provider: Provider, server: ProviderServer
) -> None:
    cut = SCRIPTS[name]("It is", [BLUE], CUTS[name])
    assert (await ask(provider, server, cut)).text == "It is"
    schema = {"type": "object", "properties": {}, "additionalProperties": False}
    raw = SCRIPTS[name]("{}", [BLUE])
    assert (await ask(provider, server, raw, response_schema=schema)).text.startswith("{}")
    assert HEADING not in (await ask(provider, server, raw, response_schema=schema)).text


async def test_an_answer_in_one_piece_has_the_same_list(server: ProviderServer) -> None:
    adapter = OpenAIProvider(api_key=KEY, base_url=server.openai_url, api="responses")
    whole = write_responses_stream("It is blue.", [BLUE, SEA]).splitlines()[-2].removeprefix("data: ")
    server.script = Script(raw=json.dumps(json.loads(whole)["response"]), raw_type="application/json")
    assert (await complete(adapter, Prompt("a-model", QUESTION))).text == f"It is blue.{LISTED}"
    await adapter.aclose()


# Chat Completions

PERPLEXITY = {"citations": [BLUE[0], SEA[0]], "search_results": [{"url": BLUE[0], "title": BLUE[1]}, {"url": SEA[0]}]}
STOP = {"delta": {}, "finish_reason": "stop"}


async def ask_chat(server: ProviderServer, raw: str, raw_type: str = "text/event-stream") -> Heard:
    adapter = OpenAIProvider(api_key=KEY, base_url=server.openai_url, api="chat")
    server.script = Script(raw=raw, raw_type=raw_type)
    heard = await hear(adapter, Prompt("a-model", QUESTION))
    await adapter.aclose()
    return heard


@pytest.mark.parametrize(
    "beside",
    [
        PERPLEXITY,
        {"search_results": PERPLEXITY["search_results"]},
        {"citations": PERPLEXITY["search_results"]},
        {"web_search": [{"link": BLUE[0], "title": BLUE[1], "content": "…"}, {"link": SEA[0]}]},
    ],
)
async def test_pages_beside_the_choices_are_listed(server: ProviderServer, beside: Json) -> None:
    heard = await ask_chat(server, write_chunks({"delta": {"content": "It is blue."}}, STOP, **beside))
    assert heard.text == f"It is blue.{LISTED}"
    assert heard.finishes == ["stop"]


async def test_pages_that_come_with_each_chunk_are_listed_once(server: ProviderServer) -> None:
    said = [{"choices": [{"index": 0, "delta": {"content": word}}], **PERPLEXITY} for word in ("It ", "is ", "blue.")]
    said.append({"choices": [{"index": 0, **STOP}], **PERPLEXITY})
    raw = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in said) + "data: [DONE]\n\n"
    assert (await ask_chat(server, raw)).text == f"It is blue.{LISTED}"


async def test_pages_that_the_text_refers_to_by_number_keep_their_numbers(server: ProviderServer) -> None:
    """A page twice, or one without an address, moves no other."""
    pages = [{"url": BLUE[0], "title": "Blue"}, {"url": BLUE[0], "title": "Blue"}, {"title": "A book"}, {"url": SEA[0]}]
    text = f"It is [blue]({BLUE[0]})[1][4]."
    heard = await ask_chat(server, write_chunks({"delta": {"content": text}}, STOP, search_results=pages))
    first = f"[Blue](<{BLUE[0]}>)"
    listed = [f"1. {first}", f"2. {first}", "3. A book", f"4. [sea.example](<{SEA[0]}>)"]
    assert heard.text == text + HEADING + "\n".join(listed)


async def test_links_that_look_like_numbers_refer_to_no_list(server: ProviderServer) -> None:
    text = f"It is blue[[1]]({BLUE[0]})."
    assert (await ask_chat(server, write_chunks({"delta": {"content": text}}, STOP, citations=[BLUE[0]]))).text == text


async def test_citations_of_a_whole_message_are_listed(server: ProviderServer) -> None:
    """Some servers end a stream with the message whole, others answer with nothing else."""
    cited = [{"type": "url_citation", "url": url, "title": title} for url, title in (BLUE, SEA)]
    message = {"role": "assistant", "content": "It is blue.", "annotations": cited}
    last = {"delta": {}, "message": message, "finish_reason": "stop"}
    heard = await ask_chat(server, write_chunks({"delta": {"content": "It is blue."}}, last))
    assert heard.text == f"It is blue.{LISTED}"
    whole = json.dumps({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})
    assert (await ask_chat(server, whole, "application/json")).text == f"It is blue.{LISTED}"


@pytest.mark.parametrize("odd", [7, "x", {}, {"a": 1}, [7, None, [], {}], [{"url": 7}], [{"url_citation": 7}], [[[]]]])
@pytest.mark.parametrize("place", ["annotations", "citations", "search_results", "web_search"])
async def test_citations_of_an_odd_shape_cost_nothing(server: ProviderServer, place: str, odd: object) -> None:
    inside, beside = ({place: odd}, {}) if place == "annotations" else ({}, {place: odd})
    heard = await ask_chat(server, write_chunks({"delta": {"content": "Blue.", **inside}}, STOP, **beside))
    assert (heard.text, heard.error, heard.finishes) == ("Blue.", None, ["stop"])


async def test_an_answer_that_calls_tools_has_no_list(server: ProviderServer) -> None:
    call = {"index": 0, "id": "a", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    last = {"delta": {"tool_calls": [call]}, "finish_reason": "tool_calls"}
    heard = await ask_chat(server, write_chunks({"delta": {"content": "I look."}}, last, **PERPLEXITY))
    assert heard.text == "I look."


async def test_a_message_without_reasoning_or_phase_goes_back_without_its_list(server: ProviderServer) -> None:
    """GPT-4.1 sends neither: nothing else is kept of its answer."""
    adapter = OpenAIProvider(api_key=KEY, base_url=server.openai_url, api="responses")
    heard = await ask(
        adapter, server, write_responses_stream("It is blue.", [BLUE]).replace('"phase": "final_answer"', '"x": 1')
    )
    assert heard.text.startswith("It is blue.\n\nSources:")
    answer = Turn("assistant", heard.text, native_form=heard.native_form)
    server.script = Script()
    await hear(adapter, Prompt("a-model", (*QUESTION, answer, Turn("user", "And the sea?"))))
    assert server.requests[1].body["input"][1] == {"role": "assistant", "content": "It is blue."}
    await adapter.aclose()


@pytest.mark.parametrize(
    "address",
    [
        "javascript:alert(1)",
        "data:text/html,x",
        "//sky.example",
        "https://a b",
        "https://a<b>",
        "",
        None,
        7,
        "https://",
        "https://" + "x" * 3000,
    ],
)
def test_sources_without_a_web_address_are_passed_over(address: object) -> None:
    sources = Sources()
    sources.add(address, "A page")
    assert sources.write_markdown() == ""


@pytest.mark.parametrize("title", ["](javascript:x)", "<script>x</script>", "`a", "a\n\n# b", "\\", "&lt;", "x" * 500])
def test_a_title_is_words_and_nothing_else(title: str) -> None:
    sources = Sources()
    sources.add(BLUE[0], title)
    html = convert_to_html(sources.write_markdown())
    assert html.count("<a ") == 1
    assert f'href="{BLUE[0]}"' in html
    assert "<script" not in html
    assert "<h1" not in html


def test_a_model_that_cites_everything_has_a_list_that_ends() -> None:
    sources = Sources()
    for number in range(1_000):
        sources.add(f"https://sky.example/{number}", "")
    assert sources.write_markdown().count("\n- ") == MAX_SOURCES
