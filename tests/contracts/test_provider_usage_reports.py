"""The last report of the usage counts, figures do not shrink, and what nobody sent is an estimate."""

from __future__ import annotations

from typing import Any

import pytest

from chat.core.events import Usage
from chat.providers.base import Provider
from tests.contracts.hearing import ANTHROPIC, OPENAI, hear
from tests.provider_server import ProviderServer, Script
from tests.support.odd_answers import (
    end_message,
    end_response,
    make_chunk,
    open_answer,
    write_anthropic_events,
    write_openai_events,
    write_output_text,
    write_stream,
    write_text,
)

# Claude's figures from a gateway, but for the input: Portkey leaves the cache out of that, Bedrock does not.
CLAUDE_BEHIND_A_GATEWAY = {
    "completion_tokens": 9,
    "total_tokens": 809,
    "prompt_tokens_details": {"cached_tokens": 150},
    "cache_read_input_tokens": 150,
    "cache_creation_input_tokens": 50,
}


@OPENAI
@pytest.mark.parametrize(
    ("reports", "usage"),
    [
        pytest.param(
            [{"prompt_tokens": 0, "completion_tokens": 0}, {"prompt_tokens": 20, "completion_tokens": 9}],
            Usage(20, 9),
            id="zeros first",
        ),
        pytest.param(
            [{"prompt_tokens": 20, "completion_tokens": 1}, {"prompt_tokens": 20, "completion_tokens": 9}],
            Usage(20, 9),
            id="running",
        ),
        pytest.param(
            [{"prompt_tokens": 20, "completion_tokens": 9}, {"prompt_tokens": 0, "completion_tokens": 0}],
            Usage(20, 9, estimated=True),  # text came after the only figure
            id="zeros last",
        ),
        pytest.param([None, {"prompt_tokens": "20", "completion_tokens": "9"}], Usage(20, 9), id="strings"),
        pytest.param([None, {"prompt_tokens": 20.0, "completion_tokens": 9.0}], Usage(20, 9), id="floats"),
        pytest.param([None, {"input_tokens": 20, "output_tokens": 9}], Usage(20, 9), id="other names"),
        pytest.param(
            [
                None,
                {
                    "prompt_tokens": 32,
                    "completion_tokens": 9,
                    "total_tokens": 323,
                    "completion_tokens_details": {"reasoning_tokens": 282},
                },
            ],
            Usage(32, 291, reasoning_tokens=282),
            id="xAI",
        ),
        pytest.param(
            [None, {"prompt_tokens": 32, "completion_tokens": 9, "total_tokens": 323, "reasoning_tokens": 282}],
            Usage(32, 291, reasoning_tokens=282),
            id="xAI, flat",
        ),
        pytest.param(
            [
                None,
                {
                    "prompt_tokens": 32,
                    "completion_tokens": 300,
                    "total_tokens": 332,
                    "completion_tokens_details": {"reasoning_tokens": 282},
                },
            ],
            Usage(32, 300, reasoning_tokens=282),
            id="OpenAI",
        ),
        pytest.param(
            [None, {"prompt_tokens": 32, "completion_tokens": 9, "total_tokens": 323}],
            Usage(32, 291, estimated=True),
            id="Gemini",
        ),
        pytest.param(
            [None, {"prompt_tokens": 20, "completion_tokens": 9, "prompt_tokens_details": {"cached_tokens": 30}}],
            Usage(50, 9, cached_tokens=30, estimated=True),
            id="more cached than read",  # Grok behind OpenRouter, new-api: earendil-works/pi#2048
        ),
        pytest.param(
            [
                None,
                {
                    "prompt_tokens": 368,
                    "completion_tokens": 19,
                    "total_tokens": 10_923,
                    "cache_read_input_tokens": 10_536,
                    "cache_creation_input_tokens": 0,
                },
            ],
            Usage(10_904, 19, cached_tokens=10_536),
            id="Claude behind Portkey",  # Portkey-AI/gateway#1211
        ),
        pytest.param(
            [
                {"prompt_tokens": 600},
                {"prompt_tokens": 600, **CLAUDE_BEHIND_A_GATEWAY},
            ],
            Usage(800, 9, cached_tokens=150, written_tokens=50),
            id="less cached than read, behind Portkey",
        ),
        pytest.param(
            [
                None,
                {"prompt_tokens": 800, **CLAUDE_BEHIND_A_GATEWAY},
            ],
            Usage(800, 9, cached_tokens=150, written_tokens=50),
            id="Bedrock behind Portkey, LiteLLM",
        ),
        pytest.param(
            [None, {"prompt_tokens": 20, "completion_tokens": 9, "prompt_cache_hit_tokens": 5}],
            Usage(20, 9, cached_tokens=5),
            id="DeepSeek",
        ),
    ],
)
async def test_the_last_report_counts_and_figures_do_not_shrink(
    provider: Provider, server: ProviderServer, reports: list[Any], usage: Usage
) -> None:
    first, last = reports
    server.script = Script(
        raw=write_openai_events(
            make_chunk("One ", usage=first),
            make_chunk("two."),
            make_chunk(reason="stop"),
            {"choices": [], "usage": last},
        )
    )
    heard = await hear(provider)
    assert (heard.error, heard.text) == (None, "One two.")
    assert heard.usage == usage


