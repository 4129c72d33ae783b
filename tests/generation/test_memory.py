"""What a stream holds: the text of its answer once, however many follow it, and nothing of the question."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any
from uuid import uuid4

import pytest
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, HttpResponse
from django.test.client import MULTIPART_CONTENT

from chat.conversations.forms import MessageForm
from chat.core.events import Reasoning, Token
from chat.core.transcript import Transcript
from chat.generation.answer_run import AnswerRun
from chat.generation.live_answer import LiveAnswer
from chat.generation.process import get_runner
from chat.generation.upstream_call import UpstreamCall
from chat.models import Conversation, Message, ProviderCall
from chat.providers.base import Prompt
from chat.streaming.shown_answer import ShownAnswer
from chatsite.servers.handler import Handler
from tests.provider_server import ProviderServer, Script
from tests.support.site import Site
from tests.support.waiting import wait_until

LINES = 1_000
LINE = 1_000  # characters


@contextmanager
def measure_growth() -> Iterator[list[float]]:
    """Yield a list that gets the growth of memory at the end, as a multiple of the text of all lines."""
    found: list[float] = []
    tracemalloc.start()
    try:
        yield found
        found.append(tracemalloc.get_traced_memory()[0] / (LINES * LINE))
    finally:
        tracemalloc.stop()


def make_line(number: int) -> str:
    return f"{number} {'word ' * (LINE // 5)}"[: LINE - 2] + "\n\n"


def test_the_text_of_an_answer_is_in_memory_once() -> None:
    with measure_growth() as found:
        transcript = Transcript()
        call = UpstreamCall(ProviderCall(), Prompt("m", ()), transcript)
        for number in range(LINES):
            call.apply([(Reasoning if number < LINES / 2 else Token)(make_line(number))])
            if number % 10 == 0:
                assert transcript.outline  # a checkpoint reads it too, which joins the pieces
    assert found[0] < 1.5
    assert len(call.text) == LINES / 2 * LINE


def test_a_page_that_follows_an_answer_keeps_no_copy_of_it() -> None:
    following, shown = ShownAnswer(uuid4(), 0), 0
    with measure_growth() as found:
        for number in range(LINES):
            following.take(Token(make_line(number)), (number + 1) * LINE)
            shown += sum(len(change.html) for change in following.take_changes())
    assert shown > LINES * LINE
    assert found[0] < 0.1


def test_a_page_that_follows_an_answer_takes_3_kib_beside_it() -> None:
    """There is one for each reader. It takes 2.4 KiB, and took 3.8 when its fold had 30 attributes."""
    pages, wanted = [], LINES * LINE / 3072

    def read_first_words() -> ShownAnswer:
        page = ShownAnswer(uuid4(), 0)
        page.take(Token("The first words."), 16)
        page.take_changes()
        return page

    read_first_words()
    with measure_growth() as found:
        pages += [read_first_words() for _ in range(int(wanted))]
    assert found[0] < 1


async def show_header(request: HttpRequest) -> HttpResponse:
    return HttpResponse(request.headers["x-marked"])


async def test_a_request_is_freed_when_it_has_its_response() -> None:
    handler = Handler.__new__(Handler)
    handler._middleware_chain = show_header  # type: ignore[attr-defined]  # what `Handler()` makes of the settings
    headers = [(b"x-marked", b"yes")]
    request = ASGIRequest({"type": "http", "method": "GET", "path": "/", "headers": headers}, BytesIO())
    response = await handler.run_get_response(request)
    assert response.content == b"yes"
    assert not vars(request)
    response.close()


@contextmanager
def find_left_to_the_collector() -> Iterator[set[type]]:
    """Yield a set that gets the types of the objects at the end that only the garbage collector can free.

    Objects that refer to each other stay in memory until it runs, after some hundred requests.
    """
    found: set[type] = set()
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        yield found
        gc.collect()
        found |= {type(left) for left in gc.garbage}
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


@pytest.mark.parametrize(
    ("path", "kind"),
    [("/send/", MULTIPART_CONTENT), ("/api/conversations/{conversation}/messages/", "application/json")],
)
async def test_nothing_of_a_question_is_left_to_the_garbage_collector(
    site: Site, provider: ProviderServer, path: str, kind: str
) -> None:
    conversation = await site.begin_conversation()
    question = {"content": "Hello", **({"conversation": conversation} if path == "/send/" else {})}
    provider.script = Script(text="Yes.")
    with find_left_to_the_collector() as left:
        response: Any = await site.client.post(path.format(conversation=conversation), question, kind)
        assert response.status_code in {200, 302}
        del response
        await wait_until(lambda: get_runner().live_answers == 0)
        await asyncio.sleep(0.05)  # the last of its tasks ends
    assert not left & {MessageForm, Message, Conversation, LiveAnswer, AnswerRun, Transcript}


async def test_nothing_of_a_request_is_left_to_the_garbage_collector() -> None:
    sent: list[str] = []
    is_received, is_over = asyncio.Event(), asyncio.Event()

    async def receive() -> dict[str, Any]:
        if not is_received.is_set():
            is_received.set()
            return {"type": "http.request"}
        await is_over.wait()
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message["type"])
        if message["type"] == "http.response.body":
            is_over.set()

    handler = Handler()
    handler._middleware_chain = show_header  # type: ignore[attr-defined]  # what `Handler()` makes of the settings
    with find_left_to_the_collector() as left:
        await handler({"type": "http", "method": "GET", "path": "/", "headers": [(b"x-marked", b"yes")]}, receive, send)
    assert sent == ["http.response.start", "http.response.body"]
    assert not left & {ASGIRequest, HttpResponse, asyncio.Task}
