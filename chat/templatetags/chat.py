"""Template tags for a conversation."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID, uuid5

from django import template
from django.conf import settings

from chat.accounting.spending import Spending, find_spending
from chat.conversations.effort import label_effort
from chat.conversations.ratings import find_rating
from chat.models import Message, Rating
from chat.streaming.page_parts import Disclosure, Parts, build_parts

register = template.Library()


@register.filter("parts")
def list_parts(answer: Message) -> Parts:
    """Return an answer's parts in order; those of a live one with the tail that its stream changes."""
    return build_parts(answer.pk, answer.restore_transcript().read_since(0), is_live=answer.is_live)


@register.simple_tag(name="disclosed_parts")
def list_disclosed_parts(answer: Message, disclosure: Disclosure) -> Parts:
    """Return an answer's parts as far as they are disclosed to a reader; see `list_parts`."""
    return build_parts(
        answer.pk, answer.restore_transcript().read_since(0), is_live=answer.is_live, disclosure=disclosure
    )


@register.simple_tag
def is_sharing_on() -> bool:
    """Return whether the operator lets users share conversations."""
    return bool(settings.CHAT_SHARING != "off")


@register.filter("model_name")
def cut_provider(model: str) -> str:
    """Return `gpt-4o` of `openai:gpt-4o`."""
    return model.partition(":")[2]


@register.filter("effort_label")
def describe_effort(answer: Message) -> str:
    """Return the effort that an answer was asked with, as people read it."""
    return label_effort(answer.model, answer.effort)


@register.filter("seconds")
def write_seconds(milliseconds: int) -> str:
    """Return a time in seconds with one decimal place."""
    return f"{milliseconds / 1000:.1f} s"


# A longer question is folded: 1,200 characters are about a dozen lines of the page.
LONG_CHARS, LONG_LINES = 1200, 14


@register.filter
def is_long(question: str) -> bool:
    """Return whether a question is so long that the page folds it."""
    return len(question) > LONG_CHARS or question.count("\n") > LONG_LINES


@dataclass(frozen=True, slots=True)
class Attempts:
    """The place of a message among the attempts at its question, or among the wordings of it."""

    number: int
    total: int
    previous: UUID | None
    next: UUID | None
    turn: UUID


@register.simple_tag(name="attempts_of")
def find_attempts(message: Message) -> Attempts:
    """Return the place of an answer among the attempts at its question, or of a question among its wordings.

    `turn` is the id for the next retry, so that a Retry that is sent twice is one retry.
    """
    ids = message.list_attempt_ids()
    index = ids.index(message.pk)
    return Attempts(
        number=index + 1,
        total=len(ids),
        previous=ids[index - 1] if index else None,
        next=ids[index + 1] if index + 1 < len(ids) else None,
        turn=uuid5(message.pk, str(len(ids))),
    )


@register.simple_tag(name="spending_of")
def get_spending(answer: Message) -> Spending:
    """Return what an answer came to, which a page of many has looked up for all of them."""
    known: Spending | None = answer.spending
    return known if known is not None else find_spending([answer.pk]).get(answer.pk, Spending())


@register.simple_tag(name="rating_of")
def get_rating(answer: Message) -> Rating | None:
    """Return its user's rating of an answer, which a page of many has looked up for all of them."""
    known: Rating | bool | None = answer.rating
    return find_rating(answer) if isinstance(known, bool) else known
