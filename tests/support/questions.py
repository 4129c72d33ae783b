"""Questions over the API, and what refusals say."""

from __future__ import annotations

import json

from django.http import HttpResponse

from tests.support.site import Site

HTMX = {"hx-request": "true"}


async def send(site: Site, conversation: str = "", **fields: str) -> HttpResponse:
    """Ask, and take whatever comes."""
    conversation = conversation or await site.begin_conversation()
    path = f"/api/conversations/{conversation}/messages/"
    return await site.post(path, {"content": "Hello", **fields}, prefer="respond-async")


def read_error(response: HttpResponse) -> tuple[int, str, str]:
    error = json.loads(response.content)["error"]
    return response.status_code, error["code"], error["message"]
