"""What every provider holds to: exact text, one honest end, a code for each failure, and no call left open."""

from __future__ import annotations

import asyncio
import gc
from contextlib import aclosing
from dataclasses import replace
from time import monotonic
from typing import Any

import httpx2
import pytest
from aiohttp.client_proto import ResponseHandler

from chat.core.events import Finish, FinishReason, Token, Usage
from chat.providers import http
from chat.providers.base import Provider
from tests.contracts.hearing import (
    AFTER,
    CLOSES_WITHIN,
    FAULTS,
    PATIENCE,
    PROMPT,
    REFUSALS,
    TEXT,
    TOUR,
    Make,
    get_failure,
    hear,
)
from tests.provider_server import ProviderServer, Script
from tests.provider_server.directives import NASTY

# What holds even for a provider that calls nobody

EVERY = pytest.mark.parametrize("name", ["openai", "anthropic", "demo"], indirect=True)


@EVERY
async def test_a_well_ended_answer_has_text_and_one_finish_and_then_at_most_usage(provider: Provider) -> None:
    heard = await hear(provider, TOUR)
    assert heard.error is None
    assert heard.text
    assert heard.kinds.index("Finish") == len(heard.kinds) - 1
    assert len(heard.finishes) == 1


@EVERY
async def test_a_stream_may_be_closed_before_its_end_and_the_next_one_is_whole(provider: Provider) -> None:
    batches = provider.stream(TOUR)
    await anext(batches)
    await batches.aclose()
    assert len((await hear(provider, TOUR)).finishes) == 1


@EVERY
async def test_answers_at_once_do_not_mix(provider: Provider) -> None:
    alone = await hear(provider, TOUR)
    together = await asyncio.gather(*(hear(provider, TOUR) for _ in range(20)))
    assert {heard.text for heard in together} == {alone.text}


# A plain answer


async def test_an_answer_is_its_text_and_then_one_finish(provider: Provider) -> None:
    heard = await hear(provider)
    assert heard.error is None
    assert heard.text == TEXT
    assert heard.kinds == ["Token", "Finish"]
    assert heard.finishes == ["stop"]


