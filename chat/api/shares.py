"""The API of shared links: made, listed and revoked by the owner of their conversation."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import reverse

from chat.api import response_shapes, shapes
from chat.api.operations import Operation, serve_programs
from chat.conversations import shares
from chat.conversations.actions import get_owned_conversation
from chat.conversations.shares import ShareOptions
from chat.http.bodies import read_body
from chat.http.json_responses import render_created
from chat.models import Share, User
from chat.tasks import run_in_thread

FLAGS = ("goes_on", "reasoning", "tools")


@serve_programs(
    Operation("GET", "List the links to a conversation, newest first.", {200: response_shapes.Shares}),
    Operation(
        "POST",
        "Make a link to what a conversation shows.",
        {201: response_shapes.ShareReply},
        body=shapes.NewShare,
        refuses=(400, 409, 413, 415),
    ),
    find_owned=get_owned_conversation,
)
async def serve_shares(request: HttpRequest, user: User, conversation_id: UUID) -> HttpResponse:
    """List the links of a conversation, newest first, or make one."""
    if request.method != "POST":
        return JsonResponse({"shares": await run_in_thread(_list_shares, request, user, conversation_id)})
    options = read_options(read_body(request, shapes.NewShare))
    share = await run_in_thread(shares.create_share, user, conversation_id, options)
    return render_created(serialize_share(request, share), reverse("api-share", args=(conversation_id, share.pk)))


@serve_programs(Operation("DELETE", "Make a link lead nowhere.", {204: None}), find_owned=get_owned_conversation)
async def revoke(request: HttpRequest, user: User, conversation_id: UUID, share_id: UUID) -> HttpResponse:
    """Make a link lead nowhere; a second time changes nothing."""
    await run_in_thread(shares.revoke_share, user, share_id, conversation_id)
    return HttpResponse(status=204)


def _list_shares(request: HttpRequest, user: User, conversation_id: UUID) -> list[dict[str, Any]]:
    return [serialize_share(request, share) for share in shares.list_shares(user, conversation_id)]


def read_options(body: shapes.NewShare) -> ShareOptions:
    """Return the link that a body describes."""
    flags = {name: bool(shapes.get_given(getattr(body, name))) for name in FLAGS}
    audience = shapes.get_given(body.audience) or Share.Audience.TEAM
    return ShareOptions(audience, expires_at=shapes.get_given(body.expires_at), **flags)


def serialize_share(request: HttpRequest, share: Share) -> dict[str, Any]:
    """Return a link as JSON; its `url` is null where its secret cannot be made any more, or it leads nowhere."""
    secret = shares.find_secret(share) if share.state == "open" else ""
    return {
        "id": str(share.pk),
        "conversation": str(share.conversation_id),
        "url": request.build_absolute_uri(reverse("shared", args=(secret,))) if secret else None,
        "state": share.state,
        "audience": share.audience,
        **{name: getattr(share, name) for name in FLAGS},
        "leaf": str(share.leaf_id),
        "created_at": share.created_at.isoformat(),
        "expires_at": share.expires_at and share.expires_at.isoformat(),
        "revoked_at": share.revoked_at and share.revoked_at.isoformat(),
    }
