"""The description of the API: OpenAPI 3.1 and the JSON schema of the events, made from what the views declare."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import msgspec
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, URLResolver, get_resolver

from chat.api import response_shapes, shapes
from chat.api.operations import COMMON_REFUSALS, Operation, serve_anyone
from chat.core import events
from chat.core.errors import CODES
from chat.http.json_responses import render_tagged
from chat.http.negotiation import JSON
from chat.streaming.encoders import NDJSON, SSE

Schema = dict[str, Any]

# The events of an answer, in the order of docs/events.md.
PUBLIC_EVENTS: tuple[type[Any], ...] = (
    events.Start,
    events.Token,
    events.Reasoning,
    events.ToolCall,
    events.ToolArguments,
    events.ToolResult,
    events.Field,
    events.Notice,
    events.Usage,
    events.Done,
    events.Error,
)

_COMPONENT = "#/components/schemas/{name}"
_PARAMETER = re.compile(r"<(?:(\w+):)?(\w+)>")
_REASONS = {
    400: "What was sent is not what this takes; `error.field` names the field.",
    401: "No login, or a token that is not valid.",
    403: "A session without its CSRF token, or nothing that the user may do.",
    404: "It does not exist, or it is another user's.",
    406: "Nothing that the client takes is sent here.",
    409: "Something stands in the way: `busy`, `not_continuable`, `turn_taken`, `nothing_to_share`, `too_many`.",
    412: "`If-Match` has a tag, and the site's tags are weak.",
    413: "The body is too large.",
    415: "The body is not JSON.",
    429: "A limit or a budget is reached; `Retry-After` says until when, where that is known.",
    503: "The site cannot serve this now; `Retry-After` says when to come back.",
}
_GOOD = {200: "The result.", 201: "It was created.", 202: "It has started.", 204: "There is no content."}


@serve_anyone(Operation("GET", "Describe the API, as OpenAPI 3.1.", {200: None, 304: None}))
async def show_openapi(request: HttpRequest) -> HttpResponse:
    """Return the description of the API."""
    return render_tagged(request, describe_api())


@serve_anyone(
    Operation("GET", "Describe the events and the frames of the WebSocket, as JSON schema.", {200: None, 304: None})
)
async def show_event_schema(request: HttpRequest) -> HttpResponse:
    """Return the JSON schema of the events, and of the frames that clients send."""
    return render_tagged(request, describe_events())


@cache
def describe_api() -> Schema:
    """Return the OpenAPI document of all routes that declare what they do."""
    used: set[type[Any]] = {response_shapes.Problem}
    paths: Schema = {}
    for path, view in sorted(list_routes(), key=lambda route: route[0]):
        operations = [operation for operation in view.operations.values() if operation.method != "HEAD"]
        paths[path] = {
            operation.method.lower(): _describe_operation(path, view, operation, used) for operation in operations
        }
    _, components = msgspec.json.schema_components(
        sorted(used, key=lambda shape: shape.__name__), ref_template=_COMPONENT
    )
    return {
        "openapi": "3.1.0",
        "info": {"title": "Chat site", "version": "1", "description": "docs/events.md says what all this means."},
        "paths": paths,
        "components": {
            "schemas": {**components, "Event": _describe_event_line()},
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "session": {"type": "apiKey", "in": "cookie", "name": "sessionid"},
            },
        },
        "security": [{"token": []}, {"session": []}],
    }


def list_routes() -> Iterator[tuple[str, Any]]:
    """Yield the address of each route of the API, with its parameters in braces, and its view."""
    yield from _walk(get_resolver().url_patterns, "/")


def _walk(patterns: list[Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for pattern in patterns:
        address = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from _walk(pattern.url_patterns, address)
        elif isinstance(pattern, URLPattern) and address.startswith("/api/"):
            yield _PARAMETER.sub(r"{\2}", address), pattern.callback


def _describe_operation(path: str, view: Any, operation: Operation, used: set[type[Any]]) -> Schema:
    """Return an operation in OpenAPI's words; note the shapes that it uses."""
    used.update(shape for shape in (operation.body, *operation.returns.values()) if shape is not None)
    described: Schema = {
        "operationId": f"{operation.method.lower()}_{view.__name__}",
        "summary": operation.summary,
        "parameters": _describe_parameters(path, operation),
        "responses": {
            **{str(status): _describe_good(status, operation) for status in operation.returns},
            **{str(status): _describe_refusal(status) for status in list_refusals(path, operation)},
        },
    }
    if operation.is_public:
        described["security"] = []
    if operation.body is not None:
        is_required = bool(msgspec.json.schema_components([operation.body])[1][operation.body.__name__]["required"])
        content = {JSON: {"schema": _refer_to(operation.body)}}
        described["requestBody"] = {"required": is_required, "content": content}
    return described


