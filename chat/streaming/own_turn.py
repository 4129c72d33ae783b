"""A turn on its owner's page: the HTML of its question and of its answer."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID, uuid5

from django.template.loader import render_to_string
from django.utils.html import format_html
from django.utils.safestring import SafeString

from chat.accounting.spending import Spending, find_spending
from chat.conversations.effort import label_effort
from chat.conversations.ratings import find_rating
from chat.models import Message, Rating, Status
from chat.streaming.page_parts import EVERYTHING, Disclosure, Parts, build_parts
from chat.streaming.stencil import Stencil

# A longer question is folded: 1,200 characters are about a dozen lines of the page.
LONG_CHARS, LONG_LINES = 1200, 14


@dataclass(frozen=True, slots=True)
class Attempts:
    """The place of a message among the attempts at its question, or among the wordings of it."""

    number: int
    total: int
    previous: UUID | None
    next: UUID | None


def find_attempts(message: Message) -> Attempts:
    """Return the place of an answer among the attempts at its question, or of a question among its wordings."""
    ids = message.list_attempt_ids()
    index = ids.index(message.pk)
    return Attempts(
        number=index + 1,
        total=len(ids),
        previous=ids[index - 1] if index else None,
        next=ids[index + 1] if index + 1 < len(ids) else None,
    )


def is_long(question: str) -> bool:
    """Return whether a question is so long that the page folds it."""
    return len(question) > LONG_CHARS or question.count("\n") > LONG_LINES


_question = Stencil("chat/_question.html", "id", "text", "conversation", "time")


def render_question(question: Message) -> SafeString:
    """Return a question as its owner's page shows it."""
    places = {
        "id": question.pk,
        "text": question.text,
        "conversation": question.conversation_id,
        "time": write_time(question.created_at),
    }
    return _question.fill(places, is_long=is_long(question.text), wordings=find_attempts(question))


def list_parts(answer: Message, disclosure: Disclosure = EVERYTHING) -> Parts:
    """Return an answer's parts in order, as far as they are disclosed; those of a live one with the tail that grows."""
    events = answer.restore_transcript().read_since(0)
    return build_parts(answer.pk, events, is_live=answer.is_live, disclosure=disclosure)


_answer = Stencil("chat/_own_answer.html", "id", "parts", "foot")


def render_answer(answer: Message) -> SafeString:
    """Return an answer as its owner's page shows it, with what stands below it."""
    parts = [render_to_string(part.template, {"part": part}) for part in list_parts(answer)]
    places = {
        "id": answer.pk,
        "parts": SafeString("".join(parts)),
        "foot": render_foot(answer),
    }
    return _answer.fill(places, model=cut_provider(answer.model) or "Answer")


_live_foot = Stencil("chat/_own_live_foot.html", "id", "position")
_foot = Stencil("chat/_own_answer_foot.html", "id", "retry_turn", "time", "facts")


def render_foot(answer: Message) -> SafeString:
    """Return what stands below an answer on its owner's page: how it ended, and what can be done with it."""
    if answer.is_live:
        return _live_foot.fill({"id": answer.pk, "position": answer.position}, status=answer.status)
    attempts, rating = find_attempts(answer), get_rating(answer)
    is_partial = answer.status in (Status.INTERRUPTED, Status.STOPPED)
    places = {
        "id": answer.pk,
        # A Retry that is sent twice is one retry.
        "retry_turn": uuid5(answer.pk, str(attempts.total)),
        "time": write_time(answer.created_at),
        "facts": write_facts(answer),
    }
    return _foot.fill(
        places,
        status=answer.status,
        omitted=answer.omitted,
        error_message=answer.error_message,
        error_code=answer.error_code,
        kept_chars=len(answer.text) if is_partial else 0,
        finish_reason=answer.finish_reason,
        interruptions=answer.interruptions,
        losses=answer.losses,
        has_text=bool(answer.text),
        is_retry_first=answer.retryable or not answer.text,
        wanted_model=answer.wanted_model,
        is_continuable=answer.is_continuable,
        attempts=attempts,
        rating=rating.value if rating else "",
        has_comment=bool(rating and rating.comment),
    )


def write_time(at: datetime) -> SafeString:
    """Return a moment for people in UTC; a page's script writes it in their own time."""
    at = at.astimezone(UTC)
    return format_html('<time datetime="{}">{}</time>', at.isoformat(), f"{at.day} {at:%b %Y, %H:%M} UTC")


def write_facts(answer: Message) -> str:
    """Return what there is to say about an answer: its model, the effort, how long it took, what it came to."""
    took = answer.total_ms
    facts = [
        cut_provider(answer.model),
        label_effort(answer.model, answer.effort) if answer.effort else "",
        write_seconds(took) if took else "",
        get_spending(answer).words,
    ]
    return " · ".join(fact for fact in facts if fact)


def cut_provider(model: str) -> str:
    """Return `gpt-4o` of `openai:gpt-4o`."""
    return model.partition(":")[2]


def write_seconds(milliseconds: int) -> str:
    """Return a time in seconds with one decimal place."""
    return f"{milliseconds / 1000:.1f} s"


def get_spending(answer: Message) -> Spending:
    """Return what an answer came to, which a page of many has looked up for all of them."""
    known: Spending | None = answer.spending
    return known if known is not None else find_spending([answer.pk]).get(answer.pk, Spending())


def get_rating(answer: Message) -> Rating | None:
    """Return its user's rating of an answer, which a page of many has looked up for all of them."""
    known: Rating | bool | None = answer.rating
    return find_rating(answer) if isinstance(known, bool) else known
