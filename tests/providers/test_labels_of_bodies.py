"""A body is what its bytes are: a label that is wrong, or says nothing, costs no answer and no code."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest

from chat.providers.openai_provider import OpenAIProvider
from tests.contracts.hearing import KEY, PROMPT, Heard, complete, get_failure, hear
from tests.support.odd_answers import make_chunk, write_openai_events
from tests.support.packed_server import PackedServer

STREAM = write_openai_events(make_chunk("Hi."), make_chunk(reason="stop")).encode()
WHOLE = json.dumps({"choices": [{"message": {"content": "Hi."}, "finish_reason": "stop"}]}).encode()
TOO_LONG = json.dumps({"error": {"message": "prompt is too long"}}).encode()
HTML = "text/html; charset=utf-8"


async def ask_server(server: PackedServer, ask: Any = hear) -> Heard:
    async with server:
        provider = OpenAIProvider(api_key=KEY, base_url=server.url, api="chat")
        try:
            heard: Heard = await ask(provider, PROMPT)
        finally:
            await provider.aclose()
    return heard


@pytest.mark.parametrize("encoding", ["none", "", "utf-8", "Identity", "identity, identity", "chunked"])
async def test_a_content_encoding_that_names_no_packing_changes_nothing(encoding: str) -> None:
    heard = await ask_server(PackedServer(STREAM, 200, encoding))
    assert (heard.error, heard.text, heard.finishes) == (None, "Hi.", ["stop"])
    assert get_failure(await ask_server(PackedServer(TOO_LONG, 400, encoding))).code == "context_length"


@pytest.mark.parametrize("encoding", ["gzip, identity", "identity,gzip", "gzip,"])
async def test_a_packing_beside_such_a_word_is_unpacked(encoding: str) -> None:
    heard = await ask_server(PackedServer(gzip.compress(STREAM), 200, encoding))
    assert (heard.error, heard.text) == (None, "Hi.")


@pytest.mark.parametrize(("status", "code"), [(429, "rate_limited"), (401, "auth_failed"), (503, "upstream_error")])
async def test_of_an_error_in_an_unknown_packing_the_status_is_left(status: int, code: str) -> None:
    failure = get_failure(await ask_server(PackedServer(b"\x0b\x02\x80", status, "br")))
    assert (failure.code, failure.may_pass) == (code, True)


@pytest.mark.parametrize(("ask", "body"), [(hear, STREAM), (hear, WHOLE), (complete, WHOLE), (complete, STREAM)])
async def test_an_answer_that_is_labelled_as_a_page_is_an_answer(ask: Any, body: bytes) -> None:
    """Flask labels whatever it streams so, unless it is told otherwise."""
    heard = await ask_server(PackedServer(body, 200, "identity", HTML), ask)
    assert (heard.error, heard.text, heard.finishes) == (None, "Hi.", ["stop"])


@pytest.mark.parametrize("ask", [hear, complete])
async def test_a_page_is_a_page(ask: Any) -> None:
    failure = get_failure(await ask_server(PackedServer(b"\n<html>Log in</html>", 200, "identity", HTML), ask))
    assert (failure.code, failure.detail) == ("upstream_error", "answered with a web page")
