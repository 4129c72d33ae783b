"""An error of any form, in a stream or in its place, has its code, and the text before it is kept."""

from __future__ import annotations

import json
from typing import Any

import pytest

from chat.providers.base import Provider
from tests.contracts.hearing import OPENAI, complete, get_failure, hear
from tests.provider_server import ProviderServer, Script
from tests.support.odd_answers import (
    make_chunk,
    open_answer,
    write_anthropic_events,
    write_openai_events,
    write_output_text,
    write_text,
)

ERRORS = [
    (
        {"object": "error", "message": "maximum context length is 4096 tokens", "type": "BadRequestError", "code": 400},
        "context_length",
    ),
    ({"error": "prompt is too long: 9 tokens > 8 maximum"}, "context_length"),
    ({"detail": "The input (12345 tokens) is longer than the model's context length (8192 tokens)."}, "context_length"),
    ({"detail": [{"loc": ["body"], "msg": "prompt is too long"}]}, "context_length"),
    ({"error": {"detail": "prompt is too long"}}, "context_length"),
    ({"error": {"message": "no", "code": "insufficient_quota"}}, "provider_budget"),
    ({"errors": [{"code": 401, "message": "no"}]}, "auth_failed"),
    ({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}, "upstream_error"),
    ({"message": "The engine is overloaded", "code": 503}, "upstream_error"),
    ({"success": False, "message": "too many requests", "code": 429}, "rate_limited"),
    ({"code": "InvalidApiKey", "message": "No API-key provided."}, "auth_failed"),
    ([{"error": {"code": 429, "message": "slow", "status": "RESOURCE_EXHAUSTED"}}], "rate_limited"),
]


@pytest.mark.parametrize(("body", "code"), ERRORS)
@pytest.mark.parametrize("text", ["", "Half an answer"])
async def test_an_error_of_any_form_in_the_stream_has_its_code(
    name: str, provider: Provider, server: ProviderServer, body: Any, code: str, text: str
) -> None:
    begun = {
        "openai": write_openai_events(make_chunk(text), done=False),
        "responses": write_anthropic_events(write_output_text(text)),
        "anthropic": write_anthropic_events(open_answer(), write_text(text)),
    }
    before = begun[name] if text else ""
    server.script = Script(raw=f"{before}data: {json.dumps(body)}\n\n")
    heard = await hear(provider)
    assert (get_failure(heard).code, heard.text) == (code, text)
    assert len(server.requests) == 1


@pytest.mark.parametrize(("body", "code"), ERRORS)
@pytest.mark.parametrize("ask", [hear, complete])
async def test_an_error_of_any_form_as_the_body_has_its_code(
    provider: Provider, server: ProviderServer, body: Any, code: str, ask: Any
) -> None:
    server.script = Script(raw=json.dumps(body), raw_type="application/json")
    assert get_failure(await ask(provider)).code == code
    assert len(server.requests) == 1


@pytest.mark.parametrize("data", ["Internal Server Error", '{"message": "Overloaded"}', "{half"])
async def test_an_event_that_is_called_an_error_is_one(provider: Provider, server: ProviderServer, data: str) -> None:
    server.script = Script(raw=f"event: error\ndata: {data}\n\n")
    assert get_failure(await hear(provider)).code == "upstream_error"


@OPENAI
async def test_text_in_the_chunk_of_an_error_is_kept(provider: Provider, server: ProviderServer) -> None:
    server.script = Script(
        raw=write_openai_events(make_chunk("Half", "error", error={"code": 502, "message": "the provider behind"}))
    )
    heard = await hear(provider)
    assert (get_failure(heard).code, heard.text) == ("upstream_error", "Half")
