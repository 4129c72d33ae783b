"""A call that is cut off or fails costs at least what its provider had counted, also of what nobody could see."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from django.utils import timezone
from pytest_django import Settings

from chat.core.errors import ChatError
from chat.core.transcript import Transcript
from chat.generation.lost_answers import settle_running_calls
from chat.generation.store import AnswerSnapshot
from chat.generation.upstream_call import UpstreamCall
from chat.generation.verdict import make_interruption
from chat.models import Conversation, Message, ProviderCall, User
from chat.providers.anthropic_decoder import MessagesDecoder
from chat.providers.base import Prompt, Turn
from chat.providers.decoder import Decoder
from chat.providers.openai_chat_decoder import ChatCompletionsDecoder
from chat.providers.openai_responses_decoder import ResponsesDecoder
from tests.provider_server import ProviderServer, Script
from tests.support.odd_answers import make_chunk, write_output_text
from tests.support.site import Site
from tests.support.waiting import wait_until

PROMPT = Prompt("test-model", (Turn("user", "Why is the sky blue?"),))


def make_running_chunk(text: str, output: int, **details: int) -> dict[str, Any]:
    figures = {"prompt_tokens": 20, "completion_tokens": output, "completion_tokens_details": details}
    return make_chunk(text, usage=figures)


def read_events(decoder: Decoder, events: Sequence[dict[str, Any]]) -> UpstreamCall:
    """Return the call after these events, each of them a read, whether the provider failed in the last one or not."""
    call = UpstreamCall(ProviderCall(model="openai:test-model"), PROMPT)
    for event in events:
        call.apply(decoder.feed(f"data: {json.dumps(event)}\n\n".encode()))
    if decoder.failure is not None:
        call.fail(decoder.failure)
    return call


THINKING_UNSEEN = [make_running_chunk("", count, reasoning_tokens=count) for count in range(1, 3_000, 40)]


@pytest.mark.parametrize("events", [THINKING_UNSEEN, [*THINKING_UNSEEN, make_running_chunk("Because", 2_970)]])
def test_a_stopped_call_costs_what_its_provider_had_counted(events: list[dict[str, Any]]) -> None:
    """xAI and Gemini count hidden reasoning with each chunk. Not every one of the figures is taken, see `Decoder`."""
    usage = read_events(ChatCompletionsDecoder(10_000, PROMPT), events).usage
    assert usage.input_tokens == 20
    assert 2_700 <= usage.reasoning_tokens <= usage.output_tokens <= 2_970
    assert usage.estimated


def test_text_after_the_last_count_is_estimated_where_it_is_more() -> None:
    events = [make_running_chunk("12345678", 1), make_chunk("x" * 400)]
    usage = read_events(ChatCompletionsDecoder(10_000, PROMPT), events).usage
    assert (usage.input_tokens, usage.output_tokens, usage.estimated) == (20, 102, True)


FIGURES = {"input_tokens": 20, "output_tokens": 900, "output_tokens_details": {"reasoning_tokens": 800}}
FAILED = {"status": "failed", "error": {"code": "server_error", "message": "It broke."}, "usage": FIGURES}
FAILURES: dict[str, tuple[Callable[[], Decoder], list[dict[str, Any]]]] = {
    "an error after the count": (
        lambda: ChatCompletionsDecoder(10_000, PROMPT),
        [
            make_chunk("12345678"),
            make_running_chunk("", 900, reasoning_tokens=800),
            {"error": {"message": "It broke.", "type": "server_error"}},
        ],
    ),
    "the count of a failed response": (
        lambda: ResponsesDecoder(10_000, PROMPT, "origin"),
        [write_output_text("12345678"), {"type": "response.failed", "response": FAILED}],
    ),
}


@pytest.mark.parametrize("name", FAILURES)
def test_a_failed_call_costs_what_its_provider_had_counted(name: str) -> None:
    make_decoder, events = FAILURES[name]
    usage = read_events(make_decoder(), events).usage
    assert (usage.input_tokens, usage.output_tokens, usage.reasoning_tokens) == (20, 900, 800)
    assert usage.estimated


BADLY_ENDED = {
    "choices": [{"index": 0, "message": {"content": "12345678"}, "finish_reason": "MALFORMED_FUNCTION_CALL"}],
    "usage": {"prompt_tokens": 20, "completion_tokens": 900},
}
BROKEN_MESSAGE = {"type": "error", "error": {"type": "api_error", "message": "It broke."}, "usage": FIGURES}
BODIES: dict[str, tuple[Callable[[], Decoder], dict[str, Any]]] = {
    "no good end": (lambda: ChatCompletionsDecoder(10_000, PROMPT), BADLY_ENDED),
    "an error beside": (lambda: ChatCompletionsDecoder(10_000, PROMPT), BADLY_ENDED | {"error": {"message": "Broke."}}),
    "a failed response": (lambda: ResponsesDecoder(10_000, PROMPT, "origin"), FAILED),
    "a message": (lambda: MessagesDecoder(10_000, PROMPT), BROKEN_MESSAGE),
}


@pytest.mark.parametrize("name", BODIES)
def test_an_answer_that_comes_whole_and_failed_costs_what_its_provider_had_counted(name: str) -> None:
    """Titles, and answers of servers that do not stream: their text is dropped, and is on the invoice all the same."""
    make_decoder, body = BODIES[name]
    call = UpstreamCall(ProviderCall(model="openai:test-model"), PROMPT)
    with pytest.raises(ChatError) as failed:
        make_decoder().read_whole(json.dumps(body).encode())
    call.fail(failed.value)
    assert (call.usage.input_tokens, call.usage.output_tokens) == (20, 900)


async def test_a_title_that_failed_costs_what_its_provider_had_counted(
    site: Site, provider: ProviderServer, settings: Settings
) -> None:
    settings.CHAT_TITLE_MODEL = "openai:small"
    provider.enqueue(Script(text="Yes."), Script(raw=json.dumps(BADLY_ENDED), raw_type="application/json"))
    await site.ask("Why?")
    title = ProviderCall.objects.filter(purpose="title", outcome="interrupted")
    await wait_until(title.aexists)
    assert ((row := await title.aget()).input_tokens, row.output_tokens) == (20, 900)


def test_a_lost_call_costs_what_its_process_last_wrote_if_that_is_more(db: None) -> None:
    conversation = Conversation.objects.create(user=User.objects.create_user("ada"))
    until = timezone.now()
    answer = Message.objects.create(
        conversation=conversation, role="assistant", status="streaming", owner="lost", lease_until=until
    )
    ProviderCall.objects.create(
        model="openai:x", answer=answer, input_tokens=20, output_tokens=900, reasoning_tokens=800
    )
    transcript = Transcript.restore("12345678", "", [])
    snapshot = AnswerSnapshot.from_transcript(answer.pk, answer.fence, transcript, None)
    settle_running_calls(snapshot, make_interruption("server_lost"))
    usage = ProviderCall.objects.get().usage
    assert (usage.input_tokens, usage.output_tokens, usage.reasoning_tokens) == (20, 900, 800)
    assert usage.estimated
