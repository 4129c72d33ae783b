"""Whatever a provider sends while its model thinks reaches the reader: a ping, a comment, empty reasoning."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from pathlib import Path

import pytest

from chat.core.events import Token
from chat.providers.base import THINKING, Provider, is_sign_of_life
from tests.contracts.hearing import PATIENCE, PROMPT, TEXT, hear
from tests.provider_server import ProviderServer, Script
from tests.support.waiting import wait_until

ANTHROPIC_THINKS = """\
event: content_block_start
data: {"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}

"""
ANTHROPIC_THINKS_ON = """\
event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":""}}

"""
OPENAI_THINKS = 'data: {"choices":[{"index":0,"delta":{"content":null,"reasoning":""},"finish_reason":null}]}\n\n'


@pytest.mark.parametrize("after", [0, 8])
async def test_each_ping_is_an_empty_batch(provider: Provider, server: ProviderServer, after: int) -> None:
    server.script = Script(text=TEXT, gate_after=after, ping_interval=0.01)
    signs = 0
    async with asyncio.timeout(PATIENCE), aclosing(provider.stream(PROMPT)) as batches:
        async for batch in batches:
            signs += is_sign_of_life(batch)
            if signs == 3:
                break
        server.release()
    assert signs == 3


async def test_signs_of_life_leave_no_trace_in_the_answer(provider: Provider, server: ProviderServer) -> None:
    server.script = Script(text=TEXT, stall_after=8, stall_for=0.1, ping_interval=0.01)
    heard = await hear(provider)
    assert (heard.text, heard.kinds) == (TEXT, ["Token", "Finish"])


@pytest.mark.parametrize(
    ("name", "body"),
    [("anthropic", ANTHROPIC_THINKS), ("anthropic", ANTHROPIC_THINKS_ON), ("openai", OPENAI_THINKS)],
    ids=["a block begins", "an empty delta", "an empty delta of OpenAI's"],
    indirect=["name"],
)
async def test_a_model_that_thinks_in_silence_says_so(provider: Provider, server: ProviderServer, body: str) -> None:
    server.script = Script(raw=body)
    async with asyncio.timeout(PATIENCE), aclosing(provider.stream(PROMPT)) as batches:
        assert list(await anext(batches)) == [THINKING]


TEXT_THEN_THINKS = """\
event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"One"}}

event: content_block_start
data: {"type":"content_block_start","index":1,"content_block":{"type":"server_tool_use","id":"s","name":"web_search"}}

"""


@pytest.mark.parametrize("name", ["anthropic"], indirect=True)
async def test_thinking_after_a_text_is_told_in_the_same_read(provider: Provider, server: ProviderServer) -> None:
    server.script = Script(raw=TEXT_THEN_THINKS, gather_writes=True)
    async with asyncio.timeout(PATIENCE), aclosing(provider.stream(PROMPT)) as batches:
        assert list(await anext(batches)) == [Token("One"), THINKING]


@pytest.mark.parametrize("name", ["anthropic"], indirect=True)
async def test_a_text_after_thinking_is_no_thinking(provider: Provider, server: ProviderServer) -> None:
    server.script = Script(raw=ANTHROPIC_THINKS + TEXT_THEN_THINKS.partition("\n\n")[0] + "\n\n", gather_writes=True)
    async with asyncio.timeout(PATIENCE), aclosing(provider.stream(PROMPT)) as batches:
        assert list(await anext(batches)) == [Token("One")]


KEEPALIVE = 2
"""The state of a connection's timer in /proc/net/tcp that waits for the next probe."""


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="only Linux says which timers a connection has")
async def test_the_kernel_asks_whether_a_silent_server_is_still_there(
    provider: Provider, server: ProviderServer
) -> None:
    server.script = Script(text=TEXT, gate_after=8)
    async with asyncio.timeout(PATIENCE), aclosing(provider.stream(PROMPT)) as batches:
        while is_sign_of_life(await anext(batches)):
            pass
        waiting = asyncio.ensure_future(anext(batches))
        await wait_until(lambda: KEEPALIVE in list_timers(server.port))
        server.release()
        await waiting


def list_timers(port: int) -> list[int]:
    """Return the states of the timers of this machine's connections to a port."""
    connections = [line.split() for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]]
    return [int(fields[5].partition(":")[0], 16) for fields in connections if fields[2].endswith(f":{port:04X}")]
