"""Outages of a provider, and the retries that the staff begin after them."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

from chat.models import Conversation, Message, RetryBatch, User
from tests.support.site import Site

MODEL = "openai:gpt-test"


def make_outage(count: int, *, code: str = "upstream_error", users: int = 5) -> list[Message]:
    """Make so many conversations whose only answer failed, of several users; return those answers."""
    owners = [User.objects.create_user(f"user{number}-{uuid.uuid4().hex[:6]}") for number in range(users)]
    return [make_failed_answer(owners[number % users], f"Question {number}", code=code) for number in range(count)]


def make_failed_answer(user: User, question: str, *, code: str = "upstream_error") -> Message:
    conversation = Conversation.objects.create(user=user, title=question)
    asked = Message.objects.create(conversation=conversation, role="user", text=question)
    answer = Message.objects.create(
        conversation=conversation,
        parent=asked,
        role="assistant",
        status="interrupted",
        error_code=code,
        model=MODEL,
        text="Half an ans",
    )
    Conversation.objects.filter(pk=conversation.pk).update(leaf=answer)
    return answer


async def retry(desk: Site, **fields: Any) -> RetryBatch:
    form = {"reason": "The provider was down.", **fields}
    response = await desk.client.post("/staff/retry/", form)
    assert response.status_code == 302, response.content
    key = response.headers["Location"].split("/")[-2]
    return await RetryBatch.objects.aget(pk=key)


def make_check_of_end(batch: RetryBatch) -> Callable[[], Any]:
    return RetryBatch.objects.filter(pk=batch.pk, finished_at__isnull=False).aexists
