"""The page of a live answer for browsers without a script: it arrives as the answer grows, and ends with the composer.

Each state of the answer follows the one before in the page, and the style sheet shows the last one alone, so that the
page has what any page shows of an answer: its text with the end that still grows, its reasoning and its tools.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from copy import copy
from uuid import UUID

from django.http import HttpResponseBase
from django.shortcuts import redirect
from django.template.loader import render_to_string
from django.views.decorators.http import require_safe

from chat.accounts.visitors import Visitor
from chat.conversations import actions
from chat.conversations.actions import get_owned_conversation
from chat.core.events import Lasting
from chat.generation.process import get_process, get_runner
from chat.http.requests import HtmxRequest, load_user
from chat.models import Message, User
from chat.streaming import responses
from chat.streaming.follow import follow
from chat.streaming.own_turn import render_answer
from chat.streaming.page_parts import Parts
from chat.tasks import run_in_thread
from chat.web.time_zones import find_zone
from chat.web.views import build_page_context

# Stands in the page where the answer goes. Nobody can write it: what people and models write is escaped.
MARK = "<!-- live -->"

# Each state is sent whole, at most once in `SHORTEST` seconds, and no more than `CHARS_A_SECOND`.
SHORTEST = 1.0
CHARS_A_SECOND = 20_000


@require_safe
async def show_live_page(request: HtmxRequest, conversation_id: UUID) -> HttpResponseBase:
    """Stream the page of a conversation until its answer has ended; lead to the plain page where nothing is live."""
    user = await load_user(request)
    request = copy(request)  # the server empties the one that it made when the response begins, and the end renders too
    rendered = await run_in_thread(_render_around, request, user, conversation_id)
    if rendered is None:
        return redirect("conversation", conversation_id)
    answer, head, _ = rendered
    content = _stream(request, user, answer, head)
    return responses.make_streaming_response(Visitor.from_request(request, user), content, "text/html; charset=utf-8")


def _render_around(
    request: HtmxRequest, user: User, conversation_id: UUID, answer_id: UUID | None = None
) -> tuple[Message, str, str] | None:
    """Return a conversation's last answer and its page before and after it; None where that answer is not live.

    With `answer_id` it is that answer, live or not, while it is still the last one.
    """
    conversation = get_owned_conversation(user, conversation_id)
    answer = conversation.leaf
    if answer is None or not (answer.is_live or answer.pk == answer_id):
        return None
    context = {**build_page_context(user, conversation, zone=find_zone(request)), "streamed": answer.pk, "mark": MARK}
    head, _, rest = render_to_string("chat/page.html", context, request).partition(MARK)
    return answer, head, rest


async def _stream(request: HtmxRequest, user: User, answer: Message, head: str) -> AsyncGenerator[bytes, None]:
    yield head.encode()
    conversation_id, answer_id = answer.conversation_id, answer.pk
    parts, is_changed, rests_until = Parts(answer_id), True, 0.0
    async with aclosing(follow(get_process(), answer_id, 0, answer.fence)) as batches:
        async for batch in batches:
            lasting = [event for event in batch.events if isinstance(event, Lasting)]
            for event in lasting:
                parts.take(event)
            is_changed = is_changed or bool(lasting)
            if not is_changed or time.monotonic() < rests_until:
                yield b"" if batch.events else b"\n"  # a heartbeat finds out whether the reader is still there
                continue
            html = render_to_string("chat/_live_parts.html", {"parts": parts})
            is_changed, rests_until = False, time.monotonic() + max(SHORTEST, len(html) / CHARS_A_SECOND)
            yield html.encode()
    yield (await run_in_thread(_render_end, request, user, conversation_id, answer_id)).encode()
    await actions.mark_as_read(get_runner(), user, conversation_id)


def _render_end(request: HtmxRequest, user: User, conversation_id: UUID, answer_id: UUID) -> str:
    """Return the end of the page: the answer as it is kept, and the composer for the next question."""
    ended = _render_around(request, user, conversation_id, answer_id)
    if ended is None:
        return ""
    answer, _, rest = ended
    return render_answer(answer) + rest
