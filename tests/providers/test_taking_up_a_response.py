"""A response in background mode is taken up where it was left, and nothing of it is lost, repeated or asked again."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import openai
import pytest

from chat.core.errors import ChatError
from chat.core.events import Bookmark, Finish, Lasting, ProviderEvent, Reasoning, Token, ToolCall, Usage
from chat.core.transcript import Transcript
from chat.providers import openai_responses
from chat.providers.base import Prompt, ResponseGoneError, Resumption, ToolSchema, Turn
from chat.providers.openai_provider import OpenAIProvider
from tests.provider_server import Call, ProviderServer, Script
from tests.provider_server.wire import Refusal

KEY = "sk-test-51f0c2a7e9b84d36"
TOOLS = (ToolSchema("calculator", "Calculates.", {"type": "object", "properties": {"expression": {"type": "string"}}}),)
PROMPT = Prompt("gpt-6.2-sol", (Turn("user", "Why is the sky blue?"),), is_followed=True, tools=TOOLS, effort="low")
TEXT = "Scattering: 日本語, \U0001f469\u200d\U0001f467 and naïve blue light, more than red, is scattered by air."

SCRIPTS = {
    "text": Script(text=TEXT, http_chunk_size=97),
    "halves": Script(text=TEXT, split_surrogates=True, escape_non_ascii=True, chunk_size=3, http_chunk_size=61),
    "reasoning": Script(text=TEXT, reasoning="It is about the sky. " * 4, http_chunk_size=150),
    "tools": Script(
        text="Let me see. ",
        reasoning="Two sums.",
        reasoning_between="And now this one.",
        tool_calls=[Call("calculator", '{"expression": "6 * 7"}', "call_1"), Call("calculator", "{}", "call_2")],
        http_chunk_size=211,
    ),
    "thoughts in the text": Script(text=f"<think>Let me think.</think>{TEXT}", chunk_size=3, http_chunk_size=80),
    "a limit": Script(text=TEXT, finish_reason="length", http_chunk_size=97),
}


@pytest.fixture
async def server() -> AsyncIterator[ProviderServer]:
    async with ProviderServer(api_key=KEY) as server:
        yield server


@pytest.fixture
async def provider(server: ProviderServer) -> AsyncIterator[OpenAIProvider]:
    provider = OpenAIProvider(api_key=KEY, base_url=server.openai_url, api="responses", background=True)
    yield provider
    await provider.aclose()


async def read(provider: OpenAIProvider, prompt: Prompt = PROMPT) -> list[ProviderEvent]:
    return [event async for batch in provider.stream(prompt) for event in batch]


def keep_lasting(events: Sequence[ProviderEvent]) -> tuple[Lasting, ...]:
    return tuple(event for event in events if isinstance(event, Lasting))


def answer_of(events: Sequence[ProviderEvent]) -> tuple[Any, ...]:
    """Return what an answer consists of, however it was cut, and how it ended."""
    transcript = Transcript()
    transcript.append(events)
    ends = [event for event in events if isinstance(event, Usage | Finish)]
    return transcript.read_since(0), transcript.extras, ends


def find_bookmarks(events: Sequence[ProviderEvent]) -> Iterator[tuple[int, Bookmark]]:
    return ((place, event) for place, event in enumerate(events) if isinstance(event, Bookmark))


@pytest.mark.parametrize("name", SCRIPTS)
async def test_from_any_bookmark_the_rest_follows(name: str, server: ProviderServer, provider: OpenAIProvider) -> None:
    server.script = SCRIPTS[name]
    whole = await read(provider)
    places = list(find_bookmarks(whole))
    assert len(places) > 5
    for place, bookmark in places[:: max(1, len(places) // 12)]:
        # Readers may have more than the bookmark covers: what the broker kept beyond the last checkpoint.
        for lead in (0, 1, 7):
            had, beyond = keep_lasting(whole[: place + lead]), keep_lasting(whole[place : place + lead])
            resumption = Resumption(bookmark, had, beyond)
            rest = [event async for batch in provider.resume(PROMPT, resumption) for event in batch]
            assert answer_of([*whole[: place + lead], *rest])[:2] == answer_of(whole)[:2]
            assert answer_of(rest)[2] == answer_of(whole)[2]
    assert sum(request.method == "POST" for request in server.requests) == 1


async def test_a_text_in_the_middle_of_a_piece_is_taken_up_there(
    server: ProviderServer, provider: OpenAIProvider
) -> None:
    server.script = Script(text=TEXT, chunk_size=20)
    whole = await read(provider)
    bookmark = next(bookmark for _, bookmark in find_bookmarks(whole))
    for size in range(len(TEXT)):
        had = (Token(TEXT[:size]),) if size else ()
        batches = provider.resume(PROMPT, Resumption(bookmark, had, had))
        assert "".join([e.content async for batch in batches for e in batch if isinstance(e, Token)]) == TEXT[size:]


@pytest.mark.parametrize("name", SCRIPTS)
async def test_a_response_that_is_too_old_to_be_streamed_is_awaited_whole(
    name: str, server: ProviderServer, provider: OpenAIProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openai_responses, "POLL_EVERY", 0.01)
    server.script = SCRIPTS[name]
    whole = await read(provider)
    server.background.streamable_for = 0
    for place, bookmark in list(find_bookmarks(whole))[::5]:
        had = keep_lasting(whole[:place])
        rest = [e async for batch in provider.resume(PROMPT, Resumption(bookmark, had)) for e in batch]
        assert answer_of([*whole[:place], *rest])[0] == answer_of(whole)[0]
        assert answer_of(rest)[2] == answer_of(whole)[2]


async def test_while_it_is_awaited_whole_there_are_signs_of_life(
    server: ProviderServer, provider: OpenAIProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openai_responses, "POLL_EVERY", 0.01)
    server.script = Script(text=TEXT, gate_after=20)
    async with aclosing(provider.stream(PROMPT)) as batches:
        events = [event async for event in read_until_text(batches)]
    server.background.streamable_for = 0
    resumption = Resumption([b for _, b in find_bookmarks(events)][-1], keep_lasting(events))
    heard: list[ProviderEvent] = []
    async with aclosing(provider.resume(PROMPT, resumption)) as batches:
        async for batch in batches:
            if not any(isinstance(event, Token | Finish) for event in batch):
                assert batch
                server.release()
            heard += batch
    assert answer_of([*events, *heard])[0] == [Token(TEXT)]


async def read_until_text(batches: Any) -> AsyncIterator[ProviderEvent]:
    async for batch in batches:
        for event in batch:
            yield event
        if any(isinstance(event, Token) for event in batch):
            return


async def test_another_text_than_was_had_is_an_error(server: ProviderServer, provider: OpenAIProvider) -> None:
    server.script = Script(text=TEXT)
    whole = await read(provider)
    first = next(bookmark for _, bookmark in find_bookmarks(whole))
    for had in ((Token("Something else"),), (Reasoning("Sc"),), (Token(TEXT + " more"),), (ToolCall("a", "b"),)):
        with pytest.raises(ChatError, match="upstream_error"):
            async for _ in provider.resume(PROMPT, Resumption(first, had, had)):
                pass


async def test_a_response_that_the_provider_no_longer_has_is_gone(
    server: ProviderServer, provider: OpenAIProvider
) -> None:
    whole = await read(provider)
    bookmark = next(bookmark for _, bookmark in find_bookmarks(whole))
    server.background.kept_for = 0
    with pytest.raises(ResponseGoneError):
        async for _ in provider.resume(PROMPT, Resumption(bookmark)):
            pass
    server.background.streamable_for = 0
    with pytest.raises(ResponseGoneError):
        async for _ in provider.resume(PROMPT, Resumption(bookmark)):
            pass


@pytest.mark.parametrize(
    ("status", "code"), [(429, "rate_limited"), (500, "upstream_error"), (503, "upstream_error"), (504, "timeout")]
)
async def test_a_refusal_that_passes_is_told_as_one(
    status: int, code: str, server: ProviderServer, provider: OpenAIProvider
) -> None:
    whole = await read(provider)
    bookmark = next(bookmark for _, bookmark in find_bookmarks(whole))
    server.background.refusals.append(Refusal(status, "server_error", "Not now."))
    with pytest.raises(ChatError) as raised:
        async for _ in provider.resume(PROMPT, Resumption(bookmark)):
            pass
    assert (raised.value.code, isinstance(raised.value, ResponseGoneError)) == (code, False)


# What is asked


async def test_only_answers_that_readers_follow_are_kept(server: ProviderServer, provider: OpenAIProvider) -> None:
    await read(provider)
    await read(provider, replace(PROMPT, is_followed=False))
    kept, other = (request.body for request in server.requests)
    assert (kept["background"], kept["store"]) == (True, True)
    assert "background" not in other
    assert other["store"] is False


async def test_nothing_is_kept_unless_the_operator_says_so(server: ProviderServer) -> None:
    provider = OpenAIProvider(api_key=KEY, base_url=server.openai_url, api="responses")
    events = await read(provider)
    await provider.aclose()
    assert server.requests[0].body["store"] is False
    assert not list(find_bookmarks(events))


async def test_a_server_that_passes_over_the_wish_gives_no_bookmarks(
    server: ProviderServer, provider: OpenAIProvider
) -> None:
    """Nothing can be taken up there."""
    server.script = Script(text=TEXT)
    await read(provider)
    frames = server.background.all[0].sent.replace(b'"background":true', b'"background":false')
    server.script = Script(raw=frames.decode())
    events = await read(provider)
    assert not list(find_bookmarks(events))
    assert answer_of(events)[0] == [Token(TEXT)]


# Cancelling


async def test_a_response_is_cancelled(server: ProviderServer, provider: OpenAIProvider) -> None:
    server.script = Script(text=TEXT, gate_after=20)
    async with aclosing(provider.stream(PROMPT)) as batches:
        events = [event async for event in read_until_text(batches)]
    bookmark = [bookmark for _, bookmark in find_bookmarks(events)][-1]
    for _ in range(2):  # the second changes nothing
        assert await provider.cancel(PROMPT, bookmark) is None
    assert server.background.all[0].status == "cancelled"


async def test_the_figures_of_one_that_had_ended_are_told(server: ProviderServer, provider: OpenAIProvider) -> None:
    server.script = Script(text=TEXT, usage=Usage(11, 22))
    bookmark = next(bookmark for _, bookmark in find_bookmarks(await read(provider)))
    assert await provider.cancel(PROMPT, bookmark) == Usage(11, 22)
    assert server.background.all[0].status == "completed"


async def test_a_cancellation_that_fails_says_so(server: ProviderServer, provider: OpenAIProvider) -> None:
    bookmark = next(bookmark for _, bookmark in find_bookmarks(await read(provider)))
    server.background.refusals.append(Refusal(503, "server_error", "Not now."))
    with pytest.raises(ChatError, match="upstream_error"):
        await provider.cancel(PROMPT, bookmark)


# The provider server is what OpenAI's own client finds there


async def test_the_sdk_follows_and_cancels(server: ProviderServer) -> None:
    client = openai.AsyncOpenAI(api_key=KEY, base_url=server.openai_url, max_retries=0)
    server.script = Script(text=TEXT)
    made = await client.responses.create(model="gpt-6.2-sol", input="Why?", background=True, stream=True)
    events = [event async for event in made]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    response_id = server.background.all[0].id
    again = await client.responses.retrieve(response_id, stream=True, starting_after=events[4].sequence_number)
    assert [event.sequence_number async for event in again] == list(range(5, len(events)))
    found = await client.responses.retrieve(response_id)
    assert (found.status, found.output_text, found.background) == ("completed", TEXT, True)
    with pytest.raises(openai.BadRequestError, match="Cannot cancel a completed response"):
        await client.responses.cancel(response_id)
    with pytest.raises(openai.BadRequestError, match="store"):
        await client.responses.create(model="gpt-6.2-sol", input="Why?", background=True, store=False)
    with pytest.raises(openai.NotFoundError):
        await client.responses.retrieve("resp_none")
    server.script = Script(text=TEXT, gate_after=10)
    polled = await client.responses.create(model="gpt-6.2-sol", input="Why?", background=True)
    assert polled.status in ("queued", "in_progress")
    with pytest.raises(openai.BadRequestError, match="not created with stream=true"):
        await client.responses.retrieve(polled.id, stream=True)
    assert (await client.responses.cancel(polled.id)).status == "cancelled"
    await client.close()