@pytest.mark.parametrize("figure", [0, -5, 10**12, 2.5, "many", True, [], {}, None, "NaN", "-1"])
async def test_an_implausible_figure_is_an_estimate(
    name: str, provider: Provider, server: ProviderServer, figure: Any
) -> None:
    if name == "openai":
        usage = {"prompt_tokens": 20, "completion_tokens": figure}
        server.script = Script(
            raw=write_openai_events(make_chunk("12345678"), make_chunk(reason="stop"), {"choices": [], "usage": usage})
        )
    elif name == "responses":
        end = end_response("stop", input_tokens=20, output_tokens=figure)
        server.script = Script(raw=write_anthropic_events(write_output_text("12345678"), end))
    else:
        server.script = Script(
            raw=write_anthropic_events(
                open_answer(input_tokens=20), write_text("12345678"), *end_message(output_tokens=figure)
            )
        )
    heard = await hear(provider)
    assert heard.usage == Usage(20, 2, estimated=True)
    assert (heard.error, heard.text) == (None, "12345678")


@pytest.mark.parametrize("figure", ["NaN", "Infinity", "-Infinity", "1e400"])
async def test_a_figure_that_is_no_number_is_an_estimate(
    name: str, provider: Provider, server: ProviderServer, figure: str
) -> None:
    raw = write_stream(name, "12345678", "stop").replace('"output_tokens": 2', f'"output_tokens": {figure}')
    if name == "openai":
        raw = raw.replace(
            "data: [DONE]", f'data: {{"usage": {{"completion_tokens": {figure}, "prompt_tokens": 3}}}}\n\ndata: [DONE]'
        )
    server.script = Script(raw=raw)
    heard = await hear(provider)
    assert (heard.error, heard.text, heard.usage) == (None, "12345678", Usage(3, 2, estimated=True))


@OPENAI
async def test_figures_where_moonshot_and_groq_have_them(provider: Provider, server: ProviderServer) -> None:
    usage = {"prompt_tokens": 20, "completion_tokens": 9, "cached_tokens": 4}
    last = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop", "usage": usage}]}
    server.script = Script(raw=write_openai_events(make_chunk("Hi."), last))
    assert (await hear(provider)).usage == Usage(20, 9, cached_tokens=4)
    server.script = Script(
        raw=write_openai_events(make_chunk("Hi."), make_chunk(reason="stop", x_groq={"usage": usage}))
    )
    assert (await hear(provider)).usage == Usage(20, 9, cached_tokens=4)


@ANTHROPIC
async def test_zeros_in_the_last_report_do_not_erase_the_cache(provider: Provider, server: ProviderServer) -> None:
    start = open_answer(input_tokens=472, cache_read_input_tokens=100, cache_creation_input_tokens=20, output_tokens=1)
    end = end_message(input_tokens=0, cache_read_input_tokens=0, cache_creation_input_tokens=0, output_tokens=7)
    server.script = Script(raw=write_anthropic_events(start, write_text("Hi."), *end))
    assert (await hear(provider)).usage == Usage(592, 7, cached_tokens=100, written_tokens=20)


@ANTHROPIC
async def test_an_input_that_comes_late_counts(provider: Provider, server: ProviderServer) -> None:
    server.script = Script(
        raw=write_anthropic_events(open_answer(input_tokens=0), write_text("Hi."), *end_message(input_tokens=40))
    )
    assert (await hear(provider)).usage == Usage(40, 2)


@ANTHROPIC
async def test_the_output_that_a_message_begins_with_is_no_report(provider: Provider, server: ProviderServer) -> None:
    end: list[dict[str, Any]] = [
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}},
        {"type": "message_stop"},
    ]
    server.script = Script(
        raw=write_anthropic_events(open_answer(input_tokens=20, output_tokens=1), write_text("12345678"), *end)
    )
    assert (await hear(provider)).usage == Usage(20, 2, estimated=True)
