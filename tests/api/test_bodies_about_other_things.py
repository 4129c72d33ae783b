"""Whether something is there for the user is decided before what they sent about it is judged."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

import pytest
from asgiref.sync import sync_to_async

from chat.api.schema import list_routes
from chat.models import Conversation, User
from tests.provider_server import ProviderServer
from tests.support.site import Json, Site
from tests.support.sockets import make_session_headers, open_socket

BODIES = [
    (b"{", "application/json"),
    (b'{"unknown": 1}', "application/json"),
    (b'{"turn": 1, "turn": 2, "value": 3}', "application/json"),
    (b'{"content": "x", "model": "openai:none"}', "application/json"),
    (b'{"content": "x", "response_schema": {"type": "string"}}', "application/json"),
    (b'{"title": ""}', "application/json"),
    (b'{"audience": "everybody", "value": "x"}', "application/json"),
    (b"<a/>", "application/xml"),
]
ROUTES = [
    (path, method)
    for path, view in list_routes()
    for method, operation in view.operations.items()
    if operation.body is not None and "{" in path
]


async def send(site: Site, method: str, address: str, body: bytes, media_type: str) -> tuple[int, Any]:
    response: Any = await site.client.generic(method, address, body, content_type=media_type)
    return response.status_code, json.loads(response.content)["error"]


async def ask_three(site: Site) -> tuple[Json, Json, Json]:
    """Return an answer of the user's own, one of somebody else's, and one that does not exist."""
    stranger = await User.objects.acreate_user("stranger")
    return (
        await site.ask(),
        await (await sync_to_async(Site)(stranger)).ask(),
        {"id": str(uuid4()), "conversation": str(uuid4())},
    )


@pytest.mark.parametrize(("path", "method"), ROUTES)
async def test_what_is_not_there_is_a_404_whatever_the_body(
    site: Site, provider: ProviderServer, path: str, method: str
) -> None:
    own, strange, missing = await ask_three(site)
    if "restore" in path:
        await Conversation.objects.aupdate(deleted_at="2099-01-01T00:00:00Z")
    for body, media_type in BODIES:
        for answer in (strange, missing):
            address = path.format(conversation_id=answer["conversation"], answer_id=answer["id"])
            status, error = await send(site, method, address, body, media_type)
            assert (status, error["code"]) == (404, "not_found"), (address, body)
        address = path.format(conversation_id=own["conversation"], answer_id=own["id"])
        status, error = await send(site, method, address, body, media_type)
        assert status == (415 if media_type.endswith("xml") else 400)
        assert ("field" in error) == (status == 400 and body != b"{"), (body, error)


FRAMES: list[Json] = [
    {"type": "send", "content": "x", "model": "openai:none"},
    {"type": "send", "content": "  "},
    {"type": "send", "content": "x", "turn": "x"},
    {"type": "send"},
    {"type": "follow", "after": "x"},
    {"type": "follow", "after": 10**6},
    {"type": "stop", "unknown": 1},
]


async def test_a_frame_about_what_is_not_there_is_told_so(site: Site, provider: ProviderServer) -> None:
    own, *others = await ask_three(site)
    async with open_socket(make_session_headers(site)) as socket:
        for frame in FRAMES:
            name = "conversation" if frame["type"] == "send" else "answer"
            for answer in (own, *others):
                await socket.say(**frame, **{name: answer["conversation" if name == "conversation" else "id"]})
                refusal = await socket.receive()
                assert refusal["code"] == ("bad_request" if answer is own else "not_found"), frame
