"""What stands beside the member `error` counts: many servers have no more than the status in words there."""

from __future__ import annotations

import json
from typing import Any

import pytest

from chat.providers.openai_provider import OpenAIProvider
from tests.contracts.hearing import KEY, PROMPT, complete, get_failure, hear
from tests.support.packed_server import PackedServer

LONG = "This model's maximum context length is 8192 tokens, and your request has 9000."


@pytest.mark.parametrize("ask", [hear, complete])
@pytest.mark.parametrize(
    ("body", "code"),
    [
        pytest.param({"statusCode": 400, "error": "Bad Request", "message": LONG}, "context_length", id="NestJS"),
        pytest.param(
            {"status": 400, "error": "Bad Request", "message": LONG, "path": "/v1"}, "context_length", id="Spring"
        ),
        pytest.param({"error": True, "message": LONG}, "context_length", id="a flag"),
        pytest.param({"error": None, "message": "insufficient balance"}, "provider_budget", id="null"),
        pytest.param({"error": "Bad Request", "code": "content_filter"}, "content_filter", id="a code beside it"),
        pytest.param({"error": "Validation failed", "details": [LONG]}, "context_length", id="details"),
        pytest.param({"error": {"message": LONG}}, "context_length", id="OpenAI"),
        pytest.param([{"error": {"message": LONG, "status": "INVALID_ARGUMENT"}}], "context_length", id="Google"),
    ],
)
async def test_the_words_beside_an_error_give_its_code(ask: Any, body: Any, code: str) -> None:
    async with PackedServer(json.dumps(body).encode(), 400, "identity", "application/json") as server:
        provider = OpenAIProvider(api_key=KEY, base_url=server.url, api="chat")
        failure = get_failure(await ask(provider, PROMPT))
        await provider.aclose()
    assert failure.code == code
