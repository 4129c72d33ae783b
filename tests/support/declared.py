"""Every response of the API that a test sees is one that `/api/schema/` declares."""

from __future__ import annotations

import gzip
import json
from typing import Any

import msgspec
from django.http import HttpResponseBase
from django.urls import Resolver404, resolve

from chat.api import response_shapes
from chat.api.schema import list_refusals


def check_declared(method: str, path: str, response: HttpResponseBase) -> None:
    """Fail unless the status and the body of a response are declared for its route; other addresses pass."""
    try:
        found = resolve(path.partition("?")[0])
    except Resolver404:
        return
    operation = getattr(found.func, "operations", {}).get(method)
    if operation is None:
        return
    status = response.status_code
    refusals = list_refusals("{}" if found.kwargs else "", operation)
    assert status in operation.returns or status in refusals, f"{method} {path}: {status} is not declared"
    if response.streaming:
        assert response.headers["Content-Type"].partition(";")[0] in operation.media_types
        return
    shape = response_shapes.Problem if status >= 400 else operation.returns[status]
    if shape is not None:
        check_shape(read_json(response), shape)


def read_json(response: Any) -> Any:
    """Return the body of a response, compressed or not."""
    is_packed = response.headers.get("Content-Encoding") == "gzip"
    return json.loads(gzip.decompress(response.content) if is_packed else response.content)


def check_shape(body: Any, shape: type[Any]) -> None:
    """Fail unless a body has the fields of a shape and no others."""
    assert msgspec.to_builtins(msgspec.convert(body, shape)) == body
