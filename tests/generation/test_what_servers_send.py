"""What servers send, seen from the site: one call or several, the code and its sentence, and what is kept."""

from __future__ import annotations

import json
import logging
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import pytest
from pydantic import Field
from pytest_django import Settings

from chat.core.errors import CODES
from chat.generation import upstream_call
from chat.generation.process import get_runner
from chat.models import Message, ProviderCall
from chat.observability import alarms
from chat.providers.registry import Pool
from chat.tools.toolbox import Toolbox
from tests.provider_server import ProviderServer, Script
from tests.support.odd_answers import make_chunk, open_answer, write_anthropic_events, write_openai_events
from tests.support.site import Json, Site

# What is tried here is the same on every database.
pytestmark = pytest.mark.sqlite

OPENAI, ANTHROPIC = "openai:gpt-test", "anthropic:messages-test"


@pytest.fixture
def site(site: Site, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Site:
    settings.CHAT_MAX_RETRIES = 2
    monkeypatch.setattr(upstream_call, "BACKOFF", 0.05)
    monkeypatch.setattr(alarms, "reported_at", {})
    return site


async def list_rows(answer: Json) -> list[tuple[str, str, int, bool]]:
    found = ProviderCall.objects.filter(answer=answer["id"], purpose="answer").order_by("pk")
    return [(row.outcome, row.error_code, row.input_tokens, row.estimated) async for row in found]


def double(number: Annotated[int, Field(description="What to double")]) -> int:
    """Double a number."""
    return 2 * number


# Budgets


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (429, {"error": {"code": "insufficient_quota", "message": "You exceeded your current quota."}}),
        (402, {"error": {"message": "Insufficient Balance"}}),
        (200, {"error": {"code": 402, "message": "This request requires more credits"}}),
    ],
)
async def test_nobody_retries_a_budget_and_an_administrator_is_told_once(
    site: Site,
    provider: ProviderServer,
    model: str,
    status: int,
    body: Json,
    caplog: pytest.LogCaptureFixture,
) -> None:
    raw = json.dumps(body) if status != 200 else f"data: {json.dumps(body)}\n\n"
    provider.script = Script(status=status, raw=raw, raw_type="application/json")
    answers = [await site.ask(model=model) for _ in range(2)]
    assert len(provider.requests) == 2
    for answer in answers:
        assert (answer["status"], answer["error"]["code"]) == ("interrupted", "provider_budget")
        assert not answer["error"]["retryable"]
        assert "administrator" in answer["error"]["message"]
    alarmed = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert [model in record.getMessage() for record in alarmed] == [True]
    assert (await list_rows(answers[0]))[0][:2] == ("interrupted", "provider_budget")


# Before a word


async def test_an_overload_in_the_stream_before_a_word_is_tried_again(site: Site, provider: ProviderServer) -> None:
    """As a 529 is; what the provider had read by then is on the ledger."""
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    provider.enqueue(
        Script(
            raw=write_anthropic_events(open_answer(input_tokens=77)) + f"event: error\ndata: {json.dumps(error)}\n\n"
        )
    )
    provider.script = Script(text="Here I am.")
    answer = await site.ask(model=ANTHROPIC)
    assert (answer["status"], answer["text"]) == ("complete", "Here I am.")
    first, second = await list_rows(answer)
    assert first == ("interrupted", "upstream_error", 77, True)
    assert second[0] == "complete"


@pytest.mark.parametrize("error", [{"code": 503, "message": "overloaded"}, {"type": "rate_limit_error"}, "try later"])
async def test_any_passing_error_before_a_word_is_tried_again(
    site: Site, provider: ProviderServer, model: str, error: Any
) -> None:
    provider.enqueue(Script(raw=f"data: {json.dumps({'error': error})}\n\n"))
    provider.script = Script(text="Here I am.")
    answer = await site.ask(model=model)
    assert (answer["status"], answer["text"], len(provider.requests)) == ("complete", "Here I am.", 2)


async def test_an_error_after_a_tool_call_has_begun_is_not_tried_silently(site: Site, provider: ProviderServer) -> None:
    call = {"choices": [{"delta": {"tool_calls": [{"index": 0, "id": "a", "function": {"name": "double"}}]}}]}
    get_runner().resources.toolbox = Toolbox([f"{__name__}.double"])
    provider.script = Script(raw=write_openai_events(call, {"error": {"code": 503, "message": "overloaded"}}))
    answer = await site.ask(model=OPENAI)
    assert (answer["status"], len(provider.requests)) == ("interrupted", 1)


@pytest.mark.parametrize(("reason", "requests"), [("network_error", 3), ("pondered_enough", 1)])
async def test_an_end_that_passes_is_tried_again_and_one_that_nobody_knows_is_not(
    site: Site, provider: ProviderServer, reason: str, requests: int
) -> None:
    provider.script = Script(raw=write_openai_events(make_chunk(reason=reason)))
    answer = await site.ask(model=OPENAI)
    assert (answer["status"], answer["error"]["code"]) == ("interrupted", "upstream_error")
    assert len(provider.requests) == requests