def list_refusals(path: str, operation: Operation) -> list[int]:
    """Return the statuses of refusals that an operation may come to."""
    left_out = {401, 403} if operation.is_public else set()
    if "{" not in path:
        left_out.add(404)
    return sorted({*COMMON_REFUSALS} - left_out | {*operation.refuses})


def _describe_parameters(path: str, operation: Operation) -> list[Schema]:
    described: list[Schema] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "format": "uuid"}}
        for name in re.findall(r"{(\w+)}", path)
    ]
    for parameter in operation.parameters:
        schema = {"type": parameter.kind}
        described.append(
            {
                "name": parameter.name,
                "in": parameter.place,
                "description": parameter.description,
                "schema": {**schema, "minimum": 0} if parameter.kind == "integer" else schema,
            }
        )
    return described


def _describe_good(status: int, operation: Operation) -> Schema:
    response: Schema = {"description": _GOOD.get(status, "It has not changed.")}
    shape = operation.returns[status]
    if shape is not None:
        response["content"] = {JSON: {"schema": _refer_to(shape)}}
    if status == 200:
        others = {media_type: _describe_content(media_type) for media_type in operation.media_types}
        if shape is not None:
            others.pop(JSON)
        response["content"] = {**response.get("content", {}), **others}
    if status in {201, 202}:
        response["headers"] = {"Location": {"schema": {"type": "string", "format": "uri-reference"}}}
    if 304 in operation.returns:
        response["headers"] = {"ETag": {"schema": {"type": "string"}}}
    return response


def _describe_content(media_type: str) -> Schema:
    """Return the schema of a response that is no JSON object of one shape."""
    if media_type == NDJSON:
        return {"schema": {"type": "string"}, "x-line-schema": {"$ref": "#/components/schemas/Event"}}
    if media_type == SSE:
        return {"schema": {"type": "string"}, "x-data-schema": {"$ref": "#/components/schemas/Event"}}
    return {"schema": {"type": "object"} if media_type == JSON else {"type": "string"}}


def _describe_refusal(status: int) -> Schema:
    schema = {"schema": _refer_to(response_shapes.Problem)}
    response: Schema = {
        "description": _REASONS[status],
        "content": {JSON: schema, "application/problem+json": schema},
    }
    if status == 401:
        response["headers"] = {"WWW-Authenticate": {"schema": {"type": "string"}}}
    if status in {429, 503}:
        response["headers"] = {"Retry-After": {"schema": {"type": "integer"}}}
    return response


def _refer_to(shape: type[Any]) -> Schema:
    return {"$ref": _COMPONENT.format(name=shape.__name__)}


@cache
def describe_events() -> Schema:
    """Return the JSON schema of what comes of an answer, and of what clients send over the WebSocket."""
    _, frames = msgspec.json.schema_components([shapes.Send, shapes.Follow, shapes.Stop, shapes.Watch])
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "An event of an answer",
        **_describe_event_line(),
        "$defs": {
            **frames,
            "Frame": {"oneOf": [{"$ref": f"#/$defs/{name}"} for name in ("Send", "Follow", "Stop", "Watch")]},
        },
    }


def _describe_event_line() -> Schema:
    """Return the schema of an event. NDJSON and the WebSocket add its `position`, the WebSocket its `answer` too."""
    ping = {"type": {"const": "ping"}, "position": {"type": "integer", "minimum": 0}}
    return {
        "oneOf": [
            *map(_describe_event, PUBLIC_EVENTS),
            {"title": "ping", "type": "object", "properties": ping, "required": ["type", "position"]},
        ]
    }


def _describe_event(kind: type[Any]) -> Schema:
    """Return the schema of one kind of event as `chat.core.events.write_payload` writes it: with all of its fields."""
    described = msgspec.json.schema_components([kind])[1][kind.__name__]
    name = events.name_kind(kind)
    properties: Schema = {
        "type": {"const": name},
        **{field: {**schema} for field, schema in described["properties"].items()},
        "position": {"type": "integer", "minimum": 0},
    }
    for schema in properties.values():
        schema.pop("default", None)
    if kind is events.Error:
        properties["code"] = {"enum": sorted(CODES)}
    return {
        "title": name,
        "description": described["description"],
        "type": "object",
        "properties": properties,
        "required": ["type", *described["properties"]],
    }
