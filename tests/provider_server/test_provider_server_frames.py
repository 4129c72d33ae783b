"""What the provider server writes is what the providers write, byte for byte."""

from __future__ import annotations

from typing import Any

import pytest

from chat.core.events import Usage
from tests.provider_server import Call, Script
from tests.provider_server.anthropic import AnthropicWire
from tests.provider_server.openai import OpenAIWire
from tests.provider_server.script import Delta
from tests.support.frames import encode_openai_frames

USAGE = Usage(input_tokens=9, output_tokens=5, cached_tokens=4, reasoning_tokens=2)

OPENAI_HEAD = (
    b'data: {"id":"chatcmpl-C9xkQ2mV7bTgH3rLpW8sYdNfZ0aJu","object":"chat.completion.chunk","created":1760000000,'
    b'"model":"m","service_tier":"default","system_fingerprint":"fp_560af6e559",'
)
ANTHROPIC_DELTA = b"event: content_block_delta\ndata: "


def encode_anthropic_frames(script: Script) -> list[bytes]:
    return [frame.data for frame in AnthropicWire(script, {"model": "m"}).write_frames()]


def make_choice(delta: bytes, finish_reason: bytes = b"null", rest: bytes = b"") -> bytes:
    before = b'"choices":[{"index":0,"delta":' + delta
    return OPENAI_HEAD + before + b',"logprobs":null,"finish_reason":' + finish_reason + b"}]" + rest + b"}\n\n"


def test_an_answer_is_written_as_openais_chunks() -> None:
    assert encode_openai_frames(Script(chunks=("Hé", "llo"))) == [
        make_choice(b'{"role":"assistant","content":"","refusal":null}'),
        make_choice('{"content":"Hé"}'.encode()),
        make_choice(b'{"content":"llo"}'),
        make_choice(b"{}", b'"stop"'),
        b"data: [DONE]\n\n",
    ]


def test_openais_usage_comes_in_a_chunk_of_its_own_and_is_null_in_the_others() -> None:
    frames = encode_openai_frames(Script(text="a", usage=USAGE), stream_options={"include_usage": True})
    assert frames[1] == make_choice(b'{"content":"a"}', rest=b',"usage":null')
    assert frames[-2] == OPENAI_HEAD + (
        b'"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":5,"total_tokens":14,'
        b'"prompt_tokens_details":{"cached_tokens":4,"audio_tokens":0},'
        b'"completion_tokens_details":{"reasoning_tokens":2,"audio_tokens":0,'
        b'"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}}}\n\n'
    )


def test_openais_tool_call_begins_with_its_name_and_goes_on_with_arguments() -> None:
    frames = encode_openai_frames(Script(text="", tool_calls=[Call("f", '{"a":1}', "call_a")], chunk_size=4))
    assert frames[1:5] == [
        make_choice(
            b'{"tool_calls":[{"index":0,"id":"call_a","type":"function","function":{"name":"f","arguments":""}}]}'
        ),
        make_choice(rb'{"tool_calls":[{"index":0,"function":{"arguments":"{\"a\""}}]}'),
        make_choice(b'{"tool_calls":[{"index":0,"function":{"arguments":":1}"}}]}'),
        make_choice(b"{}", b'"tool_calls"'),
    ]


def test_an_answer_is_written_as_anthropics_events() -> None:
    assert encode_anthropic_frames(Script(chunks=("Hé", "llo"), usage=USAGE)) == [
        b'event: message_start\ndata: {"type":"message_start","message":{"model":"m",'
        b'"id":"msg_01XFDUDYJgAACzvnptvVoYEL","type":"message","role":"assistant","content":[],"stop_reason":null,'
        b'"stop_sequence":null,"usage":{"input_tokens":5,"cache_creation_input_tokens":0,"cache_read_input_tokens":4,'
        b'"cache_creation":{"ephemeral_5m_input_tokens":0,"ephemeral_1h_input_tokens":0},"output_tokens":1,'
        b'"service_tier":"standard"}}}\n\n',
        b"event: content_block_start\n"
        b'data: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}\n\n',
        b'event: ping\ndata: {"type": "ping"}\n\n',
        ANTHROPIC_DELTA
        + '{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hé"}}\n\n'.encode(),
        ANTHROPIC_DELTA + b'{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"llo"}}\n\n',
        b'event: content_block_stop\ndata: {"type":"content_block_stop","index":0}\n\n',
        b'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},'
        b'"usage":{"input_tokens":5,"cache_creation_input_tokens":0,"cache_read_input_tokens":4,"output_tokens":5,'
        b'"output_tokens_details":{"thinking_tokens":2}}}\n\n',
        b'event: message_stop\ndata: {"type":"message_stop"}\n\n',
    ]


@pytest.mark.parametrize(
    ("wire", "body"),
    [
        (
            OpenAIWire,
            {
                "message": "This model's maximum context length is 128000 tokens. However, your messages resulted in "
                "130172 tokens. Please reduce the length of the messages.",
                "type": "invalid_request_error",
                "param": "messages",
                "code": "context_length_exceeded",
            },
        ),
        (
            AnthropicWire,
            {"type": "invalid_request_error", "message": "prompt is too long: 203456 tokens > 200000 maximum"},
        ),
    ],
)
def test_a_refusal_is_in_the_providers_own_words(wire: type[OpenAIWire | AnthropicWire], body: dict[str, Any]) -> None:
    answer = wire(Script(context_length=True), {"model": "m"})
    assert answer.make_refusal().status == 400
    assert wire.build_error_body(answer.make_refusal())["error"] == body


@pytest.mark.parametrize(
    ("script", "deltas"),
    [
        (Script(text="abcdef", chunk_size=4), [Delta("abcd", 4), Delta("ef", 2)]),
        (Script(text="abcdef", chunk_size=4, drop_after=3), [Delta("abc", 3), Delta("d", 1), Delta("ef", 2)]),
        (Script(chunks=("ab", "cd"), gate_after=(1, 2, 3)), [Delta(letter, 1) for letter in "abcd"]),
        (Script(text="a😀b", split_surrogates=True), [Delta("a\ud83d", 2), Delta("\ude00b", 1)]),
        (Script(text=""), []),
    ],
)
def test_the_text_is_cut_where_a_fault_is_to_happen(script: Script, deltas: list[Delta]) -> None:
    assert list(script.cut_into_deltas()) == deltas


def test_half_a_surrogate_pair_goes_out_as_an_escape() -> None:
    frames = encode_openai_frames(Script(text="😀é", split_surrogates=True))
    assert frames[1:3] == [make_choice(rb'{"content":"\ud83d"}'), make_choice(rb'{"content":"\ude00' + 'é"}'.encode())]
