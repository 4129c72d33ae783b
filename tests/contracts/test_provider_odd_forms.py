"""What does not matter to the text never costs the text, however odd its form is."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from chat.providers.base import Provider
from tests.contracts.hearing import ANTHROPIC, DROPS, OPENAI, Make, complete, get_failure, hear
from tests.provider_server import ProviderServer, Script
from tests.support.odd_answers import (
    end_message,
    make_chunk,
    open_answer,
    write_anthropic_events,
    write_openai_events,
    write_stream,
    write_text,
)


@OPENAI
async def test_content_may_be_a_list_of_parts(provider: Provider, server: ProviderServer) -> None:
    parts: list[Any] = [
        [{"type": "thinking", "thinking": [{"type": "text", "text": "Okay. "}], "closed": True}],
        [{"type": "reference", "reference_ids": [1]}, {"type": "text", "text": "Hello "}, None, 7],
        "world",
        [".", {"type": "image_url", "image_url": "x"}],
        {"type": "text", "text": " Bye."},
    ]
    server.script = Script(raw=write_openai_events(*map(make_chunk, parts), make_chunk(reason="stop")))
    heard = await hear(provider)
    assert (heard.error, heard.reasoning, heard.text) == (None, "Okay. ", "Hello world. Bye.")
    body = {"choices": [{"message": {"content": [*parts[0], *parts[1], *parts[3]]}, "finish_reason": "stop"}]}
    server.script = Script(raw=json.dumps(body), raw_type="application/json")
    heard = await complete(provider)
    assert (heard.error, heard.reasoning, heard.text) == (None, "Okay. ", "Hello .")


@OPENAI
@pytest.mark.parametrize(
    "odd",
    [
        {"choices": [{"index": "0", "delta": {"content": "b"}}]},
        {"choices": [{"index": None, "delta": {"content": "b", "role": 5}}], "id": {}, "created": "now"},
        {"choices": [{"index": 0, "delta": {"content": "b"}, "logprobs": "none", "finish_reason": ""}]},
        {"choices": [{"delta": {"content": "b"}}], "usage": {"prompt_tokens": "20", "completion_tokens": [1]}},
        {"choices": [{"delta": {"content": "b", "tool_calls": {}}}], "usage": "none", "error": None},
        {"choices": {"index": 0, "delta": {"content": "b"}}},
        {"choices": [None, 3, {"delta": {"content": "b"}}]},
        {"choices": [{"delta": {"content": "b", "reasoning": None, "refusal": False}}], "error": {}, "x_groq": []},
    ],
)
async def test_a_bookkeeping_field_of_an_odd_shape_costs_no_text(
    provider: Provider, server: ProviderServer, odd: dict[str, Any]
) -> None:
    deltas: list[Any] = ["", None, [], 0]
    nothing = [make_chunk() | {"choices": [{"delta": delta}]} for delta in deltas]
    server.script = Script(
        raw=write_openai_events(
            make_chunk("a"), odd, *nothing, {"choices": None}, {}, make_chunk("c"), make_chunk(reason="stop")
        )
    )
    heard = await hear(provider)
    assert (heard.error, heard.text, heard.finishes) == (None, "abc", ["stop"])


@ANTHROPIC
@pytest.mark.parametrize("index", ["0", None, [], 0.0, {}, True])
@pytest.mark.parametrize("kind", [None, 5, "", "content_delta"])
async def test_an_anthropic_event_is_known_by_its_name_too(
    provider: Provider, server: ProviderServer, index: Any, kind: Any
) -> None:
    odd = write_anthropic_events(write_text("b", index)).replace(
        '"type": "content_block_delta"', f'"type": {json.dumps(kind)}'
    )
    server.script = Script(
        raw=write_anthropic_events(open_answer(), write_text("a"))
        + odd
        + write_anthropic_events(write_text("c"), *end_message())
    )
    heard = await hear(provider)
    assert (heard.error, heard.text, heard.finishes) == (None, "abc", ["stop"])


async def test_half_a_character_costs_itself_alone(name: str, make: Make, server: ProviderServer) -> None:
    """A server that cuts its bytes, and not its characters, sends what is no UTF-8."""
    server.script = Script(
        raw=write_stream(name, "a\\ud800b\tc", "stop").replace("\\t", "\t").replace("\\\\ud800", "\ud800")
    )
    heard = await hear(make())
    assert heard.error is None
    assert (heard.text[0], heard.text[-3:]) == ("a", "b\tc")


HEARTBEATS = [
    "data: ping\n\n",
    "data:\n\n",
    "data: \n\n",
    ": keep-alive\n\n",
    "event: ping\ndata: {}\n\n",
    'event: ping\ndata: {"type": "ping"}\n\n',
    "event: heartbeat\ndata: now\n\n",
    "data: null\n\n",
    'data: "ping"\n\n',
    "data: 1\n\n",
    "data: {}\n\n",
    "data: [PING]\n\n",
    "id: 7\nretry: 3000\n\n",
    "\n\n\n",
]


@pytest.mark.parametrize("beat", HEARTBEATS)
async def test_a_heartbeat_is_skipped(name: str, provider: Provider, server: ProviderServer, beat: str) -> None:
    events = write_stream(name, "Hi.", "stop").split("\n\n")
    server.script = Script(raw=beat + "".join(f"{event}\n\n{beat}" for event in events if event))
    heard = await hear(provider)
    assert (heard.error, heard.text, heard.finishes) == (None, "Hi.", ["stop"])


@pytest.mark.parametrize("http_chunk_size", [0, 7])
async def test_a_server_that_ignores_that_a_stream_was_asked_for_is_understood(
    provider: Provider, server: ProviderServer, http_chunk_size: int
) -> None:
    server.script = Script(text="Whole. " * 20_000, ignore_stream=True, reasoning="Hm.", http_chunk_size=0)
    heard = await hear(provider)
    assert (heard.error, heard.text, heard.reasoning, heard.finishes) == (None, "Whole. " * 20_000, "Hm.", ["stop"])
    assert heard.usage == server.script.usage
    body = {
        "choices": [{"message": {"content": "Hi."}, "finish_reason": "length"}],
        "content": [{"type": "text", "text": "Hi."}],
        "stop_reason": "max_tokens",
        "output": [{"type": "message", "content": [{"type": "output_text", "text": "Hi."}]}],
        "incomplete_details": {"reason": "max_output_tokens"},
    }
    server.script = Script(raw="\n \n" + json.dumps(body), http_chunk_size=http_chunk_size)
    heard = await hear(provider)
    assert (heard.error, heard.text, heard.finishes) == (None, "Hi.", ["length"])
    assert len(server.requests) == 2


async def test_a_server_that_streams_though_nobody_asked_for_it_is_understood(
    name: str, provider: Provider, server: ProviderServer
) -> None:
    """Unsloth, mini-sglang, 9router and others do where `stream` is left out."""
    for reason in ("stop", "length"):
        server.script = Script(raw=": ping\n\n" + write_stream(name, "Hi. é", reason))
        heard = await complete(provider)
        assert (heard.error, heard.text, heard.finishes) == (None, "Hi. é", [reason])
        assert [type(event).__name__ for event in heard.events].count("Usage") <= 1
    server.script = replace(server.script, raw=f"data: {json.dumps({'error': {'message': 'slow', 'code': 429}})}\n\n")
    assert get_failure(await complete(provider)).code == "rate_limited"
    server.script = replace(server.script, raw=write_stream(name, "Hi.", "stop").partition("\n\n")[0] + "\n\n")
    assert get_failure(await complete(provider)).code == "upstream_error"


@pytest.mark.parametrize("ask", [hear, complete])
@pytest.mark.parametrize("blanks", ["", "\r\ndata: \r\ndata: "])
async def test_an_event_may_have_its_name_twice(
    name: str, provider: Provider, server: ProviderServer, blanks: str, ask: Any
) -> None:
    """So sse-starlette writes what is an event already."""
    lines = [line for line in write_stream(name, "Hi.", "stop").split("\n") if line.startswith("data: ")]
    server.script = Script(raw="".join(f"data: {line}{blanks}\r\n\r\n" for line in lines))
    heard = await ask(provider)
    assert (heard.error, heard.text, heard.finishes) == (None, "Hi.", ["stop"])


@OPENAI
@pytest.mark.parametrize("end", ["data: [DONE]\n\n", "\n\ndata: [DONE]\n\n", "\ndata:[DONE]"])
@pytest.mark.parametrize("ask", [hear, complete])
async def test_an_end_marker_behind_a_whole_answer_costs_nothing(
    provider: Provider, server: ProviderServer, end: str, ask: Any
) -> None:
    body = {"choices": [{"message": {"content": "Hi."}, "finish_reason": "stop"}]}
    server.script = Script(raw=json.dumps(body) + end)
    heard = await ask(provider)
    assert (heard.error, heard.text, heard.finishes) == (None, "Hi.", ["stop"])


@pytest.mark.parametrize("drop", DROPS)
async def test_half_a_json_body_is_no_answer(provider: Provider, server: ProviderServer, drop: Script) -> None:
    body = json.dumps({"choices": [{"message": {"content": "Hi."}, "finish_reason": "stop"}]})
    server.script = replace(drop, raw=body, drop_after=len(body) - 4)
    assert get_failure(await hear(provider)).code == "upstream_error"
