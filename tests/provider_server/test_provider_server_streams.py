"""How the provider server sends a stream, and the ways in which it breaks one."""

from __future__ import annotations

from time import monotonic

import pytest

from tests.provider_server import ProviderServer, Script
from tests.support.frames import encode_openai_frames
from tests.support.raw import PATIENCE, STREAMED, Raw

TEXT = "Blue light is scattered."


async def test_each_piece_of_a_split_stream_is_a_chunk_of_its_own(raw: Raw, provider: ProviderServer) -> None:
    provider.script = Script(text="é", http_chunk_size=3)
    await raw.ask(STREAMED)
    head, _, body = (await raw.read_until(b"0\r\n\r\n")).partition(b"\r\n\r\n")
    assert b"content-type: text/event-stream" in head
    pieces = body.removesuffix(b"0\r\n\r\n").split(b"\r\n")[1::2]
    assert b"".join(pieces) == b"".join(encode_openai_frames(provider.script))
    assert {len(piece) for piece in pieces} <= {1, 2, 3}


async def test_lines_may_end_in_crlf(raw: Raw, provider: ProviderServer) -> None:
    provider.script = Script(text="a", crlf=True)
    await raw.ask(STREAMED)
    assert b"data: [DONE]\r\n\r\n" in await raw.read_until(b"0\r\n\r\n")


async def test_deltas_keep_their_pace(raw: Raw, provider: ProviderServer) -> None:
    provider.script = Script(text="abcde", chunk_size=1, delay_first=0.1, delay_between=0.02)
    started = monotonic()
    await raw.ask(STREAMED)
    await raw.read_until(b"[DONE]")
    assert 0.18 <= monotonic() - started < PATIENCE


async def test_a_clean_eof_ends_the_body_and_not_the_answer(raw: Raw, provider: ProviderServer) -> None:
    provider.script = Script(text=TEXT, eof_after=5)
    await raw.ask(STREAMED)
    body = await raw.read_until(b"0\r\n\r\n")
    assert b"[DONE]" not in body
    assert provider.requests[0].sent_characters == 5


async def test_a_drop_by_reset_breaks_a_chunk(raw: Raw, provider: ProviderServer) -> None:
    provider.script = Script(text=TEXT, drop_after=5)
    await raw.ask(STREAMED)
    with pytest.raises(ConnectionResetError):
        await raw.to_the_end()


async def test_a_drop_by_close_breaks_a_chunk(raw: Raw, provider: ProviderServer) -> None:
    provider.script = Script(text=TEXT, drop_after=5, drop_by="close")
    await raw.ask(STREAMED)
    _, _, body = (await raw.to_the_end()).partition(b"\r\n\r\n")
    *_, size, rest = body.split(b"\r\n")
    assert 0 < len(rest) < int(size, 16)


async def test_after_malformed_json_the_stream_goes_on(raw: Raw, provider: ProviderServer) -> None:
    provider.script = Script(text=TEXT, malformed_json_after=5)
    await raw.ask(STREAMED)
    events = (await raw.read_until(b"[DONE]")).split(b"data: ")[1:-1]
    broken = [event for event in events if not event.partition(b"\n")[0].endswith(b"}")]
    assert len(broken) == 1


@pytest.mark.parametrize(
    ("path", "event"),
    [
        ("/v1/chat/completions", b'data: {"error":{"message":"Slow down","type":"overloaded_error"'),
        ("/v1/messages", b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"Slow'),
    ],
)
async def test_an_error_ends_the_stream(raw: Raw, provider: ProviderServer, path: str, event: bytes) -> None:
    provider.script = Script(error_event_after=5, error_type="overloaded_error", error_message="Slow down")
    await raw.ask(STREAMED, path)
    assert event in await raw.read_until(b"0\r\n\r\n")


async def test_pings_go_on_during_a_stall(raw: Raw, provider: ProviderServer) -> None:
    provider.script = Script(stall_after=5, ping_interval=0.01)
    await raw.ask(STREAMED, "/v1/messages")
    for _ in range(4):
        await raw.read_until(b'event: ping\ndata: {"type": "ping"}\n\n')


async def test_a_stall_with_a_duration_ends(raw: Raw, provider: ProviderServer) -> None:
    provider.script = Script(stall_after=5, stall_for=0.01)
    await raw.ask(STREAMED)
    await raw.read_until(b"[DONE]")


async def test_a_long_line_is_as_long_as_asked(raw: Raw, provider: ProviderServer) -> None:
    provider.script = Script(text="", long_line=300_000)
    await raw.ask(STREAMED, headers={"Connection": "close"})
    assert (await raw.to_the_end()).count(b"a" * 1000) >= 250
