"""The API of conversations: the list, and changing, deleting and restoring one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.http import Http404, HttpRequest, HttpResponse, JsonResponse

from chat.api.operations import Operation, Parameter, serve_programs
from chat.api.response_shapes import ConversationListReply, ListedConversation
from chat.api.shapes import ConversationChanges, Nothing, get_given
from chat.conversations import actions
from chat.conversations.changes import Changes, InvalidTitleError, clean_title
from chat.conversations.listing import ListPlace, find_listed, has_failed, list_by_time
from chat.generation.process import get_runner
from chat.http.bodies import read_body
from chat.http.errors import ApiError
from chat.models import Conversation, User
from chat.tasks import run_in_thread

MAX_LISTED = 100
LISTED = 50


@dataclass(frozen=True, slots=True)
class ListQuery:
    """The query of a list: a filter for either flag, the cursor, and the number of conversations."""

    is_pinned: bool | None
    is_archived: bool | None
    after: ListPlace | None
    most: int


LIST = Operation(
    "GET",
    "List the conversations, newest first.",
    {200: ConversationListReply},
    refuses=(400,),
    parameters=(
        Parameter("limit", f"How many, from 1 to {MAX_LISTED}; {LISTED} without it.", "integer"),
        Parameter("cursor", "The `next` of an earlier response."),
        Parameter("pinned", "Those that are pinned, or those that are not.", "boolean"),
        Parameter("archived", "Those that are archived, or those that are not.", "boolean"),
    ),
)
CHANGE = Operation(
    "PATCH",
    "Rename, pin or archive a conversation.",
    {200: ListedConversation},
    body=ConversationChanges,
    refuses=(400, 413, 415),
)
DELETE = Operation("DELETE", "Delete a conversation.", {204: None})


async def list_conversations(request: HttpRequest, user: User) -> HttpResponse:
    """Return a piece of the list of the user's conversations, newest first."""
    query = read_query(request.GET)
    piece = await run_in_thread(list_by_time, user, query.is_pinned, query.is_archived, query.after, query.most)
    rows = [describe_conversation(row) for row in piece.conversations]
    return JsonResponse({"conversations": rows, "next": piece.next and str(piece.next)})


async def change_conversation(request: HttpRequest, user: User, conversation_id: UUID) -> HttpResponse:
    """Change the fields that the body names, and return the conversation as the list has it."""
    changes = read_changes(request)
    await actions.change_conversation(get_runner(), user, conversation_id, changes)
    return JsonResponse(await run_in_thread(_load_listed, user, conversation_id))


async def delete_conversation(request: HttpRequest, user: User, conversation_id: UUID) -> HttpResponse:
    """Delete a conversation; it can be restored for `UNDO_FOR` seconds."""
    await actions.delete_conversation(get_runner(), user, conversation_id)
    return HttpResponse(status=204)


@serve_programs(
    Operation(
        "POST",
        "Take the deletion of a conversation back.",
        {200: ListedConversation},
        body=Nothing,
        refuses=(400, 413, 415),
    ),
    find_owned=actions.get_deleted_conversation,
)
async def restore_conversation(request: HttpRequest, user: User, conversation_id: UUID) -> HttpResponse:
    """Undo a deletion, and return the conversation as the list has it."""
    read_body(request, Nothing)
    await actions.restore_conversation(get_runner(), user, conversation_id)
    return JsonResponse(await run_in_thread(_load_listed, user, conversation_id))


def _load_listed(user: User, conversation_id: UUID) -> dict[str, Any]:
    """Return a conversation as the list has it now. Raises Http404 where another device has deleted it meanwhile."""
    for found in find_listed(user, [conversation_id]):
        return describe_conversation(found)
    raise Http404


def describe_conversation(conversation: Conversation) -> dict[str, Any]:
    """Return a conversation as the list has it, without its messages."""
    last = conversation.leaf
    return {
        "id": str(conversation.pk),
        "title": conversation.title,
        "titled_by": conversation.titled_by or None,
        "created_at": conversation.created_at.isoformat(),
        "updated_at": conversation.updated_at.isoformat(),
        "pinned": conversation.pinned_at is not None,
        "archived": conversation.archived_at is not None,
        "streaming": bool(getattr(conversation, "is_streaming", False)),
        "unread": conversation.is_unread,
        "failed": has_failed(conversation),
        "leaf": last and str(last.pk),
    }


def read_query(query: Mapping[str, str]) -> ListQuery:
    """Return the query in a list's address. Raises `ApiError`, which names the parameter."""
    for name in query:
        if name not in ("pinned", "archived", "cursor", "limit"):
            raise _refuse(
                name, f"`{name[:60]}` is no parameter of this address: use pinned, archived, cursor and limit."
            )
    try:
        after = ListPlace.read(query["cursor"]) if "cursor" in query else None
    except ValueError:
        raise _refuse("cursor", "`cursor` must be the `next` of an earlier response.") from None
    limit = query.get("limit", str(LISTED))
    if not (limit.isascii() and limit.isdecimal() and len(limit) <= 3 and 1 <= int(limit) <= MAX_LISTED):
        raise _refuse("limit", f"`limit` must be a whole number from 1 to {MAX_LISTED}.")
    return ListQuery(_read_flag(query, "pinned"), _read_flag(query, "archived"), after, int(limit))


def read_changes(request: HttpRequest) -> Changes:
    """Return the changes that a body names. Raises `ApiError`, which names the field."""
    body = read_body(request, ConversationChanges)
    title, is_pinned, is_archived = get_given(body.title), get_given(body.pinned), get_given(body.archived)
    if is_pinned and is_archived:
        raise _refuse("pinned", "`pinned` and `archived` cannot both be true.")
    try:
        return Changes(None if title is None else clean_title(title), is_pinned, is_archived)
    except InvalidTitleError as error:
        raise _refuse("title", f"`title`: {error.sentence}") from None


def _read_flag(query: Mapping[str, str], name: str) -> bool | None:
    if name not in query:
        return None
    if query[name] not in ("true", "false"):
        raise _refuse(name, f"`{name}` must be true or false.")
    return query[name] == "true"


def _refuse(name: str, sentence: str) -> ApiError:
    return ApiError(400, "bad_request", sentence, field=name)
