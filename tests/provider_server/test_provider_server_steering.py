"""What a test tells the provider server, and what it sees of its clients."""

from __future__ import annotations

from time import monotonic

import pytest

from tests.provider_server import ProviderServer, Script
from tests.provider_server.directives import NASTY, apply_directives
from tests.support.raw import STREAMED, Raw

TEXT = "Blue light is scattered."


async def test_scripts_are_answered_in_their_order_and_then_the_default(raw: Raw, provider: ProviderServer) -> None:
    provider.script = Script(text="third")
    provider.enqueue(Script(text="first"), Script(status=500))
    answers = []
    for _ in range(3):
        await raw.ask({**STREAMED, "stream": False})
        answers.append(await raw.read_response())
    assert [status for status, _ in answers] == [200, 500, 200]
    assert b'"first"' in answers[0][1]
    assert b'"third"' in answers[2][1]


async def test_a_gate_holds_the_stream_until_its_release(raw: Raw, provider: ProviderServer) -> None:
    provider.script = Script(text=TEXT, gate_after=(4, 8))
    await raw.ask(STREAMED)
    request = await provider.wait_for_requests(1)
    for characters in (4, 8):
        await provider.wait_until_paused(request)
        assert request.sent_characters == characters
        provider.release()
        await provider.wait_until(lambda: not request.is_paused or request.sent_characters > characters)  # noqa: B023
    await raw.read_until(b"[DONE]")


async def test_a_release_before_the_gate_counts(raw: Raw, provider: ProviderServer) -> None:
    provider.script = Script(text=TEXT, delay_first=0.05, gate_after=4)
    await raw.ask(STREAMED)
    await provider.wait_for_requests(1)
    provider.release()
    await raw.read_until(b"[DONE]")


async def test_hold_stops_every_stream_at_its_next_delta(raw: Raw, provider: ProviderServer) -> None:
    provider.hold()
    await raw.ask(STREAMED)
    request = await provider.wait_for_requests(1)
    await provider.wait_until_paused(request)
    assert request.sent_characters == 0
    provider.release()
    await raw.read_until(b"[DONE]")


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(Script(delay_headers=60), id="before the headers"),
        pytest.param(Script(stall_after=0), id="before the first token"),
        pytest.param(Script(stall_after=9), id="in a stall"),
        pytest.param(Script(gate_after=9), id="at a gate"),
        pytest.param(Script(hang_at_end=True), id="after the end"),
        pytest.param(Script(long_line=500_000_000), id="when it reads no more"),
    ],
)
@pytest.mark.parametrize("how", ["close", "reset"])
async def test_a_client_that_leaves_is_noticed_at_once(
    raw: Raw, provider: ProviderServer, script: Script, how: str
) -> None:
    provider.script = script
    await raw.ask(STREAMED)
    request = await provider.wait_for_requests(1)
    await provider.wait_until(lambda: request.is_paused or script.delay_headers > 0 or request.sent_bytes > 100_000)
    left = monotonic()
    if how == "close":
        raw.writer.close()
    else:
        raw.writer.transport.abort()
    assert await provider.wait_until_closed(request) - left < 0.2


async def test_a_client_that_leaves_between_two_answers_has_closed_neither(raw: Raw, provider: ProviderServer) -> None:
    await raw.ask(STREAMED)
    await raw.read_until(b"0\r\n\r\n")
    raw.writer.close()
    await provider.wait_until(lambda: provider.open_connections == 0)
    request = provider.requests[0]
    assert (request.closed_at, request.finished_at is None) == (None, False)


async def test_requests_of_one_connection_have_one_peer(raw: Raw, provider: ProviderServer) -> None:
    for _ in range(2):
        await raw.ask(STREAMED)
        await raw.read_until(b"0\r\n\r\n")
    first, second = provider.requests
    assert first.peer == second.peer
    assert first.prompt == "Why?"


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("Why is the sky blue?", None),
        ('Please {"text": "Hi", "stall_after": 1}!', Script(text="Hi", stall_after=1)),
        (
            "Please [stall_after 7] [ping_interval 0.5] [hang_at_end]",
            Script(stall_after=7, ping_interval=0.5, hang_at_end=True),
        ),
        ("Say [text good morning] [delay_between=0.05]", Script(text="good morning", delay_between=0.05)),
        ("[rate_limited]", Script(status=429, retry_after=2)),
        ("[unicode] [drop_after: 3]", Script(text=NASTY, drop_after=3)),
        ("A [link](x), a list [1, 2], and {braces}", None),
        ('{"weather": "fine"}', None),
    ],
)
def test_a_message_may_direct_the_answer(message: str, expected: Script | None) -> None:
    assert apply_directives(message, Script()) == expected


async def test_the_last_user_message_directs(raw: Raw, provider: ProviderServer) -> None:
    messages = [
        {"role": "user", "content": "[status 500]"},
        {"role": "assistant", "content": "[status 502]"},
        {"role": "user", "content": [{"type": "text", "text": "[status 503]"}]},
    ]
    await raw.ask({**STREAMED, "messages": messages})
    assert b" 503 " in await raw.read_until(b"\r\n")