async def test_deltas_that_come_while_the_reader_is_busy_are_read_in_one_go(
    provider: Provider, server: ProviderServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The event loop does not wake for each token while nobody would look at it."""
    wakes = 0
    received = ResponseHandler.data_received

    def count_wakes(self: ResponseHandler, data: bytes) -> None:
        nonlocal wakes
        wakes += bool(data)  # aiohttp itself calls this with no data, to wake its parser
        received(self, data)

    monkeypatch.setattr(ResponseHandler, "data_received", count_wakes)
    server.script = Script(text=TEXT * 4, chunk_size=4, delay_between=0.002)
    told = ""
    async for batch in provider.stream(PROMPT):
        told += "".join(event.content for event in batch if isinstance(event, Token))
        await asyncio.sleep(0.1)  # the reader is busy
    assert told == TEXT * 4
    assert wakes < len(told) / 4 / 3


def find_exchanges() -> set[int]:
    """Return the ids of the SDK's requests and responses in memory.

    They are found by their types, because `isinstance` wakes lazy objects of other libraries.
    """
    gc.collect()
    return {id(held) for held in gc.get_objects() if issubclass(type(held), httpx2.Request | httpx2.Response)}


async def test_a_stream_does_not_hold_what_it_was_asked_with(provider: Provider, server: ProviderServer) -> None:
    """It lasts for minutes, and the SDK's request and response are 12 KiB."""
    server.script = Script(text=TEXT, gate_after=9)
    before = find_exchanges()
    async with aclosing(provider.stream(PROMPT)) as batches:
        await anext(batches)
        assert find_exchanges() <= before


async def test_the_request_carries_the_prompt_and_the_key(
    name: str, provider: Provider, server: ProviderServer
) -> None:
    await hear(provider, replace(PROMPT, max_output_tokens=77))
    body = server.requests[0].body
    turns = [(turn["role"], turn["content"]) for turn in body.get("messages") or body["input"]]
    if name != "openai":
        turns.insert(0, ("system", body["system" if name == "anthropic" else "instructions"]))
    assert turns == [(turn.role, turn.content) for turn in PROMPT.turns]
    assert (body["model"], body["stream"]) == ("test-model", True)
    assert 77 in (body.get("max_tokens"), body.get("max_completion_tokens"), body.get("max_output_tokens"))


async def test_text_is_given_out_while_the_rest_is_still_to_come(provider: Provider, server: ProviderServer) -> None:
    server.script = Script(text=TEXT, gate_after=9)

    async def go_on(text: str) -> None:
        if text == TEXT[:9]:
            server.release()

    assert (await hear(provider, each=go_on)).text == TEXT


async def test_usage_is_told_and_the_last_one_is_the_total(provider: Provider, server: ProviderServer) -> None:
    usage = Usage(input_tokens=1200, output_tokens=340, cached_tokens=1000, reasoning_tokens=128)
    server.script = Script(usage=usage)
    heard = await hear(provider)
    assert heard.usage == usage
    after_finish = heard.events[[type(event) for event in heard.events].index(Finish) + 1 :]
    assert len(after_finish) <= 1


async def test_an_answer_without_a_usage_report_has_no_usage(provider: Provider, server: ProviderServer) -> None:
    server.script = Script(text=TEXT, no_usage=True)
    heard = await hear(provider)
    assert (heard.text, heard.usage, heard.finishes) == (TEXT, None, ["stop"])


@pytest.mark.parametrize("reason", ["stop", "length", "content_filter", "tool_calls"])
async def test_the_finish_reason_is_the_providers(
    name: str, provider: Provider, server: ProviderServer, reason: FinishReason
) -> None:
    is_of_calls = name == "responses" and reason == "tool_calls"  # its calls alone say that it waits for tools
    server.script = Script(text=TEXT, finish_reason=reason)
    heard = await hear(provider)
    assert (heard.error, heard.text, heard.finishes) == (None, TEXT, ["stop" if is_of_calls else reason])


async def test_an_empty_answer_is_a_finish_alone(provider: Provider, server: ProviderServer) -> None:
    server.script = Script(text="")
    heard = await hear(provider)
    assert (heard.error, heard.kinds) == (None, ["Finish"])


# Exact text


@pytest.mark.parametrize("http_chunk_size", [1, 2, 3, 5, 7, 16, 61, 509])
async def test_text_is_exact_wherever_the_network_cuts_it(
    provider: Provider, server: ProviderServer, http_chunk_size: int
) -> None:
    server.script = Script(text=NASTY, http_chunk_size=http_chunk_size, chunk_size=40)
    heard = await hear(provider)
    assert (heard.error, heard.text, heard.finishes) == (None, NASTY, ["stop"])


@pytest.mark.parametrize(
    "manner",
    [
        pytest.param({"chunk_size": 1}, id="a character at a time"),
        pytest.param({"escape_non_ascii": True}, id="as JSON escapes"),
        pytest.param({"split_surrogates": True}, id="emoji in halves"),
        pytest.param({"split_surrogates": True, "http_chunk_size": 7}, id="emoji in halves, cut small"),
        pytest.param({"crlf": True}, id="with CRLF"),
        pytest.param({"crlf": True, "http_chunk_size": 1, "chunk_size": 40}, id="with CRLF, cut small"),
        pytest.param({"gather_writes": True}, id="all at once"),
        pytest.param({"gzipped": True}, id="gzipped"),
        pytest.param({"delay_between": 0.001, "ping_interval": 0.0005}, id="with pings between"),
    ],
)
async def test_text_is_exact_however_it_is_sent(
    provider: Provider, server: ProviderServer, manner: dict[str, Any]
) -> None:
    server.script = replace(Script(text=NASTY, reasoning=NASTY), **manner)
    heard = await hear(provider)
    assert (heard.text, heard.reasoning, heard.finishes) == (NASTY, NASTY, ["stop"])


async def test_characters_that_no_database_can_store_are_replaced(provider: Provider, server: ProviderServer) -> None:
    server.script = Script(chunks=("a\x00b", "\ud800c", "d\udfff", "e\ud83d"))
    assert (await hear(provider)).text == "a\ufffdb\ufffdcd\ufffde\ufffd"


# After the end


@pytest.mark.parametrize("fault", ["drop", "malformed", "error", "eof", "long_line"])
async def test_nothing_is_raised_after_the_finish(provider: Provider, server: ProviderServer, fault: Any) -> None:
    server.script = Script(text=TEXT, after_finish=fault, long_line=9_000_000 if fault == "long_line" else 0)
    heard = await hear(provider)
    assert (heard.error, heard.text, heard.finishes) == (None, TEXT, ["stop"])


async def test_a_stream_that_hangs_after_its_end_does_not_hang_its_reader(
    provider: Provider, server: ProviderServer
) -> None:
    server.script = Script(text=TEXT, hang_at_end=True)
    started = monotonic()
    heard = await hear(provider)
    assert (heard.error, heard.text, heard.finishes) == (None, TEXT, ["stop"])
    assert heard.usage == server.script.usage
    assert monotonic() - started < 5
    await server.wait_until_closed(server.requests[0])


async def test_usage_that_never_comes_is_not_waited_for_long(provider: Provider, server: ProviderServer) -> None:
    server.script = Script(text=TEXT, after_finish="stall")
    started = monotonic()
    heard = await hear(provider)
    assert (heard.error, heard.text, heard.finishes) == (None, TEXT, ["stop"])
    assert monotonic() - started < 5


# Closing

SILENCES = [
    pytest.param(Script(text=TEXT, delay_headers=60), id="before the headers"),
    pytest.param(Script(text=TEXT, stall_after=0), id="before the first token"),
    pytest.param(Script(text=TEXT, stall_after=AFTER), id="in a stall"),
    pytest.param(Script(text=TEXT, stall_after=AFTER, ping_interval=0.01), id="in a stall with pings"),
    pytest.param(Script(text=TEXT, delay_between=0.01, stall_after=len(TEXT)), id="in mid-stream"),
]


@pytest.mark.parametrize("script", SILENCES)
async def test_a_cancelled_reader_closes_the_upstream_connection(
    provider: Provider, server: ProviderServer, script: Script
) -> None:
    server.script = script
    reading = asyncio.create_task(hear(provider))
    request = await server.wait_for_requests(1)
    await server.wait_until(lambda: script.delay_headers > 0 or request.is_paused or request.sent_characters > 10)
    cancelled = monotonic()
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert await server.wait_until_closed(request) - cancelled < CLOSES_WITHIN


async def test_closing_the_generator_closes_the_upstream_connection(provider: Provider, server: ProviderServer) -> None:
    server.script = Script(text=TEXT, stall_after=AFTER)
    batches = provider.stream(PROMPT)
    await anext(batches)
    closing = monotonic()
    await batches.aclose()
    assert await server.wait_until_closed(server.requests[0]) - closing < CLOSES_WITHIN


async def test_closing_one_stream_leaves_the_others_alone(provider: Provider, server: ProviderServer) -> None:
    server.script = Script(text=TEXT, gate_after=AFTER)
    closed, kept = provider.stream(PROMPT), asyncio.create_task(hear(provider))
    await anext(closed)
    await server.wait_for_requests(2)
    await closed.aclose()
    server.release()
    assert (await kept).text == TEXT


@pytest.mark.parametrize(("script", "code"), [*REFUSALS, *FAULTS])
async def test_a_failure_leaves_no_connection_in_use(
    provider: Provider, server: ProviderServer, script: Script, code: str
) -> None:
    server.enqueue(replace(script, text=TEXT))
    assert get_failure(await hear(provider)).code == code
    assert (await hear(provider)).finishes == ["stop"]
    await server.wait_until(lambda: server.open_connections <= 1)


async def test_a_closed_provider_leaves_no_connection_open(make: Make, server: ProviderServer) -> None:
    provider = make()
    await hear(provider)
    await provider.aclose()
    await server.wait_until(lambda: server.open_connections == 0)


# Many


@pytest.mark.parametrize("delay_end", [0, 0.005], ids=["", "whose end comes apart"])
async def test_answers_one_after_the_other_share_one_connection(
    provider: Provider, server: ProviderServer, delay_end: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "REUSE_WAIT", PATIENCE)  # a busy machine stands still for longer than the 50 ms
    server.script = Script(text=TEXT, delay_end=delay_end)
    for _ in range(5):
        assert (await hear(provider)).finishes == ["stop"]
    assert len({request.peer for request in server.requests}) == 1


async def test_150_answers_at_once_are_all_under_way_and_all_end(provider: Provider, server: ProviderServer) -> None:
    server.script = Script(text=TEXT, gate_after=AFTER)
    readers = [asyncio.create_task(hear(provider)) for _ in range(150)]
    await server.wait_until(lambda: sum(request.is_paused for request in server.requests) == 150, PATIENCE)
    server.release()
    assert {(heard.text, *heard.finishes) for heard in await asyncio.gather(*readers)} == {(TEXT, "stop")}
