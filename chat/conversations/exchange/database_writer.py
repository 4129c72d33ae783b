"""Writing the conversations of an archive into the database."""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import asdict
from operator import attrgetter
from typing import Any

from django.conf import settings
from django.db import IntegrityError, transaction

from chat.conversations.exchange.database_reader import OWN_SITE
from chat.conversations.exchange.portable import Figures, PortableConversation, PortableMessage, Source
from chat.conversations.titles_by_rule import make_title
from chat.core.transcript import Transcript
from chat.models import (
    LIVE,
    TITLE_LENGTH,
    Conversation,
    ImportedAnswer,
    ImportedConversation,
    Message,
    Status,
    ToolCall,
    User,
)

SYSTEM_PROMPT_LENGTH = 20_000

# What an answer that was still written when its archive was made is marked with.
CUT_OFF = "server_lost"

ROWS_AT_ONCE = 500


def is_here(user_id: int, source: Source) -> bool:
    """Return whether a user has a conversation already, because it was imported before or has never left."""
    brought = ImportedConversation.objects.filter(user=user_id, site=source.site, source_id=source.id)
    if brought.filter(conversation__deleted_at=None).exists():
        return True
    if source.site != OWN_SITE:
        return False
    try:
        key = uuid.UUID(source.id)
    except ValueError:
        return False
    return Conversation.objects.filter(user=user_id, pk=key, deleted_at=None).exists()


def identify(conversation: PortableConversation) -> Source:
    """Return the conversation's first source, with a hash of its content where it has no id."""
    if conversation.source.id:
        return conversation.source
    content = [conversation.title, *(message.text or message.answer_text for message in conversation.messages)]
    return Source(conversation.source.site, hashlib.sha256("\0".join(content).encode()).hexdigest())


def keep_conversation(user: User, portable: PortableConversation) -> Conversation | None:
    """Keep a conversation with all its messages, within a transaction; None when the user has it already.

    Its answers have ended, and the ledger has no row of them.
    """
    source = identify(portable)
    if is_here(user.pk, source):
        return None
    # One that its user has deleted a moment ago, and may still restore, has no source any more.
    ImportedConversation.objects.filter(user=user, site=source.site, source_id=source.id).delete()
    system_prompt = _shorten(portable, portable.system_prompt, SYSTEM_PROMPT_LENGTH, "end of a system prompt")
    try:
        with transaction.atomic():
            conversation = Conversation.objects.create(
                user=user,
                title=_choose_title(portable),
                system_prompt=system_prompt,
                temperature=portable.temperature,
                max_tokens=portable.max_tokens,
                effort=portable.effort,
                titled_by=portable.titled_by,
                archived_at=portable.archived_at,
                pinned_at=None if portable.archived_at else portable.pinned_at,
            )
            ImportedConversation.objects.create(
                conversation=conversation, user=user, site=source.site, source_id=source.id
            )
    except IntegrityError:  # another import of the same archive was quicker
        return None
    keys = _keep_messages(conversation, portable)
    end = portable.find_shown_end()
    Conversation.objects.filter(pk=conversation.pk).update(
        leaf=None if end is None else keys[end],
        created_at=portable.created_at,
        updated_at=portable.updated_at,
    )
    return conversation


def _choose_title(portable: PortableConversation) -> str:
    if portable.title:
        return portable.title[:TITLE_LENGTH]
    first = next((message for message in portable.messages if message.is_question), None)
    return make_title(first.text[:5000]) if first and portable.source.site != OWN_SITE else ""


def _keep_messages(conversation: Conversation, portable: PortableConversation) -> dict[int, uuid.UUID]:
    """Keep the messages, and return their keys by their numbers.

    The keys rise with the messages, so that those of one moment stay in their order.
    """
    messages = sorted(portable.messages, key=attrgetter("created_at"))
    ids = sorted(uuid.uuid4() for _ in messages)
    keys = {message.number: key for message, key in zip(messages, ids, strict=True)}
    rows = [_make_row(conversation, portable, message, keys) for message in messages]
    Message.objects.bulk_create(rows, batch_size=ROWS_AT_ONCE)
    answers = [message for message in messages if not message.is_question]
    ImportedAnswer.objects.bulk_create(
        [ImportedAnswer(answer_id=keys[answer.number], figures=write_figures(answer.figures)) for answer in answers],
        batch_size=ROWS_AT_ONCE,
    )
    ToolCall.objects.bulk_create(
        [ToolCall(answer_id=keys[answer.number], **asdict(call)) for answer in answers for call in answer.calls],
        batch_size=ROWS_AT_ONCE,
    )
    return keys


def _make_row(
    conversation: Conversation, portable: PortableConversation, message: PortableMessage, keys: dict[int, uuid.UUID]
) -> Message:
    row = Message(
        pk=keys[message.number],
        conversation=conversation,
        parent_id=keys[message.parent] if message.parent is not None else None,
        role=message.role,
        created_at=message.created_at,
    )
    longest = max(settings.CHAT_MAX_ANSWER_CHARS, settings.CHAT_MAX_PROMPT_CHARS)
    if message.is_question:
        row.text = _shorten(portable, message.text, longest, "end of a long question")
        return row
    transcript = Transcript()
    transcript.append(message.parts)
    if transcript.position > longest:
        portable.left_out["end of a long answer"] += 1
        whole, transcript = transcript, Transcript()
        transcript.append(whole.read_since(0, longest))
    row.text, row.reasoning, row.outline = transcript.text, transcript.reasoning, transcript.outline
    row.position = transcript.position
    row.status, row.error_code = _choose_end(message)
    row.finish_reason = message.finish_reason
    row.model, row.asked_model, row.effort = message.model, message.asked_model, message.effort
    row.omitted = message.omitted
    row.response_schema = message.response_schema
    row.first_token_at, row.finished_at = message.first_token_at, message.finished_at
    return row


def _choose_end(message: PortableMessage) -> tuple[str, str]:
    """Return the status and the error code of an answer: none is live."""
    if message.status in LIVE:
        return Status.INTERRUPTED, CUT_OFF
    return message.status, message.error_code


def _shorten(portable: PortableConversation, text: str, most: int, what: str) -> str:
    if len(text) > most:
        portable.left_out[what] += 1
    return text[:most]


def write_figures(figures: Figures) -> dict[str, Any]:
    """Return figures as `database_reader.read_figures` reads them."""
    return {
        "usage": None if figures.usage is None else asdict(figures.usage),
        "interruptions": list(figures.interruptions),
        "rating": figures.rating,
    }
