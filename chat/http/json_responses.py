"""Responses in JSON, with a tag by which a program asks whether anything has changed."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any, cast

import msgspec
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils.cache import get_conditional_response


def render_created(body: dict[str, Any], location: str, status: int = 201) -> JsonResponse:
    """Return the response to a request that made something, or began to, which is found at `location`."""
    return JsonResponse(body, status=status, headers={"Location": location})


def render_tagged(request: HttpRequest, body: dict[str, Any], lasting: dict[str, Any] | None = None) -> HttpResponse:
    """Return a body with its `ETag`, or a 304 to a program that has it already (RFC 9110, section 13).

    `lasting` is the body without what changes by itself, such as ages. The tag is a weak one: the same JSON is sent
    compressed or not.
    """
    response = JsonResponse(body)
    tagged = response.content if lasting is None else msgspec.json.encode(lasting)
    etag = f'W/"{blake2b(tagged, digest_size=12).hexdigest()}"'
    response.headers["ETag"] = etag
    return cast("HttpResponse", get_conditional_response(request, etag=etag, response=response))