async def test_a_budget_or_a_word_after_the_text_keeps_it(site: Site, provider: ProviderServer) -> None:
    provider.script = Script(raw=write_openai_events(make_chunk("Half an answer"), make_chunk(reason="network_error")))
    answer = await site.ask(model=OPENAI)
    assert (answer["status"], answer["text"], len(provider.requests)) == ("interrupted", "Half an answer", 1)


# What came with a call


async def test_what_came_with_a_call_goes_back_in_the_loop_and_in_later_turns(
    site: Site, provider: ProviderServer
) -> None:
    get_runner().resources.toolbox = Toolbox([f"{__name__}.double"])
    call = {
        "index": 0,
        "id": "call_a",
        "type": "function",
        "function": {"name": "double", "arguments": '{"number": 21}'},
        "extra_content": {"google": {"thought_signature": "CvwBAb4+9vt/Zg=="}},
    }
    sent_back = {name: value for name, value in call.items() if name != "index"}
    provider.enqueue(
        Script(
            raw=write_openai_events({"choices": [{"delta": {"tool_calls": [call]}}]}, make_chunk(reason="tool_calls"))
        )
    )
    provider.script = Script(text="It is 42.")
    conversation = await site.begin_conversation()
    answer = await site.ask("Twice 21?", conversation, model=OPENAI)
    assert (answer["status"], answer["text"]) == ("complete", "It is 42.")
    await site.ask("And now?", conversation, model=OPENAI)
    for request in provider.requests[1:3]:
        made = next(turn for turn in request.body["messages"] if turn.get("tool_calls"))
        assert made["tool_calls"] == [sent_back]
    # No reader sees it, live or later.
    kept = await Message.objects.aget(pk=answer["id"])
    assert "thought_signature" in json.dumps(kept.outline)
    told = json.dumps([event for _, event in await site.read_events(answer["id"])]) + json.dumps(answer)
    assert "thought_signature" not in told
    assert "extra" not in told


# Where nobody answers


@contextmanager
def open_black_hole() -> Iterator[int]:
    """Yield a port whose queue of connections is full, so that an attempt to connect gets no response at all."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        port = listening.getsockname()[1]
        waiting = []
        for _ in range(8):
            client = socket.socket()
            client.setblocking(False)
            client.connect_ex(("127.0.0.1", port))
            waiting.append(client)
        try:
            yield port
        finally:
            for client in waiting:
                client.close()


@pytest.mark.parametrize("place", ["black hole", "refused", "no such host"])
async def test_readers_of_a_provider_that_does_not_answer_are_told_within_three_seconds(
    site: Site, monkeypatch: pytest.MonkeyPatch, settings: Settings, model: str, place: str
) -> None:
    settings.CHAT_MAX_RETRIES = 1
    with open_black_hole() as port:
        host = {"black hole": f"127.0.0.1:{port}", "refused": "127.0.0.1:9", "no such host": "nobody.invalid"}[place]
        nowhere = {"api_key": "sk-test", "base_url": f"http://{host}/v1"}
        pool = Pool({"openai": nowhere, "anthropic": nowhere})
        pool.warm(["openai", "anthropic"])
        monkeypatch.setattr(get_runner().resources, "pool", pool)
        answer = await site.begin(model=model)
        began, told = time.monotonic(), []
        async for _, event in site.follow(answer):
            if event["type"] in ("notice", "error"):
                told.append((event, time.monotonic() - began))
        await pool.aclose()
    notices = [(event["message"], seconds) for event, seconds in told if event.get("code") == "retrying"]
    assert "could not be reached, trying again" in notices[0][0]
    assert notices[0][1] < 3.5  # half a second more, for a busy machine
    last = told[-1][0]
    assert (last["code"], last["message"]) == ("unreachable", CODES["unreachable"].message)
    assert "could not be reached" in last["message"]


# Elsewhere


@pytest.mark.parametrize("status", [301, 302, 307, 308])
@pytest.mark.parametrize("to", ["another origin", "the same origin"])
async def test_a_redirect_is_never_followed_with_the_conversation(
    site: Site, provider: ProviderServer, model: str, status: int, to: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with ProviderServer() as other:
        target = other.url if to == "another origin" else provider.url
        provider.script = Script(status=status, location=f"{target}/v1/elsewhere?key=plainwords")
        answer = await site.ask(model=model)
        assert (answer["status"], answer["error"]["code"]) == ("interrupted", "upstream_error")
        assert not other.requests
    assert len(provider.requests) == 1
    assert "redirected to http://127.0.0.1" in caplog.text
    assert "plainwords" not in caplog.text


async def test_a_key_in_an_errors_body_is_in_no_log(
    site: Site, provider: ProviderServer, model: str, caplog: pytest.LogCaptureFixture
) -> None:
    secret = "sk-other-4fJ2kd93jdkKDJ3kdj29"
    body = {"error": {"message": f"Incorrect API key provided: {secret}. Bearer {secret}", "type": "x"}}
    provider.script = Script(status=401, raw=json.dumps(body), raw_type="application/json")
    answer = await site.ask(model=model)
    assert answer["error"]["code"] == "auth_failed"
    assert secret not in caplog.text + json.dumps(answer)
    assert "***" in caplog.text
