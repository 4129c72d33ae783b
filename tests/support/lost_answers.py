"""Answers and calls whose process died."""

from __future__ import annotations

from datetime import timedelta

from django.utils import timezone

from chat.models import Conversation, Message, ProviderCall, User


def keep_lost_answer(user: User, text: str = "What was said", *, ago: float = 1) -> Message:
    """Keep an answer as a killed process leaves it, with its call; its lease ran out `ago` seconds ago."""
    conversation = Conversation.objects.create(user=user, title="Lost")
    question = Message.objects.create(conversation=conversation, role="user", text="Why?")
    answer = Message.objects.create(
        conversation=conversation,
        parent=question,
        role="assistant",
        status="streaming",
        text=text,
        outline=[["token", len(text)]],
        position=len(text),
        model="openai:gpt-test",
        owner="elsewhere:1:abc",
        fence=1,
        lease_until=timezone.now() - timedelta(seconds=ago),
    )
    Conversation.objects.filter(pk=conversation.pk).update(leaf=answer)
    ProviderCall.objects.create(user=user, answer=answer, model=answer.model, input_tokens=7)
    return answer
