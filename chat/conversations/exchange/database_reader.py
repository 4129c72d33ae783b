"""Conversations read from the database for an export."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from chat.conversations.exchange.portable import (
    Figures,
    PortableCall,
    PortableConversation,
    PortableMessage,
    Source,
)
from chat.conversations.ratings import find_ratings
from chat.core.events import Usage
from chat.core.lines import join_lines
from chat.models import Conversation, ImportedAnswer, ImportedConversation, Message, ProviderCall, Rating, ToolCall

# The name of this site's own conversations in `Source`.
OWN_SITE = "chatsite"


def load_conversation(conversation: Conversation) -> PortableConversation:
    """Return a conversation with its whole tree, its messages in the order in which they were written.

    What only its provider can read is left out: native forms, signatures, and extras of tools' calls.
    """
    messages = list(conversation.messages.order_by("created_at", "pk"))
    numbers = {message.pk: number for number, message in enumerate(messages, start=1)}
    calls: dict[object, list[ToolCall]] = {}
    for call in ToolCall.objects.filter(answer__conversation=conversation).order_by("pk"):
        calls.setdefault(call.answer_id, []).append(call)
    usages = ProviderCall.objects.filter(answer__conversation=conversation).sum_usages()
    ratings = find_ratings(conversation.messages.values("pk"), conversation.user_id)
    imported = {
        row.answer_id: read_figures(row.figures)
        for row in ImportedAnswer.objects.filter(answer__conversation=conversation)
    }
    return PortableConversation(
        source=_find_source(conversation),
        title=conversation.title,
        created_at=conversation.created_at,
        updated_at=conversation.updated_at,
        messages=[
            _make_message(
                message,
                numbers[message.pk],
                numbers[message.parent_id] if message.parent_id else None,
                calls.get(message.pk, ()),
                _gather_figures(
                    message, usages.get(message.pk), ratings.get(message.pk), imported.get(message.pk, Figures())
                ),
            )
            for message in messages
        ],
        leaf=numbers.get(conversation.leaf_id) if conversation.leaf_id else None,
        system_prompt=conversation.system_prompt,
        temperature=conversation.temperature,
        max_tokens=conversation.max_tokens,
        effort=conversation.effort,
        titled_by=conversation.titled_by,
        pinned_at=conversation.pinned_at,
        archived_at=conversation.archived_at,
    )


def _make_message(
    message: Message, number: int, parent: int | None, calls: Iterable[ToolCall], figures: Figures
) -> PortableMessage:
    if message.role == "user":
        return PortableMessage(number, parent, "user", message.created_at, text=message.text)
    return PortableMessage(
        number,
        parent,
        "assistant",
        message.created_at,
        parts=message.restore_transcript().read_since(0),
        status=message.status,  # type: ignore[arg-type]  # of the column's choices
        error_code=message.error_code,
        finish_reason=message.finish_reason,
        model=message.model,
        asked_model=message.asked_model,
        effort=message.effort,
        omitted=message.omitted,
        response_schema=message.response_schema,
        first_token_at=message.first_token_at,
        finished_at=message.finished_at,
        calls=[
            PortableCall(
                call_id=call.call_id,
                name=call.name,
                arguments=call.arguments,
                result=call.result,
                summary=call.summary,
                ok=call.ok,
                milliseconds=call.milliseconds,
                finished_at=call.finished_at,
            )
            for call in calls
        ],
        figures=figures,
    )


def _describe_rating(rating: Rating | None) -> dict[str, object] | None:
    if rating is None:
        return None
    return {
        "value": rating.value,
        "comment": rating.comment,
        "consent": rating.may_be_read,
        "at": rating.updated_at.isoformat(),
    }


def _find_source(conversation: Conversation) -> Source:
    """Return the site on which a conversation was held first: this one, unless it was imported."""
    row = ImportedConversation.objects.filter(conversation=conversation).first()
    return Source(row.site, row.source_id) if row else Source(OWN_SITE, str(conversation.pk))


def _gather_figures(message: Message, usage: Usage | None, rating: Rating | None, imported: Figures) -> Figures:
    """Return an answer's figures: those of this site's ledger, added to those of its archive."""
    losses, breaks, last = imported.interruptions
    return Figures(
        _add_usage(imported.usage, usage),
        (losses + message.losses, breaks + message.breaks, message.interrupted_by or last),
        _describe_rating(rating) or imported.rating,
    )


def _add_usage(first: Usage | None, second: Usage | None) -> Usage | None:
    if first is None or second is None:
        return first or second
    return first + second


def read_figures(row: Mapping[str, Any]) -> Figures:
    """Return figures as `database_writer.write_figures` wrote them."""
    losses, breaks, last = row["interruptions"]
    usage = None if row["usage"] is None else Usage(**row["usage"])
    return Figures(usage, (losses, breaks, last), row["rating"])


def name_file(conversation: PortableConversation) -> str:
    """Return a name for a conversation's file, without its ending: its day and its title, in plain letters."""
    title = re.sub(r"[^\w-]+", "-", join_lines(conversation.title)).strip("-_")[:60]
    return f"{conversation.created_at:%Y-%m-%d}-{title or 'chat'}"
