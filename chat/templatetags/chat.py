"""What templates need to show a conversation."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID, uuid5

from django import template

from chat.models import Message
from chat.page import Parts, parts_of

register = template.Library()


@register.filter
def parts(answer: Message) -> Parts:
    """The answer's text, reasoning and tools in their order; a live one's with the tail that its stream changes."""
    return parts_of(answer.pk, answer.transcript().since(0), is_live=answer.is_live)


@register.filter
def model_name(model: str) -> str:
    """`gpt-4o` of `openai:gpt-4o`."""
    return model.partition(":")[2]


@register.filter
def seconds(milliseconds: int) -> str:
    return f"{milliseconds / 1000:.1f} s"


@dataclass(frozen=True, slots=True)
class Attempts:
    """Where an answer stands among the attempts at its question."""

    number: int
    total: int
    previous: UUID | None
    next: UUID | None
    turn: UUID


@register.simple_tag
def attempts_of(message: Message) -> Attempts:
    """Attempts at a question, or wordings of it. `turn` is that of the retry after them, so that a Retry that is sent
    twice is one retry."""
    ids = message.attempt_ids()
    index = ids.index(message.pk)
    return Attempts(
        number=index + 1,
        total=len(ids),
        previous=ids[index - 1] if index else None,
        next=ids[index + 1] if index + 1 < len(ids) else None,
        turn=uuid5(message.pk, str(len(ids))),
    )
